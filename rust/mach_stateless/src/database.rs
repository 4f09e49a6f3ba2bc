//! The parent's state as the EVM reads it, and the state's root after the block.

use alloc::vec::Vec;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256, map::AddressMap};
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
    error::{Error, Place},
    trie::{EMPTY_ROOT, Trie, TrieError},
    witness::Witness,
};

impl DBErrorMarker for Error {}

/// The state under one root, read from a witness as far as it is asked for.
///
/// The first read that fails is kept: layers above may turn its error into text, or into another error.
#[derive(Debug)]
pub(crate) struct WitnessDb<'a, 'w> {
    witness: &'a Witness<'w>,
    ancestors: &'a Ancestors,
    state: Trie<'w>,
    storages: AddressMap<Storage<'w>>,
    fault: Option<Error>,
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
            fault: None,
        })
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
        let mut removed = Vec::new();
        for (address, change) in changes.state() {
            if change.status.is_not_modified() {
                continue;
            }
            let Some(info) = &change.info else {
                removed.push(*address);
                self.storages.remove(address);
                continue;
            };
            let account = TrieAccount {
                nonce: info.nonce,
                balance: info.balance,
                storage_root: self.apply_storage(*address, change)?,
                code_hash: info.code_hash,
            };
            let written = self.state.insert(
                &keccak256(address),
                alloy_rlp::encode(account),
                self.witness,
            );
            written.map_err(|error| Place::Account(*address).error(error))?;
        }
        for address in removed {
            let written = self.state.remove(&keccak256(address), self.witness);
            written.map_err(|error| Place::Account(address).error(error))?;
        }
        Ok(self.state.root())
    }

    fn apply_storage(&mut self, address: Address, change: &BundleAccount) -> Result<B256, Error> {
        let witness = self.witness;
        if change.was_destroyed() {
            self.storages.insert(address, Storage::Open(Trie::empty()));
        } else if !self.storages.contains_key(&address) {
            let root = self
                .account(address)?
                .map_or(EMPTY_ROOT, |account| account.storage_root);
            self.storages.insert(address, Storage::Unopened(root));
        }
        let storage = self
            .storages
            .entry(address)
            .or_insert(Storage::Unopened(EMPTY_ROOT));
        let mut removed = Vec::new();
        for (slot, value) in &change.storage {
            if !value.is_changed() && !change.was_destroyed() {
                continue;
            }
            if value.present_value.is_zero() {
                removed.push(*slot);
                continue;
            }
            let value = alloy_rlp::encode(value.present_value);
            let written = storage
                .open(witness)
                .and_then(|trie| trie.insert(&slot_key(*slot), value, witness));
            written.map_err(|error| Place::Slot(address, *slot).error(error))?;
        }
        for slot in removed {
            let written = storage
                .open(witness)
                .and_then(|trie| trie.remove(&slot_key(slot), witness));
            written.map_err(|error| Place::Slot(address, slot).error(error))?;
        }
        Ok(storage.root())
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
        let code = self
            .witness
            .get(&code_hash)
            .ok_or(Error::MissingCode(code_hash))?;
        let code = Bytes::copy_from_slice(code);
        // Code that begins like an EIP-7702 delegation without being one is older than the rule against such code.
        Ok(Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code)))
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
