//! What proof of work asks of a header, but for the work itself: the difficulty, and the hash of the ommers.

use alloc::string::ToString;
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_hardforks::{EthereumHardfork, EthereumHardforks};
use alloy_primitives::{U256, keccak256};

use super::Rules;
use crate::{chain_spec::EthereumRules, error::Error};

/// Yellow Paper (41): by which part of the parent's the difficulty moves, and what it does not fall below.
const DIFFICULTY_BOUND_DIVISOR: u64 = 2048;
const MIN_DIFFICULTY: u64 = 131_072;
/// EIP-2 and EIP-100: the most steps by which it falls.
const MAX_STEPS_DOWN: u64 = 99;
/// Blocks in which the bomb doubles.
const BOMB_PERIOD: u64 = 100_000;
/// By how many blocks the forks put the bomb off, latest first: EIP-5133, 4345, 3554, 2384, 1234, 649.
const BOMB_DELAYS: [(EthereumHardfork, u64); 6] = [
    (EthereumHardfork::GrayGlacier, 11_400_000),
    (EthereumHardfork::ArrowGlacier, 10_700_000),
    (EthereumHardfork::London, 9_700_000),
    (EthereumHardfork::MuirGlacier, 9_000_000),
    (EthereumHardfork::Constantinople, 5_000_000),
    (EthereumHardfork::Byzantium, 3_000_000),
];
/// Yellow Paper (149).
const MAX_OMMERS: usize = 2;

impl Rules<'_> {
    pub(super) fn check_before_merge(&mut self, rules: &EthereumRules) -> Result<(), Error> {
        let (parent, block) = (self.parent, self.block);
        let expected = difficulty(rules, parent, &block.header);
        self.determined("difficulty", |header| &mut header.difficulty, expected);
        let hash = keccak256(block.ommers_rlp);
        self.determined("ommers_hash", |header| &mut header.ommers_hash, hash);
        self.bounded("ommers", block.ommers <= MAX_OMMERS, &block.ommers, || {
            "at most 2".to_string()
        });
        if (1..=MAX_OMMERS).contains(&block.ommers) {
            return Err(Error::UnsupportedRules {
                rules: "a block with ommers".to_string(),
                number: block.header.number,
                timestamp: block.header.timestamp,
            });
        }
        Ok(())
    }
}

/// The only difficulty that a block with this number and timestamp may have.
fn difficulty(rules: &EthereumRules, parent: &Header, header: &Header) -> U256 {
    let active = |fork| rules.is_ethereum_fork_active_at_block(fork, header.number);
    let elapsed = header.timestamp.saturating_sub(parent.timestamp);
    let step = parent.difficulty / U256::from(DIFFICULTY_BOUND_DIVISOR);
    // Steps up, and steps down.
    let (up, down) = if active(EthereumHardfork::Byzantium) {
        let with_ommers = parent.ommers_hash != EMPTY_OMMER_ROOT_HASH;
        (1 + u64::from(with_ommers), elapsed / 9)
    } else if active(EthereumHardfork::Homestead) {
        (1, elapsed / 10)
    } else if elapsed < 13 {
        (1, 0)
    } else {
        (0, 1)
    };
    let moved = if up >= down {
        parent
            .difficulty
            .saturating_add(step * U256::from(up - down))
    } else {
        let steps = U256::from((down - up).min(MAX_STEPS_DOWN));
        parent.difficulty.saturating_sub(step.saturating_mul(steps))
    };
    let delay = BOMB_DELAYS
        .iter()
        .find_map(|(fork, delay)| active(*fork).then_some(*delay))
        .unwrap_or(0);
    let bomb = match (header.number.saturating_sub(delay) / BOMB_PERIOD).checked_sub(2) {
        Some(doublings) => U256::ONE.checked_shl(usize::try_from(doublings).unwrap_or(usize::MAX)),
        None => Some(U256::ZERO),
    };
    moved
        .max(U256::from(MIN_DIFFICULTY))
        .saturating_add(bomb.unwrap_or(U256::MAX))
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::chain_spec::{ChainSpec, Stack};

    /// Fork, number, difficulty, timestamp, parent's difficulty and timestamp, whether the parent has ommers: the last of
    /// each file of ethereum/tests, `DifficultyTests/df{Frontier,Homestead,Byzantium,EIP2384,ArrowGlacier}`.
    const VECTORS: [(&str, u64, u64, u64, u64, u64, bool); 13] = [
        (
            "",
            0x19f0a0,
            0x687e_b6a1_b442_9823,
            0x6_2736_19a0,
            0x688b_c81a_b799_0b44,
            0x6_2736_198c,
            false,
        ),
        (
            "",
            0x1b7740,
            0x1e7c_4464_1476_14ae,
            0x7_9175_b1ca,
            0x1e80_1466_a149_3dd5,
            0x7_9175_b1b6,
            false,
        ),
        (
            "",
            0x1cfde0,
            0x0cc1_5cfd_1e2e_15ea,
            0x6_fe83_eb54,
            0x0cc2_f55b_c9a5_4a93,
            0x6_fe83_eb40,
            false,
        ),
        (
            "homestead",
            0x19f0a0,
            0x5984_1a49_9cb8_0505,
            0x6_af59_cfc8,
            0x598f_4c33_231b_e882,
            0x6_af59_cfb4,
            false,
        ),
        (
            "homestead",
            0x1b7740,
            0x5f66_966e_6970_bba1,
            0xd184_3831,
            0x5f72_84bf_014f_e59d,
            0xd184_381d,
            false,
        ),
        (
            "byzantium",
            0x1b7740,
            0x75fa_9311_a774_86f1,
            0x9081_ddc5,
            0x7609_543c_2efa_663d,
            0x9081_ddb1,
            false,
        ),
        (
            "byzantium",
            0x1cfde0,
            0x00c1_2994_e40e_9299,
            0x7_6f40_7386,
            0x00c1_41bd_1bb2_08da,
            0x7_6f40_7372,
            false,
        ),
        (
            "muirGlacier",
            0x981019,
            0x5b52_27e8_5258_d787,
            0x0b1f_e3d8,
            0x5b5d_939a_c5b1_8d38,
            0x0b1f_e3b5,
            true,
        ),
        (
            "muirGlacier",
            0x981bb3,
            0x16e8_cf6d_f615_0f54,
            0xefb7_7da5,
            0x16eb_ace3_9287_5fbf,
            0xefb7_7d8c,
            false,
        ),
        (
            "muirGlacier",
            0x982442,
            0x7829_2688_026a_9276,
            0x342d_bdd7,
            0x7847_3856_17f0_8e18,
            0x342d_bdae,
            true,
        ),
        (
            "muirGlacier",
            0x98270a,
            0x4284_1314_a0ce_bcb9,
            0xa3b2_c29f,
            0x429d_0df9_de82_2d08,
            0xa3b2_c273,
            false,
        ),
        (
            "arrowGlacier",
            0xa95f60,
            0x0022_1c3a_2fae_e79a,
            0x49,
            0x0022_3a2d_1723_2652,
            0,
            false,
        ),
        (
            "arrowGlacier",
            0xa95f60,
            0x0022_1c3a_2fae_e79a,
            0x52,
            0x0022_3a2d_1723_2652,
            0,
            true,
        ),
    ];

    #[test]
    fn the_difficulty_is_that_of_the_tests_of_ethereum() {
        for (fork, number, expected, timestamp, parent_difficulty, parent_timestamp, ommers) in
            VECTORS
        {
            let forks = [
                "homestead",
                "byzantium",
                "constantinople",
                "muirGlacier",
                "london",
                "arrowGlacier",
            ];
            let active = forks
                .iter()
                .position(|known| *known == fork)
                .map_or(0, |at| at + 1);
            let keys: alloc::vec::Vec<_> = forks[..active]
                .iter()
                .map(|fork| format!(", \"{fork}Block\": 0"))
                .collect();
            let config = format!("{{\"chainId\": 1{}}}", keys.concat());
            let spec = ChainSpec::from_genesis_config(&config)
                .unwrap()
                .with_seals_unchecked();
            let Stack::Ethereum(rules) = spec.stack() else {
                panic!("{config}");
            };
            let parent = Header {
                difficulty: U256::from(parent_difficulty),
                timestamp: parent_timestamp,
                ommers_hash: if ommers {
                    keccak256([0xc1, 0xc0])
                } else {
                    EMPTY_OMMER_ROOT_HASH
                },
                ..Header::default()
            };
            let header = Header {
                number,
                timestamp,
                ..Header::default()
            };
            assert_eq!(
                difficulty(rules, &parent, &header),
                U256::from(expected),
                "{fork} {number}"
            );
        }
    }

    #[test]
    fn the_difficulty_has_a_floor_and_an_end_to_its_fall() {
        let spec =
            ChainSpec::from_genesis_config("{\"chainId\": 1, \"homesteadBlock\": 0}").unwrap();
        let Stack::Ethereum(rules) = spec.with_seals_unchecked().stack().clone() else {
            panic!("an Ethereum chain");
        };
        let of = |parent: u64, elapsed: u64| {
            let parent = Header {
                difficulty: U256::from(parent),
                ..Header::default()
            };
            let header = Header {
                number: 1,
                timestamp: elapsed,
                ..Header::default()
            };
            difficulty(&rules, &parent, &header)
        };
        assert_eq!(of(MIN_DIFFICULTY, 20), U256::from(MIN_DIFFICULTY));
        assert_eq!(of(2048 << 20, u64::MAX), U256::from((2048_u64 - 99) << 20));
    }
}
