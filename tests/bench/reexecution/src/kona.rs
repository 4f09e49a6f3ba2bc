//! kona-executor on the same blocks, with its preimages hashed.

use alloy_consensus_1::{Header, Sealable};
use alloy_op_evm_0_14::OpEvmFactory;
use alloy_primitives::{B256, Bytes, keccak256, map::B256Map};
use alloy_rlp::Decodable;
use kona_executor::{StatelessL2Builder, TrieDBProvider};
use kona_genesis::RollupConfig;
use kona_mpt::{NoopTrieHinter, TrieNode, TrieProvider};
use op_alloy_rpc_types_engine::OpPayloadAttributes;
use serde_json::Value;

/// A block in the form that kona-executor takes it.
pub(crate) struct Kona {
    config: RollupConfig,
    parent: Header,
    attributes: OpPayloadAttributes,
    preimages: Vec<Bytes>,
}

impl Kona {
    /// Reads a document of the form of `op-blocks`.
    pub(crate) fn read(document: &Value, preimages: &[Bytes]) -> Self {
        let part = |name: &str| document[name].clone();
        Self {
            config: serde_json::from_value(part("rollup_config")).unwrap(),
            parent: serde_json::from_value(part("parent_header")).unwrap(),
            attributes: serde_json::from_value(part("executing_payload")).unwrap(),
            preimages: preimages.to_vec(),
        }
    }

    /// Hashes the preimages and builds the block; its header's hash, and the header in RLP.
    pub(crate) fn build(&self) -> (B256, Vec<u8>) {
        let preimages = self
            .preimages
            .iter()
            .map(|preimage| (keccak256(preimage), preimage))
            .collect();
        let mut builder = StatelessL2Builder::new(
            &self.config,
            OpEvmFactory::default(),
            Preimages(preimages),
            NoopTrieHinter,
            self.parent.clone().seal_slow(),
        );
        let outcome = builder.build_block(self.attributes.clone()).unwrap();
        (
            outcome.header.hash(),
            alloy_rlp::encode(outcome.header.inner()),
        )
    }
}

#[derive(Debug)]
struct Preimages<'a>(B256Map<&'a Bytes>);

impl Preimages<'_> {
    fn get(&self, hash: B256) -> Result<&Bytes, String> {
        self.0
            .get(&hash)
            .copied()
            .ok_or_else(|| format!("no preimage of {hash}"))
    }
}

impl TrieProvider for Preimages<'_> {
    type Error = String;

    fn trie_node_by_hash(&self, hash: B256) -> Result<TrieNode, String> {
        TrieNode::decode(&mut self.get(hash)?.as_ref()).map_err(|error| error.to_string())
    }
}

impl TrieDBProvider for Preimages<'_> {
    fn bytecode_by_hash(&self, hash: B256) -> Result<Bytes, String> {
        self.get(hash).cloned()
    }

    fn header_by_hash(&self, hash: B256) -> Result<Header, String> {
        Header::decode(&mut self.get(hash)?.as_ref()).map_err(|error| error.to_string())
    }
}
