//! Checking signatures: groups of one task's, summed and checked at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mach_bls::Signature;

use super::answers::{Answers, NOT_CONFIRMED};
use super::cooling::Cooled;
use super::members::MemberSet;
use super::requests::cooling_down;
use super::state::{State, Verified};
use super::stats::Outcome;
use super::tasks::{Stage, Standing, Subject};
use crate::aggregator::Refusal;

/// Signatures of different members over one subject.
pub(super) struct Group {
    pub(super) subject: Arc<Subject>,
    /// Pending ids, in the order of `signers`.
    pending: Vec<u64>,
    /// Members' positions with their signatures.
    signers: Vec<(u32, Signature)>,
}

impl Group {
    pub(super) fn len(&self) -> usize {
        self.signers.len()
    }
}

/// Which signatures of each group are bad, by position: the only part that takes long, and needs no lock.
pub(super) fn find_invalid(groups: &[Group]) -> Vec<Vec<usize>> {
    let sums: Vec<_> = groups
        .iter()
        .map(|group| {
            group
                .subject
                .set
                .sums(group.subject.message_point(), &group.signers)
        })
        .collect();
    let mut good =
        mach_bls::verify_sums(&sums.iter().flatten().copied().collect::<Vec<_>>()).into_iter();
    let verdicts = groups.iter().zip(sums);
    verdicts
        .map(|(group, sum)| {
            if sum.and_then(|_| good.next()).unwrap_or(false) {
                return Vec::new();
            }
            match group.signers.as_slice() {
                [_] => vec![0],
                signers => group
                    .subject
                    .set
                    .find_invalid(group.subject.message_point(), signers),
            }
        })
        .collect()
}

/// How many groups are checked at once: with AVX-512, eight pairing products take little longer than one.
pub(super) fn groups_at_once() -> usize {
    if mach_bls::has_avx512() { 8 } else { 1 }
}

/// What is said of a signature that goes into no batch.
#[derive(Clone, Copy)]
enum Verdict {
    /// Its operator was counted meanwhile.
    Counted,
    /// Its sender cools down, and has one waiting.
    Cooling,
    /// It is not its operator's signature.
    Bad,
}

/// What a verifier does next.
pub(super) enum Work {
    /// Never empty.
    Check(Vec<Group>),
    /// Nothing before this time; nothing at all until woken if there is none.
    Wait(Option<Duration>),
    Stop,
}

impl State {
    /// The groups that waited for `linger`, at most so many.
    pub(super) fn next_work(
        &mut self,
        now: Instant,
        linger: Duration,
        at_once: usize,
        answers: &mut Answers,
    ) -> Work {
        if self.stopping {
            return Work::Stop;
        }
        if let Some(group) = self.next_cooled(now, false) {
            return Work::Check(vec![group]);
        }
        let mut groups = Vec::new();
        while groups.len() < at_once
            && let Some(subject) = self.urgent.pop_front()
        {
            groups.extend(self.collect(&subject, now, answers));
        }
        let mut wait = None;
        while groups.len() < at_once
            && let Some((since, subject)) = self.dirty.front().cloned()
        {
            // Hurried ones were checked before their turn.
            let waits = self
                .task_of(&subject)
                .is_some_and(|task| task.queued_since == Some(since));
            let due = since + linger;
            if waits && now < due {
                wait = Some(due);
                break;
            }
            self.dirty.pop_front();
            if waits {
                groups.extend(self.collect(&subject, now, answers));
            }
        }
        if !groups.is_empty() {
            return Work::Check(groups);
        }
        if let Some(group) = self.next_cooled(now, true) {
            return Work::Check(vec![group]);
        }
        let due = wait.into_iter().chain(self.cooling.due(now)).min();
        Work::Wait(due.map(|due| due.saturating_duration_since(now)))
    }

    /// One signature of a cooling sender, if it is time for one.
    fn next_cooled(&mut self, now: Instant, idle: bool) -> Option<Group> {
        loop {
            let Cooled {
                subject, pending, ..
            } = self.cooling.pop(now, idle)?;
            let Some(task) = self.task_of(&subject) else {
                continue;
            };
            let Some(pending) = task.pending_mut(pending) else {
                continue;
            };
            pending.stage = Stage::Checking;
            let (id, signer) = (pending.id, (pending.member, pending.signature));
            self.cooling.checked(now);
            return Some(Group {
                pending: vec![id],
                signers: vec![signer],
                subject,
            });
        }
    }

    /// The queued signatures of a subject, each member's first; what must not be checked with them is sorted out.
    fn collect(
        &mut self,
        subject: &Arc<Subject>,
        now: Instant,
        answers: &mut Answers,
    ) -> Option<Group> {
        let Self {
            tasks,
            rebuilding,
            cooling,
            ..
        } = self;
        let task = match tasks.get_mut(&subject.task_index) {
            Some(task) if Arc::ptr_eq(&task.subject, subject) => task,
            _ => rebuilding.get_mut(&subject.rebuild_key())?,
        };
        if !Arc::ptr_eq(&task.subject, subject) {
            return None;
        }
        task.queued_since = None;
        let verified = task.verified();
        let mut taken = MemberSet::new(subject.set.len());
        let mut sorted_out = Vec::new();
        let mut left_over = false;
        let mut group = Group {
            subject: Arc::clone(subject),
            pending: Vec::new(),
            signers: Vec::new(),
        };
        for pending in task
            .pending
            .iter_mut()
            .filter(|pending| pending.stage == Stage::Queued)
        {
            let sender = (*subject.set.operator_id(pending.member), pending.peer);
            if task.counted.contains(pending.member) {
                sorted_out.push((pending.id, Verdict::Counted));
            } else if verified.contains(pending.member) {
                sorted_out.push((pending.id, Verdict::Bad));
            } else if cooling.is_cooling(&sender, now) {
                if cooling.has_room(&sender) {
                    pending.stage = Stage::Cooled;
                    cooling.push(Cooled {
                        sender,
                        subject: Arc::clone(subject),
                        pending: pending.id,
                    });
                } else {
                    sorted_out.push((pending.id, Verdict::Cooling));
                }
            } else if taken.insert(pending.member) {
                pending.stage = Stage::Checking;
                group.pending.push(pending.id);
                group.signers.push((pending.member, pending.signature));
            } else {
                left_over = true;
            }
        }
        self.judge(subject, &sorted_out, now, answers);
        if left_over {
            self.line_up(subject, now);
        }
        (!group.pending.is_empty()).then_some(group)
    }

    /// Answers signatures that need no batch; `verdicts` are by pending id, ascending.
    fn judge(
        &mut self,
        subject: &Arc<Subject>,
        verdicts: &[(u64, Verdict)],
        now: Instant,
        answers: &mut Answers,
    ) {
        if verdicts.is_empty() {
            return;
        }
        let stats = Arc::clone(&self.stats);
        let mut bad = Vec::new();
        self.resolve(subject, answers, |pending| {
            let found = verdicts
                .binary_search_by_key(&pending.id, |(id, _)| *id)
                .ok()?;
            let counters = subject.set.counters(pending.member);
            Some(match verdicts[found].1 {
                Verdict::Counted => {
                    stats.signature(Outcome::Repeated, Some(counters));
                    Ok(NOT_CONFIRMED)
                }
                Verdict::Cooling => {
                    stats.signature(Outcome::Busy, Some(counters));
                    Err(cooling_down(
                        subject.set.operator_id(pending.member),
                        pending.peer,
                    ))
                }
                Verdict::Bad => {
                    bad.push((pending.member, pending.peer));
                    Err(subject.incorrect(pending.member))
                }
            })
        });
        for (member, peer) in bad {
            self.blame(subject, member, peer, now);
        }
        self.drop_empty_rebuild(subject);
    }

    /// Applies what a check found.
    pub(super) fn apply(
        &mut self,
        group: &Group,
        invalid: &[usize],
        now: Instant,
        answers: &mut Answers,
    ) {
        let subject = &group.subject;
        // Whoever waited was answered when the task ended or began anew.
        let Some(task) = self.task_of(subject) else {
            return;
        };
        let verified = task.verified();
        let (mut judged, mut valid, mut incomplete) = (Vec::new(), Vec::new(), false);
        for (position, (id, (member, _))) in group.pending.iter().zip(&group.signers).enumerate() {
            if task.pending_mut(*id).is_none() {
                // The engine stops, and has answered everyone.
                continue;
            }
            if invalid.contains(&position) {
                judged.push((*id, Verdict::Bad));
            } else if task.counted.contains(*member) {
                judged.push((*id, Verdict::Counted));
                incomplete = true;
            } else if verified.contains(*member) {
                judged.push((*id, Verdict::Bad));
                incomplete = true;
            } else {
                valid.push(*id);
            }
        }
        // A sum that holds vouches for its parts only together: without one of them, the others are checked again.
        let stage = if incomplete {
            Stage::Queued
        } else {
            Stage::Verified
        };
        for id in &valid {
            if let Some(pending) = task.pending_mut(*id) {
                pending.stage = stage;
            }
        }
        self.judge(subject, &judged, now, answers);
        if valid.is_empty() {
            return;
        }
        if incomplete {
            self.line_up(subject, now);
        } else {
            self.uncommitted += valid.len();
            if self.promote(subject, answers) {
                self.verified.push_back(Verified {
                    subject: Arc::clone(subject),
                    pending: valid,
                });
            }
        }
    }

    /// A task got its first valid signature: it is not evicted any more, and a rebuilt one takes its place among the
    /// others. `false` where that place is taken; its signatures are refused.
    fn promote(&mut self, subject: &Arc<Subject>, answers: &mut Answers) -> bool {
        if let Some(task) = self.tasks.get_mut(&subject.task_index)
            && Arc::ptr_eq(&task.subject, subject)
        {
            if let Standing::Unsigned(ticket) = task.standing {
                self.unsigned.remove(ticket);
                task.standing = Standing::Signed;
            }
            return true;
        }
        let Some(mut task) = self.rebuilding.remove(&subject.rebuild_key()) else {
            return false;
        };
        let taken = self.tasks.contains_key(&subject.task_index)
            || self.finished.task(subject.task_index).is_some()
            || self.known_alert(&subject.alert_hash).is_some();
        let refusal = if taken {
            Some((Outcome::NotFound, Refusal::TaskNotFound))
        } else if !self.make_room() {
            let busy = format!(
                "{} tasks are open, which is the bound: try again when some are confirmed or expired",
                self.tasks.len()
            );
            Some((Outcome::Busy, Refusal::Busy(busy)))
        } else {
            None
        };
        if let Some((outcome, refusal)) = refusal {
            self.end_pending(&mut task, answers, &Err(refusal), outcome);
            return false;
        }
        self.stats
            .rebuilt
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        task.standing = Standing::Signed;
        self.insert_task(task);
        true
    }

    /// A task that was to be rebuilt goes when its last signature turned out bad.
    fn drop_empty_rebuild(&mut self, subject: &Arc<Subject>) {
        let key = subject.rebuild_key();
        if self
            .rebuilding
            .get(&key)
            .is_some_and(|task| task.pending.is_empty())
        {
            self.rebuilding.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use mach_bls::SecretKey;
    use mach_bls::statements::sign_hash;
    use tokio::sync::oneshot::Receiver;

    use super::super::operators::{OperatorSet, OperatorSetDefinition};
    use super::super::requests::Reply;
    use super::super::settings::IntakeSettings;
    use super::super::stats::Stats;
    use super::*;
    use crate::aggregator::{AlertTaskInfo, Peer, SignedTaskRequest};

    const HEAD: u32 = 100;

    fn keys() -> [SecretKey; 2] {
        [1, 2].map(|number| {
            let mut scalar = [0; 32];
            scalar[31] = number;
            SecretKey::from_bytes(&scalar).unwrap()
        })
    }

    fn state() -> State {
        let settings = Arc::new(IntakeSettings {
            quorum_numbers: vec![0],
            quorum_threshold_percentages: vec![66],
            rollup_chain_id: 901,
            layer1_chain_id: 31_337,
            operator_state_retriever: [0; 20],
            registry_coordinator: [0; 20],
            max_open_tasks: 10,
            max_unsigned_per_peer: 10,
            cool_down: Duration::from_secs(30),
            queue_bound: 100,
            shared: false,
            verifier_threads: 1,
            linger: Duration::ZERO,
        });
        let stats = Arc::new(Stats::new());
        let keys = keys();
        let definition = OperatorSetDefinition {
            set_id: 1,
            operator_ids: keys
                .iter()
                .map(|key| key.public_key_g1().operator_id())
                .collect(),
            public_keys_g2: keys
                .iter()
                .map(|key| key.public_key_g2().to_bytes())
                .collect(),
            stakes: vec![vec![1, 1]],
            total_stakes: vec![2],
        };
        let set = OperatorSet::new(definition, 1, |id| stats.operator(id)).unwrap();
        let mut state = State::new(settings, stats);
        state.add_set(set);
        state.set_head(HEAD, 1, &mut Answers::default()).unwrap();
        state.reserve(0, 10, 10).unwrap();
        state
    }

    fn take(state: &mut State) -> Vec<Group> {
        match state.next_work(Instant::now(), Duration::ZERO, 8, &mut Answers::default()) {
            Work::Check(groups) => groups,
            Work::Wait(_) | Work::Stop => panic!("nothing to check"),
        }
    }

    fn apply(state: &mut State, groups: &[Group]) {
        let mut answers = Answers::default();
        for (group, invalid) in groups.iter().zip(find_invalid(groups)) {
            state.apply(group, &invalid, Instant::now(), &mut answers);
        }
        answers.send();
    }

    fn send(
        state: &mut State,
        task: &AlertTaskInfo,
        operator: usize,
        signature: Signature,
        from: u8,
    ) -> Receiver<super::super::answers::Answer> {
        let peer = Peer {
            address: [192, 0, 2, from].into(),
        };
        let request = SignedTaskRequest {
            alert: task.clone(),
            signature: signature.to_bytes(),
            operator_id: keys()[operator].public_key_g1().operator_id(),
        };
        let mut wake = false;
        match state.process(
            (&peer).into(),
            &request,
            Ok(signature),
            Instant::now(),
            &mut wake,
        ) {
            Reply::Later(receiver) => receiver,
            Reply::Now(answer) => panic!("{answer:?}"),
        }
    }

    #[test]
    fn errors_that_cancel_out_are_not_split_by_a_valid_signature_beside_them() {
        // σ₀ + Δ and σ₁ − Δ hold together, here with Δ = σ₁ − σ₀. While they are checked, the first operator's own σ₀
        // is found valid: then σ₁ − Δ, which is σ₀, must not be counted for the second operator alone.
        let mut state = state();
        let creator = (&Peer {
            address: [192, 0, 2, 1].into(),
        })
            .into();
        let Reply::Now(Ok(task)) = state.create_task(creator, [7; 32]) else {
            panic!("no task");
        };
        let mut chain_id = [0; 32];
        chain_id[24..].copy_from_slice(&901_u64.to_be_bytes());
        let digest = sign_hash(&[7; 32], HEAD, Some(&chain_id));
        let [first, second] = keys().map(|key| key.sign(&digest));

        let mut honest = send(&mut state, &task, 0, first, 1);
        let honest_group = take(&mut state);
        let mut forged = [
            send(&mut state, &task, 0, second, 9),
            send(&mut state, &task, 1, first, 9),
        ];
        let forged_group = take(&mut state);
        assert_eq!(
            find_invalid(&forged_group),
            [Vec::<usize>::new()],
            "together they hold"
        );
        apply(&mut state, &honest_group);
        apply(&mut state, &forged_group);
        assert!(matches!(
            forged[0].try_recv(),
            Ok(Err(Refusal::IncorrectSignature { .. }))
        ));
        let again = take(&mut state);
        assert_eq!(again[0].len(), 1, "the other is checked again, alone");
        apply(&mut state, &again);
        assert!(matches!(
            forged[1].try_recv(),
            Ok(Err(Refusal::IncorrectSignature { .. }))
        ));
        assert_eq!(state.form_batch().unwrap().task_indices.len(), 1);
        assert!(honest.try_recv().is_err(), "waits for the commit");
    }
}
