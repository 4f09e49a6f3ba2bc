//! The parts of a blockchain test, read from its JSON.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};
use serde_json::{Map, Value};

/// Why a document is not one of blockchain tests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FixtureError {
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// JSON, but a part of a blockchain test is absent or of another form.
    #[error("not a blockchain test: `{at}` is {found}, expected {expected}")]
    Form {
        /// Where in the document.
        at: String,
        /// What stands there, cut short.
        found: String,
        /// What should.
        expected: &'static str,
    },
}

/// One test: a chain from its genesis on.
#[derive(Clone, Debug)]
pub(crate) struct Fixture {
    pub(crate) network: String,
    /// `blobSchedule` by fork, of the tests that carry one.
    pub(crate) blob_schedule: Option<Value>,
    pub(crate) chain_id: u64,
    /// Whether blocks without a valid seal of proof of work are meant to pass.
    pub(crate) unsealed: bool,
    /// RLP of the genesis block, or of its header alone.
    pub(crate) genesis: Bytes,
    pub(crate) genesis_hash: B256,
    pub(crate) pre: Accounts,
    pub(crate) blocks: Vec<TestBlock>,
    pub(crate) last_block_hash: B256,
    /// The state at the end, or its root.
    pub(crate) post: Option<Post>,
}

/// What a test says about the state after its last block.
#[derive(Clone, Debug)]
pub(crate) enum Post {
    Accounts(Accounts),
    Root(B256),
}

/// A block of a test.
#[derive(Clone, Debug)]
pub(crate) struct TestBlock {
    pub(crate) rlp: Bytes,
    /// Names of the exceptions of which one must be the reason to refuse the block; `None` if it is valid.
    pub(crate) expect_exception: Option<String>,
    /// The hash that a valid block must have.
    pub(crate) hash: Option<B256>,
}

/// A whole state.
pub(crate) type Accounts = BTreeMap<Address, Account>;

/// An account with all that belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    pub(crate) code: Bytes,
    pub(crate) storage: BTreeMap<U256, U256>,
}

/// A test's name, and the test if it can be read.
pub(crate) type NamedFixture = (String, Result<Fixture, FixtureError>);

/// Reads a document: its tests by name. An object without blockchain tests, as an index is, has none.
pub(crate) fn read(json: &[u8]) -> Result<Vec<NamedFixture>, FixtureError> {
    let document: Value =
        serde_json::from_slice(json).map_err(|error| FixtureError::Json(error.to_string()))?;
    let Value::Object(tests) = document else {
        return Err(wrong("", Some(&document), "an object of tests"));
    };
    let blockchain =
        |test: &Value| test.get("blocks").is_some() && test.get("genesisBlockHeader").is_some();
    if !tests.values().any(blockchain) {
        return Ok(Vec::new());
    }
    Ok(tests
        .into_iter()
        .filter(|(name, _)| !name.starts_with('_'))
        .map(|(name, test)| {
            let fixture = Node {
                at: name.clone(),
                value: &test,
            }
            .fixture();
            (name, fixture)
        })
        .collect())
}

/// A value, and where it stands.
struct Node<'a> {
    at: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    fn fixture(&self) -> Result<Fixture, FixtureError> {
        let network = self.required("network")?.text()?.to_owned();
        let config = self.optional("config");
        let chain_id = match config
            .as_ref()
            .and_then(|config| config.optional("chainid"))
        {
            Some(id) => id.integer()?.saturating_to(),
            None => 1,
        };
        let genesis_header = self.required("genesisBlockHeader")?;
        let unsealed = self
            .optional("sealEngine")
            .is_none_or(|engine| engine.value.as_str() == Some("NoProof"));
        let blocks = self.required("blocks")?;
        let list = blocks
            .value
            .as_array()
            .ok_or_else(|| blocks.wrong("a list"))?;
        let blocks = list.iter().enumerate().map(|(index, value)| {
            Node {
                at: format!("{}.blocks[{index}]", self.at),
                value,
            }
            .block(&network)
        });
        Ok(Fixture {
            blob_schedule: config
                .and_then(|config| config.optional("blobSchedule"))
                .map(|schedule| schedule.value.clone()),
            chain_id,
            unsealed,
            genesis: self.required("genesisRLP")?.bytes()?,
            genesis_hash: genesis_header.required("hash")?.hash()?,
            pre: self.required("pre")?.accounts()?,
            blocks: blocks.collect::<Result<_, _>>()?,
            last_block_hash: self.required("lastblockhash")?.hash()?,
            post: match (self.optional("postState"), self.optional("postStateHash")) {
                (Some(state), _) => Some(Post::Accounts(state.accounts()?)),
                (None, Some(root)) => Some(Post::Root(root.hash()?)),
                (None, None) => None,
            },
            network,
        })
    }

    fn block(&self, network: &str) -> Result<TestBlock, FixtureError> {
        let exception = [
            "expectException",
            "expectExceptionALL",
            &format!("expectException{network}"),
        ]
        .into_iter()
        .find_map(|key| self.optional(key));
        let hash = self
            .optional("blockHeader")
            .and_then(|header| header.optional("hash"));
        let rlp = self.required("rlp")?;
        Ok(TestBlock {
            expect_exception: exception
                .map(|node| node.text().map(str::to_owned))
                .transpose()?,
            hash: hash.map(|hash| hash.hash()).transpose()?,
            // Tests of what no bytes can say hold text that is no hexadecimal.
            rlp: rlp.text()?.parse().unwrap_or_default(),
        })
    }

    fn accounts(&self) -> Result<Accounts, FixtureError> {
        let mut accounts = Accounts::new();
        for (address, value) in self.object()? {
            let node = self.child(address, value);
            let key = address
                .parse()
                .map_err(|_| node.wrong("under an address"))?;
            let mut storage = BTreeMap::new();
            let slots = node.required("storage")?;
            for (slot, value) in slots.object()? {
                let value = slots.child(slot, value).integer()?;
                let slot = Node {
                    at: slots.at.clone(),
                    value: &Value::String(slot.clone()),
                }
                .integer()?;
                if !value.is_zero() {
                    storage.insert(slot, value);
                }
            }
            accounts.insert(
                key,
                Account {
                    nonce: node.required("nonce")?.integer()?.saturating_to(),
                    balance: node.required("balance")?.integer()?,
                    code: node.required("code")?.bytes()?,
                    storage,
                },
            );
        }
        Ok(accounts)
    }

    fn child(&self, key: &str, value: &'a Value) -> Self {
        Self {
            at: format!("{}.{key}", self.at),
            value,
        }
    }

    fn optional(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(self.child(key, value))
    }

    fn required(&self, key: &str) -> Result<Self, FixtureError> {
        self.optional(key)
            .ok_or_else(|| wrong(&format!("{}.{key}", self.at), None, "a value"))
    }

    fn object(&self) -> Result<&'a Map<String, Value>, FixtureError> {
        self.value
            .as_object()
            .ok_or_else(|| self.wrong("an object"))
    }

    fn text(&self) -> Result<&'a str, FixtureError> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    fn bytes(&self) -> Result<Bytes, FixtureError> {
        self.text()?
            .parse()
            .map_err(|_| self.wrong("0x hexadecimal"))
    }

    fn hash(&self) -> Result<B256, FixtureError> {
        self.text()?
            .parse()
            .map_err(|_| self.wrong("a 32-byte hash"))
    }

    fn integer(&self) -> Result<U256, FixtureError> {
        let text = self.text()?;
        let digits = text
            .strip_prefix("0x")
            .ok_or_else(|| self.wrong("a 0x integer"))?;
        if digits.is_empty() {
            return Ok(U256::ZERO);
        }
        U256::from_str_radix(digits, 16).map_err(|_| self.wrong("a 0x integer of at most 256 bits"))
    }

    fn wrong(&self, expected: &'static str) -> FixtureError {
        wrong(&self.at, Some(self.value), expected)
    }
}

fn wrong(at: &str, found: Option<&Value>, expected: &'static str) -> FixtureError {
    const SHOWN: usize = 60;
    let found = found.map_or_else(
        || "absent".to_owned(),
        |value| value.to_string().chars().take(SHOWN).collect(),
    );
    FixtureError::Form {
        at: at.to_owned(),
        found,
        expected,
    }
}
