use tokio::sync::oneshot;

use super::announcements::Told;
use crate::aggregator::{Refusal, SignedTaskReply};

/// What a signature is answered with.
pub(super) type Answer = Result<SignedTaskReply, Refusal>;

/// Counted, or not yet on L1.
pub(super) const NOT_CONFIRMED: SignedTaskReply = SignedTaskReply {
    reply: false,
    tx_hash: [0; 32],
};

/// Requests that wait for the same answer. Those who give up are forgotten.
pub(super) struct Waiters<T>(Vec<oneshot::Sender<T>>);

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Waiters<T> {
    pub(super) fn wait(&mut self) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        // Looked through only when the list would grow, after which it has as much room again.
        if self.0.len() == self.0.capacity() {
            self.0.retain(|waiter| !waiter.is_closed());
            self.0.reserve(self.0.len().max(1));
        }
        self.0.push(sender);
        receiver
    }
}

/// Answers that are sent when no lock is held any more.
#[derive(Default)]
pub(super) struct Answers {
    signatures: Vec<(oneshot::Sender<Answer>, Answer)>,
    alerts: Vec<(oneshot::Sender<Told>, Told)>,
}

impl Answers {
    pub(super) fn is_empty(&self) -> bool {
        self.signatures.is_empty() && self.alerts.is_empty()
    }

    pub(super) fn signature(&mut self, waiters: Waiters<Answer>, answer: &Answer) {
        let waiters = waiters.0.into_iter();
        self.signatures
            .extend(waiters.map(|waiter| (waiter, answer.clone())));
    }

    pub(super) fn alert(&mut self, waiters: Waiters<Told>, told: &Told) {
        let waiters = waiters.0.into_iter();
        self.alerts
            .extend(waiters.map(|waiter| (waiter, told.clone())));
    }

    /// Whoever gave up waiting needs no answer.
    pub(super) fn send(self) {
        for (waiter, answer) in self.signatures {
            drop(waiter.send(answer));
        }
        for (waiter, told) in self.alerts {
            drop(waiter.send(told));
        }
    }
}
