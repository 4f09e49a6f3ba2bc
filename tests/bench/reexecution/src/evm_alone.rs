//! revm and op-revm on state that lies in memory, senders known beforehand: what no verifier can go below without
//! another EVM.

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Header, transaction::SignerRecoverable};
use alloy_eips::{Decodable2718, eip2718::WithEncoded};
use alloy_evm::{
    Evm, EvmFactory,
    block::{BlockExecutor, BlockExecutorFactory},
};
use alloy_op_evm::{
    OpBlockExecutionCtx, OpBlockExecutorFactory, OpEvmFactory, OpTx, block::OpAlloyReceiptBuilder,
    evm_env_for_op_block,
};
use alloy_op_hardforks::OpChainHardforks;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::TrieAccount;
use mach_stateless::{Trie, TrieError, Witness};
use op_alloy::consensus::OpTxEnvelope;
use revm::{
    Database,
    database::{
        BundleState, InMemoryDB, State, WrapDatabaseRef, states::bundle_state::BundleRetention,
    },
    database_interface::DBErrorMarker,
    state::{AccountInfo, Bytecode},
};
use std::{collections::HashMap, fmt};

use crate::fixtures::Recorded;

/// A block ready to be executed.
pub(crate) struct EvmAlone {
    header: Header,
    transactions: Vec<WithEncoded<Recovered<OpTxEnvelope>>>,
    state: InMemoryDB,
}

impl EvmAlone {
    /// Executes the block once on its witness, and keeps in memory all that is read on the way.
    pub(crate) fn prepare(recorded: &Recorded) -> Self {
        let transactions: Vec<_> = recorded.block.transactions.iter().map(recover).collect();
        let preimages: Vec<&[u8]> = recorded.preimages.iter().map(AsRef::as_ref).collect();
        let witness = Witness::new(preimages);
        let mut state = Recording {
            accounts: Trie::open(recorded.parent.state_root, &witness).unwrap(),
            storages: HashMap::new(),
            witness,
            read: InMemoryDB::default(),
        };
        let header = recorded.block.header.clone();
        run(&header, &transactions, &mut state);
        Self {
            header,
            transactions,
            state: state.read,
        }
    }

    /// Executes the block; its gas and its changes of state.
    pub(crate) fn execute(&self) -> (u64, BundleState) {
        run(
            &self.header,
            &self.transactions,
            &mut WrapDatabaseRef(&self.state),
        )
    }
}

fn recover(encoded: &Bytes) -> WithEncoded<Recovered<OpTxEnvelope>> {
    let transaction = OpTxEnvelope::decode_2718(&mut encoded.as_ref()).unwrap();
    let sender = transaction.recover_signer().unwrap();
    WithEncoded::new(
        encoded.clone(),
        Recovered::new_unchecked(transaction, sender),
    )
}

fn run<DB: Database + std::fmt::Debug>(
    header: &Header,
    transactions: &[WithEncoded<Recovered<OpTxEnvelope>>],
    db: DB,
) -> (u64, BundleState)
where
    DB::Error: Send + Sync + 'static,
{
    let forks = OpChainHardforks::op_sepolia();
    let env = evm_env_for_op_block(header, &forks, 11_155_420);
    let factory = OpBlockExecutorFactory::new(
        OpAlloyReceiptBuilder::default(),
        forks,
        OpEvmFactory::<OpTx>::default(),
    );
    let context = OpBlockExecutionCtx {
        parent_hash: header.parent_hash,
        parent_beacon_block_root: header.parent_beacon_block_root,
        extra_data: header.extra_data.clone(),
    };
    let state = State::builder()
        .with_database(db)
        .with_bundle_update()
        .build();
    let evm = factory.evm_factory().create_evm(state, env);
    let mut executor = factory.create_executor(evm, context);
    executor.apply_pre_execution_changes().unwrap();
    for transaction in transactions {
        executor.execute_transaction(transaction).unwrap();
    }
    let (evm, result) = executor.finish().unwrap();
    let (mut state, _) = evm.finish();
    state.merge_transitions(BundleRetention::PlainState);
    (result.gas_used, state.take_bundle())
}

/// Reads from a witness, and keeps what it has read.
#[derive(Debug)]
struct Recording<'w> {
    accounts: Trie<'w>,
    storages: HashMap<Address, Trie<'w>>,
    witness: Witness<'w>,
    read: InMemoryDB,
}

/// A read that failed.
#[derive(Debug)]
struct ReadError(String);

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

impl DBErrorMarker for ReadError {}

impl From<TrieError> for ReadError {
    fn from(error: TrieError) -> Self {
        Self(error.to_string())
    }
}

impl Recording<'_> {
    fn account(&mut self, address: Address) -> Result<Option<TrieAccount>, ReadError> {
        let leaf = self.accounts.get(&keccak256(address), &self.witness)?;
        Ok(leaf.map(|mut leaf| TrieAccount::decode(&mut leaf).unwrap()))
    }
}

impl Database for Recording<'_> {
    type Error = ReadError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, ReadError> {
        let Some(account) = self.account(address)? else {
            return Ok(None);
        };
        let code = (account.code_hash != KECCAK256_EMPTY)
            .then(|| self.witness.get(&account.code_hash))
            .flatten()
            .map(|code| Bytecode::new_raw(Bytes::copy_from_slice(code)));
        let info = AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code,
            ..AccountInfo::default()
        };
        self.read.insert_account_info(address, info.clone());
        Ok(Some(info))
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, ReadError> {
        let code = self.witness.get(&code_hash).unwrap_or_default();
        Ok(Bytecode::new_raw(Bytes::copy_from_slice(code)))
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, ReadError> {
        if !self.storages.contains_key(&address) {
            let Some(account) = self.account(address)? else {
                return Ok(U256::ZERO);
            };
            let storage = Trie::open(account.storage_root, &self.witness)?;
            self.storages.insert(address, storage);
        }
        let Some(storage) = self.storages.get_mut(&address) else {
            return Ok(U256::ZERO);
        };
        let key = keccak256(slot.to_be_bytes::<32>());
        let value = storage
            .get(&key, &self.witness)?
            .map_or(U256::ZERO, |mut leaf| U256::decode(&mut leaf).unwrap());
        self.read
            .insert_account_storage(address, slot, value)
            .map_err(|error| ReadError(error.to_string()))?;
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, ReadError> {
        Err(ReadError(format!("the hash of block {number}")))
    }
}
