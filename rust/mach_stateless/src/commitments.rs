//! The fields of a header that commit to what the execution has produced.

use alloc::vec::Vec;
use alloy_consensus::Header;
use alloy_hardforks::EthereumHardforks;
use alloy_op_hardforks::OpHardforks;
use alloy_primitives::B256;
use alloy_trie::root::ordered_trie_root_encoded;

use crate::{
    chain_spec::{ChainSpec, Stack},
    execute::Execution,
    verdict::{FieldMismatch, Show},
};

/// What the state is after the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PostState {
    pub(crate) state_root: B256,
    /// Storage root of the OP Stack's message passer, where the chain's headers commit to it (Isthmus).
    pub(crate) message_passer: Option<B256>,
}

/// Sets every commitment of `header`, so far as its fork has the field, to what the execution has produced.
pub(crate) fn commit(
    spec: &ChainSpec,
    header: &Header,
    execution: &Execution,
    post: PostState,
) -> Header {
    let time = header.timestamp;
    let mut header = Header {
        state_root: post.state_root,
        receipts_root: ordered_trie_root_encoded(&execution.receipts),
        logs_bloom: execution.logs_bloom,
        gas_used: execution.gas_used,
        ..header.clone()
    };
    match spec.stack() {
        Stack::Ethereum(rules) => {
            if rules.is_cancun_active_at_timestamp(time) {
                header.blob_gas_used = Some(execution.blob_gas_used);
            }
            if rules.is_prague_active_at_timestamp(time) {
                header.requests_hash = Some(execution.requests.requests_hash());
            }
        }
        Stack::OpStack(rules) => {
            let forks = rules.forks();
            if forks.is_ecotone_active_at_timestamp(time) {
                header.blob_gas_used = Some(execution.blob_gas_used);
            }
            if forks.is_isthmus_active_at_timestamp(time) {
                header.withdrawals_root = post.message_passer;
            }
        }
    }
    header
}

/// Names every commitment in which `served` differs from `computed`.
pub(crate) fn differences(served: &Header, computed: &Header) -> Vec<FieldMismatch> {
    let mut mismatches = Vec::new();
    let mut field = |name: &str, served: &dyn Show, computed: &dyn Show| {
        let (served, computed) = (served.show(), computed.show());
        if served != computed {
            mismatches.push(FieldMismatch {
                field: name.into(),
                served,
                computed,
            });
        }
    };
    field("state_root", &served.state_root, &computed.state_root);
    field(
        "receipts_root",
        &served.receipts_root,
        &computed.receipts_root,
    );
    field("logs_bloom", &served.logs_bloom, &computed.logs_bloom);
    field("gas_used", &served.gas_used, &computed.gas_used);
    field(
        "withdrawals_root",
        &served.withdrawals_root,
        &computed.withdrawals_root,
    );
    field(
        "blob_gas_used",
        &served.blob_gas_used,
        &computed.blob_gas_used,
    );
    field(
        "requests_hash",
        &served.requests_hash,
        &computed.requests_hash,
    );
    mismatches
}
