//! How a net/rpc client turns an HTTP connection into a gob stream: `CONNECT /_goRPC_ HTTP/1.0`.

/// Bytes that the request's head may have.
pub const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Go's answer to a good handshake.
pub const CONNECTED: &[u8] = b"HTTP/1.0 200 Connected to Go RPC\n\n";

/// Headers that are looked at; more make the request malformed.
const MAX_HEADERS: usize = 32;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// The head is not complete yet.
    Incomplete,
    /// A gob stream starts after so many bytes; the head carried this `Authorization`.
    Connect {
        /// The head's length.
        length: usize,
        /// The header's value.
        authorization: Option<Vec<u8>>,
    },
    /// Not a net/rpc client: this whole answer is due, then the end.
    Refuse(&'static [u8]),
}

/// The answer to a client without a token where one is needed.
pub const UNAUTHORIZED: &[u8] = b"HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n\
    Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\na bearer token is needed here\n";

const BAD_REQUEST: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\n400 Bad Request";

const NOT_FOUND: &[u8] = b"HTTP/1.0 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\n404 page not found\n";

const MUST_CONNECT: &[u8] =
    b"HTTP/1.0 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\n405 must CONNECT\n";

/// Reads the head at the start of `stream`. Lines may end in a line feed alone, as Go's client sends them.
pub fn read(stream: &[u8]) -> Handshake {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(stream) {
        Ok(httparse::Status::Partial) if stream.len() < MAX_HEAD_BYTES => Handshake::Incomplete,
        Ok(httparse::Status::Partial) | Err(_) => Handshake::Refuse(BAD_REQUEST),
        Ok(httparse::Status::Complete(_)) if request.path != Some("/_goRPC_") => {
            Handshake::Refuse(NOT_FOUND)
        }
        Ok(httparse::Status::Complete(_)) if request.method != Some("CONNECT") => {
            Handshake::Refuse(MUST_CONNECT)
        }
        Ok(httparse::Status::Complete(length)) => Handshake::Connect {
            length,
            authorization: request
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("authorization"))
                .map(|header| header.value.to_vec()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_and_others_are_understood() {
        let connect = |length, authorization: Option<&str>| Handshake::Connect {
            length,
            authorization: authorization.map(|value| value.as_bytes().to_vec()),
        };
        assert_eq!(
            read(b"CONNECT /_goRPC_ HTTP/1.0\n\n\x2e"),
            connect(27, None)
        );
        let head = b"CONNECT /_goRPC_ HTTP/1.1\r\nHost: a\r\nauthorization: Bearer x\r\n\r\n";
        assert_eq!(read(head), connect(head.len(), Some("Bearer x")));
        for cut in 0..head.len() {
            assert_eq!(read(&head[..cut]), Handshake::Incomplete, "{cut}");
        }
        assert_eq!(
            read(b"GET /_goRPC_ HTTP/1.1\r\n\r\n"),
            Handshake::Refuse(MUST_CONNECT)
        );
        assert_eq!(
            read(b"GET / HTTP/1.1\r\n\r\n"),
            Handshake::Refuse(NOT_FOUND)
        );
        assert_eq!(read(b"\x2e\x7f\x03\x01"), Handshake::Refuse(BAD_REQUEST));
        let endless = [
            b"CONNECT /_goRPC_ HTTP/1.0\na: ".to_vec(),
            vec![b'x'; MAX_HEAD_BYTES],
        ]
        .concat();
        assert_eq!(read(&endless), Handshake::Refuse(BAD_REQUEST));
    }
}
