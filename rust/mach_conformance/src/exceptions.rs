//! Which of `mach_stateless`'s reasons goes by which of the tests' names.

use std::collections::BTreeSet;

use mach_stateless::{BlockVerification, Verdict};

/// One line of the table: what a reason looks like, and the exceptions of the execution specifications that it is.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    /// The mismatch's field; one that ends in `[` is the beginning of an indexed field.
    pub field: &'static str,
    /// What the field should be, as the mismatch says it, holds this text, or is it if this begins with `=`; empty for
    /// any.
    pub text: &'static str,
    /// Names of exceptions, without the class before the dot.
    pub exceptions: &'static [&'static str],
}

const fn reason(
    field: &'static str,
    text: &'static str,
    exceptions: &'static [&'static str],
) -> Reason {
    Reason {
        field,
        text,
        exceptions,
    }
}

/// Field under which this table knows bytes that are no block at all.
const BYTES: &str = "bytes";
/// Field under which this table knows a block whose parent nobody has seen.
const PARENT: &str = "parent";
/// A transaction, by its index.
const TX: &str = "transactions[";

/// The table. A block has all the exceptions of every line that one of its mismatches matches.
pub const TABLE: &[Reason] = &[
    // What cannot be read.
    reason(
        BYTES,
        "",
        &[
            "RLP_STRUCTURES_ENCODING",
            "RLP_INVALID_FIELD_OVERFLOW_64",
            "RLP_INVALID_ADDRESS",
            "INCORRECT_BLOCK_FORMAT",
        ],
    ),
    reason(PARENT, "", &["UNKNOWN_PARENT"]),
    reason(
        PARENT,
        "block's parent is 0x0000000000000000000000000000000000000000000000000000000000000000",
        &["UNKNOWN_PARENT_ZERO"],
    ),
    // The header.
    reason("number", "", &["INVALID_BLOCK_NUMBER"]),
    reason(
        "timestamp",
        "",
        &["INVALID_BLOCK_TIMESTAMP_OLDER_THAN_PARENT"],
    ),
    reason("gas_limit", "at most", &["GASLIMIT_TOO_BIG"]),
    reason("gas_limit", "from the parent's", &["INVALID_GASLIMIT"]),
    reason("extra_data", "", &["EXTRA_DATA_TOO_BIG"]),
    reason("difficulty", "", &["INVALID_DIFFICULTY"]),
    reason(
        "difficulty",
        "=0",
        &[
            "IMPORT_IMPOSSIBLE_DIFFICULTY_OVER_PARIS",
            "IMPORT_IMPOSSIBLE_LEGACY_WRONG_DIFF",
        ],
    ),
    reason(
        "ommers_hash",
        "",
        &["INVALID_UNCLES_HASH", "IMPORT_IMPOSSIBLE_UNCLES_OVER_PARIS"],
    ),
    reason("ommers", "=0", &["IMPORT_IMPOSSIBLE_UNCLES_OVER_PARIS"]),
    reason("ommers", "at most 2", &["TOO_MANY_UNCLES"]),
    reason("base_fee_per_gas", "", &["INVALID_BASEFEE_PER_GAS"]),
    reason("transactions_root", "", &["INVALID_TRANSACTIONS_ROOT"]),
    reason("withdrawals_root", "", &["INVALID_WITHDRAWALS_ROOT"]),
    reason("withdrawals_root", "absent", &["INCORRECT_BLOCK_FORMAT"]),
    reason(
        "withdrawals",
        "",
        &[
            "RLP_WITHDRAWALS_NOT_READ",
            "RLP_STRUCTURES_ENCODING",
            "INCORRECT_BLOCK_FORMAT",
        ],
    ),
    reason("excess_blob_gas", "", &["INCORRECT_EXCESS_BLOB_GAS"]),
    reason("excess_blob_gas", "absent", &["INCORRECT_BLOCK_FORMAT"]),
    reason("blob_gas_used", "", &["INCORRECT_BLOB_GAS_USED"]),
    reason("blob_gas_used", "absent", &["INCORRECT_BLOCK_FORMAT"]),
    reason(
        "blob_gas_used",
        "at most",
        &[
            "BLOB_GAS_USED_ABOVE_LIMIT",
            "TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED",
        ],
    ),
    reason("parent_beacon_block_root", "", &["INCORRECT_BLOCK_FORMAT"]),
    reason("requests_hash", "", &["INVALID_REQUESTS"]),
    reason("requests_hash", "absent", &["INCORRECT_BLOCK_FORMAT"]),
    reason(
        "requests_hash",
        "decode deposit",
        &["INVALID_DEPOSIT_EVENT_LAYOUT"],
    ),
    reason(
        "requests_hash",
        "contract call",
        &["SYSTEM_CONTRACT_CALL_FAILED", "SYSTEM_CONTRACT_EMPTY"],
    ),
    reason("block", "", &["RLP_BLOCK_LIMIT_EXCEEDED"]),
    // What the execution yields.
    reason("state_root", "", &["INVALID_STATE_ROOT"]),
    reason("receipts_root", "", &["INVALID_RECEIPTS_ROOT"]),
    reason("logs_bloom", "", &["INVALID_LOG_BLOOM"]),
    reason("gas_used", "", &["INVALID_GAS_USED"]),
    reason(
        "gas_used",
        "at most",
        &["INVALID_GAS_USED_ABOVE_LIMIT", "GAS_USED_OVERFLOW"],
    ),
    // Transactions.
    reason(
        TX,
        "undecodable",
        &[
            "RLP_STRUCTURES_ENCODING",
            "TYPE_3_TX_WITH_FULL_BLOBS",
            "TYPE_3_TX_CONTRACT_CREATION",
            "TYPE_4_TX_CONTRACT_CREATION",
            "TYPE_4_INVALID_AUTHORIZATION_FORMAT",
            "ADDRESS_TOO_SHORT",
            "ADDRESS_TOO_LONG",
            "NONCE_OVERFLOW",
            "GASLIMIT_OVERFLOW",
            "VALUE_OVERFLOW",
            "GASPRICE_OVERFLOW",
            "PRIORITY_OVERFLOW",
        ],
    ),
    reason(
        TX,
        "does not know",
        &["TYPE_NOT_SUPPORTED", "RLP_STRUCTURES_ENCODING"],
    ),
    reason(
        TX,
        "no sender",
        &[
            "INVALID_SIGNATURE_VRS",
            "EC_RECOVERY_FAIL",
            "RLP_INVALID_SIGNATURE_R",
            "RLP_INVALID_SIGNATURE_S",
        ],
    ),
    reason(
        TX,
        "more than blocks available gas",
        &[
            "GAS_ALLOWANCE_EXCEEDED",
            "GAS_USED_OVERFLOW",
            "INVALID_GAS_USED_ABOVE_LIMIT",
        ],
    ),
    reason(
        TX,
        "caller gas limit exceeds the block gas limit",
        &["GAS_ALLOWANCE_EXCEEDED"],
    ),
    reason(
        TX,
        "is greater than the cap",
        &["GAS_LIMIT_EXCEEDS_MAXIMUM"],
    ),
    reason(TX, "call gas cost", &["INTRINSIC_GAS_TOO_LOW"]),
    reason(TX, "gas floor", &["INTRINSIC_GAS_BELOW_FLOOR_GAS_COST"]),
    reason(TX, "lack of funds", &["INSUFFICIENT_ACCOUNT_FUNDS"]),
    reason(
        TX,
        "overflow payment",
        &[
            "INSUFFICIENT_ACCOUNT_FUNDS",
            "GASLIMIT_PRICE_PRODUCT_OVERFLOW",
        ],
    ),
    reason(
        TX,
        "priority fee is greater",
        &[
            "PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS",
            "PRIORITY_GREATER_THAN_MAX_FEE_PER_GAS_2",
        ],
    ),
    reason(
        TX,
        "gas price is less than basefee",
        &["INSUFFICIENT_MAX_FEE_PER_GAS"],
    ),
    reason(
        TX,
        "greater than max fee per blob gas",
        &["INSUFFICIENT_MAX_FEE_PER_BLOB_GAS"],
    ),
    reason(TX, "deployed code", &["SENDER_NOT_EOA"]),
    reason(
        TX,
        "nonce overflow",
        &["NONCE_IS_MAX", "NONCE_TOO_BIG", "NONCE_OVERFLOW"],
    ),
    reason(TX, "too high", &["NONCE_MISMATCH_TOO_HIGH"]),
    reason(TX, "too low", &["NONCE_MISMATCH_TOO_LOW"]),
    reason(TX, "initcode size limit", &["INITCODE_SIZE_EXCEEDED"]),
    reason(TX, "chain ID", &["INVALID_CHAINID"]),
    reason(TX, "Eip2930 is not supported", &["TYPE_1_TX_PRE_FORK"]),
    reason(TX, "Eip1559 is not supported", &["TYPE_2_TX_PRE_FORK"]),
    reason(
        TX,
        "Eip4844 is not supported",
        &["TYPE_3_TX_PRE_FORK", "TYPE_3_TX_ZERO_BLOBS_PRE_FORK"],
    ),
    reason(TX, "Eip7702 is not supported", &["TYPE_4_TX_PRE_FORK"]),
    reason(TX, "empty blobs", &["TYPE_3_TX_ZERO_BLOBS"]),
    reason(
        TX,
        "blob create transaction",
        &["TYPE_3_TX_CONTRACT_CREATION"],
    ),
    reason(
        TX,
        "too many blobs",
        &[
            "TYPE_3_TX_BLOB_COUNT_EXCEEDED",
            "TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED",
        ],
    ),
    reason(
        TX,
        "blob version not supported",
        &["TYPE_3_TX_INVALID_BLOB_VERSIONED_HASH"],
    ),
    reason(
        TX,
        "empty authorization list",
        &["TYPE_4_EMPTY_AUTHORIZATION_LIST"],
    ),
    reason(
        TX,
        "authorization list tx has invalid fields",
        &["TYPE_4_INVALID_AUTHORIZATION_FORMAT"],
    ),
];

/// The names of the exceptions that a verification has found; none if the block is accepted, or nobody can tell.
pub fn found(verification: &BlockVerification) -> BTreeSet<&'static str> {
    match verification.verdict {
        Verdict::Valid => BTreeSet::new(),
        Verdict::Invalid => verification
            .mismatches
            .iter()
            .flat_map(|mismatch| lines(&mismatch.field, &mismatch.computed))
            .collect(),
        // The verifier accuses nobody of bytes that are no block; a client refuses them, which is what a test asks for.
        Verdict::Inconclusive => match verification.reason.as_deref() {
            Some(text) if text.starts_with("malformed block") => lines(BYTES, text).collect(),
            Some(text) if text.starts_with("unlinked") => lines(PARENT, text).collect(),
            _ => BTreeSet::new(),
        },
    }
}

fn lines<'a>(field: &'a str, text: &'a str) -> impl Iterator<Item = &'static str> + 'a {
    let matches = move |line: &&Reason| {
        let same = match line.field.strip_suffix('[') {
            Some(_) => field.starts_with(line.field),
            None => field == line.field,
        };
        same && line
            .text
            .strip_prefix('=')
            .map_or_else(|| text.contains(line.text), |whole| text == whole)
    };
    TABLE
        .iter()
        .filter(matches)
        .flat_map(|line| line.exceptions.iter().copied())
}

/// Whether one of the exceptions that a test names, `Class.NAME|Class.NAME`, is among those found.
pub(crate) fn matches(expected: &str, found: &BTreeSet<&'static str>) -> bool {
    expected.split('|').any(|name| {
        let name = name.trim();
        found.contains(name.rsplit('.').next().unwrap_or(name))
    })
}
