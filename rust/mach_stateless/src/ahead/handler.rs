//! Executing a transaction so that the state knows when fees are paid.

use alloy_evm::precompiles::PrecompilesMap;
use alloy_op_evm::{OpEvmContext, OpTx};
use op_revm::{L1BlockInfo, OpEvm, OpHaltReason, OpTransactionError, handler::OpHandler};
use revm::{
    ExecuteEvm,
    context::{
        ContextSetters, ContextTr,
        result::{EVMError, ExecutionResult, ResultAndState, ResultGas},
    },
    handler::{EthFrame, EvmTr, FrameResult, Handler, instructions::EthInstructions},
    inspector::NoOpInspector,
    interpreter::{InitialAndFloorGas, interpreter::EthInterpreter},
};

use super::{guess::Guess, state::AheadState};
use crate::error::Error;

type Evm<'a, 'w> = OpEvm<
    OpEvmContext<AheadState<'a, 'w>>,
    NoOpInspector,
    EthInstructions<EthInterpreter, OpEvmContext<AheadState<'a, 'w>>>,
    PrecompilesMap,
>;
type EvmError = EVMError<Error, OpTransactionError>;

/// An EVM of the second thread.
pub(super) struct Executor<'a, 'w> {
    evm: Evm<'a, 'w>,
}

impl<'a, 'w> Executor<'a, 'w> {
    /// `l1_block` is what the first thread charges by: it reads it once a block, so the second must not read it anew.
    pub(super) fn new(mut evm: Evm<'a, 'w>, l1_block: L1BlockInfo) -> Self {
        *evm.ctx().chain_mut() = l1_block;
        Self { evm }
    }

    pub(super) fn state(&mut self) -> &mut AheadState<'a, 'w> {
        self.evm.ctx().db_mut()
    }

    /// The outcome with what it depends on; `None` where the transaction cannot be executed on the state as it is known.
    pub(super) fn execute(&mut self, transaction: OpTx) -> Option<Guess> {
        self.evm.ctx().set_tx(transaction);
        let mut handler = FeeAware(OpHandler::new());
        let result = handler.run(&mut self.evm);
        let state = self.evm.finalize();
        let reads = self.state().take_reads();
        let outcome = ResultAndState::new(result.ok()?, state);
        Some(Guess { reads, outcome })
    }
}

/// op-revm's handler, but that the state is told when fees are paid. Everything that op-revm overrides is passed on.
struct FeeAware<'a, 'w>(OpHandler<Evm<'a, 'w>, EvmError, EthFrame<EthInterpreter>>);

impl<'a, 'w> Handler for FeeAware<'a, 'w> {
    type Evm = Evm<'a, 'w>;
    type Error = EvmError;
    type HaltReason = OpHaltReason;

    fn validate_env(&self, evm: &mut Self::Evm) -> Result<(), EvmError> {
        self.0.validate_env(evm)
    }

    fn validate_against_state_and_deduct_caller(
        &self,
        evm: &mut Self::Evm,
        gas: &mut InitialAndFloorGas,
    ) -> Result<(), EvmError> {
        self.0.validate_against_state_and_deduct_caller(evm, gas)
    }

    fn last_frame_result(
        &mut self,
        evm: &mut Self::Evm,
        frame_result: &mut FrameResult,
    ) -> Result<(), EvmError> {
        self.0.last_frame_result(evm, frame_result)
    }

    fn reimburse_caller(
        &self,
        evm: &mut Self::Evm,
        frame_result: &mut FrameResult,
    ) -> Result<(), EvmError> {
        self.0.reimburse_caller(evm, frame_result)
    }

    fn refund(&self, evm: &mut Self::Evm, frame_result: &mut FrameResult, eip7702_refund: i64) {
        self.0.refund(evm, frame_result, eip7702_refund);
    }

    fn reward_beneficiary(
        &self,
        evm: &mut Self::Evm,
        frame_result: &mut FrameResult,
    ) -> Result<(), EvmError> {
        evm.ctx().db_mut().paying_fees = true;
        self.0.reward_beneficiary(evm, frame_result)
    }

    fn execution_result(
        &mut self,
        evm: &mut Self::Evm,
        frame_result: FrameResult,
        gas: ResultGas,
    ) -> Result<ExecutionResult<OpHaltReason>, EvmError> {
        self.0.execution_result(evm, frame_result, gas)
    }

    fn catch_error(
        &self,
        evm: &mut Self::Evm,
        error: EvmError,
    ) -> Result<ExecutionResult<OpHaltReason>, EvmError> {
        self.0.catch_error(evm, error)
    }
}
