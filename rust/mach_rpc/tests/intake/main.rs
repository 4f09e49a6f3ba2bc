//! The intake engine as its owner and its transports use it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test fails by panicking.

mod batches;
mod bounds;
mod cooling;
mod model;
mod rebuilding;
mod rounds;
mod rules;
mod shared;
mod support;
mod threads;
