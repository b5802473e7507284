//! Admission of downloads: one per content, at most [`limits::DOWNLOADS_AT_ONCE`] altogether.

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
    slots: (Sender<()>, Receiver<()>),
}

/// The slot of one download; released when dropped.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    slots: &'a DownloadSlots,
    content: ContentKey,
    /// Other downloads of the content wait for this to be dropped, after the content was removed from
    /// `running`.
    ended: Option<Sender<Infallible>>,
    has_slot: bool,
    /// True if another download of the content had to end first. It may have placed the content.
    pub(crate) has_waited: bool,
}

impl Default for DownloadSlots {
    fn default() -> DownloadSlots {
        DownloadSlots { running: Mutex::default(), slots: bounded(limits::DOWNLOADS_AT_ONCE) }
    }
}

impl DownloadSlots {
    /// Waits for a slot for a download of `content`. Calls `waits` each time before it blocks.
    ///
    /// # Errors
    /// [`CommandError::Cancelled`] when `cancel` is triggered.
    pub(crate) fn acquire(
        &self,
        content: ContentKey,
        cancel: &Stop,
        waits: &mut dyn FnMut(),
    ) -> Result<Slot<'_>, CommandError> {
        let mut has_waited = false;
        let ended = loop {
            let running = {
                let mut running = self.running.lock();
                match running.get(&content) {
                    Some(other) => other.clone(),
                    None => {
                        let (ended, receiver) = bounded(0);
                        running.insert(content, receiver);
                        break ended;
                    }
                }
            };
            has_waited = true;
            waits();
            select! {
                recv(running) -> _ => {}
                recv(cancel.receiver()) -> _ => return Err(CommandError::Cancelled),
            }
        };
        let mut slot = Slot { slots: self, content, ended: Some(ended), has_slot: false, has_waited };
        if self.slots.0.is_full() {
            waits();
        }
        select! {
            send(self.slots.0, ()) -> _ => slot.has_slot = true,
            recv(cancel.receiver()) -> _ => return Err(CommandError::Cancelled),
        }
        Ok(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.has_slot {
            let _taken_back = self.slots.slots.1.try_recv();
        }
        self.slots.running.lock().remove(&self.content);
        drop(self.ended.take());
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
            let held = slots.acquire(content(2), &stop, &mut || {}).expect("another content is free");
            assert!(!held.has_waited);
        });
        assert!(slots.running.lock().is_empty());
    }

    #[test]
    fn a_second_download_of_a_content_waits_until_it_is_cancelled() {
        let (slots, stop) = (DownloadSlots::default(), Stop::new().expect("a descriptor"));
        let first = slots.acquire(content(1), &stop, &mut || {}).expect("free");
        let cancel = stop.child().expect("a descriptor");
        cancel.trigger();
        let mut notices = 0;
        let waited = slots.acquire(content(1), &cancel, &mut || notices += 1).map(drop);
        assert_eq!((waited, notices), (Err(CommandError::Cancelled), 1));
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
