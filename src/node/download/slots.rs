//! Admission of downloads: one for each content, and at most [`limits::DOWNLOADS_AT_ONCE`] at a time.

use std::collections::HashMap;
use std::convert::Infallible;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use crate::node::error::CommandError;
use crate::rt::Stop;
use crate::types::{ContentKey, limits};

/// The slots for downloads of one node.
#[derive(Debug)]
pub(crate) struct DownloadSlots {
    /// Contents that are being downloaded; each receiver disconnects when the download ends.
    running: Mutex<HashMap<ContentKey, Receiver<Infallible>>>,
    /// Each running download has put one item into this channel; a full channel makes further ones wait.
    taken: (Sender<()>, Receiver<()>),
}

/// Admission of one download. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    slots: &'a DownloadSlots,
    content: ContentKey,
    /// Never sends. Its drop wakes the other downloads of the content.
    running: Option<Sender<Infallible>>,
    /// It has put an item into `taken`.
    is_counted: bool,
    /// True if another download of the content had to end first. It may have placed the content.
    pub(crate) has_waited: bool,
}

impl Default for DownloadSlots {
    fn default() -> DownloadSlots {
        DownloadSlots { running: Mutex::default(), taken: bounded(limits::DOWNLOADS_AT_ONCE) }
    }
}

impl DownloadSlots {
    /// Waits for a slot for a download of `content`. Calls `on_wait` each time before it waits.
    ///
    /// # Errors
    /// [`CommandError::Cancelled`] when `cancel` is triggered.
    pub(crate) fn acquire(
        &self,
        content: ContentKey,
        cancel: &Stop,
        on_wait: &mut dyn FnMut(),
    ) -> Result<Slot<'_>, CommandError> {
        let mut has_waited = false;
        let running = loop {
            let other = {
                let mut running = self.running.lock();
                match running.get(&content) {
                    Some(other) => other.clone(),
                    None => {
                        let (sender, receiver) = bounded(0);
                        running.insert(content, receiver);
                        break sender;
                    }
                }
            };
            has_waited = true;
            on_wait();
            select! {
                // Disconnected: the other download has ended.
                recv(other) -> _ => {}
                recv(cancel.receiver()) -> _ => return Err(CommandError::Cancelled),
            }
        };
        let mut slot = Slot { slots: self, content, running: Some(running), is_counted: false, has_waited };
        if self.taken.0.is_full() {
            on_wait();
        }
        select! {
            send(self.taken.0, ()) -> _ => slot.is_counted = true,
            recv(cancel.receiver()) -> _ => return Err(CommandError::Cancelled),
        }
        Ok(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.is_counted {
            let _own_item = self.slots.taken.1.try_recv();
        }
        // The entry goes first: a download that wakes must not find it again.
        self.slots.running.lock().remove(&self.content);
        drop(self.running.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ContentId;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn content(number: u8) -> ContentKey {
        ContentKey { size_bytes: 1, id: ContentId([number; 32]) }
    }

    #[test]
    fn downloads_of_one_content_run_one_by_one_and_others_beside_them() {
        let (slots, stop) = (DownloadSlots::default(), Stop::new().expect("a descriptor"));
        let busy = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let slot = slots.acquire(content(1), &stop, &mut || {}).expect("its slot comes");
                        assert_eq!(busy.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        busy.fetch_sub(1, Ordering::SeqCst);
                        drop(slot);
                    }
                });
            }
            let slot = slots.acquire(content(2), &stop, &mut || {}).expect("another content is free");
            assert!(!slot.has_waited);
        });
        assert!(slots.running.lock().is_empty());
    }

    #[test]
    fn a_second_download_of_a_content_waits_until_it_is_cancelled() {
        let (slots, stop) = (DownloadSlots::default(), Stop::new().expect("a descriptor"));
        let first = slots.acquire(content(1), &stop, &mut || {}).expect("free");
        let cancel = stop.child().expect("a descriptor");
        cancel.trigger();
        let mut waits = 0;
        let acquired = slots.acquire(content(1), &cancel, &mut || waits += 1).map(drop);
        assert_eq!((acquired, waits), (Err(CommandError::Cancelled), 1));
        drop(first);
        assert!(slots.acquire(content(1), &stop, &mut || {}).is_ok_and(|slot| !slot.has_waited));
    }

    #[test]
    fn no_more_downloads_run_than_allowed_and_a_waiting_one_can_be_cancelled() {
        let (slots, stop) = (DownloadSlots::default(), Stop::new().expect("a descriptor"));
        let held: Vec<_> = (0..limits::DOWNLOADS_AT_ONCE)
            .map(|number| slots.acquire(content(number as u8), &stop, &mut || {}).expect("free"))
            .collect();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| slots.acquire(content(99), &stop, &mut || {}).map(drop));
            stop.trigger();
            assert_eq!(waiting.join().expect("no panic"), Err(CommandError::Cancelled));
        });
        drop(held);
        let again = Stop::new().expect("a descriptor");
        assert!(
            slots.acquire(content(99), &again, &mut || {}).is_ok(),
            "a cancelled waiter leaves nothing behind"
        );
    }
}
