//! Random sequences of everything that may happen, replayed against a model that does one thing at a time.
//!
//! The model knows nothing of queues, groups and bits: it keeps sets of who was counted. After each step it says what
//! every request must have been answered by now, and what every batch must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mach_rpc::aggregator::{AlertTaskInfo, Refusal, SignedTaskReply};
use mach_rpc::intake::{Batch, Ending, Intake, IntakeSettings};
use proptest::prelude::*;

use crate::support::{
    Asked, COUNTED, HEAD, Operators, Processed, SET_ID, alert, create, engine_with, peer, send,
    settings, signed, take_batch,
};

const OPERATORS: usize = 4;
const ALERTS: u64 = 3;
/// Of four equal stakes.
const NEEDED: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Create(u64),
    /// Signs what was last announced for the alert.
    Sign {
        alert: u64,
        operator: usize,
        good: bool,
        from: u8,
    },
    Batch,
    Commit {
        newest: bool,
        refuse: bool,
    },
    Fail {
        newest: bool,
    },
    Finish {
        alert: u64,
        confirmed: bool,
    },
    NewRound(u64),
    Note {
        alert: u64,
        operator: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..ALERTS).prop_map(Step::Create),
        12 => (0..ALERTS, 0..OPERATORS, prop::bool::weighted(0.9), 0_u8..2)
            .prop_map(|(alert, operator, good, from)| Step::Sign { alert, operator, good, from }),
        6 => Just(Step::Batch),
        6 => (any::<bool>(), prop::bool::weighted(0.1)).prop_map(|(newest, refuse)| Step::Commit { newest, refuse }),
        1 => any::<bool>().prop_map(|newest| Step::Fail { newest }),
        1 => (0..ALERTS, any::<bool>()).prop_map(|(alert, confirmed)| Step::Finish { alert, confirmed }),
        1 => (0..ALERTS).prop_map(Step::NewRound),
        1 => (0..ALERTS, 0..OPERATORS).prop_map(|(alert, operator)| Step::Note { alert, operator }),
    ];
    prop::collection::vec(step, 1..120)
}

/// A task as the model sees it.
#[derive(Debug, Clone)]
struct Known {
    info: AlertTaskInfo,
    durable: bool,
    counted: BTreeSet<usize>,
    quorum: bool,
}

/// A request that waits.
struct Waiting {
    info: AlertTaskInfo,
    operator: usize,
    good: bool,
    asked: Asked<Processed>,
}

struct Replay {
    intake: Arc<Intake>,
    operators: Arc<Operators>,
    known: BTreeMap<u64, Known>,
    announced: BTreeMap<u64, AlertTaskInfo>,
    confirmed: BTreeSet<u64>,
    next_block: u32,
    waiting: Vec<Waiting>,
    outstanding: Vec<Batch>,
}

impl Replay {
    fn new(operators: &Arc<Operators>) -> Self {
        Self {
            intake: engine_with(
                IntakeSettings {
                    cool_down: std::time::Duration::ZERO,
                    ..settings()
                },
                operators,
            ),
            operators: Arc::clone(operators),
            known: BTreeMap::new(),
            announced: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            next_block: HEAD + 1,
            waiting: Vec::new(),
            outstanding: Vec::new(),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Create(number) => self.create(number),
            Step::Sign {
                alert,
                operator,
                good,
                from,
            } => self.sign(alert, operator, good, from),
            Step::Batch => self.batch(),
            Step::Commit { newest, refuse } => self.commit(newest, refuse),
            Step::Fail { newest } => self.fail(newest),
            Step::Finish { alert, confirmed } => self.finish(alert, confirmed),
            Step::NewRound(number) => self.new_round(number),
            Step::Note { alert, operator } => self.note(alert, operator),
        }
        let open = self.intake.stats().gauges.open_tasks;
        assert_eq!(open, self.known.len());
    }

    fn create(&mut self, number: u64) {
        let created = create(&self.intake, &peer(1), alert(number));
        if self.confirmed.contains(&number) {
            assert!(matches!(created, Err(Refusal::AlreadyFinished { .. })));
            return;
        }
        let info = created.unwrap();
        if let Some(known) = self.known.get(&number) {
            assert_eq!(info, known.info);
        } else {
            let before = self.announced.values().map(|info| info.task_index).max();
            assert!(
                before.is_none_or(|before| info.task_index > before),
                "an index was given twice"
            );
            let known = Known {
                info: info.clone(),
                durable: false,
                counted: BTreeSet::new(),
                quorum: false,
            };
            self.known.insert(number, known);
        }
        self.announced.insert(number, info);
    }

    fn sign(&mut self, number: u64, operator: usize, good: bool, from: u8) {
        let Some(info) = self.announced.get(&number).cloned() else {
            return;
        };
        let request = match good {
            true => self.operators.sign(operator, &info),
            false => self.operators.sign_badly(operator, &info, 1),
        };
        let mut asked = send(&self.intake, &peer(from), request);
        let answer = asked.poll();
        let Some(known) = self.known.get(&number).filter(|known| known.info == info) else {
            let confirmed = self.confirmed.contains(&number);
            match answer.unwrap() {
                Ok(reply) => assert!(confirmed && reply.reply),
                Err(refusal) => {
                    assert!(!confirmed && refusal == Refusal::TaskCompleted(info.task_index))
                }
            }
            return;
        };
        if known.counted.contains(&operator) {
            assert_eq!(answer, Some(Ok(COUNTED)));
            return;
        }
        match answer {
            None => self.waiting.push(Waiting {
                info,
                operator,
                good,
                asked,
            }),
            // Others in this operator's name are being checked, or were found valid.
            Some(Err(Refusal::Busy(_))) => assert!(self.waits(&info, operator, !good)),
            Some(Err(Refusal::IncorrectSignature { .. })) => {
                assert!(!good && self.waits(&info, operator, true))
            }
            Some(other) => panic!("{other:?}"),
        }
    }

    fn waits(&self, info: &AlertTaskInfo, operator: usize, good: bool) -> bool {
        self.waiting
            .iter()
            .any(|one| one.info == *info && one.operator == operator && one.good == good)
    }

    fn batch(&mut self) {
        let batch = take_batch(&self.intake);
        // Everything was checked: the bad ones know.
        self.answer(|waiting| {
            (!waiting.good).then_some(Err(Refusal::IncorrectSignature {
                task_index: waiting.info.task_index,
                operator_id: [0; 32],
            }))
        });
        let Some(batch) = batch else {
            let held_back = |info: &AlertTaskInfo| {
                self.outstanding.len() == 2
                    || self
                        .outstanding
                        .iter()
                        .any(|batch| batch.task_indices.contains(&info.task_index))
            };
            assert!(
                self.waiting.iter().all(|waiting| held_back(&waiting.info)),
                "valid signatures and no batch"
            );
            return;
        };
        let mut seen = BTreeSet::new();
        for (index, operator_id) in signed(&batch) {
            let operator = self
                .operators
                .ids
                .iter()
                .position(|id| *id == operator_id)
                .unwrap();
            let known = self
                .known
                .values()
                .find(|known| known.info.task_index == index)
                .unwrap();
            assert!(
                !known.counted.contains(&operator) && seen.insert((index, operator)),
                "counted twice"
            );
            assert!(self.waits(&known.info, operator, true), "nobody sent it");
            let new = batch.tasks.iter().any(|task| task.task_index == index);
            assert_eq!(
                new, !known.durable,
                "a task is stored once, with its first signatures"
            );
        }
        for known in self.known.values() {
            let index = known.info.task_index;
            let with_batch =
                known.counted.len() + seen.iter().filter(|(task, _)| *task == index).count();
            let reached =
                !known.quorum && with_batch >= NEEDED && batch.task_indices.contains(&index);
            assert_eq!(batch.quorum_reached.contains(&index), reached);
        }
        self.outstanding.push(batch);
    }

    fn take_outstanding(&mut self, newest: bool) -> Option<Batch> {
        match (self.outstanding.is_empty(), newest) {
            (true, _) => None,
            (false, true) => self.outstanding.pop(),
            (false, false) => Some(self.outstanding.remove(0)),
        }
    }

    fn commit(&mut self, newest: bool, refuse: bool) {
        let Some(batch) = self.take_outstanding(newest) else {
            return;
        };
        let refused: Vec<u32> = batch
            .tasks
            .iter()
            .map(|task| task.task_index)
            .filter(|_| refuse)
            .collect();
        let late = self.intake.commit(batch.id, &refused, &[]).unwrap();
        let mut expected_late = Vec::new();
        let mut counted = BTreeSet::new();
        let mut gone = BTreeSet::new();
        for number in self.known.keys().copied().collect::<Vec<_>>() {
            let Some(known) = self.known.get_mut(&number) else {
                continue;
            };
            let index = known.info.task_index;
            let block = known.info.reference_block_number;
            let of_this_round = batch
                .reference_blocks
                .iter()
                .zip(&batch.task_indices)
                .any(|(of, task)| *task == index && u64::from(*of) == block);
            if batch.tasks.iter().any(|task| task.task_index == index) && !refused.contains(&index)
            {
                known.durable = true;
            }
            if !of_this_round {
                continue;
            }
            if refused.contains(&index) {
                gone.insert(index);
                self.known.remove(&number);
                continue;
            }
            for (task, operator_id) in signed(&batch) {
                let operator = self
                    .operators
                    .ids
                    .iter()
                    .position(|id| *id == operator_id)
                    .unwrap();
                if task == index {
                    known.counted.insert(operator);
                    counted.insert((index, block, operator));
                }
            }
            if !known.quorum && known.counted.len() >= NEEDED {
                known.quorum = true;
                if !batch.quorum_reached.contains(&index) {
                    expected_late.push(index);
                }
            }
        }
        assert_eq!(
            late.into_iter().collect::<BTreeSet<_>>(),
            expected_late.into_iter().collect()
        );
        self.answer(|waiting| {
            let AlertTaskInfo {
                task_index,
                reference_block_number,
                ..
            } = waiting.info;
            if gone.contains(&task_index) {
                return Some(Err(Refusal::TaskCompleted(task_index)));
            }
            let counted = waiting.good
                && counted.contains(&(task_index, reference_block_number, waiting.operator));
            counted.then_some(Ok(COUNTED))
        });
    }

    fn fail(&mut self, newest: bool) {
        let Some(batch) = self.take_outstanding(newest) else {
            return;
        };
        self.intake.fail(batch.id, "no").unwrap();
        let held: BTreeSet<_> = signed(&batch)
            .into_iter()
            .zip(&batch.reference_blocks)
            .map(|((task, operator_id), block)| (task, u64::from(*block), operator_id))
            .collect();
        let ids = self.operators.ids.clone();
        self.answer(|waiting| {
            let AlertTaskInfo {
                task_index,
                reference_block_number,
                ..
            } = waiting.info;
            let stored = waiting.good
                && held.contains(&(task_index, reference_block_number, ids[waiting.operator]));
            stored.then(|| Err(Refusal::Busy(String::new())))
        });
    }

    fn finish(&mut self, number: u64, confirmed: bool) {
        let ending = if confirmed {
            Ending::Confirmed([1; 32])
        } else {
            Ending::Failed
        };
        let Some(known) = self.known.remove(&number) else {
            return;
        };
        assert!(self.intake.finish(known.info.task_index, ending));
        if confirmed {
            self.confirmed.insert(number);
        }
        self.answer(|waiting| {
            let answer = match confirmed {
                true => Ok(SignedTaskReply {
                    reply: true,
                    tx_hash: [1; 32],
                }),
                false => Err(Refusal::TaskCompleted(waiting.info.task_index)),
            };
            (waiting.info == known.info).then_some(answer)
        });
    }

    fn new_round(&mut self, number: u64) {
        let Some(known) = self.known.get_mut(&number).filter(|known| known.durable) else {
            return;
        };
        let old = known.info.clone();
        let block = self.next_block;
        self.next_block += 1;
        self.intake.add_reference_block(block, SET_ID).unwrap();
        self.intake.new_round(old.task_index, block).unwrap();
        known.info.reference_block_number = u64::from(block);
        known.counted.clear();
        known.quorum = false;
        self.answer(|waiting| {
            (waiting.info == old).then_some(Err(Refusal::TaskCompleted(old.task_index)))
        });
    }

    fn note(&mut self, number: u64, operator: usize) {
        let Some(known) = self.known.get_mut(&number).filter(|known| known.durable) else {
            return;
        };
        // Only of somebody who does not wait here: who does is counted by either, and the model would have to race.
        let info = known.info.clone();
        if self
            .waiting
            .iter()
            .any(|waiting| waiting.info == info && waiting.operator == operator)
        {
            return;
        }
        known.counted.insert(operator);
        let met = known.counted.len() >= NEEDED;
        known.quorum |= met;
        assert_eq!(
            self.intake
                .note_signatures(info.task_index, &[self.operators.ids[operator]]),
            met
        );
    }

    /// Those for whom `expected` says so are answered just so, and nobody else is.
    fn answer(&mut self, expected: impl Fn(&Waiting) -> Option<Processed>) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            match (waiting.asked.poll(), expected(&waiting)) {
                (None, None) => self.waiting.push(waiting),
                (Some(Err(Refusal::Busy(_))), Some(Err(Refusal::Busy(_)))) => {}
                (
                    Some(Err(Refusal::IncorrectSignature {
                        task_index: told, ..
                    })),
                    Some(Err(Refusal::IncorrectSignature { task_index, .. })),
                ) => assert_eq!(told, task_index),
                (Some(told), Some(expected)) => assert_eq!(told, expected),
                (told, expected) => {
                    panic!("{told:?} where {expected:?} is right: {:?}", waiting.info)
                }
            }
        }
    }

    /// Everything is stored in the end, and nobody waits any more.
    fn settle(mut self) {
        while !self.outstanding.is_empty() || !self.waiting.is_empty() {
            self.batch();
            self.commit(false, false);
        }
        let gauges = self.intake.stats().gauges;
        assert_eq!(
            (gauges.queue_depth, gauges.uncommitted, gauges.waiting),
            (0, 0, 0)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_ends_as_the_model_says(steps in steps()) {
        let operators = Arc::new(Operators::new(4));
        let mut replay = Replay::new(&operators);
        for step in steps {
            replay.run(step);
        }
        replay.settle();
    }
}
