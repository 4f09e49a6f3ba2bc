//! Sums of many affine points, with one field inversion shared by each round of additions.
//!
//! Adding two affine points costs a division, a batch of them one inversion and three multiplications each
//! (Montgomery's trick): less than half of adding to a projective total. Equal, opposite and identity points, for
//! which the slope of the chord does not exist, are added as they should.

use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ec::{AffineRepr, CurveGroup};
use ark_ff::{AdditiveGroup, Field, Zero};

/// Below this many additions an inversion costs more than it spares.
const FEWEST_SHARING_AN_INVERSION: usize = 12;

/// The sum of `points`; no points sum to the identity. The curve has a = 0.
pub(crate) fn sum<C: SWCurveConfig>(points: &[Affine<C>]) -> Affine<C> {
    let mut round = Round::default();
    let mut sums: Vec<Affine<C>> = Vec::new();
    let mut rest = points;
    let mut next = Vec::new();
    while rest.len() / 2 >= FEWEST_SHARING_AN_INVERSION {
        next.clear();
        round.halve(rest, &mut next);
        core::mem::swap(&mut sums, &mut next);
        rest = &sums;
    }
    let mut total = Projective::<C>::zero();
    for point in rest {
        total += point;
    }
    total.into_affine()
}

/// The binary tree of the partial sums of a list of points: level 0 is the list, the last level its sum.
///
/// Node i of a level is the sum of nodes 2i and 2i + 1 of the level below; a last node without a sibling is carried up
/// as it is.
#[derive(Debug, Clone)]
pub(crate) struct SumTree<C: SWCurveConfig> {
    levels: Vec<Vec<Affine<C>>>,
}

impl<C: SWCurveConfig> SumTree<C> {
    /// The tree over `leaves`, of which there must be one at least for it to have a root.
    pub(crate) fn new(leaves: Vec<Affine<C>>) -> Self {
        let mut round = Round::default();
        let mut levels = vec![leaves];
        while let Some(level) = levels.last()
            && level.len() > 1
        {
            let mut next = Vec::with_capacity(level.len().div_ceil(2));
            round.halve(level, &mut next);
            levels.push(next);
        }
        Self { levels }
    }

    /// Levels from the leaves up.
    pub(crate) fn levels(&self) -> &[Vec<Affine<C>>] {
        &self.levels
    }
}

/// The sum of each pair.
pub(crate) fn sum_pairs<C: SWCurveConfig>(pairs: &[[Affine<C>; 2]]) -> Vec<Affine<C>> {
    let mut sums = Vec::with_capacity(pairs.len());
    Round::default().add(pairs, &mut sums);
    sums
}

/// The sum of each of the runs of `points`, of the given lengths one after the other.
pub(crate) fn sum_runs<C: SWCurveConfig>(
    mut points: Vec<Affine<C>>,
    mut lengths: Vec<usize>,
) -> Vec<Affine<C>> {
    let mut round = Round::default();
    let (mut pairs, mut sums) = (Vec::new(), Vec::new());
    while lengths.iter().any(|length| *length > 1) {
        pairs.clear();
        sums.clear();
        let mut rest = points.as_slice();
        for length in &lengths {
            let (run, after) = rest.split_at(*length);
            pairs.extend_from_slice(run.as_chunks().0);
            rest = after;
        }
        round.add(&pairs, &mut sums);
        // Each run's sums take the place of its pairs; its last point, if it has no partner, stays.
        let (mut from, mut to, mut next_sum) = (0, 0, 0);
        for length in &mut lengths {
            let (half, single) = (*length / 2, *length % 2);
            points[to..to + half].copy_from_slice(&sums[next_sum..next_sum + half]);
            if single == 1 {
                points[to + half] = points[from + *length - 1];
            }
            from += *length;
            next_sum += half;
            *length = half + single;
            to += *length;
        }
        points.truncate(to);
    }
    let mut rest = points.into_iter();
    let of_run = |length: &usize| if *length == 1 { rest.next() } else { None };
    lengths
        .iter()
        .map(of_run)
        .map(|sum| sum.unwrap_or(Affine::identity()))
        .collect()
}

/// One round of additions, with its scratch space.
struct Round<F> {
    /// Of each pair the denominator of the slope, later its inverse; zero where there is no slope.
    slopes: Vec<F>,
}

impl<F> Default for Round<F> {
    fn default() -> Self {
        Self { slopes: Vec::new() }
    }
}

impl<F: Field> Round<F> {
    /// Appends the sum of each pair to `sums`.
    fn add<C: SWCurveConfig<BaseField = F>>(
        &mut self,
        pairs: &[[Affine<C>; 2]],
        sums: &mut Vec<Affine<C>>,
    ) {
        self.slopes.clear();
        self.slopes
            .extend(pairs.iter().map(|[left, right]| denominator(left, right)));
        // Leaves zeros as they are.
        ark_ff::batch_inversion(&mut self.slopes);
        sums.extend(
            pairs
                .iter()
                .zip(&self.slopes)
                .map(|([left, right], inverse)| add(left, right, inverse)),
        );
    }

    /// Appends to `sums` the sum of each two neighbours of `points`, and the last point if it has none.
    fn halve<C: SWCurveConfig<BaseField = F>>(
        &mut self,
        points: &[Affine<C>],
        sums: &mut Vec<Affine<C>>,
    ) {
        let (pairs, single) = points.as_chunks::<2>();
        self.add(pairs, sums);
        sums.extend_from_slice(single);
    }
}

/// Denominator of the slope of the line through both points (their tangent if they are equal), zero if it has none.
fn denominator<C: SWCurveConfig>(left: &Affine<C>, right: &Affine<C>) -> C::BaseField {
    if left.is_zero() || right.is_zero() {
        return C::BaseField::ZERO;
    }
    let difference = right.x - left.x;
    if difference.is_zero() && left.y == right.y {
        // Never zero: the curves have no point of order two.
        return left.y.double();
    }
    difference
}

/// left + right, given the inverse of their `denominator`.
fn add<C: SWCurveConfig>(left: &Affine<C>, right: &Affine<C>, inverse: &C::BaseField) -> Affine<C> {
    if inverse.is_zero() {
        return if left.is_zero() {
            *right
        } else if right.is_zero() {
            *left
        } else {
            Affine::identity()
        };
    }
    let rise = if left.x == right.x {
        let square = left.x.square();
        square.double() + square
    } else {
        right.y - left.y
    };
    let slope = rise * inverse;
    let x = slope.square() - left.x - right.x;
    Affine::new_unchecked(x, slope * (left.x - x) - left.y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_bn254::{Fr, G1Affine, G2Affine};
    use proptest::prelude::*;

    /// Few different multiples, so that equal and opposite neighbours are frequent.
    fn multiples<P: AffineRepr<ScalarField = Fr>>() -> impl Strategy<Value = Vec<P>> {
        proptest::collection::vec(-2_i64..=2, 0..100).prop_map(|scalars| {
            let multiple = |scalar: &i64| (P::generator() * Fr::from(*scalar)).into_affine();
            scalars.iter().map(multiple).collect()
        })
    }

    fn one_by_one<C: SWCurveConfig>(points: &[Affine<C>]) -> Affine<C> {
        let mut total = Projective::<C>::zero();
        for point in points {
            total += point;
        }
        total.into_affine()
    }

    proptest! {
        #[test]
        fn each_run_has_its_sum(points in multiples::<G1Affine>(), cuts in proptest::collection::vec(0..12_usize, 0..20)) {
            let mut rest = points.as_slice();
            let runs: Vec<_> = cuts
                .iter()
                .map(|length| {
                    let (run, after) = rest.split_at(rest.len().min(*length));
                    rest = after;
                    run
                })
                .collect();
            let expected: Vec<_> = runs.iter().map(|run| one_by_one(run)).collect();
            let lengths = runs.iter().map(|run| run.len()).collect();
            prop_assert_eq!(sum_runs(runs.concat(), lengths), expected);
        }

        #[test]
        fn sums_equal_those_taken_one_by_one(g1 in multiples::<G1Affine>(), g2 in multiples::<G2Affine>()) {
            prop_assert_eq!(sum(&g1), one_by_one(&g1));
            prop_assert_eq!(sum(&g2), one_by_one(&g2));
        }

        #[test]
        fn each_node_of_a_tree_is_the_sum_of_its_leaves(leaves in multiples::<G1Affine>()) {
            let tree = SumTree::new(leaves.clone());
            for (height, level) in tree.levels().iter().enumerate() {
                let spans: Vec<_> = leaves.chunks(1 << height).map(one_by_one).collect();
                prop_assert_eq!(level, &spans);
            }
            if !leaves.is_empty() {
                prop_assert_eq!(tree.levels().last().map(Vec::len), Some(1));
            }
        }
    }
}
