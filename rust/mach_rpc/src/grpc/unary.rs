//! gRPC's framing of unary calls over HTTP/2: one message in, one message or one status out.
//!
//! Source: grpc/grpc, doc/PROTOCOL-HTTP2.md.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use prost::Message;

/// A gRPC status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The aggregator refuses, in its own words; what Go's servers answer for a plain error.
    Unknown = 2,
    /// No answer within the deadline.
    DeadlineExceeded = 4,
    /// A limit stands against it; try again later.
    ResourceExhausted = 8,
    /// No such method, or a compression that is not offered.
    Unimplemented = 12,
    /// The message cannot be read.
    Internal = 13,
    /// The server cannot serve now; try again.
    Unavailable = 14,
    /// A missing or wrong token.
    Unauthenticated = 16,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Which way.
    pub code: Code,
    /// Why.
    pub message: String,
}

impl Status {
    /// A failure with its words.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// An answer that is nothing but this status.
    pub fn into_response(self) -> Response<UnaryBody> {
        let mut response = Response::new(UnaryBody::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, GRPC);
        headers.insert("grpc-status", HeaderValue::from(self.code as u16));
        headers.insert("grpc-message", percent_encoded(&self.message));
        response
    }
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Whether the request says that it is gRPC with protobuf messages.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let media = value.as_bytes().split(|byte| *byte == b';').next();
    matches!(media, Some(b"application/grpc" | b"application/grpc+proto"))
}

/// What is no gRPC gets HTTP's own refusal.
pub fn not_grpc() -> Response<UnaryBody> {
    let mut response = Response::new(UnaryBody::default());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

/// The one message of a request's body.
///
/// # Errors
/// A status for a compressed, cut off or malformed message, and for anything behind it.
pub fn decode<M: Message + Default>(body: &[u8]) -> Result<M, Status> {
    let malformed = |why: &str| Status::new(Code::Internal, format!("grpc: {why}"));
    let Some((prefix, message)) = body.split_first_chunk::<5>() else {
        return Err(malformed("the request holds no message"));
    };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err(Status::new(
            Code::Unimplemented,
            "grpc: compressed messages are not offered here",
        ));
    }
    if u32::from_be_bytes(length) as usize != message.len() {
        return Err(malformed("the request must hold exactly one message"));
    }
    M::decode(message).map_err(|error| malformed(&format!("error unmarshalling request: {error}")))
}

/// A successful answer.
pub fn encode<M: Message>(message: &M) -> Response<UnaryBody> {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer grows as needed, so this cannot fail.
    let _ = message.encode(&mut bytes);
    let mut response = Response::new(UnaryBody {
        message: Some(bytes.freeze()),
        trailers: true,
    });
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// How long the caller waits; `None` where it does not say.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (amount, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if amount.len() > 8 || !amount.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = amount.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Visible ASCII stays, the rest is written as `%XX`.
fn percent_encoded(message: &str) -> HeaderValue {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// One message and the trailers of success, or nothing.
#[derive(Debug, Default)]
pub struct UnaryBody {
    message: Option<Bytes>,
    trailers: bool,
}

impl Body for UnaryBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::take(&mut self.trailers) {
            let mut trailers = HeaderMap::with_capacity(2);
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            trailers.insert("grpc-message", HeaderValue::from_static(""));
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && !self.trailers
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.message.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::messages::CreateTaskRequestMessage;

    #[test]
    fn only_one_whole_plain_message_is_taken() {
        let message = CreateTaskRequestMessage {
            alert_hash: vec![7; 32],
        };
        let mut body = vec![0, 0, 0, 0, 34];
        body.extend(message.encode_to_vec());
        assert_eq!(decode::<CreateTaskRequestMessage>(&body).unwrap(), message);
        let code = |body: &[u8]| decode::<CreateTaskRequestMessage>(body).unwrap_err().code;
        assert_eq!(code(&body[..4]), Code::Internal);
        assert_eq!(code(&body[..20]), Code::Internal);
        assert_eq!(code(&[&body[..], &[0]].concat()), Code::Internal);
        assert_eq!(code(&[0, 0, 0, 0, 1, 0xff]), Code::Internal);
        body[0] = 1;
        assert_eq!(code(&body), Code::Unimplemented);
    }

    #[test]
    fn timeouts_follow_the_specification() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_str(text).unwrap());
            timeout(&headers)
        };
        assert_eq!(read("4999813u"), Some(Duration::from_micros(4_999_813)));
        assert_eq!(
            read("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for text in ["", "S", "1", "1x", "-1S", "+1S", "123456789S", "1.5S"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn words_travel_in_a_header() {
        assert_eq!(percent_encoded("50% ü\n"), "50%25 %C3%BC%0A");
    }
}
