//! Sources: connections that pieces come from, a thread for each source in use, and the piece buffers.

mod buffers;
mod connection;
mod in_use;
mod native;
mod thread;

pub(super) use buffers::{Buffer, Buffers};
pub use connection::{Reply, SourceConnection, SourceConnector, SourceError};
pub(super) use in_use::{SourceReport, Sources};
pub use native::NativeConnector;
