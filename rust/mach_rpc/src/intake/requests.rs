//! What operators ask: tasks for alerts, and signatures taken in up to the queue.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use mach_bls::{BlsError, Signature};
use tokio::sync::oneshot;

use super::announcements::Told;
use super::answers::{Answer, NOT_CONFIRMED};
use super::cooling::Cooled;
use super::peers::PeerKey;
use super::state::State;
use super::stats::{Outcome, Stats};
use super::tasks::{Ending, Repeat, Stage, Standing, Subject, Task, same_rules};
use crate::aggregator::{AlertTaskInfo, Refusal, SignedTaskReply, SignedTaskRequest};

/// An answer that is there at once, or comes.
pub(super) enum Reply<T> {
    Now(T),
    Later(oneshot::Receiver<T>),
}

impl State {
    /// The alert's one task.
    pub(super) fn create_task(&mut self, peer: PeerKey, alert_hash: [u8; 32]) -> Reply<Told> {
        if let Some(known) = self.known_alert(&alert_hash) {
            return Reply::Now(known);
        }
        if let Some(receiver) = self.announcements.join(&alert_hash) {
            return Reply::Later(receiver);
        }
        let subject = match self.propose(peer, alert_hash) {
            Ok(subject) => subject,
            Err(refusal) => return Reply::Now(Err(refusal)),
        };
        if self.settings.shared {
            return Reply::Later(self.announcements.insert(peer, subject));
        }
        let info = subject.info(&self.settings);
        self.insert_unsigned(subject, peer);
        Reply::Now(Ok(info))
    }

    /// The task of an alert that has one, or the refusal of one that needs none.
    pub(super) fn known_alert(&self, alert_hash: &[u8; 32]) -> Option<Told> {
        if let Some(task) = self
            .alerts
            .get(alert_hash)
            .and_then(|index| self.tasks.get(index))
        {
            return Some(Ok(task.subject.info(&self.settings)));
        }
        let tx_hash = self.finished.confirmed_by(alert_hash)?;
        Some(Err(Refusal::AlreadyFinished {
            alert_hash: *alert_hash,
            tx_hash,
        }))
    }

    /// A new task at the head, within the bounds.
    fn propose(&mut self, peer: PeerKey, alert_hash: [u8; 32]) -> Result<Arc<Subject>, Refusal> {
        let Some((reference_block, set)) = self.head.clone() else {
            return Err(no_head());
        };
        let most = self.settings.max_unsigned_per_peer;
        if self.settings.shared {
            if self.announcements.of_peer(peer) >= most {
                return Err(Refusal::Busy(format!(
                    "{most} new alerts of {peer} wait for their task, which is the bound: try again in a second"
                )));
            }
        } else if self.unsigned.of_peer(peer) >= most
            && let Some(oldest) = self.unsigned.oldest_of(peer)
        {
            self.evict(oldest);
        }
        if self.announcements.len() >= self.settings.max_open_tasks || !self.make_room() {
            return Err(Refusal::Busy(format!(
                "{} tasks are open, which is the bound: try again when some are confirmed or expired",
                self.settings.max_open_tasks
            )));
        }
        let Some(task_index) = self.indices.take() else {
            return Err(Refusal::Busy(
                "no task indices are left until more are reserved: try again in a second"
                    .to_owned(),
            ));
        };
        Ok(Subject::new(
            task_index,
            alert_hash,
            reference_block,
            set,
            &self.settings,
        ))
    }

    /// Takes one signature in. `wake` is set where a sleeping verifier should look.
    pub(super) fn process(
        &mut self,
        peer: PeerKey,
        request: &SignedTaskRequest,
        signature: Result<Signature, BlsError>,
        now: Instant,
        wake: &mut bool,
    ) -> Reply<Answer> {
        let subject = match self.locate(&request.alert) {
            Ok(subject) => subject,
            Err((outcome, answer)) => {
                self.stats.signature(outcome, None);
                return Reply::Now(answer);
            }
        };
        let Some(member) = subject.set.position(&request.operator_id) else {
            self.stats.signature(Outcome::NotRegistered, None);
            return Reply::Now(Err(Refusal::NotInQuorum {
                task_index: subject.task_index,
                operator_id: request.operator_id,
            }));
        };
        let counters = Arc::clone(&subject.set);
        let refuse = |stats: &Stats, outcome, answer| {
            stats.signature(outcome, Some(counters.counters(member)));
            Reply::Now(answer)
        };
        let Ok(signature) = signature else {
            return refuse(
                &self.stats,
                Outcome::Malformed,
                Err(subject.incorrect(member)),
            );
        };
        if let Some(task) = self.task_of(&subject) {
            match task.repeat(member, peer, &signature) {
                Repeat::No => {}
                Repeat::Counted => {
                    return refuse(&self.stats, Outcome::Repeated, Ok(NOT_CONFIRMED));
                }
                Repeat::Waits(receiver) => {
                    self.stats
                        .signature(Outcome::Repeated, Some(subject.set.counters(member)));
                    return Reply::Later(receiver);
                }
                Repeat::Contradicts => {
                    return refuse(
                        &self.stats,
                        Outcome::Invalid,
                        Err(subject.incorrect(member)),
                    );
                }
                Repeat::Crowds => {
                    return refuse(
                        &self.stats,
                        Outcome::Busy,
                        Err(being_checked(&subject, member)),
                    );
                }
            }
        }
        let sender = (request.operator_id, peer);
        let cooled = self.cooling.is_cooling(&sender, now);
        if cooled && !self.cooling.has_room(&sender) {
            return refuse(
                &self.stats,
                Outcome::Busy,
                Err(cooling_down(&request.operator_id, peer)),
            );
        }
        if self.in_flight >= self.settings.queue_bound {
            let busy = Refusal::Busy(format!(
                "{} signatures wait to be checked and stored, which is the bound: try again in a second",
                self.in_flight
            ));
            return refuse(&self.stats, Outcome::Busy, Err(busy));
        }
        let id = self.next_pending;
        self.next_pending += 1;
        self.in_flight += 1;
        let stage = if cooled { Stage::Cooled } else { Stage::Queued };
        let receiver = self
            .task_or_rebuild(&subject, peer)
            .admit(id, member, peer, signature, stage);
        *wake = if cooled {
            self.cooling.push(Cooled {
                sender,
                subject,
                pending: id,
            });
            self.idle_verifiers > 0
        } else {
            self.line_up(&subject, now)
        };
        Reply::Later(receiver)
    }

    /// The task that a signature is for: a known one, or a subject of its own that may become one.
    fn locate(&self, info: &AlertTaskInfo) -> Result<Arc<Subject>, (Outcome, Answer)> {
        let task_index = info.task_index;
        let wrong = || (Outcome::WrongTask, Err(Refusal::TaskCompleted(task_index)));
        let not_found = || (Outcome::NotFound, Err(Refusal::TaskNotFound));
        let reference_block = u32::try_from(info.reference_block_number).ok();
        let told = |alert_hash: &[u8; 32], block: u32| {
            info.alert_hash == *alert_hash
                && reference_block == Some(block)
                && same_rules(info, &self.settings)
        };
        if let Some(task) = self.tasks.get(&task_index) {
            let subject = &task.subject;
            let same = told(&subject.alert_hash, subject.reference_block);
            return same.then(|| Arc::clone(subject)).ok_or_else(wrong);
        }
        if let Some(finished) = self.finished.task(task_index) {
            return Err(match finished.ending {
                // Of whichever round: the alert stands.
                Ending::Confirmed(tx_hash) if finished.alert_hash == info.alert_hash => (
                    Outcome::Late,
                    Ok(SignedTaskReply {
                        reply: true,
                        tx_hash,
                    }),
                ),
                _ => wrong(),
            });
        }
        if self.head.is_none() {
            return Err((Outcome::Unavailable, Err(no_head())));
        }
        // An index that was evicted, or given out before this process started: the signature vouches for the rest.
        if let Some(tx_hash) = self.finished.confirmed_by(&info.alert_hash) {
            let alert_hash = info.alert_hash;
            return Err((
                Outcome::Late,
                Err(Refusal::AlreadyFinished {
                    alert_hash,
                    tx_hash,
                }),
            ));
        }
        if self.alerts.contains_key(&info.alert_hash)
            || !same_rules(info, &self.settings)
            || !self.indices.may_have_been_used(task_index)
        {
            return Err(not_found());
        }
        let reference_block = reference_block.ok_or_else(not_found)?;
        let set = self.set_at(reference_block).ok_or_else(not_found)?;
        let rebuilding = self
            .rebuilding
            .get(&(task_index, info.alert_hash, reference_block));
        Ok(rebuilding.map_or_else(
            || {
                Subject::new(
                    task_index,
                    info.alert_hash,
                    reference_block,
                    Arc::clone(set),
                    &self.settings,
                )
            },
            |task| Arc::clone(&task.subject),
        ))
    }

    fn task_or_rebuild(&mut self, subject: &Arc<Subject>, peer: PeerKey) -> &mut Task {
        let known = matches!(self.tasks.get(&subject.task_index), Some(task) if Arc::ptr_eq(&task.subject, subject));
        let rebuild = || {
            Task::new(
                Arc::clone(subject),
                Standing::Rebuilding,
                peer,
                SystemTime::now(),
            )
        };
        if known {
            self.tasks.entry(subject.task_index).or_insert_with(rebuild)
        } else {
            self.rebuilding
                .entry(subject.rebuild_key())
                .or_insert_with(rebuild)
        }
    }
}

fn no_head() -> Refusal {
    Refusal::Unavailable(
        "the aggregator does not know the head of L1 and its operators yet: try again in a few seconds".to_owned(),
    )
}

fn being_checked(subject: &Subject, member: u32) -> Refusal {
    Refusal::Busy(format!(
        "another signature of operator 0x{} over task {} is being checked: try again in a second",
        hex::encode(subject.set.operator_id(member)),
        subject.task_index
    ))
}

/// The refusal of a sender that has a signature waiting to be checked alone.
pub(super) fn cooling_down(operator_id: &[u8; 32], peer: PeerKey) -> Refusal {
    Refusal::Busy(format!(
        "operator 0x{} sent a bad signature from {peer}: its signatures are checked last for a while, and one waits",
        hex::encode(operator_id)
    ))
}
