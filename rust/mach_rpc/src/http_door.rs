//! Who may come in over HTTP, and what bodies are read: guards shared by everything that speaks HTTP.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use thiserror::Error;

use crate::limits::{Budget, BudgetShare};
use crate::stats::Refused;
use crate::tokens::BearerTokens;

/// Host, Origin and token that a request must carry.
#[derive(Debug, Default)]
pub struct HttpDoor {
    vhosts: HashSet<String>,
    origins: HashSet<String>,
    tokens: Option<Arc<BearerTokens>>,
}

/// Why a request is refused before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DoorRefusal {
    /// The Host header is none of ours.
    #[error("invalid host specified\n")]
    Host,
    /// A web page of another origin asks.
    #[error("invalid origin specified\n")]
    Origin,
    /// No token, or none of ours.
    #[error("a bearer token is needed here\n")]
    Token,
}

impl DoorRefusal {
    /// The HTTP status for it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }

    /// How it is counted.
    pub fn kind(self) -> Refused {
        match self {
            Self::Host | Self::Origin => Refused::Header,
            Self::Token => Refused::Token,
        }
    }
}

impl HttpDoor {
    /// `*` among the hosts or origins admits any.
    pub fn new(vhosts: &[String], origins: &[String], tokens: Option<Arc<BearerTokens>>) -> Self {
        Self {
            vhosts: vhosts
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            origins: origins.iter().cloned().collect(),
            tokens,
        }
    }

    /// Whether the request may come in.
    ///
    /// # Errors
    /// The first guard that refuses.
    pub fn admit(&self, request: &Parts) -> Result<(), DoorRefusal> {
        if !self.host_allowed(request) {
            return Err(DoorRefusal::Host);
        }
        if request.headers.contains_key(ORIGIN) && self.allowed_origin(&request.headers).is_none() {
            return Err(DoorRefusal::Origin);
        }
        self.admit_token(&request.headers)
    }

    /// Whether the caller presents a token, where one is asked for.
    ///
    /// # Errors
    /// [`DoorRefusal::Token`]
    pub fn admit_token(&self, headers: &HeaderMap) -> Result<(), DoorRefusal> {
        match &self.tokens {
            Some(tokens)
                if !tokens.admits(headers.get(AUTHORIZATION).map(HeaderValue::as_bytes)) =>
            {
                Err(DoorRefusal::Token)
            }
            _ => Ok(()),
        }
    }

    /// Guards against DNS rebinding: a browser that was led to loopback by a name sends that name as Host. A request
    /// without Host comes from no browser.
    fn host_allowed(&self, request: &Parts) -> bool {
        if self.vhosts.contains("*") {
            return true;
        }
        let host = match request.uri.host() {
            Some(host) => host,
            None => match request.headers.get(HOST).map(HeaderValue::to_str) {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(authority)) => without_port(authority),
            },
        };
        let host = host.trim_matches(['[', ']']);
        is_address(host)
            || self.vhosts.contains(host)
            || self.vhosts.contains(&host.to_ascii_lowercase())
    }

    /// Guards against web pages: a browser on this machine can post to loopback, and always says for whom.
    fn allowed_origin<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let listed = |origin: &str| self.origins.contains("*") || self.origins.contains(origin);
        origin.to_str().is_ok_and(listed).then_some(origin)
    }

    /// Adds what a browser must read to let its page see the answer.
    pub fn write_cors(&self, request: &HeaderMap, response: &mut HeaderMap) {
        response.insert(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed_origin(request) {
            response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(
                header::ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static("POST"),
            );
            response.insert(
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("Content-Type, Authorization"),
            );
        }
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() =>
        {
            if host.contains(':') && !host.ends_with(']') {
                authority
            } else {
                host
            }
        }
        _ => authority,
    }
}

/// An address needs no name server, so nobody can rebind it.
fn is_address(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
}

/// Bounds for bodies.
#[derive(Debug, Clone)]
pub struct BodyLimits {
    /// Bytes of one body, as sent and inflated.
    pub max_bytes: usize,
    /// How long it may take.
    pub deadline: Duration,
    /// Bytes of all bodies; those under [`SMALL_BODY_BYTES`] are not counted.
    pub memory: Arc<Budget>,
}

/// A body of this size fits into a connection's own buffers.
pub const SMALL_BODY_BYTES: usize = 16 * 1024;

/// A body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BodyError {
    /// More bytes than allowed, sent or inflated.
    #[error("the request body is too large\n")]
    TooLarge,
    /// Not complete within the deadline.
    #[error("request body came too slowly\n")]
    TooSlow,
    /// All bodies together are too large now.
    #[error("too many large requests at the same time\n")]
    NoMemory,
    /// `Content-Encoding: gzip`, but it is not gzip.
    #[error("the request body is not gzip\n")]
    NotGzip,
    /// The peer went away, or broke the protocol.
    #[error("the request body is incomplete\n")]
    Incomplete,
}

impl BodyError {
    /// The HTTP status for it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoMemory => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotGzip | Self::Incomplete => StatusCode::BAD_REQUEST,
        }
    }

    /// How it is counted.
    pub fn kind(self) -> Refused {
        match self {
            Self::TooLarge => Refused::BodySize,
            Self::TooSlow => Refused::Slow,
            Self::NoMemory => Refused::BodyMemory,
            Self::NotGzip | Self::Incomplete => Refused::Protocol,
        }
    }
}

/// A whole body; a large one is counted in [`BodyLimits::memory`] until it is dropped.
#[derive(Debug)]
pub struct ReceivedBody {
    /// What was sent, or what it inflated to.
    pub bytes: Bytes,
    share: Option<BudgetShare>,
}

/// The whole body, without trailers. A body in one piece is not copied.
///
/// # Errors
/// [`BodyError`]. Of a body that is too large the rest is read and thrown away until the deadline, since a peer that
/// is still sending would not see the answer.
pub async fn read_body(mut body: Incoming, limits: &BodyLimits) -> Result<ReceivedBody, BodyError> {
    match tokio::time::timeout(limits.deadline, collect(&mut body, limits)).await {
        Ok(result) => result,
        Err(_) => Err(BodyError::TooSlow),
    }
}

async fn collect(body: &mut Incoming, limits: &BodyLimits) -> Result<ReceivedBody, BodyError> {
    if body.size_hint().lower() > limits.max_bytes as u64 {
        return discard(body, BodyError::TooLarge).await;
    }
    let Some(first) = next_data(body).await? else {
        return Ok(ReceivedBody {
            bytes: Bytes::new(),
            share: None,
        });
    };
    if body.is_end_stream() && first.len() <= SMALL_BODY_BYTES.min(limits.max_bytes) {
        return Ok(ReceivedBody {
            bytes: first,
            share: None,
        });
    }
    let mut share = limits.memory.share();
    let mut whole = BytesMut::from(first);
    loop {
        if whole.len() > limits.max_bytes {
            drop(whole);
            return discard(body, BodyError::TooLarge).await;
        }
        let Some(data) = next_data(body).await? else {
            return Ok(ReceivedBody {
                bytes: whole.freeze(),
                share: Some(share),
            });
        };
        if whole.len() + data.len() > SMALL_BODY_BYTES && share.grow(data.len()).is_err() {
            drop((whole, share));
            return discard(body, BodyError::NoMemory).await;
        }
        whole.extend_from_slice(&data);
    }
}

async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| BodyError::Incomplete)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

async fn discard<T>(body: &mut Incoming, why: BodyError) -> Result<T, BodyError> {
    while let Ok(Some(_)) = next_data(body).await {}
    Err(why)
}

/// Reads and throws away a small body of a request that is refused anyway: a peer whose bytes are left unread gets its
/// connection reset, and may not see why. Of a larger one the start.
pub async fn discard_small(mut body: Incoming, limits: &BodyLimits) {
    let discarding = async {
        let mut left = 4 * SMALL_BODY_BYTES;
        while let Ok(Some(data)) = next_data(&mut body).await {
            left = left.saturating_sub(data.len());
            if left == 0 {
                break;
            }
        }
    };
    // What is not here by then is left unread.
    let _ = tokio::time::timeout(limits.deadline, discarding).await;
}

impl ReceivedBody {
    /// The same body without its gzip coding.
    ///
    /// # Errors
    /// [`BodyError::NotGzip`], [`BodyError::TooLarge`] and [`BodyError::NoMemory`]
    pub fn inflated(mut self, limits: &BodyLimits) -> Result<Self, BodyError> {
        let bytes = inflate(&self.bytes, limits.max_bytes)?;
        if bytes.len() > SMALL_BODY_BYTES {
            let share = self.share.get_or_insert_with(|| limits.memory.share());
            share.grow(bytes.len()).map_err(|_| BodyError::NoMemory)?;
        }
        self.bytes = bytes;
        Ok(self)
    }
}

/// What gzip bytes inflate to, at most `max_bytes`.
fn inflate(body: &[u8], max_bytes: usize) -> Result<Bytes, BodyError> {
    let mut inflated = Vec::with_capacity(body.len().saturating_mul(4).min(max_bytes));
    let mut reader = MultiGzDecoder::new(body).take(max_bytes as u64 + 1);
    reader
        .read_to_end(&mut inflated)
        .map_err(|_: io::Error| BodyError::NotGzip)?;
    if inflated.len() > max_bytes {
        return Err(BodyError::TooLarge);
    }
    Ok(Bytes::from(inflated))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = http::Request::post(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn names_that_are_not_ours_are_refused_and_addresses_are_not() {
        let door = HttpDoor::new(
            &["localhost".into(), "Aggregator.Example".into()],
            &[],
            None,
        );
        let admitted = |host: &str| door.admit(&parts("/", &[("Host", host)])).is_ok();
        for host in [
            "localhost",
            "localhost:8290",
            "LOCALHOST",
            "127.0.0.1:8290",
            "10.1.2.3",
            "[::1]:8290",
            "::1",
            "aggregator.example:1",
        ] {
            assert!(admitted(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8290",
            "",
            "127.0.0.1.evil.example",
            "1.2.3",
            ":8290",
        ] {
            assert!(!admitted(host), "{host}");
        }
        assert!(door.admit(&parts("/", &[])).is_ok());
        assert!(
            door.admit(&parts("http://evil.example/", &[("Host", "localhost")]))
                .is_err()
        );
        assert!(
            HttpDoor::new(&["*".into()], &[], None)
                .admit(&parts("/", &[("Host", "x.example")]))
                .is_ok()
        );
    }

    #[test]
    fn web_pages_are_refused_unless_listed() {
        let request = |origin: &str| parts("/", &[("Host", "127.0.0.1"), ("Origin", origin)]);
        let door = HttpDoor::new(&[], &["https://good.example".into()], None);
        assert_eq!(
            door.admit(&request("https://evil.example")),
            Err(DoorRefusal::Origin)
        );
        assert_eq!(door.admit(&request("null")), Err(DoorRefusal::Origin));
        let good = request("https://good.example");
        assert_eq!(door.admit(&good), Ok(()));
        let mut response = HeaderMap::new();
        door.write_cors(&good.headers, &mut response);
        assert_eq!(
            response[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://good.example"
        );
    }

    #[test]
    fn what_inflates_too_far_or_not_at_all_is_refused() {
        let gzip = |text: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(inflate(&gzip(b"text"), 4).unwrap(), "text");
        assert_eq!(inflate(&gzip(b"text"), 3), Err(BodyError::TooLarge));
        let bomb = gzip(&vec![0; 50_000_000]);
        assert!(bomb.len() < 60_000);
        assert_eq!(inflate(&bomb, 1_000_000), Err(BodyError::TooLarge));
        assert_eq!(inflate(b"text", 100), Err(BodyError::NotGzip));
        assert_eq!(inflate(&gzip(b"text")[..10], 100), Err(BodyError::NotGzip));
    }
}
