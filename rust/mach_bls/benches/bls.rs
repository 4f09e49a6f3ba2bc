//! Aggregate-then-verify against one check for each signature, and the parts that both are made of.
//!
//! Throughput counts signatures, points or messages, so the time of one is its inverse. `one_by_one` is the baseline:
//! what a library does that checks each signature on its own, decoding included. Names with `portable` run without
//! AVX-512.

#![allow(clippy::unwrap_used, missing_docs)] // A benchmark fails like a test; criterion's macros document nothing.

use std::hint::black_box;
use std::time::Instant;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mach_bls::point::{G1_BYTES, G2_BYTES, decode_g1_many};
use mach_bls::{
    PublicKeyG2, SecretKey, Signature, SignedMessage, SignerSet, SumToVerify, find_invalid,
    hash_to_g1, hash_to_g1_many, portably, sum_g1, sum_g2, verify_batch, verify_each, verify_sum,
    verify_sums,
};

const MESSAGE: [u8; 32] = [9; 32];

struct Signed {
    keys: Vec<PublicKeyG2>,
    signatures: Vec<Signature>,
    encoded: Vec<u8>,
}

fn secret(index: u64) -> SecretKey {
    let mut bytes = [0x11; 32];
    bytes[24..].copy_from_slice(&index.to_be_bytes());
    SecretKey::from_bytes(&bytes).unwrap()
}

/// `count` keys with their signatures over `MESSAGE`.
fn signed(count: u64) -> Signed {
    let pairs = (0..count).map(|index| {
        let secret = secret(index);
        (secret.public_key_g2(), secret.sign(&MESSAGE))
    });
    let (keys, signatures): (Vec<_>, Vec<Signature>) = pairs.unzip();
    let encoded = signatures.iter().flat_map(Signature::to_bytes).collect();
    Signed {
        keys,
        signatures,
        encoded,
    }
}

/// Times `work` as it is and without AVX-512.
fn both_ways<R>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, work: impl Fn() -> R) {
    group.bench_function(name, |bencher| bencher.iter(&work));
    group.bench_function(format!("{name}, portable"), |bencher| {
        bencher.iter(|| portably(&work));
    });
}

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    let all = signed(10_000);
    both_ways(&mut group, "one_by_one", || {
        let signature = Signature::from_bytes(&all.encoded[..G1_BYTES]).unwrap();
        assert!(signature.verify(&all.keys[0], &MESSAGE));
    });
    for count in [100, 1_000, 10_000] {
        let set = SignerSet::new(all.keys[..count].to_vec());
        let present: Vec<usize> = (0..count).collect();
        group.throughput(Throughput::Elements(count as u64));
        both_ways(&mut group, &format!("aggregate of {count}"), || {
            check_aggregate(&set, &present, &all.encoded[..G1_BYTES * count]);
        });
    }
    // Each iteration is one aggregate on each of two threads: the time is that of one thread where they scale.
    let set = SignerSet::new(all.keys[..1_000].to_vec());
    let present: Vec<usize> = (0..1_000).collect();
    let encoded = &all.encoded[..G1_BYTES * 1_000];
    group.throughput(Throughput::Elements(2_000));
    group.bench_function("aggregate of 1000 on each of 2 threads", |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..iterations {
                            check_aggregate(&set, &present, encoded);
                        }
                    });
                }
            });
            start.elapsed()
        });
    });
    group.finish();
}

fn check_aggregate(set: &SignerSet, present: &[usize], encoded: &[u8]) {
    let signatures = Signature::from_bytes_many(encoded).unwrap();
    assert!(
        set.verify_aggregate(present, &MESSAGE, &signatures)
            .unwrap()
    );
}

fn bisection(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find_invalid");
    group.sample_size(20);
    let Signed {
        keys, signatures, ..
    } = signed(1_000);
    let message_point = hash_to_g1(&MESSAGE);
    for bad in [0, 1, 10] {
        let mut signatures = signatures.clone();
        let expected: Vec<usize> = (0..bad).map(|index| index * 97 + 13).collect();
        for index in &expected {
            signatures[*index] = signatures[index + 1];
        }
        both_ways(&mut group, &format!("{bad} of 1000"), || {
            let found = find_invalid(&keys, &message_point, &signatures).unwrap();
            assert_eq!(found, expected);
        });
    }
    group.finish();
}

/// Checks that prove each signature.
fn weighted(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("weighted");
    group.sample_size(20);
    let all = signed(1_000);
    group.throughput(Throughput::Elements(1_000));
    both_ways(&mut group, "verify_each of 1000", || {
        assert!(verify_each(&all.keys, &MESSAGE, &all.signatures).unwrap());
    });
    group.throughput(Throughput::Elements(256));
    for keys in [1, 256] {
        let batch: Vec<SignedMessage> = (0..256)
            .map(|index| {
                let secret = secret(index % keys);
                let message = [index as u8; 32];
                SignedMessage {
                    public_key: secret.public_key_g2(),
                    message,
                    signature: secret.sign(&message),
                }
            })
            .collect();
        let name = format!("verify_batch of 256 messages by {keys} keys");
        both_ways(&mut group, &name, || assert!(verify_batch(&batch).unwrap()));
    }
    group.finish();
}

fn parts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parts");
    let all = signed(1_000);
    let g1: Vec<_> = all
        .signatures
        .iter()
        .map(|signature| *signature.as_point())
        .collect();
    let g2: Vec<_> = all.keys.iter().map(|key| *key.as_point()).collect();
    let message_point = hash_to_g1(&MESSAGE);
    both_ways(&mut group, "verify_sum", || {
        assert!(verify_sum(&g1[0], &g2[0], &message_point));
    });
    let sums: Vec<SumToVerify> = (0..8)
        .map(|i| SumToVerify {
            signature_sum: g1[i],
            key_sum: g2[i],
            message_point,
        })
        .collect();
    group.throughput(Throughput::Elements(8));
    both_ways(&mut group, "verify_sums of 8", || verify_sums(&sums));
    let keys: Vec<u8> = all.keys[..64]
        .iter()
        .flat_map(PublicKeyG2::to_bytes)
        .collect();
    group.throughput(Throughput::Elements(64));
    both_ways(&mut group, "signer set of 64", || {
        SignerSet::from_bytes(black_box(&keys[..64 * G2_BYTES]))
    });
    group.throughput(Throughput::Elements(1_000));
    both_ways(&mut group, "decode_g1_many of 1000", || {
        decode_g1_many(black_box(&all.encoded), "point")
    });
    both_ways(&mut group, "sum_g1 of 1000", || sum_g1(g1.iter().copied()));
    both_ways(&mut group, "sum_g2 of 1000", || sum_g2(g2.iter().copied()));
    let digests: Vec<[u8; 32]> = (0..=u8::MAX).map(|index| [index; 32]).collect();
    for count in [1, 64, 256] {
        group.throughput(Throughput::Elements(count as u64));
        let name = format!("hash_to_g1_many of {count}");
        both_ways(&mut group, &name, || hash_to_g1_many(&digests[..count]));
    }
    group.finish();
}

criterion_group!(benches, verify, bisection, weighted, parts);
criterion_main!(benches);
