//! Reading and summing G1 points, eight at a time.

use ark_bn254::{Fq, G1Affine};

use super::fp::{Constant, FpX8, LANES, Mask8};

/// Vectors of points below which the rest is summed elsewhere: a round needs an inversion however few it adds.
const FEWEST_VECTORS: usize = 4;

/// Eight affine points, none at infinity.
#[derive(Clone, Copy)]
struct PointsX8 {
    x: FpX8,
    y: FpX8,
}

impl PointsX8 {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(points: &[G1Affine; LANES]) -> Self {
        Self {
            x: FpX8::from_elements(&points.map(|point| point.x)),
            y: FpX8::from_elements(&points.map(|point| point.y)),
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn to_points(self) -> [G1Affine; LANES] {
        let (x, y) = (self.x.to_elements(), self.y.to_elements());
        core::array::from_fn(|lane| G1Affine::new_unchecked(x[lane], y[lane]))
    }

    /// The sum, given the inverse of the difference of the x coordinates.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add(&self, other: &Self, inverse: &FpX8) -> Self {
        let slope = other.y.sub::<2>(&self.y).mul(inverse);
        let x = slope
            .square()
            .sub::<2>(&self.x)
            .sub::<2>(&other.x)
            .reduced();
        let y = slope.mul(&self.x.sub::<2>(&x)).sub::<2>(&self.y).reduced();
        Self { x, y }
    }
}

/// Sums `points`, none of which is at infinity, lane by lane, until few are left: these have the same sum.
///
/// `None` if a sum on the way is of two equal or two opposite points, which this addition cannot do.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn fold(points: &[[G1Affine; LANES]]) -> Option<Vec<G1Affine>> {
    let mut points: Vec<PointsX8> = points.iter().map(|points| PointsX8::new(points)).collect();
    let mut products = Vec::with_capacity(points.len() / 2);
    while points.len() >= FEWEST_VECTORS {
        let half = points.len() / 2;
        let (left, rest) = points.split_at_mut(half);
        let right = &rest[..half];
        // Montgomery's trick: one inversion of the product of all differences.
        products.clear();
        let mut product = FpX8::one();
        for (left, right) in left.iter().zip(right) {
            products.push(product);
            product = product.mul(&right.x.sub::<2>(&left.x));
        }
        if product.is_zero() != 0 {
            return None;
        }
        let mut inverse = product.inverse();
        for ((left, right), product) in left.iter_mut().zip(right).zip(&products).rev() {
            let difference = right.x.sub::<2>(&left.x);
            *left = left.add(right, &inverse.mul(product));
            inverse = inverse.mul(&difference);
        }
        let is_odd = points.len() % 2;
        points[half] = points[points.len() - 1];
        points.truncate(half + is_odd);
    }
    Some(
        points
            .iter()
            .flat_map(|points| points.to_points())
            .collect(),
    )
}

/// Eight points from their coordinates, integers below the modulus, and which of them are on the curve.
///
/// The coordinates (0, 0) give the point at infinity, which counts as on the curve.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn read(x: &[[u64; 4]; LANES], y: &[[u64; 4]; LANES]) -> ([G1Affine; LANES], Mask8) {
    let (x, y) = (FpX8::from_integers(x), FpX8::from_integers(y));
    let three = FpX8::splat(&Constant::new(Fq::from(3_u8)));
    let right = x.square().mul(&x).add(&three);
    let on_curve = y.square().sub::<4>(&right).is_zero();
    let at_infinity = x.is_zero() & y.is_zero();
    (PointsX8 { x, y }.to_points(), on_curve | at_infinity)
}
