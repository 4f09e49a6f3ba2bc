//! Small multiples of eight points R and λ · R, of which each lane picks its own.
//!
//! λ · (x, y) is (β x, y) for a cube root of one β (Gallant, Lambert and Vanstone, 2001), so only X differs.

use core::arch::x86_64::*;

use super::columns::{LIMBS, check};
use super::field::{FieldX8, Mask8};
use super::lanes::{LANES, Words, load, store, transpose};
use super::point::{AffineX8, PointX8};
use crate::scalars::NONCE_BITS;

/// Digits are at most half of their range, either way.
const ENTRIES: usize = (1 << (NONCE_BITS - 1)) + 1;
/// β, least significant word first.
const BETA: [u64; 4] = [
    0xc139_6c28_7195_01ee,
    0x9cf0_4975_12f5_8995,
    0x6e64_479e_ac34_34e9,
    0x7ae9_6a2b_657c_0710,
];

/// Which of the points a multiple is one of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Base {
    /// R.
    Nonce,
    /// λ · R.
    Turned,
}

/// The limbs of a point in three parts of eight words: X and the first three of Y, the rest of Y and Z, and β X and
/// again the first three of Y. So two parts make either point.
type Entry = [Words; 3];

/// By lane and then by multiple, so that a pick reads whole cache lines.
pub(super) struct NonceTable([[Entry; ENTRIES]; LANES]);

impl NonceTable {
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn new(nonce: &AffineX8) -> Self {
        let mut points = [PointX8::infinity(); ENTRIES];
        points[1] = nonce.to_point();
        for i in 2..ENTRIES {
            points[i] = if i % 2 == 0 {
                points[i / 2].double()
            } else {
                points[i - 1].add_affine(nonce)
            };
        }
        let beta = FieldX8::constant(&BETA);
        let mut table = Self([[[Words::ZERO; 3]; ENTRIES]; LANES]);
        for (i, point) in points.iter().enumerate() {
            check(point.y.bound(), 1);
            let [x, y, z] = [point.x, point.y, point.z].map(|coordinate| *coordinate.limbs());
            let turned = *point.x.mul(&beta).limbs();
            let parts = [
                [x[0], x[1], x[2], x[3], x[4], y[0], y[1], y[2]],
                [y[3], y[4], z[0], z[1], z[2], z[3], z[4], z[4]],
                [
                    turned[0], turned[1], turned[2], turned[3], turned[4], y[0], y[1], y[2],
                ],
            ];
            for (part, columns) in parts.into_iter().enumerate() {
                for (lane, row) in transpose(columns).into_iter().enumerate() {
                    table.0[lane][i][part] = store(row);
                }
            }
        }
        table
    }

    /// In each lane the multiple with that digit.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn pick(&self, base: Base, sizes: &[u16; LANES], negative: Mask8) -> PointX8 {
        let first = match base {
            Base::Nonce => 0,
            Base::Turned => 2,
        };
        let entry = |lane: usize| &self.0[lane][usize::from(sizes[lane])];
        let [x0, x1, x2, x3, x4, y0, y1, y2] =
            transpose(core::array::from_fn(|lane| load(&entry(lane)[first])));
        let [y3, y4, z0, z1, z2, z3, z4, _] =
            transpose(core::array::from_fn(|lane| load(&entry(lane)[1])));
        let [x, y, z]: [[__m512i; LIMBS]; 3] = [
            [x0, x1, x2, x3, x4],
            [y0, y1, y2, y3, y4],
            [z0, z1, z2, z3, z4],
        ];
        let point = PointX8 {
            x: FieldX8::from_limbs(x),
            y: FieldX8::from_limbs(y),
            z: FieldX8::from_limbs(z),
        };
        point.negated_in(negative)
    }
}
