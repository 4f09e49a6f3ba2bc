//! An outcome found before its turn, and the test whether it still holds.

use alloc::vec::Vec;

use alloy_primitives::{Address, U256};
use op_revm::OpHaltReason;
use revm::{
    Database,
    context::result::ResultAndState,
    database::State,
    state::{AccountInfo, EvmState},
};

/// Every value that an execution has read.
#[derive(Default)]
pub(crate) struct Reads {
    pub(super) accounts: Vec<(Address, Option<AccountInfo>)>,
    /// Accounts read only to be paid fees.
    pub(super) fee_recipients: Vec<(Address, Option<AccountInfo>)>,
    pub(super) slots: Vec<SlotRead>,
}

/// One slot read.
pub(crate) struct SlotRead {
    pub(super) address: Address,
    pub(super) slot: U256,
    pub(super) value: U256,
    /// The value is the parent's, which the witness proves, and not one that a transaction has written.
    pub(super) of_parent: bool,
}

/// A transaction's outcome on a state that gives these values.
pub(crate) struct Guess {
    pub(super) reads: Reads,
    pub(super) outcome: ResultAndState<OpHaltReason>,
}

impl Guess {
    /// The outcome on `state`, if that gives the same values; what it reads of the parent's state is loaded into it.
    pub(super) fn confirm<DB: Database>(
        self,
        state: &mut State<DB>,
    ) -> Option<ResultAndState<OpHaltReason>> {
        let Self { reads, mut outcome } = self;
        for (address, seen) in &reads.accounts {
            if state.basic(*address).ok()? != *seen {
                return None;
            }
        }
        if !reads.slots.iter().all(|read| read.holds(state)) {
            return None;
        }
        for (address, seen) in reads.fee_recipients {
            let now = state.basic(address).ok()?;
            pay(&mut outcome.state, address, seen, now)?;
        }
        Some(outcome)
    }
}

impl SlotRead {
    fn holds<DB>(&self, state: &State<DB>) -> bool {
        // An account whose slot was read has been read too, and is loaded by now.
        let Some(cached) = state.cache.accounts.get(&self.address) else {
            return false;
        };
        let Some(account) = &cached.account else {
            return self.value.is_zero();
        };
        match account.storage.get(&self.slot) {
            Some(now) => *now == self.value,
            None if cached.status.is_storage_known() => self.value.is_zero(),
            // Nobody has read it in this block, and so nobody has written it.
            None => self.of_parent,
        }
    }
}

/// Adds to the account as it is `now` the fees that were added to it as it was `seen`.
fn pay(
    outcome: &mut EvmState,
    address: Address,
    seen: Option<AccountInfo>,
    now: Option<AccountInfo>,
) -> Option<()> {
    let balance = match (seen, now) {
        (None, None) => return Some(()),
        (Some(seen), Some(now)) if (seen.nonce, seen.code_hash) == (now.nonce, now.code_hash) => {
            (seen.balance, now.balance)
        }
        _ => return None,
    };
    let (seen, now) = balance;
    let info = &mut outcome.get_mut(&address)?.info;
    info.balance = now.checked_add(info.balance.checked_sub(seen)?)?;
    Some(())
}
