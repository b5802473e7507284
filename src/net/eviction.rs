//! Who makes room: connections that occupy a front, counted in all, per address and in bytes.
//!
//! A front keeps up to four: those with an incomplete request, those that do not take their replies, those
//! that are sent a file, and those that are idle. Invariant: they can occupy no more than the caps; the
//! oldest goes first, so that a new, honest request is always let in.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::config::FrontConfig;
use super::conn::Conn;
use super::service::ConnId;
use crate::proto::Decode;
use crate::types::limits;

/// All connections of a front that are in the way of others.
#[derive(Debug)]
pub(super) struct EvictionPolicy {
    /// Those with an incomplete request, by when it began.
    incomplete: Occupants,
    /// Those that do not take their replies, by when they last did.
    untaken: Occupants,
    /// Those that are sent files, by when they last took a byte.
    sent_files: Occupants,
    /// Those that are idle, by when their last request was; only if they are limited.
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
                let most = Cap { count_max, bytes_max: usize::MAX };
                Occupants::new(most, most)
            }),
        }
    }

    /// Takes note of what `conn` occupies after its turn; [`EvictionPolicy::victim`] of its address tells the
    /// consequences.
    pub(super) fn settle<D: Decode>(&mut self, id: ConnId, conn: &Conn<D>) {
        let address = conn.peer.ip();
        match conn.is_incomplete() {
            true => self.incomplete.set(id, address, conn.decoder.waiting_bytes()),
            false => self.incomplete.remove(id),
        }
        match conn.untaken_bytes() {
            Some(bytes) => self.untaken.set(id, address, bytes),
            None => self.untaken.remove(id),
        }
        match conn.is_sent_a_file() {
            true => self.sent_files.set(id, address, 0),
            false => self.sent_files.remove(id),
        }
        if let Some(idle) = &mut self.idle {
            // Taken out first: its place is that of its last request.
            idle.remove(id);
            if conn.is_idle() {
                idle.set(id, address, 0);
            }
        }
    }

    /// The other end has taken some of its replies; what is left of them is the youngest again once it is
    /// settled.
    pub(super) fn took(&mut self, id: ConnId) {
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

    /// The connection to close after something has changed for `address`; ask again until there is none.
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

/// How much there may be of something.
#[derive(Debug, Clone, Copy)]
struct Cap {
    count_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Occupants {
    in_all_max: Cap,
    per_address_max: Cap,
    all: Group,
    by_address: HashMap<IpAddr, Group>,
    known: HashMap<ConnId, Begun>,
    begun_count: u64,
}

/// Some of the occupants.
#[derive(Debug, Default)]
struct Group {
    /// By age: the number grows with each that begins.
    by_age: BTreeSet<(u64, ConnId)>,
    bytes: usize,
}

#[derive(Debug)]
struct Begun {
    number: u64,
    address: IpAddr,
    bytes: usize,
}

impl Group {
    /// The one to close if there is more than `cap`.
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
            all: Group::default(),
            by_address: HashMap::new(),
            known: HashMap::new(),
            begun_count: 0,
        }
    }

    /// `conn` occupies `bytes`, and is the youngest if it did not occupy any before. IPv4 addresses
    /// mapped into IPv6 count as what they are.
    fn set(&mut self, conn: ConnId, address: IpAddr, bytes: usize) {
        let address = address.to_canonical();
        let of_address = self.by_address.entry(address).or_default();
        let begun = self.known.entry(conn).or_insert_with(|| {
            self.begun_count += 1;
            let key = (self.begun_count, conn);
            self.all.by_age.insert(key);
            of_address.by_age.insert(key);
            Begun { number: key.0, address, bytes: 0 }
        });
        for group in [&mut self.all, of_address] {
            group.bytes = group.bytes - begun.bytes + bytes;
        }
        begun.bytes = bytes;
    }

    /// `conn` occupies nothing, or is gone.
    fn remove(&mut self, conn: ConnId) {
        let Some(begun) = self.known.remove(&conn) else { return };
        let key = (begun.number, conn);
        self.all.bytes -= begun.bytes;
        self.all.by_age.remove(&key);
        if let Some(of_address) = self.by_address.get_mut(&begun.address) {
            of_address.bytes -= begun.bytes;
            of_address.by_age.remove(&key);
            if of_address.by_age.is_empty() {
                self.by_address.remove(&begun.address);
            }
        }
    }

    /// The one to close because a cap is exceeded after a `set` for `address`; ask again until there is none.
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
    fn the_oldest_goes_first_in_all_and_per_address() {
        let (near, far) = (address("127.0.0.1"), address("10.0.0.1"));
        let mut occupants = Occupants::new(at_most(3, 1000), at_most(2, 1000));
        occupants.set(ConnId(1), near, 0);
        occupants.set(ConnId(2), far, 0);
        occupants.set(ConnId(3), address("::ffff:10.0.0.1"), 0);
        occupants.set(ConnId(2), far, 10); // Grows, and does not get younger by that.
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
    fn bytes_count_too_in_all_and_per_address() {
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
