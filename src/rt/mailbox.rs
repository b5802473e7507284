//! Mailboxes: bounded channels whose receiving end is also a descriptor, for threads that wait on sockets.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::{Stop, clock};

/// The receiving end. Its descriptor is readable while items may be waiting.
#[derive(Debug)]
pub struct Mailbox<T> {
    receiver: Receiver<T>,
    event: Arc<OwnedFd>,
}

/// A sending end. Cheap to clone.
#[derive(Debug)]
pub struct Post<T> {
    sender: Sender<T>,
    event: Arc<OwnedFd>,
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Post<T> {
        Post { sender: self.sender.clone(), event: Arc::clone(&self.event) }
    }
}

/// Creates a mailbox for at most `capacity` items.
///
/// # Errors
/// When the process has no descriptor left.
pub fn mailbox<T>(capacity: usize) -> std::io::Result<(Post<T>, Mailbox<T>)> {
    let (sender, receiver) = bounded(capacity);
    let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    Ok((Post { sender, event: Arc::clone(&event) }, Mailbox { receiver, event }))
}

impl<T> Post<T> {
    /// Delivers `item` and wakes the owner of the mailbox; never waits.
    ///
    /// # Errors
    /// Gives `item` back when the mailbox is full or its owner is gone.
    pub fn send(&self, item: T) -> Result<(), T> {
        self.sender.try_send(item).map_err(TrySendError::into_inner)?;
        // This fails only if the counter is 2^64 - 2: then the descriptor is readable already.
        rustix::io::write(&self.event, &1u64.to_ne_bytes()).ok();
        Ok(())
    }
}

impl<T> Mailbox<T> {
    /// The next item, if one is waiting. Call it when the descriptor is readable, until it returns `None`.
    pub fn next(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Waits until an item may be waiting, `stop` is triggered, or `deadline` has passed.
    pub fn wait(&self, stop: &Stop, deadline: Option<Instant>) {
        let timeout = deadline.map(clock::timespec_until);
        let mut watched = [PollFd::new(self, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        // After a signal or an error of `poll` the caller looks for items too early, which does no harm.
        poll(&mut watched, timeout.as_ref()).ok();
    }

    /// Makes the descriptor unreadable until the next delivery. Call it before you take the items: after it,
    /// an item that came between would wait without a signal.
    pub fn clear(&self) {
        // This fails if the descriptor is unreadable already.
        rustix::io::read(&self.event, &mut [0u8; 8]).ok();
    }
}

impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
