//! Recovers who signed many ECDSA signatures over secp256k1, as Ethereum's transactions bear them, eight at a time
//! where the processor has AVX-512 IFMA.
//!
//! It keeps nothing secret: its running time depends on the signatures, which are public.

#[cfg_attr(not(target_arch = "x86_64"), path = "avx512_absent.rs")]
mod avx512;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod scalars;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod wide;

use std::sync::LazyLock;

use avx512::Avx512;
use mach_keccak::keccak256_many;

/// Below this many signatures, recovering them one by one with libsecp256k1 takes no longer.
const FEWEST_AT_ONCE: usize = 3;

static DETECTED: LazyLock<Option<Avx512>> = LazyLock::new(Avx512::detect);

/// One ECDSA signature over secp256k1 with what it signs. All numbers are big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// The 32-byte digest that is signed; taken modulo the order of the curve.
    pub digest: [u8; 32],
    /// The x coordinate of the nonce point, 32 bytes.
    pub r: [u8; 32],
    /// The second half of the signature, 32 bytes; also in the upper half of its range.
    pub s: [u8; 32],
    /// Whether the y coordinate of the nonce point is odd.
    pub odd_y: bool,
}

/// Whether this processor recovers eight at a time. Where it does not, [`recover_addresses`] tells no address.
#[must_use]
pub fn recovers_eight_at_once() -> bool {
    DETECTED.is_some()
}

/// The 20-byte address that made each signature, in their order: the last bytes of Keccak-256 of the public key
/// (yellow paper, appendix F), which is recovered as SEC 1, section 4.1.6 says, with the x of the nonce point being r
/// itself.
///
/// `None` where the batch does not tell: recover that one by itself, with libsecp256k1. That holds for every signature
/// if there are too few to gain by it or the processor has no AVX-512 IFMA, and else for one that has no key: r or s
/// is zero or not below the order of the curve, r is not the x of any point, or the key would be the point at infinity.
#[must_use]
pub fn recover_addresses(signatures: &[Signed]) -> Vec<Option<[u8; 20]>> {
    match *DETECTED {
        Some(avx512) if signatures.len() >= FEWEST_AT_ONCE => {
            addresses(&avx512.recover_keys(signatures))
        }
        _ => vec![None; signatures.len()],
    }
}

fn addresses(keys: &[Option<[u8; 64]>]) -> Vec<Option<[u8; 20]>> {
    let found: Vec<&[u8; 64]> = keys.iter().flatten().collect();
    let mut digests = keccak256_many(&found).into_iter();
    keys.iter()
        .map(|key| {
            key.as_ref()?;
            digests.next()?.last_chunk().copied()
        })
        .collect()
}
