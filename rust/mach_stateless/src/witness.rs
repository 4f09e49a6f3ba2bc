//! The preimages that a block's execution needs, found by their Keccak-256 hash.

use alloc::vec::Vec;
use alloy_primitives::{B256, map::B256Map};

use crate::hashing::keccak256_many;

/// Trie nodes and contract codes, each hashed once when it enters.
///
/// Nothing in a witness is believed for where it came from: a preimage is found only under its own hash, and a hash is
/// asked for only when the parent's state root leads to it. A wrong preimage is therefore the same as a missing one.
#[derive(Clone, Debug, Default)]
pub struct Witness<'w> {
    preimages: B256Map<&'w [u8]>,
}

impl<'w> Witness<'w> {
    /// Hashes every preimage. Order and repetition do not matter.
    pub fn new(preimages: impl IntoIterator<Item = &'w [u8]>) -> Self {
        let preimages: Vec<&[u8]> = preimages.into_iter().collect();
        let hashes = keccak256_many(&preimages);
        Self {
            preimages: hashes.into_iter().zip(preimages).collect(),
        }
    }

    /// The preimage of `hash`, if the witness holds it.
    pub fn get(&self, hash: &B256) -> Option<&'w [u8]> {
        self.preimages.get(hash).copied()
    }

    /// Every preimage under its hash, in no order.
    #[cfg(feature = "parallel")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&B256, &'w [u8])> {
        self.preimages
            .iter()
            .map(|(hash, preimage)| (hash, *preimage))
    }

    /// The number of distinct preimages.
    pub fn len(&self) -> usize {
        self.preimages.len()
    }

    /// Whether the witness holds nothing.
    pub fn is_empty(&self) -> bool {
        self.preimages.is_empty()
    }
}
