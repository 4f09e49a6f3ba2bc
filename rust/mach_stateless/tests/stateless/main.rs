//! Tests of the crate from outside; one program, since linking the EVM takes longer than running any of them.

#![allow(clippy::unwrap_used)] // What fails in a helper of a test fails the test.

#[cfg(feature = "parallel")]
mod ahead;
mod any_bytes;
mod ethereum_rules;
mod fixtures;
mod mutations;
mod op_blocks;
mod recorded_blocks;
#[cfg(feature = "parallel")]
mod threads;
mod trie;
