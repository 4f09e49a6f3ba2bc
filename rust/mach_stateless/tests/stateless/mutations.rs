//! Thousands of small lies about each block: never VALID, never a crash, and the right field or preimage by name.
//!
//! Every mutation is told under the hash of the true block, as a node would serve it. Which preimages a block needs is
//! found out first, and proved: with those alone it is VALID, and without any one of them it is not.

use std::collections::BTreeMap;

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_trie::root::ordered_trie_root_encoded;
use mach_stateless::{BlockInput, BlockVerification, Verdict, verify_block};

use crate::fixtures::{Block, Recorded, op_blocks, recorded_blocks};

/// Mutations of each block.
const EACH: usize = 2_000;
/// Of a real block, which takes up to a hundred times as long as one of the devnet's.
const SAMPLE: usize = 48;

/// A reproducible choice.
struct Dice(u64);

impl Dice {
    /// A number below `bound`, which is not 0 (xorshift64*).
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// What has to come of a mutation.
#[derive(Debug)]
enum Expected {
    /// INVALID, and this field is among those named.
    Field(&'static str),
    /// INVALID, and a field that begins so is among those named.
    FieldOf(&'static str),
    /// As `Field`, unless the bytes are no block any more: then INCONCLUSIVE, as nobody's fault.
    FieldOrUnreadable(&'static str),
    /// INCONCLUSIVE for want of the preimage with this hash.
    Missing(B256),
    /// INCONCLUSIVE: the block has another parent.
    Unlinked,
}

/// A lie: the block as told, the witness as given, and the receipts as served.
struct Lie {
    what: String,
    block: Vec<u8>,
    witness: Vec<Bytes>,
    receipts: Option<Vec<Bytes>>,
    expected: Expected,
}

/// A field of a header that has one bit turned.
type Turn = fn(&mut Header, usize);

fn turn(bytes: &mut [u8], bit: usize) {
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

fn turn_some(field: &mut Option<u64>, bit: usize) {
    *field = field.map(|value| value ^ 1 << (bit % 64));
}

/// Every field of a header, and by which name a wrong one has to go.
///
/// What a sequencer is free to choose is wrong only in that the block's hash is another.
const FIELDS: [(&str, Turn, Expected); 20] = [
    (
        "parent_hash",
        |h, bit| turn(&mut h.parent_hash.0, bit),
        Expected::Unlinked,
    ),
    (
        "ommers_hash",
        |h, bit| turn(&mut h.ommers_hash.0, bit),
        Expected::Field("ommers_hash"),
    ),
    (
        "beneficiary",
        |h, bit| turn(&mut h.beneficiary.0.0, bit),
        Expected::Field("block_hash"),
    ),
    (
        "state_root",
        |h, bit| turn(&mut h.state_root.0, bit),
        Expected::Field("state_root"),
    ),
    (
        "transactions_root",
        |h, bit| turn(&mut h.transactions_root.0, bit),
        Expected::Field("transactions_root"),
    ),
    (
        "receipts_root",
        |h, bit| turn(&mut h.receipts_root.0, bit),
        Expected::Field("receipts_root"),
    ),
    (
        "logs_bloom",
        |h, bit| turn(&mut h.logs_bloom.0.0, bit),
        Expected::Field("logs_bloom"),
    ),
    (
        "difficulty",
        |h, bit| h.difficulty ^= U256::ONE << (bit % 256),
        Expected::Field("difficulty"),
    ),
    (
        "number",
        |h, bit| h.number ^= 1 << (bit % 64),
        Expected::Field("number"),
    ),
    (
        "gas_limit",
        |h, bit| h.gas_limit ^= 1 << (bit % 64),
        Expected::Field("block_hash"),
    ),
    (
        "gas_used",
        |h, bit| h.gas_used ^= 1 << (bit % 64),
        Expected::Field("gas_used"),
    ),
    // Far beyond any fork a configuration may end; within this range the same rules hold.
    (
        "timestamp",
        |h, bit| h.timestamp ^= 1 << (bit % 24),
        Expected::Field("block_hash"),
    ),
    (
        "extra_data",
        |h, bit| {
            let mut data = h.extra_data.to_vec();
            turn(&mut data, bit);
            h.extra_data = data.into();
        },
        Expected::Field("block_hash"),
    ),
    (
        "mix_hash",
        |h, bit| turn(&mut h.mix_hash.0, bit),
        Expected::Field("block_hash"),
    ),
    (
        "nonce",
        |h, bit| turn(&mut h.nonce.0, bit),
        Expected::Field("nonce"),
    ),
    (
        "base_fee_per_gas",
        |h, bit| turn_some(&mut h.base_fee_per_gas, bit),
        Expected::Field("base_fee_per_gas"),
    ),
    (
        "withdrawals_root",
        |h, bit| turn(&mut h.withdrawals_root.as_mut().unwrap().0, bit),
        Expected::Field("withdrawals_root"),
    ),
    (
        "blob_gas_used",
        |h, bit| turn_some(&mut h.blob_gas_used, bit),
        Expected::Field("blob_gas_used"),
    ),
    (
        "excess_blob_gas",
        |h, bit| turn_some(&mut h.excess_blob_gas, bit),
        Expected::Field("excess_blob_gas"),
    ),
    (
        "parent_beacon_block_root",
        |h, bit| turn(&mut h.parent_beacon_block_root.as_mut().unwrap().0, bit),
        Expected::Field("block_hash"),
    ),
];
const REQUESTS_HASH: (&str, Turn, Expected) = (
    "requests_hash",
    |h, bit| turn(&mut h.requests_hash.as_mut().unwrap().0, bit),
    Expected::Field("requests_hash"),
);

/// A block that is VALID, and how lies about it are made.
struct Mutator {
    truth: Recorded,
    receipts: Vec<Bytes>,
    witness: Vec<Bytes>,
    /// Those of the witness without which the block cannot be judged.
    needed: Vec<usize>,
    encoded: Vec<u8>,
    dice: Dice,
}

impl Mutator {
    fn new(mut truth: Recorded, receipts: Vec<Bytes>) -> Self {
        let distinct: BTreeMap<B256, Bytes> = truth
            .preimages
            .drain(..)
            .map(|bytes| (keccak256(&bytes), bytes))
            .collect();
        let encoded = truth.block.encode();
        let seed = u64::from_be_bytes(truth.hash.0[..8].try_into().unwrap()) | 1;
        Self {
            truth,
            receipts,
            witness: distinct.into_values().collect(),
            needed: Vec::new(),
            encoded,
            dice: Dice(seed),
        }
    }

    fn verify(
        &self,
        block: &[u8],
        preimages: &[Bytes],
        receipts: Option<&[Bytes]>,
    ) -> BlockVerification {
        let preimages: Vec<&[u8]> = preimages.iter().map(AsRef::as_ref).collect();
        let ancestors: Vec<&[u8]> = self.truth.ancestors.iter().map(AsRef::as_ref).collect();
        let receipts: Option<Vec<&[u8]>> =
            receipts.map(|list| list.iter().map(AsRef::as_ref).collect());
        verify_block(&BlockInput {
            chain_spec: &self.truth.chain_spec,
            parent_header: &alloy_rlp::encode(&self.truth.parent),
            block,
            preimages: &preimages,
            ancestors: &ancestors,
            served_receipts: receipts.as_deref(),
            block_hash: Some(self.truth.hash),
        })
    }

    /// Reduces the witness to what the block needs, by asking for it: each INCONCLUSIVE names the next preimage.
    fn reduce(&mut self) {
        let name = &self.truth.name;
        let mut given: BTreeMap<B256, Bytes> = BTreeMap::new();
        loop {
            let witness: Vec<Bytes> = given.values().cloned().collect();
            let found = self.verify(&self.encoded, &witness, None);
            let Some(hash) = found.missing else {
                assert_eq!(found.verdict, Verdict::Valid, "{name}: {:?}", found.reason);
                self.witness = witness;
                break;
            };
            assert_eq!(found.verdict, Verdict::Inconclusive, "{name}");
            let bytes = self.witness.iter().find(|bytes| keccak256(bytes) == hash);
            let bytes = bytes.unwrap_or_else(|| panic!("{name}: {hash} is not in the witness"));
            assert!(
                given.insert(hash, bytes.clone()).is_none(),
                "{name}: {hash} is asked for twice"
            );
        }
        self.needed = (0..self.witness.len()).collect();
    }

    /// Picks some preimages that the block needs; a real node gives hardly any that it does not.
    fn pick(&mut self, count: usize) {
        for _ in 0..count {
            let at = self.dice.below(self.witness.len());
            let mut rest = self.witness.clone();
            let hash = keccak256(rest.swap_remove(at));
            let found = self.verify(&self.encoded, &rest, None);
            match found.verdict {
                Verdict::Valid => assert_eq!(found.computed_block_hash, Some(self.truth.hash)),
                verdict => {
                    assert_eq!(
                        (verdict, found.missing),
                        (Verdict::Inconclusive, Some(hash))
                    );
                    self.needed.push(at);
                }
            }
        }
        assert!(
            self.needed.len() * 2 > count,
            "{}: {} of {count}",
            self.truth.name,
            self.needed.len()
        );
    }

    fn lie(&mut self, index: usize) -> Lie {
        match index % 8 {
            0..=2 => self.about_the_header(index / 8 * 3 + index % 8),
            3 | 4 => self.about_a_transaction(),
            5 => self.about_a_removed_preimage(index / 8),
            6 => self.about_an_altered_preimage(),
            _ if self.receipts.is_empty() => self.about_the_header(index),
            _ => self.about_a_receipt(),
        }
    }

    fn with_header(&mut self, name: &str, turn: Turn, expected: &Expected) -> Lie {
        let bit = self.dice.below(2048);
        let mut block = self.truth.block.clone();
        turn(&mut block.header, bit);
        let expected = match expected {
            Expected::Unlinked => Expected::Unlinked,
            Expected::Field(field) => Expected::Field(field),
            other => panic!("{other:?}"),
        };
        self.told(
            format!("bit {bit} of header field {name}"),
            &block,
            expected,
        )
    }

    fn about_the_header(&mut self, index: usize) -> Lie {
        let present = FIELDS.len() + usize::from(self.truth.block.header.requests_hash.is_some());
        let (name, turn, expected) = FIELDS.get(index % present).unwrap_or(&REQUESTS_HASH);
        self.with_header(name, *turn, expected)
    }

    fn about_a_transaction(&mut self) -> Lie {
        let mut block = self.truth.block.clone();
        let count = block.transactions.len();
        let at = self.dice.below(count);
        let what = match self.dice.below(8) {
            0 => {
                block.transactions.remove(at);
                format!("transaction {at} left out")
            }
            1 => {
                let again = block.transactions[at].clone();
                block.transactions.insert(at, again);
                format!("transaction {at} twice")
            }
            2 if count > 1 => {
                let other = (at + 1 + self.dice.below(count - 1)) % count;
                block.transactions.swap(at, other);
                format!("transactions {at} and {other} exchanged")
            }
            _ => {
                let mut bytes = block.transactions[at].to_vec();
                let bit = self.dice.below(bytes.len() * 8);
                turn(&mut bytes, bit);
                block.transactions[at] = bytes.into();
                format!("bit {bit} of transaction {at}")
            }
        };
        let whole = block.transactions.iter().all(|bytes| spans(bytes));
        // Half of the liars make their header fit; the block's hash is then another.
        let (what, field) = if self.dice.below(2) == 0 {
            block.commit_to_transactions();
            (format!("{what}, committed to"), "block_hash")
        } else {
            (what, "transactions_root")
        };
        let expected = if whole {
            Expected::Field(field)
        } else {
            Expected::FieldOrUnreadable(field)
        };
        self.told(what, &block, expected)
    }

    fn about_a_removed_preimage(&mut self, index: usize) -> Lie {
        let mut witness = self.witness.clone();
        let hash = keccak256(witness.swap_remove(self.needed[index % self.needed.len()]));
        self.given(format!("preimage {hash} left out"), witness, hash)
    }

    fn about_an_altered_preimage(&mut self) -> Lie {
        let mut witness = self.witness.clone();
        let at = self.needed[self.dice.below(self.needed.len())];
        let hash = keccak256(&witness[at]);
        let mut bytes = witness[at].to_vec();
        let bit = self.dice.below(bytes.len() * 8);
        turn(&mut bytes, bit);
        witness[at] = bytes.into();
        self.given(format!("bit {bit} of preimage {hash}"), witness, hash)
    }

    fn about_a_receipt(&mut self) -> Lie {
        let mut receipts = self.receipts.clone();
        let at = self.dice.below(receipts.len());
        let mut bytes = receipts[at].to_vec();
        let bit = self.dice.below(bytes.len() * 8);
        turn(&mut bytes, bit);
        receipts[at] = bytes.into();
        let mut block = self.truth.block.clone();
        block.header.receipts_root = ordered_trie_root_encoded(&receipts);
        let what = format!("bit {bit} of receipt {at}");
        Lie {
            receipts: Some(receipts),
            ..self.told(what, &block, Expected::FieldOf("receipts["))
        }
    }

    fn told(&self, what: String, block: &Block, expected: Expected) -> Lie {
        Lie {
            what,
            block: block.encode(),
            witness: self.witness.clone(),
            receipts: None,
            expected,
        }
    }

    fn given(&self, what: String, witness: Vec<Bytes>, missing: B256) -> Lie {
        Lie {
            what,
            block: self.encoded.clone(),
            witness,
            receipts: None,
            expected: Expected::Missing(missing),
        }
    }

    fn check(&self, lie: &Lie) {
        let found = self.verify(&lie.block, &lie.witness, lie.receipts.as_deref());
        let fields: Vec<&str> = found
            .mismatches
            .iter()
            .map(|mismatch| mismatch.field.as_str())
            .collect();
        let told = format!(
            "{}: {}: {} {fields:?} {:?}",
            self.truth.name, lie.what, found.verdict, found.reason
        );
        match lie.expected {
            Expected::Field(field) => {
                assert_eq!(found.verdict, Verdict::Invalid, "{told}");
                assert!(fields.contains(&field), "{told}, expected {field}");
            }
            Expected::FieldOrUnreadable(field) => match found.verdict {
                Verdict::Inconclusive => {
                    let reason = found.reason.as_deref().unwrap_or_default();
                    assert!(reason.starts_with("malformed block"), "{told}");
                }
                Verdict::Invalid => assert!(fields.contains(&field), "{told}, expected {field}"),
                Verdict::Valid => panic!("{told}"),
            },
            Expected::FieldOf(prefix) => {
                assert_eq!(found.verdict, Verdict::Invalid, "{told}");
                assert!(fields.contains(&"receipts_root"), "{told}");
                assert!(
                    fields.iter().any(|field| field.starts_with(prefix)),
                    "{told}, expected {prefix}"
                );
            }
            Expected::Missing(hash) => {
                assert_eq!(found.verdict, Verdict::Inconclusive, "{told}");
                assert_eq!(found.missing, Some(hash), "{told}");
                assert_eq!(found.computed_block_hash, None, "{told}");
            }
            Expected::Unlinked => {
                assert_eq!(found.verdict, Verdict::Inconclusive, "{told}");
                assert!(
                    found
                        .reason
                        .as_ref()
                        .is_some_and(|reason| reason.starts_with("unlinked")),
                    "{told}"
                );
            }
        }
    }
}

/// Whether a transaction takes the place in a block that it should: one that stands there as a list says how long it is.
fn spans(transaction: &[u8]) -> bool {
    let mut rest = transaction;
    match transaction.first() {
        Some(0xc0..) => alloy_rlp::Header::decode(&mut rest)
            .is_ok_and(|header| header.payload_length == rest.len()),
        _ => true,
    }
}

fn mutate(mut mutator: Mutator, count: usize) {
    for index in 0..count {
        let lie = mutator.lie(index);
        mutator.check(&lie);
    }
}

#[test]
fn no_lie_about_a_devnet_block_is_valid() {
    let blocks: Vec<_> = recorded_blocks()
        .into_iter()
        .filter(|(_, _, valid)| *valid)
        .collect();
    assert!(blocks.len() >= 4);
    for (block, receipts, _) in blocks {
        let mut mutator = Mutator::new(block, receipts);
        mutator.reduce();
        mutate(mutator, EACH);
    }
}

#[test]
fn no_lie_about_a_real_block_is_valid() {
    for block in op_blocks() {
        let mut mutator = Mutator::new(block, Vec::new());
        mutator.pick(SAMPLE / 4);
        mutate(mutator, SAMPLE);
    }
}

/// Minutes long; `make test-all` runs it.
#[test]
#[ignore = "slow: thousands of executions of large blocks"]
fn no_lie_of_thousands_about_a_real_block_is_valid() {
    for block in op_blocks() {
        let mut mutator = Mutator::new(block, Vec::new());
        mutator.reduce();
        mutate(mutator, EACH);
    }
}
