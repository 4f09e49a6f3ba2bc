//! From a block's inputs to a verdict on it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use alloy_consensus::Header;
use alloy_op_hardforks::OpHardforks;
use alloy_primitives::{B256, Bytes, keccak256};
/// What a block changes in the state of its parent.
pub use revm::database::BundleState as StateChanges;

use crate::{
    ancestors::Ancestors,
    block::{ServedBlock, decode_header},
    chain_spec::{ChainSpec, Stack},
    commitments::{self, PostState},
    database::WitnessDb,
    error::Error,
    execute::{self, Execution, Stop},
    header::{self, CheckedHeader},
    output_root::{L2_TO_L1_MESSAGE_PASSER_ADDRESS, output_root},
    receipts,
    shared::Shared,
    timings::Stopwatch,
    transactions::{BadTransaction, Transactions},
    trie::EMPTY_ROOT,
    verdict::{BlockVerification, FieldMismatch, Verdict},
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
    judge(input, Threads::One).0
}

/// As [`verify_block`], with a second thread that works ahead of this one: it recovers senders, makes codes ready and, on
/// the OP Stack, executes transactions before it is their turn. The result is the same but for its timings.
#[cfg(feature = "parallel")]
pub fn verify_block_on_two_threads(input: &BlockInput<'_>) -> BlockVerification {
    judge(input, Threads::Two).0
}

/// As [`verify_block`], with the changes of state that the execution has made, if it came to its end: what whoever holds
/// the whole state needs to go on to the next block.
pub fn verify_block_with_changes(
    input: &BlockInput<'_>,
) -> (BlockVerification, Option<StateChanges>) {
    judge(input, Threads::One)
}

/// Threads on one block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Threads {
    One,
    #[cfg(feature = "parallel")]
    Two,
}

fn judge(input: &BlockInput<'_>, threads: Threads) -> (BlockVerification, Option<StateChanges>) {
    let mut verification = BlockVerification::unknown();
    let mut notes = Vec::new();
    let mut changes = None;
    if let Err(error) = verify(input, threads, &mut verification, &mut notes, &mut changes) {
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
    (verification, changes)
}

/// Fills in `verification` as far as it comes; an error is what stopped it.
fn verify(
    input: &BlockInput<'_>,
    threads: Threads,
    verification: &mut BlockVerification,
    notes: &mut Vec<String>,
    changes: &mut Option<StateChanges>,
) -> Result<(), Error> {
    let watch = Stopwatch::start();
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
    let shared = Shared::new(
        Transactions::new(spec, &block.transactions),
        input.preimages,
    );
    let job = Job {
        input,
        threads,
        parent,
        block: &block,
        ancestors: &ancestors,
        shared: &shared,
        watch,
    };
    match threads {
        Threads::One => job.check_and_execute(verification, notes, changes),
        #[cfg(feature = "parallel")]
        Threads::Two => shared.with_second_thread(job.parent.state_root, &ancestors, || {
            job.check_and_execute(verification, notes, changes)
        }),
    }
}

/// A block linked to its parent.
struct Job<'j, 's> {
    input: &'j BlockInput<'j>,
    threads: Threads,
    parent: Header,
    block: &'j ServedBlock<'j>,
    ancestors: &'j Ancestors,
    shared: &'j Shared<'s>,
    watch: Stopwatch,
}

impl Job<'_, '_> {
    fn check_and_execute(
        self,
        verification: &mut BlockVerification,
        notes: &mut Vec<String>,
        changes: &mut Option<StateChanges>,
    ) -> Result<(), Error> {
        let Job {
            input,
            threads,
            parent,
            block,
            ancestors,
            shared,
            mut watch,
        } = self;
        let spec = input.chain_spec;
        let CheckedHeader {
            header,
            mismatches,
            executable,
        } = header::check(spec, &parent, block)?;
        verification.mismatches.extend(mismatches);
        verification.timings.decode = watch.lap();
        // Where nobody works ahead, or nothing will be executed, a bad transaction is found before anything else is done.
        if (threads == Threads::One || !executable)
            && let Err(bad) = shared.transactions.recover_all(|| false)
        {
            verification.mismatches.push(bad_transaction(block, &bad));
            return Ok(());
        }
        verification.timings.senders = watch.lap();
        if !executable {
            return Ok(());
        }
        let witness = shared.witness();
        verification.timings.witness = watch.lap();
        let opened = WitnessDb::open(parent.state_root, witness, ancestors);
        #[cfg(feature = "parallel")]
        let opened = opened.map(|db| match threads {
            Threads::One => db,
            Threads::Two => db.with_codes(shared.codes()),
        });
        let executed = opened.map(|mut db| {
            let executed = execute::execute(
                spec,
                &header,
                block.withdrawals.as_deref(),
                &shared.transactions,
                &mut db,
                #[cfg(feature = "parallel")]
                (threads == Threads::Two).then(|| shared.exchange()),
                &|changes| WitnessDb::open(parent.state_root, witness, ancestors)?.apply(changes),
            );
            (db, executed)
        });
        // The execution may have stopped before it came to a transaction that is bad.
        if let Err(bad) = shared.transactions.recover_all(|| false) {
            verification.mismatches.push(bad_transaction(block, &bad));
            return Ok(());
        }
        let (mut db, executed) = executed?;
        verification.timings.execute = watch.lap();
        #[cfg(feature = "parallel")]
        {
            verification.timings.found_ahead = shared.exchange().right();
        }
        let execution = match executed {
            Ok(execution) => execution,
            Err(Stop::Evidence(error)) => return Err(error),
            Err(Stop::Transaction(bad)) => {
                verification.mismatches.push(bad_transaction(block, &bad));
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
        conclude(spec, block, &computed, message_passer, verification);
        *changes = Some(execution.changes);
        verification.timings.commitments = watch.lap();
        Ok(())
    }
}

fn bad_transaction(block: &ServedBlock<'_>, bad: &BadTransaction) -> FieldMismatch {
    let BadTransaction { index, reason } = bad;
    let served = block
        .transactions
        .get(*index)
        .map(|transaction| keccak256(transaction.encoded));
    FieldMismatch::new(format!("transactions[{index}]"), &served, reason)
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
