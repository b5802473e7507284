//! The load of a node: the transfers that it takes part in.
//!
//! A transfer is one (peer, content) that is uploading or queued for it, or one content that is downloading,
//! however many connections serve it. Probes, finds and piece requests are none. Nothing is remembered of
//! what has ended, so the size is bounded by the connections and downloads that there are.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;

use crate::types::{ContentKey, NodeId};

/// Who a content is uploaded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Requester {
    /// A node, over any number of connections.
    Node(NodeId),
    /// All HTTP clients at one address.
    Http(IpAddr),
}

/// Transfers under way, each with the number of connections or downloads that make it up. No count is zero.
#[derive(Debug, Default)]
pub struct LoadCounter {
    uploads: HashMap<(Requester, ContentKey), usize>,
    downloads: HashMap<ContentKey, usize>,
}

impl LoadCounter {
    pub fn new() -> LoadCounter {
        LoadCounter::default()
    }

    /// A connection of `requester` has requested its first piece of `content`.
    pub fn upload_began(&mut self, requester: Requester, content: ContentKey) {
        *self.uploads.entry((requester, content)).or_default() += 1;
    }

    /// One such connection has been sent its last requested byte, or has ended.
    ///
    /// # Panics
    /// If no upload of `content` to `requester` is under way: each end belongs to one beginning.
    pub fn upload_ended(&mut self, requester: Requester, content: ContentKey) {
        end_one(&mut self.uploads, (requester, content));
    }

    /// This node has begun to download `content`.
    pub fn download_began(&mut self, content: ContentKey) {
        *self.downloads.entry(content).or_default() += 1;
    }

    /// One such download has ended, well or not.
    ///
    /// # Panics
    /// If no download of `content` is under way: each end belongs to one beginning.
    pub fn download_ended(&mut self, content: ContentKey) {
        end_one(&mut self.downloads, content);
    }

    /// Number of transfers.
    pub fn load(&self) -> u32 {
        u32::try_from(self.uploads.len() + self.downloads.len()).unwrap_or(u32::MAX)
    }

    /// Number of peers that something is uploaded to.
    pub fn peers(&self) -> usize {
        self.uploads.keys().map(|(requester, _)| requester).collect::<HashSet<_>>().len()
    }

    /// How many of them are uploads of `content` to `node`: 0 or 1.
    pub fn yours(&self, node: NodeId, content: ContentKey) -> u8 {
        u8::from(self.uploads.contains_key(&(Requester::Node(node), content)))
    }
}

fn end_one<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    match counts.entry(key) {
        Entry::Occupied(entry) if *entry.get() == 1 => drop(entry.remove()),
        Entry::Occupied(mut entry) => *entry.get_mut() -= 1,
        Entry::Vacant(_) => panic!("a transfer ended that was not under way: its end was told twice"),
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
        assert_eq!((counter.load(), counter.peers()), (4, 2));
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
        assert_eq!((counter.load(), counter.peers()), (3, 2));
        counter.upload_ended(one, content(1));
        assert_eq!((counter.load(), counter.yours(NodeId(1), content(1))), (3, 0));
    }

    #[test]
    #[should_panic(expected = "was not under way")]
    fn an_end_without_a_beginning_is_a_broken_invariant() {
        let mut counter = LoadCounter::new();
        counter.upload_began(node(1), content(1));
        counter.upload_ended(node(2), content(1));
    }

    proptest! {
        /// The model is the plain list of what is under way.
        #[test]
        fn it_agrees_with_a_list_of_everything_under_way(
            steps in prop::collection::vec((any::<bool>(), prop::option::of(0u128..3), 0u8..3), 0..80),
        ) {
            let mut counter = LoadCounter::new();
            let mut under_way: Vec<(Option<u128>, u8)> = Vec::new();
            for (begin, asker, number) in steps {
                if begin {
                    under_way.push((asker, number));
                    match asker {
                        Some(asker) => counter.upload_began(node(asker), content(number)),
                        None => counter.download_began(content(number)),
                    }
                } else if let Some(at) = under_way.iter().position(|one| *one == (asker, number)) {
                    under_way.swap_remove(at);
                    match asker {
                        Some(asker) => counter.upload_ended(node(asker), content(number)),
                        None => counter.download_ended(content(number)),
                    }
                }
                let mut transfers = under_way.clone();
                transfers.sort_unstable();
                transfers.dedup();
                prop_assert_eq!(counter.load() as usize, transfers.len());
                prop_assert_eq!(counter.uploads.len() + counter.downloads.len(), transfers.len());
                for (asker, number) in (0..3).flat_map(|asker| (0..3).map(move |number| (asker, number))) {
                    let expected = u8::from(transfers.contains(&(Some(asker), number)));
                    prop_assert_eq!(counter.yours(NodeId(asker), content(number)), expected);
                }
            }
        }
    }
}
