//! A block's transactions with their senders, recovered by whoever needs or reaches them first.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use alloy_consensus::{
    EthereumTxEnvelope, TxEip4844, TxEnvelope,
    transaction::{Recovered, SignerRecoverable},
};
use alloy_eips::{Decodable2718, Encodable2718, eip2718::WithEncoded};
use alloy_primitives::Bytes;
use op_alloy::consensus::OpTxEnvelope;

use crate::{
    block::RawTransaction,
    chain_spec::{ChainSpec, Stack},
    once::Once,
};

/// A block's transactions, of the types that its chain knows.
pub(crate) enum Transactions<'a> {
    Ethereum(Recovering<'a, TxEnvelope>),
    OpStack(Recovering<'a, OpTxEnvelope>),
}

/// A transaction that breaks the rules before any is executed.
#[derive(Debug)]
pub(crate) struct BadTransaction {
    pub(crate) index: usize,
    pub(crate) reason: String,
}

type Outcome<T> = Result<WithEncoded<Recovered<T>>, String>;

/// Transactions of one type, each read, and its sender recovered, when it is first asked for.
pub(crate) struct Recovering<'a, T> {
    raw: &'a [RawTransaction<'a>],
    recover: fn(&RawTransaction<'_>) -> Outcome<T>,
    outcomes: Vec<Once<Outcome<T>>>,
}

impl<'a> Transactions<'a> {
    pub(crate) fn new(spec: &ChainSpec, raw: &'a [RawTransaction<'a>]) -> Self {
        // EIP-2930, EIP-1559, EIP-4844, EIP-7702; on the OP Stack deposits, but no blobs.
        match spec.stack() {
            // The envelope without sidecars: with them a blob transaction travels, but is in no block.
            Stack::Ethereum(_) => Self::Ethereum(Recovering::new(raw, |raw| {
                recover::<EthereumTxEnvelope<TxEip4844>>(raw, &[1, 2, 3, 4])
                    .map(|transaction| transaction.map(|recovered| recovered.map(Into::into)))
            })),
            Stack::OpStack(_) => {
                Self::OpStack(Recovering::new(raw, |raw| recover(raw, &[1, 2, 4, 0x7e])))
            }
        }
    }

    /// The number of transactions.
    #[cfg(feature = "parallel")]
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Ethereum(transactions) => transactions.len(),
            Self::OpStack(transactions) => transactions.len(),
        }
    }

    /// Recovers every sender until `stop` says that none is wanted any more; the first transaction that is bad.
    pub(crate) fn recover_all(&self, stop: impl Fn() -> bool) -> Result<(), BadTransaction> {
        match self {
            Self::Ethereum(transactions) => transactions.recover_all(stop),
            Self::OpStack(transactions) => transactions.recover_all(stop),
        }
    }
}

impl<'a, T> Recovering<'a, T> {
    fn new(raw: &'a [RawTransaction<'a>], recover: fn(&RawTransaction<'_>) -> Outcome<T>) -> Self {
        Self {
            raw,
            recover,
            outcomes: raw.iter().map(|_| Once::new()).collect(),
        }
    }

    /// The number of transactions.
    pub(crate) const fn len(&self) -> usize {
        self.raw.len()
    }

    /// The transactions in their order.
    pub(crate) fn iter(
        &self,
    ) -> impl Iterator<Item = Result<&WithEncoded<Recovered<T>>, BadTransaction>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// One of the transactions, if there are so many.
    pub(crate) fn get(
        &self,
        index: usize,
    ) -> Option<Result<&WithEncoded<Recovered<T>>, BadTransaction>> {
        let outcome = self.outcomes.get(index)?;
        let raw = self.raw.get(index)?;
        let outcome = outcome.get_or_init(|| (self.recover)(raw)).as_ref();
        Some(outcome.map_err(|reason| BadTransaction {
            index,
            reason: reason.clone(),
        }))
    }

    fn recover_all(&self, stop: impl Fn() -> bool) -> Result<(), BadTransaction> {
        self.iter()
            .take_while(|_| !stop())
            .try_for_each(|transaction| transaction.map(drop))
    }
}

fn recover<T: Decodable2718 + SignerRecoverable + Encodable2718>(
    raw: &RawTransaction<'_>,
    types: &[u8],
) -> Outcome<T> {
    let known = match raw.encoded.first() {
        Some(first) if raw.typed => types.contains(first),
        first => first.is_some(),
    };
    if !known {
        return Err("of a type that the chain does not know".to_string());
    }
    let encoded = Bytes::copy_from_slice(raw.encoded);
    let mut rest = raw.encoded;
    let transaction = T::decode_2718(&mut rest).map_err(|error| format!("undecodable: {error}"))?;
    if !rest.is_empty() || transaction.encoded_2718() != encoded {
        return Err("undecodable: not the canonical encoding".to_string());
    }
    let sender = transaction
        .recover_signer()
        .map_err(|error| format!("no sender: {error}"))?;
    Ok(WithEncoded::new(
        encoded,
        Recovered::new_unchecked(transaction, sender),
    ))
}
