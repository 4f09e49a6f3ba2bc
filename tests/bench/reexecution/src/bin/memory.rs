//! Memory that verifying each real block takes at its peak, beyond its inputs, as a multiple of its witness.

#![allow(clippy::unwrap_used)] // A benchmark fails like a test.

#[allow(dead_code)] // The tests' part of it.
#[path = "../../../../../rust/mach_stateless/tests/stateless/fixtures.rs"]
mod fixtures;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use mach_stateless::{BlockInput, Verdict, verify_block, verify_block_on_two_threads};

#[global_allocator]
static COUNTING: Counting = Counting;

/// The system's allocator, with a count of bytes in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it stands.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(in_use, Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(at, layout) }
    }
}

fn main() {
    println!(
        "{:>10} {:>12} {:>14} {:>14} {:>8} {:>8}",
        "block", "witness KiB", "1 thread KiB", "2 threads KiB", "x", "x"
    );
    for recorded in fixtures::op_blocks() {
        let (parent_header, block) = (alloy_rlp::encode(&recorded.parent), recorded.block.encode());
        let preimages: Vec<&[u8]> = recorded.preimages.iter().map(AsRef::as_ref).collect();
        let witness: usize = preimages.iter().map(|preimage| preimage.len()).sum();
        let input = BlockInput {
            chain_spec: &recorded.chain_spec,
            parent_header: &parent_header,
            block: &block,
            preimages: &preimages,
            ancestors: &[],
            served_receipts: None,
            block_hash: Some(recorded.hash),
        };
        let [one, two] = [verify_block, verify_block_on_two_threads].map(|verify| {
            let before = IN_USE.load(Relaxed);
            PEAK.store(before, Relaxed);
            assert_eq!(verify(&input).verdict, Verdict::Valid);
            PEAK.load(Relaxed) - before
        });
        let ratio = |bytes: usize| bytes as f64 / witness as f64;
        println!(
            "{:>10} {:>12} {:>14} {:>14} {:>8.2} {:>8.2}",
            recorded.block.header.number,
            witness / 1024,
            one / 1024,
            two / 1024,
            ratio(one),
            ratio(two)
        );
    }
}
