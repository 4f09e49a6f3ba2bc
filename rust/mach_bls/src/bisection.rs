use ark_bn254::G1Affine;
use ark_ff::Zero;

use crate::affine::SumTree;
use crate::pairing::{Mismatch, SumToVerify, mismatches, mismatches_at_once};
use crate::signer_set::{points, reject_unpaired};
use crate::{BlsError, PublicKeyG2, Signature};

/// Positions of the bad signatures, ascending, given the point that the message hashes to.
///
/// The signatures and keys are summed in a tree; where a sum is wrong, its halves are looked at. One pairing product
/// decides both halves, because what is wrong with the right half is what is wrong with both, divided by what is wrong
/// with the left. Only wrong halves are split further, so k bad ones among n cost about k · log2(n) products.
///
/// Each position named is of a signature that is bad. All the others together sum to a good signature by all their
/// keys; that they are good one by one is certain only where nobody made errors that cancel out: σ₁ + Δ and σ₂ − Δ
/// sum to the right thing. Where each must be good, ask [`verify_each`](crate::verify_each).
///
/// # Errors
/// [`BlsError::CountMismatch`].
pub fn find_invalid(
    public_keys: &[PublicKeyG2],
    message_point: &G1Affine,
    signatures: &[Signature],
) -> Result<Vec<usize>, BlsError> {
    reject_unpaired(public_keys.len(), signatures.len())?;
    if signatures.is_empty() {
        return Ok(Vec::new());
    }
    let search = Search {
        signatures: SumTree::new(Signature::points(signatures)),
        keys: SumTree::new(points(public_keys)),
        message_point,
    };
    Ok(search.run())
}

struct Search<'a> {
    signatures: SumTree<ark_bn254::g1::Config>,
    keys: SumTree<ark_bn254::g2::Config>,
    message_point: &'a G1Affine,
}

/// A node whose sum is wrong, by its index in its level, and by how much.
struct Wrong {
    index: usize,
    mismatch: Mismatch,
}

impl Search<'_> {
    fn run(&self) -> Vec<usize> {
        let mut height = self.signatures.levels().len() - 1;
        let root = self.sum(height, 0).mismatch();
        let mut wrong = vec![Wrong {
            index: 0,
            mismatch: root,
        }];
        wrong.retain(|node| !node.mismatch.is_zero());
        while height > 0 && !wrong.is_empty() {
            let levels = levels_at_once(wrong.len(), mismatches_at_once()).min(height);
            height -= levels;
            wrong = self.descend(height, levels, wrong);
        }
        wrong.into_iter().map(|node| node.index).collect()
    }

    /// The wrong nodes at `height`, given those `levels` above.
    fn descend(&self, height: usize, levels: usize, above: Vec<Wrong>) -> Vec<Wrong> {
        let width = self.signatures.levels()[height].len();
        // Of each node's descendants all but the last are computed, which is what is left.
        let spans = above.iter().map(|node| {
            let first = node.index << levels;
            first..((node.index + 1) << levels).min(width) - 1
        });
        let sums: Vec<SumToVerify> = spans
            .clone()
            .flatten()
            .map(|index| self.sum(height, index))
            .collect();
        let mut computed = mismatches(&sums).into_iter();
        let mut below = Vec::with_capacity(above.len() << levels);
        for (span, node) in spans.zip(&above) {
            let last = span.end;
            let mut rest = node.mismatch;
            for (index, mismatch) in span.zip(&mut computed) {
                rest -= mismatch;
                below.push(Wrong { index, mismatch });
            }
            below.push(Wrong {
                index: last,
                mismatch: rest,
            });
        }
        below.retain(|node| !node.mismatch.is_zero());
        below
    }

    fn sum(&self, height: usize, index: usize) -> SumToVerify {
        SumToVerify {
            signature_sum: self.signatures.levels()[height][index],
            key_sum: self.keys.levels()[height][index],
            message_point: *self.message_point,
        }
    }
}

/// How many levels to go down in one step: `wrong` nodes have 2^levels − 1 descendants to compute each, and a few
/// mismatches at once take the time of one.
fn levels_at_once(wrong: usize, at_once: usize) -> usize {
    let mut levels = 1;
    while wrong * ((2 << levels) - 1) <= at_once {
        levels += 1;
    }
    levels
}
