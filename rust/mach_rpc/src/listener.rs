//! Listening, accepting and refusing connections; what happens on them is somebody else's.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::connection::{Activity, Deadlines, Stream, WatchedStream};
use crate::limits::{ConnectionRefusal, PeerGuard, PeerTable};
use crate::stats::{Refused, RequestStats, Transport};

/// An address cannot be listened on.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The text is no address.
    #[error("{0:?} is no address to listen on; give host:port or a port of loopback")]
    NotAnAddress(String),
    /// Another process listens there.
    #[error("{0} is already in use; stop the process that listens there or set another port")]
    InUse(SocketAddr),
    /// The system refuses.
    #[error("cannot listen on {address}: {cause}; set an address of this machine")]
    Refused {
        /// Which address.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The socket address of `host:port`, or of a port of loopback.
fn resolve(text: &str) -> Result<SocketAddr, ListenError> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let not_an_address = || ListenError::NotAnAddress(text.to_owned());
    text.to_socket_addrs()
        .map_err(|_| not_an_address())?
        .next()
        .ok_or_else(not_an_address)
}

/// A listening socket and its real port. Must be called on a runtime.
///
/// # Errors
/// [`ListenError`] names the address and the remedy.
pub fn listen(text: &str) -> Result<(TcpListener, u16), ListenError> {
    let address = resolve(text)?;
    open(address).map_err(|cause| match cause.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Refused { address, cause },
    })
}

fn open(address: SocketAddr) -> io::Result<(TcpListener, u16)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// A connection that was let in. Its peer's account is held as long as it lives.
#[derive(Debug)]
pub struct Connection {
    /// Its bytes.
    pub stream: Stream,
    /// Whose it is.
    pub peer: Arc<PeerGuard>,
    /// To be told when requests begin and end.
    pub activity: Arc<Activity>,
    /// Turns true when the server stops: requests in progress should end, new ones not begin.
    pub stopping: watch::Receiver<bool>,
}

/// What serves the connections of one listener.
pub trait Serve: Clone + Send + 'static {
    /// Ends when the connection is of no more use.
    fn serve(self, connection: Connection) -> impl Future<Output = ()> + Send;
}

/// How one listener treats its connections.
#[derive(Clone)]
pub struct Acceptor {
    /// Counted as.
    pub transport: Transport,
    /// Bounds of peers.
    pub peers: Arc<PeerTable>,
    /// Counters.
    pub stats: Arc<RequestStats>,
    /// `None`: plaintext.
    pub tls: Option<TlsAcceptor>,
    /// The connection's pace.
    pub deadlines: Deadlines,
    /// Whether requests follow each other on a connection, as in HTTP/1.1 (see [`Activity`]).
    pub one_at_a_time: bool,
    /// See [`Connection::stopping`].
    pub stopping: watch::Receiver<bool>,
    /// Held by everything that still runs.
    pub alive: SyncSender<()>,
}

impl Acceptor {
    /// Accepts until the server stops. One task a connection; it ends when `server` is done with the connection, when
    /// the connection misses a deadline, or with the runtime.
    pub async fn run(mut self, listener: TcpListener, server: impl Serve) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut self.stopping) => return,
            };
            match accepted {
                Ok((stream, address)) => self.admit(stream, address.ip(), server.clone()),
                Err(error) if is_of_one_connection(&error) => {}
                // No file descriptor or no memory is left: they come back as connections close.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: IpAddr, server: impl Serve) {
        match self.peers.admit(address) {
            Ok(peer) => {
                tokio::spawn(self.clone().run_connection(stream, peer, server));
            }
            Err(refusal) => self.stats.refused(match refusal {
                ConnectionRefusal::TooMany => Refused::Connections,
                ConnectionRefusal::TooManyOfPeer => Refused::PeerConnections,
                ConnectionRefusal::TooFast => Refused::Rate,
            }),
        }
    }

    async fn run_connection(self, stream: TcpStream, peer: PeerGuard, server: impl Serve) {
        // Both fail only where the peer is gone already, and reading tells that.
        let _ = stream.set_nodelay(true);
        let keep_alive = TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(15));
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
        let activity = Activity::new(self.one_at_a_time);
        let stream = WatchedStream::new(
            stream,
            Arc::clone(&activity),
            Arc::clone(&self.stats),
            self.transport,
        );
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                match tokio::time::timeout(self.deadlines.head, tls.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        activity.received_all();
                        Stream::Tls(Box::new(stream))
                    }
                    Ok(Err(_)) => return self.stats.refused(Refused::Tls),
                    Err(_) => return self.stats.refused(Refused::Slow),
                }
            }
        };
        let connection = Connection {
            stream,
            peer: Arc::new(peer),
            activity: Arc::clone(&activity),
            stopping: self.stopping.clone(),
        };
        tokio::select! {
            () = server.serve(connection) => {}
            why = activity.overdue(&self.deadlines) => self.stats.refused(why),
        }
        drop(self.alive);
    }
}

/// Ends when the server stops.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender is gone when the server is, which is the same news.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_loopback_unless_told() {
        assert_eq!(resolve("8290").unwrap(), "127.0.0.1:8290".parse().unwrap());
        assert_eq!(resolve("0.0.0.0:1").unwrap(), "0.0.0.0:1".parse().unwrap());
        assert_eq!(resolve("[::1]:1").unwrap(), "[::1]:1".parse().unwrap());
        assert!(resolve("localhost:80").unwrap().ip().is_loopback());
        for text in ["", "8290:", "127.0.0.1", "127.0.0.1:99999", "no port"] {
            assert!(resolve(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_taken_or_foreign_address_is_named() {
        let (_held, port) = listen("127.0.0.1:0").unwrap();
        let error = listen(&format!("127.0.0.1:{port}"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            format!(
                "127.0.0.1:{port} is already in use; stop the process that listens there or set another port"
            )
        );
        let error = listen("192.0.2.1:1234").unwrap_err().to_string();
        assert!(
            error.starts_with("cannot listen on 192.0.2.1:1234"),
            "{error}"
        );
    }
}
