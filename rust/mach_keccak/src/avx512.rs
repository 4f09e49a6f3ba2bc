//! Eight Keccak sponges side by side, one a lane.
//!
//! A lane that has finished its message takes the next at once, so messages of different lengths keep all lanes busy.
//! The permutation is that of FIPS 202, section 3; the padding is Keccak's own.

use core::arch::x86_64::*;

const LANES: usize = 8;
/// Bytes absorbed between two permutations.
const RATE: usize = 136;
const WORDS: usize = 25;
const ROUNDS: usize = 24;

/// Word x + 5y is rotated left by this in step ρ.
const ROTATIONS: [u32; WORDS] = rotations();
/// Step ι of each round.
const ROUND_CONSTANTS: [u64; ROUNDS] = round_constants();

/// Proof that the processor has AVX-512F.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The proof, if the processor gives it.
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }

    /// Keccak-256 of each of `messages`.
    pub(crate) fn keccak256_many<M: AsRef<[u8]>>(self, messages: &[M]) -> Vec<[u8; 32]> {
        let mut digests = vec![[0; 32]; messages.len()];
        let mut messages = messages.iter().map(AsRef::as_ref).enumerate();
        // SAFETY: `self` exists only where AVX-512F was detected.
        unsafe { run(&mut messages, &mut digests) };
        digests
    }
}

/// The next block of every lane.
#[repr(align(64))]
struct Blocks([[u8; RATE]; LANES]);

/// The message that a lane works on: its position and what of it is still to be absorbed.
type Rest<'a> = Option<(usize, &'a [u8])>;

#[target_feature(enable = "avx512f")]
fn run<'a>(messages: &mut impl Iterator<Item = (usize, &'a [u8])>, digests: &mut [[u8; 32]]) {
    let mut lanes: [Rest<'a>; LANES] = [None; LANES];
    let mut blocks = Blocks([[0; RATE]; LANES]);
    let mut state = [_mm512_setzero_si512(); WORDS];
    loop {
        // Lanes that go on with the state they have.
        let mut kept: __mmask8 = 0;
        for (lane, rest) in lanes.iter_mut().enumerate() {
            match rest {
                Some(_) => kept |= 1 << lane,
                None => *rest = messages.next(),
            }
        }
        if lanes.iter().all(Option::is_none) {
            return;
        }
        let mut finished = [None; LANES];
        for ((rest, block), finished) in lanes.iter_mut().zip(&mut blocks.0).zip(&mut finished) {
            *finished = next_block(rest, block);
        }
        absorb(&mut state, kept, &blocks);
        for constant in ROUND_CONSTANTS {
            round(&mut state, constant);
        }
        if finished.iter().any(Option::is_some) {
            let [a, b, c, d, ..] = state;
            let words = [a, b, c, d].map(|word| store(word));
            for (lane, position) in finished.into_iter().enumerate() {
                if let Some(position) = position {
                    let (chunks, _) = digests[position].as_chunks_mut::<8>();
                    for (chunk, word) in chunks.iter_mut().zip(&words) {
                        *chunk = word[lane].to_le_bytes();
                    }
                }
            }
        }
    }
}

/// Moves the next block of a message to `block`; the position of the message if that was its last.
#[inline]
fn next_block(rest: &mut Rest<'_>, block: &mut [u8; RATE]) -> Option<usize> {
    let (position, bytes) = rest.as_mut()?;
    if let Some((full, after)) = bytes.split_first_chunk::<RATE>() {
        *block = *full;
        *bytes = after;
        return None;
    }
    let (message, padding) = block.split_at_mut(bytes.len());
    message.copy_from_slice(bytes);
    padding.fill(0);
    padding[0] = 0x01;
    block[RATE - 1] |= 0x80;
    let position = *position;
    *rest = None;
    Some(position)
}

/// Takes a block into each state, zero before but in the lanes `kept`.
#[inline]
#[target_feature(enable = "avx512f")]
fn absorb(state: &mut [__m512i; WORDS], kept: __mmask8, blocks: &Blocks) {
    let words = RATE as i64 / 8;
    let starts = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    let starts = _mm512_mullox_epi64(starts, _mm512_set1_epi64(words));
    let first: *const i64 = (&raw const blocks.0).cast();
    for (i, word) in state.iter_mut().enumerate() {
        *word = _mm512_maskz_mov_epi64(kept, *word);
        if i < RATE / 8 {
            // SAFETY: word i of lane l is 8 bytes at l · RATE + 8 · i, within the eight blocks; the gather reads words
            // of any alignment, and x86 is little-endian as Keccak is.
            let block = unsafe { _mm512_i64gather_epi64::<8>(starts, first.add(i)) };
            *word = _mm512_xor_si512(*word, block);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(value: __m512i) -> [u64; LANES] {
    let mut words = [0; LANES];
    // SAFETY: the array is 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), value) };
    words
}

#[inline]
#[target_feature(enable = "avx512f")]
fn round(words: &mut [__m512i; WORDS], constant: u64) {
    // θ: every word takes in the parities of two columns.
    let parities: [__m512i; 5] = core::array::from_fn(|x| {
        let three = xor3(words[x], words[x + 5], words[x + 10]);
        xor3(three, words[x + 15], words[x + 20])
    });
    let turned: [__m512i; 5] = core::array::from_fn(|x| _mm512_rol_epi64::<1>(parities[x]));
    // ρ and π: every word is rotated and moves to another place.
    let mut moved = *words;
    for y in 0..5 {
        for x in 0..5 {
            let word = xor3(words[x + 5 * y], parities[(x + 4) % 5], turned[(x + 1) % 5]);
            let amount = _mm512_set1_epi64(i64::from(ROTATIONS[x + 5 * y]));
            moved[y + 5 * ((2 * x + 3 * y) % 5)] = _mm512_rolv_epi64(word, amount);
        }
    }
    // χ: a ^ (!b & c) along each row.
    for y in 0..5 {
        for x in 0..5 {
            let [a, b, c] = [x, (x + 1) % 5, (x + 2) % 5].map(|x| moved[x + 5 * y]);
            words[x + 5 * y] = _mm512_ternarylogic_epi64::<0xd2>(a, b, c);
        }
    }
    // ι
    words[0] = _mm512_xor_si512(words[0], _mm512_set1_epi64(constant.cast_signed()));
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

/// FIPS 202, section 3.2.2: the triangular numbers, along the path (x, y) → (y, 2x + 3y).
const fn rotations() -> [u32; WORDS] {
    let mut rotations = [0; WORDS];
    let (mut x, mut y) = (1, 0);
    let mut step = 0;
    while step < ROUNDS as u32 {
        rotations[x + 5 * y] = (step + 1) * (step + 2) / 2 % u64::BITS;
        (x, y) = (y, (2 * x + 3 * y) % 5);
        step += 1;
    }
    rotations
}

/// FIPS 202, section 3.2.5: bits of a shift register, at the places 2^j − 1.
const fn round_constants() -> [u64; ROUNDS] {
    let mut constants = [0; ROUNDS];
    let mut register: u16 = 1;
    let mut round = 0;
    while round < ROUNDS {
        let mut j = 0;
        while j < 7 {
            if register & 1 == 1 {
                constants[round] |= 1 << ((1_u32 << j) - 1);
            }
            register <<= 1;
            if register & 0x100 != 0 {
                register ^= 0x171;
            }
            j += 1;
        }
        round += 1;
    }
    constants
}
