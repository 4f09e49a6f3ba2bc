//! The aggregator over gRPC: package `aggregator`, service `Aggregator` (python/mach/transport/aggregator.proto).

pub mod messages;
pub mod unary;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method as HttpMethod, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;

use self::messages::{
    CreateTaskRequestMessage, CreateTaskResponseMessage, InitOperatorRequestMessage,
    InitOperatorResponseMessage, SignedTaskReplyMessage, SignedTaskRequestMessage,
};
use self::unary::{Code, Status, UnaryBody, decode, encode, is_grpc, not_grpc, timeout};
use crate::aggregator::{Aggregator, Refusal};
use crate::calls::{Calls, too_fast};
use crate::http_door::{BodyError, BodyLimits, HttpDoor, read_body};
use crate::limits::PeerGuard;
use crate::listener::{Connection, Serve, stopped};
use crate::stats::{Method, Refused, RequestStats};

/// Serves the aggregator's methods to gRPC clients.
pub struct GrpcServer<A> {
    shared: Arc<Shared<A>>,
}

struct Shared<A> {
    calls: Calls<A>,
    door: HttpDoor,
    body: BodyLimits,
    max_streams: u32,
    stats: Arc<RequestStats>,
}

impl<A> Clone for GrpcServer<A> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Bytes that a request's headers may have, inflated.
const MAX_HEAD_BYTES: u32 = 16 * 1024;
/// A peer that is idle is asked this often whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// How long it may take to say so.
const PING_DEADLINE: Duration = Duration::from_secs(20);

impl<A: Aggregator> GrpcServer<A> {
    /// Answers callers whose token `door` takes; at most `max_streams` calls at once on a connection.
    pub fn new(
        calls: Calls<A>,
        door: HttpDoor,
        body: BodyLimits,
        max_streams: u32,
        stats: Arc<RequestStats>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                calls,
                door,
                body,
                max_streams,
                stats,
            }),
        }
    }
}

impl<A: Aggregator> Serve for GrpcServer<A> {
    async fn serve(self, connection: Connection) {
        let Connection {
            stream,
            peer,
            activity,
            mut stopping,
        } = connection;
        let shared = self.shared;
        let max_streams = shared.max_streams;
        let service = service_fn(move |request: Request<Incoming>| {
            let in_progress = activity.request();
            let (shared, peer) = (Arc::clone(&shared), Arc::clone(&peer));
            async move {
                let response = shared.respond(&peer, request).await;
                drop(in_progress);
                Ok::<_, Infallible>(response)
            }
        });
        let serving = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(max_streams)
            .max_header_list_size(MAX_HEAD_BYTES)
            .max_send_buf_size(64 * 1024)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_DEADLINE)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            _ = serving.as_mut() => return,
            () = stopped(&mut stopping) => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    }
}

const SERVICE: &str = "aggregator.Aggregator";

impl<A: Aggregator> Shared<A> {
    async fn respond(&self, peer: &PeerGuard, request: Request<Incoming>) -> Response<UnaryBody> {
        let (head, body) = request.into_parts();
        if head.method != HttpMethod::POST || !is_grpc(&head.headers) {
            self.stats.refused(Refused::Header);
            return not_grpc();
        }
        let answered = self.answer(peer, &head, body);
        let result = match timeout(&head.headers) {
            None => answered.await,
            Some(limit) => tokio::time::timeout(limit, answered)
                .await
                .unwrap_or_else(|_| Err(Status::from(Refusal::TimedOut))),
        };
        result.unwrap_or_else(Status::into_response)
    }

    async fn answer(
        &self,
        peer: &PeerGuard,
        head: &Parts,
        body: Incoming,
    ) -> Result<Response<UnaryBody>, Status> {
        if let Err(refusal) = self.door.admit_token(&head.headers) {
            self.stats.refused(refusal.kind());
            return Err(Status::new(
                Code::Unauthenticated,
                refusal.to_string().trim_end(),
            ));
        }
        let path = head.uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let (service, name) = path.split_once('/').unwrap_or_default();
        let method = match name {
            _ if service != SERVICE => {
                self.calls.invalid(Method::Other);
                return Err(Status::new(
                    Code::Unimplemented,
                    format!("unknown service {service}"),
                ));
            }
            "InitOperator" => Method::InitOperator,
            "CreateTask" => Method::CreateTask,
            "ProcessSignedTaskResponse" => Method::ProcessSignedTaskResponse,
            _ => {
                self.calls.invalid(Method::Other);
                return Err(Status::new(
                    Code::Unimplemented,
                    format!("unknown method {name} for service {SERVICE}"),
                ));
            }
        };
        if let Err(wait) = peer.take(1) {
            self.stats.refused(Refused::Rate);
            return Err(Status::new(Code::ResourceExhausted, too_fast(wait)));
        }
        let body = read_body(body, &self.body).await.map_err(|error| {
            self.stats.refused(error.kind());
            Status::from(error)
        })?;
        let address = peer.address();
        match method {
            Method::ProcessSignedTaskResponse => {
                let request = self.read::<SignedTaskRequestMessage, _>(
                    method,
                    &body.bytes,
                    TryFrom::try_from,
                )?;
                let reply = self.calls.process_signed_task_response(address, request);
                Ok(encode(&SignedTaskReplyMessage::from(reply.await?)))
            }
            Method::CreateTask => {
                let hash =
                    self.read(method, &body.bytes, |message: CreateTaskRequestMessage| {
                        message.checked()
                    })?;
                let info = self.calls.create_task(address, hash);
                Ok(encode(&CreateTaskResponseMessage::from(info.await?)))
            }
            Method::InitOperator | Method::Other => {
                let request = self.read::<InitOperatorRequestMessage, _>(
                    method,
                    &body.bytes,
                    TryFrom::try_from,
                )?;
                let reason = self.calls.init_operator(address, &request);
                Ok(encode(&InitOperatorResponseMessage::from(reason)))
            }
        }
    }

    fn read<M: Message + Default, T>(
        &self,
        method: Method,
        body: &[u8],
        check: impl FnOnce(M) -> Result<T, String>,
    ) -> Result<T, Status> {
        decode(body)
            .and_then(|message| check(message).map_err(|why| Status::new(Code::Unknown, why)))
            .inspect_err(|_| self.calls.invalid(method))
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Busy(_) => Code::ResourceExhausted,
            Refusal::Unavailable(_) => Code::Unavailable,
            Refusal::TimedOut => Code::DeadlineExceeded,
            _ => Code::Unknown,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<BodyError> for Status {
    fn from(error: BodyError) -> Self {
        let code = match error {
            BodyError::TooLarge | BodyError::NoMemory => Code::ResourceExhausted,
            BodyError::TooSlow => Code::DeadlineExceeded,
            BodyError::NotGzip | BodyError::Incomplete => Code::Internal,
        };
        Self::new(code, error.to_string().trim_end())
    }
}
