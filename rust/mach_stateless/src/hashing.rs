//! Keccak-256 of many messages: eight at a time where the processor can and the `native` feature allows it.

use alloc::vec::Vec;
use alloy_primitives::{B256, keccak256};

/// Keccak-256 of each of `messages`, in their order.
pub(crate) fn keccak256_many(messages: &[&[u8]]) -> Vec<B256> {
    #[cfg(feature = "native")]
    if mach_keccak::hashes_eight_at_once() {
        return mach_keccak::keccak256_many(messages)
            .into_iter()
            .map(B256::from)
            .collect();
    }
    messages.iter().map(keccak256).collect()
}
