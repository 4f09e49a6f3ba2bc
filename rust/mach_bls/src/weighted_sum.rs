//! Sums and multiples of points with random weights, from which errors cannot cancel out.

use ark_bn254::{Fq, g1, g2};
use ark_ec::scalar_mul::glv::GLVConfig;
use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ec::{AdditiveGroup, CurveGroup};
use ark_ff::{Field, Zero};

use crate::BlsError;
use crate::affine::{self, sum_runs};

/// Bits of each half of a weight.
const HALF_BITS: u32 = u32::BITS;
/// Below this many points, one multiple each costs less than filling buckets.
const FEWEST_IN_BUCKETS: usize = 24;

/// A weight low + high · λ, where λ is the factor of the endomorphism: 64 random bits at the price of 32.
///
/// Different halves are different scalars: λ is no quotient of short integers, the shortest vectors of its lattice
/// having 127 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    low: u32,
    high: u32,
}

impl Weight {
    /// Fresh weights from the operating system's random source.
    ///
    /// # Errors
    /// [`BlsError::NoRandomness`].
    pub(crate) fn fresh(count: usize) -> Result<Vec<Self>, BlsError> {
        let mut bytes = vec![0_u8; 8 * count];
        getrandom::fill(&mut bytes).map_err(|error| BlsError::NoRandomness {
            reason: error.to_string(),
        })?;
        let (chunks, _) = bytes.as_chunks::<8>();
        let weight = |bytes: &[u8; 8]| {
            let word = u64::from_le_bytes(*bytes);
            Self {
                low: word as u32,
                high: (word >> HALF_BITS) as u32,
            }
        };
        Ok(chunks.iter().map(weight).collect())
    }
}

/// A curve with an endomorphism that multiplies each point of the group by λ, the same λ for G1 and G2.
pub(crate) trait Endomorphism: SWCurveConfig {
    /// λ · `point`.
    fn endomorphism(point: &Affine<Self>) -> Affine<Self>;
}

impl Endomorphism for g1::Config {
    fn endomorphism(point: &Affine<Self>) -> Affine<Self> {
        let mut image = *point;
        image.x *= Self::ENDO_COEFFS[0];
        image
    }
}

impl Endomorphism for g2::Config {
    fn endomorphism(point: &Affine<Self>) -> Affine<Self> {
        // That of arkworks multiplies by a root of unity whose square is that of G1.
        let factor: Fq = Self::ENDO_COEFFS[0].c0.square();
        let mut image = *point;
        image.x.mul_assign_by_fp(&factor);
        image
    }
}

/// The sum of weight · point. There is one weight for each point.
pub(crate) fn weighted_sum<C: Endomorphism>(points: &[Affine<C>], weights: &[Weight]) -> Affine<C> {
    if points.len() < FEWEST_IN_BUCKETS {
        return affine::sum(&multiples(points, weights));
    }
    Buckets::new(points.len()).sum(points, weights)
}

/// weight · point of each point, all of them together by doubling and adding.
pub(crate) fn multiples<C: Endomorphism>(
    points: &[Affine<C>],
    weights: &[Weight],
) -> Vec<Affine<C>> {
    let images: Vec<_> = points.iter().map(C::endomorphism).collect();
    let both = affine::sum_pairs(
        &points
            .iter()
            .zip(&images)
            .map(|(point, image)| [*point, *image])
            .collect::<Vec<_>>(),
    );
    let mut multiples = vec![Affine::identity(); points.len()];
    for bit in (0..HALF_BITS).rev() {
        let doubled: Vec<_> = multiples.iter().map(|multiple| [*multiple; 2]).collect();
        let added = affine::sum_pairs(&doubled).into_iter().enumerate();
        let pairs: Vec<_> = added
            .map(|(i, doubled)| {
                let addend = match (weights[i].low >> bit & 1, weights[i].high >> bit & 1) {
                    (0, 0) => Affine::identity(),
                    (1, 0) => points[i],
                    (0, _) => images[i],
                    _ => both[i],
                };
                [doubled, addend]
            })
            .collect();
        multiples = affine::sum_pairs(&pairs);
    }
    multiples
}

/// Pippenger's algorithm: points with the same digit of their weight at the same place are summed first.
struct Buckets {
    /// Bits of a digit, which is in -2^(bits-1)..=2^(bits-1).
    digit_bits: u32,
    /// Digits of half a weight.
    places: usize,
}

impl Buckets {
    /// Digits for a sum of `count` points, each of which brings its image under the endomorphism.
    fn new(count: usize) -> Self {
        // From measurements at 30 to 10,000 points; one more or less changes little.
        let digit_bits = match count {
            0..100 => 5,
            100..500 => 6,
            500..3_000 => 8,
            _ => 10,
        };
        // One bit more than a half has, for the carry of signed digits.
        let places = (HALF_BITS + 1).div_ceil(digit_bits) as usize;
        Self { digit_bits, places }
    }

    fn buckets_a_place(&self) -> usize {
        1 << (self.digit_bits - 1)
    }

    fn sum<C: Endomorphism>(&self, points: &[Affine<C>], weights: &[Weight]) -> Affine<C> {
        let mut entries: Vec<(usize, Affine<C>)> =
            Vec::with_capacity(points.len() * 2 * self.places);
        for (point, weight) in points.iter().zip(weights) {
            self.sort_in(&mut entries, point, weight.low);
            self.sort_in(&mut entries, &C::endomorphism(point), weight.high);
        }
        let mut lengths = vec![0; self.places * self.buckets_a_place()];
        for (bucket, _) in &entries {
            lengths[*bucket] += 1;
        }
        let mut next: Vec<usize> = lengths
            .iter()
            .scan(0, |start, length| {
                Some(core::mem::replace(start, *start + length))
            })
            .collect();
        let mut sorted = vec![Affine::identity(); entries.len()];
        for (bucket, point) in entries {
            sorted[next[bucket]] = point;
            next[bucket] += 1;
        }
        self.combine(&sum_runs(sorted, lengths)).into_affine()
    }

    /// Puts `point` into the bucket of each digit of `half`, negated for negative digits.
    fn sort_in<C: SWCurveConfig>(
        &self,
        entries: &mut Vec<(usize, Affine<C>)>,
        point: &Affine<C>,
        half: u32,
    ) {
        let largest = self.buckets_a_place() as u64;
        let mut rest = u64::from(half);
        for place in 0..self.places {
            let digit = rest & (2 * largest - 1);
            rest >>= self.digit_bits;
            let bucket = |size: u64| place * self.buckets_a_place() + size as usize - 1;
            if digit > largest {
                rest += 1;
                entries.push((bucket(2 * largest - digit), -*point));
            } else if digit > 0 {
                entries.push((bucket(digit), *point));
            }
        }
    }

    /// The sum of the buckets' sums, each times its digit and its place.
    fn combine<C: SWCurveConfig>(&self, sums: &[Affine<C>]) -> Projective<C> {
        let mut total = Projective::<C>::zero();
        for buckets in sums.chunks(self.buckets_a_place()).rev() {
            for _ in 0..self.digit_bits {
                total.double_in_place();
            }
            // Each bucket is in as many suffixes as its digit says.
            let mut suffix = Projective::<C>::zero();
            for sum in buckets.iter().rev() {
                suffix += sum;
                total += &suffix;
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_bn254::{Fr, G1Affine, G2Affine};
    use ark_ec::AffineRepr;
    use proptest::prelude::*;

    fn scalar(weight: Weight) -> Fr {
        Fr::from(weight.low) + Fr::from(weight.high) * <g1::Config as GLVConfig>::LAMBDA
    }

    fn weight() -> impl Strategy<Value = Weight> {
        let half = prop_oneof![any::<u32>(), Just(0), Just(1), Just(u32::MAX)];
        (half.clone(), half).prop_map(|(low, high)| Weight { low, high })
    }

    fn agree<C: Endomorphism<ScalarField = Fr>>(terms: &[(i64, Weight)]) {
        let points: Vec<Affine<C>> = terms
            .iter()
            .map(|(scalar, _)| (C::GENERATOR * Fr::from(*scalar)).into_affine())
            .collect();
        let weights: Vec<Weight> = terms.iter().map(|(_, weight)| *weight).collect();
        let expected: Vec<Affine<C>> = points
            .iter()
            .zip(&weights)
            .map(|(point, weight)| (*point * scalar(*weight)).into_affine())
            .collect();
        assert_eq!(multiples(&points, &weights), expected);
        let total = affine::sum(&expected);
        assert_eq!(weighted_sum(&points, &weights), total);
        for digit_bits in [2, 5, 11] {
            let places = (HALF_BITS + 1).div_ceil(digit_bits) as usize;
            assert_eq!(Buckets { digit_bits, places }.sum(&points, &weights), total);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn sums_equal_those_of_scalar_products(
            // Few different points, so that equal and opposite ones meet.
            terms in proptest::collection::vec((-3..=3_i64, weight()), 0..60),
        ) {
            agree::<g1::Config>(&terms);
            agree::<g2::Config>(&terms[..terms.len().min(30)]);
        }
    }

    fn image<C: Endomorphism>(point: &Affine<C>) -> Affine<C> {
        C::endomorphism(point)
    }

    #[test]
    fn the_endomorphisms_multiply_by_the_same_factor() {
        let factor = <g1::Config as GLVConfig>::LAMBDA;
        let (g1, g2) = (G1Affine::generator(), G2Affine::generator());
        assert_eq!(image(&g1), (g1 * factor).into_affine());
        assert_eq!(image(&g2), (g2 * factor).into_affine());
    }

    #[test]
    fn fresh_weights_differ() {
        let (some, more) = (Weight::fresh(4).unwrap(), Weight::fresh(4).unwrap());
        assert!(some.iter().all(|weight| !more.contains(weight)));
    }
}
