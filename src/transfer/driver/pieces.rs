//! What the driver does with pieces: it passes arrived ones to the verifier, and writes right ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::event_loop::Run;
use super::interface::{Driver, TransferError};
use crate::logic::transfer::Event;
use crate::rt::clock;
use crate::transfer::piece_check::PieceCheck;
use crate::transfer::source::SourceReport;
use crate::transfer::verifier::{CheckedPiece, UncheckedPiece};
use crate::types::PieceError;

impl Driver<'_> {
    pub(super) fn apply_report(run: &mut Run, source: SocketAddr, report: SourceReport, now: Instant) {
        match report {
            SourceReport::Arrived { piece, bytes } => {
                let is_wanted = run.transfer.wants(piece);
                run.transfer.on_event(now, Event::Arrived { source, piece });
                if is_wanted {
                    run.verifier.push(UncheckedPiece { piece, bytes, source: Some(source) }, now);
                }
            }
            SourceReport::LacksPiece { piece } => {
                run.transfer.on_event(now, Event::LacksPiece { source, piece });
            }
            SourceReport::Failed(error) => {
                run.sources.leave(source);
                run.manifest.cancel_request(source);
                let (why, sent_wrong_data) = (error.why(), error.is_wrong_data());
                run.transfer.on_event(now, Event::Failed { source, why, sent_wrong_data });
            }
        }
    }

    /// Sends a batch to the verifier if one is due.
    pub(super) fn start_due_batch(&self, run: &mut Run, now: Instant) {
        let check = match run.manifest.manifest() {
            Some(manifest) => PieceCheck::Native(Arc::clone(manifest)),
            None if run.manifest.is_missing() => return,
            // A content of one piece has no manifest. The sender publishes its MD5.
            None => {
                let source = run.verifier.first_source();
                let md5 = source.and_then(|source| self.providers.get(&source)).map(|one| one.entry.md5);
                PieceCheck::Single { content: self.content, md5 }
            }
        };
        let more_may_come = run.transfer.in_flight() > 0;
        run.verifier.start_if_due(&check, &run.buffers, more_may_come, now);
    }

    /// Writes a right piece, and reports the verdict to the machine.
    pub(super) fn apply_verdict(
        &mut self,
        run: &mut Run,
        checked: CheckedPiece,
    ) -> Result<(), TransferError> {
        let CheckedPiece { piece: UncheckedPiece { piece, bytes, source }, verdict } = checked;
        let is_whole_content = self.content.size_bytes == bytes.bytes().len() as u64;
        match verdict {
            // The MD5 of a content of one piece comes from the sender of the piece, who therefore is to
            // blame.
            Err(PieceError::Md5(_)) if source.is_some() && is_whole_content => {
                let why = "the md5 it publishes is not that of the bytes it sends".to_owned();
                run.transfer.on_event(clock::now(), Event::Wrong { piece, why });
                return Ok(());
            }
            Err(PieceError::Bytes(_) | PieceError::Length(_)) => {
                let why = PieceError::Bytes(piece).to_string();
                run.transfer.on_event(clock::now(), Event::Wrong { piece, why });
                return Ok(());
            }
            // The bytes are right: the manifest is to blame, not the sender.
            Err(PieceError::Md5(_)) => self.warn_of_wrong_md5(run, piece),
            Ok(()) => {}
        }
        // A piece without a source is in the partial file already.
        if let Some(source) = source {
            let range = self.geometry.range(piece).expect("a piece that was requested");
            self.partial.write_piece(range.start, bytes.bytes()).map_err(TransferError::Disk)?;
            run.fetched_bytes += bytes.bytes().len() as u64;
            if !run.fetched.sources.contains(&source) {
                run.fetched.sources.push(source);
            }
        }
        run.done_bytes += bytes.bytes().len() as u64;
        run.transfer.on_event(clock::now(), Event::Verified { piece });
        // Other nodes may have the piece now. Without a manifest they could not verify it.
        if run.transfer.is_done(piece)
            && let Some(manifest) = run.manifest.manifest()
        {
            self.announcer.add(piece, manifest, self.partial, clock::now());
        }
        let (done, fetched) = (run.done_bytes, run.fetched_bytes);
        let event = self.reporter.bytes(done, self.content.size_bytes, fetched, clock::now());
        (self.publish)(event);
        Ok(())
    }
}
