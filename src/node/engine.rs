//! What the node's commands work with: the parts of a running node that outlive a command.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded, select};
use parking_lot::Mutex;

use super::api::CommandError;
use super::catalog::SharedFile;
use super::core;
use super::jobs::Jobs;
use super::latency::Latencies;
use super::memory::Memory;
use super::tally::Tally;
use super::turns::Turns;
use crate::discovery::{DiscoveryError, TrackerClient};
use crate::net::Bucket;
use crate::proto::event::Event;
use crate::rt::{Feed, Stop};
use crate::store::Folders;
use crate::types::{FileName, Millis};

#[derive(Debug)]
pub(super) struct Engine {
    /// Outgoing connections are bound to it, unless it is unspecified.
    pub(super) ip: IpAddr,
    /// Where this node is reached, as far as it knows.
    pub(super) endpoint: SocketAddr,
    pub(super) memory: Arc<Memory>,
    pub(super) folders: Arc<Folders>,
    pub(super) discovery: TrackerClient,
    pub(super) core: Sender<core::Event>,
    pub(super) latencies: Mutex<Arc<Latencies>>,
    pub(super) emulate_latency: bool,
    pub(super) load_weight: Millis,
    pub(super) retries: u32,
    pub(super) events: Feed,
    /// What pays for every byte that is sent of a file.
    pub(super) upload_rate: Arc<Bucket>,
    pub(super) turns: Turns,
    pub(super) jobs: Jobs,
    pub(super) tally: Mutex<Tally>,
}

impl Engine {
    /// The latencies to go by, read again if their file has changed. A file that cannot be used any more is said, and the old table kept.
    pub(super) fn refreshed_latencies(&self) -> Arc<Latencies> {
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
    pub(super) fn own_file(
        &self,
        name: &FileName,
        cancel: &Stop,
    ) -> Result<Option<Arc<SharedFile>>, CommandError> {
        self.ask_core(|reply| core::Event::Check { name: name.clone(), reply }, cancel)
    }

    /// Sends the core an event with a reply channel and waits for the answer.
    pub(super) fn ask_core<T>(
        &self,
        event: impl FnOnce(Sender<T>) -> core::Event,
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

    /// Tells the core what has happened already, whoever has been cancelled meanwhile, and waits until it knows. The core answers at
    /// once; an error means that it has ended.
    pub(super) fn tell_core<T>(
        &self,
        event: impl FnOnce(Sender<T>) -> core::Event,
    ) -> Result<T, CommandError> {
        let (reply, answer) = bounded(1);
        self.core.send(event(reply)).map_err(|_| CommandError::Cancelled)?;
        answer.recv().map_err(|_| CommandError::Cancelled)
    }

    pub(super) fn warn(&self, text: String) {
        self.events.tell(Event::warning(text));
    }

    pub(super) fn inform(&self, text: String) {
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
