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
use alloy_eips::{
    Decodable2718, Encodable2718,
    eip2718::{Eip2718Error, WithEncoded},
};
use alloy_primitives::{Address, Bytes};
use op_alloy::consensus::OpTxEnvelope;

use crate::{
    block::RawTransaction,
    chain_spec::{ChainSpec, Stack},
    once::Once,
};
#[cfg(feature = "native")]
use {
    alloy_primitives::{B256, Signature},
    mach_secp256k1::Signed,
};

/// As many senders are recovered together: enough to gain by it, and few enough that the first are soon there.
#[cfg(feature = "native")]
const TOGETHER: usize = 16;

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

/// Transactions of one type, each read, and its sender recovered, when it is first asked for, or together with others.
pub(crate) struct Recovering<'a, T> {
    raw: &'a [RawTransaction<'a>],
    types: &'static [u8],
    outcomes: Vec<Once<Outcome<T>>>,
    /// For each part of [`TOGETHER`] transactions, whether their senders have been recovered together; empty where the
    /// processor gains nothing by that.
    #[cfg(feature = "native")]
    parts: Vec<Once<()>>,
}

impl<'a> Transactions<'a> {
    pub(crate) fn new(spec: &ChainSpec, raw: &'a [RawTransaction<'a>]) -> Self {
        // EIP-2930, EIP-1559, EIP-4844, EIP-7702; on the OP Stack deposits, but no blobs.
        match spec.stack() {
            Stack::Ethereum(_) => Self::Ethereum(Recovering::new(raw, &[1, 2, 3, 4])),
            Stack::OpStack(_) => Self::OpStack(Recovering::new(raw, &[1, 2, 4, 0x7e])),
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

impl<'a, T: ChainTransaction> Recovering<'a, T> {
    fn new(raw: &'a [RawTransaction<'a>], types: &'static [u8]) -> Self {
        Self {
            raw,
            types,
            outcomes: raw.iter().map(|_| Once::new()).collect(),
            #[cfg(feature = "native")]
            parts: if mach_secp256k1::recovers_eight_at_once() {
                raw.chunks(TOGETHER).map(|_| Once::new()).collect()
            } else {
                Vec::new()
            },
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
        #[cfg(feature = "native")]
        if let Some(part) = self.parts.get(index / TOGETHER) {
            part.get_or_init(|| self.recover_part(index / TOGETHER));
        }
        let outcome = outcome.get_or_init(|| self.read(raw)?.recover()).as_ref();
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

    /// Reads one part of the transactions, and recovers their senders, together as far as they can be.
    #[cfg(feature = "native")]
    fn recover_part(&self, part: usize) {
        let start = part * TOGETHER;
        let cells = self.raw.iter().zip(&self.outcomes);
        // Nobody else sets these: whoever asks has waited for this.
        let tell = |cell: &Once<Outcome<T>>, outcome| drop(cell.set(outcome));
        let (mut read, mut signed) = (Vec::new(), Vec::new());
        for (raw, cell) in cells.skip(start).take(TOGETHER) {
            match self.read(raw) {
                Ok(transaction) => match transaction.transaction.signed() {
                    Some(one) => {
                        signed.push(one);
                        read.push((transaction, cell));
                    }
                    None => tell(cell, transaction.recover()),
                },
                Err(reason) => tell(cell, Err(reason)),
            }
        }
        let senders = mach_secp256k1::recover_addresses(&signed);
        for ((transaction, cell), sender) in read.into_iter().zip(senders) {
            let outcome = match sender {
                Some(sender) => Ok(transaction.sent_by(sender.into())),
                None => transaction.recover(),
            };
            tell(cell, outcome);
        }
    }

    /// Reads a transaction of one of the types.
    fn read(&self, raw: &RawTransaction<'_>) -> Result<Read<T>, String> {
        let known = match raw.encoded.first() {
            Some(first) if raw.typed => self.types.contains(first),
            first => first.is_some(),
        };
        if !known {
            return Err("of a type that the chain does not know".to_string());
        }
        let encoded = Bytes::copy_from_slice(raw.encoded);
        let mut rest = raw.encoded;
        let transaction =
            T::decode_in_block(&mut rest).map_err(|error| format!("undecodable: {error}"))?;
        if !rest.is_empty() || transaction.encoded_2718() != encoded {
            return Err("undecodable: not the canonical encoding".to_string());
        }
        Ok(Read {
            encoded,
            transaction,
        })
    }
}

/// A transaction whose sender is not known yet.
struct Read<T> {
    encoded: Bytes,
    transaction: T,
}

impl<T: ChainTransaction> Read<T> {
    fn recover(self) -> Outcome<T> {
        let sender = self
            .transaction
            .recover_signer()
            .map_err(|error| format!("no sender: {error}"))?;
        Ok(self.sent_by(sender))
    }

    fn sent_by(self, sender: Address) -> WithEncoded<Recovered<T>> {
        WithEncoded::new(
            self.encoded,
            Recovered::new_unchecked(self.transaction, sender),
        )
    }
}

/// A transaction of any chain.
pub(crate) trait ChainTransaction: Encodable2718 + SignerRecoverable {
    /// Reads one as it stands in a block.
    fn decode_in_block(encoded: &mut &[u8]) -> Result<Self, Eip2718Error>
    where
        Self: Sized;

    /// Its signature with what it signs; `None` where it bears none that can be recovered together with others.
    #[cfg(feature = "native")]
    fn signed(&self) -> Option<Signed>;
}

impl ChainTransaction for TxEnvelope {
    fn decode_in_block(encoded: &mut &[u8]) -> Result<Self, Eip2718Error> {
        // The envelope without sidecars: with them a blob transaction travels, but is in no block.
        EthereumTxEnvelope::<TxEip4844>::decode_2718(encoded).map(Into::into)
    }

    #[cfg(feature = "native")]
    fn signed(&self) -> Option<Signed> {
        signed(self.signature(), self.signature_hash())
    }
}

impl ChainTransaction for OpTxEnvelope {
    fn decode_in_block(encoded: &mut &[u8]) -> Result<Self, Eip2718Error> {
        Self::decode_2718(encoded)
    }

    #[cfg(feature = "native")]
    fn signed(&self) -> Option<Signed> {
        let digest = match self {
            Self::Legacy(transaction) => transaction.signature_hash(),
            Self::Eip2930(transaction) => transaction.signature_hash(),
            Self::Eip1559(transaction) => transaction.signature_hash(),
            Self::Eip7702(transaction) => transaction.signature_hash(),
            _ => return None,
        };
        signed(self.signature()?, digest)
    }
}

#[cfg(feature = "native")]
fn signed(signature: &Signature, digest: B256) -> Option<Signed> {
    // EIP-2: the other half of the values is for the recovery of a single one to refuse.
    let low = signature.normalize_s().is_none();
    low.then(|| Signed {
        digest: digest.0,
        r: signature.r().to_be_bytes(),
        s: signature.s().to_be_bytes(),
        odd_y: signature.v(),
    })
}
