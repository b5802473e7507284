//! Why a node cannot start, and why commands and downloads fail.
//!
//! The variants tell where the fault is: `System` is a fault of the operating system, `Bug` of this program.
//! A variant with an endpoint or a tracker is a fault of another program or of the network.

use std::net::SocketAddr;

use thiserror::Error;

use super::report::{Attempt, Variant};
use crate::discovery::DiscoveryError;
use crate::store::ShareError;
use crate::types::{FileName, Printable};

/// Why a node cannot start.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant has its text")]
pub enum NodeStartError {
    #[error("cannot listen on {addr}: {why}")]
    AddressInUse { addr: SocketAddr, why: String },
    #[error("cannot listen on {addr}: {why}")]
    Listen { addr: SocketAddr, why: String },
    #[error("cannot share {path}: {why}")]
    NoSuchDirectory { path: String, why: String },
    #[error("cannot share {path}: {why}")]
    Share { path: String, why: String },
    #[error("{path} is in use by another node: stop it, or share another directory")]
    ShareInUse { path: String },
    #[error("latency file {path}: {why}")]
    Latency { path: String, why: String },
    #[error("the system gives no more threads or descriptors: {0}")]
    System(#[from] std::io::Error),
}

impl From<ShareError> for NodeStartError {
    fn from(error: ShareError) -> NodeStartError {
        match error {
            ShareError::NoSuchDirectory { path, why } => NodeStartError::NoSuchDirectory { path, why },
            ShareError::InUse { path } => NodeStartError::ShareInUse { path },
            ShareError::Io { path, why } => NodeStartError::Share { path, why },
        }
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant has its text")]
pub enum CommandError {
    #[error("no tracker at {tracker}: {why}")]
    NoTracker { tracker: SocketAddr, why: String },
    #[error("the tracker at {tracker} refused: {why}")]
    TrackerRefused { tracker: SocketAddr, why: String },
    /// Something other than a tracker could not say which nodes have the file.
    #[error("{finder}: {why}")]
    NoAnswer { finder: String, why: String },
    #[error("{endpoint} cannot be reached: {why}")]
    Unreachable { endpoint: SocketAddr, why: String },
    /// Holders are known, but none of them gave a valid answer. Contains each with its reason.
    #[error("none of {} holders answered", .0.len())]
    NoneAnswered(Vec<(SocketAddr, String)>),
    #[error("latency file {path}: {why}")]
    Latency { path: String, why: String },
    #[error("cannot read the share: {0}")]
    Share(String),
    /// The operating system refuses a thread, a descriptor or a socket.
    #[error("the system gives no more threads or descriptors: {0}")]
    System(String),
    /// An invariant of this program is broken.
    #[error("an error in this program: {0}")]
    Bug(&'static str),
    #[error("cancelled")]
    Cancelled,
}

impl From<DiscoveryError> for CommandError {
    fn from(error: DiscoveryError) -> CommandError {
        match error {
            DiscoveryError::NoTracker { tracker, why } => CommandError::NoTracker { tracker, why },
            DiscoveryError::Refused { tracker, why } => CommandError::TrackerRefused { tracker, why },
            DiscoveryError::NoAnswer { finder, why } => CommandError::NoAnswer { finder, why },
            DiscoveryError::Cancelled => CommandError::Cancelled,
        }
    }
}

/// Why a download failed. No file of the user has changed, with one exception, see `Disk`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant has its text")]
pub enum DownloadError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("no node has `{}`", Printable(.0))]
    NotFound(String),
    /// This node is a guest without a directory.
    #[error("there is no directory for downloads here")]
    NoDirectory,
    #[error(
        "`{name}` means {} different contents with equally many live full holders: \
         choose one with --checksum",
        .variants.len()
    )]
    Ambiguous { name: FileName, variants: Vec<Variant> },
    #[error("`{name}` exists with other content: use --force to replace it")]
    Exists { name: FileName },
    #[error("`{name}`: no source could deliver it: {}", attempts_text(.attempts))]
    AllFailed {
        name: FileName,
        attempts: Vec<Attempt>,
        /// Every source failed because a digest did not match.
        all_by_digest: bool,
    },
    #[error("`{name}`: no content has {checksum}: nothing was put in place")]
    Checksum { name: FileName, checksum: String },
    #[error("`{name}`: no space left: {why}")]
    NoSpace { name: FileName, why: String },
    /// A file or folder of this node cannot be read or written. If a file was replaced and then its directory
    /// could not be synced, the new file stays.
    #[error("`{name}`: cannot read or write the file: {why}")]
    Disk { name: FileName, why: String },
}

fn attempts_text(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return "no node that answers has a piece that is missing here".into();
    }
    let texts: Vec<_> =
        attempts.iter().map(|attempt| format!("{}: {}", attempt.endpoint, attempt.why)).collect();
    texts.join("; ")
}
