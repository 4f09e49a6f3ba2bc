//! Field operations against integers of any size.

use num_bigint::BigUint;
use proptest::prelude::*;

use super::*;
use crate::avx512::Avx512;
use crate::avx512::powers::{invert_all, square_roots};

/// The limbs of an element in each lane.
type Limbs = [[u64; LIMBS]; LANES];

fn modulus() -> BigUint {
    (BigUint::from(1_u8) << 256) - FOLD
}

fn number(limbs: &[u64; LIMBS]) -> BigUint {
    limbs
        .iter()
        .rev()
        .fold(BigUint::ZERO, |number, limb| (number << 52) + *limb)
}

/// The largest top limb of a value with that bound.
fn largest_top(bound: u32) -> u64 {
    u64::from(bound) * ((1 << 48) + (1 << 12)) - 1
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn element(limbs: &Limbs, bound: u32) -> FieldX8 {
    let limbs = core::array::from_fn(|i| {
        let largest = if i + 1 < LIMBS {
            MASK
        } else {
            largest_top(bound)
        };
        load(&Words(limbs.map(|limbs| limbs[i].min(largest))))
    });
    FieldX8::new(limbs, bound)
}

/// The integers held, which limbs of at most 52 bits and the bound must allow.
#[target_feature(enable = "avx512f,avx512ifma")]
fn integers(element: &FieldX8) -> [BigUint; LANES] {
    let columns = element.limbs.map(|limb| store(limb));
    core::array::from_fn(|lane| {
        let limbs = columns.map(|column| column.0[lane]);
        assert!(limbs[..LIMBS - 1].iter().all(|limb| *limb <= MASK));
        assert!(limbs[LIMBS - 1] <= largest_top(element.bound));
        number(&limbs)
    })
}

/// Each lane of `found` is, modulo p, what `expected` makes of the integers in that lane of `inputs`.
#[target_feature(enable = "avx512f,avx512ifma")]
fn compare<const N: usize>(
    name: &str,
    found: &FieldX8,
    inputs: [&FieldX8; N],
    expected: impl Fn([BigUint; N]) -> BigUint,
) {
    let inputs = inputs.map(|input| integers(input));
    for (lane, found) in integers(found).into_iter().enumerate() {
        let expected = expected(inputs.each_ref().map(|input| input[lane].clone()));
        assert_eq!(
            found % modulus(),
            expected % modulus(),
            "{name}, lane {lane}"
        );
    }
}

/// Every operation, with the largest bounds that it takes.
#[target_feature(enable = "avx512f,avx512ifma")]
fn compare_operations([a, b, c, d]: &[Limbs; 4], mask: Mask8) {
    // Far above what is subtracted from it.
    let large = modulus() << 16;
    let [a1, b1, c1] = [a, b, c].map(|limbs| element(limbs, 1));
    let [a7, b7] = [a, b].map(|limbs| element(limbs, 7));
    let [a11, b11, c11, d11] = [a, b, c, d].map(|limbs| element(limbs, 11));
    let [a15, b15, c15] = [a, b, c].map(|limbs| element(limbs, 15));

    compare("add", &a7.add(&b7), [&a7, &b7], |[a, b]| a + b);
    compare("sub", &a11.sub::<1>(&b1), [&a11, &b1], |[a, b]| {
        a + &large - b
    });
    compare("sub 3", &a11.sub::<3>(&b1), [&a11, &b1], |[a, b]| {
        a + &large - b * 3_u8
    });
    compare("neg", &a1.neg(), [&a1], |[a]| &large - a);
    compare("twice", &a7.times::<2>(), [&a7], |[a]| a * 2_u8);
    compare("thrice", &a1.times::<3>(), [&a1], |[a]| a * 3_u8);
    compare("four times", &a1.times::<4>(), [&a1], |[a]| a * 4_u8);
    compare("eight times", &a1.times::<8>(), [&a1], |[a]| a * 8_u8);
    let sum = a15.sum_of_multiples::<8, 4>(&b15);
    compare("sum of multiples", &sum, [&a15, &b15], |[a, b]| {
        a * 8_u8 + b * 4_u8
    });
    compare("mul", &a15.mul(&b15), [&a15, &b15], |[a, b]| a * b);
    compare("mul twice", &a15.mul_twice(&b15), [&a15, &b15], |[a, b]| {
        a * b * 2_u8
    });
    compare("square", &a15.square(), [&a15], |[a]| &a * &a);
    let sum = a15.mul_add(&b15, &c15);
    compare("mul add", &sum, [&a15, &b15, &c15], |[a, b, c]| a * b + c);
    let difference = a15.mul_sub(&b15, &b1, &c1);
    let inputs = [&a15, &b15, &b1, &c1];
    compare("mul sub", &difference, inputs, |[a, b, c, d]| {
        a * b + &large - c - d
    });
    let difference = a15.square_sub(&b1, &c1);
    compare("square sub", &difference, [&a15, &b1, &c1], |[a, b, c]| {
        &a * &a + &large - b - c
    });
    let inputs = [&a11, &b11, &c11, &d11];
    let sum = FieldX8::two_products([&a11, &b11], [&c11, &d11]);
    compare("two products", &sum, inputs, |[a, b, c, d]| a * b + c * d);
    let sum = a11.square_add(&b11, &c11);
    compare("square add", &sum, [&a11, &b11, &c11], |[a, b, c]| {
        &a * &a + b * c
    });
    let [negated, blended] = [a1.negated_in(mask), a1.replaced_in(mask, &b1)];
    for lane in 0..LANES {
        let [a, b, negated, blended] =
            [&a1, &b1, &negated, &blended].map(|element| integers(element)[lane].clone());
        if mask >> lane & 1 == 1 {
            assert_eq!((negated + a) % modulus(), BigUint::ZERO);
            assert_eq!(blended, b);
        } else {
            assert_eq!([&negated, &blended], [&a, &a]);
        }
    }
    compare_canonical(&a15);
    compare_powers(&a1, &b15);
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn compare_canonical(element: &FieldX8) {
    let bytes = element.to_bytes();
    let [zero, odd] = [element.is_zero(), element.is_odd()];
    for (lane, integer) in integers(element).into_iter().enumerate() {
        let expected = integer % modulus();
        assert_eq!(BigUint::from_bytes_be(&bytes[lane]), expected);
        assert_eq!(zero >> lane & 1 == 1, expected == BigUint::ZERO);
        assert_eq!(odd >> lane & 1 == 1, expected.bit(0));
    }
    let again = FieldX8::from_bytes(&bytes);
    compare("from bytes", &again, [element], |[integer]| integer);
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn compare_powers(a: &FieldX8, b: &FieldX8) {
    let quarter = (modulus() + 1_u8) >> 2;
    for (root, element) in square_roots(&[*a, *b]).iter().zip([a, b]) {
        compare("square root", root, [element], |[integer]| {
            integer.modpow(&quarter, &modulus())
        });
    }
    let mut inverses = [*a, *b, *a];
    let zeros = invert_all(&mut inverses);
    for ((inverse, element), zeros) in inverses.iter().zip([a, b, a]).zip(zeros) {
        assert_eq!(zeros, element.is_zero());
        compare("inverse", inverse, [element], |[integer]| {
            let inverse = integer.modpow(&(modulus() - 2_u8), &modulus());
            // What is said of zeros.
            if inverse == BigUint::ZERO {
                BigUint::from(1_u8)
            } else {
                inverse
            }
        });
    }
}

fn compare_all(elements: &[Limbs; 4], mask: Mask8) {
    if Avx512::detect().is_none() {
        eprintln!("skipped: this processor has no AVX-512 IFMA");
        return;
    }
    // SAFETY: the features that the function is marked with were detected.
    unsafe { compare_operations(elements, mask) };
}

/// 0, 1, p - 1, p, p + 1, 2²⁵⁶ - 1, 2 p, and the largest limbs there are.
fn extremes() -> Limbs {
    let mut extremes = [[0; LIMBS]; LANES];
    extremes[1][0] = 1;
    for (i, more) in [-1, 0, 1].into_iter().enumerate() {
        extremes[2 + i] = multiple_of_modulus(1);
        extremes[2 + i][0] = extremes[2 + i][0].wrapping_add_signed(more);
    }
    extremes[5] = [MASK, MASK, MASK, MASK, TOP_MASK];
    extremes[6] = multiple_of_modulus(2);
    extremes[7] = [u64::MAX; LIMBS];
    extremes
}

#[test]
fn extreme_elements_are_computed_with_as_integers() {
    let extremes = extremes();
    let turned = |by: usize| core::array::from_fn(|lane| extremes[(lane + by) % LANES]);
    // Every extreme meets every other.
    for by in 0..LANES {
        compare_all(
            &[extremes, turned(by), turned(2 * by + 1), turned(5 * by)],
            0b1010_0110,
        );
    }
}

fn any_limb() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(MASK),
        Just(u64::MAX),
        0..=MASK,
        0..=TOP_MASK
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn elements_are_computed_with_as_integers(
        limbs in proptest::collection::vec(any_limb(), 4 * LANES * LIMBS),
        mask in any::<u8>(),
    ) {
        let element = |i: usize| {
            core::array::from_fn(|lane| core::array::from_fn(|j| limbs[(i * LANES + lane) * LIMBS + j]))
        };
        compare_all(&core::array::from_fn(element), mask);
    }
}
