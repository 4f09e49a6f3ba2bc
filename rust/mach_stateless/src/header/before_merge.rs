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
