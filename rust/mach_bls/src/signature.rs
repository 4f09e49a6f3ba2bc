use ark_bn254::G1Affine;

use crate::pairing::verify_sum;
use crate::point::{self, G1_BYTES};
use crate::{BlsError, PublicKeyG2, hash_to_g1};

/// A signature: a G1 point that is not the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(G1Affine);

impl Signature {
    /// Reads `x ‖ y`.
    ///
    /// # Errors
    /// Those of [`point::decode_g1`] and [`BlsError::Identity`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlsError> {
        let what = "signature";
        point::reject_identity(point::decode_g1(bytes, what)?, what).map(Self)
    }

    /// Reads consecutive signatures of 64 bytes each, several at once where the processor can.
    ///
    /// # Errors
    /// [`BlsError::PartialBatch`] or, in [`BlsError::InBatch`], what [`Signature::from_bytes`] says of the first bad one.
    pub fn from_bytes_many(bytes: &[u8]) -> Result<Vec<Self>, BlsError> {
        let read_eight = |avx512, bytes: &[u8]| {
            let points = point::none_at_infinity(point::read_eight_g1(avx512, bytes)?)?;
            Some(points.map(Self))
        };
        point::decode_many(bytes, G1_BYTES, "signature", read_eight, Self::from_bytes)
    }

    /// `x ‖ y`.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; G1_BYTES] {
        point::encode_g1(&self.0)
    }

    /// Whether the owner of `public_key` signed `message`.
    #[must_use]
    pub fn verify(&self, public_key: &PublicKeyG2, message: &[u8; 32]) -> bool {
        verify_sum(&self.0, public_key.as_point(), &hash_to_g1(message))
    }

    /// The point.
    pub fn as_point(&self) -> &G1Affine {
        &self.0
    }

    pub(crate) fn new_unchecked(point: G1Affine) -> Self {
        Self(point)
    }

    /// The points of `signatures`.
    pub(crate) fn points(signatures: &[Self]) -> Vec<G1Affine> {
        signatures.iter().map(|signature| signature.0).collect()
    }
}
