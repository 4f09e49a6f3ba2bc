//! Eight elements of the base field in one value, one a lane, with the 52-bit multiply-add of AVX-512 IFMA.
//!
//! An element x is held as x · 2²⁶⁰ mod p (Montgomery form) in five limbs of 52 bits, not fully reduced: each value is
//! below a small multiple of p, its bound. 2²⁶⁰ is above 84 p, so sums of many values need no reduction, and a product
//! of values with bounds A and B with A · B ≤ 84 is below 2 p. Bounds depend on the code alone, never on the data, so
//! debug and test builds carry them along and assert them: a test that runs a path once proves it for all inputs.
//!
//! Every function here needs the features it is marked with. They are safe to call from functions marked alike;
//! `crate::avx512` holds the one door from outside.

use core::arch::x86_64::*;

use ark_bn254::Fq;
use ark_ff::{BigInt, PrimeField};

/// Lanes of a value.
pub(crate) const LANES: usize = 8;

const LIMBS: usize = 5;
const LIMB_BITS: u32 = 52;
const MASK: u64 = (1 << LIMB_BITS) - 1;
/// Values stay below this many times the modulus: ⌊2²⁶⁰ / p⌋.
const LARGEST_BOUND: u32 = 84;

const MODULUS: [u64; LIMBS] = split(Fq::MODULUS.0);
/// -1/p modulo 2⁵².
const NEGATED_INVERSE: u64 = negated_inverse(MODULUS[0]);
/// 2²⁶⁰ mod p: one in Montgomery form.
const ONE: [u64; LIMBS] = power_of_two(260);
/// Enters Montgomery form when multiplied with: 2⁵²⁰ mod p.
const RADIX_SQUARED: [u64; LIMBS] = power_of_two(520);
/// Takes the Montgomery form of arkworks, x · 2²⁵⁶, to ours when multiplied with.
const FROM_ARK: [u64; LIMBS] = power_of_two(264);
/// Takes our Montgomery form to that of arkworks when multiplied with.
const TO_ARK: [u64; LIMBS] = power_of_two(256);
/// ⌊2⁵² / (p / 2²⁰⁸)⌋, rounded so that a quotient estimated with it is never too large.
const QUOTIENT_FACTOR: u64 = (1 << LIMB_BITS) / (MODULUS[4] + 1);

/// Eight field elements, each below `bound` · p.
#[derive(Clone, Copy)]
pub(super) struct FpX8 {
    limbs: [__m512i; LIMBS],
    #[cfg(any(test, debug_assertions))]
    bound: u32,
}

/// A field element in our Montgomery form, to be put into every lane.
#[derive(Clone, Copy)]
pub(super) struct Constant([u64; LIMBS]);

impl Constant {
    pub(super) fn new(element: Fq) -> Self {
        // What arkworks stores for 16 x is 16 x · 2²⁵⁶ = x · 2²⁶⁰.
        Self(split((element * Fq::from(16_u8)).0.0))
    }
}

/// The columns of a product, or of a sum of products, before its reduction.
#[derive(Clone, Copy)]
pub(super) struct ProductX8 {
    columns: [__m512i; 2 * LIMBS],
    #[cfg(any(test, debug_assertions))]
    bound: u32,
}

/// A lane for each element; used for verdicts.
pub(super) type Mask8 = __mmask8;

impl FpX8 {
    /// Zero in every lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn zero() -> Self {
        Self::new([_mm512_setzero_si512(); LIMBS], 1)
    }

    /// One in every lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn one() -> Self {
        Self::constant(&ONE)
    }

    /// The constant in every lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn splat(constant: &Constant) -> Self {
        Self::constant(&constant.0)
    }

    /// One element a lane.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn from_elements(elements: &[Fq; LANES]) -> Self {
        Self::from_words(&elements.map(|element| element.0.0)).mul(&Self::constant(&FROM_ARK))
    }

    /// One integer below 2²⁵⁶ a lane, least significant word first, reduced modulo p.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn from_integers(integers: &[[u64; 4]; LANES]) -> Self {
        Self::from_words(integers).mul(&Self::constant(&RADIX_SQUARED))
    }

    /// The elements.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn to_elements(self) -> [Fq; LANES] {
        let words = self.mul(&Self::constant(&TO_ARK)).canonical().to_words();
        words.map(|words| Fq::new_unchecked(BigInt(words)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add(&self, other: &Self) -> Self {
        let limbs = core::array::from_fn(|i| _mm512_add_epi64(self.limbs[i], other.limbs[i]));
        Self::carried(limbs, self.bound() + other.bound())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn double(&self) -> Self {
        self.add(self)
    }

    /// `self` - `other`, whose bound must be at most `B`; adds `B` to the bound.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn sub<const B: u32>(&self, other: &Self) -> Self {
        check(other.bound(), B);
        let multiple = const { multiple_of_modulus(B) };
        let limbs = core::array::from_fn(|i| {
            let raised = _mm512_add_epi64(self.limbs[i], splat(multiple[i]));
            _mm512_sub_epi64(raised, other.limbs[i])
        });
        Self::carried(limbs, self.bound() + B)
    }

    /// The negative of `self`, whose bound must be at most `B`, which is the bound of the result.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn neg<const B: u32>(&self) -> Self {
        check(self.bound(), B);
        let multiple = const { multiple_of_modulus(B) };
        let limbs = core::array::from_fn(|i| _mm512_sub_epi64(splat(multiple[i]), self.limbs[i]));
        // B · p - 0 is B · p itself, hence not below it.
        Self::carried(limbs, B + 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn mul(&self, other: &Self) -> Self {
        self.product(other).reduce()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn square(&self) -> Self {
        let a = &self.limbs;
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
        ProductX8::new(columns, self.bound() * self.bound()).reduce()
    }

    /// The product before its reduction.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn product(&self, other: &Self) -> ProductX8 {
        let zero = ProductX8::new([_mm512_setzero_si512(); 2 * LIMBS], 0);
        zero.plus_product(self, other)
    }

    /// The same element with bound 2.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduced(&self) -> Self {
        // The top limb alone gives a quotient that is too small by one at most: below 84 it has 7 bits, and what the
        // lower limbs and the rounding of the factor add is far below one.
        let zero = _mm512_setzero_si512();
        let quotient = _mm512_madd52hi_epu64(zero, self.limbs[4], splat(QUOTIENT_FACTOR));
        let mut limbs = self.limbs;
        for i in 0..LIMBS {
            let low = _mm512_madd52lo_epu64(zero, quotient, splat(MODULUS[i]));
            limbs[i] = _mm512_sub_epi64(limbs[i], low);
            if i + 1 < LIMBS {
                let high = _mm512_madd52hi_epu64(zero, quotient, splat(MODULUS[i]));
                limbs[i + 1] = _mm512_sub_epi64(limbs[i + 1], high);
            }
        }
        Self::carried(limbs, 2)
    }

    /// The inverse; zero for zero.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn inverse(&self) -> Self {
        let mut elements = self.to_elements();
        // One inversion for all lanes; leaves zeros as they are.
        ark_ff::batch_inversion(&mut elements);
        Self::from_elements(&elements)
    }

    /// Which lanes are zero.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn is_zero(&self) -> Mask8 {
        let canonical = self.canonical();
        let [a, b, c, d, e] = canonical.limbs;
        let any = _mm512_or_si512(
            _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d)),
            e,
        );
        _mm512_testn_epi64_mask(any, any)
    }

    /// The same element below p.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn canonical(&self) -> Self {
        let reduced = self.reduced();
        let limbs = core::array::from_fn(|i| _mm512_sub_epi64(reduced.limbs[i], splat(MODULUS[i])));
        let limbs = carry(limbs);
        // Negative if the element was below p.
        let below = negative_lanes(limbs[4]);
        let limbs =
            core::array::from_fn(|i| _mm512_mask_blend_epi64(below, limbs[i], reduced.limbs[i]));
        Self::new(limbs, 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn from_words(words: &[[u64; 4]; LANES]) -> Self {
        let [a, b, c, d] = core::array::from_fn(|i| {
            let column: [u64; LANES] = core::array::from_fn(|lane| words[lane][i]);
            load(&column)
        });
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
        // 2²⁵⁶ is below 6 p.
        Self::new(limbs, 6)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn to_words(self) -> [[u64; 4]; LANES] {
        let [a, b, c, d, e] = self.limbs;
        let columns = [
            _mm512_or_si512(a, _mm512_slli_epi64::<52>(b)),
            _mm512_or_si512(_mm512_srli_epi64::<12>(b), _mm512_slli_epi64::<40>(c)),
            _mm512_or_si512(_mm512_srli_epi64::<24>(c), _mm512_slli_epi64::<28>(d)),
            _mm512_or_si512(_mm512_srli_epi64::<36>(d), _mm512_slli_epi64::<16>(e)),
        ]
        .map(|column| store(column));
        core::array::from_fn(|lane| columns.map(|column| column[lane]))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn constant(limbs: &[u64; LIMBS]) -> Self {
        Self::new(limbs.map(|limb| splat(limb)), 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn carried(limbs: [__m512i; LIMBS], bound: u32) -> Self {
        Self::new(carry(limbs), bound)
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

impl ProductX8 {
    /// The sum of `self` and a · b.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn plus_product(mut self, a: &FpX8, b: &FpX8) -> Self {
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

    /// The product divided by 2²⁶⁰ modulo p, with bound 2.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn reduce(self) -> FpX8 {
        let mut columns = self.columns;
        let zero = _mm512_setzero_si512();
        for i in 0..LIMBS {
            let factor = _mm512_madd52lo_epu64(zero, columns[i], splat(NEGATED_INVERSE));
            for (j, limb) in MODULUS.into_iter().enumerate() {
                let (low, high) = (i + j, i + j + 1);
                columns[low] = _mm512_madd52lo_epu64(columns[low], factor, splat(limb));
                columns[high] = _mm512_madd52hi_epu64(columns[high], factor, splat(limb));
            }
            // The low 52 bits are zero now.
            columns[i + 1] =
                _mm512_add_epi64(columns[i + 1], _mm512_srli_epi64::<LIMB_BITS>(columns[i]));
        }
        let [.., a, b, c, d, e] = columns;
        FpX8::carried([a, b, c, d, e], 2)
    }

    /// A product is below `bound` · p² ≤ 84 p² < 2²⁶⁰ · p, so that its reduction is below 2 p.
    #[inline(always)]
    fn new(columns: [__m512i; 2 * LIMBS], bound: u32) -> Self {
        check(bound, LARGEST_BOUND);
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

/// Moves what exceeds 52 bits of a limb, or is below zero, to the next; the top limb keeps its sign.
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

/// Which lanes are negative.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn negative_lanes(value: __m512i) -> Mask8 {
    _mm512_cmplt_epi64_mask(value, _mm512_setzero_si512())
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn splat(word: u64) -> __m512i {
    _mm512_set1_epi64(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn load(words: &[u64; LANES]) -> __m512i {
    // SAFETY: the array is 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn store(value: __m512i) -> [u64; LANES] {
    let mut words = [0; LANES];
    // SAFETY: the array is 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), value) };
    words
}

/// 256 bits in limbs.
const fn split(words: [u64; 4]) -> [u64; LIMBS] {
    [
        words[0] & MASK,
        (words[0] >> 52 | words[1] << 12) & MASK,
        (words[1] >> 40 | words[2] << 24) & MASK,
        (words[2] >> 28 | words[3] << 36) & MASK,
        words[3] >> 16,
    ]
}

/// `factor` · p in limbs.
const fn multiple_of_modulus(factor: u32) -> [u64; LIMBS] {
    let mut limbs = [0; LIMBS];
    let mut carry = 0;
    let mut i = 0;
    while i < LIMBS {
        let sum = MODULUS[i] * factor as u64 + carry;
        // The top limb keeps all.
        limbs[i] = if i + 1 < LIMBS { sum & MASK } else { sum };
        carry = sum >> LIMB_BITS;
        i += 1;
    }
    limbs
}

/// 2^`exponent` modulo p in limbs, by doubling.
const fn power_of_two(exponent: u32) -> [u64; LIMBS] {
    let modulus = Fq::MODULUS.0;
    let mut value = [1_u64, 0, 0, 0];
    let mut step = 0;
    while step < exponent {
        // p has 254 bits, so the double of a reduced value has no carry.
        let mut doubled = [0; 4];
        let mut i = 0;
        while i < 4 {
            doubled[i] = value[i] << 1 | if i > 0 { value[i - 1] >> 63 } else { 0 };
            i += 1;
        }
        let mut difference = [0; 4];
        let mut borrow = false;
        let mut i = 0;
        while i < 4 {
            let (partial, below) = doubled[i].overflowing_sub(modulus[i]);
            let (limb, below_too) = partial.overflowing_sub(borrow as u64);
            difference[i] = limb;
            borrow = below || below_too;
            i += 1;
        }
        value = if borrow { doubled } else { difference };
        step += 1;
    }
    split(value)
}

/// -1/`odd` modulo 2⁵² by Newton's iteration, which doubles the right bits each time.
const fn negated_inverse(odd: u64) -> u64 {
    let mut inverse = 1_u64;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse.wrapping_neg() & MASK
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_ff::{Field, Zero};
    use proptest::prelude::*;

    fn elements() -> impl Strategy<Value = [Fq; LANES]> {
        let element = prop_oneof![
            3 => any::<[u8; 32]>().prop_map(|bytes| Fq::from_be_bytes_mod_order(&bytes)),
            1 => (-2_i8..=2).prop_map(Fq::from),
        ];
        core::array::from_fn(|_| element.clone())
    }

    fn each(a: &[Fq; LANES], of_lane: impl Fn(usize, Fq) -> Fq) -> [Fq; LANES] {
        core::array::from_fn(|lane| of_lane(lane, a[lane]))
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn equal_those_of_arkworks(a: &[Fq; LANES], b: &[Fq; LANES]) {
        let (x, y) = (FpX8::from_elements(a), FpX8::from_elements(b));
        assert_eq!(x.to_elements(), *a);
        assert_eq!(x.add(&y).to_elements(), each(a, |i, a| a + b[i]));
        assert_eq!(x.sub::<2>(&y).to_elements(), each(a, |i, a| a - b[i]));
        assert_eq!(x.sub::<21>(&y).to_elements(), each(a, |i, a| a - b[i]));
        assert_eq!(x.neg::<2>().to_elements(), each(a, |_, a| -a));
        assert_eq!(x.mul(&y).to_elements(), each(a, |i, a| a * b[i]));
        assert_eq!(x.square().to_elements(), each(a, |_, a| a.square()));
        assert_eq!(
            x.inverse().to_elements(),
            each(a, |_, a| a.inverse().unwrap_or_default())
        );
        let is_zero = (0..LANES)
            .map(|lane| u8::from(a[lane] == b[lane]) << lane)
            .sum::<u8>();
        assert_eq!(x.sub::<2>(&y).is_zero(), is_zero);
        // The largest bound: 2 · 2⁵ + 20.
        let mut large = x;
        for _ in 0..5 {
            large = large.double();
        }
        let large = large.sub::<20>(&y);
        let expected = each(a, |i, a| a * Fq::from(32_u8) - b[i]);
        assert_eq!(large.reduced().to_elements(), expected);
        assert_eq!(large.mul(&FpX8::one()).to_elements(), expected);
        let integers = a.map(|a| a.0.0);
        let expected = integers.map(|integer| Fq::from(BigInt(integer)));
        assert_eq!(FpX8::from_integers(&integers).to_elements(), expected);
        let constant = FpX8::splat(&Constant::new(a[0]));
        assert_eq!(constant.to_elements(), [a[0]; LANES]);
        assert_eq!(FpX8::zero().to_elements(), [Fq::zero(); LANES]);
    }

    proptest! {
        #[test]
        fn lanes_compute_as_arkworks_does(a in elements(), b in elements()) {
            if crate::has_avx512() {
                // SAFETY: the features were detected.
                unsafe { equal_those_of_arkworks(&a, &b) };
            }
        }
    }

    #[test]
    #[should_panic(expected = "a value of bound")]
    fn a_value_that_could_be_too_large_stops_a_test() {
        assert!(
            crate::has_avx512(),
            "a value of bound 0: nothing to test here"
        );
        // SAFETY: the features were detected.
        unsafe { double_too_often() };
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn double_too_often() {
        let mut value = FpX8::one();
        for _ in 0..7 {
            value = value.double();
        }
    }
}
