//! What comes out of verifying a block.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U256};
use core::fmt;

use crate::{error::Place, timings::Timings};

/// Whether a block is what its inputs produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The block follows from its parent's state and its own transactions, in every field.
    Valid,
    /// It does not: a rule of the chain or a commitment of the header is violated.
    Invalid,
    /// What was given does not suffice to tell.
    Inconclusive,
}

impl Verdict {
    /// `VALID`, `INVALID` or `INCONCLUSIVE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Invalid => "INVALID",
            Self::Inconclusive => "INCONCLUSIVE",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A field of a block that is not what the rules or the execution make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMismatch {
    /// Name of the field: `state_root`, `base_fee_per_gas`, `transactions[3]`, `receipts[2].status` …
    pub field: String,
    /// What the block says: hexadecimal with `0x`, decimal, or `absent`.
    pub served: String,
    /// What it should say, or which rule it violates.
    pub computed: String,
}

impl FieldMismatch {
    pub(crate) fn new(field: impl Into<String>, served: &impl Show, computed: &impl Show) -> Self {
        Self {
            field: field.into(),
            served: served.show(),
            computed: computed.show(),
        }
    }
}

/// The result of [`crate::verify_block`].
#[derive(Clone, Debug, PartialEq)]
pub struct BlockVerification {
    /// The verdict.
    pub verdict: Verdict,
    /// Every field found wrong; empty unless the verdict is INVALID.
    pub mismatches: Vec<FieldMismatch>,
    /// One line that says why the verdict is not VALID, or what was left out of account.
    pub reason: Option<String>,
    /// The hash of the preimage or ancestor header that was not given, if execution stopped for want of one.
    pub missing: Option<B256>,
    /// What that preimage is needed for, if it is a trie node: a proof of this holds it.
    pub missing_place: Option<Place>,
    /// Number of the block; 0 if it could not be read.
    pub number: u64,
    /// Gas used by the block as re-executed, or as served if it could not be.
    pub gas_used: u64,
    /// Number of transactions in the block.
    pub transaction_count: usize,
    /// Hash of the header as served; zero if it could not be read.
    pub block_hash: B256,
    /// The parent that the block names; zero if it could not be read.
    pub parent_hash: B256,
    /// Hash of [`BlockVerification::computed_header`].
    pub computed_block_hash: Option<B256>,
    /// RLP of the header with every commitment replaced by the computed one, if the block could be executed.
    pub computed_header: Option<Bytes>,
    /// OP Stack output root (version 0) of the block as served.
    pub output_root: Option<B256>,
    /// OP Stack output root (version 0) of the block as computed.
    pub computed_output_root: Option<B256>,
    /// How long each stage took.
    pub timings: Timings,
}

impl BlockVerification {
    /// A result that so far says nothing but that nothing is known.
    pub(crate) fn unknown() -> Self {
        Self {
            verdict: Verdict::Inconclusive,
            mismatches: Vec::new(),
            reason: None,
            missing: None,
            missing_place: None,
            number: 0,
            gas_used: 0,
            transaction_count: 0,
            block_hash: B256::ZERO,
            parent_hash: B256::ZERO,
            computed_block_hash: None,
            computed_header: None,
            output_root: None,
            computed_output_root: None,
            timings: Timings::default(),
        }
    }
}

/// Text of a field's value: numbers in decimal, bytes in hexadecimal with `0x`.
pub(crate) trait Show {
    fn show(&self) -> String;
}

macro_rules! show_by_display {
    ($($type:ty),+) => {
        $(impl Show for $type {
            fn show(&self) -> String {
                self.to_string()
            }
        })+
    };
}

show_by_display!(u64, usize, U256, B64, B256, Bloom, Bytes, str, &str, String);

impl Show for Address {
    fn show(&self) -> String {
        format!("{self:#x}")
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        self.as_ref()
            .map_or_else(|| "absent".to_string(), Show::show)
    }
}
