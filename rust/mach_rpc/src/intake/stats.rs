use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::operators::OperatorId;

/// What became of a signature that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Outcome {
    /// Checked, durable and counted.
    Counted,
    /// Sent before: answered like the first.
    Repeated,
    /// Of a task that is confirmed already.
    Late,
    /// A point, but no signature by this operator over this task.
    Invalid,
    /// No point, or the point at infinity.
    Malformed,
    /// By no member of the task's quorums.
    NotRegistered,
    /// Of no task that is known or can be rebuilt.
    NotFound,
    /// Of a task that is another than described, or ended.
    WrongTask,
    /// Refused at a bound, or while its operator cools down.
    Busy,
    /// Sent before the engine could serve, or while it stopped.
    Unavailable,
    /// Valid, but the owner could not store it.
    NotStored,
}

impl Outcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Counted,
        Self::Repeated,
        Self::Late,
        Self::Invalid,
        Self::Malformed,
        Self::NotRegistered,
        Self::NotFound,
        Self::WrongTask,
        Self::Busy,
        Self::Unavailable,
        Self::NotStored,
    ];

    /// The outcome's name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Repeated => "repeated",
            Self::Late => "late",
            Self::Invalid => "invalid",
            Self::Malformed => "malformed",
            Self::NotRegistered => "not_registered",
            Self::NotFound => "not_found",
            Self::WrongTask => "wrong_task",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::NotStored => "not_stored",
        }
    }
}

/// How many had each outcome, every outcome once.
pub type OutcomeCounts = Vec<(Outcome, u64)>;

/// Signatures by outcome.
#[derive(Default)]
pub(super) struct OperatorCounters([AtomicU64; Outcome::ALL.len()]);

impl OperatorCounters {
    pub(super) fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> OutcomeCounts {
        Outcome::ALL
            .into_iter()
            .zip(&self.0)
            .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
            .collect()
    }
}

/// Counts of values up to each bound, as Prometheus has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper bounds, ascending; one more bucket, without a bound, stands at the end of `counts`.
    pub bounds: Vec<f64>,
    /// Values in each bucket, not cumulated.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

/// A [`Histogram`] that many threads write; sums are kept in millionths.
struct LiveHistogram<const N: usize> {
    bounds: [f64; N],
    counts: [AtomicU64; N],
    above: AtomicU64,
    sum_millionths: AtomicU64,
}

impl<const N: usize> LiveHistogram<N> {
    fn new(bounds: [f64; N]) -> Self {
        Self {
            bounds,
            counts: [const { AtomicU64::new(0) }; N],
            above: AtomicU64::new(0),
            sum_millionths: AtomicU64::new(0),
        }
    }

    fn observe(&self, value: f64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound);
        bucket
            .map_or(&self.above, |bucket| &self.counts[bucket])
            .fetch_add(1, Ordering::Relaxed);
        // Seconds and counts are not negative, and stay far below 2⁶⁴ millionths.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        self.sum_millionths
            .fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    fn read(&self) -> Histogram {
        let counts = self.counts.iter().chain([&self.above]);
        // The sum is for averages: 53 bits are plenty.
        #[allow(clippy::cast_precision_loss)]
        let sum = self.sum_millionths.load(Ordering::Relaxed) as f64 / 1e6;
        Histogram {
            bounds: self.bounds.to_vec(),
            counts: counts.map(|count| count.load(Ordering::Relaxed)).collect(),
            sum,
        }
    }
}

/// What happened since the engine was made.
pub(super) struct Stats {
    signatures: OperatorCounters,
    /// By every operator that ever was in a set: the chain bounds their number.
    operators: Mutex<HashMap<OperatorId, Arc<OperatorCounters>>>,
    verify_seconds: LiveHistogram<12>,
    group_sizes: LiveHistogram<12>,
    batch_sizes: LiveHistogram<12>,
    pub(super) evictions: AtomicU64,
    pub(super) rebuilt: AtomicU64,
}

const SIZES: [f64; 12] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0,
];
const SECONDS: [f64; 12] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
];

impl Stats {
    pub(super) fn new() -> Self {
        Self {
            signatures: OperatorCounters::default(),
            operators: Mutex::default(),
            verify_seconds: LiveHistogram::new(SECONDS),
            group_sizes: LiveHistogram::new(SIZES),
            batch_sizes: LiveHistogram::new(SIZES),
            evictions: AtomicU64::new(0),
            rebuilt: AtomicU64::new(0),
        }
    }

    pub(super) fn operator(&self, operator_id: &OperatorId) -> Arc<OperatorCounters> {
        let mut operators = self
            .operators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(operators.entry(*operator_id).or_default())
    }

    pub(super) fn signature(&self, outcome: Outcome, operator: Option<&OperatorCounters>) {
        self.signatures.count(outcome);
        if let Some(operator) = operator {
            operator.count(outcome);
        }
    }

    pub(super) fn checked(&self, group_sizes: impl Iterator<Item = usize>, took: Duration) {
        self.verify_seconds.observe(took.as_secs_f64());
        group_sizes.for_each(|size| self.group_sizes.observe(count(size)));
    }

    pub(super) fn batch(&self, signatures: usize) {
        self.batch_sizes.observe(count(signatures));
    }

    pub(super) fn read(&self, gauges: Gauges) -> IntakeStats {
        let operators = self
            .operators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        IntakeStats {
            gauges,
            signatures: self.signatures.read(),
            signatures_by_operator: operators
                .iter()
                .map(|(operator_id, counters)| (*operator_id, counters.read()))
                .collect(),
            verify_seconds: self.verify_seconds.read(),
            group_sizes: self.group_sizes.read(),
            batch_sizes: self.batch_sizes.read(),
            evictions: self.evictions.load(Ordering::Relaxed),
            rebuilt: self.rebuilt.load(Ordering::Relaxed),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // Signatures in a batch are few.
fn count(signatures: usize) -> f64 {
    signatures as f64
}

/// How full the engine is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gauges {
    /// Signatures that wait to be checked, or are being checked.
    pub queue_depth: usize,
    /// Signatures that wait to be checked last and alone.
    pub cooled_depth: usize,
    /// Signatures that were checked and wait to be durable.
    pub uncommitted: usize,
    /// Batches given out and neither committed nor failed.
    pub batches_outstanding: usize,
    /// Requests that wait for an answer.
    pub waiting: usize,
    /// Tasks that are not finished, signed or not.
    pub open_tasks: usize,
    /// Those of them that nobody signed.
    pub unsigned_tasks: usize,
    /// Alerts that wait for their task, where several aggregators share a database.
    pub announcing: usize,
    /// Finished tasks that are remembered.
    pub finished_tasks: usize,
    /// Operators whose signatures are checked last, from one address at least.
    pub cooling_operators: usize,
    /// Indices reserved and not given out.
    pub indices_left: u64,
    /// Whether more are wanted.
    pub needs_indices: bool,
    /// Reference blocks whose operator set is held.
    pub reference_blocks: usize,
}

/// What happened since the engine was made, and how full it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct IntakeStats {
    /// How full it is now.
    pub gauges: Gauges,
    /// Signatures by outcome.
    pub signatures: OutcomeCounts,
    /// The same for each operator that ever was in a set.
    pub signatures_by_operator: Vec<([u8; 32], OutcomeCounts)>,
    /// How long checks took.
    pub verify_seconds: Histogram,
    /// How many signatures of one task were summed and checked as one.
    pub group_sizes: Histogram,
    /// How many signatures a batch had.
    pub batch_sizes: Histogram,
    /// Unsigned tasks that were dropped for others, or because their reference block became too old.
    pub evictions: u64,
    /// Tasks that were rebuilt from what operators sent.
    pub rebuilt: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_numbered_as_listed() {
        for (number, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, number, "{}", outcome.as_str());
        }
    }

    #[test]
    fn a_value_falls_into_the_first_bucket_that_holds_it() {
        let histogram = LiveHistogram::new([1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 2.5, 3.0] {
            histogram.observe(value);
        }
        let read = histogram.read();
        assert_eq!(read.counts, [2, 1, 2]);
        assert!((read.sum - 8.5).abs() < 1e-9);
    }
}
