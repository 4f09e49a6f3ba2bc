//! Batches: valid signatures on their way to the owner's database, and back as answers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::IntakeError;
use super::answers::{Answers, NOT_CONFIRMED};
use super::operators::Tally;
use super::state::{State, Verified};
use super::stats::Outcome;
use super::tasks::{Ending, Stage, Standing, Subject};
use crate::aggregator::Refusal;

/// Batches that may be given out and not yet committed.
pub(super) const MAX_OUTSTANDING: usize = 2;
/// Signatures in one batch, so that no transaction grows without a bound.
const MAX_SIGNATURES: usize = 4_096;

/// A task that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// The task's number.
    pub task_index: u32,
    /// The alert's message hash.
    pub alert_hash: [u8; 32],
    /// The L1 block whose stakes count.
    pub reference_block: u32,
    /// The operator set at that block.
    pub set_id: u64,
    /// When the first operator asked for it.
    pub created_at: SystemTime,
}

/// A signature that was checked and did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSignature {
    /// In whose name it was sent.
    pub operator_id: [u8; 32],
    /// The task it was for.
    pub task_index: u32,
    /// That task's alert.
    pub alert_hash: [u8; 32],
    /// From where it was sent: an IPv4 address, or the 64-bit prefix of an IPv6 one.
    pub peer: String,
}

/// What the owner stores in one transaction, before it commits the batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The batch's number.
    pub id: u64,
    /// Tasks with their first valid signature.
    pub tasks: Vec<NewTask>,
    /// For each signature, its task.
    pub task_indices: Vec<u32>,
    /// For each signature, its task's reference block: it counts for no other.
    pub reference_blocks: Vec<u32>,
    /// For each signature, its operator's id (32 bytes).
    pub operator_ids: Vec<u8>,
    /// Each signature: `x ‖ y` (64 bytes).
    pub signatures: Vec<u8>,
    /// The alert of each task that has signatures here.
    pub alert_hashes: Vec<(u32, [u8; 32])>,
    /// Tasks whose thresholds are met by what is durable and this batch.
    pub quorum_reached: Vec<u32>,
    /// Tasks proposed for new alerts, where several aggregators share a database; the first proposal stands.
    pub announcements: Vec<NewTask>,
    /// Bad signatures since the last batch, the first few hundred.
    pub bad_signatures: Vec<BadSignature>,
    /// Whether more task indices should be reserved.
    pub needs_indices: bool,
}

/// What an alert's task is, as the shared database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnouncedTask {
    /// The task's number.
    pub task_index: u32,
    /// The alert's message hash.
    pub alert_hash: [u8; 32],
    /// The L1 block whose stakes count.
    pub reference_block: u32,
}

/// A batch that was given out.
pub(super) struct OutstandingBatch {
    groups: Vec<Arc<Subject>>,
    quorum_reached: Vec<u32>,
    announcements: Vec<[u8; 32]>,
}

impl State {
    /// What there is to store now.
    pub(super) fn form_batch(&mut self) -> Option<Batch> {
        if self.stopping || self.batches.len() >= MAX_OUTSTANDING {
            return None;
        }
        let id = self.next_batch;
        let mut batch = Batch {
            id,
            ..Batch::default()
        };
        let groups = self.collect_verified(&mut batch);
        let proposals = self.announcements.take_fresh();
        batch.announcements = proposals
            .iter()
            .map(|proposal| new_task(proposal, SystemTime::now()))
            .collect();
        batch.bad_signatures = std::mem::take(&mut self.bad_signatures);
        batch.needs_indices = self.needs_indices();
        if batch.task_indices.is_empty()
            && batch.announcements.is_empty()
            && batch.bad_signatures.is_empty()
            && !batch.needs_indices
        {
            return None;
        }
        self.asked_for_indices |= batch.needs_indices;
        self.next_batch += 1;
        self.stats.batch(batch.task_indices.len());
        self.batches.insert(
            id,
            OutstandingBatch {
                groups,
                quorum_reached: batch.quorum_reached.clone(),
                announcements: batch
                    .announcements
                    .iter()
                    .map(|task| task.alert_hash)
                    .collect(),
            },
        );
        Some(batch)
    }

    /// Moves valid signatures into the batch; returns the subjects they are of.
    fn collect_verified(&mut self, batch: &mut Batch) -> Vec<Arc<Subject>> {
        let mut subjects: Vec<Arc<Subject>> = Vec::new();
        let mut held_back = Vec::new();
        while batch.task_indices.len() < MAX_SIGNATURES {
            let Some(verified) = self.verified.pop_front() else {
                break;
            };
            let Some(task) = self.task_of(&verified.subject) else {
                continue;
            };
            // Its task is stored by an earlier batch, without which these would hang in the air.
            if matches!(task.standing, Standing::InBatch(other) if other != batch.id) {
                held_back.push(verified);
                continue;
            }
            let Verified { subject, pending } = verified;
            let created_at = task.created_at;
            let new = task.standing == Standing::Signed;
            let first = batch.task_indices.len();
            for id in pending {
                if let Some(pending) = task.pending_mut(id) {
                    pending.stage = Stage::InBatch(batch.id);
                    batch.task_indices.push(subject.task_index);
                    batch.reference_blocks.push(subject.reference_block);
                    batch
                        .operator_ids
                        .extend_from_slice(subject.set.operator_id(pending.member));
                    batch
                        .signatures
                        .extend_from_slice(&pending.signature.to_bytes());
                }
            }
            if batch.task_indices.len() == first {
                continue;
            }
            if new {
                task.standing = Standing::InBatch(batch.id);
                batch.tasks.push(new_task(&subject, created_at));
            }
            subjects.push(subject);
        }
        for verified in held_back.into_iter().rev() {
            self.verified.push_front(verified);
        }
        let mut seen = HashSet::new();
        subjects.retain(|subject| seen.insert(subject.task_index));
        for subject in &subjects {
            batch
                .alert_hashes
                .push((subject.task_index, subject.alert_hash));
            if self.reaches_quorum(subject, Stage::InBatch(batch.id)) {
                batch.quorum_reached.push(subject.task_index);
            }
        }
        subjects
    }

    /// Whether a task that had no quorum has one, with what is durable and its signatures at `stage`.
    fn reaches_quorum(&mut self, subject: &Arc<Subject>, stage: Stage) -> bool {
        let settings = Arc::clone(&self.settings);
        let Some(task) = self.task_of(subject).filter(|task| !task.quorum) else {
            return false;
        };
        let mut members = task.counted.clone();
        for pending in task.pending.iter().filter(|pending| pending.stage == stage) {
            members.insert(pending.member);
        }
        Tally::of(&subject.set, &members)
            .meets(&subject.set, &settings.quorum_threshold_percentages)
    }

    /// The batch is durable but for the tasks in `refused`; returns tasks whose thresholds are met now, and of which
    /// the batch did not say so.
    pub(super) fn commit(
        &mut self,
        id: u64,
        refused: &[u32],
        announced: &[AnnouncedTask],
        answers: &mut Answers,
    ) -> Result<Vec<u32>, IntakeError> {
        if !self.batches.contains_key(&id) {
            return Err(IntakeError::UnknownBatch(id));
        }
        for task in announced {
            self.require_block(task.task_index, task.reference_block)?;
        }
        let Some(batch) = self.batches.remove(&id) else {
            return Err(IntakeError::UnknownBatch(id));
        };
        for subject in batch
            .groups
            .iter()
            .filter(|subject| refused.contains(&subject.task_index))
        {
            // If it began anew meanwhile, only the old round is refused.
            if self.task_of(subject).is_some() {
                self.finish(subject.task_index, Ending::Failed, answers);
            }
        }
        let settings = Arc::clone(&self.settings);
        let stats = Arc::clone(&self.stats);
        let mut late_quorum = Vec::new();
        for subject in &batch.groups {
            if let Some(task) = self.tasks.get_mut(&subject.task_index)
                && task.standing == Standing::InBatch(id)
            {
                task.standing = Standing::Durable;
            }
            let Some(task) = self.task_of(subject) else {
                continue;
            };
            let stored = Stage::InBatch(id);
            let members: Vec<u32> = task
                .pending
                .iter()
                .filter(|pending| pending.stage == stored)
                .map(|pending| pending.member)
                .collect();
            task.count(members);
            let resolved = task.resolve(answers, |pending| {
                (pending.stage == stored).then(|| {
                    stats.signature(Outcome::Counted, Some(subject.set.counters(pending.member)));
                    Ok(NOT_CONFIRMED)
                })
            });
            if !task.quorum
                && task
                    .tally
                    .meets(&subject.set, &settings.quorum_threshold_percentages)
            {
                task.quorum = true;
                if !batch.quorum_reached.contains(&subject.task_index) {
                    late_quorum.push(subject.task_index);
                }
            }
            self.settle(&resolved);
        }
        self.answer_announcements(&batch.announcements, announced, answers);
        Ok(late_quorum)
    }

    fn answer_announcements(
        &mut self,
        alerts: &[[u8; 32]],
        announced: &[AnnouncedTask],
        answers: &mut Answers,
    ) {
        let announced: HashMap<[u8; 32], &AnnouncedTask> = announced
            .iter()
            .map(|task| (task.alert_hash, task))
            .collect();
        for alert_hash in alerts {
            let Some(announcement) = self.announcements.remove(alert_hash) else {
                continue;
            };
            if self.known_alert(alert_hash).is_none()
                && let Some(task) = announced.get(alert_hash)
                && let Some(set) = self.set_at(task.reference_block).cloned()
                && !self.tasks.contains_key(&task.task_index)
                && self.make_room()
            {
                let subject = Subject::new(
                    task.task_index,
                    *alert_hash,
                    task.reference_block,
                    set,
                    &self.settings,
                );
                self.insert_unsigned(subject, announcement.peer);
            }
            let told = self.known_alert(alert_hash).unwrap_or_else(|| {
                let busy = "the alert got no task: try again in a second";
                Err(Refusal::Busy(busy.to_owned()))
            });
            answers.alert(announcement.waiters, &told);
        }
    }

    /// The batch is not durable: whoever waits for it is told to try again, and nothing of it counts.
    pub(super) fn fail(
        &mut self,
        id: u64,
        reason: &str,
        answers: &mut Answers,
    ) -> Result<(), IntakeError> {
        let batch = self
            .batches
            .remove(&id)
            .ok_or(IntakeError::UnknownBatch(id))?;
        let busy = Refusal::Busy(format!("{reason}: send it again in a few seconds"));
        let stats = Arc::clone(&self.stats);
        // What was asked for with this batch is asked for again.
        self.asked_for_indices = false;
        for subject in &batch.groups {
            self.resolve(subject, answers, |pending| {
                (pending.stage == Stage::InBatch(id)).then(|| {
                    stats.signature(
                        Outcome::NotStored,
                        Some(subject.set.counters(pending.member)),
                    );
                    Err(busy.clone())
                })
            });
            let Self {
                tasks, unsigned, ..
            } = self;
            if let Some(task) = tasks.get_mut(&subject.task_index)
                && task.standing == Standing::InBatch(id)
            {
                let signed = task
                    .pending
                    .iter()
                    .any(|pending| pending.stage == Stage::Verified);
                task.standing = if signed {
                    Standing::Signed
                } else {
                    Standing::Unsigned(unsigned.insert(subject.task_index, task.creator))
                };
            }
        }
        for alert_hash in &batch.announcements {
            if let Some(announcement) = self.announcements.remove(alert_hash) {
                answers.alert(announcement.waiters, &Err(busy.clone()));
            }
        }
        Ok(())
    }
}

fn new_task(subject: &Subject, created_at: SystemTime) -> NewTask {
    NewTask {
        task_index: subject.task_index,
        alert_hash: subject.alert_hash,
        reference_block: subject.reference_block,
        set_id: subject.set.set_id,
        created_at,
    }
}
