use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use super::announcements::Announcements;
use super::answers::{Answer, Answers};
use super::batch::{BadSignature, MAX_OUTSTANDING, OutstandingBatch};
use super::cooling::Cooling;
use super::indices::Indices;
use super::operators::OperatorSet;
use super::peers::{PeerKey, UnsignedTasks};
use super::settings::IntakeSettings;
use super::stats::{Gauges, Outcome, Stats};
use super::tasks::{Finished, Pending, RebuildKey, Resolved, Standing, Subject, Task};
use crate::aggregator::Refusal;

/// Finished tasks that are remembered: late signatures of theirs get a right answer without the database.
const FINISHED_TASKS: usize = 65_536;
/// Bad signatures that the owner is told of with one batch.
const MAX_BAD_SIGNATURES: usize = 256;

/// Valid signatures of one task that no batch holds yet, by their pending ids.
pub(super) struct Verified {
    pub(super) subject: Arc<Subject>,
    pub(super) pending: Vec<u64>,
}

/// Everything that one lock protects. Its holders do a few look-ups; points are decoded and pairings computed outside.
pub(super) struct State {
    pub(super) settings: Arc<IntakeSettings>,
    pub(super) stats: Arc<Stats>,
    pub(super) stopping: bool,

    pub(super) tasks: HashMap<u32, Task>,
    /// The task of each alert in `tasks`.
    pub(super) alerts: HashMap<[u8; 32], u32>,
    /// Tasks that operators named and that may be rebuilt if their signatures turn out valid. Each has such a
    /// signature pending, so that the bound on those bounds these.
    pub(super) rebuilding: HashMap<RebuildKey, Task>,
    pub(super) finished: Finished,
    pub(super) unsigned: UnsignedTasks,
    pub(super) announcements: Announcements,
    pub(super) indices: Indices,
    pub(super) asked_for_indices: bool,

    pub(super) sets: HashMap<u64, Arc<OperatorSet>>,
    pub(super) newest_set: Option<u64>,
    /// The last heads and their sets.
    pub(super) heads: BTreeMap<u32, Arc<OperatorSet>>,
    /// Other blocks and their sets, and the order in which they were told.
    pub(super) told_blocks: HashMap<u32, Arc<OperatorSet>>,
    pub(super) told_order: VecDeque<u32>,
    pub(super) head: Option<(u32, Arc<OperatorSet>)>,

    pub(super) next_pending: u64,
    /// Signatures anywhere between arrival and answer.
    pub(super) in_flight: usize,
    /// Those of them that are valid.
    pub(super) uncommitted: usize,
    /// Tasks with signatures to check and since when, the one that waits longest first.
    pub(super) dirty: VecDeque<(Instant, Arc<Subject>)>,
    /// Those of them whose signatures would reach the thresholds.
    pub(super) urgent: VecDeque<Arc<Subject>>,
    pub(super) cooling: Cooling,
    pub(super) idle_verifiers: usize,

    pub(super) verified: VecDeque<Verified>,
    pub(super) bad_signatures: Vec<BadSignature>,
    pub(super) next_batch: u64,
    pub(super) batches: HashMap<u64, OutstandingBatch>,
}

impl State {
    pub(super) fn new(settings: Arc<IntakeSettings>, stats: Arc<Stats>) -> Self {
        Self {
            cooling: Cooling::new(settings.cool_down, settings.queue_bound.div_ceil(8)),
            settings,
            stats,
            stopping: false,
            tasks: HashMap::new(),
            alerts: HashMap::new(),
            rebuilding: HashMap::new(),
            finished: Finished::new(FINISHED_TASKS),
            unsigned: UnsignedTasks::default(),
            announcements: Announcements::default(),
            indices: Indices::default(),
            asked_for_indices: false,
            sets: HashMap::new(),
            newest_set: None,
            heads: BTreeMap::new(),
            told_blocks: HashMap::new(),
            told_order: VecDeque::new(),
            head: None,
            next_pending: 0,
            in_flight: 0,
            uncommitted: 0,
            dirty: VecDeque::new(),
            urgent: VecDeque::new(),
            idle_verifiers: 0,
            verified: VecDeque::new(),
            bad_signatures: Vec::new(),
            next_batch: 0,
            batches: HashMap::new(),
        }
    }

    /// The task that a subject is the present round of.
    pub(super) fn task_of(&mut self, subject: &Arc<Subject>) -> Option<&mut Task> {
        let task = match self.tasks.get_mut(&subject.task_index) {
            Some(task) if Arc::ptr_eq(&task.subject, subject) => Some(task),
            _ => self.rebuilding.get_mut(&subject.rebuild_key()),
        };
        task.filter(|task| Arc::ptr_eq(&task.subject, subject))
    }

    /// Ends pending signatures of the task that `subject` is the present round of.
    pub(super) fn resolve(
        &mut self,
        subject: &Arc<Subject>,
        answers: &mut Answers,
        answer: impl FnMut(&Pending) -> Option<Answer>,
    ) {
        let resolved = self
            .task_of(subject)
            .map(|task| task.resolve(answers, answer));
        self.settle(&resolved.unwrap_or_default());
    }

    /// Pending signatures were answered.
    pub(super) fn settle(&mut self, resolved: &Resolved) {
        self.in_flight -= resolved.all;
        self.uncommitted -= resolved.verified;
    }

    /// Adds a task that is not finished; there is room, and index and alert are free.
    ///
    /// Signatures that were to rebuild this very task are now for it.
    pub(super) fn insert_task(&mut self, mut task: Task) {
        let key = task.subject.rebuild_key();
        let same_set = |waiting: &Task| Arc::ptr_eq(&waiting.subject.set, &task.subject.set);
        if self.rebuilding.get(&key).is_some_and(same_set)
            && let Some(waiting) = self.rebuilding.remove(&key)
        {
            let Task {
                standing,
                creator,
                created_at,
                ..
            } = task;
            task = Task {
                standing,
                creator,
                created_at,
                ..waiting
            };
        }
        self.alerts
            .insert(task.subject.alert_hash, task.subject.task_index);
        self.tasks.insert(task.subject.task_index, task);
    }

    /// Takes a task out, with its pending signatures.
    pub(super) fn remove_task(&mut self, task_index: u32) -> Option<Task> {
        let task = self.tasks.remove(&task_index)?;
        self.alerts.remove(&task.subject.alert_hash);
        if let Standing::Unsigned(ticket) = task.standing {
            self.unsigned.remove(ticket);
        }
        Some(task)
    }

    /// Takes a task out and answers everyone who waits for it.
    pub(super) fn end_task(
        &mut self,
        task_index: u32,
        answers: &mut Answers,
        answer: &Answer,
        outcome: Outcome,
    ) {
        if let Some(mut task) = self.remove_task(task_index) {
            self.end_pending(&mut task, answers, answer, outcome);
        }
    }

    /// Answers everyone who waits for a task's signatures.
    pub(super) fn end_pending(
        &mut self,
        task: &mut Task,
        answers: &mut Answers,
        answer: &Answer,
        outcome: Outcome,
    ) {
        let (stats, set) = (Arc::clone(&self.stats), Arc::clone(&task.subject.set));
        let resolved = task.resolve(answers, |pending| {
            stats.signature(outcome, Some(set.counters(pending.member)));
            Some(answer.clone())
        });
        self.settle(&resolved);
    }

    /// Makes room for one more task by dropping an unsigned one; `false` where there is none.
    pub(super) fn make_room(&mut self) -> bool {
        if self.tasks.len() < self.settings.max_open_tasks {
            return true;
        }
        let victim = self.unsigned.oldest_of_greediest();
        victim.is_some_and(|victim| {
            self.evict(victim);
            true
        })
    }

    /// Drops an unsigned task. Nothing is lost: a valid signature rebuilds it, and those that wait already may still.
    pub(super) fn evict(&mut self, task_index: u32) {
        let Some(mut task) = self.remove_task(task_index) else {
            return;
        };
        self.stats.evictions.fetch_add(1, Ordering::Relaxed);
        if !task.pending.is_empty() {
            task.standing = Standing::Rebuilding;
            self.rebuilding.insert(task.subject.rebuild_key(), task);
        }
    }

    /// Adds a task that nobody signed; there is room, and index and alert are free.
    pub(super) fn insert_unsigned(&mut self, subject: Arc<Subject>, creator: PeerKey) {
        let standing = Standing::Unsigned(self.unsigned.insert(subject.task_index, creator));
        self.insert_task(Task::new(subject, standing, creator, SystemTime::now()));
    }

    /// Lines a task up to be checked; returns whether a sleeping verifier should look.
    pub(super) fn line_up(&mut self, subject: &Arc<Subject>, now: Instant) -> bool {
        let settings = Arc::clone(&self.settings);
        // Under load verifiers are never idle, and larger groups are worth more than haste.
        let idle = self.idle_verifiers > 0;
        let Some(task) = self.task_of(subject) else {
            return false;
        };
        let new = task.queued_since.is_none();
        if new {
            task.queued_since = Some(now);
        }
        let in_reach = idle
            && !task.quorum
            && !task.hurried
            && task
                .claimed
                .meets(&subject.set, &settings.quorum_threshold_percentages);
        task.hurried |= in_reach;
        if new {
            self.dirty.push_back((now, Arc::clone(subject)));
        }
        if in_reach {
            self.urgent.push_back(Arc::clone(subject));
        }
        // Where others wait already, a sleeper has set its clock to them.
        idle && (in_reach || new && self.dirty.len() == 1)
    }

    /// Remembers a bad signature for the owner, and sets its sender apart.
    pub(super) fn blame(&mut self, subject: &Subject, member: u32, peer: PeerKey, now: Instant) {
        let operator_id = *subject.set.operator_id(member);
        self.stats
            .signature(Outcome::Invalid, Some(subject.set.counters(member)));
        self.cooling.start((operator_id, peer), now);
        if self.bad_signatures.len() < MAX_BAD_SIGNATURES {
            self.bad_signatures.push(BadSignature {
                operator_id,
                task_index: subject.task_index,
                alert_hash: subject.alert_hash,
                peer: peer.to_string(),
            });
        }
    }

    /// Whether the owner should be asked for more indices now.
    pub(super) fn needs_indices(&self) -> bool {
        !self.asked_for_indices && self.indices.run_low()
    }

    /// Whether there is something that no batch holds, and one may be given out.
    ///
    /// It may be that all of it waits for an earlier batch: whoever looks in vain sleeps on.
    pub(super) fn has_something_to_store(&self) -> bool {
        self.batches.len() < MAX_OUTSTANDING
            && (!self.verified.is_empty()
                || !self.bad_signatures.is_empty()
                || self.needs_indices()
                || self.announcements.has_fresh())
    }

    /// Whether there are signatures to check.
    pub(super) fn has_queued(&self) -> bool {
        !self.dirty.is_empty() || !self.urgent.is_empty()
    }

    /// Answers everyone who waits for any signature.
    pub(super) fn end_all(&mut self, refusal: &Refusal, answers: &mut Answers) {
        let mut tasks = std::mem::take(&mut self.tasks);
        let mut rebuilding = std::mem::take(&mut self.rebuilding);
        for task in tasks.values_mut().chain(rebuilding.values_mut()) {
            self.end_pending(task, answers, &Err(refusal.clone()), Outcome::Unavailable);
        }
        self.tasks = tasks;
        for proposal in self.announcements.take_all() {
            answers.alert(proposal.waiters, &Err(refusal.clone()));
        }
    }

    pub(super) fn gauges(&self, waiting: usize, now: Instant) -> Gauges {
        let cooled_depth = self.cooling.depth();
        Gauges {
            queue_depth: self
                .in_flight
                .saturating_sub(self.uncommitted + cooled_depth),
            cooled_depth,
            uncommitted: self.uncommitted,
            batches_outstanding: self.batches.len(),
            waiting,
            open_tasks: self.tasks.len(),
            unsigned_tasks: self.unsigned.len(),
            announcing: self.announcements.len(),
            finished_tasks: self.finished.len(),
            cooling_operators: self.cooling.operators(now),
            indices_left: self.indices.left(),
            needs_indices: self.indices.run_low(),
            reference_blocks: self.heads.len() + self.told_blocks.len(),
        }
    }
}
