//! AVX-512 IFMA: eight signatures at a time, chosen at run time where the processor has it.

mod columns;
mod field;
mod generator_table;
mod lanes;
mod nonce_table;
mod point;
mod powers;

use field::{FieldX8, Mask8};
use generator_table::{GeneratorTable, LOWER_DIGITS};
use lanes::LANES;
use nonce_table::{Base, NonceTable};
use point::{AffineX8, PointX8, on_curve};

use crate::Signed;
use crate::scalars::{
    EightMultipliers, GENERATOR_BITS, Multipliers, NONCE_BITS, NONCE_DIGITS, multipliers,
};

/// Digits of what multiplies the generator are this many times as long.
const STRIDE: usize = (GENERATOR_BITS / NONCE_BITS) as usize;
/// Groups of lanes whose square roots are taken side by side.
const SIDE_BY_SIDE: usize = 2;

/// Proof that the processor has the instructions that the functions of this module consist of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The proof, if the processor gives it.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma"))
            .then_some(Self(()))
    }

    /// The public key of each signature, x and then y in 32 big-endian bytes each; `None` for r or s out of range, for
    /// r that is no x of the curve, and where the key would be the point at infinity.
    pub(crate) fn recover_keys(self, signatures: &[Signed]) -> Vec<Option<[u8; 64]>> {
        // SAFETY: `self` exists only where the features that the function is marked with were detected.
        unsafe { recover_keys(signatures) }
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn recover_keys(signatures: &[Signed]) -> Vec<Option<[u8; 64]>> {
    let multipliers = multipliers(signatures);
    let mut points = Vec::with_capacity(signatures.len().div_ceil(LANES));
    // Lanes whose result counts, of each group of eight.
    let mut good = Vec::with_capacity(points.capacity());
    for (signatures, multipliers) in signatures
        .chunks(SIDE_BY_SIDE * LANES)
        .zip(multipliers.chunks(SIDE_BY_SIDE * LANES))
    {
        let mut x = [[[0; 32]; LANES]; SIDE_BY_SIDE];
        let mut odd: [Mask8; SIDE_BY_SIDE] = [0; SIDE_BY_SIDE];
        for (i, signed) in signatures.iter().enumerate() {
            x[i / LANES][i % LANES] = signed.r;
            odd[i / LANES] |= u8::from(signed.odd_y) << (i % LANES);
        }
        let x = x.map(|x| FieldX8::from_bytes(&x));
        let nonces = AffineX8::lifted(&x, &odd);
        for (multipliers, (nonce, on_curve)) in multipliers.chunks(LANES).zip(nonces) {
            points.push(combination(&EightMultipliers::new(multipliers), &nonce));
            good.push(on_curve & in_range(multipliers));
        }
    }
    let mut keys = affine(&points, &good);
    keys.truncate(signatures.len());
    keys
}

/// The lanes that have multipliers.
fn in_range(multipliers: &[Option<Multipliers>]) -> Mask8 {
    multipliers
        .iter()
        .enumerate()
        .map(|(lane, multipliers)| u8::from(multipliers.is_some()) << lane)
        .sum()
}

/// In each lane the multiple of the generator plus the multiple of the nonce point.
#[target_feature(enable = "avx512f,avx512ifma")]
fn combination(multipliers: &EightMultipliers, nonce: &AffineX8) -> PointX8 {
    let table = NonceTable::new(nonce);
    let generators = GeneratorTable::get();
    let mut sum = PointX8::infinity();
    for i in (0..NONCE_DIGITS).rev() {
        if i + 1 < NONCE_DIGITS {
            for _ in 0..NONCE_BITS {
                sum = sum.double();
            }
        }
        for (digits, base) in multipliers.nonce.iter().zip([Base::Nonce, Base::Turned]) {
            sum = sum.add(&table.pick(base, &digits.sizes[i], digits.negative[i]));
        }
        if i % STRIDE == 0 {
            let lower = i / STRIDE;
            sum = plus_generator(&sum, generators, false, multipliers, lower);
            sum = plus_generator(&sum, generators, true, multipliers, lower + LOWER_DIGITS);
        }
    }
    sum
}

/// Adds what a digit of the generator's multiplier says.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn plus_generator(
    sum: &PointX8,
    generators: &GeneratorTable,
    upper: bool,
    multipliers: &EightMultipliers,
    i: usize,
) -> PointX8 {
    let sizes = &multipliers.generator.sizes[i];
    let more = sum.add_affine(&generators.pick(upper, sizes, multipliers.generator.negative[i]));
    let mut zero = 0;
    for (lane, size) in sizes.iter().enumerate() {
        zero |= u8::from(*size == 0) << lane;
    }
    // Rare, so that the test costs less than the blends.
    if zero == 0 {
        more
    } else {
        more.replaced_in(zero, sum)
    }
}

/// The affine coordinates of the points in lanes that are good and not at infinity. All points come out side by side.
#[target_feature(enable = "avx512f,avx512ifma")]
fn affine(points: &[PointX8], good: &[Mask8]) -> Vec<Option<[u8; 64]>> {
    let mut inverses: Vec<FieldX8> = points.iter().map(|point| point.z).collect();
    let at_infinity = powers::invert_all(&mut inverses);
    let mut keys = Vec::with_capacity(points.len() * LANES);
    for (((point, inverse), good), at_infinity) in
        points.iter().zip(&inverses).zip(good).zip(at_infinity)
    {
        let point = AffineX8 {
            x: point.x.mul(inverse),
            y: point.y.mul(inverse),
        };
        // A wrong key would be worse than none. A result off the curve is the mark of a mistake in nearly any of the
        // steps above, and looking for it takes far less than a hundredth of the time.
        let [x, y] = point.coordinates();
        let good = good & !at_infinity & on_curve(&x, &y);
        let (x, y) = (x.to_bytes(), y.to_bytes());
        for lane in 0..LANES {
            let mut key = [0; 64];
            key[..32].copy_from_slice(&x[lane]);
            key[32..].copy_from_slice(&y[lane]);
            keys.push((good >> lane & 1 == 1).then_some(key));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use k256::elliptic_curve::ops::Reduce;
    use k256::elliptic_curve::sec1::ToEncodedPoint;
    use k256::{ProjectivePoint, Scalar, U256};

    /// Here the bounds of field elements are checked at every step, also in optimized builds.
    #[test]
    fn keys_are_those_that_signed() {
        let Some(avx512) = Avx512::detect() else {
            eprintln!("skipped: this processor has no AVX-512 IFMA");
            return;
        };
        let scalar = |bytes: [u8; 32]| <Scalar as Reduce<U256>>::reduce_bytes(&bytes.into());
        let encoded = |scalar: Scalar| {
            let point = (ProjectivePoint::GENERATOR * scalar).to_affine();
            let encoded = point.to_encoded_point(false);
            *encoded.as_bytes()[1..].first_chunk::<64>().unwrap()
        };
        let mut signatures = Vec::new();
        let mut keys = Vec::new();
        for number in 0..35 {
            let [key, digest, k] = [0, 1, 2].map(|i| mach_keccak::keccak256(&[number, i]));
            let (key, k) = (scalar(key), scalar(k));
            let nonce = encoded(k);
            let r = scalar(*nonce.first_chunk().unwrap());
            // SEC 1, section 4.1.3.
            let s = (scalar(digest) + r * key) * k.invert().unwrap();
            signatures.push(Signed {
                digest,
                r: r.to_bytes().into(),
                s: s.to_bytes().into(),
                odd_y: nonce[63] % 2 == 1,
            });
            keys.push(Some(encoded(key)));
        }
        assert_eq!(avx512.recover_keys(&signatures), keys);
    }
}
