//! Anything in the place of trie nodes: read, written and hashed without harm, and what is written is read back.
//!
//! The input is cut at every 0xff 0xfe; each piece is a preimage, and the first is the root.

#![no_main]

use alloy_primitives::{B256, keccak256};
use libfuzzer_sys::fuzz_target;
use mach_stateless::{Trie, Witness};

fuzz_target!(|bytes: &[u8]| {
    let mut pieces: Vec<&[u8]> = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(2).position(|pair| pair == [0xff, 0xfe]) {
        pieces.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    pieces.push(rest);
    let witness = Witness::new(pieces.iter().copied());
    let root = keccak256(pieces[0]);
    let Ok(opened) = Trie::open(root, &witness) else {
        return;
    };
    assert_eq!(opened.clone().root(), root);
    // Keys from the input, and keys that begin alike.
    let keys = bytes.iter().take(24).map(|byte| {
        let mut key = B256::repeat_byte(*byte);
        key.0[31] ^= byte >> 4;
        key
    });
    for key in keys.clone() {
        let mut trie = opened.clone();
        let Ok(before) = trie.get(&key, &witness) else {
            continue;
        };
        let before = before.map(<[u8]>::to_vec);
        assert_eq!(trie.root(), root);
        let mut written = trie.clone();
        if written.insert(&key, vec![0x55; 40], &witness).is_ok() {
            assert_eq!(written.get(&key, &witness), Ok(Some(&[0x55; 40][..])));
            assert_ne!(written.root(), root);
            // Putting back what was there leads back to the root.
            if written
                .insert(&key, before.clone().unwrap_or_default(), &witness)
                .is_ok()
            {
                assert_eq!(written.root(), root);
            }
        }
        if let Ok(removed) = trie.remove(&key, &witness) {
            assert_eq!(removed, before.is_some());
            assert_eq!(trie.get(&key, &witness), Ok(None));
        }
    }
});
