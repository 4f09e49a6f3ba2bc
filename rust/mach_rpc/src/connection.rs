//! One connection: its bytes counted, its pace watched, plain or TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::stats::{Refused, RequestStats, Transport};

/// How long each part of a connection's life may last.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From a request's first byte until its head is complete; and from the connection's start until its first byte.
    pub head: Duration,
    /// Without a request; `None`: for ever.
    pub idle: Option<Duration>,
    /// Without the peer taking a byte of what waits for it.
    pub write: Duration,
}

/// What a connection does, told by its stream and by whoever serves it, and read by [`Activity::overdue`].
///
/// A deadline of its own for each read and write would cost a timer a request; one look now and then is enough.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    /// Milliseconds after `start`, plus 1, of the last byte that came, or of the moment when the last request ended; 0:
    /// nothing came yet.
    last: AtomicU64,
    /// Milliseconds after `start`, plus 1, of the first byte of a request that is not complete; 0: there is none.
    receiving_since: AtomicU64,
    /// Milliseconds after `start`, plus 1, since when the peer takes nothing; 0: it takes all.
    blocked_since: AtomicU64,
    requests: AtomicU32,
    /// Whether every byte that comes between requests belongs to the next one's head. Not so in HTTP/2.
    one_at_a_time: bool,
}

impl Activity {
    /// Of a connection that opens now.
    pub fn new(one_at_a_time: bool) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
            receiving_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            one_at_a_time,
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// A request's head is complete; it is in progress until the guard is dropped.
    pub fn request(self: &Arc<Self>) -> RequestInProgress {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.receiving_since.store(0, Ordering::Relaxed);
        RequestInProgress(Arc::clone(self))
    }

    /// Part of a request is here, the rest is not.
    pub fn receiving(&self) {
        if self.receiving_since.load(Ordering::Relaxed) == 0 {
            self.receiving_since
                .store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// Nothing of a next request is here.
    pub fn received_all(&self) {
        self.receiving_since.store(0, Ordering::Relaxed);
    }

    fn bytes_came(&self) {
        self.last.store(self.now() + 1, Ordering::Relaxed);
        if self.one_at_a_time && self.requests.load(Ordering::Relaxed) == 0 {
            self.receiving();
        }
    }

    fn bytes_went(&self) {
        if self.blocked_since.load(Ordering::Relaxed) != 0 {
            self.blocked_since.store(0, Ordering::Relaxed);
        }
    }

    fn blocked(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    fn broken(&self, deadlines: &Deadlines) -> Option<Refused> {
        let now = self.now();
        let last = self.last.load(Ordering::Relaxed);
        let past = |since: u64, limit: Duration| {
            since != 0 && u128::from((now + 1).saturating_sub(since)) > limit.as_millis()
        };
        if past(self.receiving_since.load(Ordering::Relaxed), deadlines.head)
            || past(self.blocked_since.load(Ordering::Relaxed), deadlines.write)
            || (last == 0 && past(1, deadlines.head))
        {
            return Some(Refused::Slow);
        }
        let quiet = self.requests.load(Ordering::Relaxed) == 0;
        (quiet && past(last.max(1), deadlines.idle?)).then_some(Refused::Idle)
    }

    /// Ends when a deadline has passed, at most a quarter of the shortest later.
    pub async fn overdue(&self, deadlines: &Deadlines) -> Refused {
        let shortest = deadlines
            .head
            .min(deadlines.write)
            .min(deadlines.idle.unwrap_or(Duration::MAX));
        let pause = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(5));
        loop {
            tokio::time::sleep(pause).await;
            if let Some(why) = self.broken(deadlines) {
                return why;
            }
        }
    }
}

/// Marks a request as in progress.
#[derive(Debug)]
pub struct RequestInProgress(Arc<Activity>);

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.last.store(self.0.now() + 1, Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A TCP stream that tells an [`Activity`] and the counters what passes.
#[derive(Debug)]
pub struct WatchedStream {
    stream: TcpStream,
    activity: Arc<Activity>,
    stats: Arc<RequestStats>,
    transport: Transport,
}

impl WatchedStream {
    pub(crate) fn new(
        stream: TcpStream,
        activity: Arc<Activity>,
        stats: Arc<RequestStats>,
        transport: Transport,
    ) -> Self {
        stats.opened(transport);
        Self {
            stream,
            activity,
            stats,
            transport,
        }
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(count)) => {
                self.stats.sent(self.transport, *count);
                self.activity.bytes_went();
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.activity.blocked(),
        }
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        self.stats.closed(self.transport);
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.stats.received(self.transport, count);
            self.activity.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection's bytes, in the clear or through TLS.
#[derive(Debug)]
pub enum Stream {
    /// As they are on the wire.
    Plain(WatchedStream),
    /// Through TLS.
    Tls(Box<TlsStream<WatchedStream>>),
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain(plain) => {
                let $stream = Pin::new(plain);
                $call
            }
            Stream::Tls(tls) => {
                let $stream = Pin::new(tls.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        forward!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, stream => stream.poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(plain) => plain.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => stream.poll_shutdown(context))
    }
}
