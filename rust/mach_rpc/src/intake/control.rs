//! What the owner decides: operators and blocks, indices, and how tasks go on and end.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::IntakeError;
use super::answers::{Answer, Answers};
use super::operators::OperatorSet;
use super::peers::PeerKey;
use super::state::State;
use super::stats::Outcome;
use super::tasks::{Ending, FinishedTask, Standing, Subject, Task};
use crate::aggregator::{Refusal, SignedTaskReply};

/// Heads whose operator set is held: some three hours of L1.
const HEADS: usize = 1_000;
/// Other blocks whose operator set is held, for tasks that are older, or another aggregator's.
const TOLD_BLOCKS: usize = 16_384;

/// Where a stored task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredState {
    /// Collecting signatures, below its thresholds.
    Open,
    /// Its thresholds are met, or it is on its way to L1.
    Quorum,
    /// Ended.
    Ended(Ending),
}

/// A task as the owner has it stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTask {
    /// The task's number.
    pub task_index: u32,
    /// The alert's message hash.
    pub alert_hash: [u8; 32],
    /// The L1 block whose stakes count.
    pub reference_block: u32,
    /// Where it stands.
    pub state: StoredState,
    /// When it was created.
    pub created_at: SystemTime,
    /// Whose signatures are stored; those outside the operator set have no stake and are left out.
    pub signers: Vec<[u8; 32]>,
}

impl State {
    /// Holds a set until no block has it any more; a new one at least until the next head.
    pub(super) fn add_set(&mut self, set: OperatorSet) {
        self.newest_set = Some(set.set_id);
        self.sets.insert(set.set_id, Arc::new(set));
    }

    /// New tasks get this block from now on.
    pub(super) fn set_head(
        &mut self,
        block: u32,
        set_id: u64,
        answers: &mut Answers,
    ) -> Result<(), IntakeError> {
        let set = self.set(set_id)?;
        self.heads.insert(block, Arc::clone(&set));
        self.head = Some((block, set));
        while self.heads.len() > HEADS {
            self.heads.pop_first();
        }
        self.drop_outdated_tasks(answers);
        if self.sets.len() == 1 {
            return Ok(());
        }
        // Tasks hold the sets they need themselves.
        let held: HashSet<u64> = self
            .heads
            .values()
            .chain(self.told_blocks.values())
            .map(|set| set.set_id)
            .chain(self.newest_set)
            .collect();
        self.sets.retain(|id, _| held.contains(id));
        Ok(())
    }

    /// Tells which set a block has that is, or was, no head here.
    pub(super) fn add_reference_block(
        &mut self,
        block: u32,
        set_id: u64,
    ) -> Result<(), IntakeError> {
        let set = self.set(set_id)?;
        if self.told_blocks.insert(block, set).is_none() {
            self.told_order.push_back(block);
        }
        while self.told_order.len() > TOLD_BLOCKS {
            if let Some(first) = self.told_order.pop_front() {
                self.told_blocks.remove(&first);
            }
        }
        Ok(())
    }

    fn set(&self, set_id: u64) -> Result<Arc<OperatorSet>, IntakeError> {
        self.sets
            .get(&set_id)
            .cloned()
            .ok_or(IntakeError::UnknownOperatorSet(set_id))
    }

    /// What nobody signed for so long is not worth keeping: the chain would not take it for much longer.
    fn drop_outdated_tasks(&mut self, answers: &mut Answers) {
        if self.heads.len() < HEADS {
            return;
        }
        let oldest_head = self.heads.first_key_value().map_or(0, |(block, _)| *block);
        while let Some(index) = self.unsigned.oldest() {
            if self
                .tasks
                .get(&index)
                .is_none_or(|task| task.subject.reference_block >= oldest_head)
            {
                break;
            }
            self.stats.evictions.fetch_add(1, Ordering::Relaxed);
            self.end_task(
                index,
                answers,
                &Err(Refusal::TaskNotFound),
                Outcome::NotFound,
            );
        }
    }

    /// The operator set at a block, if it is known.
    pub(super) fn set_at(&self, reference_block: u32) -> Option<&Arc<OperatorSet>> {
        self.heads
            .get(&reference_block)
            .or_else(|| self.told_blocks.get(&reference_block))
    }

    pub(super) fn require_block(
        &self,
        task_index: u32,
        reference_block: u32,
    ) -> Result<Arc<OperatorSet>, IntakeError> {
        let known = self.set_at(reference_block).cloned();
        known.ok_or(IntakeError::UnknownReferenceBlock {
            task_index,
            reference_block,
        })
    }

    /// Takes stored tasks in; returns those that are open although their thresholds are met.
    pub(super) fn restore(
        &mut self,
        stored: Vec<StoredTask>,
        answers: &mut Answers,
    ) -> Result<Vec<u32>, IntakeError> {
        for task in &stored {
            if !matches!(task.state, StoredState::Ended(_)) && !self.is_present_round(task) {
                self.require_block(task.task_index, task.reference_block)?;
            }
        }
        let mut met = Vec::new();
        for task in stored {
            let task_index = task.task_index;
            if self.restore_one(task, answers)? {
                met.push(task_index);
            }
        }
        Ok(met)
    }

    fn is_present_round(&self, stored: &StoredTask) -> bool {
        self.tasks.get(&stored.task_index).is_some_and(|task| {
            task.subject.alert_hash == stored.alert_hash
                && task.subject.reference_block == stored.reference_block
        })
    }

    fn restore_one(
        &mut self,
        stored: StoredTask,
        answers: &mut Answers,
    ) -> Result<bool, IntakeError> {
        let present = self.is_present_round(&stored);
        let StoredTask {
            task_index,
            alert_hash,
            reference_block,
            state,
            created_at,
            signers,
        } = stored;
        // What is stored wins over what is not: another task of this alert, another alert under this index.
        let rival = self
            .alerts
            .get(&alert_hash)
            .copied()
            .filter(|index| *index != task_index);
        let usurper = self
            .tasks
            .get(&task_index)
            .filter(|task| task.subject.alert_hash != alert_hash);
        for index in rival.into_iter().chain(usurper.map(|_| task_index)) {
            self.end_task(
                index,
                answers,
                &Err(Refusal::TaskCompleted(index)),
                Outcome::WrongTask,
            );
        }
        if let StoredState::Ended(ending) = state {
            self.end_as(task_index, ending, answers);
            self.finished
                .insert(task_index, FinishedTask { alert_hash, ending });
            return Ok(false);
        }
        self.finished.reopen(task_index, &alert_hash);
        if !present {
            let answer = Err(Refusal::TaskCompleted(task_index));
            self.end_task(task_index, answers, &answer, Outcome::WrongTask);
            let set = self.require_block(task_index, reference_block)?;
            let subject =
                Subject::new(task_index, alert_hash, reference_block, set, &self.settings);
            self.insert_task(Task::new(
                subject,
                Standing::Durable,
                PeerKey::OWNER,
                created_at,
            ));
        }
        let Self {
            tasks,
            unsigned,
            settings,
            ..
        } = self;
        let Some(task) = tasks.get_mut(&task_index) else {
            return Ok(false);
        };
        if let Standing::Unsigned(ticket) = task.standing {
            unsigned.remove(ticket);
        }
        task.standing = Standing::Durable;
        let set = Arc::clone(&task.subject.set);
        task.count(
            signers
                .iter()
                .filter_map(|operator_id| set.position(operator_id)),
        );
        let met = task
            .tally
            .meets(&set, &settings.quorum_threshold_percentages);
        let news = met && !task.quorum && state == StoredState::Open;
        task.quorum |= met || state == StoredState::Quorum;
        Ok(news)
    }

    /// Ends a live task; returns whether there was one.
    fn end_as(&mut self, task_index: u32, ending: Ending, answers: &mut Answers) -> bool {
        let (answer, outcome): (Answer, _) = match ending {
            Ending::Confirmed(tx_hash) => (
                Ok(SignedTaskReply {
                    reply: true,
                    tx_hash,
                }),
                Outcome::Late,
            ),
            Ending::Failed | Ending::Expired => {
                (Err(Refusal::TaskCompleted(task_index)), Outcome::WrongTask)
            }
        };
        let known = self.tasks.contains_key(&task_index);
        self.end_task(task_index, answers, &answer, outcome);
        known
    }

    /// A task ended; returns whether it is known.
    pub(super) fn finish(
        &mut self,
        task_index: u32,
        ending: Ending,
        answers: &mut Answers,
    ) -> bool {
        if let Some(task) = self.tasks.get(&task_index) {
            let finished = FinishedTask {
                alert_hash: task.subject.alert_hash,
                ending,
            };
            self.end_as(task_index, ending, answers);
            self.finished.insert(task_index, finished);
            return true;
        }
        let Some(finished) = self.finished.task_mut(task_index) else {
            return false;
        };
        finished.ending = ending;
        let alert_hash = finished.alert_hash;
        if let Ending::Confirmed(tx_hash) = ending {
            self.finished.confirm(alert_hash, tx_hash, Some(task_index));
        }
        true
    }

    /// An alert stands on L1, whoever brought it there; returns the live task that this ended.
    pub(super) fn alert_confirmed(
        &mut self,
        alert_hash: [u8; 32],
        tx_hash: [u8; 32],
        answers: &mut Answers,
    ) -> Option<u32> {
        let task_index = self.alerts.get(&alert_hash).copied();
        match task_index {
            Some(index) => {
                self.finish(index, Ending::Confirmed(tx_hash), answers);
            }
            None => self.finished.confirm(alert_hash, tx_hash, None),
        }
        task_index
    }

    /// A task starts anew at another block, under its index: signatures at the old one count no more.
    pub(super) fn new_round(
        &mut self,
        task_index: u32,
        reference_block: u32,
        answers: &mut Answers,
    ) -> Result<(), IntakeError> {
        let set = self.require_block(task_index, reference_block)?;
        if !self.tasks.contains_key(&task_index) {
            return Err(IntakeError::UnknownTask(task_index));
        }
        let Some(mut task) = self.remove_task(task_index) else {
            return Err(IntakeError::UnknownTask(task_index));
        };
        let answer = Err(Refusal::TaskCompleted(task_index));
        self.end_pending(&mut task, answers, &answer, Outcome::WrongTask);
        let subject = Subject::new(
            task_index,
            task.subject.alert_hash,
            reference_block,
            set,
            &self.settings,
        );
        self.insert_task(Task::new(
            subject,
            Standing::Durable,
            task.creator,
            task.created_at,
        ));
        Ok(())
    }

    /// Counts signatures that another aggregator stored; returns whether the thresholds are met.
    pub(super) fn note_signatures(&mut self, task_index: u32, operator_ids: &[[u8; 32]]) -> bool {
        let Self {
            tasks,
            unsigned,
            settings,
            ..
        } = self;
        let Some(task) = tasks.get_mut(&task_index) else {
            return false;
        };
        // It is stored, if only by another aggregator.
        if let Standing::Unsigned(ticket) = task.standing {
            unsigned.remove(ticket);
            task.standing = Standing::Durable;
        }
        let set = Arc::clone(&task.subject.set);
        task.count(
            operator_ids
                .iter()
                .filter_map(|operator_id| set.position(operator_id)),
        );
        let met = task
            .tally
            .meets(&set, &settings.quorum_threshold_percentages);
        task.quorum |= met;
        met
    }

    pub(super) fn reserve(
        &mut self,
        first: u32,
        count: u32,
        high_water: u64,
    ) -> Result<(), IntakeError> {
        self.indices.reserve(first, count, high_water)?;
        self.asked_for_indices = false;
        Ok(())
    }
}
