//! Ethereum's fork schedule, from the keys that geth reads.

use alloc::{boxed::Box, vec::Vec};
use alloy_consensus::Header;
use alloy_eips::{
    eip7594::MAX_BLOBS_PER_TX_FUSAKA,
    eip7840::{BLOB_BASE_COST, BlobParams},
};
use alloy_evm::eth::spec::EthExecutorSpec;
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::{Address, U256};
use serde_json::Value;

use super::config::Config;
use crate::error::ConfigError;

/// When the forks of a chain begin that follows Ethereum's, and the parameters they carry.
#[derive(Clone, Debug)]
pub struct EthereumRules {
    /// Blocks of the forks before the merge, in the order of [`BLOCK_FORKS`].
    blocks: Box<[Option<u64>; BLOCK_FORKS.len()]>,
    merge: Merge,
    /// Whether blocks are verified that proof of work seals, all but the seal.
    seals_unchecked: bool,
    shanghai: Option<u64>,
    cancun: Option<u64>,
    prague: Option<u64>,
    osaka: Option<u64>,
    /// Blob parameters by the time they begin, latest first.
    blobs: Vec<(u64, BlobParams)>,
    deposit_contract: Address,
}

/// Forks that begin with a block's number, and their keys.
const BLOCK_FORKS: [(EthereumHardfork, &str); 12] = [
    (EthereumHardfork::Homestead, "homesteadBlock"),
    (EthereumHardfork::Tangerine, "eip150Block"),
    (EthereumHardfork::SpuriousDragon, "eip158Block"),
    (EthereumHardfork::Byzantium, "byzantiumBlock"),
    (EthereumHardfork::Constantinople, "constantinopleBlock"),
    (EthereumHardfork::Petersburg, "petersburgBlock"),
    (EthereumHardfork::Istanbul, "istanbulBlock"),
    (EthereumHardfork::MuirGlacier, "muirGlacierBlock"),
    (EthereumHardfork::Berlin, "berlinBlock"),
    (EthereumHardfork::London, "londonBlock"),
    (EthereumHardfork::ArrowGlacier, "arrowGlacierBlock"),
    (EthereumHardfork::GrayGlacier, "grayGlacierBlock"),
];

/// How a chain came to leave proof of work or of authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Merge {
    /// No terminal total difficulty is set.
    Never,
    /// With its first block.
    AtGenesis,
    /// At some total difficulty, which a header alone does not tell.
    Later,
}

impl EthereumRules {
    /// The keys that end in `Time` or `Block` and that are understood.
    pub(super) const KEYS: [&'static str; 25] = [
        "homesteadBlock",
        "daoForkBlock",
        "eip150Block",
        "eip155Block",
        "eip158Block",
        "byzantiumBlock",
        "constantinopleBlock",
        "petersburgBlock",
        "istanbulBlock",
        "muirGlacierBlock",
        "berlinBlock",
        "londonBlock",
        "arrowGlacierBlock",
        "grayGlacierBlock",
        "mergeNetsplitBlock",
        "shanghaiTime",
        "cancunTime",
        "pragueTime",
        "osakaTime",
        "bpo1Time",
        "bpo2Time",
        "bpo3Time",
        "bpo4Time",
        "bpo5Time",
        // Not a fork, but understood all the same.
        "depositContractAddress",
    ];

    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConfigError> {
        let [shanghai, cancun, prague, osaka] =
            config.schedule(["shanghaiTime", "cancunTime", "pragueTime", "osakaTime"])?;
        let bpo = config.schedule(["bpo1Time", "bpo2Time", "bpo3Time", "bpo4Time", "bpo5Time"])?;
        let schedule = config.object("blobSchedule")?;
        let forks = [
            (bpo[4], "bpo5", None),
            (bpo[3], "bpo4", None),
            (bpo[2], "bpo3", None),
            (bpo[1], "bpo2", None),
            (bpo[0], "bpo1", None),
            (osaka, "osaka", Some(BlobParams::osaka())),
            (prague, "prague", Some(BlobParams::prague())),
            (cancun, "cancun", Some(BlobParams::cancun())),
        ];
        let mut blobs = Vec::new();
        for (time, key, default) in forks {
            let Some(time) = time else { continue };
            let params = match &schedule {
                Some(schedule) => read_blob_params(schedule, key)?,
                None => default,
            };
            blobs.extend(params.map(|params| (time, params)));
        }
        if cancun.is_some() && blobs.iter().all(|(time, _)| Some(*time) > cancun) {
            return Err(ConfigError::Missing("blobSchedule.cancun"));
        }
        let mut blocks = Box::new([None; BLOCK_FORKS.len()]);
        for (block, (_, key)) in blocks.iter_mut().zip(BLOCK_FORKS) {
            *block = config.integer(key)?;
        }
        Ok(Self {
            blocks,
            seals_unchecked: false,
            merge: read_merge(config)?,
            shanghai,
            cancun,
            prague,
            osaka,
            blobs,
            // Without the key geth takes the zero address, that is no deposits at all.
            deposit_contract: config
                .address("depositContractAddress")?
                .unwrap_or_default(),
        })
    }

    /// What makes the rules of this block unknown, if anything does.
    pub(super) fn unsupported(&self, parent: &Header, header: &Header) -> Option<&'static str> {
        if !self.is_merged() {
            return None;
        }
        if !self.is_london(header.number) {
            return Some("a fork older than London");
        }
        let merged = match self.merge {
            Merge::AtGenesis => true,
            Merge::Later => {
                parent.difficulty.is_zero()
                    || self.is_shanghai_active_at_timestamp(header.timestamp)
            }
            Merge::Never => false,
        };
        (!merged).then_some("proof of work or of authority, or the merge itself")
    }

    pub(super) const fn leave_seals_unchecked(&mut self) {
        self.seals_unchecked = true;
    }

    /// Whether a consensus layer is in charge of the blocks that are verified; if not, they are verified but for their
    /// proof of work.
    pub(crate) const fn is_merged(&self) -> bool {
        !(self.seals_unchecked && matches!(self.merge, Merge::Never))
    }

    pub(crate) fn is_london(&self, number: u64) -> bool {
        self.block_of(EthereumHardfork::London)
            .is_some_and(|london| number >= london)
    }

    fn block_of(&self, fork: EthereumHardfork) -> Option<u64> {
        let at = BLOCK_FORKS.iter().position(|(known, _)| *known == fork)?;
        self.blocks[at]
    }

    /// The blob parameters (EIP-7840) in effect at `timestamp`, or `None` before Cancun.
    pub fn blob_params(&self, timestamp: u64) -> Option<BlobParams> {
        let (_, params) = self.blobs.iter().find(|(time, _)| timestamp >= *time)?;
        Some(if self.is_osaka_active_at_timestamp(timestamp) {
            // EIP-7594 bounds the blobs of a transaction, EIP-7918 their price from below.
            params
                .with_max_blobs_per_tx(MAX_BLOBS_PER_TX_FUSAKA)
                .with_blob_base_cost(BLOB_BASE_COST)
        } else {
            *params
        })
    }
}

impl EthereumHardforks for EthereumRules {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        let at = |time: Option<u64>| time.map_or(ForkCondition::Never, ForkCondition::Timestamp);
        if !self.is_merged() {
            return match fork {
                EthereumHardfork::Frontier => ForkCondition::ZERO_BLOCK,
                _ => self
                    .block_of(fork)
                    .map_or(ForkCondition::Never, ForkCondition::Block),
            };
        }
        match fork {
            EthereumHardfork::Shanghai => at(self.shanghai),
            EthereumHardfork::Cancun => at(self.cancun),
            EthereumHardfork::Prague => at(self.prague),
            EthereumHardfork::Osaka => at(self.osaka),
            EthereumHardfork::Paris => ForkCondition::TTD {
                activation_block_number: 0,
                fork_block: Some(0),
                total_difficulty: U256::ZERO,
            },
            // Blob parameters come from `blob_params`; the DAO's block is long before any merge.
            EthereumHardfork::Dao
            | EthereumHardfork::Bpo1
            | EthereumHardfork::Bpo2
            | EthereumHardfork::Bpo3
            | EthereumHardfork::Bpo4
            | EthereumHardfork::Bpo5
            | EthereumHardfork::Amsterdam
            | EthereumHardfork::Bogota => ForkCondition::Never,
            // The merge implies every fork before it.
            _ => ForkCondition::ZERO_BLOCK,
        }
    }
}

impl EthExecutorSpec for EthereumRules {
    fn deposit_contract_address(&self) -> Option<Address> {
        Some(self.deposit_contract)
    }
}

fn read_blob_params(schedule: &Config<'_>, key: &str) -> Result<Option<BlobParams>, ConfigError> {
    let Some(entry) = schedule.object(key)? else {
        return Ok(None);
    };
    let target_blob_count = entry
        .integer("target")?
        .ok_or(ConfigError::Missing("blobSchedule.*.target"))?;
    let max_blob_count = entry
        .positive("max")?
        .ok_or(ConfigError::Missing("blobSchedule.*.max"))?;
    let update_fraction = entry
        .positive("baseFeeUpdateFraction")?
        .ok_or(ConfigError::Missing("blobSchedule.*.baseFeeUpdateFraction"))?;
    if let Some(max) = entry
        .get("max")
        .filter(|_| max_blob_count < target_blob_count || max_blob_count > 1 << 16)
    {
        return Err(entry.wrong("max", max, "a number of blobs from `target` to 65536"));
    }
    Ok(Some(BlobParams {
        target_blob_count,
        max_blob_count,
        update_fraction: update_fraction.into(),
        max_blobs_per_tx: max_blob_count,
        ..BlobParams::cancun()
    }))
}

fn read_merge(config: &Config<'_>) -> Result<Merge, ConfigError> {
    match config.get("terminalTotalDifficulty") {
        None => Ok(Merge::Never),
        // Ethereum's own is above 2^64, so that any number has to do.
        Some(Value::Number(difficulty)) if difficulty.as_u64() == Some(0) => Ok(Merge::AtGenesis),
        Some(Value::Number(_)) => Ok(Merge::Later),
        Some(value) => Err(config.wrong("terminalTotalDifficulty", value, "a number")),
    }
}
