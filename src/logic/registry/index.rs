//! The index of the registry: the entries of all catalogs, found by name, by MD5 and by content.
//!
//! Each of its three sets is ordered by key, node and entry. Adding or removing a holder takes logarithmic
//! time, even if many nodes have the same key. The keys with one prefix are a range. An answer has the order
//! of the keys. All nodes share the allocation of a name. The index does not know which nodes are live.
//! Invariants: an entry is in the catalog of its node if and only if it is in all three sets. No catalog has
//! a name twice.

use std::collections::BTreeSet;
use std::ops::Bound;

use slab::Slab;

use crate::types::{
    ContentId, ContentKey, FileEntry, FileName, Holding, Md5Digest, Md5Origin, Query, limits,
};

/// A catalog entry as the index stores it. It drops unknown attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEntry {
    pub(super) name: FileName,
    size_bytes: u64,
    mtime_ns: i64,
    content: ContentId,
    md5: Md5Digest,
    md5_origin: Md5Origin,
    pub(super) holding: Holding,
    is_replica: bool,
}

/// The entries of one node, by slot. Only [`Index`] changes it.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    entries: Slab<StoredEntry>,
    /// Number of entries with the whole content.
    whole_files: usize,
    /// Bytes of the names.
    names_bytes: usize,
}

/// An entry: the slot of its node, and its slot in the catalog of the node. 8 bytes.
pub(super) type Posting = (u32, u32);

/// The three sets.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_name: BTreeSet<(FileName, Posting)>,
    by_md5: BTreeSet<(Md5Digest, Posting)>,
    by_content: BTreeSet<(ContentId, Posting)>,
}

const FIRST: Posting = (0, 0);
/// Comes after every posting: slots stay below 2^32 - 1.
const LAST: Posting = (u32::MAX, u32::MAX);

impl Catalog {
    pub(super) fn with_capacity(files: usize) -> Catalog {
        Catalog { entries: Slab::with_capacity(files), whole_files: 0, names_bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of entries of which the node has the whole content.
    pub(super) fn whole_files(&self) -> usize {
        self.whole_files
    }

    pub(super) fn names_bytes(&self) -> usize {
        self.names_bytes
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &FileName> {
        self.entries.iter().map(|(_, entry)| &entry.name)
    }

    /// The content of an entry, if the node has all of it.
    pub(super) fn whole_content(&self, slot: u32) -> Option<ContentKey> {
        let entry = &self.entries[slot as usize];
        (entry.holding == Holding::Full).then_some(entry.key())
    }

    /// The contents that the node has whole, once for each name.
    pub(super) fn whole_contents(&self) -> impl Iterator<Item = ContentKey> {
        let whole = self.entries.iter().filter(|(_, entry)| entry.holding == Holding::Full);
        whole.map(|(_, entry)| entry.key())
    }

    pub(super) fn stored(&self, slot: u32) -> &StoredEntry {
        &self.entries[slot as usize]
    }

    pub(super) fn entry(&self, slot: u32) -> FileEntry {
        self.entries[slot as usize].to_entry()
    }
}

impl StoredEntry {
    pub(super) fn key(&self) -> ContentKey {
        ContentKey { size_bytes: self.size_bytes, id: self.content }
    }

    /// How much the entry adds to [`Catalog::whole_files`].
    fn whole_files(&self) -> usize {
        usize::from(self.holding == Holding::Full)
    }

    fn to_entry(&self) -> FileEntry {
        FileEntry {
            name: self.name.clone(),
            size_bytes: self.size_bytes,
            mtime_ns: self.mtime_ns,
            content: self.content,
            md5: self.md5,
            md5_origin: self.md5_origin,
            holding: self.holding,
            attributes: FileEntry::attributes_of(self.is_replica),
        }
    }
}

impl From<FileEntry> for StoredEntry {
    fn from(entry: FileEntry) -> StoredEntry {
        StoredEntry {
            is_replica: entry.is_replica(),
            name: entry.name,
            size_bytes: entry.size_bytes,
            mtime_ns: entry.mtime_ns,
            content: entry.content,
            md5: entry.md5,
            md5_origin: entry.md5_origin,
            holding: entry.holding,
        }
    }
}

impl Index {
    /// Slot of the entry called `name` in the catalog of `node`.
    pub(super) fn slot_of(&self, node: u32, name: &FileName) -> Option<u32> {
        let range = (name.clone(), (node, 0))..=(name.clone(), (node, u32::MAX));
        self.by_name.range(range).next().map(|(_, (_, slot))| *slot)
    }

    /// Adds `entry` to the catalog of `node`, in place of an entry of the same name. Changes only the sets
    /// whose key differs, so that the renewal of an unchanged catalog is cheap.
    pub(super) fn put(&mut self, node: u32, catalog: &mut Catalog, mut entry: StoredEntry) {
        if let Some(slot) = self.slot_of(node, &entry.name) {
            let old = &mut catalog.entries[slot as usize];
            if old.md5 != entry.md5 {
                self.by_md5.remove(&(old.md5, (node, slot)));
                self.by_md5.insert((entry.md5, (node, slot)));
            }
            if old.content != entry.content {
                self.by_content.remove(&(old.content, (node, slot)));
                self.by_content.insert((entry.content, (node, slot)));
            }
            entry.name = old.name.clone();
            catalog.whole_files = catalog.whole_files - old.whole_files() + entry.whole_files();
            *old = entry;
            return;
        }
        entry.name = self.shared_name(entry.name);
        let slot = slot_u32(catalog.entries.vacant_key());
        self.by_name.insert((entry.name.clone(), (node, slot)));
        self.by_md5.insert((entry.md5, (node, slot)));
        self.by_content.insert((entry.content, (node, slot)));
        catalog.whole_files += entry.whole_files();
        catalog.names_bytes += entry.name.as_str().len();
        catalog.entries.insert(entry);
    }

    /// Removes the entry called `name` from the catalog of `node`, if there is one.
    pub(super) fn remove(&mut self, node: u32, catalog: &mut Catalog, name: &FileName) {
        if let Some(slot) = self.slot_of(node, name) {
            catalog.names_bytes -= name.as_str().len();
            let entry = catalog.entries.remove(slot as usize);
            catalog.whole_files -= entry.whole_files();
            self.remove_postings(node, slot, &entry);
        }
    }

    /// Removes all entries of a forgotten node, whose catalog is `catalog`.
    pub(super) fn remove_all(&mut self, node: u32, catalog: &Catalog) {
        for (slot, entry) in &catalog.entries {
            self.remove_postings(node, slot_u32(slot), entry);
        }
    }

    fn remove_postings(&mut self, node: u32, slot: u32, entry: &StoredEntry) {
        let posting = (node, slot);
        self.by_name.remove(&(entry.name.clone(), posting));
        self.by_md5.remove(&(entry.md5, posting));
        self.by_content.remove(&(entry.content, posting));
    }

    /// The allocation of this name that other holders use, or `name` itself.
    fn shared_name(&self, name: FileName) -> FileName {
        match self.by_name.range((name.clone(), FIRST)..).next() {
            Some((known, _)) if *known == name => known.clone(),
            _ => name,
        }
    }

    /// Number of entries in each set. They must be equal.
    #[cfg(test)]
    pub(super) fn lens(&self) -> [usize; 3] {
        [self.by_name.len(), self.by_md5.len(), self.by_content.len()]
    }

    /// The entries that `query` names, of the nodes for which `is_offered` is true, by content id, then by
    /// node. Of each node only the first [`limits::NAMES_PER_CONTENT_MAX`] entries for a key count, so that a
    /// node with many names for a content does not crowd out others. Lazy.
    pub(super) fn holders<'a>(
        &'a self,
        query: &Query,
        is_offered: impl Fn(u32) -> bool + 'a,
    ) -> Box<dyn Iterator<Item = Posting> + 'a> {
        match query {
            Query::Name(name) => {
                let wanted = name.clone();
                Box::new(limited(&self.by_name, name.clone(), move |name| *name == wanted, is_offered))
            }
            Query::Md5(md5) => {
                let wanted = *md5;
                Box::new(limited(&self.by_md5, *md5, move |md5| *md5 == wanted, is_offered))
            }
            Query::Content(prefix) => {
                let prefix = *prefix;
                let is_wanted = move |content: &ContentId| prefix.matches(content);
                Box::new(limited(&self.by_content, prefix.first(), is_wanted, is_offered))
            }
        }
    }

    /// Slots of the entries of one node with that content id.
    pub(super) fn entries_of(&self, node: u32, id: ContentId) -> impl Iterator<Item = u32> {
        self.by_content.range((id, (node, 0))..=(id, (node, u32::MAX))).map(|(_, (_, slot))| *slot)
    }

    /// Every known content id after `after`, in order, each once. Lazy.
    pub(super) fn contents_after(&self, after: Option<ContentId>) -> impl Iterator<Item = ContentId> {
        let mut start = after.map_or(Bound::Unbounded, |id| Bound::Excluded((id, LAST)));
        std::iter::from_fn(move || {
            let (id, _) = self.by_content.range((start, Bound::Unbounded)).next()?;
            start = Bound::Excluded((*id, LAST));
            Some(*id)
        })
    }

    /// Names after `after` (all, if `None`) with a holder for which `is_offered` is true, in order, each
    /// once. Lazy; after the first such holder of a name it skips the others.
    pub(super) fn names_after<'a>(
        &'a self,
        after: Option<&FileName>,
        is_offered: impl Fn(u32) -> bool + 'a,
    ) -> impl Iterator<Item = FileName> + 'a {
        let past = |name: &FileName| Bound::Excluded((name.clone(), LAST));
        let mut start = after.map_or(Bound::Unbounded, past);
        std::iter::from_fn(move || {
            let mut rest = self.by_name.range((start.clone(), Bound::Unbounded));
            let (name, _) = rest.find(|(_, (node, _))| is_offered(*node))?;
            start = past(name);
            Some(name.clone())
        })
    }
}

/// The postings of one node for one key, as far as [`limited`] has read them.
struct Run<'a, K> {
    key: &'a K,
    node: u32,
    is_offered: bool,
    count: u32,
}

/// Postings from key `first` on, as long as `is_wanted` is true for the key, of the nodes for which
/// `is_offered` is true. Of one node and key it returns at most [`limits::NAMES_PER_CONTENT_MAX`].
fn limited<'a, K: Ord + Clone>(
    set: &'a BTreeSet<(K, Posting)>,
    first: K,
    is_wanted: impl Fn(&K) -> bool + 'a,
    is_offered: impl Fn(u32) -> bool + 'a,
) -> impl Iterator<Item = Posting> + 'a {
    let mut rest = set.range((first, FIRST)..);
    let mut last: Option<Run<'a, K>> = None;
    std::iter::from_fn(move || {
        loop {
            let (key, (node, slot)) = rest.next()?;
            let is_same = |run: &Run<'a, K>| run.node == *node && run.key == key;
            let run = match last.take_if(|run| is_same(run)) {
                Some(run) => Run { count: run.count + 1, ..run },
                None if !is_wanted(key) => return None,
                None => Run { key, node: *node, is_offered: is_offered(*node), count: 1 },
            };
            let is_node_offered = run.is_offered;
            let is_over = run.count > limits::NAMES_PER_CONTENT_MAX;
            last = Some(run);
            if is_over {
                // Jumps to the next node, however many postings this one has.
                let past = Bound::Excluded((key.clone(), (*node, u32::MAX)));
                rest = set.range((past, Bound::Unbounded));
            } else if is_node_offered {
                return Some((*node, *slot));
            }
        }
    })
}

/// A slab's key in 32 bits.
pub(super) fn slot_u32(key: usize) -> u32 {
    u32::try_from(key).expect("limits on nodes and files keep slots below 2^32")
}
