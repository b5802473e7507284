//! Named threads that somebody waits for.
//!
//! Every long-lived thread is started here. Its end, wanted or not, is reported on a channel, so that the owner can say which one died;
//! `join` leaves none behind.

use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

/// A thread has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub name: String,
    pub how: How,
}

/// How a thread has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    Returned,
    /// The system refused it something.
    Failed(String),
    Panicked,
}

impl Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.how {
            How::Returned => write!(f, "thread `{name}` ended"),
            How::Failed(why) => write!(f, "thread `{name}` failed: {why}"),
            How::Panicked => write!(f, "thread `{name}` panicked"),
        }
    }
}

/// What a stop found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Threads that had panicked.
    pub panicked: Vec<String>,
    /// Threads that had not ended by the deadline.
    pub still_running: Vec<String>,
}

impl StopReport {
    /// Returns true if and only if every thread ended in order and in time.
    pub fn is_clean(&self) -> bool {
        self.panicked.is_empty() && self.still_running.is_empty()
    }
}

/// A group of threads that live and end together.
#[derive(Debug)]
pub struct Threads {
    running: Mutex<Vec<(String, JoinHandle<()>)>>,
    // Unbounded, but it carries one item per thread of the group.
    ended_sender: Sender<Ended>,
    ended: Receiver<Ended>,
    // The same once more for `join`, which must miss none that somebody else has taken from `ended`.
    last_words_sender: Sender<Ended>,
    last_words: Receiver<Ended>,
}

impl Default for Threads {
    fn default() -> Threads {
        let (ended_sender, ended) = unbounded();
        let (last_words_sender, last_words) = unbounded();
        Threads { running: Mutex::new(Vec::new()), ended_sender, ended, last_words_sender, last_words }
    }
}

impl Threads {
    pub fn new() -> Threads {
        Threads::default()
    }

    /// Starts a thread. Names longer than 15 bytes are cut by the system where it shows them.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.spawn_fallible(name, move || {
            work();
            Ok(())
        })
    }

    /// [`Threads::spawn`] for work that may end with an error, which is then told along with its end.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn_fallible(
        &self,
        name: &str,
        work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
    ) -> std::io::Result<()> {
        let (ended, last_words) = (self.ended_sender.clone(), self.last_words_sender.clone());
        let owned_name = name.to_owned();
        let handle = Builder::new().name(name.to_owned()).spawn(move || {
            let how = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => How::Returned,
                Ok(Err(error)) => How::Failed(error.to_string()),
                Err(_) => How::Panicked,
            };
            let word = Ended { name: owned_name, how };
            // The group outlives its threads unless it was dropped without a join; then nobody listens.
            let _nobody_listens = ended.send(word.clone()).and(last_words.send(word));
        })?;
        self.running.lock().push((name.to_owned(), handle));
        Ok(())
    }

    /// Delivers each thread of the group that ends.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// Waits until all threads have ended, at most until `deadline`.
    pub fn join(&self, deadline: Instant) -> StopReport {
        let mut report = StopReport::default();
        let mut running = std::mem::take(&mut *self.running.lock());
        while !running.is_empty() {
            let Ok(Ended { name, how }) = self.last_words.recv_deadline(deadline) else { break };
            if how == How::Panicked {
                report.panicked.push(name.clone());
            }
            if let Some(index) = running.iter().position(|(known, _)| *known == name) {
                // It has said its last word and is about to return: this does not wait for work. The panic was caught inside.
                let _panic_was_caught = running.swap_remove(index).1.join();
            }
        }
        report.still_running.extend(running.into_iter().map(|(name, _)| name));
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::{Stop, clock};
    use std::time::Duration;

    #[test]
    fn the_end_of_each_thread_is_reported_and_none_is_left() {
        let threads = Threads::new();
        let stop = Stop::new().expect("a descriptor");
        let waiting = stop.clone();
        threads.spawn("waits", move || assert!(waiting.receiver().recv().is_err())).expect("a thread");
        threads.spawn("ends", || ()).expect("a thread");
        let ended = threads.ended().recv_timeout(Duration::from_secs(5)).expect("one ends by itself");
        assert_eq!(ended, Ended { name: "ends".into(), how: How::Returned });
        stop.trigger();
        assert!(threads.join(clock::now() + Duration::from_secs(5)).is_clean());
    }

    #[test]
    fn a_panic_is_named_and_a_late_thread_too() {
        let threads = Threads::new();
        let stop = Stop::new().expect("a descriptor");
        let waiting = stop.clone();
        threads.spawn("dies", || panic!("on purpose, by a test")).expect("a thread");
        threads.spawn("late", move || assert!(waiting.receiver().recv().is_err())).expect("a thread");
        let report = threads.join(clock::now() + Duration::from_millis(200));
        assert_eq!(report, StopReport { panicked: vec!["dies".into()], still_running: vec!["late".into()] });
        stop.trigger();
    }
}
