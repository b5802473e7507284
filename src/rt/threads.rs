//! Named threads that somebody waits for.
//!
//! Every long-lived thread is started here. Its end, wanted or not, is reported on a channel, so that the
//! owner can say which one died; `join` leaves none behind.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

/// A thread has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Name of the thread.
    pub name: String,
    /// How it ended.
    pub how: How,
}

/// How a thread has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Its function returned.
    Returned,
    /// The system refused it something.
    Failed(String),
    /// It panicked.
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
    running: Mutex<Running>,
    // Unbounded, but it carries one item per thread of the group.
    ended_sender: Sender<Ended>,
    ended: Receiver<Ended>,
    // The same once more for `join`, which must miss none that somebody else has taken from `ended`. With the
    // number of the thread, as several may have one name.
    last_words_sender: Sender<(u64, Ended)>,
    last_words: Receiver<(u64, Ended)>,
}

/// The threads that were not joined yet, by number.
#[derive(Debug, Default)]
struct Running {
    started: u64,
    threads: BTreeMap<u64, (String, JoinHandle<()>)>,
}

impl Default for Threads {
    fn default() -> Threads {
        let (ended_sender, ended) = unbounded();
        let (last_words_sender, last_words) = unbounded();
        Threads { running: Mutex::default(), ended_sender, ended, last_words_sender, last_words }
    }
}

impl Threads {
    /// No threads yet.
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
        let mut running = self.running.lock();
        let number = running.started;
        let handle = Builder::new().name(name.to_owned()).spawn(move || {
            let how = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => How::Returned,
                Ok(Err(error)) => How::Failed(error.to_string()),
                Err(_) => How::Panicked,
            };
            let word = Ended { name: owned_name, how };
            // The group outlives its threads unless it was dropped without a join; then nobody listens.
            let _nobody_listens = ended.send(word.clone()).is_ok() && last_words.send((number, word)).is_ok();
        })?;
        running.started += 1;
        running.threads.insert(number, (name.to_owned(), handle));
        Ok(())
    }

    /// Delivers each thread of the group that ends.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// Joins the threads that have ended already; their panics are told by [`Threads::ended`] alone.
    pub fn reap(&self) {
        for (number, _) in self.last_words.try_iter() {
            let ended = self.running.lock().threads.remove(&number);
            if let Some((_, handle)) = ended {
                let _panic_was_caught = handle.join();
            }
        }
    }

    /// Waits until all threads have ended, at most until `deadline`.
    pub fn join(&self, deadline: Instant) -> StopReport {
        let mut report = StopReport::default();
        let mut running = std::mem::take(&mut self.running.lock().threads);
        while !running.is_empty() {
            let Ok((number, Ended { name, how })) = self.last_words.recv_deadline(deadline) else { break };
            if how == How::Panicked {
                report.panicked.push(name);
            }
            if let Some((_, handle)) = running.remove(&number) {
                // It has said its last word and is about to return: this does not wait for work. The panic
                // was caught inside.
                let _panic_was_caught = handle.join();
            }
        }
        report.still_running.extend(running.into_values().map(|(name, _)| name));
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
    fn of_two_threads_of_one_name_only_the_one_that_has_ended_is_joined() {
        let threads = Threads::new();
        let stop = Stop::new().expect("a descriptor");
        let waiting = stop.clone();
        threads.spawn("same", move || assert!(waiting.receiver().recv().is_err())).expect("a thread");
        threads.spawn("same", || ()).expect("a thread");
        let (done, report) = crossbeam_channel::bounded(1);
        let joining = std::thread::spawn(move || {
            done.send(threads.join(clock::now() + Duration::from_millis(200))).expect("the test waits");
        });
        let report = report.recv_timeout(Duration::from_secs(5));
        stop.trigger();
        joining.join().expect("no panic");
        let expected = StopReport { panicked: vec![], still_running: vec!["same".into()] };
        assert_eq!(report, Ok(expected), "the deadline holds");
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
