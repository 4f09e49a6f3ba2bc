//! The aggregator's server: up to three listeners on one runtime of its own.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

use crate::aggregator::Aggregator;
use crate::calls::Calls;
use crate::connection::Deadlines;
use crate::grpc::GrpcServer;
use crate::http_door::{BodyLimits, HttpDoor};
use crate::jsonrpc::JsonRpcServer;
use crate::jsonrpc::methods::AggregatorMethods;
use crate::limits::{Budget, PeerTable};
use crate::listener::{Acceptor, ListenError, Serve, listen};
use crate::net_rpc::NetRpcServer;
use crate::settings::{ServerSettings, SettingsError, seconds};
use crate::stats::{RequestStats, Transport};
use crate::tls::{TlsError, acceptor};
use crate::tokens::{BearerTokens, TokenError};

/// A server cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting is out of its range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A token file cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The system gives no threads.
    #[error("cannot start {workers} worker threads: {cause}; set fewer workers")]
    Threads {
        /// How many were asked for.
        workers: usize,
        /// Why not.
        cause: io::Error,
    },
}

/// The ports that are listened on, by transport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ports {
    /// JSON-RPC.
    pub jsonrpc: Option<u16>,
    /// gRPC.
    pub grpc: Option<u16>,
    /// net/rpc.
    pub net_rpc: Option<u16>,
}

/// A running server; it stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    ports: Ports,
    stats: Arc<RequestStats>,
    drain: Duration,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    /// Disconnected when everything that serves has ended.
    ended: Receiver<()>,
}

impl Server {
    /// Listens on every address that `settings` name and serves `aggregator` there, on threads of its own.
    ///
    /// # Errors
    /// [`StartError`] names the setting, the file or the address, and the remedy. Nothing is left running then.
    pub fn start<A: Aggregator>(
        settings: &ServerSettings,
        aggregator: Arc<A>,
    ) -> Result<Self, StartError> {
        settings.check()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(settings.workers)
            .thread_name("mach-rpc")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|cause| StartError::Threads {
                workers: settings.workers,
                cause,
            })?;
        let stats = Arc::new(RequestStats::default());
        let (stop, stopping) = watch::channel(false);
        let (alive, ended) = sync_channel(0);
        let ports = {
            let _on_runtime = runtime.enter();
            let assembly =
                Assembly::new(settings, aggregator, Arc::clone(&stats), stopping, alive)?;
            assembly.start()?
        };
        Ok(Self {
            ports,
            stats,
            drain: seconds(settings.limits.drain_s),
            running: Mutex::new(Some(Running {
                runtime,
                stop,
                ended,
            })),
        })
    }

    /// The real ports, also where a free one was asked for.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// The counters; they stay readable after the server has stopped.
    pub fn stats(&self) -> &Arc<RequestStats> {
        &self.stats
    }

    /// Stops listening at once, lets requests in progress end for `limits.drain_s` at most, then closes what is left.
    /// Blocks meanwhile. Does nothing the second time.
    pub fn stop(&self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(running) = running else {
            return;
        };
        running.stop.send_replace(true);
        // Either way everything that is left is closed below.
        let _ = running.ended.recv_timeout(self.drain);
        if Handle::try_current().is_ok() {
            running.runtime.shutdown_background();
        } else {
            running.runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the listeners of one server share.
struct Assembly<'a, A> {
    settings: &'a ServerSettings,
    aggregator: Arc<A>,
    stats: Arc<RequestStats>,
    stopping: watch::Receiver<bool>,
    alive: SyncSender<()>,
    peers: Arc<PeerTable>,
    in_progress: Arc<Budget>,
    body: BodyLimits,
    tokens: Option<Arc<BearerTokens>>,
}

impl<'a, A: Aggregator> Assembly<'a, A> {
    fn new(
        settings: &'a ServerSettings,
        aggregator: Arc<A>,
        stats: Arc<RequestStats>,
        stopping: watch::Receiver<bool>,
        alive: SyncSender<()>,
    ) -> Result<Self, StartError> {
        let limits = &settings.limits;
        Ok(Self {
            settings,
            aggregator,
            stats,
            stopping,
            alive,
            peers: PeerTable::new(limits.peer, limits.loopback, limits.max_connections),
            in_progress: Budget::new(limits.max_requests_in_progress),
            body: BodyLimits {
                max_bytes: limits.max_body_bytes,
                deadline: seconds(limits.body_s),
                memory: Budget::new(limits.max_body_memory_bytes),
            },
            tokens: BearerTokens::from_files(&settings.token_files)?.map(Arc::new),
        })
    }

    /// All listeners are open before the first connection is accepted.
    fn start(&self) -> Result<Ports, StartError> {
        let open = |address: &Option<String>| address.as_deref().map(listen).transpose();
        let addresses = &self.settings.listeners;
        let jsonrpc = open(&addresses.jsonrpc)?;
        let grpc = open(&addresses.grpc)?;
        let net_rpc = open(&addresses.net_rpc)?;
        let port = |listener: &Option<(TcpListener, u16)>| listener.as_ref().map(|(_, port)| *port);
        let ports = Ports {
            jsonrpc: port(&jsonrpc),
            grpc: port(&grpc),
            net_rpc: port(&net_rpc),
        };
        let acceptors = [
            self.acceptor(Transport::JsonRpc, Some("http/1.1"))?,
            self.acceptor(Transport::Grpc, Some("h2"))?,
            self.acceptor(Transport::NetRpc, None)?,
        ];
        let [for_jsonrpc, for_grpc, for_net_rpc] = acceptors;
        accept(jsonrpc, for_jsonrpc, self.jsonrpc());
        accept(grpc, for_grpc, self.grpc());
        accept(net_rpc, for_net_rpc, self.net_rpc());
        Ok(ports)
    }

    fn acceptor(
        &self,
        transport: Transport,
        protocol: Option<&'static str>,
    ) -> Result<Acceptor, StartError> {
        let limits = &self.settings.limits;
        let tls = self.settings.tls.as_ref();
        Ok(Acceptor {
            transport,
            peers: Arc::clone(&self.peers),
            stats: Arc::clone(&self.stats),
            tls: tls.map(|tls| acceptor(tls, protocol)).transpose()?,
            deadlines: Deadlines {
                head: seconds(limits.head_s),
                idle: match transport {
                    Transport::JsonRpc => Some(seconds(limits.idle_s)),
                    Transport::Grpc | Transport::NetRpc => limits.idle_long_lived_s.map(seconds),
                },
                write: seconds(limits.write_s),
            },
            one_at_a_time: transport == Transport::JsonRpc,
            stopping: self.stopping.clone(),
            alive: self.alive.clone(),
        })
    }

    fn calls(&self, transport: Transport) -> Calls<A> {
        Calls::new(
            Arc::clone(&self.aggregator),
            Arc::clone(&self.stats),
            transport,
            seconds(self.settings.limits.request_s),
            Arc::clone(&self.in_progress),
        )
    }

    fn door(&self) -> HttpDoor {
        HttpDoor::new(
            &self.settings.rpc_vhosts,
            &self.settings.rpc_cors,
            self.tokens.clone(),
        )
    }

    fn jsonrpc(&self) -> impl Serve + use<A> {
        JsonRpcServer::new(
            AggregatorMethods::new(self.calls(Transport::JsonRpc)),
            self.door(),
            self.body.clone(),
            self.settings.limits.max_batch,
            Arc::clone(&self.stats),
        )
    }

    fn grpc(&self) -> impl Serve + use<A> {
        GrpcServer::new(
            self.calls(Transport::Grpc),
            self.door(),
            self.body.clone(),
            self.settings.limits.max_requests_per_connection,
            Arc::clone(&self.stats),
        )
    }

    fn net_rpc(&self) -> impl Serve + use<A> {
        NetRpcServer::new(
            self.calls(Transport::NetRpc),
            self.tokens.clone(),
            self.settings.limits.max_requests_per_connection as usize,
            Arc::clone(&self.stats),
        )
    }
}

fn accept(listener: Option<(TcpListener, u16)>, acceptor: Acceptor, server: impl Serve) {
    if let Some((listener, _)) = listener {
        tokio::spawn(acceptor.run(listener, server));
    }
}
