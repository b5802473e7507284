//! `Stop`: a signal that work shall end, which every kind of wait can watch.
//!
//! A thread that waits on sockets watches the descriptor, a thread that waits on channels watches the
//! receiver, and a thread that computes checks the flag. A child is triggered with its parent, but can also
//! be triggered alone, for instance for a command that is cancelled.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

/// A signal to end, which is triggered at most once. Cheap to clone; all clones are the same stop.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    triggered: AtomicBool,
    /// Readable from the trigger on.
    event: OwnedFd,
    /// Dropped by the trigger, which disconnects `receiver`.
    sender: Mutex<Option<Sender<Infallible>>>,
    receiver: Receiver<Infallible>,
    children: Mutex<Vec<Weak<Inner>>>,
}

impl Stop {
    /// A stop that is not triggered.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> std::io::Result<Stop> {
        let (sender, receiver) = bounded(0);
        Ok(Stop(Arc::new(Inner {
            triggered: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            sender: Mutex::new(Some(sender)),
            receiver,
            children: Mutex::new(Vec::new()),
        })))
    }

    /// A stop that is triggered together with this one, or alone.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn child(&self) -> std::io::Result<Stop> {
        let child = Stop::new()?;
        {
            let mut children = self.0.children.lock();
            children.retain(|known| known.strong_count() > 0);
            children.push(Arc::downgrade(&child.0));
        }
        // The child is in the list before this check. So either the trigger finds the child, or this check
        // finds the trigger.
        if self.is_triggered() {
            child.trigger();
        }
        Ok(child)
    }

    /// Ends every wait that watches this stop, now and later, and triggers the children. A second call
    /// changes nothing.
    pub fn trigger(&self) {
        if self.0.triggered.swap(true, Ordering::SeqCst) {
            return;
        }
        drop(self.0.sender.lock().take());
        // An eventfd at 0 always accepts a 1.
        let written = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
        debug_assert_eq!(written, Ok(8));
        let children = std::mem::take(&mut *self.0.children.lock());
        for child in children.iter().filter_map(Weak::upgrade) {
            Stop(child).trigger();
        }
    }

    /// Returns true if and only if the stop is triggered.
    pub fn is_triggered(&self) -> bool {
        self.0.triggered.load(Ordering::SeqCst)
    }

    /// For `select!`: delivers no item, and is disconnected by the trigger.
    pub fn receiver(&self) -> &Receiver<Infallible> {
        &self.0.receiver
    }

    /// Waits until the stop is triggered, at most until `deadline`. Returns whether it is triggered.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        match self.0.receiver.recv_deadline(deadline) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }
}

/// The error of long work that a [`Stop`] has ended; its kind is `Interrupted`. Calls that a signal
/// interrupts are repeated where it happens, so no other error of such work has this kind.
pub fn interrupted() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::Interrupted, "stopped")
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_trigger_of_a_parent_triggers_its_children_and_that_of_a_child_only_itself() {
        let parent = Stop::new().expect("a descriptor");
        let first = parent.child().expect("a descriptor");
        let second = parent.child().expect("a descriptor");
        first.trigger();
        assert!(first.is_triggered() && !parent.is_triggered() && !second.is_triggered());
        parent.trigger();
        assert!(second.wait_until(crate::rt::clock::now() + Duration::from_secs(5)));
        assert!(parent.child().expect("a descriptor").is_triggered());
    }

    #[test]
    fn a_trigger_ends_a_wait() {
        let stop = Stop::new().expect("a descriptor");
        let waiter = stop.clone();
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(move || waiter.wait_until(crate::rt::clock::now() + Duration::from_secs(30)));
            stop.trigger();
            assert!(waiting.join().expect("no panic"));
        });
    }
}
