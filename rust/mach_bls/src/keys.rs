use core::fmt;

use ark_bn254::{Fr, G1Affine, G2Affine};
use ark_ec::{AffineRepr, CurveGroup};
use ark_ff::{BigInteger, PrimeField, Zero};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::point::{self, G1_BYTES, G2_BYTES};
use crate::{BlsError, Signature, hash_to_g1, keccak256};

/// A scalar in `1..r`. Its memory is overwritten when it is dropped.
///
/// Scalar multiplication is not constant-time: whoever can time single signatures on the same machine with great
/// precision may learn bits of the key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey(Fr);

impl SecretKey {
    /// Length of an encoded secret key.
    pub const BYTES: usize = 32;

    /// Reads a big-endian scalar.
    ///
    /// # Errors
    /// [`BlsError::WrongLength`], [`BlsError::SecretKeyZero`] or [`BlsError::SecretKeyOutOfRange`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlsError> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().map_err(|_| BlsError::WrongLength {
            what: "secret key",
            expected: Self::BYTES,
            actual: bytes.len(),
        })?;
        let integer = Zeroizing::new(point::big_endian_integer(bytes));
        let scalar = Fr::from_bigint(*integer).ok_or(BlsError::SecretKeyOutOfRange)?;
        if scalar.is_zero() {
            Err(BlsError::SecretKeyZero)
        } else {
            Ok(Self(scalar))
        }
    }

    /// A new key from the operating system's random source.
    ///
    /// # Errors
    /// [`BlsError::NoRandomness`].
    pub fn generate() -> Result<Self, BlsError> {
        // 48 bytes reduced modulo the 254-bit r leave a bias below 2^-129.
        let mut wide = Zeroizing::new([0_u8; 48]);
        loop {
            getrandom::fill(wide.as_mut_slice()).map_err(|error| BlsError::NoRandomness {
                reason: error.to_string(),
            })?;
            let scalar = Fr::from_be_bytes_mod_order(wide.as_slice());
            if !scalar.is_zero() {
                return Ok(Self(scalar));
            }
        }
    }

    /// The scalar as 32 big-endian bytes, overwritten when dropped.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::BYTES]> {
        let integer = Zeroizing::new(self.0.into_bigint());
        let encoded = Zeroizing::new(integer.to_bytes_be());
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        bytes.copy_from_slice(&encoded);
        bytes
    }

    /// The public key in G1, which the chain stores and sums.
    #[must_use]
    pub fn public_key_g1(&self) -> PublicKeyG1 {
        PublicKeyG1((G1Affine::generator() * self.0).into_affine())
    }

    /// The public key in G2, which signatures are checked against.
    #[must_use]
    pub fn public_key_g2(&self) -> PublicKeyG2 {
        PublicKeyG2((G2Affine::generator() * self.0).into_affine())
    }

    /// The signature `sk · hash_to_g1(message)`.
    #[must_use]
    pub fn sign(&self, message: &[u8; 32]) -> Signature {
        Signature::new_unchecked((hash_to_g1(message) * self.0).into_affine())
    }

    /// `sk · point`, for a registration whose point the contract has already hashed.
    ///
    /// A signature over a chosen point is a signature over every message that hashes to it: pass only points that a
    /// trusted contract computed.
    ///
    /// # Errors
    /// [`BlsError::Identity`].
    pub fn sign_point(&self, point: &G1Affine) -> Result<G1Affine, BlsError> {
        let point = point::reject_identity(*point, "point to sign")?;
        Ok((point * self.0).into_affine())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKey(..)")
    }
}

/// A public key in G1: never the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKeyG1(G1Affine);

impl PublicKeyG1 {
    /// Reads `x ‖ y`.
    ///
    /// # Errors
    /// Those of [`point::decode_g1`] and [`BlsError::Identity`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlsError> {
        let what = "G1 public key";
        point::reject_identity(point::decode_g1(bytes, what)?, what).map(Self)
    }

    /// `x ‖ y`.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; G1_BYTES] {
        point::encode_g1(&self.0)
    }

    /// `keccak256(x ‖ y)`, under which EigenLayer's registry knows the operator.
    #[must_use]
    pub fn operator_id(&self) -> [u8; 32] {
        keccak256(&self.to_bytes())
    }

    /// The point.
    pub fn as_point(&self) -> &G1Affine {
        &self.0
    }
}

/// A public key in G2: in the subgroup of order r and never the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKeyG2(G2Affine);

impl PublicKeyG2 {
    /// Reads `x.c1 ‖ x.c0 ‖ y.c1 ‖ y.c0`.
    ///
    /// # Errors
    /// Those of [`point::decode_g2`] and [`BlsError::Identity`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlsError> {
        let what = "G2 public key";
        point::reject_identity(point::decode_g2(bytes, what)?, what).map(Self)
    }

    /// Reads consecutive keys of 128 bytes each, several at once where the processor can.
    ///
    /// # Errors
    /// [`BlsError::PartialBatch`] or, in [`BlsError::InBatch`], what [`PublicKeyG2::from_bytes`] says of the first bad
    /// one.
    pub fn from_bytes_many(bytes: &[u8]) -> Result<Vec<Self>, BlsError> {
        let read_eight = |avx512, bytes: &[u8]| {
            let points = point::none_at_infinity(point::read_eight_g2(avx512, bytes)?)?;
            Some(points.map(Self))
        };
        point::decode_many(
            bytes,
            G2_BYTES,
            "G2 public key",
            read_eight,
            Self::from_bytes,
        )
    }

    /// `x.c1 ‖ x.c0 ‖ y.c1 ‖ y.c0`.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; G2_BYTES] {
        point::encode_g2(&self.0)
    }

    /// The point.
    pub fn as_point(&self) -> &G2Affine {
        &self.0
    }
}
