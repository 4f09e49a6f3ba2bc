//! The intake: the one core behind the aggregator's transports.
//!
//! Alerts become tasks and signatures become counted, in memory and without any call to L1 or to a database:
//!
//! ```text
//! transports ─▶ Intake ─▶ queue of pending signatures ─▶ verifier threads ─▶ Batch ─▶ owner's database
//!                  ▲                                                                        │
//!                  └───────────────── answers, once they are durable ◀──────── commit ──────┘
//! ```
//!
//! - One short lock holds all state. Under it are look-ups only; points are decoded, pairings computed and answers
//!   sent without it.
//! - A task is created unsigned: it costs a stranger nothing, so it is worth nothing, and is evicted first. Its first
//!   valid signature makes it durable, in one batch with that signature. Operators send the whole task with each
//!   signature, from which an evicted or forgotten task is rebuilt.
//! - Signatures of one task are summed and checked at once. Who sent a bad one is set apart: its next ones are
//!   checked last and alone.
//! - What the owner decides (operators, blocks, endings) is told through methods; nothing is asked of it but to store
//!   batches.

mod announcements;
mod answers;
mod batch;
mod control;
mod cooling;
mod error;
mod indices;
mod members;
mod operators;
mod peers;
mod requests;
mod settings;
mod state;
mod stats;
mod tasks;
mod verifier;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use batch::{AnnouncedTask, BadSignature, Batch, NewTask};
pub use control::{StoredState, StoredTask};
pub use error::IntakeError;
use mach_bls::Signature;
pub use operators::OperatorSetDefinition;
pub use settings::IntakeSettings;
pub use stats::{Gauges, Histogram, IntakeStats, Outcome, OutcomeCounts};
pub use tasks::Ending;

use self::answers::Answers;
use self::operators::OperatorSet;
use self::peers::PeerKey;
use self::requests::Reply;
use self::state::State;
use self::stats::Stats;
use self::verifier::{Group, Work};
use crate::aggregator::{
    Aggregator, AlertTaskInfo, InitOperatorRequest, Peer, Refusal, SignedTaskReply,
    SignedTaskRequest,
};

/// Requests that may wait for an answer, for each signature that may wait to be stored.
const WAITING_PER_SIGNATURE: usize = 2;

/// The engine. Every method may be called from any thread at any time.
pub struct Intake {
    settings: Arc<IntakeSettings>,
    stats: Arc<Stats>,
    state: Mutex<State>,
    /// There may be something to check.
    to_check: Condvar,
    /// There may be something to store.
    to_store: Condvar,
    waiting: Arc<AtomicUsize>,
}

impl Intake {
    /// An engine that knows no operators and no tasks yet, and checks nothing until [`Self::start_verifiers`].
    ///
    /// # Errors
    /// [`IntakeError::Settings`].
    pub fn new(settings: IntakeSettings) -> Result<Arc<Self>, IntakeError> {
        settings.check().map_err(IntakeError::Settings)?;
        let settings = Arc::new(settings);
        let stats = Arc::new(Stats::new());
        Ok(Arc::new(Self {
            state: Mutex::new(State::new(Arc::clone(&settings), Arc::clone(&stats))),
            settings,
            stats,
            to_check: Condvar::new(),
            to_store: Condvar::new(),
            waiting: Arc::default(),
        }))
    }

    /// Starts the threads that check signatures; they end after [`Self::stop`].
    ///
    /// # Errors
    /// [`IntakeError::Thread`]; then the engine is stopped.
    pub fn start_verifiers(self: &Arc<Self>) -> Result<Vec<JoinHandle<()>>, IntakeError> {
        (0..self.settings.verifier_threads)
            .map(|number| {
                let intake = Arc::clone(self);
                std::thread::Builder::new()
                    .name(format!("mach-verifier-{number}"))
                    .spawn(move || intake.verify())
                    .map_err(|error| {
                        self.stop();
                        IntakeError::Thread(error.to_string())
                    })
            })
            .collect()
    }

    /// Checks all signatures that wait now on the calling thread, without waiting for more: for owners that start no
    /// verifiers.
    pub fn check_queued(&self) {
        loop {
            let mut answers = Answers::default();
            let mut state = self.lock();
            let work = state.next_work(
                Instant::now(),
                Duration::ZERO,
                verifier::groups_at_once(),
                &mut answers,
            );
            drop(self.report(state, answers));
            let Work::Check(groups) = work else {
                return;
            };
            drop(self.check(&groups));
        }
    }

    /// Checks groups and applies what is found.
    fn check(&self, groups: &[Group]) -> MutexGuard<'_, State> {
        let started = Instant::now();
        let invalid = verifier::find_invalid(groups);
        self.stats
            .checked(groups.iter().map(Group::len), started.elapsed());
        let mut answers = Answers::default();
        let now = Instant::now();
        let mut state = self.lock();
        for (group, invalid) in groups.iter().zip(&invalid) {
            state.apply(group, invalid, now, &mut answers);
        }
        self.report(state, answers)
    }

    fn verify(&self) {
        let at_once = verifier::groups_at_once();
        let mut state = self.lock();
        loop {
            let mut answers = Answers::default();
            let work = state.next_work(Instant::now(), self.settings.linger, at_once, &mut answers);
            match work {
                Work::Stop => return,
                Work::Wait(time) => {
                    state = self.report(state, answers);
                    state.idle_verifiers += 1;
                    state = match time {
                        Some(time) => {
                            let woken = self.to_check.wait_timeout(state, time);
                            woken.unwrap_or_else(PoisonError::into_inner).0
                        }
                        None => self
                            .to_check
                            .wait(state)
                            .unwrap_or_else(PoisonError::into_inner),
                    };
                    state.idle_verifiers -= 1;
                }
                Work::Check(groups) => {
                    if state.idle_verifiers > 0 && state.has_queued() {
                        self.to_check.notify_one();
                    }
                    drop(state);
                    answers.send();
                    state = self.check(&groups);
                }
            }
        }
    }

    /// Wakes the owner where there is something to store, and sends answers without the lock.
    fn report<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        answers: Answers,
    ) -> MutexGuard<'a, State> {
        if state.has_something_to_store() {
            self.to_store.notify_one();
        }
        if answers.is_empty() {
            return state;
        }
        drop(state);
        answers.send();
        self.lock()
    }

    /// Teaches the engine the members of the quorums; its keys are decoded here, which takes a while for many.
    ///
    /// # Errors
    /// [`IntakeError::OperatorSet`].
    pub fn add_operator_set(&self, definition: OperatorSetDefinition) -> Result<(), IntakeError> {
        let quorums = self.settings.quorum_numbers.len();
        let set = OperatorSet::new(definition, quorums, |operator_id| {
            self.stats.operator(operator_id)
        })?;
        self.lock().add_set(set);
        Ok(())
    }

    /// New tasks get this block and its operator set from now on. The last 1,000 blocks are kept.
    ///
    /// # Errors
    /// [`IntakeError::UnknownOperatorSet`].
    pub fn set_head(&self, reference_block: u32, set_id: u64) -> Result<(), IntakeError> {
        self.with_answers(|state, answers| state.set_head(reference_block, set_id, answers))
    }

    /// Tells which set a block has, without making it the head: for stored tasks, and for those of other aggregators.
    /// The last 16,384 blocks told are kept.
    ///
    /// # Errors
    /// [`IntakeError::UnknownOperatorSet`].
    pub fn add_reference_block(
        &self,
        reference_block: u32,
        set_id: u64,
    ) -> Result<(), IntakeError> {
        self.lock().add_reference_block(reference_block, set_id)
    }

    /// Gives the engine `count` task indices from `first` on, that nobody else has and ever had. All indices below
    /// `high_water` were reserved by somebody. `count` 0 tells the high-water mark only.
    ///
    /// # Errors
    /// [`IntakeError::Range`].
    pub fn reserve(&self, first: u32, count: u32, high_water: u64) -> Result<(), IntakeError> {
        self.lock().reserve(first, count, high_water)
    }

    /// Takes in tasks that are stored: at the start, or when another aggregator stored them. What is stored wins over
    /// what is only in memory. Returns tasks that are open although their thresholds are met.
    ///
    /// # Errors
    /// [`IntakeError::UnknownReferenceBlock`], before anything is changed.
    pub fn restore(&self, stored: Vec<StoredTask>) -> Result<Vec<u32>, IntakeError> {
        self.with_answers(|state, answers| state.restore(stored, answers))
    }

    /// The next batch to store, once there is something: waits up to `timeout`. `None` when there was nothing, or the
    /// engine stops. At most two batches are given out at once; each must be committed or failed.
    #[must_use]
    pub fn next_batch(&self, timeout: Duration) -> Option<Batch> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.form_batch() {
                return Some(batch);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.stopping {
                return None;
            }
            let woken = self.to_store.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The batch is durable, but for tasks in `refused`, whose alert has another task or whose index another alert;
    /// `announced` are the tasks of its announcements. Answers everyone who waited for it. Returns tasks whose
    /// thresholds are met now, and of which the batch did not say so.
    ///
    /// # Errors
    /// [`IntakeError::UnknownBatch`] or [`IntakeError::UnknownReferenceBlock`], before anything is changed.
    pub fn commit(
        &self,
        batch: u64,
        refused: &[u32],
        announced: &[AnnouncedTask],
    ) -> Result<Vec<u32>, IntakeError> {
        let mut answers = Answers::default();
        let mut state = self.lock();
        let committed = state.commit(batch, refused, announced, &mut answers);
        drop(self.report(state, answers));
        committed
    }

    /// The batch could not be stored: nothing of it counts, and everyone who waited for it is told `reason` and to try
    /// again.
    ///
    /// # Errors
    /// [`IntakeError::UnknownBatch`].
    pub fn fail(&self, batch: u64, reason: &str) -> Result<(), IntakeError> {
        let mut answers = Answers::default();
        let mut state = self.lock();
        let failed = state.fail(batch, reason, &mut answers);
        drop(self.report(state, answers));
        failed
    }

    /// A task ended. Everyone who waits for it is answered; returns whether the task is known.
    pub fn finish(&self, task_index: u32, ending: Ending) -> bool {
        self.with_answers(|state, answers| state.finish(task_index, ending, answers))
    }

    /// An alert stands on L1, whoever brought it there; returns the live task that ended by it.
    pub fn alert_confirmed(&self, alert_hash: [u8; 32], tx_hash: [u8; 32]) -> Option<u32> {
        self.with_answers(|state, answers| state.alert_confirmed(alert_hash, tx_hash, answers))
    }

    /// An alert does not stand on L1 after all, because L1 was reorganised: its task may be restored, or a new one
    /// created.
    pub fn alert_unconfirmed(&self, alert_hash: [u8; 32]) {
        self.lock().finished.unconfirm(&alert_hash);
    }

    /// A stored task starts anew at another block: same index, no signatures.
    ///
    /// # Errors
    /// [`IntakeError::UnknownTask`] or [`IntakeError::UnknownReferenceBlock`].
    pub fn new_round(&self, task_index: u32, reference_block: u32) -> Result<(), IntakeError> {
        self.with_answers(|state, answers| state.new_round(task_index, reference_block, answers))
    }

    /// Counts signatures that another aggregator stored (those outside the set have no stake); returns whether the
    /// thresholds are met. A task that ended meanwhile has none.
    #[must_use]
    pub fn note_signatures(&self, task_index: u32, operator_ids: &[[u8; 32]]) -> bool {
        self.lock().note_signatures(task_index, operator_ids)
    }

    /// What happened, and how full the engine is.
    #[must_use]
    pub fn stats(&self) -> IntakeStats {
        let gauges = self
            .lock()
            .gauges(self.waiting.load(Ordering::Relaxed), Instant::now());
        self.stats.read(gauges)
    }

    /// Answers everyone who waits that the aggregator stops, and takes nothing in any more. Batches that were given
    /// out may still be committed; nobody waits for them.
    pub fn stop(&self) {
        let refusal = stopping();
        let mut answers = Answers::default();
        let mut state = self.lock();
        state.stopping = true;
        state.end_all(&refusal, &mut answers);
        drop(state);
        self.to_check.notify_all();
        self.to_store.notify_all();
        answers.send();
    }

    fn with_answers<T>(&self, work: impl FnOnce(&mut State, &mut Answers) -> T) -> T {
        let mut answers = Answers::default();
        let result = work(&mut self.lock(), &mut answers);
        answers.send();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left the state as it was between two look-ups: to stop all operators for it would be worse.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to wait for an answer, until it is dropped.
    fn permit(&self) -> Result<Permit, Refusal> {
        let permit = Permit(Arc::clone(&self.waiting));
        let bound = self
            .settings
            .queue_bound
            .saturating_mul(WAITING_PER_SIGNATURE);
        if permit.0.fetch_add(1, Ordering::Relaxed) < bound {
            return Ok(permit);
        }
        Err(Refusal::Busy(format!(
            "{bound} requests wait for an answer, which is the bound: try again in a second"
        )))
    }
}

struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn stopping() -> Refusal {
    Refusal::Unavailable("the aggregator stops: try again in a few seconds".to_owned())
}

async fn answer<T>(reply: Reply<Result<T, Refusal>>, permit: Option<Permit>) -> Result<T, Refusal> {
    let result = match reply {
        Reply::Now(result) => result,
        Reply::Later(receiver) => receiver.await.unwrap_or_else(|_| Err(stopping())),
    };
    drop(permit);
    result
}

impl Aggregator for Intake {
    fn init_operator(&self, _: &Peer, request: &InitOperatorRequest) -> Option<String> {
        let settings = &self.settings;
        let address = |bytes: &[u8; 20]| format!("0x{}", hex::encode(bytes));
        let differs = |name: &str, here: String, there: String| {
            (here != there).then(|| format!("{name} is {here} here, the operator has {there}"))
        };
        // 0 is what the original's operators send when their configuration names no rollup.
        let chain_id = match request.chain_id {
            0 => settings.rollup_chain_id,
            told => u64::from(told),
        };
        differs(
            "layer1_chain_id",
            settings.layer1_chain_id.to_string(),
            request.layer1_chain_id.to_string(),
        )
        .or_else(|| {
            differs(
                "chain_id",
                settings.rollup_chain_id.to_string(),
                chain_id.to_string(),
            )
        })
        .or_else(|| {
            differs(
                "operator_state_retriever_addr",
                address(&settings.operator_state_retriever),
                address(&request.operator_state_retriever),
            )
        })
        .or_else(|| {
            differs(
                "registry_coordinator_addr",
                address(&settings.registry_coordinator),
                address(&request.registry_coordinator),
            )
        })
    }

    fn create_task(
        &self,
        peer: &Peer,
        alert_hash: [u8; 32],
    ) -> impl Future<Output = Result<AlertTaskInfo, Refusal>> + Send {
        // Only where the database is asked does anyone wait.
        let permit = self.settings.shared.then(|| self.permit()).transpose();
        let begun = permit.and_then(|permit| {
            let mut state = self.lock();
            if state.stopping {
                return Err(stopping());
            }
            let reply = state.create_task(PeerKey::from(peer), alert_hash);
            if state.has_something_to_store() {
                self.to_store.notify_one();
            }
            Ok((reply, permit))
        });
        async move {
            let (reply, permit) = begun?;
            answer(reply, permit).await
        }
    }

    fn process_signed_task_response(
        &self,
        peer: &Peer,
        request: SignedTaskRequest,
    ) -> impl Future<Output = Result<SignedTaskReply, Refusal>> + Send {
        let permit = self
            .permit()
            .inspect_err(|_| self.stats.signature(Outcome::Busy, None));
        let begun = permit.and_then(|permit| {
            let signature = Signature::from_bytes(&request.signature);
            let now = Instant::now();
            let mut wake = false;
            let mut state = self.lock();
            if state.stopping {
                self.stats.signature(Outcome::Unavailable, None);
                return Err(stopping());
            }
            let reply = state.process(PeerKey::from(peer), &request, signature, now, &mut wake);
            drop(state);
            if wake {
                self.to_check.notify_one();
            }
            Ok((reply, Some(permit)))
        });
        async move {
            let (reply, permit) = begun?;
            answer(reply, permit).await
        }
    }
}
