//! Blocks recorded from our own devnet's op-geth, each with the verdict that it must get, and true or told falsely.
//!
//! A file is gzipped JSON: `{chain_config, parent_header, block, preimages, ancestors, receipts, expect: {verdict,
//! fields, true_hash}}`, bytes as `0x` hexadecimal, headers and block in RLP; see `tests/vectors/record_l2_blocks.py`.

use std::path::Path;

use crate::fixtures::{hex, read_json, recorded_files};
use mach_stateless::{BlockInput, BlockVerification, ChainSpec, Verdict, verify_block};
use serde_json::Value;

/// A recorded block, verified with or without its receipts.
struct Vector {
    name: String,
    document: Value,
}

impl Vector {
    fn read(path: &Path) -> Self {
        Self {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            document: read_json(path),
        }
    }

    fn verify(&self, receipts: bool) -> BlockVerification {
        let list = |key: &str| -> Vec<alloy_primitives::Bytes> {
            self.document[key]
                .as_array()
                .unwrap()
                .iter()
                .map(hex)
                .collect()
        };
        let config = self.document["chain_config"].to_string();
        let lists = ["preimages", "ancestors", "receipts"].map(list);
        let [preimages, headers, given] =
            [0, 1, 2].map(|at| lists[at].iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>());
        verify_block(&BlockInput {
            chain_spec: &ChainSpec::from_genesis_config(&config).unwrap(),
            parent_header: &hex(&self.document["parent_header"]),
            block: &hex(&self.document["block"]),
            preimages: &preimages,
            ancestors: &headers,
            served_receipts: receipts.then_some(&given[..]),
            block_hash: None,
        })
    }
}

fn vectors() -> Vec<Vector> {
    recorded_files()
        .iter()
        .map(|path| Vector::read(path))
        .collect()
}

fn vector(name: &str) -> Vector {
    vectors()
        .into_iter()
        .find(|vector| vector.name == name)
        .unwrap_or_else(|| panic!("no vector {name}"))
}

fn fields(verification: &BlockVerification) -> Vec<&str> {
    verification
        .mismatches
        .iter()
        .map(|mismatch| mismatch.field.as_str())
        .collect()
}

#[test]
fn every_recorded_block_gets_the_verdict_it_must() {
    let vectors = vectors();
    assert!(!vectors.is_empty());
    for vector in vectors {
        let (name, expected) = (&vector.name, &vector.document["expect"]);
        let verification = vector.verify(false);
        assert_eq!(
            verification.verdict.as_str(),
            expected["verdict"],
            "{name}: {:?}",
            verification.reason
        );
        let found = fields(&verification);
        let wanted: Vec<&str> = expected["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f.as_str().unwrap())
            .collect();
        assert!(
            wanted.iter().all(|field| found.contains(field)),
            "{name}: {found:?}"
        );
        assert_eq!(found.is_empty(), wanted.is_empty(), "{name}: {found:?}");
        // What re-execution computes is what op-geth holds for right, whatever was told.
        let hash = verification.computed_block_hash.unwrap();
        assert_eq!(
            hash.to_string(),
            expected["true_hash"].as_str().unwrap(),
            "{name}"
        );
        // From Isthmus on every block tells its output root; a lie changes it.
        let told = verification.output_root.unwrap();
        let valid = verification.verdict == Verdict::Valid;
        assert_eq!(
            told == verification.computed_output_root.unwrap(),
            valid,
            "{name}"
        );
    }
}

#[test]
fn receipts_name_the_transaction_and_the_field() {
    let verification = vector("fault-tx-result.json.gz").verify(true);
    let found = fields(&verification);
    assert_eq!(found[0], "receipts_root");
    let status = found
        .iter()
        .find(|field| field.starts_with("receipts[") && field.ends_with("].status"));
    let status = status.unwrap_or_else(|| panic!("{found:?}"));
    let mismatch = verification
        .mismatches
        .iter()
        .find(|mismatch| mismatch.field == **status)
        .unwrap();
    assert_eq!(
        (mismatch.served.as_str(), mismatch.computed.as_str()),
        ("0", "1")
    );
}

#[test]
fn receipts_that_are_not_the_blocks_are_left_out_of_account() {
    // Here only the root is false: the receipts served do not hash to it.
    let vector = vector("fault-receipts-root.json.gz");
    let (with, without) = (vector.verify(true), vector.verify(false));
    assert_eq!(with.mismatches, without.mismatches);
    assert!(
        with.reason
            .unwrap()
            .ends_with("do not hash to the block's receipts_root and were left out of account")
    );
}
