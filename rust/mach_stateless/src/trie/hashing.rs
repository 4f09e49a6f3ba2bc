//! Hashing what has changed in tries: level by level from the deepest up, so that many nodes are hashed at once.

use alloc::vec::Vec;
use alloy_primitives::B256;

use super::{
    EMPTY_ROOT, Trie,
    node::{Node, Reference},
};
use crate::hashing::keccak256_many;

/// A node taken out of its place for as long as its level is at work.
struct Taken<'w> {
    node: Node<'w>,
    /// Index of the parent in the level above; of the trie for a root.
    parent: usize,
    /// Which of a branch's children this is; of no account below an extension.
    nibble: u8,
}

impl<'w> Trie<'w> {
    /// The root of the trie as it now stands.
    pub fn root(&mut self) -> B256 {
        hash_changed(&mut [self]);
        self.root
            .reference()
            .map_or(EMPTY_ROOT, |reference| reference.root())
    }
}

/// Hashes every node that has changed in any of `tries`: after it, [`Trie::root`] of each has nothing left to do.
pub(crate) fn hash_changed(tries: &mut [&mut Trie<'_>]) {
    let mut levels = Vec::new();
    let mut level = Vec::new();
    for (parent, trie) in tries.iter_mut().enumerate() {
        take(&mut trie.root, parent, 0, &mut level);
    }
    while !level.is_empty() {
        let mut next = Vec::new();
        for (parent, taken) in level.iter_mut().enumerate() {
            match &mut taken.node {
                Node::Branch(branch) => {
                    for (nibble, child) in (0..).zip(&mut branch.children) {
                        take(child, parent, nibble, &mut next);
                    }
                }
                Node::Extension(extension) => take(&mut extension.child, parent, 0, &mut next),
                Node::Leaf(_) | Node::Hash(_) | Node::Empty => {}
            }
        }
        levels.push(core::mem::replace(&mut level, next));
    }
    let mut encodings = Encodings::default();
    while let Some(mut level) = levels.pop() {
        encodings.reference(&mut level);
        for Taken {
            node,
            parent,
            nibble,
        } in level
        {
            let place = match levels.last_mut() {
                None => tries.get_mut(parent).map(|trie| &mut trie.root),
                Some(above) => above
                    .get_mut(parent)
                    .and_then(|taken| match &mut taken.node {
                        Node::Branch(branch) => branch.children.get_mut(usize::from(nibble)),
                        Node::Extension(extension) => Some(&mut extension.child),
                        Node::Leaf(_) | Node::Hash(_) | Node::Empty => None,
                    }),
            };
            if let Some(place) = place {
                *place = node;
            }
        }
    }
}

/// Moves a node that has changed to `level`.
fn take<'w>(node: &mut Node<'w>, parent: usize, nibble: u8, level: &mut Vec<Taken<'w>>) {
    if node.has_changed() {
        level.push(Taken {
            node: core::mem::take(node),
            parent,
            nibble,
        });
    }
}

/// The encodings of a level's nodes, one behind the other.
#[derive(Default)]
struct Encodings {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Encodings {
    /// Finds the reference of each node, whose children have theirs.
    fn reference(&mut self, level: &mut [Taken<'_>]) {
        self.bytes.clear();
        self.ends.clear();
        for taken in &*level {
            taken.node.encode(&mut self.bytes);
            self.ends.push(self.bytes.len());
        }
        let mut start = 0;
        let encodings: Vec<&[u8]> = self
            .ends
            .iter()
            .map(|end| &self.bytes[core::mem::replace(&mut start, *end)..*end])
            .collect();
        let long: Vec<&[u8]> = encodings
            .iter()
            .copied()
            .filter(|encoded| !Reference::embeds(encoded))
            .collect();
        let mut hashes = keccak256_many(&long).into_iter();
        for (taken, encoded) in level.iter_mut().zip(encodings) {
            let reference =
                Reference::embedding(encoded).or_else(|| hashes.next().map(Reference::Hash));
            taken.node.set_reference(reference);
        }
    }
}
