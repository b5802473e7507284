//! What the node's commands work with: the parts of a running node that outlive a command.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded, select};
use parking_lot::Mutex;

use super::api::CommandError;
use super::download::slots::DownloadSlots;
use super::find::latency::Latencies;
use super::index::catalog::SharedFile;
use super::index::indexer;
use super::jobs::Jobs;
use super::state::NodeState;
use super::stats::NodeStats;
use crate::discovery::{DiscoveryError, TrackerClient};
use crate::net::TokenBucket;
use crate::proto::event::Event;
use crate::rt::{Broadcast, Stop};
use crate::store::ShareFolders;
use crate::types::{FileName, Millis};

#[derive(Debug)]
pub(crate) struct Context {
    /// Outgoing connections are bound to it, unless it is unspecified.
    pub(crate) ip: IpAddr,
    /// Where this node is reached, as far as it knows.
    pub(crate) endpoint: SocketAddr,
    pub(crate) state: Arc<NodeState>,
    pub(crate) folders: Arc<ShareFolders>,
    pub(crate) discovery: TrackerClient,
    pub(crate) core: Sender<indexer::Event>,
    pub(crate) latencies: Mutex<Arc<Latencies>>,
    pub(crate) emulate_latency: bool,
    pub(crate) load_weight: Millis,
    pub(crate) retries: u32,
    pub(crate) events: Broadcast,
    /// What pays for every byte that is sent of a file.
    pub(crate) upload_rate: Arc<TokenBucket>,
    pub(crate) turns: DownloadSlots,
    pub(crate) jobs: Jobs,
    pub(crate) tally: Mutex<NodeStats>,
}

impl Context {
    /// The latencies to go by, read again if their file has changed. A file that cannot be used any more is
    /// said, and the old table kept.
    pub(crate) fn refreshed_latencies(&self) -> Arc<Latencies> {
        let current = Arc::clone(&self.latencies.lock());
        match current.refreshed() {
            Ok(None) => current,
            Ok(Some(newer)) => {
                let newer = Arc::new(newer);
                *self.latencies.lock() = Arc::clone(&newer);
                newer
            }
            Err(error) => {
                self.warn(format!("latency file {}: {}; the old table is kept", error.path, error.why));
                current
            }
        }
    }

    /// What the own share has under `name`, looked at anew.
    pub(crate) fn own_file(
        &self,
        name: &FileName,
        cancel: &Stop,
    ) -> Result<Option<Arc<SharedFile>>, CommandError> {
        self.ask_core(|reply| indexer::Event::Check { name: name.clone(), reply }, cancel)
    }

    /// Sends the core an event with a reply channel and waits for the answer.
    pub(crate) fn ask_core<T>(
        &self,
        event: impl FnOnce(Sender<T>) -> indexer::Event,
        cancel: &Stop,
    ) -> Result<T, CommandError> {
        let (reply, answer) = bounded(1);
        select! {
            send(self.core, event(reply)) -> sent => sent.map_err(|_| CommandError::Cancelled)?,
            recv(cancel.receiver()) -> _ => return Err(CommandError::Cancelled),
        }
        select! {
            recv(answer) -> answer => answer.map_err(|_| CommandError::Cancelled),
            recv(cancel.receiver()) -> _ => Err(CommandError::Cancelled),
        }
    }

    /// Tells the core what has happened already, whoever has been cancelled meanwhile, and waits until it
    /// knows. The core answers at once; an error means that it has ended.
    pub(crate) fn tell_core<T>(
        &self,
        event: impl FnOnce(Sender<T>) -> indexer::Event,
    ) -> Result<T, CommandError> {
        let (reply, answer) = bounded(1);
        self.core.send(event(reply)).map_err(|_| CommandError::Cancelled)?;
        answer.recv().map_err(|_| CommandError::Cancelled)
    }

    pub(crate) fn warn(&self, text: String) {
        self.events.tell(Event::warning(text));
    }

    pub(crate) fn inform(&self, text: String) {
        self.events.tell(Event::info(text));
    }
}

impl From<DiscoveryError> for CommandError {
    fn from(error: DiscoveryError) -> CommandError {
        match error {
            DiscoveryError::NoTracker { tracker, why } => CommandError::NoTracker { tracker, why },
            DiscoveryError::Refused { tracker, why } => CommandError::TrackerRefused { tracker, why },
            DiscoveryError::Cancelled => CommandError::Cancelled,
        }
    }
}
