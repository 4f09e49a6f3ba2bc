use ark_bn254::{G1Affine, G2Affine};

use crate::affine;
use crate::aggregate::sum_g1;
use crate::bisection::find_invalid;
use crate::pairing::verify_sum;
use crate::{BlsError, PublicKeyG2, Signature, hash_to_g1};

/// The public keys of an operator set, checked once, with their sum.
///
/// The sum of those who signed costs one subtraction for each who did not, so an aggregate that most have signed is
/// checked without touching their keys. Signers are named by their index in the set.
#[derive(Debug, Clone)]
pub struct SignerSet {
    keys: Vec<PublicKeyG2>,
    total: G2Affine,
}

impl SignerSet {
    /// The set of `keys`, in this order. A key may occur more than once.
    #[must_use]
    pub fn new(keys: Vec<PublicKeyG2>) -> Self {
        let total = affine::sum(&points(&keys));
        Self { keys, total }
    }

    /// The set of n keys of 128 bytes each, laid end to end.
    ///
    /// # Errors
    /// [`BlsError::PartialBatch`] or, in [`BlsError::InBatch`], what [`PublicKeyG2::from_bytes`] says.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlsError> {
        PublicKeyG2::from_bytes_many(bytes).map(Self::new)
    }

    /// Number of signers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no signer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, in the order of their indices.
    #[must_use]
    pub fn keys(&self) -> &[PublicKeyG2] {
        &self.keys
    }

    /// The sum of all keys.
    pub fn total(&self) -> &G2Affine {
        &self.total
    }

    /// The sum of the keys of the signers `present`, by adding theirs or by subtracting the others', whichever are
    /// fewer.
    ///
    /// # Errors
    /// [`BlsError::UnknownSigner`] or [`BlsError::RepeatedSigner`].
    pub fn aggregate(&self, present: &[usize]) -> Result<G2Affine, BlsError> {
        let is_present = self.marks(present)?;
        if present.len() * 2 <= self.len() {
            return Ok(self.sum_of(present));
        }
        let absent: Vec<usize> = (0..self.len())
            .filter(|index| !is_present[*index])
            .collect();
        Ok(self.without(&absent))
    }

    /// The sum of the keys of all signers but those `absent`.
    ///
    /// # Errors
    /// [`BlsError::UnknownSigner`] or [`BlsError::RepeatedSigner`].
    pub fn aggregate_without(&self, absent: &[usize]) -> Result<G2Affine, BlsError> {
        let is_absent = self.marks(absent)?;
        if absent.len() * 2 <= self.len() {
            return Ok(self.without(absent));
        }
        let present: Vec<usize> = (0..self.len()).filter(|index| !is_absent[*index]).collect();
        Ok(self.sum_of(&present))
    }

    /// Whether `signatures` sum to a signature by the signers `present` over `message`; what that proves stands at
    /// [`verify_aggregate`](crate::verify_aggregate).
    ///
    /// # Errors
    /// [`BlsError::CountMismatch`], [`BlsError::UnknownSigner`] or [`BlsError::RepeatedSigner`].
    pub fn verify_aggregate(
        &self,
        present: &[usize],
        message: &[u8; 32],
        signatures: &[Signature],
    ) -> Result<bool, BlsError> {
        reject_unpaired(present.len(), signatures.len())?;
        let key_sum = self.aggregate(present)?;
        let signature_sum = sum_g1(Signature::points(signatures));
        Ok(verify_sum(&signature_sum, &key_sum, &hash_to_g1(message)))
    }

    /// Positions in `present` whose signatures are bad, as [`find_invalid`] finds them.
    ///
    /// # Errors
    /// [`BlsError::CountMismatch`], [`BlsError::UnknownSigner`] or [`BlsError::RepeatedSigner`].
    pub fn find_invalid(
        &self,
        present: &[usize],
        message_point: &G1Affine,
        signatures: &[Signature],
    ) -> Result<Vec<usize>, BlsError> {
        self.marks(present)?;
        let keys: Vec<PublicKeyG2> = present.iter().map(|index| self.keys[*index]).collect();
        find_invalid(&keys, message_point, signatures)
    }

    fn marks(&self, indices: &[usize]) -> Result<Vec<bool>, BlsError> {
        let mut marks = vec![false; self.len()];
        for index in indices.iter().copied() {
            let mark = marks.get_mut(index).ok_or(BlsError::UnknownSigner {
                index,
                signers: self.len(),
            })?;
            if core::mem::replace(mark, true) {
                return Err(BlsError::RepeatedSigner { index });
            }
        }
        Ok(marks)
    }

    fn sum_of(&self, indices: &[usize]) -> G2Affine {
        let keys: Vec<G2Affine> = indices
            .iter()
            .map(|index| *self.keys[*index].as_point())
            .collect();
        affine::sum(&keys)
    }

    fn without(&self, absent: &[usize]) -> G2Affine {
        if absent.is_empty() {
            return self.total;
        }
        affine::sum(&[self.total, -self.sum_of(absent)])
    }
}

/// The points of `keys`.
pub(crate) fn points(keys: &[PublicKeyG2]) -> Vec<G2Affine> {
    keys.iter().map(|key| *key.as_point()).collect()
}

/// # Errors
/// [`BlsError::CountMismatch`] unless there is one signature for each key.
pub(crate) fn reject_unpaired(public_keys: usize, signatures: usize) -> Result<(), BlsError> {
    if public_keys == signatures {
        Ok(())
    } else {
        Err(BlsError::CountMismatch {
            public_keys,
            signatures,
        })
    }
}
