//! The parent's state as the EVM reads it, and the state's root after the block.

use alloc::vec::Vec;
use core::fmt;

use alloy_primitives::{
    Address, B256, KECCAK256_EMPTY, U256, keccak256,
    map::{AddressMap, AddressSet},
};
use alloy_rlp::Decodable;
use alloy_trie::TrieAccount;
use revm::{
    Database,
    database::{BundleAccount, BundleState},
    database_interface::DBErrorMarker,
    state::{AccountInfo, Bytecode},
};

use crate::{
    ancestors::Ancestors,
    codes::{self, Codes},
    error::{Error, Place},
    trie::{EMPTY_ROOT, Trie, TrieError, hash_changed},
    witness::Witness,
};

impl DBErrorMarker for Error {}

/// The state under one root, read from a witness as far as it is asked for.
///
/// The first read that fails is kept: layers above may turn its error into text, or into another error.
pub(crate) struct WitnessDb<'a, 'w> {
    witness: &'a Witness<'w>,
    ancestors: &'a Ancestors,
    state: Trie<'w>,
    storages: AddressMap<Storage<'w>>,
    codes: Option<&'a Codes<'w>>,
    fault: Option<Error>,
}

impl fmt::Debug for WitnessDb<'_, '_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WitnessDb").finish_non_exhaustive()
    }
}

/// An account's storage trie: opened when a slot is asked for.
#[derive(Debug)]
enum Storage<'w> {
    Unopened(B256),
    Open(Trie<'w>),
}

impl<'w> Storage<'w> {
    fn open(&mut self, witness: &Witness<'w>) -> Result<&mut Trie<'w>, TrieError> {
        if let Self::Unopened(root) = *self {
            *self = Self::Open(Trie::open(root, witness)?);
        }
        match self {
            Self::Open(trie) => Ok(trie),
            Self::Unopened(root) => Err(TrieError::Missing(*root)),
        }
    }

    const fn opened(&mut self) -> Option<&mut Trie<'w>> {
        match self {
            Self::Open(trie) => Some(trie),
            Self::Unopened(_) => None,
        }
    }

    fn root(&mut self) -> B256 {
        match self {
            Self::Unopened(root) => *root,
            Self::Open(trie) => trie.root(),
        }
    }
}

impl<'a, 'w> WitnessDb<'a, 'w> {
    /// The state with this root.
    pub(crate) fn open(
        state_root: B256,
        witness: &'a Witness<'w>,
        ancestors: &'a Ancestors,
    ) -> Result<Self, Error> {
        let state =
            Trie::open(state_root, witness).map_err(|error| Place::StateRoot.error(error))?;
        Ok(Self {
            witness,
            ancestors,
            state,
            storages: AddressMap::default(),
            codes: None,
            fault: None,
        })
    }

    /// Takes code that another thread may make ready.
    #[cfg(feature = "parallel")]
    pub(crate) fn with_codes(self, codes: &'a Codes<'w>) -> Self {
        Self {
            codes: Some(codes),
            ..self
        }
    }

    /// The first error that a read has ended with, if one has.
    pub(crate) const fn fault(&mut self) -> Option<Error> {
        self.fault.take()
    }

    /// The account as the state trie holds it now: before [`WitnessDb::apply`] as the parent left it, then as the block
    /// leaves it.
    pub(crate) fn account(&mut self, address: Address) -> Result<Option<TrieAccount>, Error> {
        let place = Place::Account(address);
        let leaf = self
            .state
            .get(&keccak256(address), self.witness)
            .map_err(|error| place.error(error))?;
        let Some(mut leaf) = leaf else {
            return Ok(None);
        };
        match TrieAccount::decode(&mut leaf) {
            Ok(account) if leaf.is_empty() => Ok(Some(account)),
            _ => Err(Error::MalformedValue("account", address)),
        }
    }

    /// Writes what the block has changed into the tries; returns the root of the state after it.
    ///
    /// Removals come last, as in geth: a branch that loses one child and gains another never needs the sibling that a
    /// collapse would have to read.
    pub(crate) fn apply(&mut self, changes: &BundleState) -> Result<B256, Error> {
        let changed = || {
            let state = changes.state().iter();
            state.filter(|(_, change)| !change.status.is_not_modified())
        };
        let mut written = AddressSet::default();
        for (address, change) in changed() {
            if change.info.is_none() {
                self.storages.remove(address);
            } else if self.apply_storage(*address, change)? {
                written.insert(*address);
            }
        }
        let mut storages: Vec<&mut Trie<'w>> = self
            .storages
            .iter_mut()
            .filter(|(address, _)| written.contains(*address))
            .filter_map(|(_, storage)| storage.opened())
            .collect();
        hash_changed(&mut storages);
        let mut removed = Vec::new();
        for (address, change) in changed() {
            let key = keccak256(address);
            let Some(info) = &change.info else {
                removed.push((*address, key));
                continue;
            };
            let storage_root = match self.storages.get_mut(address) {
                Some(storage) => storage.root(),
                None => self
                    .account(*address)?
                    .map_or(EMPTY_ROOT, |account| account.storage_root),
            };
            let account = TrieAccount {
                nonce: info.nonce,
                balance: info.balance,
                storage_root,
                code_hash: info.code_hash,
            };
            let inserted = self
                .state
                .insert(&key, alloy_rlp::encode(account), self.witness);
            inserted.map_err(|error| Place::Account(*address).error(error))?;
        }
        for (address, key) in removed {
            let removed = self.state.remove(&key, self.witness);
            removed.map_err(|error| Place::Account(address).error(error))?;
        }
        Ok(self.state.root())
    }

    /// Writes changed slots; whether there are any.
    fn apply_storage(&mut self, address: Address, change: &BundleAccount) -> Result<bool, Error> {
        let witness = self.witness;
        let destroyed = change.was_destroyed();
        if destroyed {
            self.storages.insert(address, Storage::Open(Trie::empty()));
        }
        let slots: Vec<(U256, U256)> = change
            .storage
            .iter()
            .filter(|(_, value)| destroyed || value.is_changed())
            .map(|(slot, value)| (*slot, value.present_value))
            .collect();
        if slots.is_empty() {
            return Ok(destroyed);
        }
        if !self.storages.contains_key(&address) {
            let root = self
                .account(address)?
                .map_or(EMPTY_ROOT, |account| account.storage_root);
            self.storages.insert(address, Storage::Unopened(root));
        }
        let storage = self
            .storages
            .entry(address)
            .or_insert(Storage::Unopened(EMPTY_ROOT));
        let (removed, set): (Vec<_>, Vec<_>) =
            slots.into_iter().partition(|(_, value)| value.is_zero());
        for (slot, value) in set.into_iter().chain(removed) {
            let key = slot_key(slot);
            let written = storage.open(witness).and_then(|trie| {
                if value.is_zero() {
                    trie.remove(&key, witness).map(drop)
                } else {
                    trie.insert(&key, alloy_rlp::encode(value), witness)
                }
            });
            written.map_err(|error| Place::Slot(address, slot).error(error))?;
        }
        Ok(true)
    }

    fn read_account(&mut self, address: Address) -> Result<Option<AccountInfo>, Error> {
        let Some(account) = self.account(address)? else {
            return Ok(None);
        };
        self.storages
            .entry(address)
            .or_insert(Storage::Unopened(account.storage_root));
        Ok(Some(AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code: None,
            ..AccountInfo::default()
        }))
    }

    fn read_code(&self, code_hash: B256) -> Result<Bytecode, Error> {
        if code_hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        if let Some(code) = self.codes.and_then(|codes| codes.get(&code_hash)) {
            return Ok(code);
        }
        let code = self
            .witness
            .get(&code_hash)
            .ok_or(Error::MissingCode(code_hash))?;
        Ok(codes::analyse(code))
    }

    fn read_slot(&mut self, address: Address, slot: U256) -> Result<U256, Error> {
        let witness = self.witness;
        if !self.storages.contains_key(&address) {
            self.read_account(address)?;
        }
        let Some(storage) = self.storages.get_mut(&address) else {
            return Ok(U256::ZERO);
        };
        let leaf = storage
            .open(witness)
            .and_then(|trie| trie.get(&slot_key(slot), witness));
        let Some(mut leaf) = leaf.map_err(|error| Place::Slot(address, slot).error(error))? else {
            return Ok(U256::ZERO);
        };
        match U256::decode(&mut leaf) {
            Ok(value) if leaf.is_empty() => Ok(value),
            _ => Err(Error::MalformedValue("storage value", address)),
        }
    }

    fn keep<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            self.fault.get_or_insert_with(|| error.clone());
        }
        result
    }
}

/// The key of a slot in a storage trie.
fn slot_key(slot: U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}

impl Database for WitnessDb<'_, '_> {
    type Error = Error;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Error> {
        let account = self.read_account(address);
        self.keep(account)
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Error> {
        let code = self.read_code(code_hash);
        self.keep(code)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Error> {
        let value = self.read_slot(address, slot);
        self.keep(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Error> {
        let hash = self.ancestors.hash(number);
        self.keep(hash)
    }
}
