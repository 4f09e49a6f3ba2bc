//! Square roots and inverses: long powers, whose exponents begin alike.

use super::field::{FieldX8, Mask8};

/// The power with exponent (p + 1) / 4 of each element, for several side by side since each step waits for the one
/// before: a square root where the element is a square.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn square_roots<const N: usize>(elements: &[FieldX8; N]) -> [FieldX8; N] {
    // (p + 1) / 4 in bits: 223 ones, 0, 22 ones, 0000, 11, 00.
    let Start { two, most } = start(elements);
    let power = times(&squared(most, 6), &two);
    squared(power, 2)
}

/// The inverse of each element by Fermat's little theorem; zero for zero.
#[target_feature(enable = "avx512f,avx512ifma")]
fn inverse(element: &FieldX8) -> FieldX8 {
    // p - 2 in bits: 223 ones, 0, 22 ones, 0000, 1, 0, 11, 0, 1.
    let element = [*element];
    let Start { two, most } = start(&element);
    let power = times(&squared(most, 5), &element);
    let power = times(&squared(power, 3), &two);
    let [power] = times(&squared(power, 2), &element);
    power
}

/// Replaces each element by its inverse, by Montgomery's trick: one inversion for all. Zeros become ones; gives the
/// lanes where they were.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn invert_all(elements: &mut [FieldX8]) -> Vec<Mask8> {
    let one = FieldX8::small(1);
    let mut zeros = Vec::with_capacity(elements.len());
    // The product of the elements before each.
    let mut before = Vec::with_capacity(elements.len());
    let mut product = one;
    for element in elements.iter_mut() {
        let zero = element.is_zero();
        *element = element.replaced_in(zero, &one);
        zeros.push(zero);
        before.push(product);
        product = product.mul(element);
    }
    let mut inverse = inverse(&product);
    for (element, before) in elements.iter_mut().zip(&before).rev() {
        let inverted = inverse.mul(before);
        inverse = inverse.mul(element);
        *element = inverted;
    }
    zeros
}

struct Start<const N: usize> {
    /// With exponent of 2 ones in bits.
    two: [FieldX8; N],
    /// With exponent of 223 ones, a zero and 22 ones in bits.
    most: [FieldX8; N],
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn start<const N: usize>(elements: &[FieldX8; N]) -> Start<N> {
    // Numbers name powers by how many ones the exponent has in bits.
    let two = times(&squared(*elements, 1), elements);
    let three = times(&squared(two, 1), elements);
    let six = times(&squared(three, 3), &three);
    let nine = times(&squared(six, 3), &three);
    let eleven = times(&squared(nine, 2), &two);
    let twenty_two = times(&squared(eleven, 11), &eleven);
    let forty_four = times(&squared(twenty_two, 22), &twenty_two);
    let eighty_eight = times(&squared(forty_four, 44), &forty_four);
    let ones = times(&squared(eighty_eight, 88), &eighty_eight);
    let ones = times(&squared(ones, 44), &forty_four);
    let ones = times(&squared(ones, 3), &three);
    let most = times(&squared(ones, 23), &twenty_two);
    Start { two, most }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn squared<const N: usize>(mut elements: [FieldX8; N], times: u32) -> [FieldX8; N] {
    for _ in 0..times {
        for element in &mut elements {
            *element = element.square();
        }
    }
    elements
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn times<const N: usize>(a: &[FieldX8; N], b: &[FieldX8; N]) -> [FieldX8; N] {
    core::array::from_fn(|i| a[i].mul(&b[i]))
}
