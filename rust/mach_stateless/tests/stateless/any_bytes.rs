//! Anything at all in the place of a block, a header, a witness or a configuration.

use crate::fixtures::{hex, read_json, recorded_files};
use alloy_primitives::Bytes;
use mach_stateless::{BlockInput, ChainSpec, Verdict, verify_block};
use proptest::{collection::vec, prelude::*, sample::Index};

/// A recorded block in its parts; `lists` are preimages, ancestors and receipts.
struct Sample {
    chain_spec: ChainSpec,
    parent_header: Bytes,
    block: Bytes,
    lists: [Vec<Bytes>; 3],
}

impl Sample {
    fn read() -> Self {
        let path = recorded_files()
            .into_iter()
            .find(|path| path.ends_with("ancestors.json.gz"))
            .unwrap();
        let document = read_json(&path);
        let lists = ["preimages", "ancestors", "receipts"]
            .map(|key| document[key].as_array().unwrap().iter().map(hex).collect());
        Self {
            chain_spec: ChainSpec::from_genesis_config(&document["chain_config"].to_string())
                .unwrap(),
            parent_header: hex(&document["parent_header"]),
            block: hex(&document["block"]),
            lists,
        }
    }

    fn verify(&self) -> mach_stateless::BlockVerification {
        let [preimages, ancestors, receipts] = [0, 1, 2].map(|at| {
            self.lists[at]
                .iter()
                .map(AsRef::as_ref)
                .collect::<Vec<&[u8]>>()
        });
        verify_block(&BlockInput {
            chain_spec: &self.chain_spec,
            parent_header: &self.parent_header,
            block: &self.block,
            preimages: &preimages,
            ancestors: &ancestors,
            served_receipts: Some(&receipts),
            block_hash: None,
        })
    }
}

/// Flips bits at a few places.
fn garble(bytes: &Bytes, changes: &[(Index, u8)]) -> Bytes {
    let mut garbled = bytes.to_vec();
    for (at, mask) in changes {
        let at = at.index(garbled.len());
        garbled[at] ^= mask;
    }
    garbled.into()
}

fn changes() -> impl Strategy<Value = Vec<(Index, u8)>> {
    vec((any::<Index>(), 1_u8..=255), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn bytes_that_are_no_block_are_inconclusive(
        parent in vec(any::<u8>(), 0..800),
        block in vec(any::<u8>(), 0..800),
        list in vec(vec(any::<u8>(), 0..100), 0..4),
    ) {
        let mut sample = Sample::read();
        let list: Vec<Bytes> = list.into_iter().map(Bytes::from).collect();
        sample.lists = [list.clone(), list.clone(), list];
        let true_block = core::mem::replace(&mut sample.block, block.into());
        prop_assert_eq!(sample.verify().verdict, Verdict::Inconclusive);
        sample.block = true_block;
        sample.parent_header = parent.into();
        prop_assert_eq!(sample.verify().verdict, Verdict::Inconclusive);
    }

    #[test]
    fn a_garbled_block_is_not_the_block(changes in changes()) {
        let mut sample = Sample::read();
        let hash = sample.verify().block_hash;
        let garbled = garble(&sample.block, &changes);
        prop_assume!(garbled != sample.block);
        sample.block = garbled;
        let verification = sample.verify();
        prop_assert!(verification.verdict != Verdict::Valid || verification.block_hash != hash);
    }

    #[test]
    fn a_garbled_witness_makes_no_accusation(
        which in any::<Index>(),
        changes in changes(),
    ) {
        let mut sample = Sample::read();
        let [preimages, ancestors, receipts] = &mut sample.lists;
        let count = preimages.len() + ancestors.len() + receipts.len();
        let at = which.index(count);
        let bytes = preimages.iter_mut().chain(ancestors).chain(receipts).nth(at).unwrap();
        *bytes = garble(bytes, &changes);
        let verification = sample.verify();
        prop_assert_ne!(verification.verdict, Verdict::Invalid, "{:?}", verification.reason);
    }

    #[test]
    fn text_that_is_no_config_is_an_error(text in ".{0,200}") {
        prop_assert!(ChainSpec::from_genesis_config(&text).is_err());
    }

    /// A configuration is read or refused, whatever its keys say.
    #[test]
    fn configs_are_read_or_refused(
        entries in vec(
            (prop::sample::select(vec![
                "chainId", "londonBlock", "terminalTotalDifficulty", "shanghaiTime", "cancunTime", "osakaTime",
                "bpo1Time", "blobSchedule", "depositContractAddress", "optimism", "canyonTime", "jovianTime",
            ]), prop_oneof![
                Just("null".to_owned()), Just("{}".to_owned()), Just("\"0x1\"".to_owned()), Just("[1]".to_owned()),
                Just("1e30".to_owned()), any::<i64>().prop_map(|number| number.to_string()),
            ]),
            0..12,
        ),
    ) {
        let entries: Vec<String> = entries.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
        let mut sample = Sample::read();
        if let Ok(chain_spec) = ChainSpec::from_genesis_config(&format!("{{{}}}", entries.join(", "))) {
            sample.chain_spec = chain_spec;
            sample.verify();
        }
    }
}
