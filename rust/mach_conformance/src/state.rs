//! A whole state, its tries, and every node of them.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_trie::{
    EMPTY_ROOT_HASH, HashBuilder, TrieAccount,
    proof::{ProofNodes, ProofRetainer},
};
use mach_stateless::StateChanges;
use nybbles::Nibbles;

use crate::fixture::Accounts;

/// A state with its root and the preimages of everything that the root commits to: trie nodes and codes.
#[derive(Clone, Debug)]
pub(crate) struct State {
    accounts: Accounts,
    root: B256,
    preimages: Vec<Bytes>,
}

impl State {
    pub(crate) fn new(accounts: Accounts) -> Self {
        let mut preimages = Vec::new();
        let mut leaves = BTreeMap::new();
        for (address, account) in &accounts {
            let storage = account
                .storage
                .iter()
                .map(|(slot, value)| {
                    (
                        keccak256(slot.to_be_bytes::<32>()),
                        alloy_rlp::encode(value),
                    )
                })
                .collect();
            let leaf = TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root: build(&storage, &mut preimages),
                code_hash: keccak256(&account.code),
            };
            preimages.push(account.code.clone());
            leaves.insert(keccak256(address), alloy_rlp::encode(leaf));
        }
        let root = build(&leaves, &mut preimages);
        Self {
            accounts,
            root,
            preimages,
        }
    }

    pub(crate) const fn root(&self) -> B256 {
        self.root
    }

    pub(crate) fn preimages(&self) -> Vec<&[u8]> {
        self.preimages.iter().map(AsRef::as_ref).collect()
    }

    /// The state after a block with these changes.
    pub(crate) fn after(&self, changes: &StateChanges) -> Self {
        let mut accounts = self.accounts.clone();
        for (address, change) in changes.state() {
            let Some(info) = &change.info else {
                if !change.status.is_not_modified() {
                    accounts.remove(address);
                }
                continue;
            };
            if change.status.is_not_modified() {
                continue;
            }
            let account = accounts.entry(*address).or_default();
            if change.was_destroyed() {
                account.storage.clear();
            }
            account.nonce = info.nonce;
            account.balance = info.balance;
            if keccak256(&account.code) != info.code_hash {
                account.code = match (&info.code, changes.contracts.get(&info.code_hash)) {
                    (Some(code), _) | (None, Some(code)) => code.original_bytes(),
                    (None, None) => Bytes::new(),
                };
            }
            for (slot, value) in &change.storage {
                match value.present_value {
                    U256::ZERO => account.storage.remove(slot),
                    value => account.storage.insert(*slot, value),
                };
            }
        }
        Self::new(accounts)
    }
}

/// The root of the trie with these leaves; adds its nodes to `preimages`.
fn build(leaves: &BTreeMap<B256, Vec<u8>>, preimages: &mut Vec<Bytes>) -> B256 {
    if leaves.is_empty() {
        return EMPTY_ROOT_HASH;
    }
    let keys = leaves.keys().map(Nibbles::unpack).collect();
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(keys));
    for (key, value) in leaves {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    let nodes: ProofNodes = builder.take_proof_nodes();
    preimages.extend(nodes.into_inner().into_values());
    root
}
