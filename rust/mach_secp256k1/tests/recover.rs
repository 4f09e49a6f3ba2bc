//! Addresses recovered in batches against libsecp256k1, which recovers one at a time.

#![allow(clippy::unwrap_used)]

use k256::elliptic_curve::ops::Reduce;
use k256::elliptic_curve::sec1::ToEncodedPoint;
use k256::elliptic_curve::{Field, PrimeField};
use k256::{ProjectivePoint, Scalar, U256};
use mach_keccak::keccak256;
use mach_secp256k1::{Signed, recover_addresses, recovers_eight_at_once};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, SECP256K1, SecretKey};

/// A batch of at least this many is recovered together.
const ENOUGH: usize = 64;

/// Says so where a test has nothing to look at.
fn skips() -> bool {
    let skips = !recovers_eight_at_once();
    if skips {
        eprintln!("skipped: this processor has no AVX-512 IFMA");
    }
    skips
}

/// Bytes that differ by `purpose` and `number`, the same in every run.
fn bytes(purpose: &str, number: u64) -> [u8; 32] {
    keccak256(&[purpose.as_bytes(), &number.to_be_bytes()].concat())
}

fn scalar(bytes: [u8; 32]) -> Scalar {
    <Scalar as Reduce<U256>>::reduce_bytes(&bytes.into())
}

fn lambda() -> Scalar {
    let bytes = hex("5363ad4cc05c30e0a5261c028812645a122e22ea20816678df02967c1b23bd72");
    Option::from(Scalar::from_repr(bytes.into())).unwrap()
}

fn hex(digits: &str) -> [u8; 32] {
    std::array::from_fn(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap())
}

/// The order of the curve, plus something.
fn order_plus(more: i8) -> [u8; 32] {
    let mut bytes = hex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    bytes[31] = bytes[31].wrapping_add_signed(more);
    bytes
}

fn small(number: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[31] = number;
    bytes
}

/// An honest signature; every other one has its s in the upper half.
fn honest(number: u64) -> Signed {
    let key = SecretKey::from_slice(&bytes("key", number)).unwrap();
    let digest = bytes("digest", number);
    let signature = SECP256K1.sign_ecdsa_recoverable(&Message::from_digest(digest), &key);
    let (id, compact) = signature.serialize_compact();
    let [r, s] = [0, 32].map(|at| *compact[at..].first_chunk().unwrap());
    let mut signed = Signed {
        digest,
        r,
        s,
        odd_y: id == RecoveryId::One,
    };
    if number % 2 == 1 {
        signed.s = (-scalar(s)).to_bytes().into();
        signed.odd_y = !signed.odd_y;
    }
    signed
}

/// A signature whose key is `generator` · G + `nonce` · R with R = `k` · G.
fn made_of(k: Scalar, generator: Scalar, nonce: Scalar) -> Signed {
    let point = (ProjectivePoint::GENERATOR * k)
        .to_affine()
        .to_encoded_point(false);
    let r = scalar((*point.x().unwrap()).into());
    Signed {
        digest: (-(generator * r)).to_bytes().into(),
        r: r.to_bytes().into(),
        s: (nonce * r).to_bytes().into(),
        odd_y: point.y().unwrap()[31] % 2 == 1,
    }
}

fn alone(signed: &Signed) -> Option<[u8; 20]> {
    let id = RecoveryId::try_from(i32::from(signed.odd_y)).unwrap();
    let bytes = [signed.r, signed.s];
    let signature = RecoverableSignature::from_compact(bytes.as_flattened(), id).ok()?;
    let message = Message::from_digest(signed.digest);
    let key = SECP256K1.recover_ecdsa(&message, &signature).ok()?;
    keccak256(&key.serialize_uncompressed()[1..])
        .last_chunk()
        .copied()
}

/// Compares batch and single recovery, after the batch has been made large enough.
fn compare(mut signatures: Vec<Signed>) {
    let padding = ENOUGH.saturating_sub(signatures.len());
    signatures.extend((0..padding as u64).map(honest));
    let expected: Vec<_> = signatures.iter().map(alone).collect();
    let found = recover_addresses(&signatures);
    assert_eq!(found.len(), signatures.len());
    for ((signed, found), expected) in signatures.iter().zip(&found).zip(&expected) {
        assert_eq!(found, expected, "{signed:02x?}");
    }
}

#[test]
fn honest_signatures_recover_as_alone() {
    if skips() {
        return;
    }
    let signatures: Vec<Signed> = (0..20_000).map(honest).collect();
    for odd in [false, true] {
        assert!(
            signatures
                .iter()
                .filter(|signed| signed.odd_y == odd)
                .count()
                > 9_000
        );
    }
    compare(signatures);
}

#[test]
fn random_numbers_recover_as_alone() {
    if skips() {
        return;
    }
    // About half of all r are the x of no point.
    let signatures: Vec<Signed> = (0..4_000)
        .map(|number| Signed {
            digest: bytes("any digest", number),
            r: bytes("any r", number),
            s: bytes("any s", number),
            odd_y: bytes("any parity", number)[0] % 2 == 1,
        })
        .collect();
    let some = signatures.iter().filter_map(alone).count();
    assert!((1_800..2_200).contains(&some), "{some} of 4000");
    compare(signatures);
}

#[test]
fn batches_of_every_size_tell_the_same() {
    let all: Vec<Signed> = (0..40).map(honest).collect();
    let expected: Vec<_> = all.iter().map(alone).collect();
    let mut told_from = None;
    for size in 0..=40 {
        let found = recover_addresses(&all[..size]);
        if found.iter().any(Option::is_some) {
            assert_eq!(found, expected[..size]);
            told_from.get_or_insert(size);
        } else {
            assert_eq!(found, vec![None; size]);
            assert_eq!(told_from, None, "fewer than {size} were enough");
        }
    }
    // A full vector is worth it anywhere.
    match told_from {
        Some(size) => assert!(recovers_eight_at_once() && size <= 8),
        None => assert!(!recovers_eight_at_once()),
    }
}

#[test]
fn numbers_at_the_edges_recover_as_alone() {
    if skips() {
        return;
    }
    let model = honest(0);
    let edges = [
        small(0),
        small(1),
        small(2),
        order_plus(-1),
        order_plus(0),
        order_plus(1),
        // The modulus of the field, which is 0 as an x, and the largest number there is.
        hex("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"),
        [0xff; 32],
    ];
    let mut signatures = Vec::new();
    for edge in edges {
        for odd_y in [false, true] {
            signatures.extend([
                Signed {
                    r: edge,
                    odd_y,
                    ..model
                },
                Signed {
                    s: edge,
                    odd_y,
                    ..model
                },
                Signed {
                    digest: edge,
                    odd_y,
                    ..model
                },
            ]);
            signatures.extend(edges.map(|s| Signed {
                digest: edge,
                r: small(1),
                s,
                odd_y,
            }));
        }
    }
    assert_eq!(recover_addresses(&signatures)[0], None);
    compare(signatures);
}

#[test]
fn small_and_special_multipliers_recover_as_alone() {
    if skips() {
        return;
    }
    let lambda = lambda();
    let mut special = vec![Scalar::ZERO];
    for base in [Scalar::ONE, lambda, lambda * lambda] {
        special.extend([base, -base]);
    }
    for number in [2_u64, 3, 15, 16, 17, 31, 32, 33, 511, 512, 513, 1023, 1024] {
        special.extend([Scalar::from(number), -Scalar::from(number)]);
    }
    for power in [127, 128, 129, 130, 255] {
        let power = Scalar::from(2_u64).pow_vartime([power, 0, 0, 0]);
        special.extend([power, -power, power - Scalar::ONE, power * lambda]);
    }
    let mut signatures = Vec::new();
    // R = ±G and ±λG meet the tables' own points in the sums.
    for k in [
        Scalar::ONE,
        -Scalar::ONE,
        lambda,
        -lambda,
        Scalar::from(2_u64),
        scalar(bytes("k", 0)),
    ] {
        for generator in &special {
            signatures.extend(special.iter().map(|nonce| made_of(k, *generator, *nonce)));
        }
    }
    compare(signatures);
}

#[test]
fn the_point_at_infinity_is_no_key() {
    if skips() {
        return;
    }
    let at_infinity: Vec<Signed> = (0..64)
        .map(|number| {
            let [k, nonce] = ["k", "nonce"].map(|purpose| scalar(bytes(purpose, number)));
            made_of(k, -(nonce * k), nonce)
        })
        .collect();
    assert_eq!(recover_addresses(&at_infinity), [None; 64]);
    compare(at_infinity.clone());
    // One such lane leaves the others alone.
    compare(
        at_infinity
            .into_iter()
            .zip((0..64).map(honest))
            .flat_map(<[_; 2]>::from)
            .collect(),
    );
}
