//! Partial files: downloads in progress, how they are resumed, and how they become files of the share.
//!
//! A partial file is `.nearpeer/<content id>.part` in the share's root, with a record of the download's
//! request beside it (`record.rs`). The final name holds nothing or the whole, synced content: never a part
//! of it, and it replaces another file only with `force`. At most one download among all processes uses the
//! partial file of a content. A partial file has one name and is never written through another.
//!
//! Which pieces are there is not stored. The file is sparse, and only verified pieces are written to it. So
//! its holes are a bitmap, which the file system keeps and which cannot become outdated: a piece without a
//! hole is
//! *marked*. This is a hint, and so is the length of the file: a power failure can leave data that was never
//! written, and a crash half a block. The downloader verifies marked pieces again before they count.

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
pub use sweep::{Swept, quarantine, remove_all, remove_empty_directory, resumable, resumable_record, sweep};

pub(super) use directory::open_partials_dir;
pub(super) use io::write_all;
