//! What of a verification a second thread can do ahead of the first.

use crate::{once::Once, transactions::Transactions, witness::Witness};
#[cfg(feature = "parallel")]
use {
    crate::{ahead, ancestors::Ancestors, codes::Codes, database::WitnessDb},
    alloy_primitives::B256,
};

/// Each part is made by whoever needs or reaches it first, and only once.
pub(crate) struct Shared<'a> {
    pub(crate) transactions: Transactions<'a>,
    preimages: &'a [&'a [u8]],
    witness: Once<Witness<'a>>,
    #[cfg(feature = "parallel")]
    codes: Once<Codes<'a>>,
    #[cfg(feature = "parallel")]
    exchange: ahead::Exchange,
}

impl<'a> Shared<'a> {
    pub(crate) fn new(transactions: Transactions<'a>, preimages: &'a [&'a [u8]]) -> Self {
        Self {
            #[cfg(feature = "parallel")]
            exchange: ahead::Exchange::new(transactions.len()),
            transactions,
            preimages,
            witness: Once::new(),
            #[cfg(feature = "parallel")]
            codes: Once::new(),
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

    /// Runs `first` on this thread while a second one works ahead of it on the state with this root.
    #[cfg(feature = "parallel")]
    pub(crate) fn with_second_thread<R>(
        &self,
        parent_root: B256,
        ancestors: &Ancestors,
        first: impl FnOnce() -> R,
    ) -> R {
        std::thread::scope(|scope| {
            scope.spawn(|| self.work_ahead(parent_root, ancestors));
            let _finished = Finished(&self.exchange);
            first()
        })
    }

    /// What the two threads tell each other about transactions.
    #[cfg(feature = "parallel")]
    pub(crate) const fn exchange(&self) -> &ahead::Exchange {
        &self.exchange
    }

    #[cfg(feature = "parallel")]
    fn work_ahead(&self, parent_root: B256, ancestors: &Ancestors) {
        let finished = || self.exchange.is_finished();
        // A bad transaction is for the first thread to find.
        let _ = self.transactions.recover_all(finished);
        self.codes()
            .analyse_all(|| finished() || self.exchange.has_started());
        let Transactions::OpStack(transactions) = &self.transactions else {
            return;
        };
        if let Ok(db) = WitnessDb::open(parent_root, self.witness(), ancestors) {
            ahead::work(&self.exchange, transactions, db.with_codes(self.codes()));
        }
    }
}

/// Ends the second thread's work, also when the first panics.
#[cfg(feature = "parallel")]
struct Finished<'e>(&'e ahead::Exchange);

#[cfg(feature = "parallel")]
impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}
