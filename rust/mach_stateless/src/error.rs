//! What keeps a block from being judged, and what keeps a chain's configuration from being read.

use alloc::string::String;
use alloy_primitives::{Address, B256, U256};
use core::fmt;

use crate::trie::TrieError;

/// Why there is no verdict on a block. None of these says that the block is wrong: each is INCONCLUSIVE.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The witness lacks a trie node.
    #[error("the witness lacks trie node {hash}, {place}")]
    MissingNode {
        /// Hash of the node.
        hash: B256,
        /// What it is needed for.
        place: Place,
    },
    /// The witness lacks a contract's code.
    #[error("the witness lacks the code with hash {0}")]
    MissingCode(B256),
    /// `BLOCKHASH` asks for a block that the given ancestors do not reach back to.
    #[error("the hash of block {number} is asked for, but ancestor header {hash} is not given")]
    MissingAncestor {
        /// Number of the block whose hash the execution asks for.
        number: u64,
        /// Hash of the newest header that is not given.
        hash: B256,
    },
    /// A trie node that the parent's state root leads to is not one.
    #[error("the parent's state is not a trie: node {hash}, {place}: {reason}")]
    MalformedNode {
        /// Hash of the node.
        hash: B256,
        /// What it is needed for.
        place: Place,
        /// What is wrong with it.
        reason: crate::trie::NodeError,
    },
    /// A leaf of the parent's state is not an account, or a leaf of its storage not a slot's value.
    #[error("the parent's state holds no valid {0} at {1}")]
    MalformedValue(&'static str, Address),
    /// The bytes given as a header, block or ancestor are none.
    #[error("malformed {what}: {reason}")]
    MalformedInput {
        /// Which of the inputs.
        what: &'static str,
        /// What is wrong with it.
        reason: alloy_rlp::Error,
    },
    /// The block does not name the given parent as its parent.
    #[error("unlinked: the block's parent is {expected}, the header given as parent is {given}")]
    Unlinked {
        /// The `parent_hash` of the block.
        expected: B256,
        /// The hash of the header given as parent.
        given: B256,
    },
    /// The chain's rules at this block are not known here.
    #[error("{rules}, in effect at block {number} (timestamp {timestamp}), is not supported")]
    UnsupportedRules {
        /// The fork, as the configuration names it, or what else it is that makes the rules unknown.
        rules: String,
        /// Number of the block.
        number: u64,
        /// Timestamp of the block, in seconds.
        timestamp: u64,
    },
    /// The parent header cannot stem from this chain.
    #[error("the parent header has {0}")]
    ImplausibleParent(&'static str),
    /// The EVM gave up for a reason that is not the block's.
    #[error("execution failed: {0}")]
    Execution(String),
}

impl Error {
    /// Hash of the preimage or ancestor header whose absence is the cause, if that is the cause.
    pub const fn missing(&self) -> Option<B256> {
        match self {
            Self::MissingCode(hash)
            | Self::MissingNode { hash, .. }
            | Self::MissingAncestor { hash, .. } => Some(*hash),
            _ => None,
        }
    }

    /// What the missing trie node is needed for, if a missing node is the cause.
    pub const fn missing_place(&self) -> Option<Place> {
        match self {
            Self::MissingNode { place, .. } => Some(*place),
            _ => None,
        }
    }

    pub(crate) fn malformed(what: &'static str) -> impl Fn(alloy_rlp::Error) -> Self {
        move |reason| Self::MalformedInput { what, reason }
    }
}

/// What a trie node is needed for: who repairs a witness asks for a proof of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The root of the state.
    StateRoot,
    /// An account in the state trie.
    Account(Address),
    /// A slot in the storage trie of an account.
    Slot(Address, U256),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StateRoot => formatter.write_str("the root of the parent's state"),
            Self::Account(address) => write!(formatter, "on the way to account {address}"),
            Self::Slot(address, slot) => write!(
                formatter,
                "on the way to slot {slot:#x} of account {address}"
            ),
        }
    }
}

impl Place {
    /// The error that a trie's error is, met on the way to this place.
    pub(crate) fn error(self, error: TrieError) -> Error {
        match error {
            TrieError::Missing(hash) => Error::MissingNode { hash, place: self },
            TrieError::Malformed { hash, error } => Error::MalformedNode {
                hash,
                place: self,
                reason: error,
            },
        }
    }
}

/// Why the text given as a chain's configuration is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or not an object.
    #[error("chain config is not a JSON object: {0}")]
    Json(String),
    /// A required key is absent.
    #[error("chain config lacks `{0}`")]
    Missing(&'static str),
    /// A key's value is not what it has to be.
    #[error("chain config: `{key}` is {value}, expected {expected}")]
    Value {
        /// The key, with the keys above it.
        key: String,
        /// Its value, as JSON.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Two forks are out of order, or two keys that must agree do not.
    #[error("chain config: `{earlier}` ({earlier_at}) must not come after `{later}` ({later_at})")]
    Order {
        /// The fork that has to come first, or at the same time.
        earlier: &'static str,
        /// When it comes, as JSON.
        earlier_at: String,
        /// The fork that comes before it.
        later: &'static str,
        /// When that comes, as JSON.
        later_at: String,
    },
}
