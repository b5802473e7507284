//! Whose turn it is: one download of a content at a time, and only so many downloads at once as there are
//! buffers for.

use std::collections::HashMap;
use std::convert::Infallible;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use crate::node::error::CommandError;
use crate::rt::Stop;
use crate::types::{ContentKey, limits};

/// The turns of one node's downloads.
#[derive(Debug)]
pub(crate) struct DownloadSlots {
    /// Contents being downloaded; each receiver disconnects at the end.
    running: Mutex<HashMap<ContentKey, Receiver<Infallible>>>,
    slots: (Sender<()>, Receiver<()>),
}

/// The turn of one download; ends when dropped.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    turns: &'a DownloadSlots,
    content: ContentKey,
    /// Others wait for this to be dropped, after the content has been taken off the list.
    ended: Option<Sender<Infallible>>,
    has_slot: bool,
    /// True if another download of the content had to end first; it may have done the work.
    pub(crate) has_waited: bool,
}

impl Default for DownloadSlots {
    fn default() -> DownloadSlots {
        DownloadSlots { running: Mutex::default(), slots: bounded(limits::DOWNLOADS_AT_ONCE) }
    }
}

impl DownloadSlots {
    /// Waits for the turn of a download of `content`; `waits` is told if it does not come at once.
    pub(crate) fn take(
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
        let mut turn = Slot { turns: self, content, ended: Some(ended), has_slot: false, has_waited };
        if self.slots.0.is_full() {
            waits();
        }
        select! {
            send(self.slots.0, ()) -> _ => turn.has_slot = true,
            recv(cancel.receiver()) -> _ => return Err(CommandError::Cancelled),
        }
        Ok(turn)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.has_slot {
            let _taken_back = self.turns.slots.1.try_recv();
        }
        self.turns.running.lock().remove(&self.content);
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
    fn downloads_of_a_content_take_turns_and_others_go_on() {
        let (turns, stop) = (DownloadSlots::default(), Stop::new().expect("a descriptor"));
        let busy = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let turn = turns.take(content(1), &stop, &mut || {}).expect("its turn comes");
                        assert_eq!(busy.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        busy.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
            let held = turns.take(content(2), &stop, &mut || {}).expect("another content is free");
            assert!(!held.has_waited);
        });
        assert!(turns.running.lock().is_empty());
    }

    #[test]
    fn a_second_download_waits_until_it_is_cancelled() {
        let (turns, stop) = (DownloadSlots::default(), Stop::new().expect("a descriptor"));
        let first = turns.take(content(1), &stop, &mut || {}).expect("free");
        let cancel = stop.child().expect("a descriptor");
        cancel.trigger();
        let mut told = 0;
        let waited = turns.take(content(1), &cancel, &mut || told += 1).map(drop);
        assert_eq!((waited, told), (Err(CommandError::Cancelled), 1));
        drop(first);
        assert!(turns.take(content(1), &stop, &mut || {}).is_ok_and(|turn| !turn.has_waited));
    }

    #[test]
    fn no_more_than_there_are_buffers_for_and_a_waiter_can_be_cancelled() {
        let (turns, stop) = (DownloadSlots::default(), Stop::new().expect("a descriptor"));
        let held: Vec<_> = (0..limits::DOWNLOADS_AT_ONCE)
            .map(|number| turns.take(content(number as u8), &stop, &mut || {}).expect("free"))
            .collect();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| turns.take(content(99), &stop, &mut || {}).map(drop));
            stop.trigger();
            assert_eq!(waiting.join().expect("no panic"), Err(CommandError::Cancelled));
        });
        drop(held);
        let again = Stop::new().expect("a descriptor");
        assert!(
            turns.take(content(99), &again, &mut || {}).is_ok(),
            "a cancelled waiter leaves nothing behind"
        );
    }
}
