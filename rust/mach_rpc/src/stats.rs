//! What the server did, counted without locks and read as a snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Upper bounds of the duration histogram's buckets in seconds; a last one holds everything longer.
pub const DURATION_BOUNDS_S: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// A transport of the aggregator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// JSON-RPC over HTTP/1.1.
    JsonRpc,
    /// gRPC over HTTP/2.
    Grpc,
    /// Go's net/rpc with gob.
    NetRpc,
}

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `initOperator`
    InitOperator,
    /// `createTask`
    CreateTask,
    /// `processSignedTaskResponse`
    ProcessSignedTaskResponse,
    /// None of these, or the request could not be read.
    Other,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With a result.
    Ok,
    /// The request is malformed or its method unknown.
    Invalid,
    /// `task not found`
    TaskNotFound,
    /// `task N not initialized or already completed`
    TaskCompleted,
    /// `already finished`
    AlreadyFinished,
    /// The operator is no member.
    NotInQuorum,
    /// The signature is wrong.
    IncorrectSignature,
    /// A bound is reached.
    Busy,
    /// The aggregator cannot serve now.
    Unavailable,
    /// No answer within the deadline.
    TimedOut,
}

/// Which limit or guard refused something before it became a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Connections of all peers.
    Connections,
    /// Connections of one peer.
    PeerConnections,
    /// Requests a second of one peer.
    Rate,
    /// Requests in progress of all peers.
    RequestsInProgress,
    /// Bytes of one body.
    BodySize,
    /// Bytes of all bodies.
    BodyMemory,
    /// A head, a body or an answer that moved too slowly.
    Slow,
    /// A connection that was idle for too long.
    Idle,
    /// Host, Origin or content type.
    Header,
    /// A missing or wrong bearer token.
    Token,
    /// A TLS handshake that failed.
    Tls,
    /// A byte stream that does not follow the transport's protocol.
    Protocol,
}

macro_rules! names {
    ($kind:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $kind {
            /// Every variant, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }
    };
}

names!(Transport {
    JsonRpc = "jsonrpc",
    Grpc = "grpc",
    NetRpc = "net_rpc"
});
names!(Method {
    InitOperator = "initOperator",
    CreateTask = "createTask",
    ProcessSignedTaskResponse = "processSignedTaskResponse",
    Other = "other",
});
names!(Outcome {
    Ok = "ok",
    Invalid = "invalid",
    TaskNotFound = "task_not_found",
    TaskCompleted = "task_completed",
    AlreadyFinished = "already_finished",
    NotInQuorum = "not_in_quorum",
    IncorrectSignature = "incorrect_signature",
    Busy = "busy",
    Unavailable = "unavailable",
    TimedOut = "timed_out",
});
names!(Refused {
    Connections = "connections",
    PeerConnections = "peer_connections",
    Rate = "rate",
    RequestsInProgress = "requests_in_progress",
    BodySize = "body_size",
    BodyMemory = "body_memory",
    Slow = "slow",
    Idle = "idle",
    Header = "header",
    Token = "token",
    Tls = "tls",
    Protocol = "protocol",
});

const TRANSPORTS: usize = Transport::ALL.len();
const METHODS: usize = Method::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();
const BUCKETS: usize = DURATION_BOUNDS_S.len() + 1;

#[derive(Debug, Default)]
struct Calls {
    outcomes: [AtomicU64; OUTCOMES],
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

#[derive(Debug, Default)]
struct Connections {
    accepted: AtomicU64,
    closed: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// The counters; shared by everything that serves.
#[derive(Debug, Default)]
pub struct RequestStats {
    calls: [[Calls; METHODS]; TRANSPORTS],
    connections: [Connections; TRANSPORTS],
    refused: [AtomicU64; Refused::ALL.len()],
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl RequestStats {
    /// Counts one call that ended after `took`.
    pub fn call(&self, transport: Transport, method: Method, outcome: Outcome, took: Duration) {
        let calls = &self.calls[transport as usize][method as usize];
        let seconds = took.as_secs_f64();
        let bucket = DURATION_BOUNDS_S.partition_point(|bound| *bound < seconds);
        add(&calls.outcomes[outcome as usize], 1);
        add(&calls.buckets[bucket], 1);
        add(
            &calls.nanoseconds,
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        );
    }

    /// Counts something that a limit or a guard refused.
    pub fn refused(&self, by: Refused) {
        add(&self.refused[by as usize], 1);
    }

    pub(crate) fn opened(&self, transport: Transport) {
        add(&self.connections[transport as usize].accepted, 1);
    }

    pub(crate) fn closed(&self, transport: Transport) {
        add(&self.connections[transport as usize].closed, 1);
    }

    pub(crate) fn received(&self, transport: Transport, bytes: usize) {
        add(&self.connections[transport as usize].bytes_in, bytes as u64);
    }

    pub(crate) fn sent(&self, transport: Transport, bytes: usize) {
        add(
            &self.connections[transport as usize].bytes_out,
            bytes as u64,
        );
    }

    /// All counters as they are now; those of calls that never came are left out.
    pub fn snapshot(&self) -> StatsSnapshot {
        let mut calls = Vec::new();
        for transport in Transport::ALL {
            for method in Method::ALL {
                let counters = &self.calls[*transport as usize][*method as usize];
                let buckets = counters.buckets.each_ref().map(read);
                if buckets.iter().any(|count| *count > 0) {
                    calls.push(CallSnapshot {
                        transport: transport.name(),
                        method: method.name(),
                        outcomes: Outcome::ALL
                            .iter()
                            .map(|outcome| {
                                (outcome.name(), read(&counters.outcomes[*outcome as usize]))
                            })
                            .filter(|(_, count)| *count > 0)
                            .collect(),
                        buckets,
                        seconds: read(&counters.nanoseconds) as f64 / 1e9,
                    });
                }
            }
        }
        let connections = Transport::ALL.iter().map(|transport| {
            let counters = &self.connections[*transport as usize];
            let closed = read(&counters.closed);
            let accepted = read(&counters.accepted);
            ConnectionSnapshot {
                transport: transport.name(),
                open: accepted.saturating_sub(closed),
                accepted,
                bytes_in: read(&counters.bytes_in),
                bytes_out: read(&counters.bytes_out),
            }
        });
        StatsSnapshot {
            calls,
            connections: connections.collect(),
            refused: Refused::ALL
                .iter()
                .map(|kind| (kind.name(), read(&self.refused[*kind as usize])))
                .collect(),
        }
    }
}

/// [`RequestStats`] at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatsSnapshot {
    /// One entry for each transport and method that was called.
    pub calls: Vec<CallSnapshot>,
    /// One entry for each transport.
    pub connections: Vec<ConnectionSnapshot>,
    /// How often each limit or guard refused something.
    pub refused: Vec<(&'static str, u64)>,
}

/// The calls of one method over one transport.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallSnapshot {
    /// [`Transport::name`]
    pub transport: &'static str,
    /// [`Method::name`]
    pub method: &'static str,
    /// How many ended how; [`Outcome::name`].
    pub outcomes: Vec<(&'static str, u64)>,
    /// How many took at most [`DURATION_BOUNDS_S`] (each call stands in one bucket only), then those that took longer.
    pub buckets: [u64; BUCKETS],
    /// The durations' sum.
    pub seconds: f64,
}

/// The connections of one transport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionSnapshot {
    /// [`Transport::name`]
    pub transport: &'static str,
    /// Open now.
    pub open: u64,
    /// Ever accepted.
    pub accepted: u64,
    /// Bytes received, as they are on the wire under TLS.
    pub bytes_in: u64,
    /// Bytes sent, as they are on the wire under TLS.
    pub bytes_out: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_stand_under_their_names_and_in_their_buckets() {
        let stats = RequestStats::default();
        let call = |outcome, micros| {
            stats.call(
                Transport::Grpc,
                Method::CreateTask,
                outcome,
                Duration::from_micros(micros),
            );
        };
        call(Outcome::Ok, 100);
        call(Outcome::Ok, 101);
        call(Outcome::TimedOut, 31_000_000);
        stats.refused(Refused::Token);
        let snapshot = stats.snapshot();
        let [calls] = &snapshot.calls[..] else {
            panic!("{snapshot:?}")
        };
        assert_eq!((calls.transport, calls.method), ("grpc", "createTask"));
        assert_eq!(calls.outcomes, [("ok", 2), ("timed_out", 1)]);
        assert_eq!(
            (calls.buckets[0], calls.buckets[1], calls.buckets[14]),
            (1, 1, 1)
        );
        assert!((calls.seconds - 31.000_201).abs() < 1e-9);
        assert!(snapshot.refused.contains(&("token", 1)));
    }

    #[test]
    fn numbers_of_variants_are_places_in_the_tables() {
        assert!(
            Refused::ALL
                .iter()
                .enumerate()
                .all(|(place, kind)| *kind as usize == place)
        );
        assert!(
            Outcome::ALL
                .iter()
                .enumerate()
                .all(|(place, kind)| *kind as usize == place)
        );
    }
}
