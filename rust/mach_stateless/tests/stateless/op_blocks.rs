//! Real OP Sepolia blocks: exact as they are, never accepted once altered.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::fixtures::{Recorded, op_blocks};
use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use mach_stateless::{BlockVerification, Verdict, output_root};

/// Verifies a block that is no longer `original`. Under the hash of the original it is never accepted. Without that hash
/// it may be, as a block of its own: some fields are the sequencer's to choose, and change nothing else.
fn verify_altered(what: &str, original: &Recorded, altered: &Recorded) -> BlockVerification {
    let verify = |claimed| {
        catch_unwind(AssertUnwindSafe(|| altered.verify(claimed)))
            .unwrap_or_else(|_| panic!("{}: {what}: panicked", original.name))
    };
    for verification in [verify(Some(original.hash)), verify(None)] {
        let invalid = verification.verdict == Verdict::Invalid;
        assert_eq!(
            invalid,
            !verification.mismatches.is_empty(),
            "{}: {what}",
            original.name
        );
        assert_eq!(
            verification.verdict == Verdict::Valid,
            verification.reason.is_none()
        );
        assert_ne!(
            verification.block_hash, original.hash,
            "{}: {what}",
            original.name
        );
    }
    assert_ne!(
        verify(Some(original.hash)).verdict,
        Verdict::Valid,
        "{}: {what}",
        original.name
    );
    verify(None)
}

fn fields(verification: &BlockVerification) -> Vec<&str> {
    verification
        .mismatches
        .iter()
        .map(|mismatch| mismatch.field.as_str())
        .collect()
}

#[test]
fn real_blocks_are_valid_and_hash_to_what_the_chain_says() {
    for block in op_blocks() {
        let verification = block.verify(Some(block.hash));
        assert_eq!(
            verification.verdict,
            Verdict::Valid,
            "{}: {:?}",
            block.name,
            verification.reason
        );
        assert_eq!(verification.mismatches, []);
        assert_eq!(verification.reason, None);
        assert_eq!(verification.block_hash, block.hash);
        assert_eq!(verification.computed_block_hash, Some(block.hash));
        assert_eq!(
            verification.computed_header,
            Some(alloy_rlp::encode(&block.block.header).into())
        );
        assert_eq!(verification.gas_used, block.block.header.gas_used);
        assert_eq!(
            verification.transaction_count,
            block.block.transactions.len()
        );
        assert_eq!(verification.number, block.parent.number + 1);
        // Before Isthmus the witness of these blocks does not hold the message passer.
        assert_eq!(
            (verification.output_root, verification.computed_output_root),
            (None, None)
        );
        assert!(verification.timings.execute > 0.0);
    }
}

/// An alteration of a header, and the field that must be named for it; `None` where nobody but the hash can tell, since
/// the field is the sequencer's to choose.
type HeaderChange = (&'static str, fn(&mut Header), Option<&'static str>);

const HEADER_CHANGES: [HeaderChange; 40] = [
    (
        "state_root",
        |h| h.state_root.0[31] ^= 1,
        Some("state_root"),
    ),
    (
        "state_root zero",
        |h| h.state_root = B256::ZERO,
        Some("state_root"),
    ),
    (
        "receipts_root",
        |h| h.receipts_root.0[0] ^= 0x80,
        Some("receipts_root"),
    ),
    (
        "transactions_root",
        |h| h.transactions_root.0[7] ^= 1,
        Some("transactions_root"),
    ),
    (
        "logs_bloom",
        |h| h.logs_bloom.0[100] ^= 1,
        Some("logs_bloom"),
    ),
    ("gas_used + 1", |h| h.gas_used += 1, Some("gas_used")),
    ("gas_used - 1", |h| h.gas_used -= 1, Some("gas_used")),
    ("gas_used 0", |h| h.gas_used = 0, Some("gas_used")),
    (
        "gas_used above limit",
        |h| h.gas_used = h.gas_limit + 1,
        Some("gas_used"),
    ),
    ("gas_used max", |h| h.gas_used = u64::MAX, Some("gas_used")),
    ("number + 1", |h| h.number += 1, Some("number")),
    ("number max", |h| h.number = u64::MAX, Some("number")),
    ("number 0", |h| h.number = 0, None),
    (
        "ommers_hash",
        |h| h.ommers_hash.0[0] ^= 1,
        Some("ommers_hash"),
    ),
    (
        "difficulty",
        |h| h.difficulty = U256::from(1),
        Some("difficulty"),
    ),
    ("nonce", |h| h.nonce.0[7] = 1, Some("nonce")),
    (
        "base_fee + 1",
        |h| h.base_fee_per_gas = h.base_fee_per_gas.map(|fee| fee + 1),
        Some("base_fee_per_gas"),
    ),
    (
        "base_fee max",
        |h| h.base_fee_per_gas = Some(u64::MAX),
        Some("base_fee_per_gas"),
    ),
    (
        "base_fee 0",
        |h| h.base_fee_per_gas = Some(0),
        Some("base_fee_per_gas"),
    ),
    (
        "withdrawals_root",
        |h| h.withdrawals_root = Some(B256::ZERO),
        Some("withdrawals_root"),
    ),
    (
        "blob_gas_used",
        |h| h.blob_gas_used = Some(131_072),
        Some("blob_gas_used"),
    ),
    (
        "excess_blob_gas",
        |h| h.excess_blob_gas = Some(1),
        Some("excess_blob_gas"),
    ),
    (
        "excess_blob_gas max",
        |h| h.excess_blob_gas = Some(u64::MAX),
        Some("excess_blob_gas"),
    ),
    (
        "no beacon root",
        |h| h.parent_beacon_block_root = None,
        Some("parent_beacon_block_root"),
    ),
    (
        "beacon root",
        |h| h.parent_beacon_block_root = Some(B256::ZERO),
        Some("state_root"),
    ),
    (
        "requests_hash",
        |h| h.requests_hash = Some(B256::ZERO),
        Some("requests_hash"),
    ),
    (
        "timestamp of parent",
        |h| h.timestamp -= 2,
        Some("timestamp"),
    ),
    ("timestamp 0", |h| h.timestamp = 0, Some("timestamp")),
    ("timestamp + 2", |h| h.timestamp += 2, None),
    ("timestamp max", |h| h.timestamp = u64::MAX, None),
    (
        "gas_limit max",
        |h| h.gas_limit = u64::MAX,
        Some("gas_limit"),
    ),
    ("gas_limit 0", |h| h.gas_limit = 0, Some("transactions[0]")),
    ("gas_limit + 1", |h| h.gas_limit += 1, None),
    (
        "extra_data empty",
        |h| h.extra_data = Bytes::new(),
        Some("extra_data"),
    ),
    (
        "extra_data long",
        |h| h.extra_data = Bytes::from_static(&[0; 33]),
        Some("extra_data"),
    ),
    (
        "extra_data zeros",
        |h| h.extra_data = Bytes::from_static(&[0; 9]),
        Some("extra_data"),
    ),
    (
        "extra_data version",
        |h| h.extra_data = [&[1], &h.extra_data[1..]].concat().into(),
        Some("extra_data"),
    ),
    ("mix_hash", |h| h.mix_hash.0[0] ^= 1, None),
    ("beneficiary", |h| h.beneficiary.0[0] ^= 1, None),
    ("parent_hash", |h| h.parent_hash.0[0] ^= 1, None),
];

#[test]
fn altered_headers_are_not_accepted() {
    for block in op_blocks() {
        for (what, change, field) in HEADER_CHANGES {
            let mut altered = block.clone();
            change(&mut altered.block.header);
            let verification = verify_altered(what, &block, &altered);
            if let Some(field) = field {
                let fields = fields(&verification);
                assert!(
                    fields.contains(&field),
                    "{}: {what}: {fields:?}",
                    block.name
                );
            }
        }
    }
}

#[test]
fn a_lie_about_one_commitment_names_that_commitment_and_the_true_header() {
    for block in op_blocks() {
        let mut altered = block.clone();
        altered.block.header.state_root = B256::repeat_byte(7);
        let verification = altered.verify(None);
        assert_eq!(fields(&verification), ["state_root"]);
        assert_eq!(
            verification.mismatches[0].served,
            B256::repeat_byte(7).to_string()
        );
        assert_eq!(
            verification.mismatches[0].computed,
            block.block.header.state_root.to_string()
        );
        assert_eq!(verification.computed_block_hash, Some(block.hash));
        assert_eq!(
            verification.block_hash,
            keccak256(alloy_rlp::encode(&altered.block.header))
        );
    }
}

#[test]
fn a_parent_that_is_not_the_blocks_own_is_inconclusive() {
    for block in op_blocks() {
        let mut altered = block.clone();
        altered.parent.gas_used += 1;
        let verification = altered.verify(None);
        assert_eq!(verification.verdict, Verdict::Inconclusive);
        assert!(verification.reason.unwrap().starts_with("unlinked: "));
    }
}

#[test]
fn altered_transactions_are_not_accepted() {
    for block in op_blocks() {
        let (mut accepted, mut tried) = (0, 0);
        let count = block.block.transactions.len();
        for index in (0..count).step_by(count.div_ceil(8)) {
            let length = block.block.transactions[index].len();
            for position in [0, 1, length / 3, length / 2, length - 40, length - 1] {
                let mut altered = block.clone();
                let mut bytes = altered.block.transactions[index].to_vec();
                bytes[position] ^= 1;
                altered.block.transactions[index] = bytes.into();
                // The header is still the original's: what no longer fits is the body.
                let verification = altered.verify(Some(block.hash));
                let named = fields(&verification).contains(&"transactions_root");
                // A legacy transaction is part of the block's RLP, which may now be none.
                let malformed = verification
                    .reason
                    .is_some_and(|reason| reason.starts_with("malformed block"));
                assert!(named || malformed, "transactions[{index}], byte {position}");
                // With the root made to fit only the execution can tell.
                altered.block.commit_to_transactions();
                let what = format!("transactions[{index}], byte {position}");
                let verification = verify_altered(&what, &block, &altered);
                tried += 1;
                accepted += usize::from(verification.verdict == Verdict::Valid);
            }
        }
        // A deposit's gas limit, for one, may be another without any effect.
        assert!(
            accepted * 10 <= tried,
            "{}: {accepted} of {tried}",
            block.name
        );
    }
}

/// An alteration of the list of transactions, and whether it may make a valid block of its own.
type ListChange<'a> = (&'static str, &'a dyn Fn(&mut Vec<Bytes>), bool);

#[test]
fn dropped_doubled_and_reordered_transactions_are_not_accepted() {
    for block in op_blocks() {
        let last = block.block.transactions.len() - 1;
        let changes: [ListChange<'_>; 5] = [
            ("last dropped", &|list| drop(list.pop()), false),
            ("first dropped", &|list| drop(list.remove(0)), false),
            ("doubled", &|list| list.push(list[last].clone()), false),
            // Two transactions that do not meet may come in either order.
            ("swapped", &|list| list.swap(1, last), true),
            ("all dropped", &|list| list.clear(), false),
        ];
        for (what, change, may_be_valid) in changes {
            let mut altered = block.clone();
            change(&mut altered.block.transactions);
            altered.block.commit_to_transactions();
            let verification = verify_altered(what, &block, &altered);
            assert!(
                may_be_valid || verification.verdict != Verdict::Valid,
                "{}: {what}",
                block.name
            );
            if what == "doubled" {
                assert!(
                    fields(&verification).contains(&format!("transactions[{}]", last + 1).as_str())
                );
            }
        }
    }
}

#[test]
fn a_removed_or_altered_preimage_is_named_or_was_not_needed() {
    for block in op_blocks() {
        let count = block.preimages.len();
        let (mut needed, mut tried) = (0, 0);
        for index in (0..count).step_by(count.div_ceil(40)) {
            let hash = keccak256(&block.preimages[index]);
            for altering in [false, true] {
                let mut altered = block.clone();
                if altering {
                    let mut bytes = altered.preimages[index].to_vec();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 0x10;
                    altered.preimages[index] = bytes.into();
                } else {
                    altered.preimages.remove(index);
                }
                let verification = altered.verify(Some(block.hash));
                tried += 1;
                match verification.verdict {
                    Verdict::Valid => assert_eq!(verification.missing, None),
                    Verdict::Inconclusive => {
                        assert_eq!(
                            verification.missing,
                            Some(hash),
                            "{}: preimage {index}",
                            block.name
                        );
                        assert!(verification.reason.unwrap().contains(&hash.to_string()));
                        needed += 1;
                    }
                    Verdict::Invalid => {
                        panic!("{}: an accusation for want of preimage {index}", block.name)
                    }
                }
            }
        }
        assert!(
            needed * 2 > tried,
            "{}: only {needed} of {tried} preimages were needed",
            block.name
        );
    }
}

#[test]
fn garbled_inputs_are_not_accepted() {
    for block in op_blocks() {
        let (parent, encoded) = (alloy_rlp::encode(&block.parent), block.block.encode());
        for cut in (0..encoded.len()).step_by(encoded.len().div_ceil(40)) {
            let verification = block.verify_bytes(&parent, &encoded[..cut], Some(block.hash), None);
            assert_eq!(
                verification.verdict,
                Verdict::Inconclusive,
                "{} cut at {cut}",
                block.name
            );
            let mut flipped = encoded.clone();
            flipped[cut] ^= 0x55;
            let verification = block.verify_bytes(&parent, &flipped, Some(block.hash), None);
            assert_ne!(
                verification.verdict,
                Verdict::Valid,
                "{} flipped at {cut}",
                block.name
            );
        }
        for cut in 0..parent.len() {
            let verification = block.verify_bytes(&parent[..cut], &encoded, Some(block.hash), None);
            assert_eq!(verification.verdict, Verdict::Inconclusive);
        }
    }
}

#[test]
fn without_any_witness_the_state_root_is_missing() {
    for mut block in op_blocks() {
        block.preimages.clear();
        let verification = block.verify(None);
        assert_eq!(verification.verdict, Verdict::Inconclusive);
        assert_eq!(verification.missing, Some(block.parent.state_root));
        assert_eq!(verification.computed_header, None);
    }
}

/// The four words of the payload, from the specification's text.
#[test]
fn output_root_hashes_version_state_storage_and_block() {
    let [state, storage, block] = [1, 2, 3].map(B256::repeat_byte);
    let payload = [B256::ZERO, state, storage, block].concat();
    assert_eq!(output_root(state, storage, block), keccak256(payload));
}
