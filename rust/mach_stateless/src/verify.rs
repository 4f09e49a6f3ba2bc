//! From a block's inputs to a verdict on it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use alloy_consensus::Header;
use alloy_op_hardforks::OpHardforks;
use alloy_primitives::{B256, Bytes, keccak256};

use crate::{
    ancestors::Ancestors,
    block::{ServedBlock, decode_header},
    chain_spec::{ChainSpec, Stack},
    commitments::{self, PostState},
    database::WitnessDb,
    error::Error,
    execute::{self, BadTransaction, Execution, Stop, Transactions},
    header::{self, CheckedHeader},
    output_root::{L2_TO_L1_MESSAGE_PASSER_ADDRESS, output_root},
    receipts,
    timings::Stopwatch,
    trie::EMPTY_ROOT,
    verdict::{BlockVerification, FieldMismatch, Verdict},
    witness::Witness,
};

/// Everything that a block's verification rests on. All bytes may be anything at all.
#[derive(Clone, Copy, Debug)]
pub struct BlockInput<'a> {
    /// The chain's rules.
    pub chain_spec: &'a ChainSpec,
    /// RLP of the parent's header. It is the root of trust: whoever calls has to know that it is the right one.
    pub parent_header: &'a [u8],
    /// RLP of the block: `[header, transactions, ommers, withdrawals?]`, the form of `debug_getRawBlock`.
    pub block: &'a [u8],
    /// Trie nodes and contract codes, in any order.
    pub preimages: &'a [&'a [u8]],
    /// RLP of headers before the parent, in any order, as far back as `BLOCKHASH` reaches.
    pub ancestors: &'a [&'a [u8]],
    /// EIP-2718 encoded receipts, as `debug_getRawReceipts` gives them. They only help to name a difference.
    pub served_receipts: Option<&'a [&'a [u8]]>,
    /// The hash that the block was served under, if it is to be held against the block's own.
    pub block_hash: Option<B256>,
}

/// Re-executes a block and compares everything it says with what its inputs produce.
///
/// VALID: every rule holds and every commitment is reproduced. INVALID: a rule that binds the block to its parent and
/// its own body is broken, or, with a witness that led from the parent's state root to every value read, a commitment
/// is not reproduced or a transaction cannot be executed. INCONCLUSIVE: something is missing, malformed or not
/// supported; never an accusation.
///
/// Total: whatever the bytes are, there is a result.
pub fn verify_block(input: &BlockInput<'_>) -> BlockVerification {
    verify_block_with_threads(input, 1)
}

/// x
pub fn verify_block_with_threads(input: &BlockInput<'_>, threads: usize) -> BlockVerification {
    let _ = threads;
    let mut verification = BlockVerification::unknown();
    let mut notes = Vec::new();
    if let Err(error) = verify(input, &mut verification, &mut notes) {
        verification.missing = error.missing();
        verification.missing_place = error.missing_place();
        notes.insert(0, error.to_string());
        verification.verdict = Verdict::Inconclusive;
    } else {
        verification.verdict = Verdict::Valid;
    }
    // What is wrong with a block is found by rule or by execution; neither is undone by an execution that stops.
    if !verification.mismatches.is_empty() {
        verification.verdict = Verdict::Invalid;
        let fields: Vec<&str> = verification
            .mismatches
            .iter()
            .map(|mismatch| mismatch.field.as_str())
            .collect();
        notes.insert(
            0,
            format!("not what the block's inputs produce: {}", fields.join(", ")),
        );
    }
    verification.reason = (!notes.is_empty()).then(|| notes.join("; "));
    verification
}

/// Fills in `verification` as far as it comes; an error is what stopped it.
fn verify(
    input: &BlockInput<'_>,
    verification: &mut BlockVerification,
    notes: &mut Vec<String>,
) -> Result<(), Error> {
    let mut watch = Stopwatch::start();
    let spec = input.chain_spec;
    let block = ServedBlock::decode(input.block)?;
    verification.number = block.header.number;
    verification.gas_used = block.header.gas_used;
    verification.transaction_count = block.transactions.len();
    verification.block_hash = block.hash;
    verification.parent_hash = block.header.parent_hash;
    let (parent, parent_hash) = decode_header(input.parent_header, "parent header")?;
    if parent_hash != block.header.parent_hash {
        return Err(Error::Unlinked {
            expected: block.header.parent_hash,
            given: parent_hash,
        });
    }
    spec.check_supported(&parent, &block.header)?;
    let ancestors = Ancestors::new(&parent, parent_hash, input.ancestors)?;
    if let Some(hash) = input.block_hash.filter(|hash| *hash != block.hash) {
        verification
            .mismatches
            .push(FieldMismatch::new("block_hash", &hash, &block.hash));
    }
    let CheckedHeader {
        header,
        mismatches,
        executable,
    } = header::check(spec, &parent, &block)?;
    verification.mismatches.extend(mismatches);
    verification.timings.decode = watch.lap();
    let transactions = match Transactions::recover(spec, &block.transactions) {
        Ok(transactions) => transactions,
        Err(BadTransaction { index, reason }) => {
            verification
                .mismatches
                .push(bad_transaction(&block, index, &reason));
            return Ok(());
        }
    };
    verification.timings.senders = watch.lap();
    if !executable {
        return Ok(());
    }
    let witness = Witness::new(input.preimages.iter().copied());
    verification.timings.witness = watch.lap();
    let mut db = WitnessDb::open(parent.state_root, &witness, &ancestors)?;
    let executed = execute::execute(
        spec,
        &header,
        block.withdrawals.as_deref(),
        &transactions,
        &mut db,
    );
    verification.timings.execute = watch.lap();
    let execution = match executed {
        Ok(execution) => execution,
        Err(Stop::Evidence(error)) => return Err(error),
        Err(Stop::Transaction { index, reason }) => {
            verification
                .mismatches
                .push(bad_transaction(&block, index, &reason));
            return Ok(());
        }
        Err(Stop::Requests(reason)) => {
            let served = &block.header.requests_hash;
            verification
                .mismatches
                .push(FieldMismatch::new("requests_hash", served, &reason));
            return Ok(());
        }
    };
    let state_root = db.apply(&execution.changes)?;
    let message_passer = message_passer_root(spec, &parent, &header, &mut db)?;
    verification.timings.state_root = watch.lap();
    let post = PostState {
        state_root,
        message_passer,
    };
    let computed = commitments::commit(spec, &header, &execution, post);
    compare(input, &header, &computed, &execution, verification, notes);
    conclude(spec, &block, &computed, message_passer, verification);
    verification.timings.commitments = watch.lap();
    Ok(())
}

fn bad_transaction(block: &ServedBlock<'_>, index: usize, reason: &str) -> FieldMismatch {
    let served = block
        .transactions
        .get(index)
        .map(|transaction| keccak256(transaction.encoded));
    FieldMismatch::new(format!("transactions[{index}]"), &served, &reason)
}

/// Storage root of the message passer after the block, on the OP Stack; `None` elsewhere, and before Isthmus also where
/// the witness does not tell.
fn message_passer_root(
    spec: &ChainSpec,
    parent: &Header,
    header: &Header,
    db: &mut WitnessDb<'_, '_>,
) -> Result<Option<B256>, Error> {
    let Stack::OpStack(rules) = spec.stack() else {
        return Ok(None);
    };
    let isthmus = |header: &Header| {
        rules
            .forks()
            .is_isthmus_active_at_timestamp(header.timestamp)
    };
    match db.account(L2_TO_L1_MESSAGE_PASSER_ADDRESS) {
        Ok(account) => Ok(Some(
            account.map_or(EMPTY_ROOT, |account| account.storage_root),
        )),
        // The path to an account that has changed is known, so this one has not: its storage is as the parent says.
        Err(Error::MissingNode { .. }) if isthmus(parent) && parent.withdrawals_root.is_some() => {
            Ok(parent.withdrawals_root)
        }
        Err(Error::MissingNode { .. }) if !isthmus(header) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Notes the commitments that differ, and, where receipts were served that prove to be the block's, in which receipt.
fn compare(
    input: &BlockInput<'_>,
    served: &Header,
    computed: &Header,
    execution: &Execution,
    verification: &mut BlockVerification,
    notes: &mut Vec<String>,
) {
    verification
        .mismatches
        .extend(commitments::differences(served, computed));
    let Some(served_receipts) = input.served_receipts else {
        return;
    };
    if !receipts::hash_to(served_receipts, served.receipts_root) {
        notes.push("the receipts given do not hash to the block's receipts_root and were left out of account".into());
    } else if served.receipts_root != computed.receipts_root {
        verification
            .mismatches
            .extend(receipts::differences(served_receipts, &execution.receipts));
    }
}

/// Sets what follows from the computed header.
fn conclude(
    spec: &ChainSpec,
    block: &ServedBlock<'_>,
    computed: &Header,
    message_passer: Option<B256>,
    verification: &mut BlockVerification,
) {
    let encoded = alloy_rlp::encode(computed);
    let computed_hash = keccak256(&encoded);
    verification.gas_used = computed.gas_used;
    verification.computed_block_hash = Some(computed_hash);
    verification.computed_header = Some(Bytes::from(encoded));
    let Stack::OpStack(rules) = spec.stack() else {
        return;
    };
    let Some(computed_passer) = message_passer else {
        return;
    };
    verification.computed_output_root = Some(output_root(
        computed.state_root,
        computed_passer,
        computed_hash,
    ));
    // From Isthmus on a block says itself what the storage root is; before, only its state root could tell.
    let served = &block.header;
    let isthmus = rules
        .forks()
        .is_isthmus_active_at_timestamp(served.timestamp);
    let served_passer = served
        .withdrawals_root
        .filter(|_| isthmus)
        .unwrap_or(computed_passer);
    verification.output_root = Some(output_root(served.state_root, served_passer, block.hash));
}
