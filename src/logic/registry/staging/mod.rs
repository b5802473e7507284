//! Staging: pages of a registration or an update wait here until they are committed.

mod pages;
mod stage;

pub(super) use pages::{Change, PageKind, StagedSize, Staging};
