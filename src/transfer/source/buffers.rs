//! The piece buffers of one download. Their number is fixed.
//!
//! A buffer returns to the pool when it is dropped, in any thread, so that a failing thread loses none. The
//! buffer that returned last is lent first: it is most likely still in a processor's cache.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use crate::rt::Stop;
use crate::types::{Geometry, limits};

/// The buffers of one download. Cheap to clone; all clones share one pool.
#[derive(Debug, Clone)]
pub(crate) struct Buffers {
    /// One token for each free buffer. A thread that has taken a token may take a buffer from the pool.
    tokens: Receiver<()>,
    pool: Pool,
    count: usize,
}

#[derive(Debug, Clone)]
struct Pool {
    /// At least as many as there are tokens: a buffer returns before its token does.
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    tokens: Sender<()>,
}

/// One buffer. Its memory returns to the pool and is used again.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Buffers {
    /// Makes the buffers for one download: the buffers of the process, divided by the number of downloads at
    /// once. A small content gets fewer: one for each piece, and one more because the last piece may be
    /// requested from a second source. A buffer takes memory from its first use on.
    pub(crate) fn of(geometry: &Geometry) -> Buffers {
        let budget_bytes = limits::PIECE_BUFFERS_MAX_BYTES / limits::DOWNLOADS_AT_ONCE as u64;
        let pieces = geometry.count().map_or(u64::MAX, u64::from);
        let count = (budget_bytes / geometry.piece_len_bytes()).min(pieces.saturating_add(1)) as usize;
        let (send_token, tokens) = bounded(count);
        for _ in 0..count {
            send_token.send(()).expect("the queue has room for all tokens");
        }
        let free = Arc::new(Mutex::new(vec![Vec::new(); count]));
        Buffers { tokens, pool: Pool { free, tokens: send_token }, count }
    }

    /// Waits for a free buffer and returns it with `len` bytes of undefined content; `None` if `stop` is
    /// triggered before.
    pub(crate) fn wait(&self, len: usize, stop: &Stop) -> Option<Buffer> {
        select! {
            recv(self.tokens) -> _ => self.lend(len),
            recv(stop.receiver()) -> _ => None,
        }
    }

    /// A buffer with `len` bytes of undefined content, if one is free.
    pub(crate) fn take(&self, len: usize) -> Option<Buffer> {
        self.tokens.try_recv().ok()?;
        self.lend(len)
    }

    fn lend(&self, len: usize) -> Option<Buffer> {
        let mut bytes = self.pool.free.lock().pop()?;
        bytes.resize(len, 0);
        Some(Buffer { bytes, pool: self.pool.clone() })
    }

    /// Number of free buffers.
    pub(crate) fn free_count(&self) -> usize {
        self.tokens.len()
    }

    /// Number of all buffers.
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.free.lock().push(std::mem::take(&mut self.bytes));
        // The queue has room for all tokens. It is closed if the download has ended.
        self.pool.tokens.try_send(()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_buffers_is_fixed_and_each_returns_when_it_is_dropped() {
        let stop = Stop::new().expect("a descriptor");
        for (size_bytes, count) in [(1, 2), (3 << 20, 4), (1 << 30, 20), (5 << 30, 10), (17 << 30, 5)] {
            let buffers = Buffers::of(&Geometry::of(size_bytes));
            assert_eq!((buffers.count(), buffers.free_count()), (count, count), "size {size_bytes}");
            let lent: Vec<_> = (0..count).map(|_| buffers.wait(10, &stop).expect("free")).collect();
            assert!(buffers.take(10).is_none());
            drop(lent);
            assert_eq!(buffers.free_count(), count);
        }
        let buffers = Buffers::of(&Geometry::of(1));
        let lent = buffers.take(7).expect("free");
        assert_eq!(lent.bytes().len(), 7);
        let _other = buffers.take(7).expect("free");
        stop.trigger();
        assert!(buffers.wait(1, &stop).is_none());
    }
}
