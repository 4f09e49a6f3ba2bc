//! Stands for `avx512` on processors that have nothing like it.

use core::convert::Infallible;

use ark_bn254::{Fq, Fq12, G1Affine, G2Affine, G2Projective};

/// As many as where AVX-512 exists, for the code that asks for it.
pub(crate) const LANES: usize = 8;
pub(crate) const CANDIDATES: usize = 2 * LANES;

/// Proof of what never holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(Infallible);

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        None
    }

    pub(crate) fn mismatches(
        self,
        _: &[G1Affine; LANES],
        _: &[G1Affine; LANES],
        _: &[G2Affine; LANES],
    ) -> [Fq12; LANES] {
        match self.0 {}
    }

    pub(crate) fn miller(self, _: &[([G1Affine; LANES], [G2Affine; LANES])]) -> [Fq12; LANES] {
        match self.0 {}
    }

    pub(crate) fn points_at(self, _: &[Fq; CANDIDATES]) -> [Option<G1Affine>; CANDIDATES] {
        match self.0 {}
    }

    pub(crate) fn fold(self, _: &[[G1Affine; LANES]]) -> Option<Vec<G1Affine>> {
        match self.0 {}
    }

    pub(crate) fn times_parameter(self, _: &[G2Affine; LANES]) -> [G2Projective; LANES] {
        match self.0 {}
    }

    pub(crate) fn read(
        self,
        _: &[[u64; 4]; LANES],
        _: &[[u64; 4]; LANES],
    ) -> ([G1Affine; LANES], u8) {
        match self.0 {}
    }
}
