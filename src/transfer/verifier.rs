//! Verification beside receiving: a thread of its own checks pieces in batches. Pieces come from sources, or
//! were left by an earlier download.
//!
//! [`Verifier`] is the driver's side and decides when a batch starts. A full batch fills the SIMD lanes of
//! the digest; a batch that waits for pieces that cannot come would delay the end of the download.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::piece_check::PieceCheck;
use super::source::{Buffer, Buffers};
use crate::store::Partial;
use crate::types::{Geometry, WrongPiece, limits};

/// A piece whose bytes are here.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) piece: u32,
    pub(super) bytes: Buffer,
    /// The source that sent it; `None`: an earlier download has left it in the partial file, from which it is
    /// still to be read.
    pub(super) source: Option<SocketAddr>,
}

/// Pieces, and what they are checked against.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) pieces: Vec<Arrival>,
    pub(super) check: PieceCheck,
}

/// A piece and the verdict on it.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) arrival: Arrival,
    pub(super) outcome: Result<(), WrongPiece>,
}

/// The pieces that wait for verification.
#[derive(Debug)]
pub(super) struct Verifier {
    batches: Sender<Batch>,
    is_busy: bool,
    arrived: Vec<Arrival>,
    first_arrived_at: Option<Instant>,
    /// Pieces that an earlier download has left in the partial file.
    marked: VecDeque<u32>,
    geometry: Geometry,
}

impl Verifier {
    /// The driver's side, and the receiver for [`run`].
    pub(super) fn new(geometry: Geometry, marked: Vec<u32>) -> (Verifier, Receiver<Batch>) {
        let (batches, to_verify) = bounded(1);
        let verifier = Verifier {
            batches,
            is_busy: false,
            arrived: Vec::new(),
            first_arrived_at: None,
            marked: marked.into(),
            geometry,
        };
        (verifier, to_verify)
    }

    pub(super) fn push(&mut self, arrival: Arrival, now: Instant) {
        self.first_arrived_at.get_or_insert(now);
        self.arrived.push(arrival);
    }

    /// The source that sent the first waiting piece.
    pub(super) fn first_source(&self) -> Option<SocketAddr> {
        self.arrived.first().and_then(|arrival| arrival.source)
    }

    /// Records that the thread has returned a batch.
    pub(super) fn batch_is_done(&mut self) {
        self.is_busy = false;
    }

    /// Sends the next batch to the thread if the thread is idle and a batch is due. `more_may_come`:
    /// requested pieces that have not arrived could still join the batch.
    pub(super) fn start_if_due(
        &mut self,
        check: &PieceCheck,
        buffers: &Buffers,
        more_may_come: bool,
        now: Instant,
    ) {
        if self.is_busy {
            return;
        }
        let is_due = self.arrived.len() >= limits::VERIFY_BATCH
            || !more_may_come
            || buffers.free() == 0
            || self.due_at().is_some_and(|due_at| due_at <= now);
        let pieces = if !self.arrived.is_empty() && is_due {
            let rest = self.arrived.split_off(self.arrived.len().min(limits::VERIFY_BATCH));
            self.first_arrived_at = (!rest.is_empty()).then_some(now);
            std::mem::replace(&mut self.arrived, rest)
        } else {
            self.next_marked(buffers)
        };
        if !pieces.is_empty() {
            let batch = Batch { pieces, check: check.clone() };
            // A closed channel means that the thread has panicked, which the driver learns from
            // [`crate::rt::Threads`].
            self.is_busy = self.batches.try_send(batch).is_ok();
        }
    }

    /// When the waiting pieces have waited long enough to start as a batch; `None` if no piece waits or the
    /// thread is busy.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let wait = limits::ms(limits::VERIFY_WAIT_MS);
        self.first_arrived_at.filter(|_| !self.is_busy).map(|at| at + wait)
    }

    /// Drops all waiting pieces, with those of an earlier download, and returns their indices.
    pub(super) fn drop_all(&mut self) -> Vec<u32> {
        self.first_arrived_at = None;
        let arrived = self.arrived.drain(..).map(|arrival| arrival.piece);
        arrived.chain(self.marked.drain(..)).collect()
    }

    /// Pieces of an earlier download. They take at most half of the buffers; the rest is for arriving pieces.
    fn next_marked(&mut self, buffers: &Buffers) -> Vec<Arrival> {
        let mut pieces = Vec::new();
        while pieces.len() < limits::VERIFY_BATCH && (pieces.is_empty() || buffers.free() * 2 > buffers.all())
        {
            let Some(&piece) = self.marked.front() else { break };
            let len = self.geometry.len_bytes(piece).unwrap_or(0) as usize;
            let Some(bytes) = buffers.take(len) else { break };
            self.marked.pop_front();
            pieces.push(Arrival { piece, bytes, source: None });
        }
        pieces
    }
}

/// The thread: verifies batches until the channel is closed or `deliver` returns false.
pub(super) fn run(
    batches: &Receiver<Batch>,
    partial: &Partial,
    geometry: Geometry,
    mut deliver: impl FnMut(Vec<Checked>) -> bool,
) {
    for Batch { mut pieces, check } in batches {
        for Arrival { piece, bytes, source } in &mut pieces {
            if source.is_none()
                && let Some(range) = geometry.range(*piece)
                && partial.read_piece(range.start, bytes.bytes_mut()).is_err()
            {
                // A piece that cannot be read back counts as wrong.
                bytes.bytes_mut().fill(0);
            }
        }
        let views: Vec<_> = pieces.iter().map(|arrival| (arrival.piece, arrival.bytes.bytes())).collect();
        let outcomes = check.verify(&views);
        let checked = pieces.into_iter().zip(outcomes).map(|(arrival, outcome)| Checked { arrival, outcome });
        if !deliver(checked.collect()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::clock;
    use crate::types::{ContentKey, Manifest, PieceDigests};
    use std::sync::Arc;

    const PIECES: u32 = 20;

    fn manifest() -> Arc<Manifest> {
        let geometry = Geometry::of(u64::from(PIECES) << 20);
        let piece = vec![0; 1 << 20];
        let digests = (0..PIECES).map(|index| PieceDigests::of(&geometry, index, &piece)).collect();
        Arc::new(Manifest::of_hashed(geometry.size_bytes(), digests))
    }

    /// Sizes of the batches that were sent to the thread.
    fn started(batches: &Receiver<Batch>) -> Vec<usize> {
        batches.try_iter().map(|batch| batch.pieces.len()).collect()
    }

    #[test]
    fn a_batch_starts_when_it_is_full_or_complete_or_has_waited() {
        let manifest = manifest();
        let check = PieceCheck::Native(Arc::clone(&manifest));
        let geometry = manifest.geometry();
        let now = clock::now();
        let late = now + limits::ms(limits::VERIFY_WAIT_MS);
        // Columns: pieces that arrived, whether more are requested, buffers in use elsewhere, time, sizes of
        // started batches.
        for (arrived, more_may_come, lent, at, expected) in [
            (7, true, 0, now, vec![]),
            (8, true, 0, now, vec![8]),
            (9, true, 0, now, vec![8]),
            (1, false, 0, now, vec![1]),
            (1, true, 0, late, vec![1]),
            (1, true, 19, now, vec![1]),
            (0, false, 0, late, vec![]),
        ] {
            let buffers = Buffers::of(&geometry);
            let (mut verifier, batches) = Verifier::new(geometry, Vec::new());
            let source = Some(SocketAddr::from(([127, 0, 0, 1], 1)));
            for piece in 0..arrived {
                let bytes = buffers.take(1).expect("free");
                verifier.push(Arrival { piece, bytes, source }, now);
            }
            let _elsewhere: Vec<_> = (0..lent).map(|_| buffers.take(1)).collect();
            verifier.start_if_due(&check, &buffers, more_may_come, at);
            assert_eq!(started(&batches), expected, "{arrived} {more_may_come} {lent}");
            // One batch at a time; the remaining pieces are due when the thread is idle again.
            verifier.start_if_due(&check, &buffers, false, at);
            assert!(started(&batches).len() <= usize::from(expected.is_empty()));
        }
    }

    #[test]
    fn leftover_pieces_are_read_back_with_half_of_the_buffers_while_no_piece_arrives() {
        let manifest = manifest();
        let check = PieceCheck::Native(Arc::clone(&manifest));
        let buffers = Buffers::of(&manifest.geometry());
        let (mut verifier, batches) = Verifier::new(manifest.geometry(), (0..PIECES).collect());
        let now = clock::now();
        verifier.start_if_due(&check, &buffers, true, now);
        let first = batches.try_recv().expect("idle");
        assert_eq!(first.pieces.len(), limits::VERIFY_BATCH);
        assert!(first.pieces.iter().all(|arrival| arrival.source.is_none()));
        verifier.batch_is_done();
        // Pieces of the first batch hold buffers while they are written: half of the buffers is not exceeded.
        verifier.start_if_due(&check, &buffers, true, now);
        assert_eq!(started(&batches), [2]);
    }

    #[test]
    fn the_thread_finds_wrong_pieces_among_arrived_and_leftover_ones() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Arc::new(crate::store::RealDisk);
        let share = Arc::new(crate::store::Share::open(dir.path(), disk).expect("a share"));
        let manifest = manifest();
        let check = PieceCheck::Native(Arc::clone(&manifest));
        let key: ContentKey = manifest.key();
        let partial = Partial::open(&share, key).expect("a partial file").partial;
        partial.write_piece(1 << 20, &vec![0; 1 << 20]).expect("written");
        partial.write_piece(2 << 20, &vec![1; 1 << 20]).expect("written");
        let buffers = Buffers::of(&manifest.geometry());
        let (mut verifier, batches) = Verifier::new(manifest.geometry(), vec![1, 2]);
        let now = clock::now();
        verifier.start_if_due(&check, &buffers, false, now);
        verifier.batch_is_done();
        let mut outcomes = Vec::new();
        let source = Some(SocketAddr::from(([127, 0, 0, 1], 1)));
        std::thread::scope(|scope| {
            let (results, checked) = bounded(4);
            let (partial, batches) = (&partial, &batches);
            let geometry = manifest.geometry();
            scope.spawn(move || run(batches, partial, geometry, |checked| results.send(checked).is_ok()));
            outcomes.extend(checked.recv().expect("the first batch"));
            let right = buffers.take(1 << 20).expect("free");
            let mut wrong = buffers.take(1 << 20).expect("free");
            wrong.bytes_mut().fill(7);
            verifier.push(Arrival { piece: 5, bytes: right, source }, now);
            verifier.push(Arrival { piece: 6, bytes: wrong, source }, now);
            verifier.start_if_due(&check, &buffers, false, now);
            outcomes.extend(checked.recv().expect("the second batch"));
            drop(verifier);
        });
        let outcomes: Vec<_> = outcomes.iter().map(|one| (one.arrival.piece, one.outcome.is_ok())).collect();
        assert_eq!(outcomes, [(1, true), (2, false), (5, true), (6, false)]);
        partial.discard().expect("removed");
    }
}
