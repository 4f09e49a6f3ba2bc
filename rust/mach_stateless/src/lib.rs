//! Stateless re-execution of Ethereum and OP Stack blocks: from a parent header, a block and a witness to a verdict.
//!
//! No I/O, no clock beyond the timings, no Python; without the `std` feature also no standard library, so that the same
//! code can run inside a zkVM. [`verify_block`] is the whole of it:
//!
//! 1. the parent and the block are read and linked ([`BlockInput`]),
//! 2. the header is held against the rules that bind it to its parent and its body ([`ChainSpec`]),
//! 3. the transactions are executed on the parent's state, read lazily from a [`Witness`] through a sparse [`Trie`],
//! 4. the changes are written back into the tries, and every commitment of the header is compared.
//!
//! What is missing or malformed gives INCONCLUSIVE with an [`Error`] that names it, never a wrong verdict.

#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "parallel")]
mod ahead;
mod ancestors;
mod block;
mod chain_spec;
mod codes;
mod commitments;
mod da_footprint;
mod database;
mod error;
mod execute;
mod hashing;
mod header;
mod once;
mod output_root;
mod receipts;
mod rlp;
mod shared;
mod timings;
mod transactions;
mod trie;
mod verdict;
mod verify;
mod witness;

pub use chain_spec::{ChainSpec, EthereumRules, OpStackRules, Stack};
pub use error::{ConfigError, Error, Place};
pub use output_root::{L2_TO_L1_MESSAGE_PASSER_ADDRESS, output_root};
pub use timings::Timings;
pub use trie::{EMPTY_ROOT, NodeError, Trie, TrieError};
pub use verdict::{BlockVerification, FieldMismatch, Verdict};
#[cfg(feature = "parallel")]
pub use verify::verify_block_on_two_threads;
pub use verify::{BlockInput, StateChanges, verify_block, verify_block_with_changes};
pub use witness::Witness;
