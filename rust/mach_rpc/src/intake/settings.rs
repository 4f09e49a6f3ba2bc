use std::time::Duration;

/// What the engine enforces and how far it goes; everything else is told to it while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct IntakeSettings {
    /// Quorum numbers, one byte each, ascending; what every task carries.
    pub quorum_numbers: Vec<u8>,
    /// The least signed stake of each quorum in percent, one byte each.
    pub quorum_threshold_percentages: Vec<u8>,
    /// Chain id of the rollup, which is part of what operators sign.
    pub rollup_chain_id: u64,
    /// Chain id of the L1.
    pub layer1_chain_id: u32,
    /// EigenLayer's OperatorStateRetriever.
    pub operator_state_retriever: [u8; 20],
    /// EigenLayer's RegistryCoordinator.
    pub registry_coordinator: [u8; 20],
    /// Tasks that are not finished, signed or not.
    pub max_open_tasks: usize,
    /// Tasks without a valid signature that one peer may have created.
    pub max_unsigned_per_peer: usize,
    /// How long an operator's signatures from an address that sent a bad one are checked last and alone.
    pub cool_down: Duration,
    /// Signatures that wait to be checked or to be stored.
    pub queue_bound: usize,
    /// Whether several aggregators share one database: then Python decides which task an alert gets.
    pub shared: bool,
    /// Threads that check signatures; at least one.
    pub verifier_threads: usize,
    /// How long the first signature of a check waits for others, unless the threshold comes into reach sooner.
    pub linger: Duration,
}

impl IntakeSettings {
    /// Half of the processor's cores, at least one: what the transports need about as much of.
    #[must_use]
    pub fn default_verifier_threads() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
    }

    /// How long a first signature waits for others if nothing else is set.
    pub const DEFAULT_LINGER: Duration = Duration::from_millis(2);

    pub(super) fn check(&self) -> Result<(), String> {
        let quorums = self.quorum_numbers.len();
        if quorums == 0 || quorums != self.quorum_threshold_percentages.len() {
            return Err(format!(
                "{quorums} quorum numbers and {} thresholds: give one threshold for each quorum, one quorum at least",
                self.quorum_threshold_percentages.len()
            ));
        }
        if !self.quorum_numbers.is_sorted_by(|left, right| left < right) {
            return Err(format!(
                "quorum numbers {:?} must be ascending and each stand once",
                self.quorum_numbers
            ));
        }
        if let Some(percentage) = self
            .quorum_threshold_percentages
            .iter()
            .find(|percentage| !(1..=100).contains(*percentage))
        {
            return Err(format!(
                "a threshold of {percentage} percent is out of range: give 1 to 100"
            ));
        }
        for (name, value) in [
            ("max_open_tasks", self.max_open_tasks),
            ("max_unsigned_per_peer", self.max_unsigned_per_peer),
            ("queue_bound", self.queue_bound),
            ("verifier_threads", self.verifier_threads),
        ] {
            if value == 0 {
                return Err(format!("{name} is 0: it must be at least 1"));
            }
        }
        Ok(())
    }
}
