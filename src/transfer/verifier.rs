//! Verification: a thread of its own checks pieces in batches while others arrive. A piece comes from a
//! source, or an earlier download left it.
//!
//! [`Verifier`] is the driver's side and decides when a batch starts. A full batch is best, because it fills
//! the SIMD lanes of the digest. But a batch must not wait for pieces that cannot come.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::piece_check::PieceCheck;
use super::source::{Buffer, Buffers};
use crate::store::Partial;
use crate::types::{Geometry, PieceError, limits};

/// A piece that is to be verified.
#[derive(Debug)]
pub(super) struct UncheckedPiece {
    pub(super) piece: u32,
    pub(super) bytes: Buffer,
    /// The source that sent the piece; `None`: an earlier download left it. Then the thread reads the bytes
    /// from the partial file.
    pub(super) source: Option<SocketAddr>,
}

/// Pieces, and the digests that they are checked against.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) pieces: Vec<UncheckedPiece>,
    pub(super) check: PieceCheck,
}

/// A piece and the verdict on it.
#[derive(Debug)]
pub(super) struct CheckedPiece {
    pub(super) piece: UncheckedPiece,
    pub(super) verdict: Result<(), PieceError>,
}

/// The pieces that wait for verification.
#[derive(Debug)]
pub(super) struct Verifier {
    batches: Sender<Batch>,
    /// The thread has a batch. It gets one at a time, so that the next one can grow meanwhile.
    is_busy: bool,
    arrived: Vec<UncheckedPiece>,
    /// When the first of the waiting pieces arrived, or the batch before them started.
    waiting_since: Option<Instant>,
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
            waiting_since: None,
            marked: marked.into(),
            geometry,
        };
        (verifier, to_verify)
    }

    pub(super) fn push(&mut self, piece: UncheckedPiece, now: Instant) {
        self.waiting_since.get_or_insert(now);
        self.arrived.push(piece);
    }

    /// The source that sent the first waiting piece; `None` if no piece of a source waits.
    pub(super) fn first_source(&self) -> Option<SocketAddr> {
        self.arrived.first().and_then(|piece| piece.source)
    }

    /// Records that the thread has returned a batch.
    pub(super) fn batch_is_done(&mut self) {
        self.is_busy = false;
    }

    /// Sends the next batch to the thread if the thread is idle and a batch is due. Pieces of an earlier
    /// download are due whenever no arrived ones are. `more_may_come`: requested pieces that have not arrived
    /// could still join the batch.
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
        // Without a free buffer no further piece can arrive.
        let is_due = self.arrived.len() >= limits::VERIFY_BATCH
            || !more_may_come
            || buffers.free_count() == 0
            || self.due_at().is_some_and(|due_at| due_at <= now);
        let pieces = if !self.arrived.is_empty() && is_due {
            let rest = self.arrived.split_off(self.arrived.len().min(limits::VERIFY_BATCH));
            self.waiting_since = (!rest.is_empty()).then_some(now);
            std::mem::replace(&mut self.arrived, rest)
        } else {
            self.next_marked(buffers)
        };
        if !pieces.is_empty() {
            let batch = Batch { pieces, check: check.clone() };
            // If the thread has panicked the channel is closed. The driver learns that from its threads.
            self.is_busy = self.batches.try_send(batch).is_ok();
        }
    }

    /// When the waiting pieces have waited long enough to start as a batch; `None` if no piece waits or the
    /// thread is busy.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let wait = limits::ms(limits::VERIFY_WAIT_MS);
        self.waiting_since.filter(|_| !self.is_busy).map(|at| at + wait)
    }

    /// Drops all waiting pieces, those of an earlier download too, and returns their indices.
    pub(super) fn drop_all(&mut self) -> Vec<u32> {
        self.waiting_since = None;
        let arrived = self.arrived.drain(..).map(|arrived| arrived.piece);
        arrived.chain(self.marked.drain(..)).collect()
    }

    /// The next pieces of an earlier download. They leave half of the buffers to arriving pieces; only the
    /// first piece takes any free buffer, so that a content with few buffers comes to its end.
    fn next_marked(&mut self, buffers: &Buffers) -> Vec<UncheckedPiece> {
        let mut pieces = Vec::new();
        while pieces.len() < limits::VERIFY_BATCH
            && (pieces.is_empty() || buffers.free_count() * 2 > buffers.count())
        {
            let Some(&piece) = self.marked.front() else { break };
            let len = self.geometry.len_bytes(piece).unwrap_or(0) as usize;
            let Some(bytes) = buffers.take(len) else { break };
            self.marked.pop_front();
            pieces.push(UncheckedPiece { piece, bytes, source: None });
        }
        pieces
    }
}

/// The thread: verifies batches until the channel is closed or `deliver` returns false.
pub(super) fn run(
    batches: &Receiver<Batch>,
    partial: &Partial,
    geometry: Geometry,
    mut deliver: impl FnMut(Vec<CheckedPiece>) -> bool,
) {
    for Batch { mut pieces, check } in batches {
        let mut unreadable = Vec::new();
        for UncheckedPiece { piece, bytes, source } in &mut pieces {
            if source.is_none()
                && let Some(range) = geometry.range(*piece)
                && partial.read_piece(range.start, bytes.bytes_mut()).is_err()
            {
                unreadable.push(*piece);
            }
        }
        let views: Vec<_> = pieces.iter().map(|one| (one.piece, one.bytes.bytes())).collect();
        let verdicts = check.verify(&views);
        let checked = pieces.into_iter().zip(verdicts).map(|(piece, verdict)| {
            // Whatever the buffer held before: a piece that cannot be read back is not in the partial file.
            let is_unreadable = unreadable.contains(&piece.piece);
            let verdict = if is_unreadable { Err(PieceError::Bytes(piece.piece)) } else { verdict };
            CheckedPiece { piece, verdict }
        });
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

    /// Takes the batches that were sent to the thread, and returns their sizes.
    fn take_batch_sizes(batches: &Receiver<Batch>) -> Vec<usize> {
        batches.try_iter().map(|batch| batch.pieces.len()).collect()
    }

    #[test]
    fn a_batch_starts_when_it_is_full_or_cannot_grow_or_has_waited() {
        let manifest = manifest();
        let check = PieceCheck::Native(Arc::clone(&manifest));
        let geometry = manifest.geometry();
        let now = clock::now();
        let late = now + limits::ms(limits::VERIFY_WAIT_MS);
        // Columns: number of arrived pieces, whether more are requested, number of other buffers in use,
        // time, sizes of the started batches.
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
                verifier.push(UncheckedPiece { piece, bytes, source }, now);
            }
            let _lent: Vec<_> = (0..lent).map(|_| buffers.take(1)).collect();
            verifier.start_if_due(&check, &buffers, more_may_come, at);
            assert_eq!(take_batch_sizes(&batches), expected, "{arrived} {more_may_come} {lent}");
            // One batch at a time; the remaining pieces are due when the thread is idle again.
            verifier.start_if_due(&check, &buffers, false, at);
            assert!(take_batch_sizes(&batches).len() <= usize::from(expected.is_empty()));
        }
    }

    #[test]
    fn leftover_pieces_are_read_back_with_half_of_the_buffers_while_no_batch_of_arrived_ones_is_due() {
        let manifest = manifest();
        let check = PieceCheck::Native(Arc::clone(&manifest));
        let buffers = Buffers::of(&manifest.geometry());
        let (mut verifier, batches) = Verifier::new(manifest.geometry(), (0..PIECES).collect());
        let now = clock::now();
        verifier.start_if_due(&check, &buffers, true, now);
        let first = batches.try_recv().expect("idle");
        assert_eq!(first.pieces.len(), limits::VERIFY_BATCH);
        assert!(first.pieces.iter().all(|piece| piece.source.is_none()));
        verifier.batch_is_done();
        // Pieces of the first batch hold buffers while they are written: half of the buffers is not exceeded.
        verifier.start_if_due(&check, &buffers, true, now);
        assert_eq!(take_batch_sizes(&batches), [2]);
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
            verifier.push(UncheckedPiece { piece: 5, bytes: right, source }, now);
            verifier.push(UncheckedPiece { piece: 6, bytes: wrong, source }, now);
            verifier.start_if_due(&check, &buffers, false, now);
            outcomes.extend(checked.recv().expect("the second batch"));
            drop(verifier);
        });
        let outcomes: Vec<_> = outcomes.iter().map(|one| (one.piece.piece, one.verdict.is_ok())).collect();
        assert_eq!(outcomes, [(1, true), (2, false), (5, true), (6, false)]);
        partial.discard().expect("removed");
    }

    #[test]
    fn a_leftover_piece_of_zeros_that_cannot_be_read_back_is_wrong() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Arc::new(crate::store::RealDisk);
        let share = Arc::new(crate::store::Share::open(dir.path(), disk).expect("a share"));
        let manifest = manifest();
        // The partial file is shorter than the content, so that the last piece cannot be read.
        let short = ContentKey { size_bytes: 1 << 20, ..manifest.key() };
        let partial = Partial::open(&share, short).expect("a partial file").partial;
        let (mut verifier, batches) = Verifier::new(manifest.geometry(), vec![PIECES - 1]);
        let (check, buffers) = (PieceCheck::Native(Arc::clone(&manifest)), Buffers::of(&manifest.geometry()));
        verifier.start_if_due(&check, &buffers, false, clock::now());
        drop(verifier);
        let mut verdicts = Vec::new();
        run(&batches, &partial, manifest.geometry(), |checked| {
            verdicts.extend(checked.into_iter().map(|one| one.verdict));
            true
        });
        assert_eq!(verdicts, [Err(PieceError::Bytes(PIECES - 1))]);
        partial.discard().expect("removed");
    }
}
