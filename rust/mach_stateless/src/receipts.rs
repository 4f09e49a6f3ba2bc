//! Receipts as a node serves them, held against those of the re-execution.

use alloc::{format, string::String, vec::Vec};
use alloy_primitives::B256;
use alloy_primitives::{Bloom, Bytes, Log};
use alloy_rlp::{Decodable, Error as RlpError};
use alloy_trie::root::ordered_trie_root_encoded;

use crate::{
    rlp::Item,
    verdict::{FieldMismatch, Show},
};

/// A receipt of any type: EIP-2718's type, EIP-658's fields, and what OP Stack deposits add.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Receipt {
    transaction_type: u64,
    status: Bytes,
    cumulative_gas_used: u64,
    logs_bloom: Bloom,
    logs: Vec<Log>,
    deposit_nonce: Option<u64>,
    deposit_receipt_version: Option<u64>,
}

impl Receipt {
    fn decode(encoded: &[u8]) -> Result<Self, RlpError> {
        let (transaction_type, list) = match encoded {
            [first @ ..0x80, rest @ ..] => (u64::from(*first), rest),
            legacy => (0, legacy),
        };
        let mut fields = Item::only(list)?.into_list()?;
        let fields = &mut fields;
        Ok(Self {
            transaction_type,
            status: Bytes::decode(fields)?,
            cumulative_gas_used: u64::decode(fields)?,
            logs_bloom: Bloom::decode(fields)?,
            logs: Vec::decode(fields)?,
            deposit_nonce: (!fields.is_empty())
                .then(|| u64::decode(fields))
                .transpose()?,
            deposit_receipt_version: (!fields.is_empty())
                .then(|| u64::decode(fields))
                .transpose()?,
        })
        .and_then(|receipt| {
            if fields.is_empty() {
                Ok(receipt)
            } else {
                Err(RlpError::UnexpectedLength)
            }
        })
    }
}

/// Whether `receipts`, EIP-2718 encoded, are those that `root` commits to.
pub(crate) fn hash_to(receipts: &[&[u8]], root: B256) -> bool {
    ordered_trie_root_encoded(receipts) == root
}

/// Names every field in which served receipts differ from computed ones; both EIP-2718 encoded.
pub(crate) fn differences(served: &[&[u8]], computed: &[Vec<u8>]) -> Vec<FieldMismatch> {
    let mut mismatches = Vec::new();
    if served.len() != computed.len() {
        mismatches.push(FieldMismatch::new(
            "receipts",
            &format!("{} receipts", served.len()),
            &computed.len(),
        ));
    }
    for (index, (served, computed)) in served.iter().zip(computed).enumerate() {
        if *served == computed.as_slice() {
            continue;
        }
        match (Receipt::decode(served), Receipt::decode(computed)) {
            (Ok(served), Ok(computed)) => compare(index, &served, &computed, &mut mismatches),
            _ => mismatches.push(FieldMismatch::new(
                format!("receipts[{index}]"),
                &Bytes::copy_from_slice(served),
                &Bytes::copy_from_slice(computed),
            )),
        }
    }
    mismatches
}

fn compare(
    index: usize,
    served: &Receipt,
    computed: &Receipt,
    mismatches: &mut Vec<FieldMismatch>,
) {
    let mut note = Notes { index, mismatches };
    note.field("type", &served.transaction_type, &computed.transaction_type);
    note.field("status", &status(&served.status), &status(&computed.status));
    note.field(
        "cumulative_gas_used",
        &served.cumulative_gas_used,
        &computed.cumulative_gas_used,
    );
    note.field("logs_bloom", &served.logs_bloom, &computed.logs_bloom);
    note.field(
        "deposit_nonce",
        &served.deposit_nonce,
        &computed.deposit_nonce,
    );
    note.field(
        "deposit_receipt_version",
        &served.deposit_receipt_version,
        &computed.deposit_receipt_version,
    );
    note.field(
        "logs",
        &format!("{} logs", served.logs.len()),
        &format!("{} logs", computed.logs.len()),
    );
    for (number, (served, computed)) in served.logs.iter().zip(&computed.logs).enumerate() {
        note.field(
            &format!("logs[{number}].address"),
            &served.address,
            &computed.address,
        );
        note.field(
            &format!("logs[{number}].topics"),
            &topics(served),
            &topics(computed),
        );
        note.field(
            &format!("logs[{number}].data"),
            &served.data.data,
            &computed.data.data,
        );
    }
}

struct Notes<'a> {
    index: usize,
    mismatches: &'a mut Vec<FieldMismatch>,
}

impl Notes<'_> {
    fn field<T: Show + PartialEq>(&mut self, name: &str, served: &T, computed: &T) {
        if served != computed {
            let field = format!("receipts[{}].{name}", self.index);
            self.mismatches
                .push(FieldMismatch::new(field, served, computed));
        }
    }
}

/// EIP-658: 1 for success, the empty string for failure; anything else as it stands.
fn status(status: &Bytes) -> String {
    match status.as_ref() {
        [] => "0".into(),
        [1] => "1".into(),
        _ => status.show(),
    }
}

fn topics(log: &Log) -> String {
    let topics: Vec<String> = log.topics().iter().map(Show::show).collect();
    format!("[{}]", topics.join(", "))
}
