//! Pairing products against the negated generator of G2, one by one or eight at a time.

use std::sync::LazyLock;

use ark_bn254::{Bn254, Fq12, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_ec::pairing::{MillerLoopOutput, Pairing, PairingOutput};
use ark_ff::{Field, Zero};

use crate::avx512::{Avx512, LANES};
use crate::backend;

/// Pairs whose Miller loops share their squarings, by the vector of eight: as many as the fast memory holds.
const VECTORS_SHARING_SQUARINGS: usize = 16;

static NEGATED_G2_GENERATOR: LazyLock<<Bn254 as Pairing>::G2Prepared> =
    LazyLock::new(|| (-G2Affine::generator()).into());

/// What is wrong with a sum of signatures: the identity if nothing is. Mismatches of disjoint sums add up.
pub(crate) type Mismatch = PairingOutput<Bn254>;

/// A sum of signatures, the sum of their keys and the point that their message hashes to.
#[derive(Debug, Clone, Copy)]
pub struct SumToVerify {
    /// The sum of the signatures.
    pub signature_sum: G1Affine,
    /// The sum of the G2 public keys.
    pub key_sum: G2Affine,
    /// [`hash_to_g1`](crate::hash_to_g1) of the message.
    pub message_point: G1Affine,
}

impl SumToVerify {
    /// e(signature sum, -G2) · e(message point, key sum).
    pub(crate) fn mismatch(&self) -> Mismatch {
        product(&self.signature_sum, &[(self.message_point, self.key_sum)])
    }

    /// Whether no sum is at infinity: keys that cancel out would make the identity a signature over every message.
    fn is_of_something(&self) -> bool {
        !self.signature_sum.is_zero() && !self.key_sum.is_zero()
    }
}

/// Whether `signature_sum` is a signature by `key_sum` over the message that hashes to `message_point`:
/// e(signature sum, -G2) · e(message point, key sum) = 1, with neither sum at infinity.
///
/// What that proves of the signatures that were summed stands at [`verify_aggregate`](crate::verify_aggregate).
#[must_use]
pub fn verify_sum(signature_sum: &G1Affine, key_sum: &G2Affine, message_point: &G1Affine) -> bool {
    let sum = SumToVerify {
        signature_sum: *signature_sum,
        key_sum: *key_sum,
        message_point: *message_point,
    };
    sum.is_of_something() && sum.mismatch().is_zero()
}

/// The verdict of [`verify_sum`] on each of `sums`, in their order.
///
/// Where the processor has AVX-512, eight take little more time than one.
#[must_use]
pub fn verify_sums(sums: &[SumToVerify]) -> Vec<bool> {
    let verdicts = mismatches(sums).into_iter().zip(sums);
    verdicts
        .map(|(mismatch, sum)| mismatch.is_zero() && sum.is_of_something())
        .collect()
}

/// How many mismatches take no more time than one.
pub(crate) fn mismatches_at_once() -> usize {
    backend::avx512().map_or(1, |_| LANES)
}

/// The mismatch of each of `sums`.
pub(crate) fn mismatches(sums: &[SumToVerify]) -> Vec<Mismatch> {
    let Some(avx512) = backend::avx512().filter(|_| sums.len() > 1) else {
        return sums.iter().map(SumToVerify::mismatch).collect();
    };
    let mut mismatches = Vec::with_capacity(sums.len());
    for chunk in sums.chunks(LANES) {
        let lane = |lane: usize| chunk.get(lane);
        let of_lanes = avx512.mismatches(
            &from_lanes(|i| lane(i).map(|sum| sum.signature_sum)),
            &from_lanes(|i| lane(i).map(|sum| sum.message_point)),
            &from_lanes(|i| lane(i).map(|sum| sum.key_sum)),
        );
        mismatches.extend(of_lanes.into_iter().take(chunk.len()).map(PairingOutput));
    }
    mismatches
}

/// e(signature, -G2) · the product of e(point, key) over all `pairs`.
pub(crate) fn product(signature: &G1Affine, pairs: &[(G1Affine, G2Affine)]) -> Mismatch {
    let value = match backend::avx512() {
        Some(avx512) => product_in_lanes(avx512, signature, pairs),
        None => {
            let (points, keys): (Vec<G1Affine>, Vec<G2Affine>) = pairs.iter().copied().unzip();
            let points = core::iter::once(*signature).chain(points);
            let keys = keys.into_iter().map(Into::into);
            let keys = core::iter::once(NEGATED_G2_GENERATOR.clone()).chain(keys);
            Bn254::multi_miller_loop(points, keys).0
        }
    };
    // A value of Miller loops is never zero, the only one without a power.
    Bn254::final_exponentiation(MillerLoopOutput(value)).unwrap_or(PairingOutput(Fq12::ONE))
}

/// The product before the final exponentiation, with a loop for each lane.
fn product_in_lanes(avx512: Avx512, signature: &G1Affine, pairs: &[(G1Affine, G2Affine)]) -> Fq12 {
    let mut all = vec![(*signature, -G2Affine::generator())];
    all.extend_from_slice(pairs);
    let vector = |chunk: &[(G1Affine, G2Affine)]| {
        (
            from_lanes(|lane| chunk.get(lane).map(|pair| pair.0)),
            from_lanes(|lane| chunk.get(lane).map(|pair| pair.1)),
        )
    };
    let vectors: Vec<_> = all.chunks(LANES).map(vector).collect();
    let used = all.len().min(LANES);
    let groups = vectors.chunks(VECTORS_SHARING_SQUARINGS);
    let values = groups.flat_map(|vectors| avx512.miller(vectors).into_iter().take(used));
    values.product()
}

/// One point a lane, the identity where there is none.
fn from_lanes<P: AffineRepr>(point: impl Fn(usize) -> Option<P>) -> [P; LANES] {
    core::array::from_fn(|lane| point(lane).unwrap_or(P::zero()))
}
