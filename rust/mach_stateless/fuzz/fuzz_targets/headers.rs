//! Anything in the place of headers: the parent's, an ancestor's, and a block's that is linked to a parent.

#![no_main]

#[path = "recorded.rs"]
mod recorded;

use alloy_consensus::Header;
use alloy_primitives::keccak256;
use alloy_rlp::{Decodable, Encodable};
use libfuzzer_sys::fuzz_target;
use mach_stateless::Verdict;
use recorded::RECORDED;

fuzz_target!(|bytes: &[u8]| {
    let mut strange = RECORDED.clone();
    strange.ancestors = vec![bytes.to_vec().into()];
    assert_ne!(strange.verify().verdict, Verdict::Invalid);
    strange.ancestors.clear();
    strange.parent_header = bytes.to_vec().into();
    let found = strange.verify();
    if bytes != RECORDED.parent_header.as_ref() {
        assert_eq!(found.verdict, Verdict::Inconclusive);
    }
    let Ok(mut header) = Header::decode(&mut &bytes[..]) else {
        return;
    };
    // On the true parent, with an empty body and without a witness: held against the rules, never VALID.
    header.parent_hash = keccak256(&RECORDED.parent_header);
    let mut body = Vec::new();
    header.encode(&mut body);
    body.extend([0xc0, 0xc0]);
    if header.withdrawals_root.is_some() {
        body.push(0xc0);
    }
    let mut block = Vec::new();
    alloy_rlp::Header {
        list: true,
        payload_length: body.len(),
    }
    .encode(&mut block);
    block.extend(body);
    let mut linked = RECORDED.clone();
    linked.block = block.into();
    linked.preimages.clear();
    assert_ne!(linked.verify().verdict, Verdict::Valid);
});
