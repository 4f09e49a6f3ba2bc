//! What a server is told: addresses, limits, guards. Read from JSON; every key has a default.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::limits::PeerLimits;

/// All settings of a [`Server`](crate::server::Server).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// Where each transport listens.
    pub listeners: Listeners,
    /// Threads that serve all connections.
    pub workers: usize,
    /// Host headers that JSON-RPC answers besides plain IP addresses; `*` allows any.
    pub rpc_vhosts: Vec<String>,
    /// Origins of web pages that may call JSON-RPC; `*` allows any, none is the default.
    pub rpc_cors: Vec<String>,
    /// Bounds and deadlines.
    pub limits: LimitSettings,
    /// Files with one bearer token a line; a caller must present one of them. No files: no token is asked for.
    pub token_files: Vec<PathBuf>,
    /// Certificates; none: plaintext.
    pub tls: Option<TlsSettings>,
}

/// `host:port`, or a port alone, which is one of loopback; port 0 asks for a free one. A transport without an address
/// is not served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listeners {
    /// JSON-RPC over HTTP/1.1; 8290 in the original.
    pub jsonrpc: Option<String>,
    /// gRPC over HTTP/2; 8190 in the original.
    pub grpc: Option<String>,
    /// Go's net/rpc over HTTP's CONNECT; 8090 in the original.
    pub net_rpc: Option<String>,
}

/// Certificates, all as PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The server's certificate, then its issuers.
    pub certificate_file: PathBuf,
    /// Its private key (PKCS#8, PKCS#1 or SEC1).
    pub private_key_file: PathBuf,
    /// Who signs the certificates that clients must present (mTLS); none: clients need no certificate.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

/// Bounds and deadlines; durations are seconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Connections of all peers and transports together.
    pub max_connections: usize,
    /// For each peer elsewhere.
    pub peer: PeerLimits,
    /// For all of this machine's processes together.
    pub loopback: PeerLimits,
    /// Requests in progress, all peers together.
    pub max_requests_in_progress: usize,
    /// Requests in progress on one connection that can carry several at once (gRPC, net/rpc).
    pub max_requests_per_connection: u32,
    /// Requests in one JSON-RPC batch.
    pub max_batch: usize,
    /// Bytes of one body, as sent and inflated.
    pub max_body_bytes: usize,
    /// Bytes of all bodies that are being received.
    pub max_body_memory_bytes: usize,
    /// How long a request's head may take from its first byte, and a TLS handshake.
    pub head_s: f64,
    /// How long a body may take.
    pub body_s: f64,
    /// How long a peer may take nothing of an answer.
    pub write_s: f64,
    /// How long a JSON-RPC connection may stay without a request.
    pub idle_s: f64,
    /// The same for gRPC and net/rpc, whose clients keep one connection for days; none: as long as TCP's keep-alive
    /// finds the peer there.
    pub idle_long_lived_s: Option<f64>,
    /// How long an answer may take.
    pub request_s: f64,
    /// How long requests in progress may go on after `stop`.
    pub drain_s: f64,
}

/// The settings are no JSON, or a value is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listeners: Listeners::default(),
            workers: std::thread::available_parallelism().map_or(2, |threads| threads.get().min(4)),
            rpc_vhosts: vec!["localhost".into()],
            rpc_cors: Vec::new(),
            limits: LimitSettings::default(),
            token_files: Vec::new(),
            tls: None,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            peer: PeerLimits {
                connections: 128,
                requests_per_second: 1_000.0,
                burst: 4_000,
            },
            loopback: PeerLimits {
                connections: 4096,
                requests_per_second: 1e6,
                burst: 1_000_000,
            },
            max_requests_in_progress: 16_384,
            max_requests_per_connection: 128,
            max_batch: 100,
            max_body_bytes: 5 * 1024 * 1024,
            max_body_memory_bytes: 128 * 1024 * 1024,
            head_s: 10.0,
            body_s: 10.0,
            write_s: 10.0,
            idle_s: 120.0,
            idle_long_lived_s: None,
            request_s: 30.0,
            drain_s: 2.0,
        }
    }
}

impl ServerSettings {
    /// Every value in its range, or the first that is not.
    ///
    /// # Errors
    /// [`SettingsError`] names the key, the value and the range.
    pub fn check(&self) -> Result<(), SettingsError> {
        let limits = &self.limits;
        let counts = [
            ("workers", self.workers),
            ("limits.max_connections", limits.max_connections),
            ("limits.peer.connections", limits.peer.connections),
            ("limits.peer.burst", limits.peer.burst as usize),
            ("limits.loopback.connections", limits.loopback.connections),
            ("limits.loopback.burst", limits.loopback.burst as usize),
            (
                "limits.max_requests_in_progress",
                limits.max_requests_in_progress,
            ),
            (
                "limits.max_requests_per_connection",
                limits.max_requests_per_connection as usize,
            ),
            ("limits.max_batch", limits.max_batch),
            ("limits.max_body_bytes", limits.max_body_bytes),
            ("limits.max_body_memory_bytes", limits.max_body_memory_bytes),
        ];
        for (key, value) in counts {
            if value == 0 || value > 1 << 30 {
                return Err(SettingsError(format!(
                    "{key} is {value}; it must be 1 to 2^30"
                )));
            }
        }
        let rates = [
            (
                "limits.peer.requests_per_second",
                limits.peer.requests_per_second,
            ),
            (
                "limits.loopback.requests_per_second",
                limits.loopback.requests_per_second,
            ),
        ];
        for (key, value) in rates {
            if !(0.001..=1e9).contains(&value) {
                return Err(SettingsError(format!(
                    "{key} is {value}; it must be 0.001 to 10^9"
                )));
            }
        }
        let durations = [
            ("limits.head_s", limits.head_s),
            ("limits.body_s", limits.body_s),
            ("limits.write_s", limits.write_s),
            ("limits.idle_s", limits.idle_s),
            (
                "limits.idle_long_lived_s",
                limits.idle_long_lived_s.unwrap_or(1.0),
            ),
            ("limits.request_s", limits.request_s),
            ("limits.drain_s", limits.drain_s),
        ];
        for (key, value) in durations {
            if !(0.001..=1e6).contains(&value) {
                return Err(SettingsError(format!(
                    "{key} is {value}; it must be 0.001 to 10^6 seconds"
                )));
            }
        }
        Ok(())
    }
}

/// A duration of settings that were checked.
pub(crate) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_overrides_defaults_and_unknown_keys_are_refused() {
        let settings: ServerSettings = serde_json::from_str(
            r#"{"listeners":{"jsonrpc":"127.0.0.1:0"},"limits":{"request_s":1}}"#,
        )
        .unwrap();
        assert_eq!(settings.listeners.jsonrpc.as_deref(), Some("127.0.0.1:0"));
        assert_eq!(settings.listeners.grpc, None);
        assert!((settings.limits.request_s - 1.0).abs() < 1e-9);
        assert_eq!(settings.limits.max_body_bytes, 5 * 1024 * 1024);
        settings.check().unwrap();
        assert!(serde_json::from_str::<ServerSettings>(r#"{"limits":{"requests_s":1}}"#).is_err());
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        let refused = |change: fn(&mut ServerSettings)| {
            let mut settings = ServerSettings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert!(refused(|settings| settings.workers = 0).starts_with("workers is 0"));
        assert!(
            refused(|settings| settings.limits.head_s = -1.0).starts_with("limits.head_s is -1")
        );
        assert!(refused(|settings| settings.limits.idle_s = f64::NAN).contains("limits.idle_s"));
        assert!(
            refused(|settings| settings.limits.peer.requests_per_second = 0.0)
                .contains("peer.requests_per_second")
        );
    }
}
