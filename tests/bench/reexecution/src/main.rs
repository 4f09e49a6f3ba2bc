//! Real OP Sepolia blocks from bytes to verdict, beside kona-executor 0.4 and beside revm alone, all in one run.
//!
//! `reexecution [ROUNDS]` prints one table. Preimages are hashed within the time measured, kona-executor's too; each figure
//! is the fastest of its rounds, and the rounds of all programs alternate, so that a busy machine slows them alike.

#![allow(clippy::unwrap_used)] // A benchmark fails like a test.

mod evm_alone;
#[allow(dead_code)] // The tests' part of it.
#[path = "../../../../rust/mach_stateless/tests/stateless/fixtures.rs"]
mod fixtures;
mod kona;

use std::{
    hint::black_box,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use alloy_primitives::B256;
use evm_alone::EvmAlone;
use fixtures::{Recorded, op_blocks, read_json};
use kona::Kona;
use mach_stateless::{BlockInput, Verdict, verify_block, verify_block_on_two_threads};

/// Blocks that each of two threads verifies in a row.
const MANY: usize = 4;

struct Block {
    recorded: Recorded,
    parent_header: Vec<u8>,
    block: Vec<u8>,
    kona: Kona,
    alone: EvmAlone,
}

/// The fastest times seen.
#[derive(Clone, Copy)]
struct Times {
    kona: Duration,
    alone: Duration,
    one: Duration,
    two: Duration,
    many_one: Duration,
    many_two: Duration,
}

impl Block {
    fn read(recorded: Recorded) -> Self {
        let folder = PathBuf::from(std::env::var_os("MACH_TESTDATA").unwrap());
        let document = read_json(&folder.join("op-blocks").join(&recorded.name));
        Self {
            parent_header: alloy_rlp::encode(&recorded.parent),
            block: recorded.block.encode(),
            kona: Kona::read(&document, &recorded.preimages),
            alone: EvmAlone::prepare(&recorded),
            recorded,
        }
    }

    fn verify(&self, threads: usize) -> Option<B256> {
        let preimages: Vec<&[u8]> = self.recorded.preimages.iter().map(AsRef::as_ref).collect();
        let input = BlockInput {
            chain_spec: &self.recorded.chain_spec,
            parent_header: &self.parent_header,
            block: &self.block,
            preimages: &preimages,
            ancestors: &[],
            served_receipts: None,
            block_hash: Some(self.recorded.hash),
        };
        let found = match threads {
            1 => verify_block(&input),
            _ => verify_block_on_two_threads(&input),
        };
        assert_eq!(found.verdict, Verdict::Valid, "{:?}", found.reason);
        found.computed_block_hash
    }

    /// The three ways must agree on the block before any is timed.
    fn compare(&self) {
        let hash = self.recorded.hash;
        let (kona_hash, kona_header) = self.kona.build();
        assert_eq!(kona_hash, hash, "kona-executor");
        assert_eq!(kona_header, alloy_rlp::encode(&self.recorded.block.header));
        for threads in [1, 2] {
            assert_eq!(self.verify(threads), Some(hash), "{threads} threads");
        }
        let gas = self.alone.execute().0;
        assert_eq!(gas, self.recorded.block.header.gas_used, "revm alone");
    }

    fn time(&self, rounds: usize) -> Times {
        let mut best = Times {
            kona: Duration::MAX,
            alone: Duration::MAX,
            one: Duration::MAX,
            two: Duration::MAX,
            many_one: Duration::MAX,
            many_two: Duration::MAX,
        };
        let many = || {
            for _ in 0..MANY {
                black_box(self.verify(1));
            }
        };
        for _ in 0..rounds {
            best.kona = best.kona.min(time(|| self.kona.build()));
            best.alone = best.alone.min(time(|| self.alone.execute()));
            best.one = best.one.min(time(|| self.verify(1)));
            best.two = best.two.min(time(|| self.verify(2)));
            best.many_one = best.many_one.min(time(many));
            best.many_two = best.many_two.min(time(|| {
                thread::scope(|scope| {
                    scope.spawn(many);
                    many();
                });
            }));
        }
        best
    }
}

fn time<R>(work: impl FnOnce() -> R) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

fn main() {
    let rounds = std::env::args()
        .nth(1)
        .map_or(20, |rounds| rounds.parse().unwrap());
    let blocks: Vec<Block> = op_blocks().into_iter().map(Block::read).collect();
    println!(
        "{:>10} {:>8} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8}",
        "block",
        "Mgas",
        "kona ms",
        "revm ms",
        "1 core ms",
        "2 cores ms",
        "x kona",
        "x revm",
        "x 2cores",
        "x many"
    );
    let mut total: Option<(f64, Times)> = None;
    for block in &blocks {
        block.compare();
        let times = block.time(rounds);
        let gas = block.recorded.block.header.gas_used as f64 / 1e6;
        print_row(&block.recorded.block.header.number.to_string(), gas, &times);
        total = Some(match total {
            None => (gas, times),
            Some((sum, all)) => (
                sum + gas,
                Times {
                    kona: all.kona + times.kona,
                    alone: all.alone + times.alone,
                    one: all.one + times.one,
                    two: all.two + times.two,
                    many_one: all.many_one + times.many_one,
                    many_two: all.many_two + times.many_two,
                },
            ),
        });
    }
    if let Some((gas, times)) = total {
        print_row("together", gas, &times);
        let rate = |time: Duration| gas / time.as_secs_f64();
        println!(
            "Mgas/s together: kona {:.0}, revm alone {:.0}, one core {:.0}, two cores on one block {:.0}",
            rate(times.kona),
            rate(times.alone),
            rate(times.one),
            rate(times.two)
        );
    }
}

fn print_row(name: &str, gas: f64, times: &Times) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let ratio = |of: Duration, to: Duration| of.as_secs_f64() / to.as_secs_f64();
    println!(
        "{name:>10} {gas:>8.2} {:>10.2} {:>10.2} {:>10.2} {:>10.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
        ms(times.kona),
        ms(times.alone),
        ms(times.one),
        ms(times.two),
        ratio(times.kona, times.one),
        ratio(times.alone, times.one),
        ratio(times.one, times.two),
        2.0 * ratio(times.many_one, times.many_two),
    );
}
