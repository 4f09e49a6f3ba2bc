use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::operators::OperatorId;
use super::peers::PeerKey;
use super::tasks::Subject;

/// At most so many signatures of cooling senders are checked in a second.
const CHECKS_PER_SECOND: u32 = 4;
/// How far their checks may fall behind when there is always other work.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_SENDERS: usize = 16_384;

/// Who sent a signature: nobody proves to be an operator before its signature is checked, so that a bad one speaks
/// against the operator's name only together with the address it came from.
pub(super) type Sender = (OperatorId, PeerKey);

/// A signature set aside.
pub(super) struct Cooled {
    pub(super) sender: Sender,
    pub(super) subject: Arc<Subject>,
    pub(super) pending: u64,
}

/// Senders of bad signatures, and the signatures of theirs that wait to be checked alone.
pub(super) struct Cooling {
    cool_down: Duration,
    max_queued: usize,
    until: HashMap<Sender, Instant>,
    /// In the order in which they end; entries that were prolonged stand once more, behind.
    ends: VecDeque<(Instant, Sender)>,
    queue: VecDeque<Cooled>,
    queued: HashSet<Sender>,
    next_check: Option<Instant>,
}

impl Cooling {
    pub(super) fn new(cool_down: Duration, max_queued: usize) -> Self {
        Self {
            cool_down,
            max_queued,
            until: HashMap::new(),
            ends: VecDeque::new(),
            queue: VecDeque::new(),
            queued: HashSet::new(),
            next_check: None,
        }
    }

    /// A bad signature came from `sender`.
    pub(super) fn start(&mut self, sender: Sender, now: Instant) {
        let end = now + self.cool_down;
        self.until.insert(sender, end);
        self.ends.push_back((end, sender));
        self.forget(now);
    }

    pub(super) fn is_cooling(&self, sender: &Sender, now: Instant) -> bool {
        // Nearly always nobody is, and this stands on the path of every signature.
        !self.until.is_empty() && self.until.get(sender).is_some_and(|end| now < *end)
    }

    /// Whether one more signature of the sender may be set aside: one each, and not too many of all.
    pub(super) fn has_room(&self, sender: &Sender) -> bool {
        self.queue.len() < self.max_queued && !self.queued.contains(sender)
    }

    pub(super) fn push(&mut self, cooled: Cooled) {
        self.queued.insert(cooled.sender);
        self.queue.push_back(cooled);
    }

    /// The next signature, if it is time to check one. `idle`: there is nothing else to do.
    ///
    /// Whoever checks it calls [`Self::checked`].
    pub(super) fn pop(&mut self, now: Instant, idle: bool) -> Option<Cooled> {
        let due = self.due(now)?;
        if now < if idle { due } else { due + PATIENCE } {
            return None;
        }
        let cooled = self.queue.pop_front()?;
        self.queued.remove(&cooled.sender);
        Some(cooled)
    }

    /// A signature is being checked: the next waits for its turn.
    pub(super) fn checked(&mut self, now: Instant) {
        self.next_check = Some(now + Duration::from_secs(1) / CHECKS_PER_SECOND);
    }

    /// When the next signature may be checked.
    pub(super) fn due(&mut self, now: Instant) -> Option<Instant> {
        if self.queue.is_empty() {
            return None;
        }
        Some(*self.next_check.get_or_insert(now))
    }

    pub(super) fn depth(&self) -> usize {
        self.queue.len()
    }

    /// Different operators that cool down, from any address.
    pub(super) fn operators(&self, now: Instant) -> usize {
        let cooling = self.until.iter().filter(|(_, end)| now < **end);
        cooling
            .map(|((operator_id, _), _)| operator_id)
            .collect::<HashSet<_>>()
            .len()
    }

    fn forget(&mut self, now: Instant) {
        while let Some((end, sender)) = self.ends.front() {
            if now < *end && self.ends.len() <= MAX_SENDERS {
                break;
            }
            if self.until.get(sender) == Some(end) {
                self.until.remove(sender);
            }
            self.ends.pop_front();
        }
    }
}
