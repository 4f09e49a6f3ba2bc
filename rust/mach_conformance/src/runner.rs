//! One test after another: its blocks in their order, each on the state that its parent left.

use std::{collections::HashMap, rc::Rc};

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use mach_stateless::{BlockInput, BlockVerification, Verdict, verify_block_with_changes};

use crate::{
    exceptions,
    fixture::{self, Fixture, FixtureError, NamedFixture, Post, TestBlock},
    network::NetworkRules,
    skipped,
    state::State,
};

/// `BLOCKHASH` reaches this far back.
const ANCESTORS: usize = 256;

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every block was accepted or refused as the test says, and for the reason that it says.
    Passed,
    /// One was not; the text says which and how.
    Failed(String),
    /// The test was not run; the text says why.
    Skipped(String),
}

/// A test and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// The test's name.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Blocks that were verified.
    pub blocks: usize,
    /// Gas of the blocks that were accepted.
    pub gas_used: u64,
}

/// Runs every test of a document, the JSON of one file; `path` names the file, which may be one that is left out.
///
/// # Errors
/// [`FixtureError`] if the text is not JSON, or no object. A document of other things than blockchain tests has none.
pub fn run_document(path: &str, json: &[u8]) -> Result<Vec<CaseResult>, FixtureError> {
    let run = |(name, fixture): NamedFixture| {
        let mut case = CaseResult {
            name,
            outcome: Outcome::Passed,
            blocks: 0,
            gas_used: 0,
        };
        let network = fixture.as_ref().map_or("", |fixture| &fixture.network);
        case.outcome = match (skipped::reason(path, network), fixture) {
            (Some(reason), _) => Outcome::Skipped(reason.to_owned()),
            (None, Err(error)) => Outcome::Failed(error.to_string()),
            (None, Ok(fixture)) => {
                run(&fixture, &mut case).map_or_else(|stop| stop, |()| Outcome::Passed)
            }
        };
        case
    };
    Ok(fixture::read(json)?.into_iter().map(run).collect())
}

/// What ends a test early is that it has failed, unless something else is said.
impl From<String> for Outcome {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

/// How the verifier begins to say that it does not judge a block with ommers.
const OMMERS: &str = "a block with ommers";

/// A block that has been accepted.
#[derive(Clone, Debug)]
struct Link {
    header: Bytes,
    parent: B256,
    state: Rc<State>,
    /// The sum of the difficulties up to here.
    weight: U256,
}

/// Every block accepted so far, by its hash, and which of them is the head.
struct Chain {
    rules: NetworkRules,
    links: HashMap<B256, Link>,
    head: B256,
}

/// Runs a test; an error is the outcome if it has not passed.
fn run(fixture: &Fixture, case: &mut CaseResult) -> Result<(), Outcome> {
    let (mut chain, genesis) = Chain::new(fixture, NetworkRules::of(fixture)?)?;
    for (index, block) in fixture.blocks.iter().enumerate() {
        case.blocks += 1;
        case.gas_used += chain.import(block).map_err(|stop| match stop {
            Outcome::Failed(reason) => Outcome::Failed(format!("block {index}: {reason}")),
            stop => stop,
        })?;
    }
    if chain.head != fixture.last_block_hash {
        let (found, expected) = (chain.head, fixture.last_block_hash);
        return Err(format!("the chain ends with block {found}, expected {expected}").into());
    }
    let state = chain
        .links
        .get(&chain.head)
        .map_or(&genesis, |link| &link.state);
    let expected = match &fixture.post {
        Some(Post::Accounts(accounts)) => State::new(accounts.clone()).root(),
        Some(Post::Root(root)) => *root,
        None => return Ok(()),
    };
    if state.root() == expected {
        Ok(())
    } else {
        Err(format!(
            "the state at the end has root {}, expected {expected}",
            state.root()
        )
        .into())
    }
}

impl Chain {
    fn new(fixture: &Fixture, rules: NetworkRules) -> Result<(Self, Rc<State>), String> {
        let encoded = header_of(&fixture.genesis).ok_or("the genesis is no block")?;
        let hash = keccak256(encoded);
        let header = Header::decode(&mut &encoded[..])
            .map_err(|error| format!("genesis header: {error}"))?;
        let state = Rc::new(State::new(fixture.pre.clone()));
        if hash != fixture.genesis_hash {
            return Err(format!(
                "the genesis hashes to {hash}, expected {}",
                fixture.genesis_hash
            ));
        }
        if header.state_root != state.root() {
            return Err(format!(
                "the state before has root {}, its header says {}",
                state.root(),
                header.state_root
            ));
        }
        let link = Link {
            header: Bytes::copy_from_slice(encoded),
            parent: header.parent_hash,
            state: state.clone(),
            weight: header.difficulty,
        };
        Ok((
            Self {
                rules,
                links: HashMap::from([(hash, link)]),
                head: hash,
            },
            state,
        ))
    }

    /// Verifies a block and holds what is found against what the test says; the gas used if it is accepted.
    fn import(&mut self, block: &TestBlock) -> Result<u64, Outcome> {
        let served = header_of(&block.rlp).and_then(|header| Header::decode(&mut &header[..]).ok());
        // On an unknown parent a client stops; here the head stands in, and the block is not linked to it.
        let parent = served
            .as_ref()
            .and_then(|header| self.links.get_key_value(&header.parent_hash))
            .or_else(|| self.links.get_key_value(&self.head));
        let (parent_hash, parent) = parent.ok_or_else(|| "no head".to_owned())?;
        let ancestors = self.ancestors(*parent_hash);
        let (found, changes) = verify_block_with_changes(&BlockInput {
            chain_spec: self.rules.after(parent.weight),
            parent_header: &parent.header,
            block: &block.rlp,
            preimages: &parent.state.preimages(),
            ancestors: &ancestors,
            served_receipts: None,
            block_hash: block.hash.filter(|_| block.expect_exception.is_none()),
        });
        if let Some(reason) = found
            .reason
            .as_deref()
            .filter(|text| text.starts_with(OMMERS))
        {
            let reason =
                format!("{reason}: which ommers are valid, only whole earlier blocks tell");
            return Err(Outcome::Skipped(reason));
        }
        match (&block.expect_exception, found.verdict) {
            (Some(expected), Verdict::Valid) => {
                return Err(format!("accepted, but invalid for {expected}").into());
            }
            (Some(expected), _) => return Ok(refused(expected, &found).map(|()| 0)?),
            (None, Verdict::Valid) => {}
            (None, verdict) => {
                return Err(format!("valid, but found {verdict}: {}", explained(&found)).into());
            }
        }
        let (Some(header), Some(changes)) = (served, changes) else {
            return Err("VALID without a header or a state".to_owned().into());
        };
        let state = parent.state.after(&changes);
        if state.root() != header.state_root {
            return Err(format!(
                "VALID with state root {}, but its changes lead to {}",
                header.state_root,
                state.root()
            )
            .into());
        }
        let weight = parent.weight.saturating_add(header.difficulty);
        let link = Link {
            header: alloy_rlp::encode(&header).into(),
            parent: header.parent_hash,
            state: Rc::new(state),
            weight,
        };
        // After the merge every block is final here; before, the heaviest chain is the one that holds.
        let heavier = self
            .links
            .get(&self.head)
            .is_none_or(|head| weight > head.weight);
        if header.difficulty.is_zero() || heavier {
            self.head = found.block_hash;
        }
        self.links.insert(found.block_hash, link);
        Ok(found.gas_used)
    }

    /// Headers before the block with this hash, newest first.
    fn ancestors(&self, hash: B256) -> Vec<&[u8]> {
        let parent = |link: &&Link| self.links.get(&link.parent);
        std::iter::successors(self.links.get(&hash).as_ref().and_then(parent), |link| {
            parent(link)
        })
        .take(ANCESTORS)
        .map(|link| link.header.as_ref())
        .collect()
    }
}

/// Whether the block is refused for a reason that the test names.
fn refused(expected: &str, found: &BlockVerification) -> Result<(), String> {
    let names = exceptions::found(found);
    if exceptions::matches(expected, &names) {
        return Ok(());
    }
    let names: Vec<&str> = names.into_iter().collect();
    let names = if names.is_empty() {
        "no exception".to_owned()
    } else {
        names.join(", ")
    };
    Err(format!(
        "{}, which is {names}: {}; expected {expected}",
        found.verdict,
        explained(found)
    ))
}

fn explained(found: &BlockVerification) -> String {
    if found.mismatches.is_empty() {
        return found.reason.clone().unwrap_or_default();
    }
    let one = |mismatch: &mach_stateless::FieldMismatch| {
        format!(
            "{} is {}, should be {}",
            mismatch.field, mismatch.served, mismatch.computed
        )
    };
    found
        .mismatches
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The bytes of the header in a block's bytes.
fn header_of(block: &[u8]) -> Option<&[u8]> {
    let mut body = block;
    let outer = alloy_rlp::Header::decode(&mut body)
        .ok()
        .filter(|outer| outer.list)?;
    let whole = body.get(..outer.payload_length)?;
    let mut rest = whole;
    let inner = alloy_rlp::Header::decode(&mut rest)
        .ok()
        .filter(|inner| inner.list)?;
    let start = whole.len() - rest.len();
    whole.get(..start + inner.payload_length)
}
