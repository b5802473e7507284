//! The worker pool: a few threads for tasks that block or compute long (disk, hashing, big pages).
//!
//! Its queue is bounded. A caller learns at once that the queue is full, so that it can answer `busy`. A task
//! that panics ends its worker. The program sees that a thread has ended, and ends too: a pool with fewer
//! workers could stop working without a sign.

use crossbeam_channel::{Sender, bounded, select};

use super::{Stop, Threads};

type PoolTask = Box<dyn FnOnce() + Send>;

/// A task was not queued: the queue is full, or the pool has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// A pool of worker threads. Cheap to clone; all clones feed the same workers.
#[derive(Debug, Clone)]
pub struct Pool {
    tasks: Sender<PoolTask>,
}

impl Pool {
    /// Starts `workers` threads named `name-1`, `name-2`, … in `threads`. After `stop` each finishes its
    /// current task and ends; tasks that wait are dropped.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn start(
        name: &str,
        workers: usize,
        queue_max: usize,
        threads: &Threads,
        stop: &Stop,
    ) -> std::io::Result<Pool> {
        let (tasks, queue) = bounded::<PoolTask>(queue_max);
        for number in 1..=workers {
            let (queue, stop) = (queue.clone(), stop.clone());
            threads.spawn(&format!("{name}-{number}"), move || {
                while !stop.is_triggered() {
                    select! {
                        recv(stop.receiver()) -> _ => break,
                        recv(queue) -> task => match task {
                            Ok(task) => task(),
                            Err(_) => break,
                        },
                    }
                }
            })?;
        }
        Ok(Pool { tasks })
    }

    /// Queues `task`; never waits.
    ///
    /// # Errors
    /// [`Busy`] if the queue is full or the workers have ended; `task` is dropped.
    pub fn try_run(&self, task: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        self.tasks.try_send(Box::new(task)).map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::clock;
    use std::time::Duration;

    #[test]
    fn a_full_queue_is_reported_and_queued_tasks_run() {
        let (threads, stop) = (Threads::new(), Stop::new().expect("a descriptor"));
        let pool = Pool::start("worker", 1, 1, &threads, &stop).expect("a thread");
        let (started, is_started) = bounded::<()>(1);
        let (release, released) = bounded::<()>(0);
        pool.try_run(move || {
            started.send(()).expect("test waits");
            assert!(released.recv().is_err());
        })
        .expect("room");
        is_started.recv_timeout(Duration::from_secs(5)).expect("the task runs");
        let (done, is_done) = bounded::<()>(1);
        pool.try_run(move || done.send(()).expect("test waits")).expect("one fits the queue");
        assert_eq!(pool.try_run(|| ()), Err(Busy));
        drop(release);
        is_done.recv_timeout(Duration::from_secs(5)).expect("the queued task runs");
        stop.trigger();
        assert!(threads.join(clock::now() + Duration::from_secs(5)).is_clean());
    }
}
