//! How long the stages of a verification take.

/// Seconds by stage; all zero without the `std` feature, where there is no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Reading the parent, the block and the ancestors, and checking the header.
    pub decode: f64,
    /// Hashing the preimages.
    pub witness: f64,
    /// Reading the transactions and recovering their senders.
    pub senders: f64,
    /// Executing the transactions, reading the tries on the way.
    pub execute: f64,
    /// Writing the changes into the tries and hashing them.
    pub state_root: f64,
    /// The roots of receipts, transactions and withdrawals, and the comparison.
    pub commitments: f64,
    /// Not a time: the transactions whose outcome a second thread had found when their turn came.
    pub found_ahead: usize,
}

impl Timings {
    /// The stages by name, in the order in which they run.
    pub const fn stages(&self) -> [(&'static str, f64); 6] {
        [
            ("decode", self.decode),
            ("witness", self.witness),
            ("senders", self.senders),
            ("execute", self.execute),
            ("state_root", self.state_root),
            ("commitments", self.commitments),
        ]
    }
}

/// Measures from one lap to the next.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    #[cfg(feature = "std")]
    last: std::time::Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(feature = "std")]
            last: std::time::Instant::now(),
        }
    }

    /// Seconds since the start or the last lap.
    #[cfg(feature = "std")]
    pub(crate) fn lap(&mut self) -> f64 {
        let now = std::time::Instant::now();
        core::mem::replace(&mut self.last, now)
            .elapsed()
            .as_secs_f64()
    }

    /// Without a clock no time passes.
    #[cfg(not(feature = "std"))]
    pub(crate) fn lap(&mut self) -> f64 {
        0.0
    }
}
