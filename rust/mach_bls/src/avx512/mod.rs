//! AVX-512 IFMA: eight field elements at a time, chosen at run time where the processor has it.

mod fp;
mod hash;
mod pairing;
mod points;
mod tower;
mod twist;

use ark_bn254::{Fq, Fq12, G1Affine, G2Affine, G2Projective};

pub(crate) use fp::LANES;
pub(crate) use hash::CANDIDATES;

/// Proof that the processor has the instructions that the functions of this module consist of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The proof, if the processor gives it.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma"))
            .then_some(Self(()))
    }

    /// e(signature, -G2) · e(point, key) in each lane.
    pub(crate) fn mismatches(
        self,
        signatures: &[G1Affine; LANES],
        points: &[G1Affine; LANES],
        keys: &[G2Affine; LANES],
    ) -> [Fq12; LANES] {
        // SAFETY: `self` exists only where the features that the function is marked with were detected.
        unsafe { pairing::mismatches(signatures, points, keys) }
    }

    /// In each lane the product of e(point, key) over all `pairs`, before the final exponentiation.
    pub(crate) fn miller(self, pairs: &[([G1Affine; LANES], [G2Affine; LANES])]) -> [Fq12; LANES] {
        // SAFETY: as above.
        unsafe { pairing::miller_values(pairs) }
    }

    /// For each x the point (x, y) where y is the power of x³ + 3 with exponent (p + 1) / 4, if y is a root of it.
    pub(crate) fn points_at(self, candidates: &[Fq; CANDIDATES]) -> [Option<G1Affine>; CANDIDATES] {
        // SAFETY: as above.
        unsafe { hash::points_at(candidates) }
    }

    /// Few points with the same sum as `points`, none of which is at infinity; `None` if sums of equal or opposite
    /// points come up.
    pub(crate) fn fold(self, points: &[[G1Affine; LANES]]) -> Option<Vec<G1Affine>> {
        // SAFETY: as above.
        unsafe { points::fold(points) }
    }

    /// Points of the twist, none at infinity, times the curve's parameter; those at infinity are to be looked at again.
    pub(crate) fn times_parameter(self, points: &[G2Affine; LANES]) -> [G2Projective; LANES] {
        // SAFETY: as above.
        unsafe { twist::times_parameter(points) }
    }

    /// Points from their coordinates, integers below the modulus, and in bits which of them are on the curve;
    /// (0, 0) is the point at infinity.
    pub(crate) fn read(
        self,
        x: &[[u64; 4]; LANES],
        y: &[[u64; 4]; LANES],
    ) -> ([G1Affine; LANES], u8) {
        // SAFETY: as above.
        unsafe { points::read(x, y) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_bn254::{Bn254, Fr};
    use ark_ec::pairing::Pairing;
    use ark_ec::{AffineRepr, CurveGroup};
    use ark_ff::PrimeField;
    use proptest::prelude::*;

    use crate::affine;
    use crate::square_root::square_root;

    fn multiple<P: AffineRepr<ScalarField = Fr>>(scalar: i64) -> P {
        (P::generator() * Fr::from(scalar)).into_affine()
    }

    /// One point a lane, some at infinity.
    fn points<P: AffineRepr<ScalarField = Fr>>() -> impl Strategy<Value = [P; LANES]> {
        let scalar = prop_oneof![Just(0), any::<i64>()];
        let scalars: [_; LANES] = core::array::from_fn(|_| scalar.clone());
        scalars.prop_map(|scalars| scalars.map(multiple))
    }

    fn numbers() -> impl Strategy<Value = [Fq; CANDIDATES]> {
        let number = any::<[u8; 32]>().prop_map(|bytes| Fq::from_be_bytes_mod_order(&bytes));
        core::array::from_fn(|_| number.clone())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn pairings_are_those_of_arkworks(
            signatures in points::<G1Affine>(),
            points in points::<G1Affine>(),
            keys in points::<G2Affine>(),
        ) {
            let Some(avx512) = Avx512::detect() else { return Ok(()) };
            let mismatches = avx512.mismatches(&signatures, &points, &keys);
            for lane in 0..LANES {
                let expected = Bn254::multi_pairing(
                    [signatures[lane], points[lane]],
                    [-G2Affine::generator(), keys[lane]],
                );
                prop_assert_eq!(mismatches[lane], expected.0, "lane {}", lane);
            }
        }

        #[test]
        fn points_are_found_where_there_are_some(mut numbers in numbers()) {
            let Some(avx512) = Avx512::detect() else { return Ok(()) };
            numbers[3] = Fq::from(0_u8);
            numbers[9] = Fq::from(1_u8);
            for (x, found) in numbers.iter().zip(avx512.points_at(&numbers)) {
                let y = square_root(&(*x * x * x + Fq::from(3_u8)));
                prop_assert_eq!(found, y.map(|y| G1Affine::new_unchecked(*x, y)));
            }
        }

        #[test]
        fn folding_keeps_the_sum(
            scalars in proptest::collection::vec(prop_oneof![-5_i64..0, 1..5_i64, 1..i64::MAX], 0..400),
        ) {
            let Some(avx512) = Avx512::detect() else { return Ok(()) };
            let points: Vec<G1Affine> = scalars.into_iter().map(multiple).collect();
            let (eights, _) = points.as_chunks::<LANES>();
            // With so few different points, equal and opposite ones meet now and then.
            if let Some(folded) = avx512.fold(eights) {
                prop_assert!(folded.len() <= points.len());
                prop_assert_eq!(affine::sum(&folded), affine::sum(eights.as_flattened()));
            }
        }

        #[test]
        fn points_are_told_from_other_coordinates(points in points::<G1Affine>(), bad in 0..LANES) {
            let Some(avx512) = Avx512::detect() else { return Ok(()) };
            let x = points.map(|point| point.x.into_bigint().0);
            let mut y = points.map(|point| point.y.into_bigint().0);
            prop_assert_eq!(avx512.read(&x, &y), (points, u8::MAX));
            // Also of the point at infinity: (0, 1) is not on the curve, nor is (x, y + 1).
            y[bad][0] ^= 1;
            prop_assert_eq!(avx512.read(&x, &y).1, !(1 << bad));
        }
    }

    #[test]
    fn folding_stops_where_points_cancel_out_or_are_equal() {
        let Some(avx512) = Avx512::detect() else {
            return;
        };
        let eight: [G1Affine; LANES] = core::array::from_fn(|lane| multiple(lane as i64 + 1));
        let other: [G1Affine; LANES] = core::array::from_fn(|lane| multiple(100 + lane as i64));
        let mut equal_in_one = other;
        equal_in_one[5] = eight[5];
        let opposite = eight.map(|point| -point);
        assert_eq!(avx512.fold(&[eight, other, equal_in_one, other]), None);
        assert_eq!(avx512.fold(&[eight, eight, opposite, other]), None);
    }
}
