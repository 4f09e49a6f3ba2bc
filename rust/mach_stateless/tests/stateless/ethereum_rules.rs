//! Ethereum's header rules and fork schedule, on blocks over an empty state: they need no witness.

use alloy_consensus::{
    EMPTY_ROOT_HASH, Header, SignableTransaction, TxEip4844, TxEip4844WithSidecar,
    proofs::calculate_withdrawals_root,
};
use alloy_eips::{
    Encodable2718, eip4844::BlobTransactionSidecar, eip4895::Withdrawal,
    eip7685::EMPTY_REQUESTS_HASH,
};
use alloy_primitives::{Address, B256, Bytes, Signature, U256, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::{
    TrieAccount,
    root::{ordered_trie_root_encoded, state_root_unhashed},
};
use mach_stateless::{
    BlockInput, BlockVerification, ChainSpec, ConfigError, Verdict, verify_block,
};
use serde_json::{Value, json};

const FORKS: [&str; 5] = ["paris", "shanghai", "cancun", "prague", "osaka"];

/// An RLP list with this payload.
fn list(payload: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    alloy_rlp::Header {
        list: true,
        payload_length: payload.len(),
    }
    .encode(&mut encoded);
    encoded.extend(payload);
    encoded
}

/// A chain on which the forks up to `fork` hold from the genesis.
fn config(fork: &str) -> Value {
    let mut config = json!({ "chainId": 1, "londonBlock": 0, "terminalTotalDifficulty": 0 });
    let last = FORKS.iter().position(|name| *name == fork).unwrap();
    for name in &FORKS[1..=last] {
        config[format!("{name}Time")] = 0.into();
    }
    config
}

/// A block that holds nothing, and its parent; every field as the fork wants it.
#[derive(Clone)]
struct Case {
    config: Value,
    parent: Header,
    header: Header,
    /// Items of the body's lists, in RLP.
    transactions: Vec<u8>,
    ommers: Vec<u8>,
    withdrawals: Option<Vec<Withdrawal>>,
}

impl Case {
    fn new(fork: &str) -> Self {
        let active = |name: &str| {
            FORKS.iter().position(|f| *f == fork) >= FORKS.iter().position(|f| *f == name)
        };
        let parent = Header {
            number: 9,
            timestamp: 1000,
            gas_limit: 30_000_000,
            gas_used: 15_000_000,
            base_fee_per_gas: Some(1_000_000_000),
            withdrawals_root: active("shanghai").then_some(EMPTY_ROOT_HASH),
            blob_gas_used: active("cancun").then_some(0),
            excess_blob_gas: active("cancun").then_some(0),
            parent_beacon_block_root: active("cancun").then_some(B256::ZERO),
            requests_hash: active("prague").then_some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        };
        let header = Header {
            parent_hash: parent.hash_slow(),
            number: 10,
            timestamp: 1012,
            gas_used: 0,
            ..parent.clone()
        };
        let withdrawals = active("shanghai").then(Vec::new);
        Self {
            config: config(fork),
            parent,
            header,
            transactions: Vec::new(),
            ommers: Vec::new(),
            withdrawals,
        }
    }

    /// Sets the parent and points the header to it.
    fn with_parent(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.parent);
        self.header.parent_hash = self.parent.hash_slow();
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self
    }

    fn verify(&self) -> BlockVerification {
        let chain_spec = ChainSpec::from_genesis_config(&self.config.to_string()).unwrap();
        verify_block(&BlockInput {
            chain_spec: &chain_spec,
            parent_header: &alloy_rlp::encode(&self.parent),
            block: &self.encode(),
            preimages: &[],
            ancestors: &[],
            served_receipts: None,
            block_hash: None,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = alloy_rlp::encode(&self.header);
        body.extend(list(&self.transactions));
        body.extend(list(&self.ommers));
        if let Some(withdrawals) = &self.withdrawals {
            withdrawals.encode(&mut body);
        }
        list(&body)
    }

    fn assert_valid(&self) {
        let verification = self.verify();
        assert_eq!(
            verification.verdict,
            Verdict::Valid,
            "{:?} {:?}",
            verification.reason,
            verification.mismatches
        );
        assert_eq!(
            verification.computed_block_hash,
            Some(self.header.hash_slow())
        );
        assert_eq!(verification.output_root, None);
    }

    /// Exactly this field is wrong, and should be this.
    fn assert_invalid(&self, field: &str, computed: &str) {
        let verification = self.verify();
        let found: Vec<_> = verification
            .mismatches
            .iter()
            .map(|m| (m.field.as_str(), m.computed.as_str()))
            .collect();
        assert_eq!(found, [(field, computed)], "{:?}", verification.reason);
        assert_eq!(verification.verdict, Verdict::Invalid);
    }

    fn assert_inconclusive(&self, reason: &str) {
        let verification = self.verify();
        assert_eq!(
            verification.verdict,
            Verdict::Inconclusive,
            "{:?}",
            verification.mismatches
        );
        assert_eq!(verification.mismatches, []);
        let found = verification.reason.unwrap();
        assert!(found.contains(reason), "{found}");
    }
}

#[test]
fn empty_blocks_of_every_fork_are_valid() {
    for fork in FORKS {
        Case::new(fork).assert_valid();
    }
}

#[test]
fn fields_that_follow_from_the_parent_are_determined() {
    let case = || Case::new("osaka");
    case()
        .with(|h| h.number = 11)
        .assert_invalid("number", "10");
    case()
        .with(|h| h.difficulty = U256::from(1))
        .assert_invalid("difficulty", "0");
    case()
        .with(|h| h.nonce.0[0] = 1)
        .assert_invalid("nonce", "0x0000000000000000");
    case()
        .with(|h| h.timestamp = 1000)
        .assert_invalid("timestamp", "above the parent's 1000");
    case()
        .with(|h| h.base_fee_per_gas = Some(7))
        .assert_invalid("base_fee_per_gas", "1000000000");
    case()
        .with(|h| h.excess_blob_gas = Some(1))
        .assert_invalid("excess_blob_gas", "0");
    case()
        .with(|h| h.blob_gas_used = Some(131_072))
        .assert_invalid("blob_gas_used", "0");
    let empty = EMPTY_REQUESTS_HASH.to_string();
    case()
        .with(|h| h.requests_hash = Some(B256::ZERO))
        .assert_invalid("requests_hash", &empty);
}

#[test]
fn fields_that_the_rules_bound_name_the_bound() {
    let case = || Case::new("cancun");
    // The limit moves by less than a 1024th: 29296 here.
    case().with(|h| h.gas_limit += 29_295).assert_valid();
    case().with(|h| h.gas_limit -= 29_295).assert_valid();
    let bound = "less than 29296 from the parent's 30000000, and at least 5000";
    case()
        .with(|h| h.gas_limit += 29_296)
        .assert_invalid("gas_limit", bound);
    case()
        .with(|h| h.gas_limit -= 29_296)
        .assert_invalid("gas_limit", bound);
    let low = case()
        .with_parent(|h| (h.gas_limit, h.gas_used) = (5001, 2500))
        .with(|h| h.gas_limit = 5001);
    low.clone().with(|h| h.gas_limit = 4999).assert_invalid(
        "gas_limit",
        "less than 4 from the parent's 5001, and at least 5000",
    );
    low.with(|h| h.gas_limit = 5000).assert_valid();
    case()
        .with(|h| h.extra_data = Bytes::from_static(&[1; 32]))
        .assert_valid();
    case()
        .with(|h| h.extra_data = Bytes::from_static(&[1; 33]))
        .assert_invalid("extra_data", "at most 32 bytes");
    case()
        .with(|h| h.blob_gas_used = Some(7 * 131_072))
        .assert_invalid_among("blob_gas_used", "at most 786432");
    case()
        .with(|h| h.gas_used = 30_000_001)
        .assert_invalid_among("gas_used", "at most the gas limit 30000000");
}

#[test]
fn blocks_of_proof_of_work_are_verified_only_where_their_seal_may_be_missing() {
    let mut case = Case::new("paris")
        .with_parent(|h| h.difficulty = U256::from(1_u64 << 40))
        .with(|h| h.difficulty = U256::from(1_u64 << 40));
    case.config = json!({ "chainId": 1, "homesteadBlock": 0, "londonBlock": 0 });
    let spec = ChainSpec::from_genesis_config(&case.config.to_string()).unwrap();
    let verify = |case: &Case, spec: &ChainSpec| {
        verify_block(&BlockInput {
            chain_spec: spec,
            parent_header: &alloy_rlp::encode(&case.parent),
            block: &case.encode(),
            preimages: &[],
            ancestors: &[],
            served_receipts: None,
            block_hash: None,
        })
    };
    let refused = verify(&case, &spec);
    assert_eq!(refused.verdict, Verdict::Inconclusive);
    assert!(refused.reason.unwrap().contains("proof of work"));
    // Twelve seconds after its parent: one step up for EIP-2, one step down.
    let spec = spec.with_seals_unchecked();
    let found = verify(&case, &spec);
    let fields: Vec<&str> = found.mismatches.iter().map(|m| m.field.as_str()).collect();
    // The reward for the block is missing from the state that it commits to.
    assert_eq!(
        (found.verdict, fields),
        (Verdict::Invalid, vec!["state_root"])
    );
    let harder = case.with(|h| h.difficulty += U256::ONE);
    let found = verify(&harder, &spec);
    assert_eq!(found.mismatches[0].field, "difficulty");
    assert_eq!(found.mismatches[0].computed, (1_u64 << 40).to_string());
    // Whether ommers are valid no witness tells; that there are more than two, the block does.
    let mut related = harder;
    related.ommers = alloy_rlp::encode(Header::default());
    let found = verify(&related, &spec);
    assert_eq!(found.verdict, Verdict::Inconclusive);
    assert!(found.reason.unwrap().starts_with("a block with ommers"));
    related.ommers = related.ommers.repeat(3);
    let found = verify(&related, &spec);
    assert!(
        found
            .mismatches
            .iter()
            .any(|m| m.field == "ommers" && m.computed == "at most 2")
    );
}

impl Case {
    fn assert_invalid_among(&self, field: &str, computed: &str) {
        let verification = self.verify();
        assert_eq!(verification.verdict, Verdict::Invalid);
        let found = verification
            .mismatches
            .iter()
            .any(|m| m.field == field && m.computed == computed);
        assert!(found, "{:?}", verification.mismatches);
    }
}

/// EIP-1559's own numbers: an eighth at most, at least one wei upwards.
#[test]
fn the_base_fee_follows_the_parents_gas() {
    let fee = |gas_used: u64, base_fee: u64, expected: u64| {
        Case::new("shanghai")
            .with_parent(|h| (h.gas_used, h.base_fee_per_gas) = (gas_used, Some(base_fee)))
            .with(|h| h.base_fee_per_gas = Some(expected))
            .assert_valid();
    };
    fee(15_000_000, 1_000_000_000, 1_000_000_000);
    fee(30_000_000, 1_000_000_000, 1_125_000_000);
    fee(0, 1_000_000_000, 875_000_000);
    fee(15_000_001, 1, 2);
    fee(14_999_999, 7, 7);
    fee(30_000_000, u64::MAX, u64::MAX);
}

#[test]
fn fields_of_other_forks_are_absent() {
    let zero = Some(B256::ZERO);
    Case::new("paris")
        .with(|h| h.withdrawals_root = zero)
        .assert_invalid("withdrawals_root", "absent");
    let mut with_list = Case::new("paris");
    with_list.withdrawals = Some(Vec::new());
    with_list.assert_invalid("withdrawals", "absent");
    let cancun_fields: fn(&mut Header) = |h| {
        (
            h.blob_gas_used,
            h.excess_blob_gas,
            h.parent_beacon_block_root,
        ) = (Some(0), Some(0), Some(B256::ZERO));
    };
    let verification = Case::new("shanghai").with(cancun_fields).verify();
    let fields: Vec<_> = verification
        .mismatches
        .iter()
        .map(|m| m.field.as_str())
        .collect();
    assert_eq!(
        fields,
        [
            "blob_gas_used",
            "excess_blob_gas",
            "parent_beacon_block_root"
        ]
    );
    Case::new("cancun")
        .with(|h| h.requests_hash = zero)
        .assert_invalid("requests_hash", "absent");
    let amsterdam = Case::new("osaka").with(|h| h.block_access_list_hash = zero);
    amsterdam
        .clone()
        .assert_invalid("block_access_list_hash", "absent");
    amsterdam
        .with(|h| h.slot_number = Some(1))
        .assert_invalid_among("slot_number", "absent");
}

#[test]
fn fields_of_the_fork_are_present() {
    Case::new("paris")
        .with(|h| h.base_fee_per_gas = None)
        .assert_invalid("base_fee_per_gas", "1000000000");
    let root = EMPTY_ROOT_HASH.to_string();
    Case::new("shanghai")
        .with(|h| h.withdrawals_root = None)
        .assert_invalid("withdrawals_root", &root);
    let mut without_list = Case::new("shanghai");
    without_list.withdrawals = None;
    without_list.assert_invalid("withdrawals", "a list");
    Case::new("cancun")
        .with(|h| h.parent_beacon_block_root = None)
        .assert_invalid("parent_beacon_block_root", "a hash");
    let empty = EMPTY_REQUESTS_HASH.to_string();
    Case::new("prague")
        .with(|h| h.requests_hash = None)
        .assert_invalid("requests_hash", &empty);
}

/// EIP-4844's rule, and EIP-7918's from Osaka on, against values worked out by hand.
#[test]
fn excess_blob_gas_follows_the_parents_blobs() {
    let excess = |fork: &str, parent: (u64, u64), expected: u64| {
        Case::new(fork)
            .with_parent(|h| {
                (h.excess_blob_gas, h.blob_gas_used) = (Some(parent.0), Some(parent.1))
            })
            .with(|h| h.excess_blob_gas = Some(expected))
            .assert_valid();
    };
    let blob = 131_072;
    excess("cancun", (0, 3 * blob), 0);
    excess("cancun", (0, 6 * blob), 3 * blob);
    excess("cancun", (10 * blob, 0), 7 * blob);
    excess("prague", (0, 9 * blob), 3 * blob);
    // At a base fee of 1 gwei a blob's reserve price (2^13 gas) is above its price of 1 wei: a third of the blobs count.
    excess("osaka", (blob, 9 * blob), 4 * blob);
    excess("osaka", (0, 5 * blob), 0);
    let implausible = Case::new("prague").with_parent(|h| h.excess_blob_gas = Some(u64::MAX));
    implausible.assert_inconclusive("more blob gas than any block can");
}

#[test]
fn the_blob_schedule_of_the_config_holds() {
    let blob = 131_072;
    let mut case = Case::new("osaka")
        .with_parent(|h| (h.excess_blob_gas, h.blob_gas_used) = (Some(0), Some(20 * blob)))
        .with(|h| h.excess_blob_gas = Some(20 * blob / 3));
    case.config["bpo1Time"] = 1012.into();
    let entry = |target: u64, max: u64| json!({ "target": target, "max": max, "baseFeeUpdateFraction": 8_346_193 });
    case.config["blobSchedule"] = json!({ "cancun": entry(3, 6), "bpo1": entry(14, 21) });
    case.assert_valid();
    case.config["bpo1Time"] = 1013.into();
    case.assert_invalid("excess_blob_gas", &(10 * blob).to_string());
}

#[test]
fn withdrawals_are_paid_and_committed_to() {
    let withdrawal = Withdrawal {
        index: 1,
        validator_index: 2,
        address: Address::repeat_byte(3),
        amount: 5,
    };
    let mut case = Case::new("shanghai");
    case.withdrawals = Some(vec![withdrawal]);
    case.header.withdrawals_root = Some(calculate_withdrawals_root(&[withdrawal]));
    let account = TrieAccount {
        balance: U256::from(5_000_000_000_u64),
        ..TrieAccount::default()
    };
    case.header.state_root = state_root_unhashed([(withdrawal.address, account)]);
    case.assert_valid();
    case.withdrawals = Some(vec![Withdrawal {
        amount: 6,
        ..withdrawal
    }]);
    case.assert_invalid_among(
        "withdrawals_root",
        &calculate_withdrawals_root(case.withdrawals.as_ref().unwrap()).to_string(),
    );
}

#[test]
fn ommers_after_the_merge_are_refused() {
    let mut case = Case::new("paris");
    case.ommers = alloy_rlp::encode(Header::default());
    case.assert_invalid("ommers", "0");
}

/// EIP-4844: a blob transaction travels with its blobs, but stands in a block without them.
#[test]
fn a_blob_transaction_with_its_sidecar_is_refused() {
    let tx = TxEip4844 {
        chain_id: 1,
        blob_versioned_hashes: vec![B256::repeat_byte(1)],
        ..TxEip4844::default()
    };
    let with_sidecar = TxEip4844WithSidecar {
        tx,
        sidecar: BlobTransactionSidecar::default(),
    };
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    let encoded = with_sidecar.into_signed(signature).encoded_2718();
    let mut case = Case::new("cancun");
    case.transactions = alloy_rlp::encode(Bytes::from(encoded.clone()));
    case.header.transactions_root = ordered_trie_root_encoded(&[encoded]);
    let verification = case.verify();
    assert_eq!(
        verification.mismatches.len(),
        1,
        "{:?}",
        verification.mismatches
    );
    assert_eq!(verification.mismatches[0].field, "transactions[0]");
    assert!(
        verification.mismatches[0]
            .computed
            .starts_with("undecodable")
    );
}

#[test]
fn transactions_of_another_chain_are_refused() {
    // An OP Stack deposit, a type that nobody has, a legacy transaction wrapped like a typed one, and nothing.
    for encoded in [&[0x7e, 0xc0][..], &[0x05, 0xc0], &[0xc1, 0x80], &[]] {
        let mut case = Case::new("osaka");
        case.transactions = alloy_rlp::encode(encoded);
        case.header.transactions_root = ordered_trie_root_encoded(&[encoded]);
        case.assert_invalid("transactions[0]", "of a type that the chain does not know");
    }
}

#[test]
fn rules_that_are_not_known_make_a_block_inconclusive() {
    let with = |fork: &str, key: &str, value: Value| {
        let mut case = Case::new(fork);
        case.config[key] = value;
        case
    };
    with("osaka", "bogotaTime", 1012.into())
        .assert_inconclusive("`bogotaTime`, in effect at block 10");
    with("osaka", "amsterdamTime", 0.into()).assert_inconclusive("`amsterdamTime`");
    with("osaka", "amsterdamTime", 1013.into()).assert_valid();
    with("osaka", "ramanujanBlock", 10.into()).assert_inconclusive("`ramanujanBlock`");
    with("osaka", "ramanujanBlock", 11.into()).assert_valid();
    with("osaka", "ramanujanBlock", Value::Null).assert_valid();
    with("osaka", "arbitrum", json!({})).assert_inconclusive("`arbitrum`");
    with("osaka", "isthmusTime", 0.into()).assert_inconclusive("`isthmusTime`");
    with("paris", "londonBlock", 11.into()).assert_inconclusive("a fork older than London");
    with("paris", "terminalTotalDifficulty", Value::Null).assert_inconclusive("proof of work");
    // Ethereum's own terminal total difficulty does not fit in 64 bits.
    let mainnet: Value = serde_json::from_str("58750000000000000000000").unwrap();
    with("paris", "terminalTotalDifficulty", mainnet.clone()).assert_valid();
    let mut at_the_merge = Case::new("paris").with_parent(|h| h.difficulty = U256::from(1));
    at_the_merge.config["terminalTotalDifficulty"] = mainnet;
    at_the_merge.assert_inconclusive("proof of work or of authority, or the merge itself");
}

#[test]
fn a_config_that_is_none_is_refused() {
    let refused = |text: &str| {
        ChainSpec::from_genesis_config(text)
            .unwrap_err()
            .to_string()
    };
    assert!(refused("").starts_with("chain config is not a JSON object"));
    assert!(refused("[]").starts_with("chain config is not a JSON object"));
    assert_eq!(refused("{}"), ConfigError::Missing("chainId").to_string());
    assert_eq!(
        refused(r#"{"chainId": -1}"#),
        "chain config: `chainId` is -1, expected a non-negative integer below 2^64"
    );
    assert_eq!(
        refused(r#"{"chainId": 1, "shanghaiTime": 5, "cancunTime": 4}"#),
        "chain config: `shanghaiTime` (5) must not come after `cancunTime` (4)"
    );
    assert_eq!(
        refused(r#"{"chainId": 1, "cancunTime": 4}"#),
        "chain config: `shanghaiTime` (never) must not come after `cancunTime` (4)"
    );
    assert_eq!(
        refused(r#"{"chainId": 1, "futureTime": "soon"}"#)
            .split(',')
            .next()
            .unwrap(),
        "chain config: `futureTime` is \"soon\""
    );
    assert_eq!(
        refused(r#"{"chainId": 1, "optimism": {"eip1559Elasticity": 6, "eip1559Denominator": 0}}"#),
        "chain config: `optimism.eip1559Denominator` is 0, expected an integer above 0"
    );
    let two_cancuns = r#"{"chainId": 1, "regolithTime": 0, "canyonTime": 0, "ecotoneTime": 0, "cancunTime": 9,
        "optimism": {"eip1559Elasticity": 6, "eip1559Denominator": 50, "eip1559DenominatorCanyon": 250}}"#;
    assert_eq!(
        refused(two_cancuns),
        "chain config: `ecotoneTime` (0) must not come after `cancunTime` (9)"
    );
}

#[test]
fn a_header_is_not_read_in_two_ways() {
    let case = Case::new("paris");
    let hash = keccak256(alloy_rlp::encode(&case.parent));
    assert_eq!(case.verify().parent_hash, hash);
    // A gas limit with a leading zero is the same number, but not the same header.
    let encoded = alloy_rlp::encode(&case.parent);
    let at = encoded
        .windows(5)
        .position(|bytes| bytes == [0x84, 0x01, 0xc9, 0xc3, 0x80])
        .unwrap();
    let mut padded = encoded.clone();
    padded.splice(at..at + 1, [0x85, 0x00]);
    padded[2] += 1;
    let chain_spec = ChainSpec::from_genesis_config(&case.config.to_string()).unwrap();
    let input = BlockInput {
        chain_spec: &chain_spec,
        parent_header: &padded,
        block: &case.encode(),
        preimages: &[],
        ancestors: &[],
        served_receipts: None,
        block_hash: None,
    };
    let verification = verify_block(&input);
    assert_eq!(verification.verdict, Verdict::Inconclusive);
    assert!(
        verification
            .reason
            .unwrap()
            .starts_with("malformed parent header")
    );
}
