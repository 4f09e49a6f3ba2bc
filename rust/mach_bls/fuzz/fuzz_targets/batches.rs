//! Batches are read, hashed and summed as their elements are, with and without AVX-512.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mach_bls::point::{G1_BYTES, decode_g1, decode_g1_many, encode_g1};
use mach_bls::{Signature, SignerSet, hash_to_g1, hash_to_g1_many, portably, sum_g1};

fn check(batch: &[u8]) {
    let many = decode_g1_many(batch, "point");
    assert_eq!(portably(|| decode_g1_many(batch, "point")), many);
    let (whole, rest) = batch.as_chunks::<G1_BYTES>();
    let each: Result<Vec<_>, _> = whole.iter().map(|bytes| decode_g1(bytes, "point")).collect();
    assert_eq!(many.clone().ok(), each.ok().filter(|_| rest.is_empty()));
    let _ = Signature::from_bytes_many(batch);
    let _ = SignerSet::from_bytes(batch);
    if let Ok(points) = many {
        let sum = sum_g1(points.iter().copied());
        assert_eq!(portably(|| sum_g1(points.iter().copied())), sum);
    }
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // Real points, each the opposite, a copy, the point at infinity or a changed encoding of one of few.
    let mut batch = Vec::new();
    for [choice, place, change] in bytes.as_chunks::<3>().0 {
        let point = hash_to_g1(&[choice % 5; 32]);
        match choice / 5 % 16 {
            0 => batch.extend([0; G1_BYTES]),
            1 => batch.extend(encode_g1(&-point)),
            2 => {
                let mut changed = encode_g1(&point);
                changed[usize::from(*place) % G1_BYTES] ^= change & 1;
                batch.extend(changed);
            }
            _ => batch.extend(encode_g1(&hash_to_g1(&[*place; 32]))),
        }
    }
    check(&batch);
    let digests = bytes.as_chunks().0;
    let points: Vec<_> = digests.iter().map(hash_to_g1).collect();
    assert_eq!(hash_to_g1_many(digests), points);
});
