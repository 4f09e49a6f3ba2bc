use thiserror::Error;

/// Why bytes are not a key, a point or a batch of points.
///
/// No variant carries the bytes of a secret key, so an error may be logged as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BlsError {
    /// An encoding of fixed size has another size.
    #[error("{what} must be {expected} bytes, got {actual}")]
    WrongLength {
        /// What was being read.
        what: &'static str,
        /// The only valid length in bytes.
        expected: usize,
        /// The length found.
        actual: usize,
    },
    /// A batch is not a whole number of fixed-size encodings.
    #[error(
        "a batch of {what} must be a whole number of {size}-byte encodings, got {actual} bytes"
    )]
    PartialBatch {
        /// What one element of the batch is.
        what: &'static str,
        /// The length of one element in bytes.
        size: usize,
        /// The length of the whole batch.
        actual: usize,
    },
    /// A coordinate is not below the field modulus, so the same point would have several encodings.
    #[error(
        "{what} has a coordinate {coordinate} that is not below the BN254 field modulus: send it reduced"
    )]
    NonCanonicalCoordinate {
        /// What was being read.
        what: &'static str,
        /// `x`, `y`, `x.c1`, `x.c0`, `y.c1` or `y.c0`.
        coordinate: &'static str,
    },
    /// The coordinates do not satisfy the curve equation.
    #[error(
        "{what} is not a point of the curve: check the order and the endianness of its coordinates"
    )]
    NotOnCurve {
        /// What was being read.
        what: &'static str,
    },
    /// The point lies on the G2 curve but outside the subgroup of order r.
    #[error(
        "{what} is on the curve but not in the subgroup of order r: its sender did not derive it from a key"
    )]
    NotInSubgroup {
        /// What was being read.
        what: &'static str,
    },
    /// All bytes are zero: the point at infinity, which is neither a key nor a signature.
    #[error(
        "{what} is the point at infinity (all bytes zero), which proves nothing: send a real one"
    )]
    Identity {
        /// What was being read.
        what: &'static str,
    },
    /// The scalar is zero.
    #[error("secret key is zero: create a new key")]
    SecretKeyZero,
    /// The scalar is not below the group order r.
    #[error(
        "secret key is not below the BN254 group order: it belongs to another curve or was damaged"
    )]
    SecretKeyOutOfRange,
    /// An aggregate check needs one signature for each public key.
    #[error(
        "{public_keys} public keys but {signatures} signatures: pass one signature for each key"
    )]
    CountMismatch {
        /// Public keys given.
        public_keys: usize,
        /// Signatures given.
        signatures: usize,
    },
    /// A signer is named by an index that the signer set does not have.
    #[error(
        "there is no signer {index} in a set of {signers}: count from zero, in the order of its keys"
    )]
    UnknownSigner {
        /// The index given.
        index: usize,
        /// Number of signers in the set.
        signers: usize,
    },
    /// A signer is named twice, where each can take part once.
    #[error("signer {index} is named twice: name each signer once")]
    RepeatedSigner {
        /// The index given.
        index: usize,
    },
    /// One element of a batch is bad.
    #[error("at index {index}: {source}")]
    InBatch {
        /// Position in the batch, from zero.
        index: usize,
        /// What is wrong with that element.
        source: Box<BlsError>,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {reason}")]
    NoRandomness {
        /// The system's own words.
        reason: String,
    },
}

impl BlsError {
    /// The failure itself, without its position in a batch.
    #[must_use]
    pub fn cause(&self) -> &Self {
        match self {
            Self::InBatch { source, .. } => source.cause(),
            other => other,
        }
    }
}
