//! Eight points, one a lane, in homogeneous coordinates: (X : Y : Z) is (X / Z, Y / Z), and Z = 0 is the point at
//! infinity, (0 : 1 : 0).
//!
//! They are not on the curve y² = x³ + 7 itself but on y² = x³ + 1/3, to which (x, y) ↦ (u² x, u³ y) leads as 1/21 is
//! u⁶ for some u. There the factor that the formulas call b₃, three times the constant term, is one.
//!
//! The formulas are the complete ones for curves with a = 0 of Renes, Costello and Batina ("Complete addition formulas
//! for prime order elliptic curves", 2015, algorithms 7 to 9), written as sums of products: they hold for all points of
//! the curve, equal, opposite or at infinity, so no lane needs to be looked at.

use super::field::{FieldX8, Mask8};
use super::powers;

/// The constant term of the curve that is asked about.
const B: u32 = 7;
/// u², least significant word first, as the numbers below.
const TO_X: [u64; 4] = [
    0x8b59_2124_699e_11d0,
    0xf9e7_283d_21ea_a87d,
    0x2911_8f40_4d9d_c115,
    0xe9ff_b34b_a5bd_49eb,
];
/// u³.
const TO_Y: [u64; 4] = [
    0xcf21_4cb1_1c6b_9976,
    0xa2e9_6154_6a98_49bf,
    0x2310_f827_0240_aab9,
    0x9a82_775d_f706_b879,
];
/// 1 / u².
const FROM_X: [u64; 4] = [
    0xac8f_1dba_b09d_c55b,
    0xf4fb_a153_2fd6_4ac1,
    0x01f5_d59c_7bf8_67f0,
    0x51e9_8ee0_a1e9_32bb,
];
/// 1 / u³.
const FROM_Y: [u64; 4] = [
    0xfdbb_4a93_54d3_c47a,
    0x5d24_fbec_be7e_0cbb,
    0xe064_5b33_2f4e_013a,
    0xacb3_cab5_438d_21ef,
];

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
        let zz = p.z.mul(&q.z);
        // X₁Y₂ + X₂Y₁ is (X₁ + Y₁) (X₂ + Y₂) less the products above; likewise the others.
        let xy = p.x.add(&p.y).mul_sub(&q.x.add(&q.y), &xx, &yy);
        let xz = p.x.add(&p.z).mul_sub(&q.x.add(&q.z), &xx, &zz);
        let yz = p.y.add(&p.z).mul_sub(&q.y.add(&q.z), &yy, &zz);
        Self::joined(&xx, &yy, &zz, &xy, &yz, &xz)
    }

    /// The sum of two points a lane, the second not at infinity.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn add_affine(&self, other: &AffineX8) -> Self {
        let (p, q) = (self, other);
        let xx = p.x.mul(&q.x);
        let yy = p.y.mul(&q.y);
        let xy = p.x.add(&p.y).mul_sub(&q.x.add(&q.y), &xx, &yy);
        let xz = p.z.mul_add(&q.x, &p.x);
        let yz = p.z.mul_add(&q.y, &p.y);
        Self::joined(&xx, &yy, &p.z, &xy, &yz, &xz)
    }

    /// The end that both additions share, from X₁X₂, Y₁Y₂, Z₁Z₂, X₁Y₂ + X₂Y₁, Y₁Z₂ + Y₂Z₁ and X₁Z₂ + X₂Z₁.
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
        let y = FieldX8::two_products([&minus, &plus], [&xx, xz]);
        let z = FieldX8::two_products([yz, &plus], [&xx, xy]);
        let x = FieldX8::two_products([xy, &minus], [yz, &xz.neg()]);
        Self { x, y, z }
    }

    /// Twice the point of each lane.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn double(&self) -> Self {
        let yy = self.y.square();
        let zz = self.z.square();
        let xy = self.x.mul_twice(&self.y);
        // 2YZ.
        let yz = self.y.add(&self.z).square_sub(&yy, &zz);
        // With M = Y² - 3Z², Y of the result is M² + (8Y² + 4M) Z².
        let minus = yy.sub::<3>(&zz);
        let rest = yy.sum_of_multiples::<8, 4>(&minus);
        let y = minus.square_add(&rest, &zz);
        let z = yy.times::<4>().mul(&yz);
        let x = xy.mul(&minus);
        Self { x, y, z }
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
    /// The points with these x and with odd or even y on y² = x³ + 7, and in which lanes there is one; the other lanes
    /// hold numbers that mean nothing.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn lifted<const N: usize>(x: &[FieldX8; N], odd: &[Mask8; N]) -> [(Self, Mask8); N] {
        let squares = x.each_ref().map(|x| right_side(x));
        let roots = powers::square_roots(&squares);
        core::array::from_fn(|i| {
            let (x, y) = (&x[i], roots[i].negated_in(roots[i].is_odd() ^ odd[i]));
            (Self::from_coordinates(x, &y), on_curve(x, &y))
        })
    }

    /// The points with these coordinates on y² = x³ + 7.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn from_coordinates(x: &FieldX8, y: &FieldX8) -> Self {
        Self {
            x: x.mul(&FieldX8::constant(&TO_X)),
            y: y.mul(&FieldX8::constant(&TO_Y)),
        }
    }

    /// The coordinates on y² = x³ + 7.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn coordinates(&self) -> [FieldX8; 2] {
        [
            self.x.mul(&FieldX8::constant(&FROM_X)),
            self.y.mul(&FieldX8::constant(&FROM_Y)),
        ]
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

/// In which lanes y² = x³ + 7.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn on_curve(x: &FieldX8, y: &FieldX8) -> Mask8 {
    y.square().sub::<1>(&right_side(x)).is_zero()
}

/// x³ + 7.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn right_side(x: &FieldX8) -> FieldX8 {
    x.square().mul_add(x, &FieldX8::small(B))
}

#[cfg(test)]
mod tests;
