//! Eight points of the curve y² = x³ + 7, one a lane, in homogeneous coordinates: (X : Y : Z) is (X / Z, Y / Z), and
//! Z = 0 is the point at infinity, (0 : 1 : 0).
//!
//! The formulas are the complete ones for curves with a = 0 of Renes, Costello and Batina ("Complete addition formulas
//! for prime order elliptic curves", 2015, algorithms 7 to 9), written as sums of products: they hold for all points of
//! the curve, equal, opposite or at infinity, so no lane needs to be looked at.

use super::field::{FieldX8, Mask8};

/// The curve's constant term.
const B: u32 = 7;
/// The factor that the formulas call b₃.
const B3: u32 = 3 * B;

/// Eight points; their coordinates have bound 1, but Y may have bound 2.
#[derive(Clone, Copy)]
pub(super) struct PointX8 {
    pub(super) x: FieldX8,
    pub(super) y: FieldX8,
    pub(super) z: FieldX8,
}

/// Eight points that are not at infinity, with the same bounds.
#[derive(Clone, Copy)]
pub(super) struct AffineX8 {
    pub(super) x: FieldX8,
    pub(super) y: FieldX8,
}

impl PointX8 {
    /// The point at infinity in every lane.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn infinity() -> Self {
        let zero = FieldX8::small(0);
        Self {
            x: zero,
            y: FieldX8::small(1),
            z: zero,
        }
    }

    /// The sum of two points a lane.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add(&self, other: &Self) -> Self {
        let (p, q) = (self, other);
        let xx = p.x.mul(&q.x);
        let yy = p.y.mul(&q.y);
        let zz = p.z.mul_times::<B3>(&q.z);
        let xy = FieldX8::two_products::<1>([&p.x, &q.y], [&p.y, &q.x]);
        let yz = FieldX8::two_products::<1>([&p.y, &q.z], [&p.z, &q.y]);
        let xz = FieldX8::two_products::<B3>([&p.x, &q.z], [&p.z, &q.x]);
        Self::joined(&xx, &yy, &zz, &xy, &yz, &xz)
    }

    /// The sum of two points a lane, the second not at infinity.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add_affine(&self, other: &AffineX8) -> Self {
        let (p, q) = (self, other);
        let xx = p.x.mul(&q.x);
        let yy = p.y.mul(&q.y);
        let zz = p.z.times_reduced::<B3>();
        let xy = FieldX8::two_products::<1>([&p.x, &q.y], [&p.y, &q.x]);
        let yz = p.z.mul_add_times::<1>(&q.y, &p.y);
        let xz = p.z.mul_add_times::<B3>(&q.x, &p.x);
        Self::joined(&xx, &yy, &zz, &xy, &yz, &xz)
    }

    /// The end that both additions share, from X₁X₂, Y₁Y₂, b₃ Z₁Z₂, X₁Y₂ + X₂Y₁, Y₁Z₂ + Y₂Z₁ and b₃ (X₁Z₂ + X₂Z₁).
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn joined(
        xx: &FieldX8,
        yy: &FieldX8,
        zz: &FieldX8,
        xy: &FieldX8,
        yz: &FieldX8,
        xz: &FieldX8,
    ) -> Self {
        let minus = yy.sub::<1>(zz);
        let plus = yy.add(zz);
        let xx = xx.times::<3>();
        Self {
            x: FieldX8::two_products::<1>([xy, &minus], [yz, &xz.neg()]),
            y: FieldX8::two_products::<1>([&minus, &plus], [&xx, xz]),
            z: FieldX8::two_products::<1>([yz, &plus], [&xx, xy]),
        }
    }

    /// Twice the point of each lane.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn double(&self) -> Self {
        let yy = self.y.square();
        let zz = self.z.square_times::<B3>();
        let xy = self.x.mul_times::<2>(&self.y);
        let yz = self.y.mul(&self.z);
        let minus = yy.sub::<3>(&zz);
        let plus = yy.add(&zz);
        let yy = yy.times::<8>();
        Self {
            x: xy.mul(&minus),
            y: FieldX8::two_products::<1>([&minus, &plus], [&yy, &zz]),
            z: yy.mul(&yz),
        }
    }

    /// The negatives in the lanes of `mask`, the same points in the others. Y must have bound 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn negated_in(&self, mask: Mask8) -> Self {
        Self {
            y: self.y.negated_in(mask),
            ..*self
        }
    }

    /// `other` in the lanes of `mask`, `self` in the others.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn replaced_in(&self, mask: Mask8, other: &Self) -> Self {
        Self {
            x: self.x.replaced_in(mask, &other.x),
            y: self.y.replaced_in(mask, &other.y),
            z: self.z.replaced_in(mask, &other.z),
        }
    }
}

impl AffineX8 {
    /// The points with these x and with odd or even y, and in which lanes there is one; the other lanes hold numbers
    /// that mean nothing.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn lifted<const N: usize>(x: &[FieldX8; N], odd: &[Mask8; N]) -> [(Self, Mask8); N] {
        let squares = x.each_ref().map(|x| right_side(x));
        let roots = super::powers::square_roots(&squares);
        core::array::from_fn(|i| {
            let y = roots[i].negated_in(roots[i].is_odd() ^ odd[i]);
            let point = Self {
                x: x[i],
                y: y.times_reduced::<1>(),
            };
            (point, point.on_curve())
        })
    }

    /// Which lanes hold a point of the curve.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn on_curve(&self) -> Mask8 {
        self.y.square().sub::<1>(&right_side(&self.x)).is_zero()
    }

    /// The negatives in the lanes of `mask`, the same points in the others. Y must have bound 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn negated_in(&self, mask: Mask8) -> Self {
        Self {
            x: self.x,
            y: self.y.negated_in(mask),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn to_point(self) -> PointX8 {
        PointX8 {
            x: self.x,
            y: self.y,
            z: FieldX8::small(1),
        }
    }
}

/// x³ + 7.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn right_side(x: &FieldX8) -> FieldX8 {
    x.square().mul_add_times::<1>(x, &FieldX8::small(B))
}
