//! Eviction: which connection is closed when too many occupy a front.
//!
//! There are four groups: connections with an incomplete request, connections whose peers do not take their
//! replies, connections on which a file is sent, and idle connections. Each group has a limit of its number
//! or its bytes, and all but the idle ones have a further limit per address. Invariant: after each turn no
//! group exceeds its limits. The oldest member is closed first, so that a new, honest request is always
//! admitted.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::net::config::FrontConfig;
use crate::net::conn::Conn;
use crate::net::service::ConnId;
use crate::proto::Decode;
use crate::types::limits;

/// The connections of a front that may be closed in favour of others.
#[derive(Debug)]
pub(super) struct EvictionPolicy {
    /// Connections with an incomplete request, by when it began.
    incomplete: Occupants,
    /// Connections whose peers do not take their replies, by when the peer last took a byte.
    untaken: Occupants,
    /// Connections on which files are sent, by when the peer last took a byte.
    sent_files: Occupants,
    /// Idle connections, by when their last request was; `None` if they are not limited.
    idle: Option<Occupants>,
}

impl EvictionPolicy {
    pub(super) fn new(config: &FrontConfig) -> EvictionPolicy {
        let bytes = |bytes_max| Cap { count_max: usize::MAX, bytes_max };
        let requests = |count_max| Cap { count_max, bytes_max: limits::INCOMPLETE_MAX_BYTES };
        let output_max_bytes = config.output_max_bytes;
        let files = |count_max| Cap { count_max, bytes_max: usize::MAX };
        EvictionPolicy {
            incomplete: Occupants::new(
                requests(config.incomplete_max),
                requests(config.incomplete_per_address_max),
            ),
            untaken: Occupants::new(bytes(output_max_bytes), bytes(output_max_bytes / limits::OUTPUT_SHARE)),
            sent_files: Occupants::new(files(config.files_max), files(config.files_per_address_max)),
            idle: config.idle_max.map(|count_max| {
                let cap = Cap { count_max, bytes_max: usize::MAX };
                Occupants::new(cap, cap)
            }),
        }
    }

    /// Records which groups `conn` belongs to after its turn. Then the caller closes each
    /// [`EvictionPolicy::victim`].
    pub(super) fn observe<D: Decode>(&mut self, id: ConnId, conn: &Conn<D>) {
        let address = conn.peer.ip();
        if conn.is_incomplete() {
            self.incomplete.set(id, address, conn.decoder.waiting_bytes());
        } else {
            self.incomplete.remove(id);
        }
        match conn.untaken_bytes() {
            Some(bytes) => self.untaken.set(id, address, bytes),
            None => self.untaken.remove(id),
        }
        if conn.is_sent_a_file() {
            self.sent_files.set(id, address, 0);
        } else {
            self.sent_files.remove(id);
        }
        if let Some(idle) = &mut self.idle {
            // It is removed first, so that each turn makes it the youngest again.
            idle.remove(id);
            if conn.is_idle() {
                idle.set(id, address, 0);
            }
        }
    }

    /// Records that the peer has taken bytes of its replies. If it has more to take, the next
    /// [`EvictionPolicy::observe`] makes the connection the youngest again.
    pub(super) fn record_taken(&mut self, id: ConnId) {
        self.untaken.remove(id);
        self.sent_files.remove(id);
    }

    pub(super) fn remove(&mut self, id: ConnId) {
        self.incomplete.remove(id);
        self.untaken.remove(id);
        self.sent_files.remove(id);
        if let Some(idle) = &mut self.idle {
            idle.remove(id);
        }
    }

    /// The connection to close after a change for `address`. The caller asks again until there is none.
    pub(super) fn victim(&self, address: IpAddr) -> Option<ConnId> {
        let idle = || self.idle.as_ref().and_then(|idle| idle.victim(address));
        let sent_a_file = || self.sent_files.victim(address);
        self.incomplete
            .victim(address)
            .or_else(|| self.untaken.victim(address))
            .or_else(sent_a_file)
            .or_else(idle)
    }
}

/// Limits of a group.
#[derive(Debug, Clone, Copy)]
struct Cap {
    count_max: usize,
    bytes_max: usize,
}

/// The connections of one group. A connection in a group is an occupant.
#[derive(Debug)]
struct Occupants {
    in_all_max: Cap,
    per_address_max: Cap,
    all: ByAge,
    by_address: HashMap<IpAddr, ByAge>,
    known: HashMap<ConnId, Occupant>,
    begun_count: u64,
}

/// The occupants of one address, or all.
#[derive(Debug, Default)]
struct ByAge {
    /// The oldest first: numbers count up in the order in which occupants begin.
    by_age: BTreeSet<(u64, ConnId)>,
    bytes: usize,
}

#[derive(Debug)]
struct Occupant {
    /// It is the `number`-th occupant since the start.
    number: u64,
    address: IpAddr,
    bytes: usize,
}

impl ByAge {
    /// The oldest occupant if they exceed `cap`.
    fn victim(&self, cap: Cap) -> Option<ConnId> {
        let is_full = self.by_age.len() > cap.count_max || self.bytes > cap.bytes_max;
        self.by_age.first().filter(|_| is_full).map(|(_, conn)| *conn)
    }
}

impl Occupants {
    fn new(in_all_max: Cap, per_address_max: Cap) -> Occupants {
        Occupants {
            in_all_max,
            per_address_max,
            all: ByAge::default(),
            by_address: HashMap::new(),
            known: HashMap::new(),
            begun_count: 0,
        }
    }

    /// Records that `conn` occupies `bytes`. It is the youngest if it was no occupant before. IPv4 addresses
    /// mapped into IPv6 count as IPv4 addresses.
    fn set(&mut self, conn: ConnId, address: IpAddr, bytes: usize) {
        let address = address.to_canonical();
        let of_address = self.by_address.entry(address).or_default();
        let occupant = self.known.entry(conn).or_insert_with(|| {
            self.begun_count += 1;
            let key = (self.begun_count, conn);
            self.all.by_age.insert(key);
            of_address.by_age.insert(key);
            Occupant { number: key.0, address, bytes: 0 }
        });
        for group in [&mut self.all, of_address] {
            group.bytes = group.bytes - occupant.bytes + bytes;
        }
        occupant.bytes = bytes;
    }

    /// Records that `conn` occupies nothing, or is closed.
    fn remove(&mut self, conn: ConnId) {
        let Some(occupant) = self.known.remove(&conn) else { return };
        let key = (occupant.number, conn);
        self.all.bytes -= occupant.bytes;
        self.all.by_age.remove(&key);
        if let Some(of_address) = self.by_address.get_mut(&occupant.address) {
            of_address.bytes -= occupant.bytes;
            of_address.by_age.remove(&key);
            if of_address.by_age.is_empty() {
                self.by_address.remove(&occupant.address);
            }
        }
    }

    /// The occupant to close because a limit is exceeded after a `set` for `address`. The caller asks again
    /// until there is none.
    fn victim(&self, address: IpAddr) -> Option<ConnId> {
        let of_address = self.by_address.get(&address.to_canonical());
        of_address
            .and_then(|group| group.victim(self.per_address_max))
            .or_else(|| self.all.victim(self.in_all_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn at_most(count_max: usize, bytes_max: usize) -> Cap {
        Cap { count_max, bytes_max }
    }

    #[test]
    fn beyond_the_number_in_all_or_per_address_the_oldest_is_evicted_first() {
        let (near, far) = (address("127.0.0.1"), address("10.0.0.1"));
        let mut occupants = Occupants::new(at_most(3, 1000), at_most(2, 1000));
        occupants.set(ConnId(1), near, 0);
        occupants.set(ConnId(2), far, 0);
        occupants.set(ConnId(3), address("::ffff:10.0.0.1"), 0);
        occupants.set(ConnId(2), far, 10); // More bytes do not make it younger.
        assert_eq!(occupants.victim(far), None);
        occupants.set(ConnId(4), far, 0);
        assert_eq!(occupants.victim(far), Some(ConnId(2)), "three of one address");
        occupants.remove(ConnId(2));
        assert_eq!(occupants.victim(far), None);
        occupants.set(ConnId(5), address("10.0.0.2"), 0);
        assert_eq!(occupants.victim(address("10.0.0.2")), Some(ConnId(1)), "four in all");
        for conn in 1..6 {
            occupants.remove(ConnId(conn));
        }
        assert!(
            occupants.all.by_age.is_empty() && occupants.by_address.is_empty() && occupants.known.is_empty()
        );
    }

    #[test]
    fn beyond_the_bytes_in_all_or_per_address_the_oldest_is_evicted_first() {
        let (near, far) = (address("127.0.0.1"), address("10.0.0.1"));
        let mut occupants = Occupants::new(at_most(1000, 100), at_most(1000, 60));
        occupants.set(ConnId(1), near, 50);
        occupants.set(ConnId(2), far, 49);
        occupants.set(ConnId(3), far, 1);
        assert_eq!([occupants.victim(near), occupants.victim(far)], [None, None]);
        occupants.set(ConnId(3), far, 12);
        assert_eq!(occupants.victim(far), Some(ConnId(2)), "61 of one address");
        occupants.set(ConnId(3), far, 2);
        assert_eq!(occupants.victim(far), Some(ConnId(1)), "101 in all");
        occupants.remove(ConnId(1));
        assert_eq!((occupants.victim(far), occupants.all.bytes), (None, 51));
    }
}
