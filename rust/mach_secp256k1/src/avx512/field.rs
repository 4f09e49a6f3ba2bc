//! Eight elements of the base field in one value, one a lane, with the 52-bit multiply-add of AVX-512 IFMA.
//!
//! The modulus is p = 2²⁵⁶ - c with c = 2³² + 977 (SEC 2, section 2.4.1), so what exceeds 2²⁵⁶ comes back times c. An
//! element is held in five limbs of 52 bits, not fully reduced: each value is below a small multiple of
//! U = 2²⁵⁶ + 2²²⁰, its bound. Sums of a few values therefore need no reduction, and a product has bound 1 again.
//! Bounds depend on the code alone, never on the data, so debug and test builds carry them along and assert them: a
//! test that runs a path once proves it for all inputs.
//!
//! Every function here needs the features it is marked with. They are safe to call from functions marked alike;
//! `crate::avx512` holds the one door from outside.

use core::arch::x86_64::*;

use super::columns::{
    Columns, FOLD, LARGEST_BOUND, LIMBS, MASK, TOP_MASK, carry, check, multiple,
    multiple_of_modulus, settled,
};
use super::lanes::{LANES, Words, load, splat, store};

/// A lane for each element; used for verdicts.
pub(super) type Mask8 = __mmask8;

/// Eight field elements, each below `bound` · U.
#[derive(Clone, Copy)]
pub(super) struct FieldX8 {
    limbs: [__m512i; LIMBS],
    #[cfg(any(test, debug_assertions))]
    bound: u32,
}

impl FieldX8 {
    /// The same small number in every lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn small(number: u32) -> Self {
        Self::constant(&[u64::from(number), 0, 0, 0])
    }

    /// The same integer below 2²⁵⁶ in every lane, least significant word first.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn constant(words: &[u64; 4]) -> Self {
        Self::from_words(&words.map(|word| splat(word)))
    }

    /// Four words a lane, least significant first.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn from_words(words: &[__m512i; 4]) -> Self {
        let [a, b, c, d] = *words;
        let mask = splat(MASK);
        let limbs = [
            _mm512_and_si512(a, mask),
            _mm512_and_si512(
                _mm512_or_si512(_mm512_srli_epi64::<52>(a), _mm512_slli_epi64::<12>(b)),
                mask,
            ),
            _mm512_and_si512(
                _mm512_or_si512(_mm512_srli_epi64::<40>(b), _mm512_slli_epi64::<24>(c)),
                mask,
            ),
            _mm512_and_si512(
                _mm512_or_si512(_mm512_srli_epi64::<28>(c), _mm512_slli_epi64::<36>(d)),
                mask,
            ),
            _mm512_srli_epi64::<16>(d),
        ];
        Self::new(limbs, 1)
    }

    /// One integer below 2²⁵⁶ a lane, in 32 big-endian bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn from_bytes(integers: &[[u8; 32]; LANES]) -> Self {
        let mut words = [Words::ZERO; 4];
        for (lane, integer) in integers.iter().enumerate() {
            let (chunks, _) = integer.as_chunks::<8>();
            for (word, chunk) in words.iter_mut().rev().zip(chunks) {
                word.0[lane] = u64::from_be_bytes(*chunk);
            }
        }
        Self::from_words(&words.map(|word| load(&word)))
    }

    /// The elements below p, in 32 big-endian bytes each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn to_bytes(self) -> [[u8; 32]; LANES] {
        let words = self.to_words().map(|word| store(word));
        core::array::from_fn(|lane| {
            let mut bytes = [0; 32];
            let (chunks, _) = bytes.as_chunks_mut::<8>();
            for (chunk, word) in chunks.iter_mut().rev().zip(&words) {
                *chunk = word.0[lane].to_be_bytes();
            }
            bytes
        })
    }

    /// The elements below p, in four words each, least significant first.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn to_words(self) -> [__m512i; 4] {
        let [a, b, c, d, e] = self.canonical().limbs;
        [
            _mm512_or_si512(a, _mm512_slli_epi64::<52>(b)),
            _mm512_or_si512(_mm512_srli_epi64::<12>(b), _mm512_slli_epi64::<40>(c)),
            _mm512_or_si512(_mm512_srli_epi64::<24>(c), _mm512_slli_epi64::<28>(d)),
            _mm512_or_si512(_mm512_srli_epi64::<36>(d), _mm512_slli_epi64::<16>(e)),
        ]
    }

    /// The limbs, least significant first.
    #[inline(always)]
    pub(super) fn limbs(&self) -> &[__m512i; LIMBS] {
        &self.limbs
    }

    /// The element of bound 1 with these limbs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn from_limbs(limbs: [__m512i; LIMBS]) -> Self {
        Self::new(limbs, 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add(&self, other: &Self) -> Self {
        let mut limbs = self.limbs;
        for (limb, other) in limbs.iter_mut().zip(&other.limbs) {
            *limb = _mm512_add_epi64(*limb, *other);
        }
        Self::new(carry(limbs), self.bound() + other.bound())
    }

    /// `self` - `FACTOR` · `other`, the bound of `other` being 1; adds `FACTOR` + 1 to the bound.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn sub<const FACTOR: u32>(&self, other: &Self) -> Self {
        check(other.bound(), 1);
        // (F + 1) · p is above F · U.
        let multiple = const { multiple_of_modulus(FACTOR + 1) };
        let mut limbs = self.limbs;
        for i in 0..LIMBS {
            limbs[i] = _mm512_add_epi64(limbs[i], splat(multiple[i]));
            for _ in 0..FACTOR {
                limbs[i] = _mm512_sub_epi64(limbs[i], other.limbs[i]);
            }
        }
        Self::new(carry(limbs), self.bound() + FACTOR + 1)
    }

    /// The negative of `self`, whose bound must be 1; has bound 2.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn neg(&self) -> Self {
        self.negated_in(!0)
    }

    /// The negative of `self`, whose bound must be 1, in the lanes of `mask`, and `self` in the others; has bound 2.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn negated_in(&self, mask: Mask8) -> Self {
        check(self.bound(), 1);
        let multiple = const { multiple_of_modulus(2) };
        let mut limbs = self.limbs;
        for (limb, multiple) in limbs.iter_mut().zip(multiple) {
            *limb = _mm512_mask_sub_epi64(*limb, mask, splat(multiple), *limb);
        }
        Self::new(carry(limbs), 2)
    }

    /// `FACTOR` · `self`, unreduced.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn times<const FACTOR: u32>(&self) -> Self {
        Self::new(
            carry(self.limbs.map(|limb| multiple::<FACTOR>(limb))),
            FACTOR * self.bound(),
        )
    }

    /// `FACTOR` · `self` + `OTHER_FACTOR` · `other` with bound 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn sum_of_multiples<const FACTOR: u32, const OTHER_FACTOR: u32>(
        &self,
        other: &Self,
    ) -> Self {
        let mut limbs = self.limbs;
        for (limb, other) in limbs.iter_mut().zip(&other.limbs) {
            *limb = _mm512_add_epi64(multiple::<FACTOR>(*limb), multiple::<OTHER_FACTOR>(*other));
        }
        Self::new(settled(limbs, _mm512_setzero_si512()), 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul(&self, other: &Self) -> Self {
        Columns::zero().plus_product(self, other).reduce()
    }

    /// 2 · `self` · `other`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_twice(&self, other: &Self) -> Self {
        Columns::zero()
            .plus_product(self, other)
            .reduce_times::<2>()
    }

    /// `self` · `factor` + `term`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_add(&self, factor: &Self, term: &Self) -> Self {
        Columns::from(term).plus_product(self, factor).reduce()
    }

    /// `self` · `factor` - a - b.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_sub(&self, factor: &Self, a: &Self, b: &Self) -> Self {
        Columns::minus(a, b).plus_product(self, factor).reduce()
    }

    /// a · b + c · d.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn two_products([a, b]: [&Self; 2], [c, d]: [&Self; 2]) -> Self {
        Columns::zero()
            .plus_product(a, b)
            .plus_product(c, d)
            .reduce()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square(&self) -> Self {
        Columns::square(self).reduce()
    }

    /// `self`² + a · b.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square_add(&self, a: &Self, b: &Self) -> Self {
        Columns::square(self).plus_product(a, b).reduce()
    }

    /// `self`² - a - b.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square_sub(&self, a: &Self, b: &Self) -> Self {
        Columns::square(self).plus(&Columns::minus(a, b)).reduce()
    }

    /// `other` in the lanes of `mask`, `self` in the others.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn replaced_in(&self, mask: Mask8, other: &Self) -> Self {
        let mut limbs = self.limbs;
        for (limb, other) in limbs.iter_mut().zip(&other.limbs) {
            *limb = _mm512_mask_blend_epi64(mask, *limb, *other);
        }
        Self::new(limbs, self.bound().max(other.bound()))
    }

    /// Which lanes are zero.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn is_zero(&self) -> Mask8 {
        let [a, b, c, d, e] = self.canonical().limbs;
        let any = _mm512_or_si512(
            _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d)),
            e,
        );
        _mm512_testn_epi64_mask(any, any)
    }

    /// Which lanes are odd, as integers below p.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn is_odd(&self) -> Mask8 {
        _mm512_test_epi64_mask(self.canonical().limbs[0], splat(1))
    }

    /// The same elements below p.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn canonical(&self) -> Self {
        let zero = _mm512_setzero_si512();
        // The first round leaves less than 2²⁵⁶ + 15 c, the second less than 2²⁵⁶.
        let below = settled(settled(self.limbs, zero), zero);
        // x + c reaches 2²⁵⁶ where x reaches p, and then x + c - 2²⁵⁶ is x - p.
        let mut raised = below;
        raised[0] = _mm512_add_epi64(raised[0], splat(FOLD));
        let mut raised = carry(raised);
        let reaches = _mm512_test_epi64_mask(raised[4], splat(!TOP_MASK));
        raised[4] = _mm512_and_si512(raised[4], splat(TOP_MASK));
        Self::new(below, 1).replaced_in(reaches, &Self::new(raised, 1))
    }

    #[inline(always)]
    fn new(limbs: [__m512i; LIMBS], bound: u32) -> Self {
        check(bound, LARGEST_BOUND);
        Self {
            limbs,
            #[cfg(any(test, debug_assertions))]
            bound,
        }
    }

    /// The bound where bounds are checked, else zero.
    #[inline(always)]
    pub(super) fn bound(&self) -> u32 {
        #[cfg(any(test, debug_assertions))]
        return self.bound;
        #[cfg(not(any(test, debug_assertions)))]
        0
    }
}

#[cfg(test)]
mod tests;
