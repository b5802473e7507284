//! Implements for the node the traits through which [`crate::transfer`] uses it.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::logic::select::LiveHolder;
use crate::node::context::Context;
use crate::node::error::CommandError;
use crate::node::find::latency::Latencies;
use crate::node::find::probe::probe;
use crate::node::find::search;
use crate::rt::Stop;
use crate::transfer::{HolderSearch, Notices, PieceOffer, ReplyDelays, SearchError, TransferConfig};
use crate::types::{ContentKey, FileEntry, Manifest, Provider, Query};

/// The settings of a download that begins now. They keep the latencies of this moment.
pub(super) fn config(context: &Context) -> TransferConfig {
    let peers = &context.peers;
    TransferConfig {
        node: peers.node,
        bind: peers.ip,
        load_weight: peers.load_weight,
        retries: peers.retries,
        reply_delays: peers.emulated().map(|latencies| latencies as Arc<dyn ReplyDelays>),
    }
}

impl ReplyDelays for Latencies {
    fn reply_delay(&self, endpoint: SocketAddr) -> Duration {
        self.emulated(endpoint)
    }
}

impl HolderSearch for Context {
    fn find(&self, query: &Query, stop: &Stop) -> Result<Vec<Provider>, SearchError> {
        search::providers(self, query, stop).map_err(search_error)
    }

    fn probe(&self, providers: Vec<Provider>, stop: &Stop) -> Result<Vec<LiveHolder>, SearchError> {
        probe(&self.peers, providers, stop).map(|probed| probed.live).map_err(search_error)
    }
}

fn search_error(error: CommandError) -> SearchError {
    match error {
        CommandError::Cancelled => SearchError::Cancelled,
        CommandError::System(why) => SearchError::System(std::io::Error::other(why)),
        error => SearchError::NoAnswer(error.to_string()),
    }
}

impl PieceOffer for Context {
    fn begin(&self, manifest: Arc<Manifest>, file: Arc<File>) {
        self.state.partials.lock().begin(manifest, file);
    }

    fn add(&self, content: &ContentKey, piece: u32) -> u32 {
        self.state.partials.lock().add(content, piece) as u32
    }

    fn withhold_manifest(&self, content: &ContentKey) {
        self.state.partials.lock().withhold_manifest(content);
    }

    fn publish(&self, entry: FileEntry) {
        self.indexer.set_partial(entry);
    }

    fn end(&self, content: &ContentKey) {
        let removed = self.state.partials.lock().end(content);
        // This may close the file, which may take long: so it happens without the lock.
        drop(removed);
        self.indexer.end_partial(*content);
    }
}

impl Notices for Context {
    fn warn(&self, text: String) {
        self.notices.warn(text);
    }
}
