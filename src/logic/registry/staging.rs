//! Pages of a registration or an update on their way: checked as they come, counted against the limits, in
//! effect only when taken.
//!
//! Nothing here touches a catalog. Staged pages need neither proof nor an end, so they have a share of the
//! whole limits to themselves, and who wants more than is left of it takes it from the oldest staging, those
//! of proved nodes last: pages kept waiting keep nobody out. Invariant: once a page was refused or dropped,
//! nothing of that session can be taken before its next hello, so that no part ever passes for the whole;
//! `Registry::staged` is the sum of all stagings.

use std::time::Instant;

use super::index::Stored;
use super::{Reachability, Registry, RegistryError, Session, SessionId};
use crate::types::{Attribute, FileEntry, FileName, Geometry, Holding};

/// Pages that are not in effect yet.
#[derive(Debug)]
pub(super) enum Staging {
    Empty,
    Pages {
        kind: PageKind,
        /// Its place in the order of stagings.
        begun: u64,
        changes: Vec<Change>,
        size: Staged,
    },
    /// A page was refused or dropped. Nothing more is taken before the next hello: what follows would be put
    /// in effect without it.
    Broken,
}

/// How much is staged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Staged {
    pub(super) added: usize,
    pub(super) removed: usize,
    /// Bytes of the names added.
    pub(super) added_bytes: usize,
    /// Bytes of the names removed.
    pub(super) removed_bytes: usize,
}

impl Staged {
    fn of(removed: &[FileName], added: &[FileEntry]) -> Staged {
        Staged {
            added: added.len(),
            removed: removed.len(),
            added_bytes: added.iter().map(|entry| entry.name.as_str().len()).sum(),
            removed_bytes: removed.iter().map(|name| name.as_str().len()).sum(),
        }
    }

    fn lines(&self) -> usize {
        self.added + self.removed
    }

    fn names_bytes(&self) -> usize {
        self.added_bytes + self.removed_bytes
    }
}

impl std::ops::Add for Staged {
    type Output = Staged;

    fn add(self, more: Staged) -> Staged {
        Staged {
            added: self.added + more.added,
            removed: self.removed + more.removed,
            added_bytes: self.added_bytes + more.added_bytes,
            removed_bytes: self.removed_bytes + more.removed_bytes,
        }
    }
}

impl std::ops::Sub for Staged {
    type Output = Staged;

    fn sub(self, less: Staged) -> Staged {
        Staged {
            added: self.added - less.added,
            removed: self.removed - less.removed,
            added_bytes: self.added_bytes - less.added_bytes,
            removed_bytes: self.removed_bytes - less.removed_bytes,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Register,
    Update,
}

/// What one staged line does to a catalog.
#[derive(Debug)]
pub(super) enum Change {
    Remove(FileName),
    Put(Stored),
}

impl Change {
    pub(super) fn name(&self) -> &FileName {
        match self {
            Change::Remove(name) => name,
            Change::Put(entry) => &entry.name,
        }
    }
}

impl Registry {
    /// Takes a page of a whole catalog. Not in effect before [`Registry::commit_register`]. Attributes are
    /// checked and not kept.
    ///
    /// # Errors
    /// Any limit or rule on entries. Everything staged is dropped then, and the session must say hello before
    /// it stages again.
    pub fn stage_register(
        &mut self,
        session: SessionId,
        entries: Vec<FileEntry>,
        now: Instant,
    ) -> Result<(), RegistryError> {
        self.stage(session, PageKind::Register, Vec::new(), entries, now)
    }

    /// Takes a page of changes to a registered catalog: first the names `removed`, then the entries `added`,
    /// which replace those of the same name. Not in effect before [`Registry::commit_update`].
    ///
    /// # Errors
    /// As for [`Registry::stage_register`], and [`RegistryError::NotRegistered`].
    pub fn stage_update(
        &mut self,
        session: SessionId,
        removed: Vec<FileName>,
        added: Vec<FileEntry>,
        now: Instant,
    ) -> Result<(), RegistryError> {
        self.registered(session)?;
        self.stage(session, PageKind::Update, removed, added, now)
    }

    /// Takes one page, or breaks the session's staging.
    fn stage(
        &mut self,
        session: SessionId,
        kind: PageKind,
        removed: Vec<FileName>,
        added: Vec<FileEntry>,
        now: Instant,
    ) -> Result<(), RegistryError> {
        let Some(known) = self.sessions.get(&session) else {
            return Err(RegistryError::NotRegistered);
        };
        if let Some(slot) = known.node {
            self.node_mut(slot).pulse.hear(now);
        }
        let page = Staged::of(&removed, &added);
        let checked = self.check_page(session, kind, page, &added);
        if let Err(error) = checked.and_then(|()| self.make_room(session, page)) {
            self.unstage(session, Staging::Broken);
            return Err(error);
        }
        self.staged = self.staged + page;
        self.stagings += 1;
        let begun = self.stagings;
        let staging = &mut self.session_mut(session).staging;
        if matches!(staging, Staging::Empty) {
            *staging = Staging::Pages { kind, begun, changes: Vec::new(), size: Staged::default() };
        }
        if let Staging::Pages { changes, size, .. } = staging {
            *size = *size + page;
            changes.extend(removed.into_iter().map(Change::Remove));
            changes.extend(added.into_iter().map(|entry| Change::Put(entry.into())));
        }
        Ok(())
    }

    /// Whether the page could be taken if nobody else had anything staged.
    fn check_page(
        &self,
        session: SessionId,
        kind: PageKind,
        page: Staged,
        added: &[FileEntry],
    ) -> Result<(), RegistryError> {
        let known = &self.sessions[&session];
        let before = match &known.staging {
            Staging::Empty => Staged::default(),
            Staging::Pages { kind: begun, size, .. } if *begun == kind => *size,
            Staging::Pages { .. } | Staging::Broken => return Err(RegistryError::Incomplete),
        };
        let size = before + page;
        if size.added > self.limits.files_per_node_max {
            return Err(RegistryError::FilesOfNode { max: self.limits.files_per_node_max });
        }
        if size.added_bytes.max(size.removed_bytes) > self.limits.names_per_node_max_bytes {
            return Err(RegistryError::NamesOfNode { max: self.limits.names_per_node_max_bytes });
        }
        if self.files + size.added > self.limits.files_max {
            return Err(RegistryError::Files { max: self.limits.files_max });
        }
        // Removals alone make room: a full tracker must take them.
        if page.added > 0 && self.names_bytes + size.names_bytes() > self.limits.names_max_bytes {
            return Err(RegistryError::Names { max: self.limits.names_max_bytes });
        }
        let max = known.node.map_or(0, |slot| self.node(slot).catalog.len()) + before.added;
        if size.removed > max {
            return Err(RegistryError::Removals { max });
        }
        added.iter().try_for_each(check_entry)
    }

    /// Drops the oldest stagings, those of proved nodes last, until the page has room; refused if the
    /// session's own is the next.
    fn make_room(&mut self, session: SessionId, page: Staged) -> Result<(), RegistryError> {
        while !self.has_room(page) {
            let rank = |id: &SessionId, known: &Session| {
                let is_proved = known.node.is_some_and(|slot| self.node(slot).proof == Reachability::Proved);
                match &known.staging {
                    Staging::Pages { begun, .. } => Some((is_proved, *begun)),
                    _ => (*id == session).then_some((is_proved, u64::MAX)),
                }
            };
            let ranked = self.sessions.iter().filter_map(|(id, known)| Some((rank(id, known)?, *id)));
            let next = ranked.min().map(|(_, id)| id);
            let dropped = next.filter(|id| *id != session).ok_or(RegistryError::Crowded)?;
            self.unstage(dropped, Staging::Broken);
        }
        Ok(())
    }

    fn has_room(&self, page: Staged) -> bool {
        let Staged { added, .. } = self.staged + page;
        let (lines, names_bytes) = ((self.staged + page).lines(), (self.staged + page).names_bytes());
        let fits_share = lines <= self.limits.staged_max && names_bytes <= self.limits.staged_names_max_bytes;
        let fits_whole = page.added == 0
            || self.files + added <= self.limits.files_max
                && self.names_bytes + names_bytes <= self.limits.names_max_bytes;
        fits_share && fits_whole
    }

    /// Drops what `session` has staged, if there is such a session.
    pub(super) fn unstage(&mut self, session: SessionId, then: Staging) {
        if let Some(known) = self.sessions.get_mut(&session)
            && let Staging::Pages { size, .. } = std::mem::replace(&mut known.staging, then)
        {
            self.staged = self.staged - size;
        }
    }

    /// What `session` has staged as `kind`, in order of names, each once: the last line about a name counts.
    pub(super) fn take_pages(
        &mut self,
        session: SessionId,
        kind: PageKind,
    ) -> Result<Vec<Change>, RegistryError> {
        match std::mem::replace(&mut self.session_mut(session).staging, Staging::Empty) {
            Staging::Pages { kind: staged, mut changes, size, .. } => {
                self.staged = self.staged - size;
                if staged != kind {
                    return Err(RegistryError::Incomplete);
                }
                changes.reverse();
                changes.sort_by(|a, b| a.name().cmp(b.name()));
                changes.dedup_by(|later, first| later.name() == first.name());
                Ok(changes)
            }
            Staging::Empty => Err(RegistryError::Incomplete),
            Staging::Broken => {
                self.session_mut(session).staging = Staging::Broken;
                Err(RegistryError::Incomplete)
            }
        }
    }
}

fn check_entry(entry: &FileEntry) -> Result<(), RegistryError> {
    if !Attribute::are_bounded(&entry.attributes) {
        return Err(RegistryError::Attributes(entry.name.clone()));
    }
    match entry.holding {
        Holding::Pieces(pieces)
            if Geometry::of(entry.size_bytes).count().is_none_or(|count| pieces >= count) =>
        {
            let (name, size_bytes) = (entry.name.clone(), entry.size_bytes);
            Err(RegistryError::Pieces { name, size_bytes, pieces })
        }
        _ => Ok(()),
    }
}
