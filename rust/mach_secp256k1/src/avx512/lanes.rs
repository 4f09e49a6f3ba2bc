//! Eight words in one value: in, out, and turned about.

use core::arch::x86_64::*;

/// Lanes of a value.
pub(crate) const LANES: usize = 8;

/// One word a lane, or eight words of one lane, in a cache line of its own.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Words(pub(super) [u64; LANES]);

impl Words {
    pub(super) const ZERO: Self = Self([0; LANES]);
}

/// The same word in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn splat(word: u64) -> __m512i {
    _mm512_set1_epi64(word.cast_signed())
}

/// One word a lane.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn load(words: &Words) -> __m512i {
    // SAFETY: the array is 64 readable bytes; the type aligns them as the load needs.
    unsafe { _mm512_load_si512(words.0.as_ptr().cast()) }
}

/// The word of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn store(value: __m512i) -> Words {
    let mut words = Words::ZERO;
    // SAFETY: the array is 64 writable bytes; the type aligns them as the store needs.
    unsafe { _mm512_store_si512(words.0.as_mut_ptr().cast(), value) };
    words
}

/// Lane i of value j becomes lane j of value i.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn transpose(rows: [__m512i; LANES]) -> [__m512i; LANES] {
    let [a, b, c, d, e, f, g, h] = rows;
    // Pairs of words, then pairs of pairs, then halves.
    let [ab, cd, ef, gh] = [[a, b], [c, d], [e, f], [g, h]]
        .map(|[a, b]| [_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)]);
    let quarters = |parity: usize| {
        let [low, high] = [[ab[parity], cd[parity]], [ef[parity], gh[parity]]].map(|[a, b]| {
            // Words of lanes 0 and 4, and of lanes 2 and 6, by the quarters of a value.
            [
                _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b),
                _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b),
            ]
        });
        [
            _mm512_shuffle_i64x2::<0b10_00_10_00>(low[0], high[0]),
            _mm512_shuffle_i64x2::<0b10_00_10_00>(low[1], high[1]),
            _mm512_shuffle_i64x2::<0b11_01_11_01>(low[0], high[0]),
            _mm512_shuffle_i64x2::<0b11_01_11_01>(low[1], high[1]),
        ]
    };
    let [even, odd] = [quarters(0), quarters(1)];
    [
        even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3],
    ]
}
