//! Partial files: downloads in progress, how they are resumed, and how they become files of the share.
//!
//! A partial file is `.nearpeer/<content id>.part` in the share's root, with a record of the download's
//! request beside it (`record.rs`). The final name holds nothing or the whole, synced content, never a part
//! of it. A download replaces another file at that name only with `force`. At most one download among all
//! processes uses the partial file of a content. A partial file has one name.
//!
//! No record says which pieces the file has. The file is sparse, and only verified pieces are written to it.
//! So its holes show which pieces are missing, and the file system keeps them exact. A piece without a hole
//! is *marked*. This is a hint: after a power failure a file can have data that was never written, or a part
//! of a block. The downloader verifies marked pieces again before they count.

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
pub use sweep::{
    SweepReport, quarantine, remove_all, remove_empty_directory, resumable, resumable_record, sweep,
};

pub(super) use directory::open_partials_dir;
pub(super) use io::write_all;
