//! Anything in the place of a block's RLP, served under the true block's hash: a result, the same on two threads, and VALID
//! only for the block that the chain knows. (Without that hash another PREVRANDAO, say, makes another valid block.)

#![no_main]

#[path = "recorded.rs"]
mod recorded;

use std::sync::LazyLock;

use alloy_primitives::B256;
use libfuzzer_sys::fuzz_target;
use mach_stateless::{BlockVerification, Timings, Verdict, verify_block_on_two_threads};
use recorded::RECORDED;

/// The hash that the chain knows the block by.
static TRUE_HASH: LazyLock<B256> = LazyLock::new(|| RECORDED.verify().block_hash);

fuzz_target!(|bytes: &[u8]| {
    let mut served = RECORDED.clone();
    served.block = bytes.to_vec().into();
    served.served_under = Some(*TRUE_HASH);
    let found = served.verify();
    if bytes != RECORDED.block.as_ref() {
        assert_ne!(found.verdict, Verdict::Valid);
    }
    let again = served.with_input(|input| verify_block_on_two_threads(input));
    let timeless = |found: BlockVerification| BlockVerification {
        timings: Timings::default(),
        ..found
    };
    assert_eq!(timeless(found), timeless(again));
});
