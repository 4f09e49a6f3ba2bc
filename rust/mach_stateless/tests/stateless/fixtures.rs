//! Blocks to verify: real ones from the OP Stack's proof fixtures, and ones that a devnet has recorded.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U256, keccak256};
use alloy_rlp::{BufMut, Decodable, Encodable};
use flate2::read::GzDecoder;
use mach_stateless::{BlockInput, BlockVerification, ChainSpec, verify_block};
use serde_json::{Value, json};

/// A block with its witness, owned.
#[derive(Clone)]
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) chain_spec: ChainSpec,
    pub(crate) parent: Header,
    pub(crate) block: Block,
    pub(crate) preimages: Vec<Bytes>,
    pub(crate) ancestors: Vec<Bytes>,
    /// The hash that the chain knows the block by.
    pub(crate) hash: B256,
}

/// A block in its parts, free to be altered.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) header: Header,
    /// EIP-2718 encoded.
    pub(crate) transactions: Vec<Bytes>,
    pub(crate) withdrawals: Option<Vec<alloy_eips::eip4895::Withdrawal>>,
}

impl Block {
    /// Reads what [`Block::encode`] writes.
    pub(crate) fn decode(mut encoded: &[u8]) -> Self {
        let buf = &mut encoded;
        assert!(alloy_rlp::Header::decode(buf).unwrap().list);
        let header = Header::decode(buf).unwrap();
        let mut list = alloy_rlp::Header::decode_bytes(buf, true).unwrap();
        let mut transactions = Vec::new();
        while let Some(first) = list.first() {
            if *first >= 0xc0 {
                let whole = list;
                alloy_rlp::Header::decode_bytes(&mut list, true).unwrap();
                transactions.push(Bytes::copy_from_slice(&whole[..whole.len() - list.len()]));
            } else {
                transactions.push(Bytes::decode(&mut list).unwrap());
            }
        }
        assert!(
            alloy_rlp::Header::decode_bytes(buf, true)
                .unwrap()
                .is_empty()
        );
        let withdrawals = (!buf.is_empty()).then(|| Vec::decode(buf).unwrap());
        Self {
            header,
            transactions,
            withdrawals,
        }
    }

    /// `[header, transactions, ommers, withdrawals?]`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.header.encode(&mut body);
        let mut transactions = Vec::new();
        for transaction in &self.transactions {
            match transaction.first() {
                Some(0xc0..) => transactions.put_slice(transaction),
                _ => transaction.encode(&mut transactions),
            }
        }
        alloy_rlp::Header {
            list: true,
            payload_length: transactions.len(),
        }
        .encode(&mut body);
        body.extend(transactions);
        body.push(0xc0);
        if let Some(withdrawals) = &self.withdrawals {
            withdrawals.encode(&mut body);
        }
        let mut encoded = Vec::new();
        alloy_rlp::Header {
            list: true,
            payload_length: body.len(),
        }
        .encode(&mut encoded);
        encoded.extend(body);
        encoded
    }

    /// Makes the header commit to the transactions as they are now.
    pub(crate) fn commit_to_transactions(&mut self) {
        self.header.transactions_root =
            alloy_trie::root::ordered_trie_root_encoded(&self.transactions);
    }
}

impl Recorded {
    /// Verifies the block; `claimed` is the hash it is served under.
    pub(crate) fn verify(&self, claimed: Option<B256>) -> BlockVerification {
        self.verify_bytes(
            &alloy_rlp::encode(&self.parent),
            &self.block.encode(),
            claimed,
            None,
        )
    }

    pub(crate) fn verify_bytes(
        &self,
        parent: &[u8],
        block: &[u8],
        claimed: Option<B256>,
        receipts: Option<&[&[u8]]>,
    ) -> BlockVerification {
        let preimages: Vec<&[u8]> = self.preimages.iter().map(AsRef::as_ref).collect();
        let ancestors: Vec<&[u8]> = self.ancestors.iter().map(AsRef::as_ref).collect();
        verify_block(&BlockInput {
            chain_spec: &self.chain_spec,
            parent_header: parent,
            block,
            preimages: &preimages,
            ancestors: &ancestors,
            served_receipts: receipts,
            block_hash: claimed,
        })
    }
}

/// The real OP Sepolia blocks of `$MACH_TESTDATA/op-blocks`; none, with a message, where they are not given.
pub(crate) fn op_blocks() -> Vec<Recorded> {
    let folder = match std::env::var_os("MACH_TESTDATA") {
        Some(folder) => PathBuf::from(folder),
        None => repository().join("../shared/testdata"),
    }
    .join("op-blocks");
    let files = gzipped_json(&folder);
    if files.is_empty() {
        eprintln!(
            "skipped: no real blocks at {}; set MACH_TESTDATA",
            folder.display()
        );
    }
    files.iter().map(|path| payload_block(path)).collect()
}

/// The files of `tests/vectors/l2-blocks`, recorded from our own devnet.
pub(crate) fn recorded_files() -> Vec<PathBuf> {
    gzipped_json(&repository().join("tests/vectors/l2-blocks"))
}

/// The blocks of those files with their receipts, and whether they are told truly.
pub(crate) fn recorded_blocks() -> Vec<(Recorded, Vec<Bytes>, bool)> {
    recorded_files()
        .iter()
        .map(|path| {
            let document = read_json(path);
            let list = |key: &str| -> Vec<Bytes> {
                document[key].as_array().unwrap().iter().map(hex).collect()
            };
            let block = Block::decode(&hex(&document["block"]));
            let recorded = Recorded {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                chain_spec: ChainSpec::from_genesis_config(&document["chain_config"].to_string())
                    .unwrap(),
                parent: alloy_rlp::decode_exact(hex(&document["parent_header"])).unwrap(),
                hash: block.header.hash_slow(),
                block,
                preimages: list("preimages"),
                ancestors: list("ancestors"),
            };
            let valid = document["expect"]["verdict"] == "VALID";
            (recorded, list("receipts"), valid)
        })
        .collect()
}

/// Reads gzipped JSON.
pub(crate) fn read_json(path: &Path) -> Value {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Bytes of a `0x` string.
pub(crate) fn hex(value: &Value) -> Bytes {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no string"))
        .parse()
        .unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn gzipped_json(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.read_dir() else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".json.gz"));
    files.sort();
    files
}

/// Reads payload attributes; the header's commitments are those of the re-execution, and must hash to the hash that
/// the chain knows the block by.
fn payload_block(path: &Path) -> Recorded {
    let document = read_json(path);
    let hash: B256 = document["expected_block_hash"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let config = chain_config(&document["rollup_config"]);
    let parent: Header = serde_json::from_value(document["parent_header"].clone()).unwrap();
    let payload = &document["executing_payload"];
    let timestamp = integer(&payload["timestamp"]);
    let isthmus = config["isthmusTime"]
        .as_u64()
        .is_some_and(|time| timestamp >= time);
    let header = Header {
        parent_hash: keccak256(alloy_rlp::encode(&parent)),
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: payload["suggestedFeeRecipient"]
            .as_str()
            .unwrap()
            .parse::<Address>()
            .unwrap(),
        logs_bloom: Bloom::ZERO,
        difficulty: U256::ZERO,
        number: parent.number + 1,
        gas_limit: integer(&payload["gasLimit"]),
        timestamp,
        extra_data: [&[0][..], &hex(&payload["eip1559Params"])].concat().into(),
        mix_hash: payload["prevRandao"].as_str().unwrap().parse().unwrap(),
        nonce: B64::ZERO,
        base_fee_per_gas: Some(0),
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(
            payload["parentBeaconBlockRoot"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap(),
        ),
        requests_hash: isthmus.then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    };
    let transactions = payload["transactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(hex)
        .collect();
    let mut recorded = Recorded {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        chain_spec: ChainSpec::from_genesis_config(&config.to_string()).unwrap(),
        parent,
        block: Block {
            header,
            transactions,
            withdrawals: Some(Vec::new()),
        },
        preimages: document["preimages"]
            .as_array()
            .unwrap()
            .iter()
            .map(hex)
            .collect(),
        ancestors: Vec::new(),
        hash,
    };
    let verification = recorded.verify(None);
    let computed = verification
        .computed_header
        .unwrap_or_else(|| panic!("{:?}", verification.reason));
    recorded.block.header = alloy_rlp::decode_exact(&computed).unwrap();
    assert_eq!(
        verification.computed_block_hash,
        Some(hash),
        "{}",
        recorded.name
    );
    recorded
}

/// op-geth's chain config of op-node's rollup config.
fn chain_config(rollup: &Value) -> Value {
    let time = |name: &str| rollup[format!("{name}_time")].clone();
    json!({
        "chainId": rollup["l2_chain_id"],
        "londonBlock": 0,
        "bedrockBlock": 0,
        "regolithTime": 0,
        "canyonTime": time("canyon"),
        "ecotoneTime": time("ecotone"),
        "fjordTime": time("fjord"),
        "graniteTime": time("granite"),
        "holoceneTime": time("holocene"),
        "isthmusTime": time("isthmus"),
        "jovianTime": time("jovian"),
        "optimism": rollup["chain_op_config"],
    })
}

fn integer(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}
