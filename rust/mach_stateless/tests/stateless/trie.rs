//! The sparse trie against alloy-trie's builder, and its decoder against anything at all.

use std::collections::BTreeMap;

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::{HashBuilder, Nibbles, proof::ProofRetainer};
use mach_stateless::{EMPTY_ROOT, NodeError, Trie, TrieError, Witness};
use proptest::{collection::vec, prelude::*};

type Model = BTreeMap<B256, Vec<u8>>;

/// Keys that share long prefixes, so that there are extensions, deep branches and nodes short enough to be embedded.
fn key() -> impl Strategy<Value = B256> {
    (0_usize..32, 0_u8..4, 0_u8..4, any::<bool>()).prop_map(|(at, high, low, tail)| {
        let mut key = if tail {
            B256::repeat_byte(0x11)
        } else {
            B256::ZERO
        };
        key.0[at] = high << 4 | low;
        key.0[31] ^= low;
        key
    })
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(1_u8..=255, 1..3), vec(any::<u8>(), 30..80)]
}

fn model() -> impl Strategy<Value = Model> {
    proptest::collection::btree_map(key(), value(), 0..40)
}

/// `None` removes the key.
fn changes() -> impl Strategy<Value = Vec<(B256, Option<Vec<u8>>)>> {
    vec((key(), proptest::option::of(value())), 0..40)
}

/// The root and every node of the trie that holds `model`, by an implementation that is not ours.
fn build(model: &Model) -> (B256, Vec<Bytes>) {
    let keys = model.keys().map(|key| Nibbles::unpack(key));
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::from_iter(keys));
    for (key, value) in model {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    let nodes = builder
        .take_proof_nodes()
        .into_nodes_sorted()
        .into_iter()
        .map(|(_, node)| node);
    (root, nodes.collect())
}

fn witness(nodes: &[Bytes]) -> Witness<'_> {
    Witness::new(nodes.iter().map(AsRef::as_ref))
}

/// Makes a change; whether it can be told that the key was there.
fn apply<'w>(
    trie: &mut Trie<'w>,
    witness: &Witness<'w>,
    key: &B256,
    value: &Option<Vec<u8>>,
) -> Result<(), TrieError> {
    match value {
        Some(value) => trie.insert(key, value.clone(), witness),
        None => trie.remove(key, witness).map(drop),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_change_gives_the_root_and_the_values_of_the_model(mut model in model(), changes in changes()) {
        let (root, nodes) = build(&model);
        let witness = witness(&nodes);
        let mut trie = Trie::open(root, &witness)?;
        prop_assert_eq!(trie.root(), root);
        for (key, value) in &changes {
            prop_assert_eq!(trie.get(key, &witness)?.map(<[u8]>::to_vec), model.get(key).cloned());
            match value {
                Some(value) => {
                    trie.insert(key, value.clone(), &witness)?;
                    model.insert(*key, value.clone());
                }
                None => prop_assert_eq!(trie.remove(key, &witness)?, model.remove(key).is_some()),
            }
            prop_assert_eq!(trie.root(), build(&model).0);
        }
        for (key, value) in &model {
            prop_assert_eq!(trie.get(key, &witness)?, Some(&value[..]));
        }
        for key in model.keys().copied().collect::<Vec<_>>() {
            prop_assert!(trie.remove(&key, &witness)?);
        }
        prop_assert_eq!(trie.root(), EMPTY_ROOT);
    }

    #[test]
    fn a_trie_of_our_own_making_is_read_back(model in model()) {
        let nothing = Witness::default();
        let mut trie = Trie::empty();
        for (key, value) in &model {
            trie.insert(key, value.clone(), &nothing)?;
        }
        prop_assert_eq!(trie.root(), build(&model).0);
    }

    /// With nodes left out an operation ends with the hash of one of them, or is right all the same.
    #[test]
    fn missing_nodes_are_named_and_never_guessed(
        model in model(),
        changes in changes(),
        kept in vec(any::<bool>(), 40),
    ) {
        let (root, nodes) = build(&model);
        let (kept, left_out): (Vec<_>, Vec<_>) =
            nodes.into_iter().enumerate().partition(|(index, _)| kept[index % kept.len()]);
        let kept: Vec<Bytes> = kept.into_iter().map(|(_, node)| node).collect();
        let left_out: Vec<B256> = left_out.into_iter().map(|(_, node)| keccak256(node)).collect();
        let witness = witness(&kept);
        let mut after = model.clone();
        let outcome = Trie::open(root, &witness).and_then(|mut trie| {
            for (key, value) in &changes {
                apply(&mut trie, &witness, key, value)?;
                match value {
                    Some(value) => drop(after.insert(*key, value.clone())),
                    None => drop(after.remove(key)),
                }
            }
            Ok(trie.root())
        });
        match outcome {
            Ok(root) => prop_assert_eq!(root, build(&after).0),
            Err(TrieError::Missing(hash)) => prop_assert!(left_out.contains(&hash)),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    /// Bytes of any kind under any hash: an answer or an error, no panic; and no other encoding of a trie than the one.
    #[test]
    fn anything_can_stand_in_a_witness(bytes in vec(any::<u8>(), 0..600), key in key()) {
        exercise(&[bytes.into()], &key)?;
    }

    #[test]
    fn altered_nodes_can_stand_in_a_witness(
        model in model(),
        node in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        mask in 1_u8..=255,
        key in key(),
    ) {
        let (_, nodes) = build(&model);
        if nodes.is_empty() {
            return Ok(());
        }
        let mut altered = node.get(&nodes).to_vec();
        let at = at.index(altered.len());
        altered[at] ^= mask;
        let all: Vec<Bytes> = core::iter::once(altered.into()).chain(nodes).collect();
        exercise(&all, &key)?;
    }
}

/// Uses the first node as a root in every way there is.
fn exercise(nodes: &[Bytes], key: &B256) -> Result<(), TestCaseError> {
    let witness = witness(nodes);
    let root = keccak256(&nodes[0]);
    let Ok(mut trie) = Trie::open(root, &witness) else {
        return Ok(());
    };
    prop_assert_eq!(trie.root(), root);
    let before = trie
        .get(key, &witness)
        .map(|value| value.map(<[u8]>::to_vec));
    let mut inserted = trie.clone();
    if inserted.insert(key, vec![1, 2, 3], &witness).is_ok() {
        let value: &[u8] = &[1, 2, 3];
        prop_assert_eq!(inserted.get(key, &witness), Ok(Some(value)));
        // Taken back, the trie is what it was: the encoding read is the only one there is. Only a collapse may ask for a
        // node that the way in did not.
        match before {
            Ok(Some(value)) => inserted.insert(key, value, &witness)?,
            _ => match inserted.remove(key, &witness) {
                Ok(found) => prop_assert!(found),
                Err(_) => return Ok(()),
            },
        }
        prop_assert_eq!(inserted.root(), root);
    }
    let _ = trie.remove(key, &witness);
    trie.root();
    Ok(())
}

/// What an encoder never writes, each with the reason for which it is refused.
#[test]
fn nodes_that_no_encoder_writes_are_refused() {
    // A leaf's path at the root: 0x20 and 32 bytes.
    let path = [&[0xa1, 0x20][..], &[7; 32]].concat();
    let list = |items: &[&[u8]]| {
        let payload = items.concat();
        let mut out = Vec::new();
        alloy_rlp::Header {
            list: true,
            payload_length: payload.len(),
        }
        .encode(&mut out);
        out.extend(payload);
        out
    };
    let hash = [&[0xa0][..], &[9; 32]].concat();
    let children = |filled: usize| [hash.repeat(filled), vec![0x80; 16 - filled]].concat();
    let cases: [(Vec<u8>, NodeError); 13] = [
        (vec![], NodeError::Rlp(alloy_rlp::Error::InputTooShort)),
        (vec![0xc0], NodeError::Rlp(alloy_rlp::Error::InputTooShort)),
        (
            vec![0x82, 1, 2],
            NodeError::Rlp(alloy_rlp::Error::UnexpectedString),
        ),
        (list(&[&hash, &hash, &hash]), NodeError::ItemCount),
        (list(&[&path, &[0x80]]), NodeError::Value),
        (list(&[&[0x20], &[0x01]]), NodeError::PathLength),
        (
            list(&[&[&[0xa1, 0x40][..], &[7; 32]].concat(), &[0x01]]),
            NodeError::PathFlags,
        ),
        (
            list(&[&[&[0xa1, 0x21][..], &[7; 32]].concat(), &[0x01]]),
            NodeError::PathFlags,
        ),
        (list(&[&[0x00], &hash]), NodeError::PathLength),
        (list(&[&[0x11], &[0x80]]), NodeError::ExtensionChild),
        (list(&[&children(1), &[0x80]]), NodeError::BranchArity),
        (list(&[&children(2), &[0x01]]), NodeError::Value),
        (
            list(&[&children(2), &[0x80], &[0x80]]),
            NodeError::ItemCount,
        ),
    ];
    for (bytes, error) in cases {
        let hash = keccak256(&bytes);
        let nodes = [Bytes::from(bytes.clone())];
        let opened = Trie::open(hash, &witness(&nodes)).map(|_| ());
        assert_eq!(
            opened,
            Err(TrieError::Malformed { hash, error }),
            "{bytes:02x?}"
        );
    }
}

#[test]
fn a_collapse_needs_the_sibling() {
    let [left, right] = [B256::ZERO, B256::repeat_byte(0x80)];
    let model = Model::from([(left, vec![1; 40]), (right, vec![2; 40])]);
    let (root, nodes) = build(&model);
    let sibling = nodes.iter().find(|node| node.ends_with(&[2; 40])).unwrap();
    let without: Vec<Bytes> = nodes
        .iter()
        .filter(|node| *node != sibling)
        .cloned()
        .collect();
    let witness = witness(&without);
    let mut trie = Trie::open(root, &witness).unwrap();
    assert_eq!(
        trie.remove(&left, &witness),
        Err(TrieError::Missing(keccak256(sibling)))
    );
}
