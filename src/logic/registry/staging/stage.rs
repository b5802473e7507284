//! Stages pages: checks each one when it comes, and counts it against the limits. A commit takes the pages.
//!
//! Nothing here changes a catalog. Any client can stage pages, without a verified endpoint, and never commit
//! them. So staged pages have limits of their own. If these are reached, the oldest pages of another session
//! are dropped, those of verified nodes last: pages that wait keep no other node out. Invariants: after a
//! page was refused or dropped, its session can commit nothing before its next hello, so that no part of a
//! catalog is taken for the whole. `Registry::staged` is the size of all staged pages.

use std::time::Instant;

use super::pages::{Change, PageKind, StagedSize, Staging};
use crate::logic::registry::admission::RegistryError;
use crate::logic::registry::entry::{Reachability, Session, SessionId};
use crate::logic::registry::state::Registry;
use crate::types::{Attribute, FileEntry, FileName, Geometry, Holding};

impl Registry {
    /// Stages a page of a whole catalog, for [`Registry::commit_register`]. Checks all attributes, and keeps
    /// the known ones.
    ///
    /// # Errors
    /// The limit or rule that the page breaks. Then all pages of the session are dropped, and the session
    /// must say hello before it stages again.
    pub fn stage_register(
        &mut self,
        session: SessionId,
        entries: Vec<FileEntry>,
        now: Instant,
    ) -> Result<(), RegistryError> {
        self.stage(session, PageKind::Register, Vec::new(), entries, now)
    }

    /// Stages a page of changes to a registered catalog, for [`Registry::commit_update`]: first it removes
    /// the names `removed`, then it adds the entries `added`, which replace entries of the same name.
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

    /// Stages one page. If the page is refused, the staging of the session is broken.
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
        let page = StagedSize::of(&removed, &added);
        let checked = self.check_page(session, kind, page, &added);
        if let Err(error) = checked.and_then(|()| self.make_room(session, page)) {
            self.unstage(session, Staging::Broken);
            return Err(error);
        }
        self.staged = self.staged + page;
        self.pages_staged += 1;
        let sequence = self.pages_staged;
        let staging = &mut self.session_mut(session).staging;
        if matches!(staging, Staging::Empty) {
            *staging = Staging::Pages { kind, sequence, changes: Vec::new(), size: StagedSize::default() };
        }
        if let Staging::Pages { changes, size, .. } = staging {
            *size = *size + page;
            changes.extend(removed.into_iter().map(Change::Remove));
            changes.extend(added.into_iter().map(|entry| Change::Put(entry.into())));
        }
        Ok(())
    }

    /// Checks the page against all limits but those that all staged pages share.
    fn check_page(
        &self,
        session: SessionId,
        kind: PageKind,
        page: StagedSize,
        added: &[FileEntry],
    ) -> Result<(), RegistryError> {
        let known = &self.sessions[&session];
        let before = match &known.staging {
            Staging::Empty => StagedSize::default(),
            Staging::Pages { kind: staged, size, .. } if *staged == kind => *size,
            Staging::Pages { .. } | Staging::Broken => return Err(RegistryError::Incomplete),
        };
        let size = before + page;
        if size.added > self.limits.files_per_node_max {
            return Err(RegistryError::FilesOfNode { max: self.limits.files_per_node_max });
        }
        if size.added_names_bytes.max(size.removed_names_bytes) > self.limits.names_per_node_max_bytes {
            return Err(RegistryError::NamesOfNode { max: self.limits.names_per_node_max_bytes });
        }
        if self.files + size.added > self.limits.files_max {
            return Err(RegistryError::Files { max: self.limits.files_max });
        }
        // A page of removals makes room, so a full tracker must accept it.
        if page.added > 0 && self.names_bytes + size.names_bytes() > self.limits.names_max_bytes {
            return Err(RegistryError::Names { max: self.limits.names_max_bytes });
        }
        let max = known.node.map_or(0, |slot| self.node(slot).catalog.len()) + before.added;
        if size.removed > max {
            return Err(RegistryError::Removals { max });
        }
        added.iter().try_for_each(check_entry)
    }

    /// Drops the pages of other sessions until the new page has room: the oldest first, those of verified
    /// nodes last. Refuses the new page if its own session is next.
    fn make_room(&mut self, session: SessionId, page: StagedSize) -> Result<(), RegistryError> {
        while !self.has_room(page) {
            let rank = |id: &SessionId, known: &Session| {
                let is_verified =
                    known.node.is_some_and(|slot| self.node(slot).reachability == Reachability::Verified);
                // The session without pages ranks as if its pages were the newest.
                match &known.staging {
                    Staging::Pages { sequence, .. } => Some((is_verified, *sequence)),
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

    fn has_room(&self, page: StagedSize) -> bool {
        let size = self.staged + page;
        let names_bytes = size.names_bytes();
        let fits_staged =
            size.changes() <= self.limits.staged_max && names_bytes <= self.limits.staged_names_max_bytes;
        // With the committed catalogs. A page of removals makes room there.
        let fits_whole = page.added == 0
            || self.files + size.added <= self.limits.files_max
                && self.names_bytes + names_bytes <= self.limits.names_max_bytes;
        fits_staged && fits_whole
    }

    /// Drops the pages of `session`, if there is such a session, and sets its staging to `then`.
    pub(crate) fn unstage(&mut self, session: SessionId, then: Staging) {
        if let Some(known) = self.sessions.get_mut(&session)
            && let Staging::Pages { size, .. } = std::mem::replace(&mut known.staging, then)
        {
            self.staged = self.staged - size;
        }
    }

    /// Takes the changes that `session` has staged as `kind`, in the order of names. Each name is there once:
    /// its last change counts.
    ///
    /// # Errors
    /// [`RegistryError::Incomplete`] if there are no such pages, or a page is missing.
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
                // The sort is stable, so the last change of a name comes first, and `dedup_by` keeps it.
                changes.reverse();
                changes.sort_by(|a, b| a.name().cmp(b.name()));
                changes.dedup_by(|next, kept| next.name() == kept.name());
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
