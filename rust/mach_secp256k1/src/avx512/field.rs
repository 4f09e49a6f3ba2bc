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

use super::lanes::{LANES, Words, load, splat, store};

pub(super) const LIMBS: usize = 5;
const LIMB_BITS: u32 = 52;
const MASK: u64 = (1 << LIMB_BITS) - 1;
/// Bits of the top limb below 2²⁵⁶.
const TOP_BITS: u32 = 48;
const TOP_MASK: u64 = (1 << TOP_BITS) - 1;
/// Values stay below this many times U, so that their top limb has 52 bits.
const LARGEST_BOUND: u32 = 15;
/// A product, or sum of products, is below this many times U², and so below 2⁵²⁰.
const LARGEST_PRODUCT: u32 = 255;

/// c, which is 2²⁵⁶ modulo p.
const FOLD: u64 = (1 << 32) + 977;
/// 2²⁶⁰ modulo p.
const HIGH_FOLD: u64 = FOLD << (LIMBS as u32 * LIMB_BITS - 256);

/// A lane for each element; used for verdicts.
pub(super) type Mask8 = __mmask8;

/// Eight field elements, each below `bound` · U.
#[derive(Clone, Copy)]
pub(super) struct FieldX8 {
    limbs: [__m512i; LIMBS],
    #[cfg(any(test, debug_assertions))]
    bound: u32,
}

/// The columns of a product, or of a sum of two, before its reduction: column i counts 2^(52 i) and is below 2⁵⁷.
#[derive(Clone, Copy)]
struct Columns {
    columns: [__m512i; 2 * LIMBS],
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
        let [a, b, c, d, e] = self.canonical().limbs;
        let words = [
            _mm512_or_si512(a, _mm512_slli_epi64::<52>(b)),
            _mm512_or_si512(_mm512_srli_epi64::<12>(b), _mm512_slli_epi64::<40>(c)),
            _mm512_or_si512(_mm512_srli_epi64::<24>(c), _mm512_slli_epi64::<28>(d)),
            _mm512_or_si512(_mm512_srli_epi64::<36>(d), _mm512_slli_epi64::<16>(e)),
        ]
        .map(|word| store(word));
        core::array::from_fn(|lane| {
            let mut bytes = [0; 32];
            let (chunks, _) = bytes.as_chunks_mut::<8>();
            for (chunk, word) in chunks.iter_mut().rev().zip(&words) {
                *chunk = word.0[lane].to_be_bytes();
            }
            bytes
        })
    }

    /// The limbs of an element of bound 1, least significant first.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn limbs(&self) -> &[__m512i; LIMBS] {
        check(self.bound(), 1);
        &self.limbs
    }

    /// The element of bound 1 with limbs that [`FieldX8::limbs`] gave.
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

    /// `FACTOR` · `self` with bound 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn times_reduced<const FACTOR: u32>(&self) -> Self {
        let limbs = self.limbs.map(|limb| multiple::<FACTOR>(limb));
        Self::settled(limbs, _mm512_setzero_si512())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul(&self, other: &Self) -> Self {
        self.mul_times::<1>(other)
    }

    /// `FACTOR` · `self` · `other`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_times<const FACTOR: u32>(&self, other: &Self) -> Self {
        Columns::zero()
            .plus_product(self, other)
            .reduce_times::<FACTOR>()
    }

    /// `FACTOR` · (`self` · `factor` + `term`).
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul_add_times<const FACTOR: u32>(&self, factor: &Self, term: &Self) -> Self {
        Columns::from(term)
            .plus_product(self, factor)
            .reduce_times::<FACTOR>()
    }

    /// `FACTOR` · (a · b + c · d).
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn two_products<const FACTOR: u32>(
        [a, b]: [&Self; 2],
        [c, d]: [&Self; 2],
    ) -> Self {
        Columns::zero()
            .plus_product(a, b)
            .plus_product(c, d)
            .reduce_times::<FACTOR>()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square(&self) -> Self {
        self.square_times::<1>()
    }

    /// `FACTOR` · `self`².
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square_times<const FACTOR: u32>(&self) -> Self {
        Columns::square(self).reduce_times::<FACTOR>()
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
        let below = Self::settled(Self::settled(self.limbs, zero).limbs, zero);
        // x + c reaches 2²⁵⁶ where x reaches p, and then x + c - 2²⁵⁶ is x - p.
        let mut raised = below.limbs;
        raised[0] = _mm512_add_epi64(raised[0], splat(FOLD));
        let mut raised = carry(raised);
        let reaches = _mm512_test_epi64_mask(raised[4], splat(!TOP_MASK));
        raised[4] = _mm512_and_si512(raised[4], splat(TOP_MASK));
        below.replaced_in(reaches, &Self::new(raised, 1))
    }

    /// The value of five columns, each below 2⁶³, and one above them, below 2⁴⁷, with bound 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn settled(mut columns: [__m512i; LIMBS], above: __m512i) -> Self {
        // Below 2⁵²: what exceeds 2²⁵⁶, apart from carries that columns 0 to 3 still owe. The top limb ends with those
        // carries on its 48 bits, at most 2¹¹ of them.
        let excess = _mm512_add_epi64(
            _mm512_srli_epi64::<TOP_BITS>(columns[4]),
            _mm512_slli_epi64::<{ LIMB_BITS - TOP_BITS }>(above),
        );
        columns[4] = _mm512_and_si512(columns[4], splat(TOP_MASK));
        columns[0] = _mm512_madd52lo_epu64(columns[0], excess, splat(FOLD));
        columns[1] = _mm512_madd52hi_epu64(columns[1], excess, splat(FOLD));
        Self::new(carry(columns), 1)
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
    fn bound(&self) -> u32 {
        #[cfg(any(test, debug_assertions))]
        return self.bound;
        #[cfg(not(any(test, debug_assertions)))]
        0
    }
}

impl Columns {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn zero() -> Self {
        Self::new([_mm512_setzero_si512(); 2 * LIMBS], 0)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn from(element: &FieldX8) -> Self {
        let mut columns = [_mm512_setzero_si512(); 2 * LIMBS];
        columns[..LIMBS].copy_from_slice(&element.limbs);
        Self::new(columns, 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn square(element: &FieldX8) -> Self {
        let a = &element.limbs;
        let mut columns = [_mm512_setzero_si512(); 2 * LIMBS];
        for i in 0..LIMBS {
            for j in i + 1..LIMBS {
                columns[i + j] = _mm512_madd52lo_epu64(columns[i + j], a[i], a[j]);
                columns[i + j + 1] = _mm512_madd52hi_epu64(columns[i + j + 1], a[i], a[j]);
            }
        }
        for column in &mut columns {
            *column = _mm512_add_epi64(*column, *column);
        }
        for i in 0..LIMBS {
            columns[2 * i] = _mm512_madd52lo_epu64(columns[2 * i], a[i], a[i]);
            columns[2 * i + 1] = _mm512_madd52hi_epu64(columns[2 * i + 1], a[i], a[i]);
        }
        Self::new(columns, element.bound() * element.bound())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn plus_product(mut self, a: &FieldX8, b: &FieldX8) -> Self {
        for i in 0..LIMBS {
            for j in 0..LIMBS {
                let (low, high) = (i + j, i + j + 1);
                self.columns[low] =
                    _mm512_madd52lo_epu64(self.columns[low], a.limbs[i], b.limbs[j]);
                self.columns[high] =
                    _mm512_madd52hi_epu64(self.columns[high], a.limbs[i], b.limbs[j]);
            }
        }
        Self::new(self.columns, self.bound() + a.bound() * b.bound())
    }

    /// `FACTOR` times the value modulo p, with bound 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn reduce_times<const FACTOR: u32>(self) -> FieldX8 {
        let mut high = [self.columns[5], self.columns[6], self.columns[7], self.columns[8], self.columns[9]];
        // The multiply-adds look at 52 bits of a limb only, so what has been carried on can stay. The value is below
        // 2⁵²⁰, so nothing is left to carry from the last.
        for i in 0..LIMBS - 1 {
            high[i + 1] = _mm512_add_epi64(high[i + 1], _mm512_srli_epi64::<LIMB_BITS>(high[i]));
        }
        let zero = _mm512_setzero_si512();
        let [a, b, c, d, e, ..] = self.columns;
        let mut columns = [a, b, c, d, e, zero];
        for i in 0..LIMBS {
            columns[i] = _mm512_madd52lo_epu64(columns[i], high[i], splat(HIGH_FOLD));
            columns[i + 1] = _mm512_madd52hi_epu64(columns[i + 1], high[i], splat(HIGH_FOLD));
        }
        // Below 21 · 2⁵⁸ < 2⁶³ each, and the last below 21 · 2³⁷.
        let [a, b, c, d, e, above] = columns.map(|column| multiple::<FACTOR>(column));
        FieldX8::settled([a, b, c, d, e], above)
    }

    #[inline(always)]
    fn new(columns: [__m512i; 2 * LIMBS], bound: u32) -> Self {
        check(bound, LARGEST_PRODUCT);
        Self {
            columns,
            #[cfg(any(test, debug_assertions))]
            bound,
        }
    }

    #[inline(always)]
    fn bound(&self) -> u32 {
        #[cfg(any(test, debug_assertions))]
        return self.bound;
        #[cfg(not(any(test, debug_assertions)))]
        0
    }
}

/// Stops a debug or test build where a value could be too large.
#[inline(always)]
fn check(bound: u32, largest: u32) {
    if cfg!(any(test, debug_assertions)) {
        assert!(
            bound <= largest,
            "a value of bound {bound} where {largest} is the largest"
        );
    }
}

/// A small multiple of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn multiple<const FACTOR: u32>(value: __m512i) -> __m512i {
    const { assert!(matches!(FACTOR, 1 | 2 | 3 | 8 | 21)) };
    let double = _mm512_add_epi64(value, value);
    match FACTOR {
        1 => value,
        2 => double,
        3 => _mm512_add_epi64(double, value),
        8 => _mm512_slli_epi64::<3>(value),
        _ => {
            let five = _mm512_add_epi64(_mm512_slli_epi64::<2>(value), value);
            _mm512_add_epi64(_mm512_slli_epi64::<2>(five), value)
        }
    }
}

/// Moves what exceeds 52 bits of a limb, or is below zero, to the next; the top limb keeps all.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn carry(mut limbs: [__m512i; LIMBS]) -> [__m512i; LIMBS] {
    for i in 0..LIMBS - 1 {
        let above = _mm512_srai_epi64::<LIMB_BITS>(limbs[i]);
        limbs[i] = _mm512_and_si512(limbs[i], splat(MASK));
        limbs[i + 1] = _mm512_add_epi64(limbs[i + 1], above);
    }
    limbs
}

/// `factor` · p in limbs.
const fn multiple_of_modulus(factor: u32) -> [u64; LIMBS] {
    // factor · 2²⁵⁶ - factor · c, with a borrow from each limb but the lowest.
    let factor = factor as u64;
    [
        (1 << LIMB_BITS) - factor * FOLD,
        MASK,
        MASK,
        MASK,
        (factor << TOP_BITS) - 1,
    ]
}
