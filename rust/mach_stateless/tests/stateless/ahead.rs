//! Transactions executed by a second thread before their turn: whatever they have to do with each other, one thread and
//! two find the same.
//!
//! The blocks are made up. Most of their commitments are zero, so that the verdict is INVALID; what is compared is the
//! header that the execution computes, and with it state, receipts, logs and gas.

use std::cell::Cell;

use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header, SignableTransaction, TxEip1559, TxEip7702,
    TxEnvelope,
};
use alloy_eips::{Encodable2718, eip7685::EMPTY_REQUESTS_HASH, eip7702::Authorization};
use alloy_primitives::{
    Address, B256, Bytes, KECCAK256_EMPTY, Signature, TxKind, U256, address, keccak256,
};
use alloy_trie::{HashBuilder, Nibbles, TrieAccount, proof::ProofRetainer};
use k256::ecdsa::SigningKey;
use mach_stateless::{
    BlockInput, BlockVerification, ChainSpec, Timings, Verdict, verify_block,
    verify_block_on_two_threads,
};
use op_alloy::consensus::TxDeposit;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::json;

use crate::fixtures::Block;

const CHAIN_ID: u64 = 901;
const SENDERS: u8 = 5;
const L1_BLOCK: Address = address!("4200000000000000000000000000000000000015");
const SEQUENCER_FEES: Address = address!("4200000000000000000000000000000000000011");
const FEE_RECIPIENTS: [Address; 4] = [
    SEQUENCER_FEES,
    address!("420000000000000000000000000000000000001a"),
    address!("4200000000000000000000000000000000000019"),
    address!("420000000000000000000000000000000000001b"),
];
/// Counts the third word of its calldata down to zero, then does as [`ADD`].
const SLOW: Address = Address::repeat_byte(0xa1);
const SLOW_CODE: &str = "604035 5b6001900380600357 50 5f358054602035019055 00";
/// Adds the second word of its calldata to the slot that the first names.
const ADD: Address = Address::repeat_byte(0xa2);
const ADD_CODE: &str = "5f358054602035019055 00";
/// Stores the balance of the account that its calldata names, and logs it.
const LOOK: Address = Address::repeat_byte(0xa3);
const LOOK_CODE: &str = "5f3531 80 5f55 5f5260205fa0 00";
/// Looks like [`LOOK`], but last of all and writes nothing: the gas used tells whether the balance is even.
const LOOK_LAST: Address = Address::repeat_byte(0xa4);
const LOOK_LAST_CODE: &str = "5f3531 600116 600a57 005b 5a5a5a00";
/// Creates a contract with its calldata as initialisation code.
const CREATE: Address = Address::repeat_byte(0xa5);
const CREATE_CODE: &str = "365f5f37 365f5f f0 5f55 00";
/// Destroys itself in favour of its caller.
const VANISH: Address = Address::repeat_byte(0xa6);
const VANISH_CODE: &str = "33ff";
/// Reverts after a write.
const REVERT: Address = Address::repeat_byte(0xa7);
const REVERT_CODE: &str = "60015f55 5f5ffd";
/// Leaves [`ADD_CODE`] behind, with a value in a slot.
const INIT: &str = "6007600155 69 5f358054602035019055 5f52 600a6016f3";

fn code(text: &str) -> Bytes {
    let digits: String = text.split_whitespace().collect();
    digits.parse().unwrap()
}

fn key(sender: u8) -> SigningKey {
    SigningKey::from_slice(&[sender + 1; 32]).unwrap()
}

fn account_of(sender: u8) -> Address {
    Address::from_private_key(&key(sender))
}

/// A trie's root and all its nodes.
fn trie(mut leaves: Vec<(B256, Vec<u8>)>, nodes: &mut Vec<Bytes>) -> B256 {
    if leaves.is_empty() {
        return EMPTY_ROOT_HASH;
    }
    leaves.sort();
    let keys = leaves.iter().map(|(key, _)| Nibbles::unpack(key));
    let mut builder =
        HashBuilder::default().with_proof_retainer(ProofRetainer::new(keys.collect()));
    for (key, value) in &leaves {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    nodes.extend(builder.take_proof_nodes().into_inner().into_values());
    root
}

/// A chain's parent state with the contracts above, and the block after it.
struct Scene {
    spec: ChainSpec,
    parent: Header,
    preimages: Vec<Bytes>,
}

impl Scene {
    /// `fee_recipients`: whether the accounts that fees go to exist.
    fn new(newest_fork: bool, fee_recipients: bool) -> Self {
        let newest = |time: u64| newest_fork.then_some(time);
        let config = json!({
            "chainId": CHAIN_ID, "londonBlock": 0, "bedrockBlock": 0, "regolithTime": 0, "canyonTime": 0,
            "ecotoneTime": 0, "fjordTime": 0, "graniteTime": 0, "holoceneTime": 0, "isthmusTime": newest(0),
            "jovianTime": newest(0),
            "optimism": { "eip1559Elasticity": 6, "eip1559Denominator": 50, "eip1559DenominatorCanyon": 250 },
        });
        let mut preimages = Vec::new();
        let mut leaves = Vec::new();
        let mut put =
            |address: Address, balance: u64, contract: Option<&str>, slots: &[(u64, U256)]| {
                let contract = contract.map(code);
                let storage = slots.iter().map(|(slot, value)| {
                    (
                        keccak256(U256::from(*slot).to_be_bytes::<32>()),
                        alloy_rlp::encode(value),
                    )
                });
                let storage_root = trie(storage.collect(), &mut preimages);
                let account = TrieAccount {
                    nonce: u64::from(contract.is_some()),
                    balance: U256::from(balance),
                    storage_root,
                    code_hash: contract.as_ref().map_or(KECCAK256_EMPTY, keccak256),
                };
                preimages.extend(contract);
                leaves.push((keccak256(address), alloy_rlp::encode(account)));
            };
        for sender in 0..SENDERS {
            put(account_of(sender), u64::MAX, None, &[]);
        }
        let slots: Vec<(u64, U256)> = (0..6).map(|slot| (slot, U256::from(slot + 1))).collect();
        for (address, code) in [
            (SLOW, SLOW_CODE),
            (ADD, ADD_CODE),
            (LOOK, LOOK_CODE),
            (LOOK_LAST, LOOK_LAST_CODE),
            (CREATE, CREATE_CODE),
            (VANISH, VANISH_CODE),
            (REVERT, REVERT_CODE),
        ] {
            put(address, 1_000, Some(code), &slots);
        }
        // The fees that L1 charges: base fee, scalars, blob base fee, operator fee.
        let fees = [
            (1, 1_000u128),
            (3, (5 << 96) | (7 << 64)),
            (7, 3),
            (8, (9 << 64) | 11),
        ];
        let fees = fees.map(|(slot, value)| (slot, U256::from(value)));
        put(L1_BLOCK, 0, Some("00"), &fees);
        if fee_recipients {
            for address in FEE_RECIPIENTS {
                put(address, 77, None, &[]);
            }
        }
        let state_root = trie(leaves, &mut preimages);
        let parent = Header {
            number: 9,
            timestamp: 1_000,
            gas_limit: 10_000_000_000,
            gas_used: 5_000_000,
            base_fee_per_gas: Some(1_000),
            state_root,
            extra_data: extra_data(newest_fork),
            withdrawals_root: Some(EMPTY_ROOT_HASH),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: newest_fork.then_some(EMPTY_REQUESTS_HASH),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            ..Header::default()
        };
        Self {
            spec: ChainSpec::from_genesis_config(&config.to_string()).unwrap(),
            parent,
            preimages,
        }
    }

    /// What both ways find of the block with these transactions.
    fn verify(&self, transactions: &[Bytes]) -> BlockVerification {
        let mut attributes = vec![0x3d, 0xb6, 0xbe, 0x2b];
        attributes.resize(178, 0);
        let attributes = TxDeposit {
            from: address!("deaddeaddeaddeaddeaddeaddeaddeaddead0001"),
            to: TxKind::Call(L1_BLOCK),
            gas_limit: 1_000_000,
            input: attributes.into(),
            ..TxDeposit::default()
        };
        let mut all = vec![Bytes::from(attributes.encoded_2718())];
        all.extend_from_slice(transactions);
        let header = Header {
            parent_hash: self.parent.hash_slow(),
            number: self.parent.number + 1,
            timestamp: self.parent.timestamp + 2,
            beneficiary: SEQUENCER_FEES,
            // Jovian's least is 0 here; the header check names the difference and goes on.
            base_fee_per_gas: self.parent.base_fee_per_gas,
            ..self.parent.clone()
        };
        let mut block = Block {
            header,
            transactions: all,
            withdrawals: Some(Vec::new()),
        };
        block.commit_to_transactions();
        let preimages: Vec<&[u8]> = self.preimages.iter().map(AsRef::as_ref).collect();
        let (parent, block) = (alloy_rlp::encode(&self.parent), block.encode());
        let input = BlockInput {
            chain_spec: &self.spec,
            parent_header: &parent,
            block: &block,
            preimages: &preimages,
            ancestors: &[],
            served_receipts: None,
            block_hash: None,
        };
        let one = verify_block(&input);
        let two = verify_block_on_two_threads(&input);
        let found_ahead = two.timings.found_ahead;
        let [one, two] = [one, two].map(|found| BlockVerification {
            timings: Timings::default(),
            ..found
        });
        assert_eq!(one, two);
        BlockVerification {
            timings: Timings {
                found_ahead,
                ..Timings::default()
            },
            ..two
        }
    }
}

/// EIP-1559's parameters as the fork has them, the base fee's minimum from Jovian on.
fn extra_data(newest_fork: bool) -> Bytes {
    let parameters = [0, 0, 0, 50, 0, 0, 0, 6];
    match newest_fork {
        true => [&[1][..], &parameters, &[0; 8]].concat().into(),
        false => [&[0][..], &parameters].concat().into(),
    }
}

/// Signs transactions with the senders' next nonces.
#[derive(Default)]
struct Wallets {
    nonces: [u64; SENDERS as usize],
}

impl Wallets {
    fn nonce(&mut self, sender: u8) -> u64 {
        let nonce = &mut self.nonces[usize::from(sender)];
        *nonce += 1;
        *nonce - 1
    }

    fn send(&mut self, sender: u8, to: TxKind, value: u64, input: Bytes, gas_limit: u64) -> Bytes {
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: self.nonce(sender),
            gas_limit,
            max_fee_per_gas: 100_000,
            max_priority_fee_per_gas: u128::from(sender),
            to,
            value: U256::from(value),
            input,
            ..TxEip1559::default()
        };
        let signature = sign(sender, transaction.signature_hash());
        TxEnvelope::from(transaction.into_signed(signature))
            .encoded_2718()
            .into()
    }

    fn call(&mut self, sender: u8, to: Address, words: &[U256]) -> Bytes {
        let input: Vec<u8> = words
            .iter()
            .flat_map(|word| word.to_be_bytes::<32>())
            .collect();
        self.send(sender, TxKind::Call(to), 0, input.into(), 100_000_000)
    }

    fn look(&mut self, sender: u8, with: Address, at: Address) -> Bytes {
        self.call(sender, with, &[U256::from_be_bytes(at.into_word().0)])
    }

    /// Lets `authority` act with the code at `code` (EIP-7702).
    fn delegate(&mut self, sender: u8, authority: u8, code: Address) -> Bytes {
        let nonce = self.nonce(sender);
        let authorization = Authorization {
            chain_id: U256::from(CHAIN_ID),
            address: code,
            nonce: self.nonce(authority),
        };
        let signature = sign(authority, authorization.signature_hash());
        let transaction = TxEip7702 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 300_000,
            max_fee_per_gas: 100_000,
            max_priority_fee_per_gas: 1,
            to: account_of(authority),
            input: U256::from(4).to_be_bytes::<32>().to_vec().into(),
            authorization_list: vec![authorization.into_signed(signature)],
            ..TxEip7702::default()
        };
        let signature = sign(sender, transaction.signature_hash());
        TxEnvelope::from(transaction.into_signed(signature))
            .encoded_2718()
            .into()
    }
}

fn sign(sender: u8, digest: B256) -> Signature {
    let (signature, recovery) = key(sender).sign_prehash_recoverable(&digest.0).unwrap();
    (signature, recovery).into()
}

fn word(value: u64) -> U256 {
    U256::from(value)
}

/// More than enough for the second thread to have had its time in one of them.
const TRIES: usize = 300;
/// Counting this far takes longer than a thread needs to begin.
const LONG: u64 = 500_000;

/// Two transactions of one sender that share a slot; the second keeps the first thread busy.
fn slow(wallets: &mut Wallets) -> Vec<Bytes> {
    vec![
        wallets.call(0, ADD, &[word(0), word(1)]),
        wallets.call(0, SLOW, &[word(0), word(1), word(LONG)]),
    ]
}

#[test]
fn what_does_not_depend_on_others_is_found_ahead() {
    for newest_fork in [false, true] {
        let scene = Scene::new(newest_fork, true);
        let mut wallets = Wallets::default();
        let mut transactions = slow(&mut wallets);
        for sender in 1..SENDERS {
            let slot = word(100 + u64::from(sender));
            transactions.push(wallets.call(sender, ADD, &[slot, word(1)]));
            let to = TxKind::Call(Address::repeat_byte(0xd0 + sender));
            transactions.push(wallets.send(sender, to, 5, Bytes::new(), 21_000));
        }
        // On a busy machine the second thread may get no turn at all.
        let all_found_ahead = (0..TRIES).any(|_| {
            let found = scene.verify(&transactions);
            assert!(found.computed_header.is_some(), "{:?}", found.reason);
            found.timings.found_ahead == 8
        });
        assert!(all_found_ahead);
    }
}

#[test]
fn whoever_looks_at_the_fees_sees_them() {
    for newest_fork in [false, true] {
        for (recipient, contract) in FEE_RECIPIENTS
            .iter()
            .flat_map(|recipient| [(recipient, LOOK), (recipient, LOOK_LAST)])
        {
            let scene = Scene::new(newest_fork, true);
            let mut wallets = Wallets::default();
            let mut transactions = slow(&mut wallets);
            // Whether the balance is even decides over the gas used.
            for round in 0..3 {
                transactions.push(wallets.look(1 + round, contract, *recipient));
            }
            transactions.push(wallets.call(4, ADD, &[word(100), word(1)]));
            // The last is found ahead where the second thread had its time: then those that look were found, too.
            let found_ahead = (0..TRIES).any(|_| {
                let found = scene.verify(&transactions);
                assert!(found.computed_header.is_some(), "{:?}", found.reason);
                found.timings.found_ahead > 0
            });
            assert!(found_ahead);
        }
    }
}

#[test]
fn a_bad_transaction_is_found_by_both() {
    let scene = Scene::new(true, true);
    let mut wallets = Wallets::default();
    let mut transactions = slow(&mut wallets);
    transactions.push(wallets.call(1, ADD, &[word(1), word(1)]));
    wallets.nonce(2);
    transactions.push(wallets.call(2, ADD, &[word(1), word(1)]));
    transactions.push(wallets.call(3, ADD, &[word(1), word(1)]));
    let found = scene.verify(&transactions);
    let fields: Vec<&str> = found
        .mismatches
        .iter()
        .map(|each| each.field.as_str())
        .collect();
    assert!(fields.contains(&"transactions[4]"), "{fields:?}");
}

/// One transaction of a made-up block.
#[derive(Clone, Debug)]
enum Step {
    Slow(u64),
    Add(u64),
    Pay(Address, u64),
    Look(Address, Address),
    Create,
    CallCreated(u8, u64),
    CreateWithin,
    Vanish,
    Revert,
    Delegate(u8, Address),
}

fn step() -> impl Strategy<Value = (u8, Step)> {
    let places = [
        LOOK,
        LOOK_LAST,
        ADD,
        VANISH,
        REVERT,
        account_of(1),
        account_of(2),
    ];
    let anyone = prop::sample::select(
        [&places[..], &FEE_RECIPIENTS, &[Address::repeat_byte(0xee)]].concat(),
    );
    let kind = prop_oneof![
        3 => (0..4u64).prop_map(Step::Slow),
        4 => (0..8u64).prop_map(Step::Add),
        4 => (anyone.clone(), 0..3u64).prop_map(|(to, value)| Step::Pay(to, value)),
        4 => (prop::sample::select(vec![LOOK, LOOK_LAST]), anyone).prop_map(|(with, at)| Step::Look(with, at)),
        2 => Just(Step::Create),
        3 => (0..SENDERS, 0..3u64).prop_map(|(creator, slot)| Step::CallCreated(creator, slot)),
        1 => Just(Step::CreateWithin),
        1 => Just(Step::Vanish),
        1 => Just(Step::Revert),
        1 => (0..SENDERS, prop::sample::select(vec![ADD, LOOK, VANISH])).prop_map(|(who, code)| Step::Delegate(who, code)),
    ];
    (0..SENDERS, kind)
}

fn build(steps: &[(u8, Step)], newest_fork: bool) -> Vec<Bytes> {
    let mut wallets = Wallets::default();
    let mut created = [Address::ZERO; SENDERS as usize];
    let steps = steps.iter().map(|(sender, step)| {
        let sender = *sender;
        match step {
            Step::Slow(slot) => wallets.call(sender, SLOW, &[word(*slot), word(1), word(20_000)]),
            Step::Add(slot) => wallets.call(sender, ADD, &[word(*slot), word(3)]),
            Step::Pay(to, value) => {
                wallets.send(sender, TxKind::Call(*to), *value, Bytes::new(), 200_000)
            }
            Step::Look(with, at) => wallets.look(sender, *with, *at),
            Step::Create => {
                let nonce = wallets.nonces[usize::from(sender)];
                created[usize::from(sender)] = account_of(sender).create(nonce);
                wallets.send(sender, TxKind::Create, 0, code(INIT), 300_000)
            }
            Step::CallCreated(creator, slot) => {
                let to = created[usize::from(*creator)];
                wallets.call(sender, to, &[word(*slot), word(5)])
            }
            Step::CreateWithin => {
                wallets.send(sender, TxKind::Call(CREATE), 0, code(INIT), 300_000)
            }
            Step::Vanish => wallets.call(sender, VANISH, &[]),
            Step::Revert => wallets.call(sender, REVERT, &[]),
            Step::Delegate(authority, code) if newest_fork && *authority != sender => {
                wallets.delegate(sender, *authority, *code)
            }
            Step::Delegate(..) => wallets.call(sender, ADD, &[word(1), word(1)]),
        }
    });
    steps.collect()
}

#[test]
fn blocks_of_any_transactions_come_to_the_same() {
    let config = ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let blocks = (
        prop::collection::vec(step(), 1..24),
        any::<bool>(),
        any::<bool>(),
    );
    let found_ahead = Cell::new(0);
    TestRunner::new(config)
        .run(&blocks, |(steps, newest_fork, fee_recipients)| {
            let scene = Scene::new(newest_fork, fee_recipients);
            let found = scene.verify(&build(&steps, newest_fork));
            found_ahead.set(found_ahead.get() + found.timings.found_ahead);
            prop_assert_ne!(found.verdict, Verdict::Inconclusive);
            Ok(())
        })
        .unwrap();
    assert!(found_ahead.get() > 0);
}
