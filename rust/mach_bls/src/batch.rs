//! Checks of many signatures that prove each one, by weighing them with fresh random numbers.

use std::collections::HashMap;
use std::hash::Hash;

use ark_bn254::{G1Affine, G2Affine};
use ark_ff::Zero;

use crate::pairing::{product, verify_sum};
use crate::signer_set::{points, reject_unpaired};
use crate::weighted_sum::{Weight, multiples, weighted_sum};
use crate::{BlsError, PublicKeyG2, Signature, hash_to_g1, hash_to_g1_many, sum_g1, sum_g2};

/// Whether each of `signatures` is one by its own key over the one `message`.
///
/// Each is weighed with 64 fresh random bits, so that errors cannot cancel out: a bad signature passes with a
/// probability of 2⁻⁶⁴, whatever the others are. One pairing product and about 5 µs a signature. Nothing is proved by
/// no signatures: `false`.
///
/// # Errors
/// [`BlsError::CountMismatch`] or [`BlsError::NoRandomness`].
pub fn verify_each(
    public_keys: &[PublicKeyG2],
    message: &[u8; 32],
    signatures: &[Signature],
) -> Result<bool, BlsError> {
    reject_unpaired(public_keys.len(), signatures.len())?;
    let weights = Weight::fresh(signatures.len())?;
    let signature = weighted_sum(&Signature::points(signatures), &weights);
    let public_key = weighted_sum(&points(public_keys), &weights);
    Ok(verify_sum(&signature, &public_key, &hash_to_g1(message)))
}

/// A signature with the key and the message that it should be of.
#[derive(Debug, Clone, Copy)]
pub struct SignedMessage {
    /// The signer's key.
    pub public_key: PublicKeyG2,
    /// The digest signed.
    pub message: [u8; 32],
    /// The signature to check.
    pub signature: Signature,
}

/// Whether each signature is one by its key over its message, however many keys and messages there are.
///
/// Each is weighed with 64 fresh random bits: a bad one passes with a probability of 2⁻⁶⁴. One product of pairings: one
/// for the signatures and one for each group of those that share a message, or a key if more share that. Nothing is
/// proved by no signatures: `false`.
///
/// # Errors
/// [`BlsError::NoRandomness`].
pub fn verify_batch(batch: &[SignedMessage]) -> Result<bool, BlsError> {
    if batch.is_empty() {
        return Ok(false);
    }
    let weights = Weight::fresh(batch.len())?;
    let signatures: Vec<G1Affine> = batch
        .iter()
        .map(|item| *item.signature.as_point())
        .collect();
    let signature = weighted_sum(&signatures, &weights);
    Ok(product(&signature, &weighted_pairs(batch, &weights)).is_zero())
}

/// The pairs (message point, key), weighed, with those merged that share one side.
fn weighted_pairs(batch: &[SignedMessage], weights: &[Weight]) -> Vec<(G1Affine, G2Affine)> {
    let messages = Groups::new(batch.iter().map(|item| item.message));
    let keys = Groups::new(batch.iter().map(|item| item.public_key));
    let message_points = hash_to_g1_many(&messages.values);
    let (by_message, by_key): (Vec<usize>, Vec<usize>) =
        (0..batch.len()).partition(|item| messages.size_of(*item) > keys.size_of(*item));

    let weights_of = |items: &[usize]| items.iter().map(|item| weights[*item]).collect::<Vec<_>>();
    let mut pairs = Vec::new();
    // e(H, Σ weight · key) for those that share a message.
    let points = by_message
        .iter()
        .map(|item| *batch[*item].public_key.as_point());
    let weighted = multiples(&points.collect::<Vec<_>>(), &weights_of(&by_message));
    for (group, weighted) in messages.collect(&by_message, weighted) {
        pairs.push((message_points[group], sum_g2(weighted)));
    }
    // e(Σ weight · H, key) for those that share a key.
    let points = by_key
        .iter()
        .map(|item| message_points[messages.group_of[*item]]);
    let weighted = multiples(&points.collect::<Vec<_>>(), &weights_of(&by_key));
    for (group, weighted) in keys.collect(&by_key, weighted) {
        pairs.push((sum_g1(weighted), *keys.values[group].as_point()));
    }
    pairs
}

/// Items grouped by a value of theirs.
struct Groups<V> {
    /// The different values, in the order of their first items.
    values: Vec<V>,
    /// Of each item the index of its value.
    group_of: Vec<usize>,
    /// Of each value the number of its items.
    sizes: Vec<usize>,
}

impl<V: Copy + Eq + Hash> Groups<V> {
    fn new(of_items: impl Iterator<Item = V>) -> Self {
        let mut groups = Self {
            values: Vec::new(),
            group_of: Vec::new(),
            sizes: Vec::new(),
        };
        let mut known = HashMap::new();
        for value in of_items {
            let group = *known.entry(value).or_insert_with(|| {
                groups.values.push(value);
                groups.sizes.push(0);
                groups.values.len() - 1
            });
            groups.group_of.push(group);
            groups.sizes[group] += 1;
        }
        groups
    }

    fn size_of(&self, item: usize) -> usize {
        self.sizes[self.group_of[item]]
    }

    /// What each group has of `points`, which belong to `items`; groups that have nothing are left out.
    fn collect<P>(&self, items: &[usize], points: Vec<P>) -> impl Iterator<Item = (usize, Vec<P>)> {
        let mut collected: Vec<Vec<P>> = self.values.iter().map(|_| Vec::new()).collect();
        for (item, point) in items.iter().zip(points) {
            collected[self.group_of[*item]].push(point);
        }
        collected
            .into_iter()
            .enumerate()
            .filter(|(_, points)| !points.is_empty())
    }
}
