//! The data-availability footprint that Jovian puts into a header's `blob_gas_used`.
//!
//! See the specification (protocol/jovian/exec-engine, "DA footprint block limit"). The scalar is read from the block's
//! own L1 attributes, as op-geth does; the `L1Block` contract holds the same number once it knows Jovian.

use alloy_consensus::{Transaction, transaction::Recovered};
use alloy_eips::eip2718::WithEncoded;
use op_alloy::consensus::OpTxEnvelope;
use op_revm::estimate_tx_compressed_size;

/// Selector of `setL1BlockValuesJovian()`.
const JOVIAN_SELECTOR: [u8; 4] = [0x3d, 0xb6, 0xbe, 0x2b];
/// Length of its calldata in bytes; the last two are the scalar.
const JOVIAN_ATTRIBUTES: usize = 178;
/// Length of the calldata of Isthmus, which the first block of Jovian still has.
const ISTHMUS_ATTRIBUTES: usize = 176;
/// The estimate of a compressed transaction is in millionths of a byte.
const ESTIMATE_SCALE: u64 = 1_000_000;

/// The footprint of a block with these transactions, or what is wrong with the L1 attributes in the first.
pub(crate) fn da_footprint(
    transactions: &[&WithEncoded<Recovered<OpTxEnvelope>>],
) -> Result<u64, &'static str> {
    let attributes = match transactions.first().map(|first| first.value().inner()) {
        Some(OpTxEnvelope::Deposit(deposit)) => deposit.input(),
        _ => return Err("not the deposit of the L1 attributes"),
    };
    let users = transactions
        .iter()
        .filter(|transaction| !transaction.value().inner().is_deposit());
    if attributes.len() == ISTHMUS_ATTRIBUTES {
        return match users.count() {
            0 => Ok(0),
            _ => Err("L1 attributes of Isthmus in a block with user transactions"),
        };
    }
    let scalar = match attributes.get(JOVIAN_ATTRIBUTES - 2..JOVIAN_ATTRIBUTES) {
        Some(&[high, low]) if attributes.starts_with(&JOVIAN_SELECTOR) => {
            u64::from(u16::from_be_bytes([high, low]))
        }
        _ => return Err("no L1 attributes of Jovian"),
    };
    let sizes = users.map(|transaction| {
        estimate_tx_compressed_size(transaction.encoded_bytes()) / ESTIMATE_SCALE
    });
    Ok(sizes.fold(0, |footprint: u64, size| {
        footprint.saturating_add(size.saturating_mul(scalar))
    }))
}
