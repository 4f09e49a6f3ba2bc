//! OP Stack output roots.

use alloy_primitives::{B256, keccak256};

pub use op_alloy::consensus::L2_TO_L1_MESSAGE_PASSER_ADDRESS;

/// The version 0 output root: `keccak256(0^32 ‖ state_root ‖ message_passer_storage_root ‖ block_hash)`.
///
/// See "L2 Output Commitment Construction" in the OP Stack specification (protocol/proposals).
pub fn output_root(state_root: B256, message_passer_storage_root: B256, block_hash: B256) -> B256 {
    let mut payload = [0; 128];
    for (part, value) in payload.as_chunks_mut::<32>().0[1..].iter_mut().zip([
        state_root,
        message_passer_storage_root,
        block_hash,
    ]) {
        *part = value.0;
    }
    keccak256(payload)
}
