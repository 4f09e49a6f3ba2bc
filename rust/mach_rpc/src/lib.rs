//! Data paths that meet one request at a time: the aggregator's signature intake. No Python.
//!
//! [`aggregator`] names what operators ask of an aggregator, whatever transport they speak; [`server`] serves one over
//! JSON-RPC, gRPC and Go's net/rpc, and [`intake`] is one. [`listener`], [`connection`], [`limits`], [`tls`], [`tokens`],
//! [`http_door`], [`json`] and [`jsonrpc::envelope`] know nothing of aggregators.

pub mod aggregator;
pub mod calls;
pub mod connection;
pub mod gob;
pub mod grpc;
pub mod http_door;
pub mod intake;
pub mod json;
pub mod jsonrpc;
pub mod limits;
pub mod listener;
pub mod net_rpc;
pub mod server;
pub mod settings;
pub mod stats;
pub mod tls;
pub mod tokens;

pub use server::{Ports, Server, StartError};
pub use settings::ServerSettings;
