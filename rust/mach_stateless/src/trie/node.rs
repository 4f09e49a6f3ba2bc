//! Trie nodes: what they hold, how they are read, and how they are written.

use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{EMPTY_STRING_CODE, Encodable, Header};
use nybbles::Nibbles;

use crate::rlp::Item;

/// First byte of the RLP of a hash.
const HASH_CODE: u8 = EMPTY_STRING_CODE + 32;

/// Why bytes are not a node of a trie whose keys are all equally long.
///
/// The structure is that of the Yellow Paper, appendix D; what an encoder never writes is refused as well, since two
/// encodings of one trie would have two roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Not canonical RLP.
    #[error("not canonical RLP: {0}")]
    Rlp(#[from] alloy_rlp::Error),
    /// A list of neither 2 nor 17 items.
    #[error("neither a branch (17 items) nor an extension or leaf (2 items)")]
    ItemCount,
    /// The flag nibble of a hex-prefix path is above 3, or the padding nibble of an even path is not zero.
    #[error("hex-prefix flags of a path")]
    PathFlags,
    /// A path that is empty in an extension, or does not end where the keys end.
    #[error("a path of the wrong length")]
    PathLength,
    /// A child that is neither empty, a 32-byte hash, nor a node shorter than 32 bytes.
    #[error("a child that is neither a hash nor an embedded node")]
    Child,
    /// A leaf without a value, or a branch with one.
    #[error("a value where none belongs, or none where one belongs")]
    Value,
    /// A branch with fewer than two children.
    #[error("a branch with fewer than two children")]
    BranchArity,
    /// An extension over something other than a branch.
    #[error("an extension that does not lead to a branch")]
    ExtensionChild,
}

/// How a parent refers to a node: by hash, or, if the node's RLP is shorter than 32 bytes, by the RLP itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Hash(B256),
    Embedded { len: u8, rlp: [u8; 31] },
}

impl Reference {
    /// The reference that holds `encoded` itself; `None` if it is too long for that.
    pub(super) fn embedding(encoded: &[u8]) -> Option<Self> {
        let mut rlp = [0; 31];
        rlp.get_mut(..encoded.len())?.copy_from_slice(encoded);
        // At most 31, so the cast cannot cut.
        Some(Self::Embedded {
            len: encoded.len() as u8,
            rlp,
        })
    }

    /// Whether a node with this encoding is embedded in its parent.
    pub(super) const fn embeds(encoded: &[u8]) -> bool {
        encoded.len() < 32
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::Hash(_) => 33,
            Self::Embedded { len, .. } => usize::from(*len),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hash(hash) => hash.encode(out),
            Self::Embedded { len, rlp } => out.extend_from_slice(&rlp[..usize::from(*len)]),
        }
    }

    /// The hash that this node has as the root of a trie.
    pub(super) fn root(&self) -> B256 {
        match self {
            Self::Hash(hash) => *hash,
            Self::Embedded { len, rlp } => keccak256(&rlp[..usize::from(*len)]),
        }
    }
}

/// A subtrie. What was read from a witness borrows from it; what was written since is owned.
#[derive(Clone, Debug, Default)]
pub(super) enum Node<'w> {
    /// No key here.
    #[default]
    Empty,
    /// Known by its hash only; read from the witness when something below it is asked for.
    Hash(&'w B256),
    Leaf(Box<Leaf<'w>>),
    Extension(Box<Extension<'w>>),
    Branch(Box<Branch<'w>>),
}

/// `reference` is what the parent holds; `None` once something below has changed.
#[derive(Clone, Debug)]
pub(super) struct Leaf<'w> {
    pub(super) path: Nibbles,
    pub(super) value: Cow<'w, [u8]>,
    pub(super) reference: Option<Reference>,
}

#[derive(Clone, Debug)]
pub(super) struct Extension<'w> {
    pub(super) path: Nibbles,
    pub(super) child: Node<'w>,
    pub(super) reference: Option<Reference>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Branch<'w> {
    pub(super) children: [Node<'w>; 16],
    pub(super) reference: Option<Reference>,
}

impl<'w> Node<'w> {
    pub(super) fn leaf(path: Nibbles, value: Cow<'w, [u8]>) -> Self {
        Self::Leaf(Box::new(Leaf {
            path,
            value,
            reference: None,
        }))
    }

    /// An extension over `child`, or `child` itself if the path is empty.
    pub(super) fn extension(path: Nibbles, child: Self) -> Self {
        if path.is_empty() {
            child
        } else {
            Self::Extension(Box::new(Extension {
                path,
                child,
                reference: None,
            }))
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Reads the node that `encoded` is the whole RLP of and `hash` the Keccak-256 hash of; `remaining` is the number
    /// of nibbles between this node and the end of every key.
    pub(super) fn decode(
        encoded: &'w [u8],
        hash: B256,
        remaining: usize,
    ) -> Result<Self, NodeError> {
        Self::decode_with(encoded, Reference::Hash(hash), remaining)
    }

    fn decode_with(
        encoded: &'w [u8],
        reference: Reference,
        remaining: usize,
    ) -> Result<Self, NodeError> {
        let mut payload = Item::only(encoded)?.into_list()?;
        let whole = payload;
        let first = Item::next(&mut payload)?;
        let second = Item::next(&mut payload)?;
        if payload.is_empty() {
            return Self::decode_short(first, second, reference, remaining);
        }
        let mut payload = whole;
        let below = remaining.checked_sub(1).ok_or(NodeError::PathLength)?;
        let mut branch = Branch {
            reference: Some(reference),
            ..Branch::default()
        };
        for child in &mut branch.children {
            *child = Self::next_child(&mut payload, below)?;
        }
        match payload {
            [EMPTY_STRING_CODE] => {}
            _ if crate::rlp::count(payload)? == 1 => return Err(NodeError::Value),
            _ => return Err(NodeError::ItemCount),
        }
        if branch
            .children
            .iter()
            .filter(|child| !child.is_empty())
            .count()
            < 2
        {
            return Err(NodeError::BranchArity);
        }
        Ok(Self::Branch(Box::new(branch)))
    }

    /// Reads a node of two items: a leaf or an extension.
    fn decode_short(
        path: Item<'w>,
        rest: Item<'w>,
        reference: Reference,
        remaining: usize,
    ) -> Result<Self, NodeError> {
        let (is_leaf, path) = decode_path(path.into_string()?, remaining)?;
        let reference = Some(reference);
        if is_leaf {
            let value = rest.into_string()?;
            return match (path.len() == remaining, value.is_empty()) {
                (false, _) => Err(NodeError::PathLength),
                (true, true) => Err(NodeError::Value),
                (true, false) => Ok(Self::Leaf(Box::new(Leaf {
                    path,
                    value: Cow::Borrowed(value),
                    reference,
                }))),
            };
        }
        if path.is_empty() || path.len() >= remaining {
            return Err(NodeError::PathLength);
        }
        match Self::decode_child(rest, remaining - path.len())? {
            child @ (Self::Hash(_) | Self::Branch(_)) => Ok(Self::Extension(Box::new(Extension {
                path,
                child,
                reference,
            }))),
            _ => Err(NodeError::ExtensionChild),
        }
    }

    /// Reads a branch's next child. Almost all are empty or a hash.
    fn next_child(payload: &mut &'w [u8], remaining: usize) -> Result<Self, NodeError> {
        match *payload {
            [EMPTY_STRING_CODE, rest @ ..] => {
                *payload = rest;
                return Ok(Self::Empty);
            }
            [HASH_CODE, rest @ ..] => {
                if let Some((hash, rest)) = rest.split_first_chunk() {
                    *payload = rest;
                    return Ok(Self::Hash(hash.into()));
                }
            }
            _ => {}
        }
        let item = Item::next(payload).map_err(|_| NodeError::ItemCount)?;
        Self::decode_child(item, remaining)
    }

    /// Reads what stands in a child's place. An embedded node is shorter than 32 bytes, which also bounds the depth of
    /// this recursion: every level takes at least three bytes.
    fn decode_child(item: Item<'w>, remaining: usize) -> Result<Self, NodeError> {
        if item.list {
            return match Reference::embedding(item.encoded) {
                Some(reference) => Self::decode_with(item.encoded, reference, remaining),
                None => Err(NodeError::Child),
            };
        }
        match item.payload.len() {
            0 => Ok(Self::Empty),
            _ => item
                .payload
                .try_into()
                .map(Self::Hash)
                .map_err(|_| NodeError::Child),
        }
    }

    /// How a parent refers to this node; `None` for the empty one, and for one that has changed.
    pub(super) fn reference(&self) -> Option<Reference> {
        match self {
            Self::Empty => None,
            Self::Hash(hash) => Some(Reference::Hash(**hash)),
            Self::Leaf(leaf) => leaf.reference,
            Self::Extension(extension) => extension.reference,
            Self::Branch(branch) => branch.reference,
        }
    }

    /// Sets what a parent holds of this node.
    pub(super) fn set_reference(&mut self, reference: Option<Reference>) {
        match self {
            Self::Leaf(leaf) => leaf.reference = reference,
            Self::Extension(extension) => extension.reference = reference,
            Self::Branch(branch) => branch.reference = reference,
            Self::Empty | Self::Hash(_) => {}
        }
    }

    /// Whether something in this node or below it has changed since its reference was found.
    pub(super) fn has_changed(&self) -> bool {
        match self {
            Self::Empty | Self::Hash(_) => false,
            Self::Leaf(leaf) => leaf.reference.is_none(),
            Self::Extension(extension) => extension.reference.is_none(),
            Self::Branch(branch) => branch.reference.is_none(),
        }
    }

    /// Appends the RLP of this node, whose children have their references.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty | Self::Hash(_) => {}
            Self::Leaf(leaf) => {
                let (path, path_len) = encode_path(&leaf.path, true);
                let (path, value) = (&path[..path_len], leaf.value.as_ref());
                start_list(path.length() + value.length(), out);
                path.encode(out);
                value.encode(out);
            }
            Self::Extension(extension) => {
                let (path, path_len) = encode_path(&extension.path, false);
                let (path, child) = (&path[..path_len], extension.child.reference());
                start_list(path.length() + reference_len(child.as_ref()), out);
                path.encode(out);
                encode_reference(child.as_ref(), out);
            }
            Self::Branch(branch) => {
                let references = branch.children.each_ref().map(Node::reference);
                let children: usize = references
                    .iter()
                    .map(|child| reference_len(child.as_ref()))
                    .sum();
                start_list(children + 1, out);
                for child in &references {
                    encode_reference(child.as_ref(), out);
                }
                out.push(EMPTY_STRING_CODE);
            }
        }
    }
}

fn start_list(payload_length: usize, out: &mut Vec<u8>) {
    Header {
        list: true,
        payload_length,
    }
    .encode(out);
}

fn reference_len(reference: Option<&Reference>) -> usize {
    reference.map_or(1, Reference::encoded_len)
}

fn encode_reference(reference: Option<&Reference>, out: &mut Vec<u8>) {
    match reference {
        Some(reference) => reference.encode(out),
        None => out.push(EMPTY_STRING_CODE),
    }
}

/// Reads a hex-prefix path (Yellow Paper, appendix C) of at most `limit` nibbles: whether it is a leaf's, and the path.
fn decode_path(encoded: &[u8], limit: usize) -> Result<(bool, Nibbles), NodeError> {
    let (&first, rest) = encoded.split_first().ok_or(NodeError::PathLength)?;
    let (flags, low) = (first >> 4, first & 0x0f);
    let odd = flags & 1 == 1;
    if flags > 3 || (!odd && low != 0) {
        return Err(NodeError::PathFlags);
    }
    if rest.len() * 2 + usize::from(odd) > limit {
        return Err(NodeError::PathLength);
    }
    let mut path = Nibbles::new();
    if odd {
        path.push(low);
    }
    path.extend(&Nibbles::unpack(rest));
    Ok((flags & 2 == 2, path))
}

/// Writes a path of at most 64 nibbles in hex-prefix form: the buffer and how many bytes of it are used.
fn encode_path(path: &Nibbles, is_leaf: bool) -> ([u8; 33], usize) {
    let mut out = [0; 33];
    let odd = path.len() % 2;
    out[0] = u8::from(is_leaf) << 5;
    if odd == 1 {
        out[0] |= 0x10 | path.get_unchecked(0);
    }
    let pairs = path.len() / 2;
    for (index, byte) in out[1..=pairs].iter_mut().enumerate() {
        let at = odd + 2 * index;
        *byte = path.get_unchecked(at) << 4 | path.get_unchecked(at + 1);
    }
    (out, 1 + pairs)
}
