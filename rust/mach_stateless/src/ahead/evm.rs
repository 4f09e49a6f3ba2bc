//! The first thread's EVM, which takes a guess that holds for the outcome.

use alloy_evm::{Database, Evm, EvmEnv, precompiles::PrecompilesMap};
use alloy_op_evm::{OpEvm, OpTx, OpTxError};
use alloy_primitives::{Address, Bytes};
use op_revm::{OpHaltReason, OpSpecId};
use revm::{
    context::{
        BlockEnv, CfgEnv,
        result::{EVMError, ResultAndState},
    },
    database::State,
    inspector::NoOpInspector,
};

use super::exchange::{Exchange, Start};

/// An EVM for the transactions of one block, in their order.
#[allow(missing_debug_implementations)] // OpEvm has none.
pub(crate) struct AheadEvm<'a, DB: Database> {
    evm: OpEvm<State<DB>, NoOpInspector, PrecompilesMap>,
    exchange: &'a Exchange,
    /// Of the next transaction.
    index: usize,
    started: bool,
}

impl<'a, DB: Database> AheadEvm<'a, DB> {
    pub(crate) const fn new(
        evm: OpEvm<State<DB>, NoOpInspector, PrecompilesMap>,
        exchange: &'a Exchange,
    ) -> Self {
        Self {
            evm,
            exchange,
            index: 0,
            started: false,
        }
    }

    /// Lets the second thread begin once it is known what L1 charges by.
    fn start(&mut self) {
        let l1_block = &self.evm.ctx().chain;
        if self.started || l1_block.l2_block != Some(self.evm.block().number) {
            return;
        }
        self.started = true;
        self.exchange.start(Start {
            env: EvmEnv {
                cfg_env: self.evm.cfg_env().clone(),
                block_env: self.evm.block().clone(),
            },
            l1_block: l1_block.clone(),
        });
    }
}

impl<DB: Database> Evm for AheadEvm<'_, DB> {
    type DB = State<DB>;
    type Tx = OpTx;
    type Error = EVMError<<State<DB> as revm::Database>::Error, OpTxError>;
    type HaltReason = OpHaltReason;
    type Spec = OpSpecId;
    type BlockEnv = BlockEnv;
    type Precompiles = PrecompilesMap;
    type Inspector = NoOpInspector;

    fn block(&self) -> &BlockEnv {
        self.evm.block()
    }

    fn cfg_env(&self) -> &CfgEnv<OpSpecId> {
        self.evm.cfg_env()
    }

    fn chain_id(&self) -> u64 {
        self.evm.chain_id()
    }

    fn transact_raw(
        &mut self,
        transaction: OpTx,
    ) -> Result<ResultAndState<OpHaltReason>, Self::Error> {
        let index = self.index;
        self.index += 1;
        let guess = self.exchange.take_guess(index);
        let confirmed = guess.and_then(|guess| {
            let confirmed = guess.confirm(self.evm.db_mut());
            self.exchange.judge(confirmed.is_some());
            confirmed
        });
        let outcome = match confirmed {
            Some(outcome) => outcome,
            None => self.evm.transact_raw(transaction)?,
        };
        if self.exchange.wants_news() {
            self.exchange.tell(index + 1, &outcome.state);
        }
        self.start();
        Ok(outcome)
    }

    fn transact_system_call(
        &mut self,
        caller: Address,
        contract: Address,
        data: Bytes,
    ) -> Result<ResultAndState<OpHaltReason>, Self::Error> {
        let outcome = self.evm.transact_system_call(caller, contract, data)?;
        self.exchange.tell(0, &outcome.state);
        Ok(outcome)
    }

    fn finish(self) -> (State<DB>, EvmEnv<OpSpecId, BlockEnv>) {
        self.evm.finish()
    }

    fn set_inspector_enabled(&mut self, enabled: bool) {
        self.evm.set_inspector_enabled(enabled);
    }

    fn components(&self) -> (&State<DB>, &NoOpInspector, &PrecompilesMap) {
        self.evm.components()
    }

    fn components_mut(&mut self) -> (&mut State<DB>, &mut NoOpInspector, &mut PrecompilesMap) {
        self.evm.components_mut()
    }
}
