//! Who makes room: the connections with an incomplete request, counted in all, per address and in bytes.
//!
//! Invariant: whoever begins something and does not finish it can occupy no more than the caps; the oldest
//! goes first, so that a new, honest request is always let in.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::service::ConnId;
use crate::types::limits;

#[derive(Debug)]
pub(super) struct Incomplete {
    in_all_max: usize,
    per_address_max: usize,
    /// By age: the number grows with each that begins.
    by_age: BTreeSet<(u64, ConnId)>,
    by_address: HashMap<IpAddr, BTreeSet<(u64, ConnId)>>,
    known: HashMap<ConnId, Begun>,
    bytes: usize,
    begun_count: u64,
}

#[derive(Debug)]
struct Begun {
    number: u64,
    address: IpAddr,
    bytes: usize,
}

impl Incomplete {
    pub(super) fn new(in_all_max: usize, per_address_max: usize) -> Incomplete {
        Incomplete {
            in_all_max,
            per_address_max,
            by_age: BTreeSet::new(),
            by_address: HashMap::new(),
            known: HashMap::new(),
            bytes: 0,
            begun_count: 0,
        }
    }

    /// `conn` has an incomplete request, of which `bytes` are here. IPv4 addresses mapped into IPv6 count as
    /// what they are.
    pub(super) fn set(&mut self, conn: ConnId, address: IpAddr, bytes: usize) {
        let address = address.to_canonical();
        let begun = self.known.entry(conn).or_insert_with(|| {
            self.begun_count += 1;
            let key = (self.begun_count, conn);
            self.by_age.insert(key);
            self.by_address.entry(address).or_default().insert(key);
            Begun { number: key.0, address, bytes: 0 }
        });
        self.bytes = self.bytes - begun.bytes + bytes;
        begun.bytes = bytes;
    }

    /// `conn` has none, or is gone.
    pub(super) fn remove(&mut self, conn: ConnId) {
        let Some(begun) = self.known.remove(&conn) else { return };
        let key = (begun.number, conn);
        self.bytes -= begun.bytes;
        self.by_age.remove(&key);
        if let Some(of_address) = self.by_address.get_mut(&begun.address) {
            of_address.remove(&key);
            if of_address.is_empty() {
                self.by_address.remove(&begun.address);
            }
        }
    }

    /// The one to close because a cap is exceeded after a `set` for `address`; ask again until there is none.
    pub(super) fn victim(&self, address: IpAddr) -> Option<ConnId> {
        let of_address = self.by_address.get(&address.to_canonical());
        let oldest = match of_address {
            Some(these) if these.len() > self.per_address_max => these.first(),
            _ if self.by_age.len() > self.in_all_max || self.bytes > limits::INCOMPLETE_MAX_BYTES => {
                self.by_age.first()
            }
            _ => None,
        };
        oldest.map(|(_, conn)| *conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_oldest_goes_first_in_all_and_per_address() {
        let (near, far) = (address("127.0.0.1"), address("10.0.0.1"));
        let mut incomplete = Incomplete::new(3, 2);
        incomplete.set(ConnId(1), near, 0);
        incomplete.set(ConnId(2), far, 0);
        incomplete.set(ConnId(3), address("::ffff:10.0.0.1"), 0);
        incomplete.set(ConnId(2), far, 10); // Grows, and does not get younger by that.
        assert_eq!(incomplete.victim(far), None);
        incomplete.set(ConnId(4), far, 0);
        assert_eq!(incomplete.victim(far), Some(ConnId(2)), "three of one address");
        incomplete.remove(ConnId(2));
        assert_eq!(incomplete.victim(far), None);
        incomplete.set(ConnId(5), address("10.0.0.2"), 0);
        assert_eq!(incomplete.victim(address("10.0.0.2")), Some(ConnId(1)), "four in all");
        for conn in 1..6 {
            incomplete.remove(ConnId(conn));
        }
        assert!(
            incomplete.by_age.is_empty() && incomplete.by_address.is_empty() && incomplete.known.is_empty()
        );
    }

    #[test]
    fn bytes_count_too() {
        let here = address("127.0.0.1");
        let mut incomplete = Incomplete::new(1000, 1000);
        incomplete.set(ConnId(1), here, limits::INCOMPLETE_MAX_BYTES - 1);
        incomplete.set(ConnId(2), here, 1);
        assert_eq!(incomplete.victim(here), None);
        incomplete.set(ConnId(2), here, 2);
        assert_eq!(incomplete.victim(here), Some(ConnId(1)));
        incomplete.remove(ConnId(1));
        assert_eq!((incomplete.victim(here), incomplete.bytes), (None, 2));
    }
}
