//! The load of a node: the number of transfers that it takes part in.
//!
//! A transfer is the upload of one content to one requester, running or queued, or the download of one
//! content. It can have any number of connections. Only requests for pieces make an upload: probes and
//! requests for a manifest do not count. Ended transfers are forgotten, so open connections and downloads
//! bound the size.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;

use crate::types::{ContentKey, NodeId};

/// The requester of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Requester {
    /// A node, over any number of connections.
    Node(NodeId),
    /// All HTTP clients at one address.
    Http(IpAddr),
}

/// Counts the transfers of a node: for each transfer, the number of its connections or downloads, never zero.
#[derive(Debug, Default)]
pub struct LoadCounter {
    uploads: HashMap<(Requester, ContentKey), usize>,
    downloads: HashMap<ContentKey, usize>,
}

impl LoadCounter {
    /// A counter that counts no transfer.
    pub fn new() -> LoadCounter {
        LoadCounter::default()
    }

    /// Records that a connection of `requester` has requested its first piece of `content`.
    pub fn upload_began(&mut self, requester: Requester, content: ContentKey) {
        *self.uploads.entry((requester, content)).or_default() += 1;
    }

    /// Records that one such connection has got its last requested byte, or has ended.
    ///
    /// # Panics
    /// If no upload of `content` to `requester` is counted: each end belongs to one beginning.
    pub fn upload_ended(&mut self, requester: Requester, content: ContentKey) {
        end_one(&mut self.uploads, (requester, content));
    }

    /// Records that this node has begun to download `content`.
    pub fn download_began(&mut self, content: ContentKey) {
        *self.downloads.entry(content).or_default() += 1;
    }

    /// Records that one such download has succeeded or failed.
    ///
    /// # Panics
    /// If no download of `content` is counted: each end belongs to one beginning.
    pub fn download_ended(&mut self, content: ContentKey) {
        end_one(&mut self.downloads, content);
    }

    /// Number of transfers.
    pub fn load(&self) -> u32 {
        u32::try_from(self.uploads.len() + self.downloads.len()).unwrap_or(u32::MAX)
    }

    /// Number of requesters with an upload.
    pub fn requesters(&self) -> usize {
        self.uploads.keys().map(|(requester, _)| requester).collect::<HashSet<_>>().len()
    }

    /// 1 if one of the transfers is an upload of `content` to `node`, else 0.
    pub fn yours(&self, node: NodeId, content: ContentKey) -> u8 {
        u8::from(self.uploads.contains_key(&(Requester::Node(node), content)))
    }
}

fn end_one<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    match counts.entry(key) {
        Entry::Occupied(entry) if *entry.get() == 1 => drop(entry.remove()),
        Entry::Occupied(mut entry) => *entry.get_mut() -= 1,
        Entry::Vacant(_) => panic!("a transfer ended that was not under way: its end was recorded twice"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ContentId;
    use proptest::prelude::*;

    fn node(number: u128) -> Requester {
        Requester::Node(NodeId(number))
    }

    fn content(number: u8) -> ContentKey {
        ContentKey { size_bytes: u64::from(number), id: ContentId([number; 32]) }
    }

    #[test]
    fn two_connections_of_one_node_are_one_transfer_until_both_end() {
        let mut counter = LoadCounter::new();
        counter.upload_began(node(1), content(1));
        counter.upload_began(node(1), content(1));
        assert_eq!((counter.load(), counter.yours(NodeId(1), content(1))), (1, 1));
        counter.upload_began(node(1), content(2));
        counter.upload_began(node(2), content(1));
        counter.download_began(content(1));
        assert_eq!((counter.load(), counter.requesters()), (4, 2));
        counter.upload_ended(node(1), content(1));
        assert_eq!((counter.load(), counter.yours(NodeId(1), content(1))), (4, 1));
        counter.upload_ended(node(1), content(1));
        assert_eq!((counter.load(), counter.yours(NodeId(1), content(1))), (3, 0));
    }

    #[test]
    fn http_clients_at_one_address_are_one_transfer_for_each_content() {
        let mut counter = LoadCounter::new();
        let [one, other] = [1, 2].map(|last| Requester::Http([127, 0, 0, last].into()));
        for (requester, number) in [(one, 1), (one, 1), (one, 2), (other, 1)] {
            counter.upload_began(requester, content(number));
        }
        assert_eq!((counter.load(), counter.requesters()), (3, 2));
        counter.upload_ended(one, content(1));
        assert_eq!((counter.load(), counter.yours(NodeId(1), content(1))), (3, 0));
    }

    #[test]
    #[should_panic(expected = "was not under way")]
    fn an_end_without_a_beginning_panics() {
        let mut counter = LoadCounter::new();
        counter.upload_began(node(1), content(1));
        counter.upload_ended(node(2), content(1));
    }

    proptest! {
        /// The list has an entry for each connection and each download.
        #[test]
        fn the_load_agrees_with_a_list_of_all_transfers(
            steps in prop::collection::vec((any::<bool>(), prop::option::of(0u128..3), 0u8..3), 0..80),
        ) {
            let mut counter = LoadCounter::new();
            let mut under_way: Vec<(Option<u128>, u8)> = Vec::new();
            for (begin, requester, number) in steps {
                if begin {
                    under_way.push((requester, number));
                    match requester {
                        Some(requester) => counter.upload_began(node(requester), content(number)),
                        None => counter.download_began(content(number)),
                    }
                } else if let Some(at) = under_way.iter().position(|one| *one == (requester, number)) {
                    under_way.swap_remove(at);
                    match requester {
                        Some(requester) => counter.upload_ended(node(requester), content(number)),
                        None => counter.download_ended(content(number)),
                    }
                }
                let mut transfers = under_way.clone();
                transfers.sort_unstable();
                transfers.dedup();
                prop_assert_eq!(counter.load() as usize, transfers.len());
                prop_assert_eq!(counter.uploads.len() + counter.downloads.len(), transfers.len());
                let pairs = (0..3).flat_map(|requester| (0..3).map(move |number| (requester, number)));
                for (requester, number) in pairs {
                    let expected = u8::from(transfers.contains(&(Some(requester), number)));
                    prop_assert_eq!(counter.yours(NodeId(requester), content(number)), expected);
                }
            }
        }
    }
}
