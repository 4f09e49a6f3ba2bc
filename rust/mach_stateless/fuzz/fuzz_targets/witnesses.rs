//! A true block with a witness that is not: preimages altered, dropped, doubled, moved and added.
//!
//! A witness can only be too little. The verdict is VALID or INCONCLUSIVE, and INCONCLUSIVE names what is missing. Four
//! bytes of the input make one change.

#![no_main]

#[path = "recorded.rs"]
mod recorded;

use libfuzzer_sys::fuzz_target;
use mach_stateless::Verdict;
use recorded::RECORDED;

fuzz_target!(|bytes: &[u8]| {
    let mut strange = RECORDED.clone();
    let (changes, _) = bytes.as_chunks::<4>();
    for [kind, at, place, mask] in changes {
        if strange.preimages.is_empty() {
            break;
        }
        let at = usize::from(*at) % strange.preimages.len();
        match kind % 5 {
            0 => drop(strange.preimages.remove(at)),
            1 => {
                let mut altered = strange.preimages[at].to_vec();
                if !altered.is_empty() {
                    let place = usize::from(*place) * altered.len() / 256;
                    altered[place] ^= mask;
                }
                strange.preimages[at] = altered.into();
            }
            2 => {
                let cut = strange.preimages[at].len() * usize::from(*place) / 256;
                strange.preimages[at].truncate(cut);
            }
            3 => strange.preimages.push(strange.preimages[at].clone()),
            _ => strange.preimages.swap(at, 0),
        }
    }
    strange.preimages.push(bytes.to_vec().into());
    let found = strange.verify();
    match found.verdict {
        Verdict::Valid => assert_eq!(found.computed_block_hash, Some(found.block_hash)),
        Verdict::Inconclusive => assert!(found.missing.is_some(), "{:?}", found.reason),
        Verdict::Invalid => panic!("{:?}", found.reason),
    }
});
