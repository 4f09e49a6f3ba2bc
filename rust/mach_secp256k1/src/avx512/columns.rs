//! Limbs and columns: products of field elements and their reduction, eight at a time.

use core::arch::x86_64::*;

use super::field::FieldX8;
use super::lanes::splat;

pub(super) const LIMBS: usize = 5;
pub(super) const LIMB_BITS: u32 = 52;
pub(super) const MASK: u64 = (1 << LIMB_BITS) - 1;
/// Bits of the top limb below 2²⁵⁶.
const TOP_BITS: u32 = 48;
pub(super) const TOP_MASK: u64 = (1 << TOP_BITS) - 1;
/// Values stay below this many times U, so that their top limb has 52 bits.
pub(super) const LARGEST_BOUND: u32 = 15;
/// A product, or sum of products, is below this many times U², and so below 2⁵²⁰.
const LARGEST_PRODUCT: u32 = 255;

/// 4 p, with 4 more taken from each limb but the lowest for the one below, so that each is above twice what a limb of an
/// element of bound 1 can be.
const LARGE_LIMBS: [u64; LIMBS] = {
    let mut limbs = multiple_of_modulus(4);
    let mut i = 0;
    while i + 1 < LIMBS {
        limbs[i] += 4 << LIMB_BITS;
        limbs[i + 1] -= 4;
        i += 1;
    }
    limbs
};

/// c, which is 2²⁵⁶ modulo p.
pub(super) const FOLD: u64 = (1 << 32) + 977;
/// 2²⁶⁰ modulo p.
const HIGH_FOLD: u64 = FOLD << (LIMBS as u32 * LIMB_BITS - 256);

/// The columns of a product, or of a sum of two, before its reduction: column i counts 2^(52 i) and is below 2⁵⁷.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    columns: [__m512i; 2 * LIMBS],
    #[cfg(any(test, debug_assertions))]
    bound: u32,
}

impl Columns {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn zero() -> Self {
        Self::new([_mm512_setzero_si512(); 2 * LIMBS], 0)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn from(element: &FieldX8) -> Self {
        let mut columns = [_mm512_setzero_si512(); 2 * LIMBS];
        columns[..LIMBS].copy_from_slice(element.limbs());
        Self::new(columns, 1)
    }

    /// -a - b, both with bound 1, for no column below zero: plus a multiple of p with large limbs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn minus(a: &FieldX8, b: &FieldX8) -> Self {
        check(a.bound().max(b.bound()), 1);
        let mut columns = [_mm512_setzero_si512(); 2 * LIMBS];
        for i in 0..LIMBS {
            let rest = _mm512_sub_epi64(splat(LARGE_LIMBS[i]), a.limbs()[i]);
            columns[i] = _mm512_sub_epi64(rest, b.limbs()[i]);
        }
        Self::new(columns, 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn plus(mut self, other: &Self) -> Self {
        for (column, other) in self.columns.iter_mut().zip(&other.columns) {
            *column = _mm512_add_epi64(*column, *other);
        }
        Self::new(self.columns, self.bound() + other.bound())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square(element: &FieldX8) -> Self {
        let a = element.limbs();
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
    pub(super) fn plus_product(mut self, a: &FieldX8, b: &FieldX8) -> Self {
        for i in 0..LIMBS {
            for j in 0..LIMBS {
                let (low, high) = (i + j, i + j + 1);
                self.columns[low] =
                    _mm512_madd52lo_epu64(self.columns[low], a.limbs()[i], b.limbs()[j]);
                self.columns[high] =
                    _mm512_madd52hi_epu64(self.columns[high], a.limbs()[i], b.limbs()[j]);
            }
        }
        Self::new(self.columns, self.bound() + a.bound() * b.bound())
    }

    /// The value modulo p, with bound 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce(self) -> FieldX8 {
        self.reduce_times::<1>()
    }

    /// `FACTOR` times the value modulo p, with bound 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce_times<const FACTOR: u32>(self) -> FieldX8 {
        let mut high = [
            self.columns[5],
            self.columns[6],
            self.columns[7],
            self.columns[8],
            self.columns[9],
        ];
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
        // Below 2 · 2⁵⁸ each, and the last below 2 · 2³⁷.
        let [a, b, c, d, e, above] = columns.map(|column| multiple::<FACTOR>(column));
        FieldX8::from_limbs(settled([a, b, c, d, e], above))
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

/// The value of five columns, each below 2⁶³, and one above them, below 2⁴⁷, in the limbs of an element of bound 1.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn settled(mut columns: [__m512i; LIMBS], above: __m512i) -> [__m512i; LIMBS] {
    // Below 2⁵²: what exceeds 2²⁵⁶, apart from carries that columns 0 to 3 still owe. The top limb ends with those
    // carries on its 48 bits, at most 2¹¹ of them.
    let excess = _mm512_add_epi64(
        _mm512_srli_epi64::<TOP_BITS>(columns[4]),
        _mm512_slli_epi64::<{ LIMB_BITS - TOP_BITS }>(above),
    );
    columns[4] = _mm512_and_si512(columns[4], splat(TOP_MASK));
    columns[0] = _mm512_madd52lo_epu64(columns[0], excess, splat(FOLD));
    columns[1] = _mm512_madd52hi_epu64(columns[1], excess, splat(FOLD));
    carry(columns)
}

/// Stops a debug or test build where a value could be too large.
#[inline(always)]
pub(super) fn check(bound: u32, largest: u32) {
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
pub(super) fn multiple<const FACTOR: u32>(value: __m512i) -> __m512i {
    const { assert!(matches!(FACTOR, 1 | 2 | 3 | 4 | 8)) };
    match FACTOR {
        1 => value,
        2 => _mm512_add_epi64(value, value),
        3 => _mm512_add_epi64(_mm512_add_epi64(value, value), value),
        4 => _mm512_slli_epi64::<2>(value),
        _ => _mm512_slli_epi64::<3>(value),
    }
}

/// Moves what exceeds 52 bits of a limb, or is below zero, to the next; the top limb keeps all.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn carry(mut limbs: [__m512i; LIMBS]) -> [__m512i; LIMBS] {
    for i in 0..LIMBS - 1 {
        let above = _mm512_srai_epi64::<LIMB_BITS>(limbs[i]);
        limbs[i] = _mm512_and_si512(limbs[i], splat(MASK));
        limbs[i + 1] = _mm512_add_epi64(limbs[i + 1], above);
    }
    limbs
}

/// `factor` · p in limbs.
pub(super) const fn multiple_of_modulus(factor: u32) -> [u64; LIMBS] {
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
