use std::collections::VecDeque;

use ark_bn254::{Fq, G1Affine};
use ark_ff::{AdditiveGroup, Field, PrimeField};

use crate::avx512::{Avx512, CANDIDATES};
use crate::backend;
use crate::square_root::square_root;

/// Maps a 32-byte digest to a G1 point as EigenLayer's `BN254.hashToG1` does.
///
/// x starts as the digest modulo p and grows by one until x³ + 3 is a square; y is the root (x³ + 3)^((p+1)/4) as it
/// is, without a rule for its sign. Two tries are needed on average. The number of tries depends on the digest, which
/// is public. Source: `hashToG1` and `findYFromX` of eigenlayer-middleware v0.1.2, `src/libraries/BN254.sol`.
pub fn hash_to_g1(digest: &[u8; 32]) -> G1Affine {
    let mut x = Fq::from_be_bytes_mod_order(digest);
    let three = Fq::from(3_u8);
    loop {
        if let Some(y) = square_root(&(x.square() * x + three)) {
            return G1Affine::new_unchecked(x, y);
        }
        x += Fq::ONE;
    }
}

/// The points of many digests, in their order, as [`hash_to_g1`] maps each.
///
/// Several digests are worked on at once where the processor can; a batch of 64 and more makes the most of that.
#[must_use]
pub fn hash_to_g1_many(digests: &[[u8; 32]]) -> Vec<G1Affine> {
    match backend::avx512() {
        Some(avx512) if digests.len() > 1 => hash_in_lanes(avx512, digests),
        _ => digests.iter().map(hash_to_g1).collect(),
    }
}

/// A digest that has no point yet.
struct Search {
    position: usize,
    /// The next number to try.
    x: Fq,
}

/// Tries as many numbers at once as there are candidates: one for each of the first digests without a point, or
/// consecutive ones for each where digests are too few.
fn hash_in_lanes(avx512: Avx512, digests: &[[u8; 32]]) -> Vec<G1Affine> {
    let mut points = vec![G1Affine::identity(); digests.len()];
    let start = |(position, digest): (usize, &[u8; 32])| Search {
        position,
        x: Fq::from_be_bytes_mod_order(digest),
    };
    let mut searches: VecDeque<Search> = digests.iter().enumerate().map(start).collect();
    while !searches.is_empty() {
        let tries = (CANDIDATES / searches.len()).max(1);
        let mut tried: Vec<Search> = searches.drain(..searches.len().min(CANDIDATES)).collect();
        let mut candidates = [Fq::ZERO; CANDIDATES];
        for (lane, candidate) in candidates.iter_mut().enumerate() {
            // Lanes left over try zero, to no effect.
            if let Some(search) = tried.get_mut(lane / tries) {
                *candidate = search.x;
                search.x += Fq::ONE;
            }
        }
        let found = avx512.points_at(&candidates);
        for (search, found) in tried.into_iter().zip(found.chunks(tries)) {
            match found.iter().flatten().next() {
                Some(point) => points[search.position] = *point,
                None => searches.push_front(search),
            }
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portably;
    use ark_ec::AffineRepr;
    use ark_ff::{BigInteger, Zero};
    use proptest::prelude::*;

    #[test]
    fn a_digest_of_the_modulus_is_a_digest_of_zero() {
        let modulus: [u8; 32] = Fq::MODULUS.to_bytes_be().try_into().unwrap();
        assert_eq!(hash_to_g1(&modulus), hash_to_g1(&[0; 32]));
    }

    proptest! {
        #[test]
        fn the_point_is_the_first_on_the_curve_from_the_digest_on(digest: [u8; 32]) {
            let point = hash_to_g1(&digest);
            prop_assert!(point.is_on_curve() && !point.is_zero());
            let mut x = Fq::from_be_bytes_mod_order(&digest);
            while x != point.x {
                prop_assert!(!(x.square() * x + Fq::from(3_u8)).legendre().is_qr());
                x += Fq::ONE;
            }
            // The root a^((p+1)/4) of a square is a square itself, which tells it from its negative.
            prop_assert!(point.y.legendre().is_qr() || point.y.is_zero());
        }

        #[test]
        fn many_digests_hash_as_each_does(digests in proptest::collection::vec(any::<[u8; 32]>(), 0..70)) {
            let expected: Vec<G1Affine> = digests.iter().map(hash_to_g1).collect();
            prop_assert_eq!(&hash_to_g1_many(&digests), &expected);
            prop_assert_eq!(&portably(|| hash_to_g1_many(&digests)), &expected);
        }
    }
}
