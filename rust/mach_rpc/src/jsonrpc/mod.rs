//! JSON-RPC 2.0 over HTTP/1.1, for any set of methods, and the aggregator's.

pub mod envelope;
pub mod methods;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, Request, Response, StatusCode,
};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use self::envelope::{
    INVALID_REQUEST, LIMIT_EXCEEDED, PARSE_ERROR, RpcError, begin_result, end_result, read_call,
    write_error,
};
use crate::calls::too_fast;
use crate::http_door::{
    BodyError, BodyLimits, DoorRefusal, HttpDoor, ReceivedBody, discard_small, read_body,
};
use crate::json::{Json, Kind, parse};
use crate::limits::PeerGuard;
use crate::listener::{Connection, Serve, stopped};
use crate::stats::{Refused, RequestStats};

/// What a JSON-RPC server offers.
pub trait JsonRpcMethods: Send + Sync + 'static {
    /// Appends the result's JSON to `out`; what was appended before an error is thrown away.
    fn call(
        &self,
        peer: &PeerGuard,
        method: &str,
        params: Option<Json<'_>>,
        out: &mut Vec<u8>,
    ) -> impl Future<Output = Result<(), RpcError>> + Send;

    /// Told of a request that is no call of any method.
    fn not_called(&self);
}

/// Serves JSON-RPC at POST /.
pub struct JsonRpcServer<M> {
    shared: Arc<Shared<M>>,
}

struct Shared<M> {
    methods: M,
    door: HttpDoor,
    body: BodyLimits,
    max_batch: usize,
    stats: Arc<RequestStats>,
}

impl<M> Clone for JsonRpcServer<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Bytes that a request's head may have; the buffer of a connection.
const MAX_HEAD_BYTES: usize = 16 * 1024;

impl<M: JsonRpcMethods> JsonRpcServer<M> {
    /// Answers what `door` lets in.
    pub fn new(
        methods: M,
        door: HttpDoor,
        body: BodyLimits,
        max_batch: usize,
        stats: Arc<RequestStats>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                methods,
                door,
                body,
                max_batch,
                stats,
            }),
        }
    }
}

impl<M: JsonRpcMethods> Serve for JsonRpcServer<M> {
    async fn serve(self, connection: Connection) {
        let Connection {
            stream,
            peer,
            activity,
            mut stopping,
        } = connection;
        let shared = self.shared;
        let service = service_fn(|request: Request<Incoming>| {
            let in_progress = activity.request();
            let (shared, peer) = (Arc::clone(&shared), Arc::clone(&peer));
            async move {
                let response = shared.respond(&peer, request).await;
                drop(in_progress);
                Ok::<_, Infallible>(response)
            }
        });
        let serving = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        // A connection that breaks is no news: the next one may not.
        tokio::select! {
            _ = serving.as_mut() => return,
            () = stopped(&mut stopping) => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    }
}

impl<M: JsonRpcMethods> Shared<M> {
    async fn respond(&self, peer: &PeerGuard, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let mut response = self.answer(peer, &head, body).await;
        self.door.write_cors(&head.headers, response.headers_mut());
        response
    }

    async fn answer(
        &self,
        peer: &PeerGuard,
        head: &Parts,
        body: Incoming,
    ) -> Response<Full<Bytes>> {
        if let Some(refusal) = self.refuse(peer, head) {
            discard_small(body, &self.body).await;
            return refusal;
        }
        match self.read(&head.headers, body).await {
            Ok(body) => json(StatusCode::OK, self.document(peer, &body.bytes).await),
            Err(error) => {
                self.stats.refused(error.kind());
                text(error.status(), error.to_string())
            }
        }
    }

    /// The answer that is due whatever the body holds, if one is.
    fn refuse(&self, peer: &PeerGuard, head: &Parts) -> Option<Response<Full<Bytes>>> {
        if head.uri.path() != "/" {
            return Some(text(StatusCode::NOT_FOUND, "not found\n"));
        }
        if head.method == HttpMethod::OPTIONS {
            return Some(text(StatusCode::NO_CONTENT, ""));
        }
        if head.method != HttpMethod::POST {
            let response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            return Some(with(
                response,
                ALLOW,
                HeaderValue::from_static("OPTIONS, POST"),
            ));
        }
        if let Err(refusal) = self.door.admit(head) {
            self.stats.refused(refusal.kind());
            let response = text(refusal.status(), refusal.to_string());
            return Some(match refusal {
                DoorRefusal::Token => with(
                    response,
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer"),
                ),
                DoorRefusal::Host | DoorRefusal::Origin => response,
            });
        }
        if !is_json(&head.headers) {
            self.stats.refused(Refused::Header);
            return Some(text(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid content type, only application/json is supported\n",
            ));
        }
        let wait = peer.take(1).err()?;
        self.stats.refused(Refused::Rate);
        let mut out = Vec::new();
        write_error(
            &mut out,
            "null",
            &RpcError::new(LIMIT_EXCEEDED, too_fast(wait)),
        );
        let after = HeaderValue::from(wait.as_secs().saturating_add(1));
        Some(with(
            json(StatusCode::TOO_MANY_REQUESTS, out),
            RETRY_AFTER,
            after,
        ))
    }

    async fn read(&self, headers: &HeaderMap, body: Incoming) -> Result<ReceivedBody, BodyError> {
        if headers.contains_key(EXPECT) && body.size_hint().lower() > self.body.max_bytes as u64 {
            // the peer sends nothing before it is told to
            return Err(BodyError::TooLarge);
        }
        let body = read_body(body, &self.body).await?;
        match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity" | b"") => Ok(body),
            Some(coding) if coding.eq_ignore_ascii_case(b"gzip") => body.inflated(&self.body),
            Some(_) => Err(BodyError::NotGzip),
        }
    }

    /// What a whole body is answered with.
    async fn document(&self, peer: &PeerGuard, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(384);
        let error = match parse(body) {
            Err(_) => RpcError::new(PARSE_ERROR, "parse error: the body is not JSON"),
            Ok(document) if document.kind() != Kind::Array => {
                self.one(peer, document, &mut out).await;
                out.push(b'\n');
                return out;
            }
            Ok(document) => {
                let count = document
                    .elements()
                    .map_or(0, |calls| calls.take(self.max_batch + 1).count());
                let more = u32::try_from(count).unwrap_or(u32::MAX).saturating_sub(1);
                if count == 0 || count > self.max_batch {
                    let count = document.elements().map_or(0, Iterator::count);
                    let most = self.max_batch;
                    RpcError::new(
                        INVALID_REQUEST,
                        format!("a batch must hold 1 to {most} requests, got {count}"),
                    )
                } else if let Err(wait) = peer.take(more) {
                    self.stats.refused(Refused::Rate);
                    RpcError::new(LIMIT_EXCEEDED, too_fast(wait))
                } else {
                    self.batch(peer, document, &mut out).await;
                    return out;
                }
            }
        };
        self.methods.not_called();
        write_error(&mut out, "null", &error);
        out.push(b'\n');
        out
    }

    /// All calls at once, so that they can share a batch of the aggregator's.
    async fn batch(&self, peer: &PeerGuard, calls: Json<'_>, out: &mut Vec<u8>) {
        let answers = calls
            .elements()
            .into_iter()
            .flatten()
            .map(|call| async move {
                let mut answer = Vec::new();
                self.one(peer, call, &mut answer).await;
                answer
            });
        for (place, answer) in join_all(answers).await.iter().enumerate() {
            out.push(if place == 0 { b'[' } else { b',' });
            out.extend_from_slice(answer);
        }
        out.extend_from_slice(b"]\n");
    }

    async fn one(&self, peer: &PeerGuard, document: Json<'_>, out: &mut Vec<u8>) {
        match read_call(document) {
            Err((id, error)) => {
                self.methods.not_called();
                write_error(out, id, &error);
            }
            Ok(call) => {
                begin_result(out, call.id);
                match self
                    .methods
                    .call(peer, &call.method, call.params, out)
                    .await
                {
                    Ok(()) => end_result(out),
                    Err(error) => {
                        out.clear();
                        write_error(out, call.id, &error);
                    }
                }
            }
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let media = value.as_bytes().split(|byte| *byte == b';').next();
    media.is_some_and(|media| media.trim_ascii().eq_ignore_ascii_case(b"application/json"))
}

fn with(
    mut response: Response<Full<Bytes>>,
    name: HeaderName,
    value: HeaderValue,
) -> Response<Full<Bytes>> {
    response.headers_mut().insert(name, value);
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
