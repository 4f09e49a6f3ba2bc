//! The server on real sockets: what the original's clients sent, what strangers might send, and every limit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abuse;
mod captures;
mod grpc;
mod jsonrpc;
mod lifecycle;
mod net_rpc;
mod security;
mod support;
