//! The driver's requests for the manifest, and the warning about a manifest with a wrong MD5.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::event_loop::Run;
use super::interface::{Driver, TransferError};
use super::message::Message;
use crate::logic::transfer::Event;
use crate::proto::peer::PeerRefusal;
use crate::rt::clock;
use crate::transfer::manifest_search::{ManifestGiver, NextStep};
use crate::transfer::source::SourceError;
use crate::types::Manifest;

impl Driver<'_> {
    /// Requests the manifest from a source if it is missing. Full holders come first, as they have checked
    /// every line of it; sources in use come before others. Sources that are not in use count too: if no
    /// piece is missing, no source is opened. After all sources have failed, the pieces that wait for
    /// verification are dropped, so that their buffers are free.
    pub(super) fn request_manifest(&self, run: &mut Run, now: Instant) -> Result<(), TransferError> {
        let ranked = run.ranked.iter().map(|candidate| candidate.endpoint);
        let holders = run.sources.endpoints().chain(ranked);
        // The partial ones are those that are left after the full ones: `next_step` takes no source twice.
        let full = holders.clone().filter(|holder| !run.transfer.is_partial(*holder));
        match run.manifest.next_step(now, full.chain(holders)) {
            NextStep::Wait => {}
            NextStep::Request(source) => {
                let stop = run.stop.child().map_err(TransferError::System)?;
                let request = run.manifest.begin_request(source, stop.clone());
                let (connector, messages) = (Arc::clone(run.sources.connector()), run.messages.0.clone());
                let fetch = move || {
                    let outcome = connector.fetch_manifest(source, &stop);
                    // The channel is closed if the download has ended.
                    messages.send(Message::Manifest { from: source, request, outcome }).ok();
                };
                run.threads.spawn("manifest", fetch).map_err(TransferError::System)?;
            }
            NextStep::GiveUpForNow => {
                for source in run.manifest.take_refusals() {
                    run.sources.leave(source);
                    let why = SourceError::Refused(PeerRefusal::NotShared).why();
                    run.transfer.on_event(now, Event::NoManifest { source, why, sent_wrong_data: false });
                }
                for piece in run.verifier.drop_all() {
                    run.transfer.on_event(now, Event::Dropped { piece });
                }
            }
        }
        Ok(())
    }

    pub(super) fn apply_manifest(
        &mut self,
        run: &mut Run,
        (from, request): (SocketAddr, u64),
        outcome: Result<Manifest, SourceError>,
    ) -> Result<(), TransferError> {
        let giver = ManifestGiver { endpoint: from, is_partial: run.transfer.is_partial(from) };
        match outcome.map(Arc::new) {
            Ok(manifest) if run.manifest.accept(&manifest, giver) => self.remember(&manifest)?,
            Err(error) if run.manifest.end_request(request) => {
                if giver.is_partial && matches!(error, SourceError::Refused(PeerRefusal::NotShared)) {
                    // It may have found a wrong MD5 in its manifest: see `warn_of_wrong_md5`. Its pieces are
                    // of use all the same, once another source gives the manifest.
                    run.manifest.record_refusal(from);
                    return Ok(());
                }
                let (why, sent_wrong_data) = (error.why(), error.is_wrong_data());
                run.sources.leave(from);
                run.transfer.on_event(clock::now(), Event::NoManifest { source: from, why, sent_wrong_data });
            }
            // Another source gave the manifest before, or the request was cancelled.
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }

    /// From here on the download can be resumed.
    pub(super) fn remember(&self, manifest: &Arc<Manifest>) -> Result<(), TransferError> {
        (self.remember)(manifest).map_err(TransferError::Disk)
    }

    /// Handles a piece whose bytes are right but whose MD5 in the manifest is wrong. A full holder that gave
    /// the manifest has lied; a partial holder may have passed it on before it had this piece. The user
    /// gets one warning, which names the giver. The pieces and BLAKE3 values of the manifest stay valid; the
    /// MD5 of the whole file is computed instead.
    pub(super) fn warn_of_wrong_md5(&mut self, run: &mut Run, piece: u32) {
        run.fetched.piece_md5s_hold = false;
        self.announcer.withhold_manifest();
        let name = &self.name;
        match run.manifest.take_giver() {
            Some(ManifestGiver { endpoint, is_partial: false }) => {
                self.notices.warn(format!("`{name}`: {endpoint} falsely claims an md5 for piece {piece}"));
            }
            Some(ManifestGiver { endpoint, is_partial: true }) => {
                let who = format!("{endpoint}, which has a part only,");
                let warning = format!("`{name}`: {who} gave a manifest with a false md5 for piece {piece}");
                self.notices.warn(warning);
            }
            // The user was warned before, or an earlier download left the manifest.
            None => {}
        }
    }
}
