//! Staging: pages are checked as they come, counted against the limits, and in effect only when committed.
//!
//! Nothing here touches a catalog. Staged pages need neither a verified endpoint nor a last page. They
//! therefore have a share of the whole limits to themselves, and a session that needs more than is left of it
//! takes it from the oldest staging, those of verified nodes last: pages that wait keep no other node out.
//! Invariants: once a page was refused or dropped, nothing of that session can be committed before its next
//! hello, so that no part ever passes for the whole. `Registry::staged` is the sum of all stagings.

use std::time::Instant;

use super::pages::{Change, PageKind, Staged, Staging};
use crate::logic::registry::admission::RegistryError;
use crate::logic::registry::entry::{Reachability, Session, SessionId};
use crate::logic::registry::state::Registry;
use crate::types::{Attribute, FileEntry, FileName, Geometry, Holding};

impl Registry {
    /// Stages a page of a whole catalog. [`Registry::commit_register`] puts it in effect. Attributes are
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

    /// Stages a page of changes to a registered catalog: first the names `removed`, then the entries `added`,
    /// which replace those of the same name. [`Registry::commit_update`] puts it in effect.
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

    /// Stages one page, or breaks the session's staging.
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
            self.node_mut(slot).heartbeats.observe(now);
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

    /// Checks whether the page would be accepted if no other session had anything staged.
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
        // Removals alone make room: a full tracker must accept them.
        if page.added > 0 && self.names_bytes + size.names_bytes() > self.limits.names_max_bytes {
            return Err(RegistryError::Names { max: self.limits.names_max_bytes });
        }
        let max = known.node.map_or(0, |slot| self.node(slot).catalog.len()) + before.added;
        if size.removed > max {
            return Err(RegistryError::Removals { max });
        }
        added.iter().try_for_each(check_entry)
    }

    /// Drops the oldest stagings, those of verified nodes last, until the page has room. Refuses the page if
    /// the session's own staging is next.
    fn make_room(&mut self, session: SessionId, page: Staged) -> Result<(), RegistryError> {
        while !self.has_room(page) {
            let rank = |id: &SessionId, known: &Session| {
                let is_verified =
                    known.node.is_some_and(|slot| self.node(slot).reachability == Reachability::Verified);
                match &known.staging {
                    Staging::Pages { begun, .. } => Some((is_verified, *begun)),
                    _ => (*id == session).then_some((is_verified, u64::MAX)),
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

    /// Replaces what `session` has staged by `then`, if there is such a session.
    pub(crate) fn unstage(&mut self, session: SessionId, then: Staging) {
        if let Some(known) = self.sessions.get_mut(&session)
            && let Staging::Pages { size, .. } = std::mem::replace(&mut known.staging, then)
        {
            self.staged = self.staged - size;
        }
    }

    /// Removes and returns what `session` has staged as `kind`, in order of names. Each name is there once:
    /// its last line counts.
    pub(crate) fn take_pages(
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
