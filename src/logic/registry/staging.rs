//! Pages of a registration or an update on their way: checked as they come, counted against the limits, in effect only when taken.
//!
//! Nothing here touches a catalog. Invariant: once a page was refused, nothing of that session can be taken before its next hello, so
//! that no part ever passes for the whole; `Registry::staged` is the number of entries in all stagings.

use std::time::Instant;

use super::index::Stored;
use super::{Registry, RegistryError, SessionId};
use crate::types::{Attribute, FileEntry, FileName, Geometry, Holding};

/// Pages that are not in effect yet.
#[derive(Debug)]
pub(super) enum Staging {
    Empty,
    Pages {
        kind: PageKind,
        changes: Vec<Change>,
        added: usize,
    },
    /// A page was refused. Nothing more is taken before the next hello: what follows would be put in effect without it.
    Broken,
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
    /// Takes a page of a whole catalog. Not in effect before [`Registry::commit_register`]. Attributes are checked and not kept.
    ///
    /// # Errors
    /// Any limit or rule on entries. Everything staged is dropped then, and the session must say hello before it stages again.
    pub fn stage_register(
        &mut self,
        session: SessionId,
        entries: Vec<FileEntry>,
        now: Instant,
    ) -> Result<(), RegistryError> {
        self.stage(session, PageKind::Register, Vec::new(), entries, now)
    }

    /// Takes a page of changes to a registered catalog: first the names `removed`, then the entries `added`, which replace those of
    /// the same name. Not in effect before [`Registry::commit_update`].
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
        if let Err(error) = self.check_page(session, kind, &removed, &added) {
            self.unstage(session, Staging::Broken);
            return Err(error);
        }
        self.staged += added.len();
        let staging = &mut self.session_mut(session).staging;
        if matches!(staging, Staging::Empty) {
            *staging = Staging::Pages { kind, changes: Vec::new(), added: 0 };
        }
        if let Staging::Pages { changes, added: count, .. } = staging {
            *count += added.len();
            changes.extend(removed.into_iter().map(Change::Remove));
            changes.extend(added.into_iter().map(|entry| Change::Put(entry.into())));
        }
        Ok(())
    }

    fn check_page(
        &self,
        session: SessionId,
        kind: PageKind,
        removed: &[FileName],
        added: &[FileEntry],
    ) -> Result<(), RegistryError> {
        let known = &self.sessions[&session];
        let (staged_removed, staged_added) = match &known.staging {
            Staging::Empty => (0, 0),
            Staging::Pages { kind: begun, changes, added } if *begun == kind => {
                (changes.len() - added, *added)
            }
            Staging::Pages { .. } | Staging::Broken => return Err(RegistryError::Incomplete),
        };
        let max = self.limits.files_per_node_max;
        if staged_added + added.len() > max {
            return Err(RegistryError::FilesOfNode { max });
        }
        let max = self.limits.files_max;
        if self.files + self.staged + added.len() > max {
            return Err(RegistryError::Files { max });
        }
        let max = known.node.map_or(0, |slot| self.node(slot).catalog.len()) + staged_added;
        if staged_removed + removed.len() > max {
            return Err(RegistryError::Removals { max });
        }
        added.iter().try_for_each(check_entry)
    }

    /// Drops what `session` has staged, if there is such a session.
    pub(super) fn unstage(&mut self, session: SessionId, then: Staging) {
        if let Some(known) = self.sessions.get_mut(&session)
            && let Staging::Pages { added, .. } = std::mem::replace(&mut known.staging, then)
        {
            self.staged -= added;
        }
    }

    /// What `session` has staged as `kind`, in order of names, each once: the last line about a name counts.
    pub(super) fn take_pages(
        &mut self,
        session: SessionId,
        kind: PageKind,
    ) -> Result<Vec<Change>, RegistryError> {
        match std::mem::replace(&mut self.session_mut(session).staging, Staging::Empty) {
            Staging::Pages { kind: begun, mut changes, added } => {
                self.staged -= added;
                if begun != kind {
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
