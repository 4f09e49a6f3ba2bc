//! The OP Stack's fork schedule, from the keys that op-geth reads.

use alloc::string::ToString;
use alloy_consensus::Header;
use alloy_eips::eip1559::BaseFeeParams;
use alloy_op_hardforks::{ForkCondition, OpChainHardforks, OpHardfork, OpHardforks};

use super::config::Config;
use crate::error::ConfigError;

/// When the forks of an OP Stack chain begin, and the parameters they carry.
#[derive(Clone, Debug)]
pub struct OpStackRules {
    forks: OpChainHardforks,
    bedrock: u64,
    /// EIP-1559 parameters before Canyon, and from Canyon on.
    base_fee: [BaseFeeParams; 2],
}

/// Ethereum's forks and the OP Stack's that bring them; where both are set they have to agree.
const PAIRS: [(&str, &str); 3] = [
    ("shanghaiTime", "canyonTime"),
    ("cancunTime", "ecotoneTime"),
    ("pragueTime", "isthmusTime"),
];

impl OpStackRules {
    /// The keys that end in `Time` or `Block` and that are understood.
    pub(super) const KEYS: [&'static str; 27] = [
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
        "bedrockBlock",
        "shanghaiTime",
        "cancunTime",
        "pragueTime",
        "regolithTime",
        "canyonTime",
        "ecotoneTime",
        "fjordTime",
        "graniteTime",
        "holoceneTime",
        "isthmusTime",
        "jovianTime",
    ];

    pub(super) fn read(config: &Config<'_>, optimism: &Config<'_>) -> Result<Self, ConfigError> {
        for (ethereum, op_stack) in PAIRS {
            let (left, right) = (config.integer(ethereum)?, config.integer(op_stack)?);
            if let Some(time) = left.filter(|_| left != right) {
                return Err(ConfigError::Order {
                    earlier: op_stack,
                    earlier_at: right
                        .map_or_else(|| "never".to_string(), |right| right.to_string()),
                    later: ethereum,
                    later_at: time.to_string(),
                });
            }
        }
        let times = config.schedule([
            "regolithTime",
            "canyonTime",
            "ecotoneTime",
            "fjordTime",
            "graniteTime",
            "holoceneTime",
            "isthmusTime",
            "jovianTime",
        ])?;
        let names = [
            OpHardfork::Regolith,
            OpHardfork::Canyon,
            OpHardfork::Ecotone,
            OpHardfork::Fjord,
            OpHardfork::Granite,
            OpHardfork::Holocene,
            OpHardfork::Isthmus,
            OpHardfork::Jovian,
        ];
        let at = |time: Option<u64>| time.map_or(ForkCondition::Never, ForkCondition::Timestamp);
        let bedrock = config.integer("bedrockBlock")?.unwrap_or(0);
        // The list is indexed by fork, so that none may be left out; those after Jovian stay out, and with that unset.
        let forks = core::iter::once((OpHardfork::Bedrock, ForkCondition::Block(bedrock)))
            .chain(names.into_iter().zip(times.map(at)));
        let elasticity = optimism
            .positive("eip1559Elasticity")?
            .ok_or(ConfigError::Missing("optimism.eip1559Elasticity"))?;
        let denominator = optimism
            .positive("eip1559Denominator")?
            .ok_or(ConfigError::Missing("optimism.eip1559Denominator"))?;
        let canyon = match (optimism.positive("eip1559DenominatorCanyon")?, times[1]) {
            (Some(denominator), _) => denominator,
            (None, None) => denominator,
            (None, Some(_)) => {
                return Err(ConfigError::Missing("optimism.eip1559DenominatorCanyon"));
            }
        };
        Ok(Self {
            forks: OpChainHardforks::new(forks),
            bedrock,
            base_fee: [denominator, canyon]
                .map(|denominator| BaseFeeParams::new(denominator.into(), elasticity.into())),
        })
    }

    /// What makes the rules of this block unknown, if anything does.
    pub(super) const fn unsupported(&self, header: &Header) -> Option<&'static str> {
        if header.number < self.bedrock {
            Some("a fork older than Bedrock")
        } else {
            None
        }
    }

    /// The forks, as the executor wants them.
    pub const fn forks(&self) -> &OpChainHardforks {
        &self.forks
    }

    pub(super) fn base_fee_params(&self, timestamp: u64) -> BaseFeeParams {
        self.base_fee[usize::from(self.forks.is_canyon_active_at_timestamp(timestamp))]
    }
}
