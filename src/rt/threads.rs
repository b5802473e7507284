//! `Threads`: a group of named threads that its owner joins.
//!
//! Every long-lived thread is started here. Its end, expected or not, is reported on a channel, so that the
//! owner of the group can name the thread.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

/// The end of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Name of the thread.
    pub name: String,
    /// How it has ended.
    pub how: How,
}

/// How a thread has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Its work is done.
    Returned,
    /// With an error of the system.
    Failed(String),
    /// With a panic: a bug.
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

/// The threads of a group that did not end as they should. A thread that returned an error is not among them:
/// [`Threads::ended`] reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Threads that panicked.
    pub panicked: Vec<String>,
    /// Threads that were still running at the deadline.
    pub still_running: Vec<String>,
}

impl StopReport {
    /// Returns true if and only if no thread panicked and all ended in time.
    pub fn is_clean(&self) -> bool {
        self.panicked.is_empty() && self.still_running.is_empty()
    }
}

/// A group of threads that live and end together.
#[derive(Debug)]
pub struct Threads {
    running: Mutex<Running>,
    // Unbounded, but it carries only one item for each thread of the group.
    ended_sender: Sender<Ended>,
    ended: Receiver<Ended>,
    // A second channel for `join`, which must see every end even if another receiver took it from `ended`. It
    // carries the number of the thread too, because several threads may have the same name.
    to_join_sender: Sender<(u64, Ended)>,
    to_join: Receiver<(u64, Ended)>,
}

/// The threads that are not joined yet, by number.
#[derive(Debug, Default)]
struct Running {
    started: u64,
    threads: BTreeMap<u64, (String, JoinHandle<()>)>,
}

impl Default for Threads {
    fn default() -> Threads {
        let (ended_sender, ended) = unbounded();
        let (to_join_sender, to_join) = unbounded();
        Threads { running: Mutex::default(), ended_sender, ended, to_join_sender, to_join }
    }
}

impl Threads {
    /// An empty group.
    pub fn new() -> Threads {
        Threads::default()
    }

    /// Starts a thread. The kernel keeps the first 15 bytes of its name.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.spawn_fallible(name, move || {
            work();
            Ok(())
        })
    }

    /// [`Threads::spawn`] for work that may fail; its error is reported together with its end.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn spawn_fallible(
        &self,
        name: &str,
        work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
    ) -> std::io::Result<()> {
        let (ended, to_join) = (self.ended_sender.clone(), self.to_join_sender.clone());
        let owned_name = name.to_owned();
        let mut running = self.running.lock();
        let number = running.started;
        let handle = Builder::new().name(name.to_owned()).spawn(move || {
            let how = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => How::Returned,
                Ok(Err(error)) => How::Failed(error.to_string()),
                Err(_) => How::Panicked,
            };
            let end = Ended { name: owned_name, how };
            // This fails only if the group was dropped without a join.
            ended.send(end.clone()).ok();
            to_join.send((number, end)).ok();
        })?;
        running.started += 1;
        running.threads.insert(number, (name.to_owned(), handle));
        Ok(())
    }

    /// Delivers the end of each thread of the group.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// Joins the threads that have ended already. [`Threads::join`] does not report their panics then, but
    /// [`Threads::ended`] does.
    pub fn reap(&self) {
        for (number, _) in self.to_join.try_iter() {
            let ended = self.running.lock().threads.remove(&number);
            if let Some((_, handle)) = ended {
                // The thread has caught its panic.
                handle.join().ok();
            }
        }
    }

    /// Waits until all threads have ended, at most until `deadline`, and joins those that have.
    pub fn join(&self, deadline: Instant) -> StopReport {
        let mut report = StopReport::default();
        let mut running = std::mem::take(&mut self.running.lock().threads);
        while !running.is_empty() {
            let Ok((number, Ended { name, how })) = self.to_join.recv_deadline(deadline) else { break };
            if how == How::Panicked {
                report.panicked.push(name);
            }
            if let Some((_, handle)) = running.remove(&number) {
                // The thread has sent its end and is about to return: this join does not wait for its work.
                // The thread has caught its panic.
                handle.join().ok();
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
    fn the_end_of_a_thread_is_reported_and_join_waits_for_all_threads() {
        let threads = Threads::new();
        let stop = Stop::new().expect("a descriptor");
        let waiting = stop.clone();
        threads.spawn("waits", move || assert!(waiting.receiver().recv().is_err())).expect("a thread");
        threads.spawn("ends", || ()).expect("a thread");
        let ended =
            threads.ended().recv_timeout(Duration::from_secs(5)).expect("the second thread ends by itself");
        assert_eq!(ended, Ended { name: "ends".into(), how: How::Returned });
        stop.trigger();
        assert!(threads.join(clock::now() + Duration::from_secs(5)).is_clean());
    }

    #[test]
    fn of_two_threads_with_one_name_join_reports_the_running_one_at_its_deadline() {
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
    fn panicked_and_late_threads_are_named() {
        let threads = Threads::new();
        let stop = Stop::new().expect("a descriptor");
        let waiting = stop.clone();
        threads.spawn("dies", || panic!("on purpose, by a test")).expect("a thread");
        threads.ended().recv_timeout(Duration::from_secs(60)).expect("it dies");
        threads.spawn("late", move || assert!(waiting.receiver().recv().is_err())).expect("a thread");
        let report = threads.join(clock::now() + Duration::from_millis(200));
        assert_eq!(report, StopReport { panicked: vec!["dies".into()], still_running: vec!["late".into()] });
        stop.trigger();
    }
}
