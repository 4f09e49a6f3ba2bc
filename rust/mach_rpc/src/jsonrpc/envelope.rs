//! JSON-RPC 2.0's envelope: calls read, answers written. Codes and words are those of go-ethereum's server.

use std::borrow::Cow;

use crate::json::{Json, Kind, write_string};

/// The body is not JSON.
pub const PARSE_ERROR: i32 = -32700;
/// The JSON is no call.
pub const INVALID_REQUEST: i32 = -32600;
/// No such method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// The parameters do not fit the method.
pub const INVALID_PARAMS: i32 = -32602;
/// The method refuses.
pub const FAILURE: i32 = -32000;
/// No answer within the deadline.
pub const TIMED_OUT: i32 = -32002;
/// The caller asks too often (EIP-1474).
pub const LIMIT_EXCEEDED: i32 = -32005;

/// An error that goes back to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    /// One of this module's codes.
    pub code: i32,
    /// What is wrong.
    pub message: Cow<'static, str>,
}

impl RpcError {
    /// An error with its words.
    pub fn new(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The parameters do not fit the method.
    pub fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }

    /// No method of this name, of which the first 64 characters are repeated.
    pub fn method_not_found(name: &str) -> Self {
        let shown: String = name.chars().take(64).collect();
        Self::new(
            METHOD_NOT_FOUND,
            format!("the method {shown} does not exist/is not available"),
        )
    }
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<'a> {
    /// `null` where the caller gave none.
    pub id: &'a str,
    /// The method's name.
    pub method: Cow<'a, str>,
    /// `None` where the caller gave none.
    pub params: Option<Json<'a>>,
}

/// The call that a document is. Of names that stand in it twice the last counts.
///
/// # Errors
/// What is missing, with the id to answer under.
pub fn read_call(document: Json<'_>) -> Result<Call<'_>, (&str, RpcError)> {
    let invalid = |id, message: &'static str| Err((id, RpcError::new(INVALID_REQUEST, message)));
    let Some(members) = document.members() else {
        return invalid("null", "invalid request: must be a JSON object");
    };
    let (mut id, mut method, mut params) = (None, None, None);
    for (name, value) in members {
        match &*name {
            "id" => id = Some(value),
            "method" => method = Some(value),
            "params" => params = Some(value),
            _ => {}
        }
    }
    if id.is_some_and(|id| matches!(id.kind(), Kind::Array | Kind::Object)) {
        return invalid("null", "invalid request: id must be a number or a string");
    }
    let id = id.map_or("null", Json::text);
    match method.and_then(Json::string) {
        None => invalid(id, "invalid request: method must be a string"),
        Some(method) => Ok(Call { id, method, params }),
    }
}

/// Starts an answer; the result's JSON is to be appended, then [`end_result`].
pub fn begin_result(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b",\"result\":");
}

/// Ends an answer.
pub fn end_result(out: &mut Vec<u8>) {
    out.push(b'}');
}

/// A whole answer that is an error.
pub fn write_error(out: &mut Vec<u8>, id: &str, error: &RpcError) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(format!(",\"error\":{{\"code\":{},\"message\":", error.code).as_bytes());
    write_string(out, &error.message);
    out.extend_from_slice(b"}}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    fn refused(text: &str) -> (String, i32) {
        let (id, error) = read_call(parse(text.as_bytes()).unwrap()).unwrap_err();
        (id.to_owned(), error.code)
    }

    #[test]
    fn calls_are_read_in_any_order() {
        let text =
            r#" {"params":[1],"x":{},"method":"\u0061_b","id":"7","jsonrpc":"2.0","id":1.50} "#;
        let call = read_call(parse(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            (call.id, &*call.method, call.params.unwrap().text()),
            ("1.50", "a_b", "[1]")
        );
        let call = read_call(parse(br#"{"method":"m"}"#).unwrap()).unwrap();
        assert_eq!((call.id, call.params), ("null", None));
    }

    #[test]
    fn what_is_no_call_is_answered_under_its_id() {
        let invalid = |id: &str| (id.to_owned(), INVALID_REQUEST);
        assert_eq!(refused("7"), invalid("null"));
        assert_eq!(refused(r#"{"id":{},"method":"m"}"#), invalid("null"));
        assert_eq!(refused(r#"{"id":"a","method":5}"#), invalid("\"a\""));
        assert_eq!(refused(r#"{"id":3}"#), invalid("3"));
    }

    #[test]
    fn answers_are_json() {
        let mut out = Vec::new();
        write_error(&mut out, "\"1\"", &RpcError::new(-1, "a \"b\"\n"));
        assert_eq!(
            out,
            br#"{"jsonrpc":"2.0","id":"1","error":{"code":-1,"message":"a \"b\"\n"}}"#
        );
        let long = RpcError::method_not_found(&"é".repeat(100));
        assert_eq!(
            long.message,
            format!(
                "the method {} does not exist/is not available",
                "é".repeat(64)
            )
        );
    }
}
