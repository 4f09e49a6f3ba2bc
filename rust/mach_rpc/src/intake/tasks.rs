use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use mach_bls::statements::sign_hash;
use mach_bls::{G1Affine, Signature, hash_to_g1};
use tokio::sync::oneshot;

use super::answers::{Answer, Answers, Waiters};
use super::members::MemberSet;
use super::operators::{OperatorSet, Tally};
use super::peers::{PeerKey, UnsignedTicket};
use super::settings::IntakeSettings;
use crate::aggregator::{AlertTaskInfo, Refusal};

/// One round of one task: what is signed, and by whom. A task that starts anew gets another subject, so that nothing
/// that was begun for the old one counts for the new.
pub(super) struct Subject {
    pub(super) task_index: u32,
    pub(super) alert_hash: [u8; 32],
    pub(super) reference_block: u32,
    pub(super) set: Arc<OperatorSet>,
    pub(super) digest: [u8; 32],
    message_point: OnceLock<G1Affine>,
}

impl Subject {
    pub(super) fn new(
        task_index: u32,
        alert_hash: [u8; 32],
        reference_block: u32,
        set: Arc<OperatorSet>,
        settings: &IntakeSettings,
    ) -> Arc<Self> {
        let mut chain_id = [0; 32];
        chain_id[24..].copy_from_slice(&settings.rollup_chain_id.to_be_bytes());
        Arc::new(Self {
            task_index,
            alert_hash,
            reference_block,
            set,
            digest: sign_hash(&alert_hash, reference_block, Some(&chain_id)),
            message_point: OnceLock::new(),
        })
    }

    /// The point that the digest hashes to: 8 µs the first time.
    pub(super) fn message_point(&self) -> &G1Affine {
        self.message_point.get_or_init(|| hash_to_g1(&self.digest))
    }

    pub(super) fn info(&self, settings: &IntakeSettings) -> AlertTaskInfo {
        AlertTaskInfo {
            alert_hash: self.alert_hash,
            quorum_numbers: settings.quorum_numbers.clone(),
            quorum_threshold_percentages: settings.quorum_threshold_percentages.clone(),
            task_index: self.task_index,
            reference_block_number: u64::from(self.reference_block),
        }
    }

    pub(super) fn rebuild_key(&self) -> RebuildKey {
        (self.task_index, self.alert_hash, self.reference_block)
    }

    pub(super) fn incorrect(&self, member: u32) -> Refusal {
        Refusal::IncorrectSignature {
            task_index: self.task_index,
            operator_id: *self.set.operator_id(member),
        }
    }
}

/// Whether an operator was told the quorums and thresholds that hold here.
pub(super) fn same_rules(info: &AlertTaskInfo, settings: &IntakeSettings) -> bool {
    info.quorum_numbers == settings.quorum_numbers
        && info.quorum_threshold_percentages == settings.quorum_threshold_percentages
}

/// How far a signature has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waits to be checked.
    Queued,
    /// Is being checked.
    Checking,
    /// Waits to be checked last and alone.
    Cooled,
    /// Is valid, and in no batch yet.
    Verified,
    /// Is in this batch, which waits to be durable.
    InBatch(u64),
}

/// A signature between its arrival and its answer.
pub(super) struct Pending {
    pub(super) id: u64,
    pub(super) member: u32,
    pub(super) peer: PeerKey,
    pub(super) signature: Signature,
    pub(super) stage: Stage,
    pub(super) waiters: Waiters<Answer>,
}

/// What a signature is to those that its operator sent before.
pub(super) enum Repeat {
    /// The first.
    No,
    /// Its operator is counted already; which bytes it sent then is not kept.
    Counted,
    /// The same bytes: answered together.
    Waits(oneshot::Receiver<Answer>),
    /// Other bytes than those of a valid one: an operator has only one valid signature over a message.
    Contradicts,
    /// Other bytes than the same peer's, which are not checked yet.
    Crowds,
}

/// How many pending signatures were answered.
#[derive(Default)]
pub(super) struct Resolved {
    pub(super) all: usize,
    /// Those of them that had been checked.
    pub(super) verified: usize,
}

/// How durable a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// In memory only, without a valid signature: may be evicted.
    Unsigned(UnsignedTicket),
    /// In memory only, and not among those that may be evicted: it is rebuilt for a signature that is not checked yet.
    Rebuilding,
    /// Has a valid signature, and waits for the batch that makes it durable.
    Signed,
    /// Is made durable by this batch.
    InBatch(u64),
    /// The owner has it stored.
    Durable,
}

/// A task that is not finished.
pub(super) struct Task {
    pub(super) subject: Arc<Subject>,
    pub(super) standing: Standing,
    /// Who asked for it first.
    pub(super) creator: PeerKey,
    pub(super) created_at: SystemTime,
    /// Whose signatures are durable.
    pub(super) counted: MemberSet,
    pub(super) tally: Tally,
    /// Whether the owner was told that the thresholds are met.
    pub(super) quorum: bool,
    /// In the order of their ids.
    pub(super) pending: Vec<Pending>,
    /// Who has a pending signature.
    pub(super) pending_members: MemberSet,
    /// The stake of `counted` and `pending_members`: when it meets the thresholds, checking does not wait any more.
    pub(super) claimed: Tally,
    /// Since when a signature waits to be checked; `None` while none does.
    pub(super) queued_since: Option<Instant>,
    /// Whether its signatures were checked at once when the thresholds came into reach.
    pub(super) hurried: bool,
}

impl Task {
    pub(super) fn new(
        subject: Arc<Subject>,
        standing: Standing,
        creator: PeerKey,
        created_at: SystemTime,
    ) -> Self {
        let members = subject.set.len();
        let tally = Tally::of(&subject.set, &MemberSet::new(members));
        Self {
            standing,
            creator,
            created_at,
            counted: MemberSet::new(members),
            claimed: tally.clone(),
            tally,
            quorum: false,
            pending: Vec::new(),
            pending_members: MemberSet::new(members),
            queued_since: None,
            hurried: false,
            subject,
        }
    }

    /// Who has a valid signature that is not durable yet.
    pub(super) fn verified(&self) -> MemberSet {
        let mut members = MemberSet::new(self.subject.set.len());
        for pending in &self.pending {
            if matches!(pending.stage, Stage::Verified | Stage::InBatch(_)) {
                members.insert(pending.member);
            }
        }
        members
    }

    /// Counts durable signatures; whoever was counted before stays counted once.
    pub(super) fn count(&mut self, members: impl IntoIterator<Item = u32>) {
        for member in members {
            if self.counted.insert(member) {
                self.tally.add(&self.subject.set, member);
                if !self.pending_members.contains(member) {
                    self.claimed.add(&self.subject.set, member);
                }
            }
        }
    }

    /// Takes a signature in; the receiver gets its answer.
    pub(super) fn admit(
        &mut self,
        id: u64,
        member: u32,
        peer: PeerKey,
        signature: Signature,
        stage: Stage,
    ) -> oneshot::Receiver<Answer> {
        let mut waiters = Waiters::default();
        let receiver = waiters.wait();
        self.pending.push(Pending {
            id,
            member,
            peer,
            signature,
            stage,
            waiters,
        });
        if self.pending_members.insert(member) && !self.counted.contains(member) {
            self.claimed.add(&self.subject.set, member);
        }
        receiver
    }

    /// Whether a member's signature was here before.
    pub(super) fn repeat(&mut self, member: u32, peer: PeerKey, signature: &Signature) -> Repeat {
        if self.counted.contains(member) {
            return Repeat::Counted;
        }
        if !self.pending_members.contains(member) {
            return Repeat::No;
        }
        let mut found = Repeat::No;
        for pending in self
            .pending
            .iter_mut()
            .filter(|pending| pending.member == member)
        {
            if pending.signature == *signature {
                return Repeat::Waits(pending.waiters.wait());
            }
            match pending.stage {
                Stage::Verified | Stage::InBatch(_) => found = Repeat::Contradicts,
                // Others may send what they like in an operator's name; its own address has its turn beside them.
                Stage::Queued | Stage::Checking if pending.peer == peer => found = Repeat::Crowds,
                Stage::Queued | Stage::Checking | Stage::Cooled => {}
            }
        }
        found
    }

    pub(super) fn pending_mut(&mut self, id: u64) -> Option<&mut Pending> {
        let at = self
            .pending
            .binary_search_by_key(&id, |pending| pending.id)
            .ok()?;
        Some(&mut self.pending[at])
    }

    /// Ends the pending signatures that `answer` has an answer for; returns how many they were.
    pub(super) fn resolve(
        &mut self,
        answers: &mut Answers,
        mut answer: impl FnMut(&Pending) -> Option<Answer>,
    ) -> Resolved {
        let mut resolved = Resolved::default();
        for pending in std::mem::take(&mut self.pending) {
            match answer(&pending) {
                None => self.pending.push(pending),
                Some(answer) => {
                    resolved.all += 1;
                    resolved.verified +=
                        usize::from(matches!(pending.stage, Stage::Verified | Stage::InBatch(_)));
                    answers.signature(pending.waiters, &answer);
                }
            }
        }
        if resolved.all > 0 {
            self.pending_members.clear();
            self.claimed = self.tally.clone();
            for pending in &self.pending {
                if self.pending_members.insert(pending.member)
                    && !self.counted.contains(pending.member)
                {
                    self.claimed.add(&self.subject.set, pending.member);
                }
            }
        }
        resolved
    }
}

/// What tells apart the tasks that operators want rebuilt: index, alert and reference block.
pub(super) type RebuildKey = (u32, [u8; 32], u32);

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The alert stands on L1, by this transaction.
    Confirmed([u8; 32]),
    /// L1 refused it for good.
    Failed,
    /// Too few signed in time.
    Expired,
}

/// What is remembered of a task that ended.
pub(super) struct FinishedTask {
    pub(super) alert_hash: [u8; 32],
    pub(super) ending: Ending,
}

/// An alert that stands on L1.
#[derive(Clone, Copy)]
struct Confirmed {
    tx_hash: [u8; 32],
    /// Its task here, if it had one.
    task_index: Option<u32>,
}

/// Tasks that ended and alerts that stand on L1, the latest of each.
pub(super) struct Finished {
    bound: usize,
    tasks: HashMap<u32, FinishedTask>,
    order: VecDeque<u32>,
    alerts: HashMap<[u8; 32], Confirmed>,
    alert_order: VecDeque<[u8; 32]>,
}

impl Finished {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            bound,
            tasks: HashMap::new(),
            order: VecDeque::new(),
            alerts: HashMap::new(),
            alert_order: VecDeque::new(),
        }
    }

    pub(super) fn insert(&mut self, task_index: u32, task: FinishedTask) {
        if let Ending::Confirmed(tx_hash) = task.ending {
            self.confirm(task.alert_hash, tx_hash, Some(task_index));
        }
        if self.tasks.insert(task_index, task).is_none() {
            self.order.push_back(task_index);
        }
        while self.order.len() > self.bound {
            if let Some(oldest) = self.order.pop_front() {
                self.tasks.remove(&oldest);
            }
        }
    }

    /// The alert stands on L1, whoever brought it there.
    pub(super) fn confirm(
        &mut self,
        alert_hash: [u8; 32],
        tx_hash: [u8; 32],
        task_index: Option<u32>,
    ) {
        let before = self
            .alerts
            .get(&alert_hash)
            .and_then(|confirmed| confirmed.task_index);
        let confirmed = Confirmed {
            tx_hash,
            task_index: task_index.or(before),
        };
        if self.alerts.insert(alert_hash, confirmed).is_none() {
            self.alert_order.push_back(alert_hash);
        }
        while self.alert_order.len() > self.bound {
            if let Some(oldest) = self.alert_order.pop_front() {
                self.alerts.remove(&oldest);
            }
        }
    }

    /// The alert does not stand on L1 after all; its task may go on.
    pub(super) fn unconfirm(&mut self, alert_hash: &[u8; 32]) {
        let Some(confirmed) = self.alerts.remove(alert_hash) else {
            return;
        };
        self.alert_order.retain(|hash| hash != alert_hash);
        if let Some(task_index) = confirmed.task_index {
            self.forget_task(task_index);
        }
    }

    /// The task did not end after all, and its alert does not stand.
    pub(super) fn reopen(&mut self, task_index: u32, alert_hash: &[u8; 32]) {
        self.forget_task(task_index);
        self.unconfirm(alert_hash);
    }

    fn forget_task(&mut self, task_index: u32) {
        if self.tasks.remove(&task_index).is_some() {
            self.order.retain(|index| *index != task_index);
        }
    }

    pub(super) fn task(&self, task_index: u32) -> Option<&FinishedTask> {
        self.tasks.get(&task_index)
    }

    pub(super) fn task_mut(&mut self, task_index: u32) -> Option<&mut FinishedTask> {
        self.tasks.get_mut(&task_index)
    }

    /// The transaction that brought an alert to L1.
    pub(super) fn confirmed_by(&self, alert_hash: &[u8; 32]) -> Option<[u8; 32]> {
        self.alerts
            .get(alert_hash)
            .map(|confirmed| confirmed.tx_hash)
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }
}
