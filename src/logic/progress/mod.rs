//! Progress of a download, computed from its events: sources in use, bytes, rate, time left. Also how often
//! the bytes are published. The caller passes the time as `now`.

mod pacing;
mod rate;
mod reducer;
mod reporter;

pub use pacing::BytesPacing;
pub use rate::Rate;
pub use reducer::DownloadProgress;
pub use reporter::DownloadReporter;
