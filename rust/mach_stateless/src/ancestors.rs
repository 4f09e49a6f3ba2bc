//! Hashes of the blocks before this one, for `BLOCKHASH`.

use alloc::{vec, vec::Vec};
use alloy_consensus::Header;
use alloy_primitives::{B256, map::B256Map};

use crate::{block::decode_header, error::Error};

/// The hashes that follow, one from the next, from the block's `parent_hash` through the headers given.
#[derive(Clone, Debug)]
pub(crate) struct Ancestors {
    /// Number of the parent.
    parent: u64,
    /// Hash of block `parent - i` at index `i`; never empty.
    hashes: Vec<B256>,
}

impl Ancestors {
    /// Follows the chain back from `parent`. Headers that are not on it have no effect.
    pub(crate) fn new(
        parent: &Header,
        parent_hash: B256,
        headers: &[&[u8]],
    ) -> Result<Self, Error> {
        let mut parents = B256Map::default();
        for encoded in headers {
            let (header, hash) = decode_header(encoded, "ancestor header")?;
            parents.insert(hash, header.parent_hash);
        }
        let mut hashes = vec![parent_hash, parent.parent_hash];
        // Each header leads one step further, and a hash cannot lead back to itself: the walk ends.
        let mut last = parent.parent_hash;
        while let Some(next) = parents.remove(&last) {
            hashes.push(next);
            last = next;
        }
        Ok(Self {
            parent: parent.number,
            hashes,
        })
    }

    /// The hash of block `number`.
    pub(crate) fn hash(&self, number: u64) -> Result<B256, Error> {
        let back = self
            .parent
            .checked_sub(number)
            .and_then(|back| usize::try_from(back).ok());
        match (
            back.and_then(|back| self.hashes.get(back)),
            self.hashes.last(),
        ) {
            (Some(hash), _) => Ok(*hash),
            (None, last) => Err(Error::MissingAncestor {
                number,
                hash: last.copied().unwrap_or_default(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    /// Headers of blocks 1 to `last`, each the parent of the next, and their hashes.
    fn chain(last: u64) -> (Vec<Header>, Vec<B256>) {
        let (mut headers, mut hashes) = (Vec::new(), vec![B256::ZERO]);
        for number in 1..=last {
            let parent_hash = hashes[hashes.len() - 1];
            let header = Header {
                number,
                parent_hash,
                ..Header::default()
            };
            hashes.push(header.hash_slow());
            headers.push(header);
        }
        (headers, hashes)
    }

    #[test]
    fn hashes_reach_as_far_back_as_the_headers_given() {
        let (headers, hashes) = chain(6);
        let encoded: Vec<Vec<u8>> = headers.iter().map(alloy_rlp::encode).collect();
        // The parent is block 6; blocks 5 and 4 are given, in the wrong order and among others.
        let given: Vec<&[u8]> = [4, 3, 0].map(|at: usize| encoded[at].as_slice()).to_vec();
        let ancestors = Ancestors::new(&headers[5], hashes[6], &given).unwrap();
        for number in 3..=6 {
            assert_eq!(ancestors.hash(number), Ok(hashes[number as usize]));
        }
        // The hash of block 2 stands in the header of block 3.
        for number in [0, 1, 2] {
            assert_eq!(
                ancestors.hash(number),
                Err(Error::MissingAncestor {
                    number,
                    hash: hashes[3]
                })
            );
        }
        assert!(matches!(
            ancestors.hash(7),
            Err(Error::MissingAncestor { .. })
        ));
    }

    #[test]
    fn a_header_that_is_none_is_an_error() {
        let (headers, hashes) = chain(2);
        let error = Ancestors::new(&headers[1], hashes[2], &[&[0xc0]]).unwrap_err();
        assert!(error.to_string().starts_with("malformed ancestor header"));
    }
}
