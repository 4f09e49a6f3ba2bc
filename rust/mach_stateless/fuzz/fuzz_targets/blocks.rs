//! Anything in the place of a block's RLP: a result, and VALID only for the block that the chain knows.

#![no_main]

#[path = "recorded.rs"]
mod recorded;

use libfuzzer_sys::fuzz_target;
use mach_stateless::{BlockVerification, Timings, Verdict, verify_block_on_two_threads};
use recorded::RECORDED;

fuzz_target!(|bytes: &[u8]| {
    let mut served = RECORDED.clone();
    served.block = bytes.to_vec().into();
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
