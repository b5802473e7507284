//! `Partial`: a download in progress, how it is gone on with, and how it becomes a file of the share.
//!
//! It lives as `.nearpeer/<content id>.part` at the share's root, with a record of what it was asked for
//! beside it (`record.rs`). The final name holds nothing or the whole, synced content: never a part of it,
//! and never in place of another file unless that was asked for. One download at a time has a content's part,
//! among all processes, and a part has one name: it is never written through another.
//!
//! Which pieces are there is not stored. The part is sparse and only verified pieces are written to it, hence
//! its holes are a bitmap, which the file system keeps and which cannot go stale: a piece of which all is
//! data is *marked*. That is a hint (a power cut can leave data that was never written, a crash half a
//! block), and so is a part's length: its user verifies the marked pieces again before they count.

mod directory;
mod error;
mod file;
mod io;
mod leftover;
mod lock;
mod place;
mod record;
mod sweep;
#[cfg(test)]
mod tests;

pub use error::PartialError;
pub use file::{Opened, Partial};
pub use place::{Placed, take_over};
pub use record::Record;
pub use sweep::{Swept, clear_parts, leave_no_trace, quarantine, sweep, unfinished, wanted};

pub(super) use directory::open_parts_dir;
pub(super) use io::write_all;
