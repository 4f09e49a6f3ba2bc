//! The rules of a chain, read from the `config` object of a geth or op-geth genesis.

mod config;
mod ethereum;
mod op_stack;

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use alloy_consensus::Header;
use alloy_eips::eip1559::BaseFeeParams;
use serde_json::Value;

use crate::error::{ConfigError, Error};
use config::Config;
pub use ethereum::EthereumRules;
pub use op_stack::OpStackRules;

/// What a chain's blocks have to obey.
#[derive(Clone, Debug)]
pub struct ChainSpec {
    chain_id: u64,
    stack: Stack,
    unsupported: Vec<UnsupportedRule>,
}

/// The family of rules that a chain follows.
#[derive(Clone, Debug)]
pub enum Stack {
    /// Ethereum's own forks, with a consensus layer in charge of the blocks: through Osaka and its BPO forks.
    Ethereum(EthereumRules),
    /// The OP Stack's: Bedrock through Jovian.
    OpStack(OpStackRules),
}

/// A rule that a configuration sets and that is not known here, and the first block or second that it holds for.
#[derive(Clone, Debug)]
struct UnsupportedRule {
    key: String,
    from: Activation,
}

/// When a fork begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// With the block of this number.
    Block(u64),
    /// With the first block whose timestamp, in seconds, is not before this.
    Timestamp(u64),
}

impl Activation {
    const fn active(self, header: &Header) -> bool {
        match self {
            Self::Block(number) => header.number >= number,
            Self::Timestamp(timestamp) => header.timestamp >= timestamp,
        }
    }
}

/// Keys that end in `Time` or `Block` and that have no effect on execution.
const WITHOUT_EFFECT: [&str; 2] = ["deltaTime", "pectraBlobScheduleTime"];

/// Keys that say that a chain is of another family altogether.
const OTHER_FAMILIES: [&str; 4] = ["arbitrum", "bor", "parlia", "zksync"];

impl ChainSpec {
    /// Reads the JSON object that geth and op-geth call `config` in a genesis file. An `optimism` object in it makes
    /// the chain an OP Stack chain.
    ///
    /// A fork that is not known here is no error: blocks in which it is in effect are refused one by one, see
    /// [`ChainSpec::check_supported`].
    ///
    /// # Errors
    /// [`ConfigError`] if the text is not such an object or contradicts itself.
    pub fn from_genesis_config(json: &str) -> Result<Self, ConfigError> {
        let value: Value =
            serde_json::from_str(json).map_err(|error| ConfigError::Json(error.to_string()))?;
        let Value::Object(map) = value else {
            return Err(ConfigError::Json("not an object".to_string()));
        };
        let config = Config::new(&map);
        let chain_id = config.required_integer("chainId")?;
        let (stack, known): (_, &[&str]) = match config.object("optimism")? {
            Some(optimism) => (
                Stack::OpStack(OpStackRules::read(&config, &optimism)?),
                &OpStackRules::KEYS,
            ),
            None => (
                Stack::Ethereum(EthereumRules::read(&config)?),
                &EthereumRules::KEYS,
            ),
        };
        let mut unsupported = Vec::new();
        for key in map.keys().map(String::as_str) {
            if known.contains(&key) || WITHOUT_EFFECT.contains(&key) {
                continue;
            }
            if OTHER_FAMILIES.contains(&key) && !map[key].is_null() {
                unsupported.push(UnsupportedRule {
                    key: key.to_string(),
                    from: Activation::Block(0),
                });
            } else if key.ends_with("Time") {
                let from = config.integer(key)?.map(Activation::Timestamp);
                unsupported.extend(from.map(|from| UnsupportedRule {
                    key: key.to_string(),
                    from,
                }));
            } else if key.ends_with("Block") {
                let from = config.integer(key)?.map(Activation::Block);
                unsupported.extend(from.map(|from| UnsupportedRule {
                    key: key.to_string(),
                    from,
                }));
            }
        }
        Ok(Self {
            chain_id,
            stack,
            unsupported,
        })
    }

    /// The same rules, with proof of work taken for done: blocks before the merge are then verified in all else. For
    /// tests, whose blocks nobody has mined; without it such blocks are refused as not supported.
    #[must_use]
    pub fn with_seals_unchecked(mut self) -> Self {
        if let Stack::Ethereum(rules) = &mut self.stack {
            rules.leave_seals_unchecked();
        }
        self
    }

    /// The chain id of EIP-155.
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The family of rules.
    pub const fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Whether the block's rules are known here, as far as its number, timestamp and parent tell.
    ///
    /// # Errors
    /// [`Error::UnsupportedRules`] names the fork, or what else it is that makes them unknown.
    pub fn check_supported(&self, parent: &Header, header: &Header) -> Result<(), Error> {
        let rules = match self
            .unsupported
            .iter()
            .find(|rule| rule.from.active(header))
        {
            Some(rule) => Some(format!("`{}`", rule.key)),
            None => match &self.stack {
                Stack::Ethereum(rules) => {
                    rules.unsupported(parent, header).map(ToString::to_string)
                }
                Stack::OpStack(rules) => rules.unsupported(header).map(ToString::to_string),
            },
        };
        match rules {
            None => Ok(()),
            Some(rules) => Err(Error::UnsupportedRules {
                rules,
                number: header.number,
                timestamp: header.timestamp,
            }),
        }
    }

    /// The EIP-1559 parameters that hold where the parent's `extra_data` does not carry any.
    pub(crate) fn base_fee_params(&self, timestamp: u64) -> BaseFeeParams {
        match &self.stack {
            Stack::Ethereum(_) => BaseFeeParams::ethereum(),
            Stack::OpStack(rules) => rules.base_fee_params(timestamp),
        }
    }
}
