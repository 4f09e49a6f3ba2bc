//! Numbers modulo the order n of the curve: what to multiply points with, and the digits to do it by.

use k256::Scalar;
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::ops::Reduce;

use crate::Signed;
use crate::wide::{self, U256};

/// Lanes that digits are laid out for.
const LANES: usize = 8;

/// Bits of a digit of what multiplies the nonce point.
pub(crate) const NONCE_BITS: u32 = 5;
/// Digits of half of what multiplies the nonce point: enough for 128 bits and a carry.
pub(crate) const NONCE_DIGITS: usize = 26;
/// Bits of a digit of what multiplies the generator.
pub(crate) const GENERATOR_BITS: u32 = 10;
/// Digits of what multiplies the generator: enough for 256 bits and a carry.
pub(crate) const GENERATOR_DIGITS: usize = 26;

// Vectors (a₁, b₁) and (a₂, b₂) with aᵢ + bᵢ λ = 0 modulo n, short as such vectors go (Gallant, Lambert and Vanstone,
// "Faster point multiplication on elliptic curves with efficient endomorphisms", 2001); b₁ is negative and b₂ is a₁.
const A1: u128 = 0x3086_d221_a7d4_6bcd_e86c_90e4_9284_eb15;
const MINUS_B1: u128 = 0xe443_7ed6_010e_8828_6f54_7fa9_0abf_e4c3;
/// a₂ - 2¹²⁸.
const A2_LOW: u128 = 0x14ca_50f7_a8e2_f3f6_57c1_108d_9d44_cfd8;
const B2: u128 = A1;
/// 2³⁸⁴ · b₂ / n, rounded.
const B2_QUOTIENT: U256 = [
    0xe893_209a_45db_b031,
    0x3daa_8a14_71e8_ca7f,
    0xe86c_90e4_9284_eb15,
    0x3086_d221_a7d4_6bcd,
];
/// 2³⁸⁴ · -b₁ / n, rounded.
const MINUS_B1_QUOTIENT: U256 = [
    0x1571_b4ae_8ac4_7f71,
    0x2212_08ac_9df5_06c6,
    0x6f54_7fa9_0abf_e4c4,
    0xe443_7ed6_010e_8828,
];

/// What a signature's key is made of: `generator` · G + `nonce` · R.
pub(crate) struct Multipliers {
    generator: Scalar,
    nonce: Scalar,
}

/// -digest / r and s / r of each signature (SEC 1, section 4.1.6); `None` if r or s is zero or not below n.
pub(crate) fn multipliers(signatures: &[Signed]) -> Vec<Option<Multipliers>> {
    let parts: Vec<Option<[Scalar; 2]>> = signatures
        .iter()
        .map(|signed| Some([invertible(&signed.r)?, invertible(&signed.s)?]))
        .collect();
    // One inversion for all, by Montgomery's trick.
    let mut product = Scalar::ONE;
    let before: Vec<Scalar> = parts
        .iter()
        .map(|parts| {
            let before = product;
            if let Some([r, _]) = parts {
                product *= r;
            }
            before
        })
        .collect();
    let inverse: Option<Scalar> = product.invert().into();
    // A product of numbers that have an inverse has one.
    let mut inverse = inverse.unwrap_or(Scalar::ZERO);
    let mut multipliers: Vec<Option<Multipliers>> = signatures
        .iter()
        .zip(parts)
        .zip(before)
        .rev()
        .map(|((signed, parts), before)| {
            let [r, s] = parts?;
            let inverted = inverse * before;
            inverse *= r;
            let digest = <Scalar as Reduce<k256::U256>>::reduce_bytes(&signed.digest.into());
            Some(Multipliers {
                generator: -(digest * inverted),
                nonce: s * inverted,
            })
        })
        .collect();
    multipliers.reverse();
    multipliers
}

/// The number in 32 big-endian bytes, if it is below n and not zero.
fn invertible(bytes: &[u8; 32]) -> Option<Scalar> {
    let scalar: Option<Scalar> = Scalar::from_repr((*bytes).into()).into();
    scalar.filter(|scalar| *scalar != Scalar::ZERO)
}

/// Signed digits of eight numbers, least significant first.
pub(crate) struct Digits<const N: usize> {
    /// Without their signs, one a lane.
    pub(crate) sizes: [[u16; LANES]; N],
    /// In bits, the lanes where a digit is below zero.
    pub(crate) negative: [u8; N],
}

/// The digits of eight pairs of multipliers.
pub(crate) struct EightMultipliers {
    pub(crate) generator: Digits<GENERATOR_DIGITS>,
    /// What multiplies R, and what multiplies λ · R.
    pub(crate) nonce: [Digits<NONCE_DIGITS>; 2],
}

impl EightMultipliers {
    /// The digits of at most eight multipliers; those of the lanes without any are zero.
    pub(crate) fn new(multipliers: &[Option<Multipliers>]) -> Self {
        let mut all = Self {
            generator: Digits::zero(),
            nonce: [Digits::zero(), Digits::zero()],
        };
        for (lane, multipliers) in multipliers.iter().take(LANES).enumerate() {
            if let Some(Multipliers { generator, nonce }) = multipliers {
                all.generator
                    .set::<GENERATOR_BITS>(lane, words(generator), false);
                for (digits, half) in all.nonce.iter_mut().zip(halves(words(nonce))) {
                    digits.set::<NONCE_BITS>(lane, wide::from(half.size), half.negative);
                }
            }
        }
        all
    }
}

impl<const N: usize> Digits<N> {
    fn zero() -> Self {
        Self {
            sizes: [[0; LANES]; N],
            negative: [0; N],
        }
    }

    /// Digits from -2^(BITS - 1) to 2^(BITS - 1) of the number, or of its negative.
    fn set<const BITS: u32>(&mut self, lane: usize, [a, b, c, d]: U256, negated: bool) {
        // Zeros above, for digits that reach beyond.
        let words = [a, b, c, d, 0, 0];
        let mut carry = 0;
        for (i, sizes) in self.sizes.iter_mut().enumerate() {
            let (word, shift) = (i * BITS as usize / 64, i * BITS as usize % 64);
            let pair = u128::from(words[word]) | u128::from(words[word + 1]) << 64;
            let digit = ((pair >> shift) as u16 & ((1 << BITS) - 1)) + carry;
            carry = u16::from(digit >= 1 << (BITS - 1));
            sizes[lane] = if carry == 1 {
                (1 << BITS) - digit
            } else {
                digit
            };
            self.negative[i] |= u8::from(negated ^ (carry == 1)) << lane;
        }
    }
}

/// A number of at most 128 bits and its sign.
#[derive(Debug, Clone, Copy)]
struct Half {
    size: u128,
    negative: bool,
}

/// Two numbers k₁ and k₂ with k₁ + k₂ λ = k modulo n: k minus the nearest vector of the lattice that the short vectors
/// span, which is at most half of either away, (|a₁| + |a₂|) / 2 < 2¹²⁸ in the first and (|b₁| + |b₂|) / 2 < 2¹²⁸ in the
/// second coordinate.
fn halves(k: U256) -> [Half; 2] {
    let c1 = wide::rounded_product(k, B2_QUOTIENT);
    let c2 = wide::rounded_product(k, MINUS_B1_QUOTIENT);
    // All modulo 2²⁵⁶, which leaves room for the sign.
    let k1 = wide::sub(k, wide::mul(c1, A1));
    let k1 = wide::sub(k1, wide::mul(c2, A2_LOW));
    let k1 = wide::sub(k1, [0, 0, c2 as u64, (c2 >> 64) as u64]);
    let k2 = wide::sub(wide::mul(c1, MINUS_B1), wide::mul(c2, B2));
    [k1, k2].map(|number| {
        let (size, negative) = wide::size(number);
        Half { size, negative }
    })
}

/// Least significant first.
fn words(scalar: &Scalar) -> U256 {
    let bytes: [u8; 32] = scalar.to_bytes().into();
    let (chunks, _) = bytes.as_chunks::<8>();
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().rev().zip(chunks) {
        *word = u64::from_be_bytes(*chunk);
    }
    words
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The cube root of one modulo n that goes with β.
    pub(crate) fn lambda() -> Scalar {
        scalar(&[
            0xdf02_967c_1b23_bd72,
            0x122e_22ea_2081_6678,
            0xa526_1c02_8812_645a,
            0x5363_ad4c_c05c_30e0,
        ])
    }

    fn scalar(words: &U256) -> Scalar {
        words.iter().rev().fold(Scalar::ZERO, |number, word| {
            (0..64).fold(number, |number, _| number + number) + Scalar::from(*word)
        })
    }

    fn signed(size: u128, negative: bool) -> Scalar {
        let size = scalar(&wide::from(size));
        if negative { -size } else { size }
    }

    fn value<const N: usize>(digits: &Digits<N>, lane: usize, bits: u32) -> Scalar {
        (0..N).rev().fold(Scalar::ZERO, |value, i| {
            let size = digits.sizes[i][lane];
            assert!(size <= 1 << (bits - 1));
            (0..bits).fold(value, |value, _| value + value)
                + signed(size.into(), digits.negative[i] >> lane & 1 == 1)
        })
    }

    fn check(generator: Scalar, nonce: Scalar) {
        let [first, second] = halves(words(&nonce)).map(|half| signed(half.size, half.negative));
        assert_eq!(first + second * lambda(), nonce);
        let multipliers: Vec<_> = (0..3)
            .map(|lane| (lane != 1).then_some(Multipliers { generator, nonce }))
            .collect();
        let all = EightMultipliers::new(&multipliers);
        for lane in [0, 2] {
            assert_eq!(value(&all.generator, lane, GENERATOR_BITS), generator);
            let [first_digits, second_digits] = &all.nonce;
            assert_eq!(value(first_digits, lane, NONCE_BITS), first);
            assert_eq!(value(second_digits, lane, NONCE_BITS), second);
        }
        assert_eq!(value(&all.generator, 1, GENERATOR_BITS), Scalar::ZERO);
    }

    #[test]
    fn lambda_is_a_cube_root_of_one() {
        assert_eq!(lambda() * lambda() + lambda() + Scalar::ONE, Scalar::ZERO);
        // The short vectors are in the lattice.
        let a2 = scalar(&[A2_LOW as u64, (A2_LOW >> 64) as u64, 1, 0]);
        assert_eq!(signed(A1, false), signed(MINUS_B1, false) * lambda());
        assert_eq!(a2, -signed(B2, false) * lambda());
    }

    #[test]
    fn multipliers_at_the_edges_are_split_into_digits() {
        let half = Scalar::from(2_u64).invert().unwrap();
        let mut edges = vec![Scalar::ZERO, lambda(), half, half * lambda()];
        for power in 0..256 {
            let power = (0..power).fold(Scalar::ONE, |power, _| power + power);
            edges.extend([
                power,
                power - Scalar::ONE,
                power * lambda(),
                power + lambda(),
            ]);
        }
        // The corners of what is nearest to a vector of the lattice.
        for (a, b) in [(A1, MINUS_B1), (A2_LOW, B2)] {
            edges.push((signed(a, false) - signed(b, false) * lambda()) * half);
            edges.push((signed(a, false) + signed(b, false) * lambda()) * half);
        }
        for edge in edges {
            for near in [edge, edge + Scalar::ONE, edge - Scalar::ONE] {
                check(near, near);
                check(near, -near);
            }
        }
    }

    #[test]
    fn signatures_out_of_range_have_no_multipliers() {
        let order = (-Scalar::ONE).to_bytes();
        let mut bytes: [u8; 32] = order.into();
        bytes[31] += 1;
        let signed = |r, s| Signed {
            digest: [1; 32],
            r,
            s,
            odd_y: false,
        };
        let batch = [
            signed([1; 32], [2; 32]),
            signed([0; 32], [2; 32]),
            signed([1; 32], [0; 32]),
            signed(bytes, [2; 32]),
            signed([1; 32], bytes),
            signed([0xff; 32], [2; 32]),
            signed(order.into(), order.into()),
        ];
        let found: Vec<bool> = multipliers(&batch).iter().map(Option::is_some).collect();
        assert_eq!(found, [true, false, false, false, false, false, true]);
        let last = multipliers(&batch).pop().flatten().unwrap();
        assert_eq!(last.nonce, Scalar::ONE);
    }

    proptest! {
        #[test]
        fn multipliers_are_split_into_digits(generator in any::<U256>(), nonce in any::<U256>()) {
            check(scalar(&generator), scalar(&nonce));
        }
    }
}
