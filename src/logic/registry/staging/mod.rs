//! Pages of a registration or an update that are not in effect yet.

mod pages;
mod stage;

pub(super) use pages::{Change, PageKind, Staged, Staging};
