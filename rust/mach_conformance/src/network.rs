//! The tests' networks: which forks hold, as the `config` object of a genesis.

use alloy_primitives::U256;
use mach_stateless::ChainSpec;
use serde_json::{Map, Value, json};

use crate::fixture::Fixture;

/// Forks in their order: the tests' name, and the key of a genesis configuration.
///
/// Constantinople stands for itself and Petersburg: on Ethereum both came with one block, and no client that is at work
/// today knows EIP-1283 any more.
const FORKS: [(&str, &str); 23] = [
    ("Frontier", ""),
    ("Homestead", "homesteadBlock"),
    ("EIP150", "eip150Block"),
    ("EIP158", "eip158Block"),
    ("Byzantium", "byzantiumBlock"),
    ("Constantinople", "constantinopleBlock"),
    ("ConstantinopleFix", "petersburgBlock"),
    ("Istanbul", "istanbulBlock"),
    ("MuirGlacier", "muirGlacierBlock"),
    ("Berlin", "berlinBlock"),
    ("London", "londonBlock"),
    ("ArrowGlacier", "arrowGlacierBlock"),
    ("GrayGlacier", "grayGlacierBlock"),
    ("Paris", "terminalTotalDifficulty"),
    ("Shanghai", "shanghaiTime"),
    ("Cancun", "cancunTime"),
    ("Prague", "pragueTime"),
    ("Osaka", "osakaTime"),
    ("BPO1", "bpo1Time"),
    ("BPO2", "bpo2Time"),
    ("BPO3", "bpo3Time"),
    ("BPO4", "bpo4Time"),
    ("BPO5", "bpo5Time"),
];

/// Forks whose tests do not include those between it and the fork before: bombs delayed for Ethereum alone.
const GLACIERS: [&str; 3] = ["MuirGlacier", "ArrowGlacier", "GrayGlacier"];

/// Ethereum's, which the tests of EIP-6110 use.
const DEPOSIT_CONTRACT: &str = "0x00000000219ab540356cBB839Cbe05303d7705Fa";

/// The rules of a network: those before the merge, and those after it, where it comes with a total difficulty.
#[derive(Clone, Debug)]
pub(crate) struct NetworkRules {
    first: ChainSpec,
    /// From the first block whose parent's chain weighs this much.
    merged: Option<(U256, ChainSpec)>,
}

impl NetworkRules {
    /// The rules of a fixture's network.
    pub(crate) fn of(fixture: &Fixture) -> Result<Self, String> {
        let unknown = || format!("network {} is not known", fixture.network);
        let (first, transition) = split(&fixture.network);
        let first = position(first).ok_or_else(unknown)?;
        let mut config = Map::new();
        config.insert("chainId".into(), json!(fixture.chain_id));
        config.insert("depositContractAddress".into(), json!(DEPOSIT_CONTRACT));
        activate(&mut config, 0..=first, first, 0);
        let mut merged = None;
        if let Some((fork, at)) = transition {
            let fork = position(fork)
                .filter(|fork| *fork > first)
                .ok_or_else(unknown)?;
            match at {
                Begin::At(at) => activate(&mut config, first + 1..=fork, fork, at),
                Begin::Weight(weight) => {
                    let mut later = config.clone();
                    activate(&mut later, first + 1..=fork, fork, 0);
                    merged = Some((weight, spec(fixture, later)?));
                }
            }
        }
        Ok(Self {
            first: spec(fixture, config)?,
            merged,
        })
    }

    /// The rules of a block whose parent's chain weighs this much.
    pub(crate) fn after(&self, weight: U256) -> &ChainSpec {
        match &self.merged {
            Some((total, merged)) if weight >= *total => merged,
            _ => &self.first,
        }
    }
}

fn spec(fixture: &Fixture, mut config: Map<String, Value>) -> Result<ChainSpec, String> {
    // EIP-155 came with EIP-158; before the later of two forks of one block the earlier changes nothing.
    if let Some(block) = config.get("eip158Block").cloned() {
        config.insert("eip155Block".into(), block);
    }
    if let Some(block) = config.get("constantinopleBlock").cloned() {
        config.insert("petersburgBlock".into(), block);
    }
    if let Some(Value::Object(schedule)) = &fixture.blob_schedule {
        let schedule = schedule
            .iter()
            .map(|(fork, params)| (fork.to_lowercase(), params.clone()));
        config.insert("blobSchedule".into(), Value::Object(schedule.collect()));
    }
    let spec = ChainSpec::from_genesis_config(&Value::Object(config).to_string())
        .map_err(|error| error.to_string())?;
    Ok(if fixture.unsealed {
        spec.with_seals_unchecked()
    } else {
        spec
    })
}

fn activate(
    config: &mut Map<String, Value>,
    forks: std::ops::RangeInclusive<usize>,
    target: usize,
    at: u64,
) {
    for index in forks {
        let (name, key) = FORKS[index];
        let passed_over = GLACIERS.contains(&name) && index != target;
        if !key.is_empty() && !passed_over {
            config.insert(key.to_owned(), json!(at));
        }
    }
}

fn position(name: &str) -> Option<usize> {
    let name = match name {
        "Merge" => "Paris",
        "TangerineWhistle" => "EIP150",
        "SpuriousDragon" => "EIP158",
        "Petersburg" => "ConstantinopleFix",
        name => name,
    };
    FORKS.iter().position(|(fork, _)| *fork == name)
}

/// When the later of two forks begins.
#[derive(Clone, Copy, Debug)]
enum Begin {
    /// At a block's number, or at a second.
    At(u64),
    /// When the chain weighs this much.
    Weight(U256),
}

/// `CancunToPragueAtTime15k` in its two forks, and when the later begins.
fn split(network: &str) -> (&str, Option<(&str, Begin)>) {
    let transition = || {
        let (forks, at) = network.rsplit_once("At")?;
        let (first, second) = forks.split_once("To")?;
        if let Some(weight) = at.strip_prefix("Diff") {
            return Some((
                first,
                (
                    second,
                    Begin::Weight(U256::from_str_radix(weight, 16).ok()?),
                ),
            ));
        }
        let digits = at.strip_prefix("Time").unwrap_or(at);
        let at = match digits.strip_suffix('k') {
            Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1000)?,
            None => digits.parse().ok()?,
        };
        Some((first, (second, Begin::At(at))))
    };
    transition().map_or((network, None), |(first, second)| (first, Some(second)))
}
