//! The state as the second thread knows it.

use alloc::vec::Vec;
use core::fmt;

use alloy_primitives::{
    Address, B256, U256,
    map::{AddressMap, HashMap},
};
use revm::{
    Database,
    state::{Account, AccountInfo, Bytecode, EvmState},
};

use super::guess::{Reads, SlotRead};
use crate::{database::WitnessDb, error::Error};

/// What a transaction has changed.
pub(crate) struct Changes(Vec<(Address, Change)>);

struct Change {
    info: Option<AccountInfo>,
    /// Nothing is left of what its storage was before.
    emptied: bool,
    slots: Vec<(U256, U256)>,
}

impl Changes {
    pub(super) fn of(state: &EvmState) -> Self {
        let touched = state.iter().filter(|(_, account)| account.is_touched());
        Self(
            touched
                .map(|(address, account)| (*address, Change::of(account)))
                .collect(),
        )
    }
}

impl Change {
    fn of(account: &Account) -> Self {
        let gone = account.is_selfdestructed() || account.info.is_empty();
        let changed = account.storage.iter().filter(|(_, slot)| slot.is_changed());
        Self {
            info: (!gone).then(|| account.info.clone()),
            emptied: account.is_selfdestructed() || account.is_created(),
            slots: changed
                .map(|(key, slot)| (*key, slot.present_value))
                .collect(),
        }
    }
}

/// Values with the number of the transaction that wrote them, counted from 1; the system before them is number 0.
#[derive(Default)]
struct Overlay {
    accounts: AddressMap<(usize, Option<AccountInfo>)>,
    slots: HashMap<(Address, U256), (usize, U256)>,
    /// Accounts whose storage was emptied: made anew, or destroyed.
    emptied: AddressMap<usize>,
}

impl Overlay {
    fn write(&mut self, index: usize, changes: Changes) {
        for (address, change) in changes.0 {
            self.accounts.insert(address, (index, change.info));
            if change.emptied {
                self.emptied.insert(address, index);
            }
            let slots = change.slots.into_iter();
            self.slots
                .extend(slots.map(|(key, value)| ((address, key), (index, value))));
        }
    }
}

/// The parent's state under what transactions are known to have changed, and under what they are supposed to.
///
/// It may be wrong in any way: what it answers is noted, and held against the state later.
pub(crate) struct AheadState<'a, 'w> {
    parent: WitnessDb<'a, 'w>,
    known: Overlay,
    supposed: Overlay,
    reads: Reads,
    /// From now on the accounts read for the first time are those that fees go to.
    pub(super) paying_fees: bool,
}

impl fmt::Debug for AheadState<'_, '_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AheadState").finish_non_exhaustive()
    }
}

impl<'a, 'w> AheadState<'a, 'w> {
    pub(super) fn new(parent: WitnessDb<'a, 'w>) -> Self {
        Self {
            parent,
            known: Overlay::default(),
            supposed: Overlay::default(),
            reads: Reads::default(),
            paying_fees: false,
        }
    }

    /// Takes in what transactions, by their number, have changed.
    pub(super) fn learn(&mut self, news: Vec<(usize, Changes)>, start_over: bool) {
        if start_over {
            self.supposed = Overlay::default();
        }
        for (index, changes) in news {
            self.known.write(index, changes);
        }
    }

    /// Takes the guess for the transaction with this index for the truth.
    pub(super) fn suppose(&mut self, index: usize, state: &EvmState) {
        self.supposed.write(index + 1, Changes::of(state));
    }

    /// What has been read since the last time.
    pub(super) fn take_reads(&mut self) -> Reads {
        self.paying_fees = false;
        core::mem::take(&mut self.reads)
    }
}

/// The later of two values.
fn later<'v, T>(
    known: Option<&'v (usize, T)>,
    supposed: Option<&'v (usize, T)>,
) -> Option<&'v (usize, T)> {
    match (known, supposed) {
        (Some(known), Some(supposed)) if known.0 >= supposed.0 => Some(known),
        (known, None) => known,
        (_, supposed) => supposed,
    }
}

impl Database for AheadState<'_, '_> {
    type Error = Error;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Error> {
        let known = self.known.accounts.get(&address);
        let info = match later(known, self.supposed.accounts.get(&address)) {
            Some((_, info)) => info.clone(),
            None => self.parent.basic(address)?,
        };
        let reads = if self.paying_fees {
            &mut self.reads.fee_recipients
        } else {
            &mut self.reads.accounts
        };
        reads.push((address, info.clone()));
        Ok(info)
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Error> {
        self.parent.code_by_hash(code_hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Error> {
        let key = (address, slot);
        let (known, supposed) = (&self.known, &self.supposed);
        let written = later(known.slots.get(&key), supposed.slots.get(&key));
        let emptied = known
            .emptied
            .get(&address)
            .max(supposed.emptied.get(&address));
        let (value, of_parent) = match (written, emptied) {
            (Some((number, value)), emptied) if Some(number) >= emptied => (*value, false),
            (_, Some(_)) => (U256::ZERO, false),
            (_, None) => (self.parent.storage(address, slot)?, true),
        };
        self.reads.slots.push(SlotRead {
            address,
            slot,
            value,
            of_parent,
        });
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Error> {
        self.parent.block_hash(number)
    }
}
