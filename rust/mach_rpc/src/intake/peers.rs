use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use crate::aggregator::Peer;

/// Whom bounds are kept for: an IPv4 address, or the 64-bit prefix that one IPv6 host has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PeerKey(IpAddr);

impl PeerKey {
    /// Stands for the owner itself, who brings stored tasks in.
    pub(super) const OWNER: Self = Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
}

impl From<&Peer> for PeerKey {
    fn from(peer: &Peer) -> Self {
        Self(match peer.address.to_canonical() {
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl std::fmt::Display for PeerKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Where an unsigned task stands in [`UnsignedTasks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnsignedTicket {
    pub(super) peer: PeerKey,
    age: u64,
}

/// The tasks that nobody signed yet, by the peers that created them and by age.
#[derive(Default)]
pub(super) struct UnsignedTasks {
    next_age: u64,
    by_age: BTreeMap<u64, u32>,
    by_peer: HashMap<PeerKey, BTreeSet<u64>>,
    /// Peers by how many they have.
    greed: BTreeSet<(usize, PeerKey)>,
}

impl UnsignedTasks {
    pub(super) fn insert(&mut self, task_index: u32, peer: PeerKey) -> UnsignedTicket {
        let age = self.next_age;
        self.next_age += 1;
        self.by_age.insert(age, task_index);
        let ages = self.by_peer.entry(peer).or_default();
        self.greed.remove(&(ages.len(), peer));
        ages.insert(age);
        self.greed.insert((ages.len(), peer));
        UnsignedTicket { peer, age }
    }

    pub(super) fn remove(&mut self, ticket: UnsignedTicket) {
        let UnsignedTicket { peer, age } = ticket;
        self.by_age.remove(&age);
        let Some(ages) = self.by_peer.get_mut(&peer) else {
            return;
        };
        self.greed.remove(&(ages.len(), peer));
        ages.remove(&age);
        if ages.is_empty() {
            self.by_peer.remove(&peer);
        } else {
            self.greed.insert((ages.len(), peer));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    pub(super) fn of_peer(&self, peer: PeerKey) -> usize {
        self.by_peer.get(&peer).map_or(0, BTreeSet::len)
    }

    /// The index of the oldest task of all.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.by_age.values().next().copied()
    }

    /// The index of a peer's oldest task.
    pub(super) fn oldest_of(&self, peer: PeerKey) -> Option<u32> {
        let age = self.by_peer.get(&peer)?.first()?;
        self.by_age.get(age).copied()
    }

    /// The index of the oldest task of the peer that has the most.
    pub(super) fn oldest_of_greediest(&self) -> Option<u32> {
        let (_, peer) = self.greed.last()?;
        self.oldest_of(*peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> PeerKey {
        PeerKey::from(&Peer {
            address: address.parse().unwrap(),
        })
    }

    #[test]
    fn one_ipv6_host_is_one_peer_however_many_addresses_it_takes() {
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:192.0.2.7"), peer("192.0.2.7"));
        assert_ne!(peer("192.0.2.7"), peer("192.0.2.8"));
    }

    #[test]
    fn the_greediest_pays_first_and_with_its_oldest() {
        let mut unsigned = UnsignedTasks::default();
        let (modest, greedy) = (peer("192.0.2.1"), peer("192.0.2.2"));
        let first = unsigned.insert(0, modest);
        unsigned.insert(1, greedy);
        let second = unsigned.insert(2, greedy);
        assert_eq!(
            (unsigned.oldest(), unsigned.oldest_of_greediest()),
            (Some(0), Some(1))
        );
        unsigned.remove(second);
        unsigned.insert(3, modest);
        assert_eq!(unsigned.oldest_of_greediest(), Some(0));
        unsigned.remove(first);
        assert_eq!(
            (
                unsigned.len(),
                unsigned.of_peer(modest),
                unsigned.of_peer(greedy)
            ),
            (2, 1, 1)
        );
        assert_eq!(unsigned.oldest_of(modest), Some(3));
    }
}
