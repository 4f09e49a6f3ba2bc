//! Recovery of addresses from signatures, in batches and one by one with libsecp256k1. Throughput counts signatures.

#![allow(missing_docs)] // Criterion's macros document nothing.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mach_keccak::keccak256;
use mach_secp256k1::{Signed, recover_addresses};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, SECP256K1, SecretKey};

fn signed(number: u64) -> Option<Signed> {
    let key = SecretKey::from_slice(&keccak256(&number.to_be_bytes())).ok()?;
    let digest = keccak256(&key.secret_bytes());
    let signature = SECP256K1.sign_ecdsa_recoverable(&Message::from_digest(digest), &key);
    let (recovery_id, bytes) = signature.serialize_compact();
    Some(Signed {
        digest,
        r: *bytes.first_chunk()?,
        s: *bytes.last_chunk()?,
        odd_y: recovery_id != RecoveryId::Zero,
    })
}

fn alone(signed: &Signed) -> Option<[u8; 20]> {
    let id = RecoveryId::try_from(i32::from(signed.odd_y)).ok()?;
    let bytes = [signed.r, signed.s];
    let signature = RecoverableSignature::from_compact(bytes.as_flattened(), id).ok()?;
    let key = SECP256K1
        .recover_ecdsa(&Message::from_digest(signed.digest), &signature)
        .ok()?;
    keccak256(&key.serialize_uncompressed()[1..])
        .last_chunk()
        .copied()
}

fn recover(criterion: &mut Criterion) {
    let signatures: Vec<Signed> = (0..1_000).filter_map(signed).collect();
    let mut group = criterion.benchmark_group("recover");
    for count in [3, 8, 16, 100, 1_000] {
        let signatures = &signatures[..count];
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("batch", count), |bencher| {
            bencher.iter(|| recover_addresses(black_box(signatures)));
        });
    }
    let signatures = &signatures[..100];
    group.throughput(Throughput::Elements(100));
    group.bench_function(BenchmarkId::new("libsecp256k1", 100), |bencher| {
        bencher.iter(|| black_box(signatures).iter().map(alone).collect::<Vec<_>>());
    });
    group.finish();
}

criterion_group!(benches, recover);
criterion_main!(benches);
