//! The driver and the values that it exchanges with its caller.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::logic::progress::DownloadReporter;
use crate::logic::transfer::SourceFailure;
use crate::proto::event::DownloadEvent;
use crate::rt::Stop;
use crate::store::{Partial, PartialError};
use crate::transfer::announcer::PartialAnnouncer;
use crate::transfer::config::TransferConfig;
use crate::transfer::ports::{HolderSearch, Notices};
use crate::transfer::source::SourceConnector;
use crate::types::{ContentKey, FileName, Geometry, Manifest, Provider};

/// One transfer: a content, its partial file, and the program around it.
pub struct Driver<'a> {
    /// Settings of the download.
    pub config: TransferConfig,
    /// Connects to the sources.
    pub connector: Arc<dyn SourceConnector>,
    /// Finds further holders.
    pub holders: Arc<dyn HolderSearch>,
    /// Receives messages for the user.
    pub notices: Arc<dyn Notices>,
    /// The name that was requested.
    pub name: FileName,
    /// The content that is fetched.
    pub content: ContentKey,
    /// How the content is cut into pieces.
    pub geometry: Geometry,
    /// The file that pieces are written to.
    pub partial: &'a Arc<Partial>,
    /// The holders of the content that the last search found, and those that have sent a piece. They are
    /// probed again if discovery gives no answer.
    pub providers: BTreeMap<SocketAddr, Provider>,
    /// Ends the download.
    pub cancel: &'a Stop,
    /// Makes the events of the download.
    pub reporter: &'a mut DownloadReporter,
    /// Receives the events of the download. It must not wait.
    pub publish: &'a mut dyn FnMut(DownloadEvent),
    /// Makes verified pieces available to other nodes.
    pub announcer: &'a mut PartialAnnouncer,
    /// Stores the manifest with the request. After that, the download can be resumed.
    pub remember: &'a dyn Fn(&Arc<Manifest>) -> Result<(), PartialError>,
}

impl std::fmt::Debug for Driver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("name", &self.name)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

/// What an earlier download has left.
#[derive(Debug, Default)]
pub struct LeftoverPieces {
    /// Pieces that may be in the partial file. They are verified again.
    pub marked: Vec<u32>,
    /// The manifest, if the earlier download had it.
    pub manifest: Option<Arc<Manifest>>,
}

/// A content of which every piece is in the partial file.
#[derive(Debug)]
pub struct FetchedContent {
    /// The sources that pieces came from, in the order of their first piece. If no piece was fetched: the
    /// best holder of the last ranking, if that is not empty.
    pub sources: Vec<SocketAddr>,
    /// False if the manifest has a wrong MD5 for some piece.
    pub piece_md5s_hold: bool,
    /// The manifest of a content of more than one piece, if its MD5 values are right.
    pub manifest: Option<Arc<Manifest>>,
}

/// Why some piece is not in the partial file.
#[derive(Debug)]
pub enum TransferError {
    /// All sources have failed, in the first round and in every retry.
    AllFailed(Vec<SourceFailure>),
    /// No node has the whole content, the known partial holders lack some piece, and another content has the
    /// name now.
    Replaced(Vec<SourceFailure>),
    /// The download was cancelled.
    Cancelled,
    /// The partial file cannot be written.
    Disk(PartialError),
    /// The partial file cannot be read back.
    Read(std::io::Error),
    /// The system refuses a thread, a descriptor or a socket.
    System(std::io::Error),
    /// The program is wrong: this must not happen. The text says what happened.
    Bug(&'static str),
}
