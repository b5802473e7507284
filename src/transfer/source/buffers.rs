//! The piece buffers of one download: so many and no more, whoever holds them.
//!
//! A buffer goes home when it is dropped, wherever that happens, so that none is lost with a thread that
//! fails. The one that came home last is lent first: it is the likeliest to be in a processor's cache still.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use crate::rt::Stop;
use crate::types::{Geometry, limits};

/// The buffers that are free. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Buffers {
    /// A token for each that is free.
    free: Receiver<()>,
    home: Home,
    all: usize,
}

#[derive(Debug, Clone)]
struct Home {
    /// As many as there are tokens, at least.
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    tokens: Sender<()>,
}

/// One buffer. It keeps its memory at home: it is filled anew, never made anew.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    home: Home,
}

impl Buffers {
    /// This download's part of the process's buffers, or one more than the content has pieces where those are
    /// fewer: a second source can then be tried for the last one. They take memory once they are used.
    pub(crate) fn of(geometry: &Geometry) -> Buffers {
        let part_bytes = limits::PIECE_BUFFERS_MAX_BYTES / limits::DOWNLOADS_AT_ONCE as u64;
        let pieces = geometry.count().map_or(u64::MAX, u64::from);
        let all = (part_bytes / geometry.piece_len_bytes()).min(pieces.saturating_add(1)) as usize;
        let (tokens, free) = bounded(all);
        for _ in 0..all {
            tokens.send(()).expect("as many fit as there are");
        }
        Buffers { free, home: Home { free: Arc::new(Mutex::new(vec![Vec::new(); all])), tokens }, all }
    }

    /// A buffer of `len` bytes, with whatever in it, once one is free; `None` if `stop` is triggered before.
    pub(crate) fn wait(&self, len: usize, stop: &Stop) -> Option<Buffer> {
        select! {
            recv(self.free) -> _ => self.lend(len),
            recv(stop.receiver()) -> _ => None,
        }
    }

    /// A buffer of `len` bytes, with whatever in it, if one is free.
    pub(crate) fn take(&self, len: usize) -> Option<Buffer> {
        self.free.try_recv().ok()?;
        self.lend(len)
    }

    fn lend(&self, len: usize) -> Option<Buffer> {
        let mut bytes = self.home.free.lock().pop()?;
        bytes.resize(len, 0);
        Some(Buffer { bytes, home: self.home.clone() })
    }

    /// How many are free.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// How many there are, free or not.
    pub(crate) fn all(&self) -> usize {
        self.all
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
        self.home.free.lock().push(std::mem::take(&mut self.bytes));
        // There is room for as many as were lent.
        let _is_home = self.home.tokens.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_each_comes_home() {
        let stop = Stop::new().expect("a descriptor");
        for (size_bytes, all) in [(1, 2), (3 << 20, 4), (1 << 30, 20), (5 << 30, 10), (17 << 30, 5)] {
            let buffers = Buffers::of(&Geometry::of(size_bytes));
            assert_eq!((buffers.all(), buffers.free()), (all, all), "size {size_bytes}");
            let lent: Vec<_> = (0..all).map(|_| buffers.wait(10, &stop).expect("free")).collect();
            assert!(buffers.take(10).is_none());
            drop(lent);
            assert_eq!(buffers.free(), all);
        }
        let buffers = Buffers::of(&Geometry::of(1));
        let lent = buffers.take(7).expect("free");
        assert_eq!(lent.bytes().len(), 7);
        let _other = buffers.take(7).expect("free");
        stop.trigger();
        assert!(buffers.wait(1, &stop).is_none());
    }
}
