//! The worker pool: a few threads for what may block or compute long (disk, hashing, big pages).
//!
//! Its queue is bounded; a full one is said at once, so that the asker can be told `busy`. A panicking job is caught and counted and
//! takes nothing with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Sender, TrySendError, bounded, select};

use super::{Stop, Threads};

type Job = Box<dyn FnOnce() + Send>;

/// The queue is full, or the pool is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// Cheap to clone; all clones feed the same workers.
#[derive(Debug, Clone)]
pub struct Pool {
    jobs: Sender<Job>,
    panics: Arc<AtomicU64>,
}

impl Pool {
    /// Starts `workers` threads named `name-1`, `name-2`, … in `threads`; they end with `stop` after their current job.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        name: &str,
        workers: usize,
        queue_max: usize,
        threads: &Threads,
        stop: &Stop,
    ) -> std::io::Result<Pool> {
        let (jobs, queue) = bounded::<Job>(queue_max);
        let panics = Arc::new(AtomicU64::new(0));
        for number in 1..=workers {
            let (queue, stop, panics) = (queue.clone(), stop.clone(), Arc::clone(&panics));
            threads.spawn(&format!("{name}-{number}"), move || {
                while !stop.is_triggered() {
                    select! {
                        recv(stop.receiver()) -> _ => break,
                        recv(queue) -> job => match job {
                            Ok(job) => if catch_unwind(AssertUnwindSafe(job)).is_err() {
                                panics.fetch_add(1, Ordering::Relaxed);
                            },
                            Err(_) => break,
                        },
                    }
                }
            })?;
        }
        Ok(Pool { jobs, panics })
    }

    /// Queues `job`; never waits.
    ///
    /// # Errors
    /// [`Busy`] if the queue is full or the workers are gone; `job` is dropped.
    pub fn try_run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        self.jobs.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Busy,
        })
    }

    /// Number of jobs that panicked.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::clock;
    use std::time::Duration;

    #[test]
    fn a_full_queue_is_said_and_a_panic_costs_no_worker() {
        let (threads, stop) = (Threads::new(), Stop::new().expect("a descriptor"));
        let pool = Pool::start("worker", 1, 1, &threads, &stop).expect("a thread");
        let (started, is_started) = bounded::<()>(1);
        let (release, released) = bounded::<()>(0);
        pool.try_run(move || {
            started.send(()).expect("test waits");
            assert!(released.recv().is_err());
            panic!("on purpose, by a test");
        })
        .expect("room");
        is_started.recv_timeout(Duration::from_secs(5)).expect("the job runs");
        let (done, is_done) = bounded::<()>(1);
        pool.try_run(move || done.send(()).expect("test waits")).expect("one fits the queue");
        assert_eq!(pool.try_run(|| ()), Err(Busy));
        drop(release);
        is_done.recv_timeout(Duration::from_secs(5)).expect("the worker has survived");
        assert_eq!(pool.panics(), 1);
        stop.trigger();
        assert!(threads.join(clock::now() + Duration::from_secs(5)).is_clean());
    }
}
