//! Calls of the aggregator as every transport makes them: bounded in number and time, and counted.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::aggregator::{
    Aggregator, AlertTaskInfo, InitOperatorRequest, Peer, Refusal, SignedTaskReply,
    SignedTaskRequest,
};
use crate::limits::Budget;
use crate::stats::{Method, Outcome, RequestStats, Transport};

/// A quorum number is below 192 in EigenLayer's bitmaps, so no list of them is longer.
pub const MAX_QUORUMS: usize = 192;

/// The three methods, for one transport.
pub struct Calls<A> {
    aggregator: Arc<A>,
    stats: Arc<RequestStats>,
    transport: Transport,
    deadline: Duration,
    in_progress: Arc<Budget>,
}

impl Outcome {
    fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::TaskNotFound => Self::TaskNotFound,
            Refusal::TaskCompleted(_) => Self::TaskCompleted,
            Refusal::AlreadyFinished { .. } => Self::AlreadyFinished,
            Refusal::NotInQuorum { .. } => Self::NotInQuorum,
            Refusal::IncorrectSignature { .. } => Self::IncorrectSignature,
            Refusal::Busy(_) => Self::Busy,
            Refusal::Unavailable(_) => Self::Unavailable,
            Refusal::TimedOut => Self::TimedOut,
        }
    }
}

impl<A: Aggregator> Calls<A> {
    /// `in_progress` bounds the calls of all transports together, `deadline` each of them.
    pub fn new(
        aggregator: Arc<A>,
        stats: Arc<RequestStats>,
        transport: Transport,
        deadline: Duration,
        in_progress: Arc<Budget>,
    ) -> Self {
        Self {
            aggregator,
            stats,
            transport,
            deadline,
            in_progress,
        }
    }

    /// `None` when the operator is set up like this aggregator, else which value differs.
    pub fn init_operator(&self, peer: IpAddr, request: &InitOperatorRequest) -> Option<String> {
        let start = Instant::now();
        let peer = Peer { address: peer };
        let reason = self.aggregator.init_operator(&peer, request);
        self.count(Method::InitOperator, Outcome::Ok, start);
        reason
    }

    /// The alert's one task.
    ///
    /// # Errors
    /// What the aggregator refuses, `Busy` and `TimedOut`.
    pub async fn create_task(
        &self,
        peer: IpAddr,
        alert_hash: [u8; 32],
    ) -> Result<AlertTaskInfo, Refusal> {
        let peer = Peer { address: peer };
        self.bounded(
            Method::CreateTask,
            self.aggregator.create_task(&peer, alert_hash),
        )
        .await
    }

    /// Counts one signature.
    ///
    /// # Errors
    /// What the aggregator refuses, `Busy` and `TimedOut`.
    pub async fn process_signed_task_response(
        &self,
        peer: IpAddr,
        request: SignedTaskRequest,
    ) -> Result<SignedTaskReply, Refusal> {
        let peer = Peer { address: peer };
        self.bounded(
            Method::ProcessSignedTaskResponse,
            self.aggregator.process_signed_task_response(&peer, request),
        )
        .await
    }

    async fn bounded<T>(
        &self,
        method: Method,
        call: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let start = Instant::now();
        let mut share = self.in_progress.share();
        let result = if share.grow(1).is_ok() {
            tokio::time::timeout(self.deadline, call)
                .await
                .unwrap_or(Err(Refusal::TimedOut))
        } else {
            Err(Refusal::Busy(
                "too many requests are in progress; try again in a second".into(),
            ))
        };
        let outcome = result.as_ref().map_or_else(Outcome::of, |_| Outcome::Ok);
        self.count(method, outcome, start);
        result
    }

    /// Counts a request that could not be read.
    pub fn invalid(&self, method: Method) {
        self.stats
            .call(self.transport, method, Outcome::Invalid, Duration::ZERO);
    }

    fn count(&self, method: Method, outcome: Outcome, start: Instant) {
        self.stats
            .call(self.transport, method, outcome, start.elapsed());
    }
}

/// The hash of an alert as `createTask` wants it.
///
/// # Errors
/// The original's words for another length, ours for the zero hash, which is no alert's.
pub fn alert_hash(bytes: &[u8]) -> Result<[u8; 32], &'static str> {
    let hash: [u8; 32] = bytes.try_into().map_err(|_| "alertHash len should be 32")?;
    if hash == [0; 32] {
        return Err("alertHash must not be zero");
    }
    Ok(hash)
}

/// Bytes of an exact length.
///
/// # Errors
/// Names the value and both lengths.
pub fn exact<const LENGTH: usize>(bytes: &[u8], name: &str) -> Result<[u8; LENGTH], String> {
    bytes
        .try_into()
        .map_err(|_| format!("{name} must be {LENGTH} bytes, got {}", bytes.len()))
}

/// Quorum numbers or percentages, one byte each.
///
/// # Errors
/// Names the value and its length when there are more than quorums can be.
pub fn quorum_bytes(bytes: Vec<u8>, name: &str) -> Result<Vec<u8>, String> {
    if bytes.len() > MAX_QUORUMS {
        let length = bytes.len();
        return Err(format!(
            "{name} holds {length} bytes, at most {MAX_QUORUMS} are possible"
        ));
    }
    Ok(bytes)
}

/// The words for a peer that asks too often.
pub fn too_fast(wait: Duration) -> String {
    format!(
        "too many requests from this address; try again in {:.3} s",
        wait.as_secs_f64()
    )
}
