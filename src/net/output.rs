//! The output queue of one connection: bytes and ranges of files, in order.
//!
//! Invariant: no byte is sent twice or out of order, and the token bucket grants each byte of a file before
//! it is sent. No function here waits: bytes that the kernel does not take stay queued.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use rustix::net::sockopt::set_tcp_cork;

use super::rate_limit::{Grant, TokenBucket};

/// Replies are joined in one chunk up to this size, so that many small replies are one write.
const JOIN_BYTES: usize = 64 << 10;

/// The output queue of one connection.
#[derive(Debug, Default)]
pub(super) struct Output {
    queue: VecDeque<Chunk>,
    /// Number of bytes in memory.
    held_bytes: usize,
    /// Number of file ranges in the queue.
    files: usize,
    /// The kernel holds back bytes that do not fill a packet (`TCP_CORK`).
    is_corked: bool,
}

#[derive(Debug)]
enum Chunk {
    Bytes {
        bytes: Vec<u8>,
        /// Number of `bytes` that the kernel has taken.
        sent: usize,
    },
    File {
        file: Arc<File>,
        /// The bytes that the kernel has not taken yet.
        range: Range<u64>,
        /// The service's number of this range.
        tag: u64,
    },
}

/// The result of one call of [`Output::send`].
#[derive(Debug, Default)]
pub(super) struct SendReport {
    /// Number of bytes that the kernel took.
    pub(super) bytes: u64,
    /// How many of them are bytes of files.
    pub(super) file_bytes: u64,
    /// Tags of the file ranges that are sent completely.
    pub(super) finished: Vec<u64>,
    /// The rate allows no further byte before this instant.
    pub(super) wait_until: Option<Instant>,
}

impl Output {
    pub(super) fn push_bytes(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.held_bytes += bytes.len();
        match self.queue.back_mut() {
            Some(Chunk::Bytes { bytes: last, .. }) if last.len() + bytes.len() <= JOIN_BYTES => {
                last.extend_from_slice(&bytes);
            }
            _ => self.queue.push_back(Chunk::Bytes { bytes, sent: 0 }),
        }
    }

    pub(super) fn push_file(&mut self, file: Arc<File>, range: Range<u64>, tag: u64) {
        self.files += 1;
        self.queue.push_back(Chunk::File { file, range, tag });
    }

    /// Returns true if and only if a file range is queued, which keeps its file open.
    pub(super) fn has_file(&self) -> bool {
        self.files > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Number of bytes in memory. The bytes of a chunk are released together, when all of them are sent. File
    /// ranges take none.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Sends from the queue as much as the kernel and the rate allow, but at most `file_max` bytes of files.
    /// Bytes from memory do not count in this, so that a file is sent in whole memory pages.
    ///
    /// # Errors
    /// When the connection or a file has failed; [`ErrorKind::UnexpectedEof`] if a file has become shorter
    /// than its range.
    pub(super) fn send(
        &mut self,
        mut socket: &TcpStream,
        file_max: u64,
        rate: Option<&TokenBucket>,
        now: Instant,
    ) -> io::Result<SendReport> {
        // Without the cork the header of a piece would be a packet of its own, and so would the end of each
        // turn.
        self.cork(socket, self.has_file())?;
        let mut sent = SendReport::default();
        // Tokens are taken once per call. A connection that took them twice would take those of the
        // connections whose turn comes later in this round.
        let mut has_tokens = false;
        let mut file_left = file_max;
        while let Some(chunk) = self.queue.front_mut() {
            let (taken, wanted) = match chunk {
                Chunk::Bytes { bytes, sent: sent_bytes } => {
                    let rest = &bytes[*sent_bytes..];
                    let wanted = rest.len();
                    let taken = bytes_of_write(socket.write(rest))?;
                    *sent_bytes += taken;
                    if *sent_bytes == bytes.len() {
                        self.held_bytes -= bytes.len();
                        self.queue.pop_front();
                    }
                    (taken as u64, wanted as u64)
                }
                Chunk::File { range, tag, .. } if range.is_empty() => {
                    sent.finished.push(*tag);
                    self.files -= 1;
                    self.queue.pop_front();
                    continue;
                }
                Chunk::File { file, range, .. } => {
                    let wanted = (range.end - range.start).min(file_left);
                    if wanted == 0 || has_tokens {
                        break;
                    }
                    let granted = match rate.map(|bucket| bucket.take(wanted, now)) {
                        None | Some(Grant::All) => wanted,
                        Some(Grant::Bytes(granted)) => {
                            has_tokens = true;
                            granted
                        }
                        Some(Grant::WaitUntil(then)) => {
                            sent.wait_until = Some(then);
                            break;
                        }
                    };
                    let outcome = send_range(socket, file, &mut range.start, granted);
                    let taken = *outcome.as_ref().unwrap_or(&0);
                    if let Some(bucket) = rate.filter(|_| has_tokens) {
                        bucket.give_back(granted - taken);
                    }
                    outcome?;
                    file_left -= taken;
                    sent.file_bytes += taken;
                    (taken, granted)
                }
            };
            sent.bytes += taken;
            if taken < wanted {
                break;
            }
        }
        if self.queue.is_empty() || sent.wait_until.is_some() {
            self.cork(socket, false)?;
        }
        Ok(sent)
    }

    fn cork(&mut self, socket: &TcpStream, corked: bool) -> io::Result<()> {
        if self.is_corked != corked {
            set_tcp_cork(socket, corked)?;
            self.is_corked = corked;
        }
        Ok(())
    }

    /// The unsent bytes, for a connection that moves to another front.
    ///
    /// # Panics
    /// If a file range is queued. That is a bug: a service moves a connection at its first request for bytes
    /// of a file.
    pub(super) fn into_unsent(self) -> Vec<u8> {
        let mut unsent = Vec::with_capacity(self.held_bytes);
        for chunk in self.queue {
            match chunk {
                Chunk::Bytes { bytes, sent } => unsent.extend_from_slice(&bytes[sent..]),
                Chunk::File { .. } => panic!("a connection with a queued file range cannot be handed over"),
            }
        }
        unsent
    }
}

/// Sends up to `len` bytes of `file` from `offset` on and advances `offset`. Returns how many bytes the
/// kernel took.
fn send_range(socket: &TcpStream, file: &File, offset: &mut u64, len: u64) -> io::Result<u64> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    match rustix::fs::sendfile(socket, file, Some(offset), len) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(taken) => Ok(taken as u64),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// The number of bytes of a write: 0 if the kernel takes none now.
fn bytes_of_write(outcome: io::Result<usize>) -> io::Result<usize> {
    match outcome {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listen::listen;
    use crate::rt::clock;

    #[test]
    fn tokens_for_bytes_that_are_not_sent_are_given_back() {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        socket.set_nonblocking(true).expect("a socket");
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1 << 30).expect("a sparse file");
        let mut output = Output::default();
        output.push_file(Arc::new(file), 0..1 << 30, 1);
        let (rate_bytes_per_s, now) = (10 << 30, clock::now());
        let bucket = TokenBucket::new(Some(rate_bytes_per_s));
        let mut sent_bytes = 0;
        loop {
            let sent = output.send(&socket, 200 << 20, Some(&bucket), now).expect("it works");
            sent_bytes += sent.bytes;
            if sent.bytes == 0 {
                break; // The buffers are full: the listener never reads.
            }
        }
        let Grant::Bytes(left) = bucket.take(u64::MAX, now) else { panic!("all of 1 GiB is gone") };
        assert!(sent_bytes > 0 && (left + sent_bytes).abs_diff(rate_bytes_per_s / 10) < 1000);
    }

    #[test]
    fn the_socket_is_corked_only_while_bytes_of_a_file_can_be_sent() {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        socket.set_nonblocking(true).expect("a socket");
        let is_corked = || rustix::net::sockopt::tcp_cork(&socket).expect("a socket");
        let file = Arc::new(tempfile::tempfile().expect("a file"));
        file.set_len(3000).expect("a sparse file");
        let now = clock::now();
        let mut output = Output::default();
        output.push_bytes(b"reply".to_vec());
        output.send(&socket, 1000, None, now).expect("it works");
        assert!(!is_corked(), "there is no file");
        output.push_bytes(b"header".to_vec());
        output.push_file(Arc::clone(&file), 0..3000, 1);
        for (sent_bytes, corked) in [(1006, true), (1000, true), (1000, false)] {
            let sent = output.send(&socket, 1000, None, now).expect("it works");
            assert_eq!((sent.bytes, is_corked()), (sent_bytes, corked));
        }
        output.push_file(file, 0..3000, 2);
        let bucket = TokenBucket::new(Some(1));
        bucket.take(u64::MAX, now);
        let sent = output.send(&socket, 1000, Some(&bucket), now).expect("it works");
        assert!(sent.wait_until.is_some() && !output.is_empty());
        assert!(!is_corked(), "bytes that were sent before the wait are not held back");
    }
}
