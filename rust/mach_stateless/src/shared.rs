//! What of a verification a second thread can do ahead of the first.

use crate::{once::Once, transactions::Transactions, witness::Witness};
#[cfg(feature = "parallel")]
use {
    crate::codes::Codes,
    core::sync::atomic::{AtomicBool, Ordering},
};

/// Each part is made by whoever needs or reaches it first, and only once.
pub(crate) struct Shared<'a> {
    pub(crate) transactions: Transactions<'a>,
    preimages: &'a [&'a [u8]],
    witness: Once<Witness<'a>>,
    #[cfg(feature = "parallel")]
    codes: Once<Codes<'a>>,
    #[cfg(feature = "parallel")]
    finished: AtomicBool,
}

impl<'a> Shared<'a> {
    pub(crate) const fn new(transactions: Transactions<'a>, preimages: &'a [&'a [u8]]) -> Self {
        Self {
            transactions,
            preimages,
            witness: Once::new(),
            #[cfg(feature = "parallel")]
            codes: Once::new(),
            #[cfg(feature = "parallel")]
            finished: AtomicBool::new(false),
        }
    }

    pub(crate) fn witness(&self) -> &Witness<'a> {
        self.witness
            .get_or_init(|| Witness::new(self.preimages.iter().copied()))
    }

    #[cfg(feature = "parallel")]
    pub(crate) fn codes(&self) -> &Codes<'a> {
        self.codes.get_or_init(|| Codes::of(self.witness()))
    }

    /// Runs `first` on this thread while a second one works ahead of it.
    #[cfg(feature = "parallel")]
    pub(crate) fn with_second_thread<R>(&self, first: impl FnOnce() -> R) -> R {
        std::thread::scope(|scope| {
            scope.spawn(|| self.work_ahead());
            let result = first();
            self.finished.store(true, Ordering::Relaxed);
            result
        })
    }

    #[cfg(feature = "parallel")]
    fn work_ahead(&self) {
        let finished = || self.finished.load(Ordering::Relaxed);
        // A bad transaction is for the first thread to find.
        let _ = self.transactions.recover_all(finished);
        self.codes().analyse_all(finished);
    }
}
