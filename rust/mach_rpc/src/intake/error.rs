use thiserror::Error;

/// Why the owner of the engine asked for something that cannot be done; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntakeError {
    /// The settings contradict themselves.
    #[error("intake settings: {0}")]
    Settings(String),
    /// An operator set's columns do not belong together, or a key is no key.
    #[error("operator set {set_id}: {reason}")]
    OperatorSet {
        /// The set.
        set_id: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A block was to use a set that is not held, or no longer.
    #[error("operator set {0} is not held: add it before the block that uses it")]
    UnknownOperatorSet(u64),
    /// A task's reference block has no operator set.
    #[error(
        "reference block {reference_block} of task {task_index} has no operator set: add the block first"
    )]
    UnknownReferenceBlock {
        /// The task.
        task_index: u32,
        /// Its block.
        reference_block: u32,
    },
    /// A range of task indices overlaps one that was reserved before, or ends above the high-water mark.
    #[error("task indices {first} to {last} cannot be reserved: {reason}")]
    Range {
        /// The first index.
        first: u64,
        /// The last index.
        last: u64,
        /// Why not.
        reason: &'static str,
    },
    /// No batch of this number is outstanding.
    #[error("batch {0} is not outstanding: it was committed or failed before, or never given out")]
    UnknownBatch(u64),
    /// No such task is collecting signatures.
    #[error("task {0} is not collecting signatures: restore it first")]
    UnknownTask(u32),
    /// The system gave no thread.
    #[error("no thread to check signatures on: {0}")]
    Thread(String),
}
