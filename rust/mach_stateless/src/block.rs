//! Reading blocks and headers as a node serves them.

use alloc::vec::Vec;
use alloy_consensus::Header;
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Decodable, Error as RlpError};

use crate::{
    error::Error,
    rlp::{self, Item},
};

/// A block taken apart; transactions stay bytes, since the root commits to the bytes.
#[derive(Clone, Debug)]
pub(crate) struct ServedBlock<'a> {
    pub(crate) header: Header,
    pub(crate) hash: B256,
    pub(crate) transactions: Vec<RawTransaction<'a>>,
    pub(crate) ommers: usize,
    /// RLP of the list of ommers.
    pub(crate) ommers_rlp: &'a [u8],
    pub(crate) withdrawals: Option<Vec<Withdrawal>>,
    /// Length of the RLP in bytes, which EIP-7934 bounds.
    pub(crate) size: usize,
}

/// A transaction as the transactions root commits to it: EIP-2718 encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawTransaction<'a> {
    pub(crate) encoded: &'a [u8],
    /// Whether the block holds it as a string, which only typed transactions are.
    pub(crate) typed: bool,
}

impl<'a> ServedBlock<'a> {
    /// Reads `[header, transactions, ommers, withdrawals?]`, the form of `debug_getRawBlock`.
    pub(crate) fn decode(encoded: &'a [u8]) -> Result<Self, Error> {
        let malformed = Error::malformed("block");
        let mut body = Item::only(encoded)
            .and_then(Item::into_list)
            .map_err(&malformed)?;
        let mut next = || Item::next(&mut body).map_err(&malformed);
        let (header, hash) = decode_header(next()?.encoded, "block header")?;
        let transactions = next()?
            .into_list()
            .and_then(decode_transactions)
            .map_err(&malformed)?;
        let ommers = next()?;
        let ommers_rlp = ommers.encoded;
        let ommers = ommers
            .into_list()
            .and_then(rlp::count)
            .map_err(&malformed)?;
        let withdrawals = if body.is_empty() {
            None
        } else {
            let item = Item::only(body).map_err(&malformed)?;
            Some(decode_exact(item.encoded).map_err(&malformed)?)
        };
        Ok(Self {
            header,
            hash,
            transactions,
            ommers,
            ommers_rlp,
            withdrawals,
            size: encoded.len(),
        })
    }
}

fn decode_transactions(mut list: &[u8]) -> Result<Vec<RawTransaction<'_>>, RlpError> {
    let mut transactions = Vec::new();
    while !list.is_empty() {
        let item = Item::next(&mut list)?;
        let encoded = if item.list {
            item.encoded
        } else {
            item.payload
        };
        transactions.push(RawTransaction {
            encoded,
            typed: !item.list,
        });
    }
    Ok(transactions)
}

/// Reads a header, and hashes it. Its bytes must be the ones that the header encodes to, so that the hash is the
/// header's own.
pub(crate) fn decode_header(encoded: &[u8], what: &'static str) -> Result<(Header, B256), Error> {
    let header: Header = decode_exact(encoded).map_err(Error::malformed(what))?;
    if alloy_rlp::encode(&header) != encoded {
        return Err(Error::malformed(what)(RlpError::Custom(
            "not the canonical encoding",
        )));
    }
    Ok((header, keccak256(encoded)))
}

fn decode_exact<T: Decodable>(mut encoded: &[u8]) -> Result<T, RlpError> {
    let value = T::decode(&mut encoded)?;
    if encoded.is_empty() {
        Ok(value)
    } else {
        Err(RlpError::UnexpectedLength)
    }
}
