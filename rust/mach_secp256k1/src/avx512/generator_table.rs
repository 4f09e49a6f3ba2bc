//! Multiples of the generator, the same for all lanes.

use std::sync::LazyLock;

use k256::elliptic_curve::sec1::ToEncodedPoint;
use k256::{AffinePoint, ProjectivePoint};

use super::field::{FieldX8, Mask8};
use super::lanes::{LANES, Words, load, transpose};
use super::point::AffineX8;
use crate::scalars::{GENERATOR_BITS, GENERATOR_DIGITS};

/// Digits are at most half of their range, either way. The first entry is never used: zero times a point has no
/// affine coordinates.
const ENTRIES: usize = (1 << (GENERATOR_BITS - 1)) + 1;
/// Digits that go with the generator; the others go with 2^(bits · this) times it.
pub(super) const LOWER_DIGITS: usize = GENERATOR_DIGITS / 2;

/// Four words of x and four of y, least significant first, of every multiple of the generator and of its power.
pub(super) struct GeneratorTable([Vec<Words>; 2]);

/// Made at the first use; 64 KiB.
pub(super) static TABLE: LazyLock<GeneratorTable> = LazyLock::new(GeneratorTable::new);

impl GeneratorTable {
    fn new() -> Self {
        let lower = ProjectivePoint::GENERATOR;
        let doublings = LOWER_DIGITS as u32 * GENERATOR_BITS;
        let upper = (0..doublings).fold(lower, |point, _| point.double());
        Self([lower, upper].map(|base| {
            let mut multiple = base;
            let mut entries = vec![Words::ZERO];
            while entries.len() < ENTRIES {
                entries.push(words(&multiple.to_affine()));
                multiple += base;
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

fn words(point: &AffinePoint) -> Words {
    let encoded = point.to_encoded_point(false);
    // After the tag, x and then y, both big-endian.
    let (chunks, _) = encoded.as_bytes()[1..].as_chunks::<8>();
    let mut words = Words::ZERO;
    let [x, y] = [&chunks[..4], &chunks[4..]];
    for (word, chunk) in words.0.iter_mut().zip(x.iter().rev().chain(y.iter().rev())) {
        *word = u64::from_be_bytes(*chunk);
    }
    words
}
