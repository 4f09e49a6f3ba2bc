//! Whether a point of the twist is in G2.

use ark_bn254::{Config, G2Affine, G2Projective};
use ark_ec::bn::BnConfig;
use ark_ec::{AdditiveGroup, AffineRepr};
use ark_ff::Zero;

use crate::avx512::{Avx512, LANES};

/// Whether `point`, which is on the twist, is in its subgroup of order r.
///
/// With t the curve's parameter (63 bits) and ψ the p-th power map, G2 is where (t + 1) + tψ + tψ² = 2tψ³: on G2, ψ is
/// the multiplication by p, for which the equation holds modulo r. No other point of the twist satisfies it: ψ² − (6t² +
/// 1)ψ + p = 0 on the whole twist, so the equation's points have orders that divide its norm, whose greatest common
/// divisor with the twist's order r · (2p − r) is r. The equation is that of El Housni, Guillevic and Piellard, "Co-factor
/// clearing and subgroup membership testing on pairing-friendly curves", eprint 2022/352.
pub(crate) fn is_in_g2(point: &G2Affine) -> bool {
    satisfies(point, &times_parameter(point))
}

/// Whether all of `points`, which are on the twist, are in its subgroup of order r.
pub(crate) fn are_in_g2(avx512: Avx512, points: &[G2Affine; LANES]) -> bool {
    let or_generator = |point: G2Affine| {
        if point.is_zero() {
            G2Affine::generator()
        } else {
            point
        }
    };
    let points = points.map(or_generator);
    let multiples = avx512.times_parameter(&points);
    points.iter().zip(&multiples).all(|(point, multiple)| {
        if multiple.is_zero() {
            is_in_g2(point)
        } else {
            satisfies(point, multiple)
        }
    })
}

/// The equation, given the multiple of `point` by t.
fn satisfies(point: &G2Affine, multiple: &G2Projective) -> bool {
    let image = psi(multiple);
    let image_of_image = psi(&image);
    let right = psi(&image_of_image).double();
    image + image_of_image + multiple + point == right
}

/// t · `point`.
fn times_parameter(point: &G2Affine) -> G2Projective {
    let mut multiple = G2Projective::from(*point);
    let parameter = Config::X[0];
    for bit in (0..u64::BITS - 1 - parameter.leading_zeros()).rev() {
        multiple.double_in_place();
        if parameter >> bit & 1 == 1 {
            multiple += point;
        }
    }
    multiple
}

/// The p-th power map of the curve, seen from the twist.
fn psi(point: &G2Projective) -> G2Projective {
    let mut image = *point;
    image.x.conjugate_in_place();
    image.y.conjugate_in_place();
    image.z.conjugate_in_place();
    image.x *= Config::TWIST_MUL_BY_Q_X;
    image.y *= Config::TWIST_MUL_BY_Q_Y;
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_bn254::{Fq, Fq2, Fr, g2};
    use ark_ec::CurveGroup;
    use ark_ff::PrimeField;
    use proptest::prelude::*;

    /// The twist's order divided by r, as words: 2p − r.
    const COFACTOR: &[u64] = <g2::Config as ark_ec::CurveConfig>::COFACTOR;
    /// Its two small prime factors.
    const SMALL_FACTORS: [u64; 2] = [10_069, 5_864_401];

    fn point_of_twist() -> impl Strategy<Value = G2Affine> {
        any::<([u8; 32], [u8; 32], bool)>().prop_filter_map("no point", |(c0, c1, greatest)| {
            let [c0, c1] = [c0, c1].map(|bytes| Fq::from_be_bytes_mod_order(&bytes));
            G2Affine::get_point_from_x_unchecked(Fq2::new(c0, c1), greatest)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_verdict_is_that_of_the_order(point in point_of_twist()) {
            let in_g2: G2Affine = point.mul_bigint(COFACTOR).into();
            let outside: G2Affine = point.mul_bigint(Fr::MODULUS).into();
            for point in [point, in_g2, outside, (in_g2 + outside).into()] {
                let expected = point.mul_bigint(Fr::MODULUS).into_affine().is_zero();
                prop_assert_eq!(is_in_g2(&point), expected);
                prop_assert_eq!(is_in_g2_among_others(point, in_g2), expected);
            }
        }

        #[test]
        fn points_of_small_order_are_not_in_the_subgroup(point in point_of_twist()) {
            let outside = point.mul_bigint(Fr::MODULUS);
            for factor in SMALL_FACTORS {
                let mut point = outside;
                // The other prime factors: the order divided by this one.
                let cofactor = divided(COFACTOR, factor);
                point = point.into_affine().mul_bigint(cofactor);
                let point = point.into_affine();
                prop_assert!(point.mul_bigint([factor]).into_affine().is_zero());
                prop_assert_eq!(is_in_g2(&point), point.is_zero());
                prop_assert_eq!(is_in_g2_among_others(point, G2Affine::identity()), point.is_zero());
            }
        }
    }

    /// The verdict with AVX-512, where there is that, in one lane while the others are in the subgroup.
    fn is_in_g2_among_others(point: G2Affine, other: G2Affine) -> bool {
        let mut points = [other; LANES];
        points[5] = point;
        Avx512::detect().map_or_else(|| is_in_g2(&point), |avx512| are_in_g2(avx512, &points))
    }

    fn divided(words: &[u64], divisor: u64) -> Vec<u64> {
        let mut quotient = vec![0; words.len()];
        let mut rest = 0_u128;
        for i in (0..words.len()).rev() {
            let value = rest << 64 | u128::from(words[i]);
            quotient[i] = (value / u128::from(divisor)) as u64;
            rest = value % u128::from(divisor);
        }
        assert_eq!(rest, 0);
        quotient
    }
}
