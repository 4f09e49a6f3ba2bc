//! A block of our own devnet to start from.

use std::{io::Read, sync::LazyLock};

use alloy_primitives::{B256, Bytes};
use flate2::read::GzDecoder;
use mach_stateless::{BlockInput, BlockVerification, ChainSpec, verify_block};
use serde_json::Value;

/// The recorded block; the fuzzer changes its parts.
#[derive(Clone)]
pub struct Recorded {
    pub chain_spec: ChainSpec,
    pub parent_header: Bytes,
    pub block: Bytes,
    pub preimages: Vec<Bytes>,
    pub ancestors: Vec<Bytes>,
    /// The hash that the block is served under, if it is to be held against the block's own.
    pub served_under: Option<B256>,
}

/// The block that asks for the hashes of its ancestors.
pub static RECORDED: LazyLock<Recorded> = LazyLock::new(|| {
    let file = include_bytes!("../../../../tests/vectors/l2-blocks/ancestors.json.gz");
    let mut text = String::new();
    GzDecoder::new(&file[..])
        .read_to_string(&mut text)
        .expect("gzip");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let bytes = |value: &Value| -> Bytes {
        value
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("hexadecimal")
    };
    let list = |key: &str| -> Vec<Bytes> {
        let values = document[key].as_array().expect("a list");
        values.iter().map(bytes).collect()
    };
    Recorded {
        chain_spec: ChainSpec::from_genesis_config(&document["chain_config"].to_string())
            .expect("a chain's configuration"),
        parent_header: bytes(&document["parent_header"]),
        block: bytes(&document["block"]),
        preimages: list("preimages"),
        ancestors: list("ancestors"),
        served_under: None,
    }
});

impl Recorded {
    /// Verifies the block as it stands.
    pub fn verify(&self) -> BlockVerification {
        self.with_input(|input| verify_block(input))
    }

    /// Gives the block as it stands to `verify`.
    pub fn with_input<R>(&self, verify: impl FnOnce(&BlockInput<'_>) -> R) -> R {
        let [preimages, ancestors] = [&self.preimages, &self.ancestors]
            .map(|list| list.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>());
        verify(&BlockInput {
            chain_spec: &self.chain_spec,
            parent_header: &self.parent_header,
            block: &self.block,
            preimages: &preimages,
            ancestors: &ancestors,
            served_receipts: None,
            block_hash: self.served_under,
        })
    }
}
