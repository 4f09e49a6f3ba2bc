use ark_bn254::{G1Affine, G2Affine};
use ark_ec::AffineRepr;

use crate::avx512::LANES;
use crate::pairing::verify_sum;
use crate::signer_set::{points, reject_unpaired};
use crate::{BlsError, PublicKeyG2, Signature, hash_to_g1};
use crate::{affine, backend};

/// Below this many points, eight at a time are no faster.
const FEWEST_IN_LANES: usize = 64;

/// The sum of G1 points; no points sum to the identity. Equal, opposite and identity points are summed as they should.
pub fn sum_g1(points: impl IntoIterator<Item = G1Affine>) -> G1Affine {
    let mut points: Vec<G1Affine> = points.into_iter().collect();
    if points.len() >= FEWEST_IN_LANES
        && let Some(avx512) = backend::avx512()
    {
        points.retain(|point| !point.is_zero());
        let (eights, rest) = points.as_chunks::<LANES>();
        // Equal or opposite points that meet, which strangers could bring about, only cost the time.
        if let Some(mut folded) = avx512.fold(eights) {
            folded.extend(rest);
            return affine::sum(&folded);
        }
    }
    affine::sum(&points)
}

/// The sum of G2 points; no points sum to the identity. Equal, opposite and identity points are summed as they should.
pub fn sum_g2(points: impl IntoIterator<Item = G2Affine>) -> G2Affine {
    affine::sum(&points.into_iter().collect::<Vec<_>>())
}

/// Whether `signatures` sum to a signature by the sum of `public_keys` over the one `message`.
///
/// One pairing product, however many there are. `true` proves the aggregate, which is what the chain checks; it does
/// not prove each signature, because errors in two of them can cancel out. It relies on every key having been
/// registered with a proof of possession. Nothing is proved by no signatures or by keys that cancel out: `false`.
///
/// # Errors
/// [`BlsError::CountMismatch`].
pub fn verify_aggregate(
    public_keys: &[PublicKeyG2],
    message: &[u8; 32],
    signatures: &[Signature],
) -> Result<bool, BlsError> {
    reject_unpaired(public_keys.len(), signatures.len())?;
    let signature_sum = sum_g1(Signature::points(signatures));
    let key_sum = affine::sum(&points(public_keys));
    Ok(verify_sum(&signature_sum, &key_sum, &hash_to_g1(message)))
}
