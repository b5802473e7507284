//! Progress of a download as its events tell it: sources in use, bytes, rate, time left, and how often bytes
//! are published. Pure: the time comes in as `now`.

mod pacing;
mod rate;
mod reducer;
mod reporter;

pub use pacing::BytesPacing;
pub use rate::Rate;
pub use reducer::DownloadProgress;
pub use reporter::DownloadReporter;
