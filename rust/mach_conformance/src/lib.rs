//! Runs blockchain tests of the form of `ethereum/tests` and of the execution specifications through `mach_stateless`.
//!
//! Each block is verified as any other: from its parent's header and a witness alone. The witness of the first block are
//! the nodes of the tries that the test's `pre` state makes, that of each following block the nodes of the tries after
//! the block before it. Those tries are built from the whole state with `alloy-trie`, so that every state root of
//! `mach_stateless` is held against an implementation other than its own.
//!
//! A block without `expectException` has to be VALID. One with it must not be, and for a reason that the test names; the
//! table in [`exceptions`] says which of our reasons goes by which of the tests' names.

#![forbid(unsafe_code)]

pub mod exceptions;
mod fixture;
mod network;
mod runner;
mod skipped;
mod state;

pub use fixture::FixtureError;
pub use runner::{CaseResult, Outcome, run_document};
pub use skipped::{SKIPPED, Skip};
