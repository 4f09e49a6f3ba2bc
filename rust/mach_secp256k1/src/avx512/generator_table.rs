//! Multiples of the generator, the same for all lanes.

use std::sync::OnceLock;

use k256::elliptic_curve::BatchNormalize;
use k256::elliptic_curve::sec1::ToEncodedPoint;
use k256::{AffinePoint, ProjectivePoint};

use super::field::{FieldX8, Mask8};
use super::lanes::{LANES, Words, load, store, transpose};
use super::point::AffineX8;
use crate::scalars::{GENERATOR_BITS, GENERATOR_DIGITS};

/// Digits are at most half of their range, either way. The first entry is never used: zero times a point has no
/// affine coordinates.
const ENTRIES: usize = (1 << (GENERATOR_BITS - 1)) + 1;
/// Digits that go with the generator; the others go with 2^(bits · this) times it.
pub(super) const LOWER_DIGITS: usize = GENERATOR_DIGITS / 2;

/// Four words of x and four of y, least significant first, of every multiple of the generator and of its power.
pub(super) struct GeneratorTable([Vec<Words>; 2]);

impl GeneratorTable {
    /// The table, 64 KiB, made at the first call.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn get() -> &'static Self {
        static TABLE: OnceLock<GeneratorTable> = OnceLock::new();
        TABLE.get_or_init(|| Self::new())
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new() -> Self {
        let lower = ProjectivePoint::GENERATOR;
        let doublings = LOWER_DIGITS as u32 * GENERATOR_BITS;
        let upper = (0..doublings).fold(lower, |point, _| point.double());
        Self([lower, upper].map(|base| {
            let multiples: [ProjectivePoint; ENTRIES - 1] = {
                let mut multiple = ProjectivePoint::IDENTITY;
                core::array::from_fn(|_| {
                    multiple += base;
                    multiple
                })
            };
            let mut entries = vec![Words::ZERO];
            let multiples = ProjectivePoint::batch_normalize(&multiples);
            for eight in multiples.as_chunks::<LANES>().0 {
                entries.extend(words(eight));
            }
            entries
        }))
    }

    /// In each lane the multiple with that digit, of the generator or its power; a lane whose digit is zero holds
    /// numbers that mean nothing.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn pick(&self, upper: bool, sizes: &[u16; LANES], negative: Mask8) -> AffineX8 {
        let entries = &self.0[usize::from(upper)];
        let rows = core::array::from_fn(|lane| load(&entries[usize::from(sizes[lane])]));
        let [a, b, c, d, e, f, g, h] = transpose(rows);
        let point = AffineX8 {
            x: FieldX8::from_words(&[a, b, c, d]),
            y: FieldX8::from_words(&[e, f, g, h]),
        };
        point.negated_in(negative)
    }
}

/// The words of eight points.
#[target_feature(enable = "avx512f,avx512ifma")]
fn words(points: &[AffinePoint; LANES]) -> [Words; LANES] {
    let mut coordinates = [[[0; 32]; LANES]; 2];
    for (lane, point) in points.iter().enumerate() {
        let encoded = point.to_encoded_point(false);
        // After the tag, x and then y.
        let (halves, _) = encoded.as_bytes()[1..].as_chunks::<32>();
        for (coordinates, half) in coordinates.iter_mut().zip(halves) {
            coordinates[lane] = *half;
        }
    }
    let [x, y] = coordinates.map(|bytes| FieldX8::from_bytes(&bytes));
    let point = AffineX8::from_coordinates(&x, &y);
    let ([a, b, c, d], [e, f, g, h]) = (point.x.to_words(), point.y.to_words());
    transpose([a, b, c, d, e, f, g, h]).map(|row| store(row))
}
