//! Keccak-256 as Ethereum uses it, of one message or of many, eight at a time where the processor has AVX-512.

#[cfg_attr(not(target_arch = "x86_64"), path = "avx512_absent.rs")]
mod avx512;

use std::cell::Cell;
use std::sync::LazyLock;

use avx512::Avx512;
use sha3::{Digest, Keccak256};

/// Below this many messages, hashing them one by one takes no longer.
const FEWEST_AT_ONCE: usize = 3;

static DETECTED: LazyLock<Option<Avx512>> = LazyLock::new(Avx512::detect);

thread_local! {
    static PORTABLE: Cell<bool> = const { Cell::new(false) };
}

/// Keccak-256 (the Ethereum variant, padding 0x01) of `data`.
#[must_use]
pub fn keccak256(data: &[u8]) -> [u8; 32] {
    Keccak256::digest(data).into()
}

/// Keccak-256 of the concatenation of `parts`, without building it.
#[must_use]
pub fn keccak256_concat(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Whether [`keccak256_many`] hashes eight messages at a time here and now.
#[must_use]
pub fn hashes_eight_at_once() -> bool {
    !PORTABLE.get() && DETECTED.is_some()
}

/// Keccak-256 of each of `messages`, in their order. Their lengths may differ.
#[must_use]
pub fn keccak256_many<M: AsRef<[u8]>>(messages: &[M]) -> Vec<[u8; 32]> {
    match DETECTED.filter(|_| !PORTABLE.get()) {
        Some(avx512) if messages.len() >= FEWEST_AT_ONCE => avx512.keccak256_many(messages),
        _ => messages
            .iter()
            .map(|message| keccak256(message.as_ref()))
            .collect(),
    }
}

/// Runs `work` without AVX-512 on this thread, so that tests and benchmarks can compare both ways of computing.
pub fn portably<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            PORTABLE.set(self.0);
        }
    }
    let _restore = Restore(PORTABLE.replace(true));
    work()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_empty_string_hashes_to_the_code_hash_of_an_account_without_code() {
        // Yellow paper, KEC(()).
        let expected = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470";
        assert_eq!(hex::encode(keccak256(b"")), expected);
        for digest in keccak256_many(&[b""; 9]) {
            assert_eq!(hex::encode(digest), expected);
        }
    }

    #[test]
    fn parts_hash_as_their_concatenation() {
        assert_eq!(keccak256_concat(&[b"ab", b"", b"c"]), keccak256(b"abc"));
    }

    #[test]
    fn every_length_around_a_block_hashes_as_alone() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(600).collect();
        let messages: Vec<&[u8]> = (0..600).map(|length| &bytes[..length]).collect();
        let expected: Vec<_> = messages.iter().map(|message| keccak256(message)).collect();
        assert_eq!(keccak256_many(&messages), expected);
        assert_eq!(portably(|| keccak256_many(&messages)), expected);
        for length in [0, 32, 135, 136, 137, 272] {
            let equal = vec![&bytes[..length]; 21];
            assert_eq!(
                keccak256_many(&equal),
                vec![keccak256(&bytes[..length]); 21]
            );
        }
    }

    proptest! {
        #[test]
        fn many_hash_as_each_alone(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 0..40),
        ) {
            let expected: Vec<_> = messages.iter().map(|message| keccak256(message)).collect();
            prop_assert_eq!(keccak256_many(&messages), expected);
        }
    }
}
