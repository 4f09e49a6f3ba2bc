//! Square roots modulo p, and whether there is one. Nothing here is secret, so times may depend on values.

use ark_bn254::Fq;
use ark_ff::{Field, PrimeField};

/// Width in bits of the windows of the exponent.
const WINDOW_BITS: usize = 5;
/// Odd powers below 2^`WINDOW_BITS`, which windows multiply with.
pub(crate) const ODD_POWERS: usize = 1 << (WINDOW_BITS - 1);
/// No exponent below 2²⁵⁶ has more: windows do not overlap, and one of zeros may end the exponent.
const MOST_WINDOWS: usize = 256 / WINDOW_BITS + 2;

/// (p + 1) / 4, the power of a square that is a root of it, because p ≡ 3 (mod 4).
const EXPONENT: [u64; 4] = quarter_of_successor(Fq::MODULUS.0);
const WINDOWS_AND_COUNT: ([Window; MOST_WINDOWS], usize) = windows(EXPONENT);
/// The exponentiation with (p + 1) / 4, from the most significant bit on. The first window has nothing to square yet.
pub(crate) const EXPONENT_WINDOWS: [Window; WINDOWS_AND_COUNT.1] = {
    let mut exact = [Window::EMPTY; WINDOWS_AND_COUNT.1];
    let mut i = 0;
    while i < exact.len() {
        exact[i] = WINDOWS_AND_COUNT.0[i];
        i += 1;
    }
    exact
};

/// A step of an exponentiation: squarings, then a product with an odd power of the base.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) squarings: usize,
    /// Which odd power: i stands for 2i + 1. `None` for the zeros at the end of the exponent.
    pub(crate) odd_power: Option<usize>,
}

impl Window {
    const EMPTY: Self = Self {
        squarings: 0,
        odd_power: None,
    };
}

/// The root a^((p+1)/4) of `square`, if that is a square.
pub(crate) fn square_root(square: &Fq) -> Option<Fq> {
    // The symbol takes a quarter of the time of the power that would tell as well.
    is_square(square).then(|| power_of_quarter(square))
}

fn power_of_quarter(base: &Fq) -> Fq {
    let square = base.square();
    let mut odd_powers = [*base; ODD_POWERS];
    for i in 1..ODD_POWERS {
        odd_powers[i] = odd_powers[i - 1] * square;
    }
    let mut power = Fq::ONE;
    for (position, window) in EXPONENT_WINDOWS.iter().enumerate() {
        for _ in 0..if position > 0 { window.squarings } else { 0 } {
            power.square_in_place();
        }
        if let Some(odd_power) = window.odd_power {
            power *= odd_powers[odd_power];
        }
    }
    power
}

/// Whether `element` is zero or a square: its Legendre symbol is not -1.
pub(crate) fn is_square(element: &Fq) -> bool {
    // The Montgomery form is the element times 2²⁵⁶, a square: the symbol is the same.
    jacobi_symbol_is_not_negative(element.0.0, Fq::MODULUS.0)
}

/// Whether the Jacobi symbol (a / b) is not -1, for an odd b without a factor in common.
///
/// The binary algorithm: halve a while it is even, then subtract the smaller from the larger, both odd. Halving flips
/// the sign if b ≡ ±3 (mod 8), exchanging a and b if both ≡ 3 (mod 4). As the numbers shrink, so do the limbs they are
/// computed with.
fn jacobi_symbol_is_not_negative(mut a: [u64; 4], mut b: [u64; 4]) -> bool {
    // Bit 0 is the sign.
    let mut flips = 0;
    shrink::<4>(&mut a, &mut b, &mut flips);
    shrink::<3>(&mut a, &mut b, &mut flips);
    shrink::<2>(&mut a, &mut b, &mut flips);
    shrink::<1>(&mut a, &mut b, &mut flips);
    flips & 1 == 0
}

/// Steps of the algorithm on numbers of `N` limbs until the top limb of both is zero, or until `a` is.
fn shrink<const N: usize>(a: &mut [u64; 4], b: &mut [u64; 4], flips: &mut u64) {
    let mut x: [u64; N] = core::array::from_fn(|i| a[i]);
    let mut y: [u64; N] = core::array::from_fn(|i| b[i]);
    while x[N - 1] | y[N - 1] != 0 && x != [0; N] {
        let zeros = x[0].trailing_zeros().min(63);
        for i in 0..N {
            let above = if i + 1 < N { x[i + 1] } else { 0 };
            // In two steps, as a shift by 64 is none.
            x[i] = x[i] >> zeros | above << 1 << (63 - zeros);
        }
        *flips ^= u64::from(zeros) & (y[0] >> 1 ^ y[0] >> 2);
        if x[0] & 1 == 0 {
            continue;
        }
        let (difference, is_below) = subtract(&x, &y);
        let exchanged = u64::from(is_below).wrapping_neg();
        *flips ^= exchanged & (x[0] & y[0]) >> 1;
        // Without a branch, which would be mispredicted every other time: y becomes the smaller, x the distance.
        let mut carry = u64::from(is_below);
        for i in 0..N {
            y[i] ^= exchanged & (x[i] ^ y[i]);
            let (negated, overflow) = (difference[i] ^ exchanged).overflowing_add(carry);
            x[i] = negated;
            carry = u64::from(overflow);
        }
    }
    *a = core::array::from_fn(|i| if i < N { x[i] } else { 0 });
    *b = core::array::from_fn(|i| if i < N { y[i] } else { 0 });
}

/// x - y modulo 2^(64 N), and whether x is below y.
fn subtract<const N: usize>(x: &[u64; N], y: &[u64; N]) -> ([u64; N], bool) {
    let mut borrow = false;
    let difference = core::array::from_fn(|i| {
        let (partial, below) = x[i].overflowing_sub(y[i]);
        let (limb, below_too) = partial.overflowing_sub(u64::from(borrow));
        borrow = below | below_too;
        limb
    });
    (difference, borrow)
}

const fn quarter_of_successor(modulus: [u64; 4]) -> [u64; 4] {
    // The modulus is 3 modulo 4: (p + 1) / 4 is one above its quarter rounded down, which ends in no carry here.
    let [a, b, c, d] = modulus;
    let quarter = [a >> 2 | b << 62, b >> 2 | c << 62, c >> 2 | d << 62, d >> 2];
    [quarter[0] + 1, quarter[1], quarter[2], quarter[3]]
}

const fn bit(number: [u64; 4], index: usize) -> bool {
    number[index / 64] >> (index % 64) & 1 == 1
}

/// Sliding windows over `exponent`, from its most significant bit on, and how many they are.
const fn windows(exponent: [u64; 4]) -> ([Window; MOST_WINDOWS], usize) {
    let mut windows = [Window::EMPTY; MOST_WINDOWS];
    let mut count = 0;
    let mut zeros = 0;
    // Bits not yet looked at.
    let mut rest = 256;
    let mut is_leading = true;
    while rest > 0 {
        if !bit(exponent, rest - 1) {
            zeros += if is_leading { 0 } else { 1 };
            rest -= 1;
            continue;
        }
        is_leading = false;
        // The longest window that ends in a one.
        let mut end = rest.saturating_sub(WINDOW_BITS);
        while !bit(exponent, end) {
            end += 1;
        }
        let mut value = 0;
        let mut index = rest;
        while index > end {
            index -= 1;
            value = value << 1 | bit(exponent, index) as usize;
        }
        windows[count] = Window {
            squarings: zeros + rest - end,
            odd_power: Some(value >> 1),
        };
        count += 1;
        zeros = 0;
        rest = end;
    }
    if zeros > 0 {
        windows[count].squarings = zeros;
        count += 1;
    }
    (windows, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_ff::{LegendreSymbol, Zero};
    use proptest::prelude::*;

    fn element() -> impl Strategy<Value = Fq> {
        prop_oneof![
            4 => any::<[u8; 32]>().prop_map(|bytes| Fq::from_be_bytes_mod_order(&bytes)),
            // Short numbers, and powers of two, end loops early.
            1 => any::<u64>().prop_map(Fq::from),
            1 => (0..254_u64).prop_map(|exponent| Fq::from(2_u8).pow([exponent])),
            1 => Just(Fq::zero()),
        ]
    }

    proptest! {
        #[test]
        fn roots_are_those_of_arkworks(element in element()) {
            // arkworks computes the same power and then checks it.
            prop_assert_eq!(square_root(&element), element.sqrt());
            prop_assert_eq!(square_root(&element.square()), element.square().sqrt());
        }

        #[test]
        fn the_symbol_is_that_of_euler(element in element()) {
            prop_assert_eq!(is_square(&element), element.legendre() != LegendreSymbol::QuadraticNonResidue);
        }
    }
}
