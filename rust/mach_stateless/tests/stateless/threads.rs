//! A second thread changes nothing but how long a verification takes.

use alloy_primitives::Bytes;
use mach_stateless::{
    BlockInput, BlockVerification, Timings, Verdict, verify_block, verify_block_on_two_threads,
};

use crate::fixtures::{Recorded, hex, op_blocks, read_json, recorded_files};

/// What both ways find, which must be the same.
fn verify_both(input: &BlockInput<'_>) -> BlockVerification {
    let [one, two] = [verify_block, verify_block_on_two_threads].map(|verify| BlockVerification {
        timings: Timings::default(),
        ..verify(input)
    });
    assert_eq!(one, two);
    one
}

fn verify_recorded(recorded: &Recorded) -> BlockVerification {
    let preimages: Vec<&[u8]> = recorded.preimages.iter().map(AsRef::as_ref).collect();
    verify_both(&BlockInput {
        chain_spec: &recorded.chain_spec,
        parent_header: &alloy_rlp::encode(&recorded.parent),
        block: &recorded.block.encode(),
        preimages: &preimages,
        ancestors: &[],
        served_receipts: None,
        block_hash: Some(recorded.hash),
    })
}

#[test]
fn recorded_blocks_true_and_false_are_judged_alike() {
    for path in recorded_files() {
        let document = read_json(&path);
        let list = |key: &str| -> Vec<Bytes> {
            document[key].as_array().unwrap().iter().map(hex).collect()
        };
        let lists = ["preimages", "ancestors", "receipts"].map(list);
        let [preimages, ancestors, receipts] =
            [0, 1, 2].map(|at| lists[at].iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>());
        let config = document["chain_config"].to_string();
        verify_both(&BlockInput {
            chain_spec: &mach_stateless::ChainSpec::from_genesis_config(&config).unwrap(),
            parent_header: &hex(&document["parent_header"]),
            block: &hex(&document["block"]),
            preimages: &preimages,
            ancestors: &ancestors,
            served_receipts: Some(&receipts),
            block_hash: None,
        });
    }
}

#[test]
fn a_bad_transaction_outranks_whatever_the_execution_met_before_it() {
    for recorded in op_blocks() {
        assert_eq!(verify_recorded(&recorded).verdict, Verdict::Valid);
        let last = recorded.block.transactions.len() - 1;
        // The last transaction is of no known type; without a witness even the first cannot be executed.
        let mut bad = recorded.clone();
        bad.block.transactions[last] = Bytes::from_static(&[0x7d, 0xc0]);
        bad.block.commit_to_transactions();
        for preimages in [recorded.preimages.clone(), Vec::new()] {
            bad.preimages = preimages;
            let found = verify_recorded(&bad);
            assert_eq!(found.verdict, Verdict::Invalid);
            let field = format!("transactions[{last}]");
            assert!(
                found
                    .mismatches
                    .iter()
                    .any(|mismatch| mismatch.field == field),
                "{:?}",
                found.mismatches
            );
        }
    }
}

#[test]
fn missing_preimages_are_named_alike() {
    for recorded in op_blocks() {
        let step = recorded.preimages.len() / 25;
        for removed in (0..recorded.preimages.len()).step_by(step) {
            let mut poor = recorded.clone();
            poor.preimages.remove(removed);
            assert_ne!(verify_recorded(&poor).verdict, Verdict::Invalid);
        }
    }
}
