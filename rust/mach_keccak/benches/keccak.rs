//! Keccak-256 of many messages, eight at a time and one by one. Throughput counts messages.

#![allow(missing_docs)] // Criterion's macros document nothing.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mach_keccak::{keccak256_many, portably};

fn keccak(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keccak256");
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(1_024 * 532).collect();
    for length in [32, 136, 532] {
        let messages: Vec<&[u8]> = bytes.chunks_exact(length).take(1_024).collect();
        group.throughput(Throughput::Elements(messages.len() as u64));
        group.bench_function(BenchmarkId::new("many", length), |bencher| {
            bencher.iter(|| keccak256_many(black_box(&messages)));
        });
        group.bench_function(BenchmarkId::new("portable", length), |bencher| {
            bencher.iter(|| portably(|| keccak256_many(black_box(&messages))));
        });
    }
    group.finish();
}

criterion_group!(benches, keccak);
criterion_main!(benches);
