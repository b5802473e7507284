//! The index of the registry: the entries of all catalogs, found by name, by MD5 and by content.
//!
//! Each index is an ordered set of (key, node, entry). A holder is added or removed in logarithmic time,
//! however many others hold the same. A prefix is a range, and the order of an answer is that of the keys.
//! Nodes share the allocation of a name. The index knows nothing of liveness. Invariant: an entry is in its
//! node's catalog if and only if it is in all three sets, and no catalog has a name twice.

use std::collections::BTreeSet;
use std::ops::Bound;

use slab::Slab;

use crate::types::{
    ContentId, ContentKey, FileEntry, FileName, Holding, Md5Digest, Md5Origin, Query, limits,
};

/// A catalog entry as the index keeps it. Of its attributes it keeps the known ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(super) name: FileName,
    size_bytes: u64,
    mtime_ns: i64,
    content: ContentId,
    md5: Md5Digest,
    md5_origin: Md5Origin,
    pub(super) holding: Holding,
    is_replica: bool,
}

/// The entries of one node, by slot, with the number of whole files and the bytes of the names. Only
/// [`Index`] changes it.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    entries: Slab<Stored>,
    files: usize,
    names_bytes: usize,
}

/// Slot of a node, then slot of an entry in its catalog: 8 bytes.
pub(super) type Posting = (u32, u32);

/// The three ordered sets.
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
        Catalog { entries: Slab::with_capacity(files), files: 0, names_bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of entries of which the node has the whole content.
    pub(super) fn files(&self) -> usize {
        self.files
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

    pub(super) fn stored(&self, slot: u32) -> &Stored {
        &self.entries[slot as usize]
    }

    pub(super) fn entry(&self, slot: u32) -> FileEntry {
        self.entries[slot as usize].to_entry()
    }
}

impl Stored {
    pub(super) fn key(&self) -> ContentKey {
        ContentKey { size_bytes: self.size_bytes, id: self.content }
    }

    /// 1 for a whole file, 0 for some pieces.
    fn files(&self) -> usize {
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

impl From<FileEntry> for Stored {
    fn from(entry: FileEntry) -> Stored {
        Stored {
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

    /// Adds `entry` to the catalog of `node`, in place of an entry of the same name. Leaves an equal entry
    /// alone, which makes the renewal of an unchanged catalog cheap.
    pub(super) fn put(&mut self, node: u32, catalog: &mut Catalog, mut entry: Stored) {
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
            catalog.files = catalog.files - old.files() + entry.files();
            *old = entry;
            return;
        }
        entry.name = self.shared(entry.name);
        let slot = slot_u32(catalog.entries.vacant_key());
        self.by_name.insert((entry.name.clone(), (node, slot)));
        self.by_md5.insert((entry.md5, (node, slot)));
        self.by_content.insert((entry.content, (node, slot)));
        catalog.files += entry.files();
        catalog.names_bytes += entry.name.as_str().len();
        catalog.entries.insert(entry);
    }

    /// Removes the entry called `name` from the catalog of `node`, if there is one.
    pub(super) fn remove(&mut self, node: u32, catalog: &mut Catalog, name: &FileName) {
        if let Some(slot) = self.slot_of(node, name) {
            catalog.names_bytes -= name.as_str().len();
            let entry = catalog.entries.remove(slot as usize);
            catalog.files -= entry.files();
            self.unlist(node, slot, &entry);
        }
    }

    /// Removes all entries of a forgotten node, whose catalog is `catalog`.
    pub(super) fn remove_all(&mut self, node: u32, catalog: &Catalog) {
        for (slot, entry) in &catalog.entries {
            self.unlist(node, slot_u32(slot), entry);
        }
    }

    fn unlist(&mut self, node: u32, slot: u32, entry: &Stored) {
        let posting = (node, slot);
        self.by_name.remove(&(entry.name.clone(), posting));
        self.by_md5.remove(&(entry.md5, posting));
        self.by_content.remove(&(entry.content, posting));
    }

    /// The allocation of this name that other holders use, or `name` itself.
    fn shared(&self, name: FileName) -> FileName {
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

    /// Holders of what `query` names among the nodes that `is_offered`, by content id and then by node slot.
    /// Of each node only the first [`limits::NAMES_PER_CONTENT_MAX`] entries for a key count, so that a node
    /// with many names for a content does not crowd out others. Lazy.
    pub(super) fn holders<'a>(
        &'a self,
        query: &Query,
        is_offered: impl Fn(u32) -> bool + 'a,
    ) -> Box<dyn Iterator<Item = Posting> + 'a> {
        match query {
            Query::Name(name) => {
                let wanted = name.clone();
                Box::new(sampled(&self.by_name, name.clone(), move |name| *name == wanted, is_offered))
            }
            Query::Md5(md5) => {
                let wanted = *md5;
                Box::new(sampled(&self.by_md5, *md5, move |md5| *md5 == wanted, is_offered))
            }
            Query::Content(prefix) => {
                let prefix = *prefix;
                let is_wanted = move |content: &ContentId| prefix.matches(content);
                Box::new(sampled(&self.by_content, prefix.first(), is_wanted, is_offered))
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

    /// Names after `after` (all, if `None`) with a holder among the nodes that `is_offered`, in order, each
    /// once. Lazy; skips the other holders of a name as soon as it has found one.
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

/// Postings from key `first` on, as long as the key `is_wanted`, of the nodes that `is_offered`. Skips what a
/// node has beyond [`limits::NAMES_PER_CONTENT_MAX`] for one key.
fn sampled<'a, K: Ord + Clone>(
    set: &'a BTreeSet<(K, Posting)>,
    first: K,
    is_wanted: impl Fn(&K) -> bool + 'a,
    is_offered: impl Fn(u32) -> bool + 'a,
) -> impl Iterator<Item = Posting> + 'a {
    let mut rest = set.range((first, FIRST)..);
    // The key and node of the last posting, whether the node is offered, and how many postings the two had so
    // far.
    let mut run: Option<(&'a K, u32, bool, u32)> = None;
    std::iter::from_fn(move || {
        loop {
            let (key, (node, slot)) = rest.next()?;
            let (is_there, seen) = match &mut run {
                Some((last_key, last_node, is_there, seen)) if last_node == node && *last_key == key => {
                    *seen += 1;
                    (*is_there, *seen)
                }
                _ if !is_wanted(key) => return None,
                _ => {
                    let is_there = is_offered(*node);
                    run = Some((key, *node, is_there, 1));
                    (is_there, 1)
                }
            };
            if seen > limits::NAMES_PER_CONTENT_MAX {
                let past = Bound::Excluded((key.clone(), (*node, u32::MAX)));
                rest = set.range((past, Bound::Unbounded));
            } else if is_there {
                return Some((*node, *slot));
            }
        }
    })
}

/// A slab's key in 32 bits.
pub(super) fn slot_u32(key: usize) -> u32 {
    u32::try_from(key).expect("limits on nodes and files keep slots below 2^32")
}
