//! What the two threads tell each other.

use alloc::{boxed::Box, vec::Vec};
use core::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use alloy_evm::EvmEnv;
use op_revm::{L1BlockInfo, OpSpecId};
use revm::state::EvmState;

use super::{guess::Guess, state::Changes};

/// In terms of gas limits, which are a poor guess of time: the next transaction in line is the best in most cases.
const MUCH_LONGER: u64 = 8;

/// What the second thread needs before it can begin: known once the first has executed a transaction that pays fees.
pub(crate) struct Start {
    pub(crate) env: EvmEnv<OpSpecId>,
    pub(crate) l1_block: L1BlockInfo,
}

/// A transaction for the second thread.
pub(crate) struct Task {
    pub(crate) index: usize,
    /// What transactions, by their number, have changed since the last task.
    pub(crate) news: Vec<(usize, Changes)>,
    /// A guess was wrong: what was supposed on its ground is in doubt.
    pub(crate) start_over: bool,
}

/// How far a transaction is from the second thread's point of view.
enum Place {
    Open,
    Begun,
    Guessed(Box<Guess>),
    /// Its turn has come; what the second thread may still find is not wanted.
    Closed,
}

/// Shared by the two threads.
pub(crate) struct Exchange {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    start: Option<Start>,
    places: Vec<Place>,
    /// Gas limits: how long each may take.
    gas_limits: Vec<u64>,
    /// The transaction whose turn it is.
    turn: usize,
    /// Whether the first thread executes it itself.
    executing: bool,
    /// Whether the last guess was right: only then it pays to wait for the next.
    trusted: bool,
    /// Guesses that were right.
    right: usize,
    news: Vec<(usize, Changes)>,
    start_over: bool,
    finished: bool,
}

impl Exchange {
    pub(crate) fn new(transactions: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                start: None,
                places: (0..transactions).map(|_| Place::Open).collect(),
                gas_limits: Vec::new(),
                turn: 0,
                executing: false,
                trusted: true,
                right: 0,
                news: Vec::new(),
                start_over: false,
                finished: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whatever a thread was doing when it panicked, the values are whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, inner: MutexGuard<'g, Inner>) -> MutexGuard<'g, Inner> {
        self.changed
            .wait(inner)
            .unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the first thread's side ----------------------------------------------------------------------------------

    /// Lets the second thread begin.
    pub(super) fn start(&self, start: Start) {
        self.lock().start = Some(start);
        self.changed.notify_all();
    }

    /// The guess for the transaction whose turn it is now, if there is one; waits for one that is being made if the last
    /// was right.
    pub(super) fn take_guess(&self, index: usize) -> Option<Box<Guess>> {
        let mut inner = self.lock();
        inner.turn = index;
        inner.executing = false;
        while inner.trusted && matches!(inner.places.get(index), Some(Place::Begun)) {
            inner = self.wait(inner);
        }
        let place = inner.places.get_mut(index)?;
        match mem::replace(place, Place::Closed) {
            Place::Guessed(guess) => Some(guess),
            Place::Open | Place::Begun | Place::Closed => {
                inner.executing = true;
                None
            }
        }
    }

    /// Whether the guess for the transaction whose turn it is was right. If not, the first thread executes it.
    pub(super) fn judge(&self, right: bool) {
        let mut inner = self.lock();
        inner.trusted = right;
        inner.right += usize::from(right);
        inner.executing = !right;
        inner.start_over |= !right;
    }

    /// Whether the second thread can still use news.
    pub(super) fn wants_news(&self) -> bool {
        let inner = self.lock();
        inner.open_from(inner.turn + 1).is_some()
    }

    /// What a transaction has changed, counted from 1; the system before the first is number 0.
    pub(super) fn tell(&self, number: usize, state: &EvmState) {
        let changes = Changes::of(state);
        self.lock().news.push((number, changes));
    }

    /// How many guesses were right.
    pub(crate) fn right(&self) -> usize {
        self.lock().right
    }

    /// Ends the second thread's work after what it is doing.
    pub(crate) fn finish(&self) {
        self.lock().finished = true;
        self.changed.notify_all();
    }

    // ---- the second thread's side ---------------------------------------------------------------------------------

    /// Whether transactions can be guessed by now.
    pub(crate) fn has_started(&self) -> bool {
        self.lock().start.is_some()
    }

    /// Whether nothing is wanted any more.
    pub(crate) fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// `None` when nothing is to be guessed.
    pub(super) fn wait_for_start(&self) -> Option<Start> {
        let mut inner = self.lock();
        while inner.start.is_none() && !inner.finished {
            inner = self.wait(inner);
        }
        inner.start.take()
    }

    /// How long each transaction may take, as far as it is known.
    pub(super) fn expect(&self, gas_limits: Vec<u64>) {
        self.lock().gas_limits = gas_limits;
    }

    /// The next transaction to guess, `None` when none is left.
    pub(super) fn next_task(&self) -> Option<Task> {
        let mut inner = self.lock();
        if inner.finished {
            return None;
        }
        // Whoever waits for a guess, or has just taken one, goes on with the next transaction himself.
        let ahead = if inner.executing { 1 } else { 2 };
        let index = inner.worth_guessing(inner.turn + ahead)?;
        inner.places[index] = Place::Begun;
        Some(Task {
            index,
            news: mem::take(&mut inner.news),
            start_over: mem::take(&mut inner.start_over),
        })
    }

    /// Nothing more will come from the second thread.
    pub(super) fn leave(&self) {
        for place in &mut self.lock().places {
            if matches!(place, Place::Open | Place::Begun) {
                *place = Place::Closed;
            }
        }
        self.changed.notify_all();
    }

    /// What came of a task; `None` if nothing did.
    pub(super) fn guessed(&self, index: usize, guess: Option<Guess>) {
        let mut inner = self.lock();
        if let Some(place @ Place::Begun) = inner.places.get_mut(index) {
            *place = guess.map_or(Place::Closed, |guess| Place::Guessed(Box::new(guess)));
        }
        drop(inner);
        self.changed.notify_all();
    }
}

impl Inner {
    /// The next open transaction; but one that is likely to take much longer than those before it is left to the first
    /// thread, which would come to it soon and do nothing but wait.
    fn worth_guessing(&self, first: usize) -> Option<usize> {
        let gas_limit = |index: usize| self.gas_limits.get(index).copied().unwrap_or_default();
        let mut before = gas_limit(first.saturating_sub(1));
        let mut next = self.open_from(first);
        let fallback = next;
        while let Some(index) = next {
            if gas_limit(index) / MUCH_LONGER <= before {
                return next;
            }
            before = before.saturating_add(gas_limit(index));
            next = self.open_from(index + 1);
        }
        fallback
    }

    fn open_from(&self, first: usize) -> Option<usize> {
        let places = self.places.get(first..)?;
        let next = places
            .iter()
            .position(|place| matches!(place, Place::Open))?;
        Some(first + next)
    }
}
