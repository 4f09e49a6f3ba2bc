//! A second thread that executes transactions before it is their turn.
//!
//! It executes each on the state as far as it knows it, and notes every value that it reads. When it is the transaction's
//! turn, the first thread holds these values against the state: where all are the same, the outcome is the transaction's,
//! for an execution depends on nothing else; where one differs, the first thread executes the transaction itself. So the
//! second thread makes the first faster or not, but never changes what it finds.
//!
//! Only the accounts that fees go to are held against the state without their balance, as long as the transaction itself
//! has not looked at them: every transaction changes it, and only by addition.

mod evm;
mod exchange;
mod guess;
mod handler;
mod state;

pub(crate) use evm::AheadEvm;
pub(crate) use exchange::Exchange;

use std::panic::{AssertUnwindSafe, catch_unwind};

use alloy_consensus::{Transaction, transaction::Recovered};
use alloy_eips::eip2718::WithEncoded;
use alloy_evm::{EvmFactory, block::ExecutableTxParts};
use alloy_op_evm::{OpEvmFactory, OpTx};
use op_alloy::consensus::OpTxEnvelope;

use crate::{database::WitnessDb, transactions::Recovering};
use exchange::{Start, Task};
use guess::Guess;
use handler::Executor;
use state::AheadState;

/// What the second thread does: guesses for the first, until there is nothing more to guess.
pub(crate) fn work(
    exchange: &Exchange,
    transactions: &Recovering<'_, OpTxEnvelope>,
    parent: WitnessDb<'_, '_>,
) {
    // The state that it supposes may be one that the EVM was never meant to see.
    let _panicked = catch_unwind(AssertUnwindSafe(|| {
        guess_all(exchange, transactions, parent)
    }));
    exchange.leave();
}

fn guess_all(
    exchange: &Exchange,
    transactions: &Recovering<'_, OpTxEnvelope>,
    parent: WitnessDb<'_, '_>,
) {
    let Some(Start { env, l1_block }) = exchange.wait_for_start() else {
        return;
    };
    let evm = OpEvmFactory::<OpTx>::default().create_evm(AheadState::new(parent), env);
    let mut executor = Executor::new(evm.into_inner(), l1_block);
    let gas_limits = transactions
        .iter()
        .map(|transaction| transaction.map_or(0, |transaction| transaction.value().gas_limit()));
    exchange.expect(gas_limits.collect());
    while let Some(task) = exchange.next_task() {
        let Task {
            index,
            news,
            start_over,
        } = task;
        executor.state().learn(news, start_over);
        let transaction = transactions.get(index).and_then(Result::ok);
        let guess = transaction.and_then(|transaction| guess(&mut executor, index, transaction));
        exchange.guessed(index, guess);
    }
}

fn guess(
    executor: &mut Executor<'_, '_>,
    index: usize,
    transaction: &WithEncoded<Recovered<OpTxEnvelope>>,
) -> Option<Guess> {
    let (environment, _) = ExecutableTxParts::<OpTx, OpTxEnvelope>::into_parts(transaction);
    let guess = executor.execute(environment)?;
    executor.state().suppose(index, &guess.outcome.state);
    Some(guess)
}
