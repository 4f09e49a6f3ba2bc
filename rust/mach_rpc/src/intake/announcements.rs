use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::answers::Waiters;
use super::peers::PeerKey;
use super::tasks::Subject;
use crate::aggregator::{AlertTaskInfo, Refusal};

/// What whoever raises an alert is told.
pub(super) type Told = Result<AlertTaskInfo, Refusal>;

/// An alert that waits for the task that all aggregators give it.
pub(super) struct Announcement {
    pub(super) peer: PeerKey,
    pub(super) proposal: Arc<Subject>,
    pub(super) waiters: Waiters<Told>,
}

/// Alerts that wait for their task, where several aggregators share a database.
#[derive(Default)]
pub(super) struct Announcements {
    waiting: HashMap<[u8; 32], Announcement>,
    by_peer: HashMap<PeerKey, usize>,
    /// Those that no batch holds yet.
    fresh: Vec<[u8; 32]>,
}

impl Announcements {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn of_peer(&self, peer: PeerKey) -> usize {
        self.by_peer.get(&peer).copied().unwrap_or_default()
    }

    pub(super) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Waits along with whoever raised the alert first; `None` where nobody did.
    pub(super) fn join(&mut self, alert_hash: &[u8; 32]) -> Option<oneshot::Receiver<Told>> {
        let announcement = self.waiting.get_mut(alert_hash)?;
        Some(announcement.waiters.wait())
    }

    /// Proposes a task for an alert that nobody waits for.
    pub(super) fn insert(
        &mut self,
        peer: PeerKey,
        proposal: Arc<Subject>,
    ) -> oneshot::Receiver<Told> {
        let alert_hash = proposal.alert_hash;
        let mut waiters = Waiters::default();
        let receiver = waiters.wait();
        *self.by_peer.entry(peer).or_default() += 1;
        self.fresh.push(alert_hash);
        let announcement = Announcement {
            peer,
            proposal,
            waiters,
        };
        self.waiting.insert(alert_hash, announcement);
        receiver
    }

    /// The proposals that no batch holds yet; from now on one does.
    pub(super) fn take_fresh(&mut self) -> Vec<Arc<Subject>> {
        let fresh = std::mem::take(&mut self.fresh).into_iter();
        fresh
            .filter_map(|alert_hash| self.waiting.get(&alert_hash))
            .map(|announcement| Arc::clone(&announcement.proposal))
            .collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Announcement> {
        self.by_peer.clear();
        self.fresh.clear();
        let waiting = self.waiting.drain();
        waiting.map(|(_, announcement)| announcement).collect()
    }

    pub(super) fn remove(&mut self, alert_hash: &[u8; 32]) -> Option<Announcement> {
        let announcement = self.waiting.remove(alert_hash)?;
        if let Some(count) = self.by_peer.get_mut(&announcement.peer) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&announcement.peer);
            }
        }
        Some(announcement)
    }
}
