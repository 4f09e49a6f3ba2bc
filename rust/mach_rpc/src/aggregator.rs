//! What operators ask of an aggregator and what they are told, apart from any transport.

use std::future::Future;
use std::net::IpAddr;

use thiserror::Error;

/// One task as the aggregator announces it: what operators sign over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertTaskInfo {
    /// The alert's message hash.
    pub alert_hash: [u8; 32],
    /// Quorum numbers, one byte each.
    pub quorum_numbers: Vec<u8>,
    /// The least signed stake of each quorum in percent, one byte each.
    pub quorum_threshold_percentages: Vec<u8>,
    /// The task's number, never used for another alert.
    pub task_index: u32,
    /// The L1 block whose stakes count.
    pub reference_block_number: u64,
}

/// An operator's set-up, to be compared with the aggregator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitOperatorRequest {
    /// Chain id of the L1.
    pub layer1_chain_id: u32,
    /// Chain id of the rollup.
    pub chain_id: u32,
    /// keccak256 of the operator's G1 key.
    pub operator_id: [u8; 32],
    /// The operator's account.
    pub operator_address: [u8; 20],
    /// EigenLayer's OperatorStateRetriever.
    pub operator_state_retriever: [u8; 20],
    /// EigenLayer's RegistryCoordinator.
    pub registry_coordinator: [u8; 20],
}

/// One operator's signature over one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTaskRequest {
    /// The task as the operator was told of it.
    pub alert: AlertTaskInfo,
    /// G1 point `x ‖ y`, big-endian, not decoded yet.
    pub signature: [u8; 64],
    /// keccak256 of the operator's G1 key.
    pub operator_id: [u8; 32],
}

/// What a signature is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedTaskReply {
    /// Whether the alert stands on L1.
    pub reply: bool,
    /// By which transaction; zeros while it does not.
    pub tx_hash: [u8; 32],
}

/// Who asks, for limits and logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The address of its connection.
    pub address: IpAddr,
}

/// Why a request was refused, in the original's words where it has some: its operators look for them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No such task.
    #[error("task not found")]
    TaskNotFound,
    /// The task is another than described, or ended.
    #[error("task {0} not initialized or already completed")]
    TaskCompleted(u32),
    /// The alert stands on L1 already.
    #[error(
        "the task 0x{} already finished: 0x{}",
        hex::encode(alert_hash),
        hex::encode(tx_hash)
    )]
    AlreadyFinished {
        /// The alert's message hash.
        alert_hash: [u8; 32],
        /// The transaction that confirmed it.
        tx_hash: [u8; 32],
    },
    /// The operator is no member of the task's quorums at its reference block.
    #[error(
        "operator 0x{} not part of task {task_index}'s quorum",
        hex::encode(operator_id)
    )]
    NotInQuorum {
        /// The task.
        task_index: u32,
        /// The stranger.
        operator_id: [u8; 32],
    },
    /// The bytes are no point, or no signature by this operator over this task.
    #[error(
        "Task {task_index} signature of operator 0x{}: Incorrect Signature.",
        hex::encode(operator_id)
    )]
    IncorrectSignature {
        /// The task.
        task_index: u32,
        /// Who claims to have signed.
        operator_id: [u8; 32],
    },
    /// A bound of this peer or of the whole process is reached; the text names the bound and when to try again.
    #[error("{0}")]
    Busy(String),
    /// The aggregator cannot serve now (it starts, or L1 is away); the text says what is missing.
    #[error("{0}")]
    Unavailable(String),
    /// No answer within the deadline.
    #[error("request timed out")]
    TimedOut,
}

/// The one core behind all transports.
///
/// Calls must be cheap to make and never block; their futures end by themselves, within the deadline of the transport
/// at the latest, which drops them.
pub trait Aggregator: Send + Sync + 'static {
    /// `None` when the operator is set up like this aggregator, else which value differs.
    fn init_operator(&self, peer: &Peer, request: &InitOperatorRequest) -> Option<String>;

    /// The alert's one task.
    fn create_task(
        &self,
        peer: &Peer,
        alert_hash: [u8; 32],
    ) -> impl Future<Output = Result<AlertTaskInfo, Refusal>> + Send;

    /// Counts one signature; the reply comes after it is durable.
    fn process_signed_task_response(
        &self,
        peer: &Peer,
        request: SignedTaskRequest,
    ) -> impl Future<Output = Result<SignedTaskReply, Refusal>> + Send;
}
