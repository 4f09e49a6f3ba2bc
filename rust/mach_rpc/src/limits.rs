//! What one peer and all peers together may take: connections, requests a second, memory for bodies.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// Bounds for each peer of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerLimits {
    /// Connections open at the same time.
    pub connections: usize,
    /// Requests (and new connections) a second, in the long run.
    pub requests_per_second: f64,
    /// How many may come at once after a pause.
    pub burst: u32,
}

/// Who counts as one peer: an IPv4 address, or a whole /64 of IPv6, which one machine can use at will.
pub fn peer_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other,
    }
}

/// A token bucket in one word (the generic cell rate algorithm): no lock, no clean-up, refilled by time alone.
#[derive(Debug)]
struct Bucket {
    /// Nanoseconds after the table's start at which the bucket is full again.
    full_at: AtomicU64,
    /// Nanoseconds that one token takes to come back.
    per_token: u64,
    /// Nanoseconds that all tokens take to come back.
    capacity: u64,
}

impl Bucket {
    fn new(limits: &PeerLimits) -> Self {
        let per_token = (1e9 / limits.requests_per_second) as u64;
        Self {
            full_at: AtomicU64::new(0),
            per_token,
            capacity: per_token.saturating_mul(u64::from(limits.burst)),
        }
    }

    /// Takes `tokens`, or says after which time they could be had.
    fn take(&self, tokens: u32, now: u64) -> Result<(), Duration> {
        let cost = self.per_token.saturating_mul(u64::from(tokens));
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = full_at.max(now).saturating_add(cost);
            let excess = (next - now).saturating_sub(self.capacity);
            if excess > 0 {
                return Err(Duration::from_nanos(excess));
            }
            match self.full_at.compare_exchange_weak(
                full_at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(current) => full_at = current,
            }
        }
    }

    fn is_full(&self, now: u64) -> bool {
        self.full_at.load(Ordering::Relaxed) <= now
    }
}

#[derive(Debug)]
struct Account {
    bucket: Bucket,
    connections: AtomicUsize,
}

/// All peers that are connected or were a moment ago.
#[derive(Debug)]
pub struct PeerTable {
    remote: PeerLimits,
    loopback: PeerLimits,
    max_connections: usize,
    connections: AtomicUsize,
    accounts: Mutex<HashMap<IpAddr, Arc<Account>>>,
    start: Instant,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// The whole process has as many as it may.
    TooMany,
    /// The peer has as many as it may.
    TooManyOfPeer,
    /// The peer opens them faster than it may.
    TooFast,
}

/// Accounts of peers without a connection are kept up to this many, so that reconnecting does not refill a bucket.
const MAX_IDLE_ACCOUNTS: usize = 16_384;

impl PeerTable {
    /// `max_connections` bounds all peers together.
    pub fn new(remote: PeerLimits, loopback: PeerLimits, max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            remote,
            loopback,
            max_connections,
            connections: AtomicUsize::new(0),
            accounts: Mutex::new(HashMap::new()),
            start: Instant::now(),
        })
    }

    /// Counts a new connection of `address` until the guard is dropped.
    ///
    /// # Errors
    /// Which bound stands against it.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<PeerGuard, ConnectionRefusal> {
        let key = peer_key(address);
        let limits = if key.is_loopback() {
            &self.loopback
        } else {
            &self.remote
        };
        let now = self.now();
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if self.connections.load(Ordering::Relaxed) >= self.max_connections {
            return Err(ConnectionRefusal::TooMany);
        }
        if accounts.len() >= self.max_connections.saturating_add(MAX_IDLE_ACCOUNTS) {
            let used = |account: &Arc<Account>| account.connections.load(Ordering::Relaxed) > 0;
            accounts.retain(|_, account| used(account) || !account.bucket.is_full(now));
            if accounts.len() >= self.max_connections.saturating_add(MAX_IDLE_ACCOUNTS) {
                accounts.retain(|_, account| used(account));
            }
        }
        let account = accounts.entry(key).or_insert_with(|| {
            Arc::new(Account {
                bucket: Bucket::new(limits),
                connections: AtomicUsize::new(0),
            })
        });
        if account.connections.load(Ordering::Relaxed) >= limits.connections {
            return Err(ConnectionRefusal::TooManyOfPeer);
        }
        account
            .bucket
            .take(1, now)
            .map_err(|_| ConnectionRefusal::TooFast)?;
        account.connections.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
        Ok(PeerGuard {
            address: address.to_canonical(),
            account: Arc::clone(account),
            table: Arc::clone(self),
        })
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One counted connection.
#[derive(Debug)]
pub struct PeerGuard {
    address: IpAddr,
    account: Arc<Account>,
    table: Arc<PeerTable>,
}

impl PeerGuard {
    /// The peer's address; an IPv4 address that came over an IPv6 socket is IPv4.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Takes one token a request.
    ///
    /// # Errors
    /// After which time so many requests would be allowed.
    pub fn take(&self, requests: u32) -> Result<(), Duration> {
        self.account.bucket.take(requests, self.table.now())
    }
}

impl Drop for PeerGuard {
    fn drop(&mut self) {
        self.account.connections.fetch_sub(1, Ordering::Relaxed);
        self.table.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A bound on what all peers together may have in use: bytes of buffered bodies, requests in progress.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    most: usize,
}

/// The whole budget is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetExhausted;

impl Budget {
    /// Nothing is in use at first.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            most,
        })
    }

    /// What is in use now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A share that starts empty.
    pub fn share(self: &Arc<Self>) -> BudgetShare {
        BudgetShare {
            budget: Arc::clone(self),
            taken: 0,
        }
    }
}

/// What one user took of a budget; given back when it is dropped.
#[derive(Debug)]
pub struct BudgetShare {
    budget: Arc<Budget>,
    taken: usize,
}

impl BudgetShare {
    /// Takes `amount` more.
    ///
    /// # Errors
    /// [`BudgetExhausted`]; nothing more is taken then.
    pub fn grow(&mut self, amount: usize) -> Result<(), BudgetExhausted> {
        let before = self.budget.used.fetch_add(amount, Ordering::Relaxed);
        if before.saturating_add(amount) > self.budget.most {
            self.budget.used.fetch_sub(amount, Ordering::Relaxed);
            return Err(BudgetExhausted);
        }
        self.taken += amount;
        Ok(())
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PeerLimits = PeerLimits {
        connections: 2,
        requests_per_second: 10.0,
        burst: 5,
    };

    #[test]
    fn a_bucket_gives_its_burst_then_refills_by_time() {
        let bucket = Bucket::new(&LIMITS);
        let second = 1_000_000_000;
        for _ in 0..5 {
            assert_eq!(bucket.take(1, 7), Ok(()));
        }
        assert_eq!(bucket.take(1, 7), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(2, 7), Err(Duration::from_millis(200)));
        assert_eq!(bucket.take(1, 7 + second / 10), Ok(()));
        assert!(bucket.take(1, 7 + second / 10).is_err());
        assert_eq!(bucket.take(5, 10 * second), Ok(()));
        assert!(!bucket.is_full(10 * second) && bucket.is_full(11 * second));
        assert!(bucket.take(6, 100 * second).is_err());
    }

    #[test]
    fn connections_are_bounded_each_and_together_and_given_back() {
        let table = PeerTable::new(LIMITS, LIMITS, 3);
        let one = "192.0.2.1".parse().unwrap();
        let guards = [table.admit(one).unwrap(), table.admit(one).unwrap()];
        assert_eq!(
            table.admit(one).unwrap_err(),
            ConnectionRefusal::TooManyOfPeer
        );
        let other = table.admit("192.0.2.2".parse().unwrap()).unwrap();
        assert_eq!(
            table.admit("192.0.2.3".parse().unwrap()).unwrap_err(),
            ConnectionRefusal::TooMany
        );
        drop(guards);
        assert_eq!(table.connections(), 1);
        for _ in 0..3 {
            drop(table.admit(one).unwrap());
        }
        assert_eq!(table.admit(one).unwrap_err(), ConnectionRefusal::TooFast);
        drop(other);
    }

    #[test]
    fn accounts_of_peers_that_left_are_bounded() {
        let table = PeerTable::new(LIMITS, LIMITS, 1);
        for number in 0..40_000_u32 {
            drop(table.admit(IpAddr::V4(number.into())).unwrap());
        }
        assert!(table.accounts.lock().unwrap().len() <= MAX_IDLE_ACCOUNTS + 1);
    }

    #[test]
    fn a_v6_network_is_one_peer_and_a_mapped_v4_address_is_v4() {
        let key = |text: &str| peer_key(text.parse().unwrap()).to_string();
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2:ffff::"));
        assert_ne!(key("2001:db8:1:2::"), key("2001:db8:1:3::"));
        assert_eq!(key("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(key("::1"), "::1");
    }

    #[test]
    fn a_budget_is_never_exceeded_and_comes_back() {
        let budget = Budget::new(10);
        let mut share = budget.share();
        share.grow(6).unwrap();
        assert_eq!(budget.share().grow(5), Err(BudgetExhausted));
        share.grow(4).unwrap();
        assert_eq!(budget.used(), 10);
        drop(share);
        assert_eq!(budget.used(), 0);
    }
}
