//! Stands for `avx512` on processors that have nothing like it.

use core::convert::Infallible;

/// Proof of what never holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(Infallible);

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        None
    }

    pub(crate) fn keccak256_many<M: AsRef<[u8]>>(self, _: &[M]) -> Vec<[u8; 32]> {
        match self.0 {}
    }
}
