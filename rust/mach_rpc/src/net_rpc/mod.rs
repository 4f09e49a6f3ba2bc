//! The aggregator over Go's net/rpc: service `Aggregator`, gob over a connection that HTTP's CONNECT opens.

pub mod handshake;
pub mod messages;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::handshake::{CONNECTED, Handshake, UNAUTHORIZED};
use self::messages::{
    Answer, Header, read_create_task, read_header, read_init_operator, read_signed_task,
    write_answer,
};
use crate::aggregator::{Aggregator, InitOperatorRequest, SignedTaskRequest};
use crate::calls::{Calls, too_fast};
use crate::connection::{Activity, RequestInProgress, Stream};
use crate::gob::{Decoder, Encoder, GobError, Message, frame};
use crate::limits::PeerGuard;
use crate::listener::{Connection, Serve, stopped};
use crate::stats::{Method, Refused, RequestStats};
use crate::tokens::BearerTokens;

/// Serves the aggregator's methods to Go's `rpc.DialHTTP`.
pub struct NetRpcServer<A> {
    shared: Arc<Shared<A>>,
}

struct Shared<A> {
    calls: Calls<A>,
    tokens: Option<Arc<BearerTokens>>,
    max_in_progress: usize,
    stats: Arc<RequestStats>,
}

impl<A> Clone for NetRpcServer<A> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Bytes of one gob message; the longest that a client has reason to send is a twentieth of it.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Bytes of a method's name; ours have 36.
const MAX_METHOD_BYTES: usize = 128;
/// Bytes that are read at once.
const READ_BYTES: usize = 4 * 1024;

impl<A: Aggregator> NetRpcServer<A> {
    /// Answers callers that present one of `tokens`, if there are any; at most `max_in_progress` calls at once on a
    /// connection.
    pub fn new(
        calls: Calls<A>,
        tokens: Option<Arc<BearerTokens>>,
        max_in_progress: usize,
        stats: Arc<RequestStats>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                calls,
                tokens,
                max_in_progress,
                stats,
            }),
        }
    }
}

impl<A: Aggregator> Serve for NetRpcServer<A> {
    async fn serve(self, mut connection: Connection) {
        let mut received = BytesMut::with_capacity(READ_BYTES);
        if !self.connect(&mut connection, &mut received).await {
            return;
        }
        let session = Session {
            shared: &self.shared,
            peer: &connection.peer,
            activity: &connection.activity,
            decoder: Decoder::default(),
            header: None,
        };
        let ended = session
            .run(&mut connection.stream, &mut connection.stopping, received)
            .await;
        if ended.is_err() {
            self.shared.stats.refused(Refused::Protocol);
        }
        // The peer may be gone, which is what it wanted.
        let _ = connection.stream.shutdown().await;
    }
}

impl<A: Aggregator> NetRpcServer<A> {
    /// Whether a gob stream begins; `received` then holds its start.
    async fn connect(&self, connection: &mut Connection, received: &mut BytesMut) -> bool {
        let stats = &self.shared.stats;
        let refusal = loop {
            match handshake::read(received) {
                Handshake::Incomplete => {
                    if !received.is_empty() {
                        connection.activity.receiving();
                    }
                    let read = connection.stream.read_buf(received);
                    tokio::select! {
                        count = read => if !matches!(count, Ok(1..)) { return false },
                        () = stopped(&mut connection.stopping) => return false,
                    }
                }
                Handshake::Refuse(answer) => {
                    stats.refused(Refused::Protocol);
                    break answer;
                }
                Handshake::Connect {
                    length,
                    authorization,
                } => {
                    let admitted =
                        |tokens: &Arc<BearerTokens>| tokens.admits(authorization.as_deref());
                    if !self.shared.tokens.as_ref().is_none_or(admitted) {
                        stats.refused(Refused::Token);
                        break UNAUTHORIZED;
                    }
                    received.advance(length);
                    connection.activity.received_all();
                    return connection.stream.write_all(CONNECTED).await.is_ok();
                }
            }
        };
        // The peer may be gone; there is nothing more to tell it anyway.
        let _ = connection.stream.write_all(refusal).await;
        let _ = connection.stream.shutdown().await;
        false
    }
}

/// One gob stream.
struct Session<'a, A> {
    shared: &'a Shared<A>,
    peer: &'a PeerGuard,
    activity: &'a Arc<Activity>,
    decoder: Decoder,
    /// Read already; its body is due.
    header: Option<Header>,
}

/// A call whose message was read.
enum Job {
    InitOperator(InitOperatorRequest),
    CreateTask([u8; 32]),
    ProcessSignedTaskResponse(SignedTaskRequest),
    Refused(String),
}

impl<A: Aggregator> Session<'_, A> {
    async fn run(
        mut self,
        stream: &mut Stream,
        stopping: &mut tokio::sync::watch::Receiver<bool>,
        mut received: BytesMut,
    ) -> Result<(), GobError> {
        let mut encoder = Encoder::default();
        let mut answers = FuturesUnordered::new();
        let mut reading = true;
        let mut out = Vec::new();
        loop {
            while answers.len() < self.shared.max_in_progress {
                let Some((content, length)) = frame(&received, MAX_MESSAGE_BYTES)? else {
                    break;
                };
                if let Some((header, job)) = self.message(content)? {
                    let in_progress = self.activity.request();
                    let call = run(self.shared, self.peer.address(), header, job, in_progress);
                    answers.push(call);
                }
                received.advance(length);
            }
            let has_room = answers.len() < self.shared.max_in_progress;
            if has_room && (!received.is_empty() || self.header.is_some()) {
                self.activity.receiving();
            } else {
                self.activity.received_all();
            }
            if !reading && answers.is_empty() {
                return Ok(());
            }
            received.reserve(READ_BYTES);
            tokio::select! {
                count = stream.read_buf(&mut received), if reading && has_room => match count {
                    Ok(0) => reading = false,
                    Ok(_) => {}
                    Err(_) => return Ok(()),
                },
                Some((header, answer)) = answers.next(), if !answers.is_empty() => {
                    out.clear();
                    write_answer(&mut out, &mut encoder, &header, &answer);
                    while let Some(Some((header, answer))) = answers.next().now_or_never() {
                        write_answer(&mut out, &mut encoder, &header, &answer);
                    }
                    if stream.write_all(&out).await.is_err() {
                        return Ok(());
                    }
                }
                () = stopped(stopping), if reading => reading = false,
            }
        }
    }

    /// A call, if `content` completes one.
    fn message(&mut self, content: &[u8]) -> Result<Option<(Header, Job)>, GobError> {
        let message = self.decoder.message(content)?;
        let Some(header) = self.header.take() else {
            self.header = match message {
                Message::Definition => None,
                Message::Value(fields) => Some(read_header(fields)?),
                Message::Other => return Err(GobError::WrongType("rpc.Request".into())),
            };
            let name = self
                .header
                .as_ref()
                .map_or(0, |header| header.service_method.len());
            return if name > MAX_METHOD_BYTES {
                Err(GobError::TooLong(name as u64))
            } else {
                Ok(None)
            };
        };
        if matches!(message, Message::Definition) {
            self.header = Some(header);
            return Ok(None);
        }
        let name = header.service_method.as_str();
        let (method, read) = match (name.rsplit_once('.'), message) {
            (Some(("Aggregator", method)), Message::Value(fields)) => match method {
                "InitOperator" => (
                    Method::InitOperator,
                    read_init_operator(fields).map(Job::InitOperator),
                ),
                "CreateTask" => (
                    Method::CreateTask,
                    read_create_task(fields).map(Job::CreateTask),
                ),
                "ProcessSignedTaskResponse" => (
                    Method::ProcessSignedTaskResponse,
                    read_signed_task(fields).map(Job::ProcessSignedTaskResponse),
                ),
                _ => (Method::Other, Err(format!("rpc: can't find method {name}"))),
            },
            (Some(("Aggregator", _)), _) => (
                Method::Other,
                Err(GobError::WrongType(name.to_owned()).to_string()),
            ),
            (Some(_), _) => (
                Method::Other,
                Err(format!("rpc: can't find service {name}")),
            ),
            (None, _) => (
                Method::Other,
                Err(format!("rpc: service/method request ill-formed: {name}")),
            ),
        };
        let job = match (read, self.peer.take(1)) {
            (Ok(job), Ok(())) => job,
            (Ok(_), Err(wait)) => {
                self.shared.stats.refused(Refused::Rate);
                Job::Refused(too_fast(wait))
            }
            (Err(why), _) => {
                self.shared.calls.invalid(method);
                Job::Refused(why)
            }
        };
        Ok(Some((header, job)))
    }
}

async fn run<A: Aggregator>(
    shared: &Shared<A>,
    peer: IpAddr,
    header: Header,
    job: Job,
    in_progress: RequestInProgress,
) -> (Header, Answer) {
    let calls = &shared.calls;
    let answer = match job {
        Job::InitOperator(request) => Answer::InitOperator(calls.init_operator(peer, &request)),
        Job::CreateTask(hash) => calls
            .create_task(peer, hash)
            .await
            .map_or_else(Answer::from, Answer::CreateTask),
        Job::ProcessSignedTaskResponse(request) => calls
            .process_signed_task_response(peer, request)
            .await
            .map_or_else(Answer::from, Answer::ProcessSignedTaskResponse),
        Job::Refused(why) => Answer::Error(why),
    };
    drop(in_progress);
    (header, answer)
}
