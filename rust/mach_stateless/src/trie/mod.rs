//! A sparse Merkle-Patricia trie over a [`Witness`]: nodes are read when a key leads to them, and hashed again only
//! where something below them has changed.

mod hashing;
mod node;

use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use alloy_primitives::{B256, b256};
use nybbles::Nibbles;

pub(crate) use hashing::hash_changed;
pub use node::NodeError;
use node::{Branch, Node};

use crate::witness::Witness;

/// The root of a trie without keys: `keccak256(rlp(""))`.
pub const EMPTY_ROOT: B256 =
    b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");

/// Nibbles in a key. State and storage tries are keyed by Keccak-256 hashes.
const KEY_NIBBLES: usize = 64;

/// Why a trie cannot answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrieError {
    /// The witness lacks the node with this hash. This says nothing about the trie, only about the witness.
    #[error("trie node {0} is not in the witness")]
    Missing(B256),
    /// The bytes with this hash are no trie node: the root does not stem from a trie at all.
    #[error("trie node {hash} is malformed: {error}")]
    Malformed {
        /// Hash of the node, or of the node that embeds it.
        hash: B256,
        /// What is wrong with it.
        error: NodeError,
    },
}

/// A trie with 32-byte keys of which only the touched paths are in memory.
///
/// After an error the trie may hold a change half made: take the error for the answer and drop the trie.
#[derive(Clone, Debug, Default)]
pub struct Trie<'w> {
    root: Node<'w>,
}

impl<'w> Trie<'w> {
    /// A trie without keys.
    pub const fn empty() -> Self {
        Self { root: Node::Empty }
    }

    /// Opens the trie with this root; reads its first node.
    ///
    /// # Errors
    /// [`TrieError`] if that node is missing or malformed.
    pub fn open(root: B256, witness: &Witness<'w>) -> Result<Self, TrieError> {
        if root == EMPTY_ROOT {
            Ok(Self::empty())
        } else {
            Ok(Self {
                root: read(root, KEY_NIBBLES, witness)?,
            })
        }
    }

    /// The value under `key`, or `None` if the trie is known not to hold the key.
    ///
    /// # Errors
    /// [`TrieError`] if a node on the way is missing or malformed.
    pub fn get(&mut self, key: &B256, witness: &Witness<'w>) -> Result<Option<&[u8]>, TrieError> {
        let key = Nibbles::unpack_array(key);
        let mut node = &mut self.root;
        let mut depth = 0;
        loop {
            node.reveal(depth, witness)?;
            match node {
                // `reveal` has replaced a hash.
                Node::Empty | Node::Hash(_) => return Ok(None),
                Node::Leaf(leaf) => {
                    return Ok((leaf.path == key.slice_unchecked(depth, KEY_NIBBLES))
                        .then_some(leaf.value.as_ref()));
                }
                Node::Extension(extension) => {
                    if key.slice_unchecked(depth, depth + extension.path.len()) != extension.path {
                        return Ok(None);
                    }
                    depth += extension.path.len();
                    node = &mut extension.child;
                }
                Node::Branch(branch) => {
                    node = branch.child_mut(key.get_unchecked(depth));
                    depth += 1;
                }
            }
        }
    }

    /// Sets the value under `key`. An empty value removes the key, as a trie cannot hold one.
    ///
    /// # Errors
    /// [`TrieError`] if a node on the way is missing or malformed.
    pub fn insert(
        &mut self,
        key: &B256,
        value: Vec<u8>,
        witness: &Witness<'w>,
    ) -> Result<(), TrieError> {
        if value.is_empty() {
            return self.remove(key, witness).map(drop);
        }
        self.root
            .insert(&Nibbles::unpack_array(key), 0, Cow::Owned(value), witness)
    }

    /// Removes `key`; whether it was there.
    ///
    /// # Errors
    /// [`TrieError`] if a node on the way is missing or malformed, or the sibling that takes the place of a branch
    /// that is left with one child.
    pub fn remove(&mut self, key: &B256, witness: &Witness<'w>) -> Result<bool, TrieError> {
        self.root.remove(&Nibbles::unpack_array(key), 0, witness)
    }
}

/// Reads the node with this hash, `remaining` nibbles above the end of the keys.
fn read<'w>(hash: B256, remaining: usize, witness: &Witness<'w>) -> Result<Node<'w>, TrieError> {
    let encoded = witness.get(&hash).ok_or(TrieError::Missing(hash))?;
    Node::decode(encoded, hash, remaining).map_err(|error| TrieError::Malformed { hash, error })
}

impl<'w> Branch<'w> {
    fn child_mut(&mut self, nibble: u8) -> &mut Node<'w> {
        &mut self.children[usize::from(nibble & 0x0f)]
    }
}

impl<'w> Node<'w> {
    /// Reads this node from the witness if only its hash is known.
    fn reveal(&mut self, depth: usize, witness: &Witness<'w>) -> Result<(), TrieError> {
        if let Node::Hash(hash) = self {
            *self = read(**hash, KEY_NIBBLES - depth, witness)?;
        }
        Ok(())
    }

    /// Reads the node below an extension: it must be a branch.
    fn reveal_branch(&mut self, depth: usize, witness: &Witness<'w>) -> Result<(), TrieError> {
        if let Node::Hash(hash) = self {
            let hash = **hash;
            self.reveal(depth, witness)?;
            if !matches!(self, Node::Branch(_)) {
                return Err(TrieError::Malformed {
                    hash,
                    error: NodeError::ExtensionChild,
                });
            }
        }
        Ok(())
    }

    fn insert(
        &mut self,
        key: &Nibbles,
        depth: usize,
        value: Cow<'w, [u8]>,
        witness: &Witness<'w>,
    ) -> Result<(), TrieError> {
        self.reveal(depth, witness)?;
        let rest = key.slice_unchecked(depth, KEY_NIBBLES);
        match self {
            Node::Empty | Node::Hash(_) => *self = Node::leaf(rest, value),
            Node::Leaf(leaf) => {
                if leaf.path == rest {
                    if leaf.value != value {
                        leaf.value = value;
                        leaf.reference = None;
                    }
                    return Ok(());
                }
                let shared = leaf.path.common_prefix_length(&rest);
                let old = Node::leaf(
                    tail(&leaf.path, shared + 1),
                    core::mem::take(&mut leaf.value),
                );
                *self = fork(&rest, shared, leaf.path.get_unchecked(shared), old, value);
            }
            Node::Extension(extension) => {
                let shared = extension.path.common_prefix_length(&rest);
                if shared == extension.path.len() {
                    extension.reference = None;
                    extension.child.reveal_branch(depth + shared, witness)?;
                    return extension.child.insert(key, depth + shared, value, witness);
                }
                let child = core::mem::take(&mut extension.child);
                let old = Node::extension(tail(&extension.path, shared + 1), child);
                *self = fork(
                    &rest,
                    shared,
                    extension.path.get_unchecked(shared),
                    old,
                    value,
                );
            }
            Node::Branch(branch) => {
                branch.reference = None;
                return branch.child_mut(key.get_unchecked(depth)).insert(
                    key,
                    depth + 1,
                    value,
                    witness,
                );
            }
        }
        Ok(())
    }

    fn remove(
        &mut self,
        key: &Nibbles,
        depth: usize,
        witness: &Witness<'w>,
    ) -> Result<bool, TrieError> {
        self.reveal(depth, witness)?;
        match self {
            Node::Empty | Node::Hash(_) => return Ok(false),
            Node::Leaf(leaf) => {
                if leaf.path != key.slice_unchecked(depth, KEY_NIBBLES) {
                    return Ok(false);
                }
                *self = Node::Empty;
            }
            Node::Extension(extension) => {
                let below = depth + extension.path.len();
                if key.slice_unchecked(depth, below) != extension.path {
                    return Ok(false);
                }
                extension.child.reveal_branch(below, witness)?;
                if !extension.child.remove(key, below, witness)? {
                    return Ok(false);
                }
                let child = core::mem::take(&mut extension.child);
                *self = child.below(extension.path);
            }
            Node::Branch(branch) => {
                if !branch
                    .child_mut(key.get_unchecked(depth))
                    .remove(key, depth + 1, witness)?
                {
                    return Ok(false);
                }
                branch.reference = None;
                let mut left =
                    (0u8..16).filter(|nibble| !branch.children[usize::from(*nibble)].is_empty());
                match (left.next(), left.next()) {
                    (Some(nibble), None) => {
                        let child = branch.child_mut(nibble);
                        // Whether the sibling merges with the nibble above it depends on its kind.
                        child.reveal(depth + 1, witness)?;
                        *self = core::mem::take(child).below(Nibbles::from_nibbles([nibble]));
                    }
                    (None, _) => *self = Node::Empty,
                    _ => {}
                }
            }
        }
        Ok(true)
    }

    /// This node with `prefix` put before it: leaves and extensions take it into their path.
    fn below(self, prefix: Nibbles) -> Self {
        match self {
            Node::Leaf(leaf) => Node::leaf(prefix.join(&leaf.path), leaf.value),
            Node::Extension(extension) => {
                Node::extension(prefix.join(&extension.path), extension.child)
            }
            Node::Empty => Node::Empty,
            child => Node::extension(prefix, child),
        }
    }
}

/// The path from nibble `from` to its end.
fn tail(path: &Nibbles, from: usize) -> Nibbles {
    path.slice_unchecked(from, path.len())
}

/// A branch after `shared` nibbles of `rest`: `old` under `old_nibble`, and a leaf for the rest of the new key.
fn fork<'w>(
    rest: &Nibbles,
    shared: usize,
    old_nibble: u8,
    old: Node<'w>,
    value: Cow<'w, [u8]>,
) -> Node<'w> {
    let mut branch = Branch::default();
    *branch.child_mut(old_nibble) = old;
    *branch.child_mut(rest.get_unchecked(shared)) = Node::leaf(tail(rest, shared + 1), value);
    Node::extension(
        rest.slice_unchecked(0, shared),
        Node::Branch(Box::new(branch)),
    )
}
