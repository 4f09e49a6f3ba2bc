//! Real OP Sepolia blocks from bytes to verdict on one core; throughput is gas, so that 1 Gelem/s reads 1,000 Mgas/s.
//!
//! Run with `--features native` for the figures that count. The preimages are hashed within the time measured.

#![allow(clippy::unwrap_used, missing_docs)] // A benchmark fails like a test; criterion's macros document nothing.

#[allow(dead_code)] // The tests' part of it.
#[path = "../tests/stateless/fixtures.rs"]
mod fixtures;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fixtures::op_blocks;
use mach_stateless::{BlockInput, Verdict, verify_block};

fn verify_op_blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify_block");
    group.sample_size(20);
    for recorded in op_blocks() {
        let (parent_header, block) = (alloy_rlp::encode(&recorded.parent), recorded.block.encode());
        let preimages: Vec<&[u8]> = recorded.preimages.iter().map(AsRef::as_ref).collect();
        let input = BlockInput {
            chain_spec: &recorded.chain_spec,
            parent_header: &parent_header,
            block: &block,
            preimages: &preimages,
            ancestors: &[],
            served_receipts: None,
            block_hash: Some(recorded.hash),
        };
        group.throughput(Throughput::Elements(recorded.block.header.gas_used));
        group.bench_function(recorded.block.header.number.to_string(), |bencher| {
            bencher.iter(|| assert_eq!(verify_block(&input).verdict, Verdict::Valid));
        });
    }
    group.finish();
}

criterion_group!(benches, verify_op_blocks);
criterion_main!(benches);
