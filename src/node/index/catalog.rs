//! The catalog: the published files, and what the node needs to serve them. A plain structure without a lock;
//! only the indexer changes it.
//!
//! Partial files with verified pieces are published too, as partial entries. They do not count as files: only
//! [`Catalog::published`] and [`Catalog::changes_since`] return them, and a file of the same name hides them.
//!
//! Invariant: `by_content` lists exactly the names in `files`, and `journal` has the name of every change in
//! the last `JOURNAL_MAX` versions.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;

use crate::discovery::Changes;
use crate::store::hash::Hashed;
use crate::store::share::FileStamp;
use crate::types::{ContentKey, FileEntry, FileName, FileOrigin, Holding, Manifest, Md5Digest, Md5Origin};

/// Number of changes in the journal. A tracker that is further behind receives the whole catalog.
const JOURNAL_MAX: usize = 10_000;

/// A shared file.
#[derive(Debug)]
pub(crate) struct SharedFile {
    pub(crate) entry: Arc<FileEntry>,
    /// The origin of its folder, or the one that a mark of the file gives.
    pub(crate) origin: FileOrigin,
    pub(crate) manifest: Arc<Manifest>,
    /// The stamp of the file when it was hashed; the file is served only while it has this stamp.
    pub(crate) stamp: FileStamp,
    /// The file was modified so shortly before it was hashed that an equal stamp proves nothing.
    pub(crate) racy: bool,
    /// Full holders and the MD5 that each of them claims, until this node has computed the MD5.
    pub(crate) claimants: Vec<(SocketAddr, Md5Digest)>,
}

impl SharedFile {
    /// A file that this node has just hashed.
    pub(crate) fn hashed(name: &FileName, origin: FileOrigin, hashed: Hashed) -> SharedFile {
        let ContentKey { size_bytes, id } = hashed.manifest.key();
        let entry = FileEntry {
            name: name.clone(),
            size_bytes,
            mtime_ns: hashed.stamp.mtime_ns,
            content: id,
            md5: hashed.md5,
            md5_origin: Md5Origin::Computed,
            holding: Holding::Full,
            attributes: FileEntry::attributes_of(origin == FileOrigin::Replicated),
        };
        SharedFile {
            entry: Arc::new(entry),
            origin,
            manifest: Arc::new(hashed.manifest),
            stamp: hashed.stamp,
            racy: hashed.racy,
            claimants: Vec::new(),
        }
    }
}

/// Files and partial entries, by name.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    files: BTreeMap<FileName, Arc<SharedFile>>,
    by_content: HashMap<ContentKey, BTreeSet<FileName>>,
    /// The partial entries, under the names of their downloads.
    partials: BTreeMap<FileName, Arc<FileEntry>>,
    /// Number of changes.
    version: u64,
    /// Changed names, the last one last, each with true if it was published before the change.
    journal: VecDeque<(FileName, bool)>,
}

impl Catalog {
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn get(&self, name: &FileName) -> Option<&Arc<SharedFile>> {
        self.files.get(name)
    }

    /// A file with this content.
    pub(crate) fn by_content(&self, key: &ContentKey) -> Option<&Arc<SharedFile>> {
        self.by_content.get(key).and_then(|names| names.first()).and_then(|name| self.files.get(name))
    }

    /// All files in order of names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<SharedFile>> {
        self.files.values()
    }

    /// Entries of all files in order of names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<FileEntry>> {
        self.files().map(|file| &file.entry)
    }

    /// Files whose names begin with `prefix` and come after `after`, in order of names.
    pub(crate) fn files_with_prefix(
        &self,
        prefix: &str,
        after: Option<&FileName>,
    ) -> impl Iterator<Item = &Arc<SharedFile>> {
        let start = match after.map(FileName::as_str) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            // No name with the prefix is before the prefix itself.
            _ => Bound::Included(prefix),
        };
        let from_start = self.files.range::<str, _>((start, Bound::Unbounded));
        from_start.map(|(_, file)| file).take_while(move |file| file.entry.name.as_str().starts_with(prefix))
    }

    /// What is published: the files, and the partial entries that no file hides.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Arc<FileEntry>> {
        let partials = self.partials.iter().filter(|(name, _)| !self.files.contains_key(*name));
        self.entries().chain(partials.map(|(_, entry)| entry))
    }

    /// Adds or replaces a partial entry. Ignored if a file has the content, or if the name has the partial
    /// entry of another content. Returns true if and only if what is published changes.
    pub(crate) fn set_partial(&mut self, entry: FileEntry) -> bool {
        let is_name_free = self.partials.get(&entry.name).is_none_or(|other| other.key() == entry.key());
        if !is_name_free || self.by_content.contains_key(&entry.key()) {
            return false;
        }
        let name = entry.name.clone();
        let was_published = self.partials.insert(name.clone(), Arc::new(entry)).is_some();
        self.record_unless_hidden(name, was_published)
    }

    /// Removes the partial entry of a content. Returns true if and only if what is published changes.
    pub(crate) fn remove_partial(&mut self, key: &ContentKey) -> bool {
        let name = self.partials.values().find(|entry| entry.key() == *key).map(|entry| entry.name.clone());
        let Some(name) = name else { return false };
        self.partials.remove(&name);
        self.record_unless_hidden(name, true)
    }

    /// Records a change of the partial entry `name`, unless a file of that name hides it. Returns true if and
    /// only if no file does.
    fn record_unless_hidden(&mut self, name: FileName, was_published: bool) -> bool {
        let is_visible = !self.files.contains_key(&name);
        if is_visible {
            self.record(name, was_published);
        }
        is_visible
    }

    /// Published names in this directory and below it.
    pub(crate) fn names_below(&self, dir: &FileName) -> Vec<FileName> {
        let prefix = format!("{}/", dir.as_str());
        self.names().filter(|name| name.as_str().starts_with(&prefix)).cloned().collect()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &FileName> {
        self.files.keys()
    }

    /// Adds `file`; returns the file of that name that it replaces.
    pub(crate) fn insert(&mut self, file: SharedFile) -> Option<Arc<SharedFile>> {
        let name = file.entry.name.clone();
        let key = file.entry.key();
        let replaced = self.files.insert(name.clone(), Arc::new(file));
        if let Some(replaced) = &replaced {
            self.unlist(&replaced.entry.key(), &name);
        }
        self.by_content.entry(key).or_default().insert(name.clone());
        let was_published = replaced.is_some() || self.partials.contains_key(&name);
        self.record(name, was_published);
        replaced
    }

    /// Removes the file `name`; returns true if and only if there was one.
    pub(crate) fn remove(&mut self, name: &FileName) -> bool {
        let Some(removed) = self.files.remove(name) else { return false };
        self.unlist(&removed.entry.key(), name);
        self.record(name.clone(), true);
        true
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The changes after `version`; `None` if the journal does not have all of them.
    pub(crate) fn changes_since(&self, version: u64) -> Option<Changes> {
        let behind = usize::try_from(self.version.checked_sub(version)?).ok()?;
        let start = self.journal.len().checked_sub(behind)?;
        let mut names: HashMap<&FileName, bool> = HashMap::new();
        for (name, was_published) in self.journal.range(start..) {
            // The first change of a name says whether the name was published at `version`.
            names.entry(name).or_insert(*was_published);
        }
        let mut changes = Changes::default();
        for (name, was_published) in names {
            match self.files.get(name).map(|file| &file.entry).or(self.partials.get(name)) {
                Some(entry) => changes.added.push(Arc::clone(entry)),
                None if was_published => changes.removed.push(name.clone()),
                // It was added and removed in between.
                None => {}
            }
        }
        Some(changes)
    }

    /// Removes a name of a file from `by_content`.
    fn unlist(&mut self, key: &ContentKey, name: &FileName) {
        if let Some(names) = self.by_content.get_mut(key) {
            names.remove(name);
            if names.is_empty() {
                self.by_content.remove(key);
            }
        }
    }

    fn record(&mut self, name: FileName, was_published: bool) {
        self.version += 1;
        self.journal.push_back((name, was_published));
        if self.journal.len() > JOURNAL_MAX {
            self.journal.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Geometry, PieceDigests};

    fn file(name: &str, content: &[u8]) -> SharedFile {
        let size_bytes = content.len() as u64;
        let pieces = vec![PieceDigests::of(&Geometry::of(size_bytes), 0, content)];
        let manifest = Manifest::of_hashed(size_bytes, pieces);
        let stamp = FileStamp { dev: 0, ino: 0, size_bytes, mtime_ns: 0, ctime_ns: 0 };
        let hashed = Hashed { manifest, md5: Md5Digest([0; 16]), stamp, racy: false, mark: None };
        SharedFile::hashed(&FileName::new(name).expect("valid"), FileOrigin::Local, hashed)
    }

    fn names(changes: &Changes) -> (Vec<String>, Vec<String>) {
        let mut added: Vec<_> = changes.added.iter().map(|entry| entry.name.to_string()).collect();
        let mut removed: Vec<_> = changes.removed.iter().map(FileName::to_string).collect();
        added.sort();
        removed.sort();
        (added, removed)
    }

    #[test]
    fn content_is_found_under_any_of_its_names_until_the_last_is_gone() {
        let mut catalog = Catalog::default();
        catalog.insert(file("b", b"same"));
        catalog.insert(file("a", b"same"));
        let key = file("x", b"same").entry.key();
        assert_eq!(catalog.by_content(&key).map(|file| file.entry.name.as_str()), Some("a"));
        assert!(catalog.remove(&FileName::new("a").expect("valid")));
        assert_eq!(catalog.by_content(&key).map(|file| file.entry.name.as_str()), Some("b"));
        catalog.insert(file("b", b"other"));
        assert!(catalog.by_content(&key).is_none());
    }

    #[test]
    fn files_with_a_prefix_are_listed_in_order_from_a_given_name() {
        let mut catalog = Catalog::default();
        for name in ["a", "a/b", "a/c", "a0", "b"] {
            catalog.insert(file(name, name.as_bytes()));
        }
        let check = |prefix: &str, after: &str, expected: &[&str]| {
            let after = FileName::new(after).ok();
            let found: Vec<_> = catalog
                .files_with_prefix(prefix, after.as_ref())
                .map(|file| file.entry.name.as_str())
                .collect();
            assert_eq!(found, expected, "{prefix} after {after:?}");
        };
        check("", "", &["a", "a/b", "a/c", "a0", "b"]);
        check("a", "", &["a", "a/b", "a/c", "a0"]);
        check("a/", "", &["a/b", "a/c"]);
        check("a/", "a/b", &["a/c"]);
        check("a/", "a", &["a/b", "a/c"]);
        check("a/", "b", &[]);
        check("", "a0", &["b"]);
        check("x", "", &[]);
    }

    fn partial(name: &str, content: &[u8], pieces: u32) -> FileEntry {
        FileEntry { holding: Holding::Pieces(pieces), ..FileEntry::clone(&file(name, content).entry) }
    }

    #[test]
    fn a_partial_entry_is_published_but_is_not_a_file() {
        let mut catalog = Catalog::default();
        let published = |catalog: &Catalog| -> Vec<_> {
            catalog.published().map(|entry| (entry.name.to_string(), entry.holding)).collect()
        };
        let key = file("a", b"1").entry.key();
        assert!(catalog.set_partial(partial("a", b"1", 1)));
        assert!(catalog.set_partial(partial("a", b"1", 2)));
        assert_eq!(published(&catalog), [("a".to_owned(), Holding::Pieces(2))]);
        let name = FileName::new("a").expect("valid");
        assert!(catalog.get(&name).is_none() && catalog.by_content(&key).is_none());
        assert_eq!((catalog.len(), catalog.names().count(), catalog.files().count()), (0, 0, 0));
        // Another content under that name is not published, nor is one that a file has.
        assert!(!catalog.set_partial(partial("a", b"2", 1)));
        catalog.insert(file("b", b"3"));
        assert!(!catalog.set_partial(partial("c", b"3", 1)));
        // A file of that name hides it.
        let version = catalog.version();
        catalog.insert(file("a", b"old"));
        let changes = catalog.changes_since(version).expect("known");
        assert_eq!(changes.added[0].holding, Holding::Full);
        let hidden_since = catalog.version();
        assert!(!catalog.set_partial(partial("a", b"1", 2)), "a file hides it");
        assert!(!catalog.remove_partial(&key), "a file hides it");
        assert!(!catalog.set_partial(partial("a", b"1", 2)), "a file hides it");
        assert_eq!(catalog.version(), hidden_since);
        catalog.remove(&name);
        let changes = catalog.changes_since(version).expect("known");
        assert_eq!((changes.added[0].holding, changes.removed.len()), (Holding::Pieces(2), 0));
        assert!(catalog.remove_partial(&key));
        assert!(!catalog.remove_partial(&key), "it is removed already");
        let changes = catalog.changes_since(version).expect("known");
        assert_eq!(names(&changes), (vec![], vec!["a".into()]));
    }

    #[test]
    fn changes_are_net_effects_and_old_ones_are_dropped() {
        let mut catalog = Catalog::default();
        catalog.insert(file("a", b"1"));
        let version = catalog.version();
        assert!(catalog.changes_since(version).expect("known").is_empty());
        catalog.insert(file("b", b"2"));
        catalog.insert(file("c", b"3"));
        catalog.remove(&FileName::new("c").expect("valid"));
        catalog.remove(&FileName::new("a").expect("valid"));
        let changes = catalog.changes_since(version).expect("known");
        assert_eq!(names(&changes), (vec!["b".into()], vec!["a".into()]), "`c` was added and removed");
        for _ in 0..JOURNAL_MAX {
            catalog.insert(file("b", b"2"));
        }
        assert!(catalog.changes_since(version).is_none());
        assert!(catalog.changes_since(catalog.version() + 1).is_none(), "a future version is unknown");
    }
}
