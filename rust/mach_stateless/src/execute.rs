//! Executing a block's transactions on revm and op-revm.

use alloc::{
    borrow::Cow,
    format,
    string::{String, ToString},
    vec::Vec,
};
use alloy_consensus::{
    Eip658Value, Header, ReceiptEnvelope, TxEnvelope, TxReceipt, transaction::Recovered,
};
use alloy_eips::{Encodable2718, eip2718::WithEncoded, eip4895::Withdrawal, eip7685::Requests};
use alloy_evm::{
    Evm, EvmEnv, EvmFactory,
    block::{
        BlockExecutionError, BlockExecutionResult, BlockExecutor, BlockExecutorFactory,
        ExecutableTxParts,
    },
    eth::{
        EthBlockExecutionCtx, EthBlockExecutorFactory, EthEvmFactory,
        receipt_builder::AlloyReceiptBuilder,
    },
};
use alloy_hardforks::EthereumHardforks;
use alloy_op_evm::{
    OpBlockExecutionCtx, OpBlockExecutorFactory, OpEvmFactory, OpTx, block::OpAlloyReceiptBuilder,
    evm_env_for_op_block,
};
use alloy_op_hardforks::OpHardforks;
use alloy_primitives::{B256, Bloom};
use op_alloy::consensus::{OpReceiptEnvelope, OpTxEnvelope};
use revm::database::{BundleState, State, states::bundle_state::BundleRetention};

use crate::{
    chain_spec::{ChainSpec, EthereumRules, OpStackRules, Stack},
    da_footprint::da_footprint,
    database::WitnessDb,
    error::Error,
    transactions::{BadTransaction, ChainTransaction, Recovering, Transactions},
};
#[cfg(feature = "parallel")]
use {
    crate::ahead::{AheadEvm, Exchange},
    alloy_op_evm::OpBlockExecutor,
};

/// What executing a block has produced.
#[derive(Debug)]
pub(crate) struct Execution {
    /// Changes of state.
    pub(crate) changes: BundleState,
    /// Receipts, EIP-2718 encoded, as the receipts root commits to them.
    pub(crate) receipts: Vec<Vec<u8>>,
    pub(crate) logs_bloom: Bloom,
    pub(crate) gas_used: u64,
    /// Blob gas; on the OP Stack the data-availability footprint from Jovian on, and zero before.
    pub(crate) blob_gas_used: u64,
    pub(crate) requests: Requests,
}

/// Why a block's execution has no result.
#[derive(Debug)]
pub(crate) enum Stop {
    /// For want of evidence: the block is not to blame.
    Evidence(Error),
    /// A transaction breaks the rules.
    Transaction(BadTransaction),
    /// A system call after the transactions has failed, which makes a block invalid (EIP-7002, EIP-7251).
    Requests(String),
}

impl From<BadTransaction> for Stop {
    fn from(bad: BadTransaction) -> Self {
        Self::Transaction(bad)
    }
}

/// The root of the parent's state after some changes, computed on the side.
pub(crate) type RootAfter<'a> = &'a dyn Fn(&BundleState) -> Result<B256, Error>;

/// Executes the block with this header on the state of its parent.
pub(crate) fn execute(
    spec: &ChainSpec,
    header: &Header,
    withdrawals: Option<&[Withdrawal]>,
    transactions: &Transactions<'_>,
    db: &mut WitnessDb<'_, '_>,
    #[cfg(feature = "parallel")] exchange: Option<&Exchange>,
    root_after: RootAfter<'_>,
) -> Result<Execution, Stop> {
    let outcome = match (spec.stack(), transactions) {
        (Stack::Ethereum(rules), Transactions::Ethereum(transactions)) => execute_ethereum(
            spec,
            rules,
            header,
            withdrawals,
            transactions,
            db,
            root_after,
        ),
        (Stack::OpStack(rules), Transactions::OpStack(transactions)) => execute_op_stack(
            spec,
            rules,
            header,
            transactions,
            db,
            #[cfg(feature = "parallel")]
            exchange,
        ),
        _ => Err(Stop::Evidence(Error::Execution(
            "transactions of another chain".to_string(),
        ))),
    };
    // A read that failed outranks whatever became of its error on the way up.
    match db.fault() {
        Some(error) => Err(Stop::Evidence(error)),
        None => outcome,
    }
}

fn execute_ethereum(
    spec: &ChainSpec,
    rules: &EthereumRules,
    header: &Header,
    withdrawals: Option<&[Withdrawal]>,
    transactions: &Recovering<'_, TxEnvelope>,
    db: &mut WitnessDb<'_, '_>,
    root_after: RootAfter<'_>,
) -> Result<Execution, Stop> {
    let env = EvmEnv::for_eth_block(
        header,
        rules,
        spec.chain_id(),
        rules.blob_params(header.timestamp),
    );
    let factory = EthBlockExecutorFactory::new(
        AlloyReceiptBuilder::default(),
        rules.clone(),
        EthEvmFactory::default(),
    );
    let context = EthBlockExecutionCtx {
        parent_hash: header.parent_hash,
        parent_beacon_block_root: header.parent_beacon_block_root,
        ommers: &[],
        withdrawals: withdrawals.map(Cow::Borrowed),
        extra_data: header.extra_data.clone(),
        tx_count_hint: Some(transactions.len()),
        slot_number: None,
    };
    // Until Byzantium (EIP-658) a receipt holds the state's root after its transaction.
    let with_roots = !rules.is_byzantium_active_at_block(header.number);
    let mut roots = Vec::new();
    let mut after_each = |changes: &BundleState| root_after(changes).map(|root| roots.push(root));
    let after_each: Option<AfterEach<'_>> = with_roots.then_some(&mut after_each);
    let evm = factory.evm_factory().create_evm(state_over(db), env);
    let executor = factory.create_executor(evm, context);
    let (mut result, changes) = run(executor, transactions, after_each)?;
    for (receipt, root) in result.receipts.iter_mut().zip(roots) {
        if let ReceiptEnvelope::Legacy(legacy) = receipt {
            legacy.receipt.status = Eip658Value::PostState(root);
        }
    }
    Ok(Execution::new(result, changes))
}

fn execute_op_stack(
    spec: &ChainSpec,
    rules: &OpStackRules,
    header: &Header,
    transactions: &Recovering<'_, OpTxEnvelope>,
    db: &mut WitnessDb<'_, '_>,
    #[cfg(feature = "parallel")] exchange: Option<&Exchange>,
) -> Result<Execution, Stop> {
    let forks = rules.forks();
    let da_footprint = if forks.is_jovian_active_at_timestamp(header.timestamp) {
        let transactions = transactions
            .iter()
            .collect::<Result<Vec<_>, _>>()
            .map_err(Stop::from)?;
        da_footprint(&transactions).map_err(|reason| {
            Stop::Transaction(BadTransaction {
                index: 0,
                reason: reason.to_string(),
            })
        })?
    } else {
        0
    };
    let env = evm_env_for_op_block(header, forks, spec.chain_id());
    let factory = OpBlockExecutorFactory::new(
        OpAlloyReceiptBuilder::default(),
        forks.clone(),
        OpEvmFactory::<OpTx>::default(),
    );
    let context = OpBlockExecutionCtx {
        parent_hash: header.parent_hash,
        parent_beacon_block_root: header.parent_beacon_block_root,
        extra_data: header.extra_data.clone(),
    };
    let evm = factory.evm_factory().create_evm(state_over(db), env);
    #[cfg(feature = "parallel")]
    let (mut result, changes) = match exchange {
        Some(exchange) => {
            let evm = AheadEvm::new(evm, exchange);
            let receipts = OpAlloyReceiptBuilder::default();
            run(
                OpBlockExecutor::new(evm, context, forks.clone(), receipts),
                transactions,
                None,
            )?
        }
        None => run(factory.create_executor(evm, context), transactions, None)?,
    };
    #[cfg(not(feature = "parallel"))]
    let (mut result, changes) = run(factory.create_executor(evm, context), transactions, None)?;
    // From Regolith until Canyon a deposit's receipt carries its nonce, but the root leaves it out.
    if !forks.is_canyon_active_at_timestamp(header.timestamp) {
        for receipt in &mut result.receipts {
            if let OpReceiptEnvelope::Deposit(deposit) = receipt {
                deposit.receipt.deposit_nonce = None;
            }
        }
    }
    result.blob_gas_used = da_footprint;
    Ok(Execution::new(result, changes))
}

impl Execution {
    fn new<R: TxReceipt + Encodable2718>(
        result: BlockExecutionResult<R>,
        changes: BundleState,
    ) -> Self {
        Self {
            changes,
            receipts: result
                .receipts
                .iter()
                .map(Encodable2718::encoded_2718)
                .collect(),
            logs_bloom: result
                .receipts
                .iter()
                .fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom()),
            gas_used: result.gas_used,
            blob_gas_used: result.blob_gas_used,
            requests: result.requests,
        }
    }
}

/// Told all changes so far after each transaction.
type AfterEach<'a> = &'a mut dyn FnMut(&BundleState) -> Result<(), Error>;

type BlockState<'a, 'd, 'w> = State<&'a mut WitnessDb<'d, 'w>>;

/// The state of the parent with a cache over it that gathers changes.
fn state_over<'a, 'd, 'w>(db: &'a mut WitnessDb<'d, 'w>) -> BlockState<'a, 'd, 'w> {
    State::builder()
        .with_database(db)
        .with_bundle_update()
        .build()
}

/// The one way through a block, whatever its chain.
fn run<'a, 'd: 'a, 'w: 'd, E, T: ChainTransaction + 'a>(
    mut executor: E,
    transactions: &'a Recovering<'_, T>,
    mut after_each: Option<AfterEach<'_>>,
) -> Result<(BlockExecutionResult<E::Receipt>, BundleState), Stop>
where
    E: BlockExecutor<Transaction = T, Evm: Evm<DB = BlockState<'a, 'd, 'w>>>,
    &'a WithEncoded<Recovered<T>>: ExecutableTxParts<<E::Evm as Evm>::Tx, T>,
{
    executor
        .apply_pre_execution_changes()
        .map_err(|error| Stop::Evidence(Error::Execution(error.to_string())))?;
    for (index, transaction) in transactions.iter().enumerate() {
        let transaction = transaction?;
        executor
            .execute_transaction(transaction)
            .map_err(|error| match error {
                BlockExecutionError::Validation(error) => Stop::Transaction(BadTransaction {
                    index,
                    reason: error.to_string(),
                }),
                BlockExecutionError::Internal(error) => {
                    Stop::Evidence(Error::Execution(format!("transactions[{index}]: {error}")))
                }
            })?;
        if let Some(after_each) = after_each.as_mut() {
            let state = executor.evm_mut().db_mut();
            state.merge_transitions(BundleRetention::PlainState);
            after_each(&state.bundle_state).map_err(Stop::Evidence)?;
        }
    }
    let (evm, result) = executor.finish().map_err(|error| match error {
        BlockExecutionError::Validation(error) => Stop::Requests(error.to_string()),
        BlockExecutionError::Internal(error) => Stop::Evidence(Error::Execution(error.to_string())),
    })?;
    let mut state = evm.into_db();
    state.merge_transitions(BundleRetention::PlainState);
    Ok((result, state.take_bundle()))
}
