//! `Tracker`: the handle of a running tracker. It starts the threads and stops them.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::config::{TrackerConfig, TrackerStartError};
use super::expiry;
use super::service::TrackerService;
use super::shared::Shared;
use super::view::View;
use crate::logic::registry::Limits;
use crate::net::{FrontConfig, front, listen};
use crate::rt::{Ended, Stop, StopReport, Threads, clock, mailbox};
use crate::types::limits;

/// A running tracker.
#[derive(Debug)]
pub struct Tracker {
    shared: Arc<Shared>,
    threads: Threads,
    stop: Stop,
}

impl Tracker {
    /// Binds the listener and starts the threads.
    ///
    /// # Errors
    /// [`TrackerStartError`]; no thread is left then.
    pub fn start(config: &TrackerConfig) -> Result<Tracker, TrackerStartError> {
        let listener = Arc::new(listen(config.listen).map_err(|error| listen_error(config.listen, &error))?);
        let addr = listener.local_addr()?;
        let (replicas, replica_grace) = (config.replicas, config.replica_grace);
        let registry_limits = Limits { replicas, replica_grace, ..Limits::default() };
        let shared = Arc::new(Shared::new(addr, registry_limits, config.events.clone()));
        let (threads, stop) = (Threads::new(), Stop::new()?);
        let tracker = Tracker { shared: Arc::clone(&shared), threads, stop };
        let mut posts = Vec::new();
        for number in 1..=config.fronts.max(1) {
            let (post, mail) = mailbox(limits::POOL_QUEUE_MAX)?;
            posts.push(post);
            let service = TrackerService::new(Arc::clone(&shared));
            let front_config = FrontConfig {
                listener: Some(Arc::clone(&listener)),
                incomplete_max: config.incomplete_max,
                incomplete_per_address_max: config.incomplete_per_address_max,
                deadlines: config.deadlines,
                ..FrontConfig::default()
            };
            let stop = tracker.stop.clone();
            let name = format!("front-{number}");
            tracker.threads.spawn_fallible(&name, move || front::run(service, front_config, mail, stop))?;
        }
        let (every, stop) = (config.sweep, tracker.stop.clone());
        tracker.threads.spawn("expiry", move || expiry::run(&shared, &posts, every, &stop))?;
        Ok(tracker)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// Read access to its state, for pages and commands.
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.shared))
    }

    /// Delivers each thread that ends. A thread that ends before `stop` is a fault.
    pub fn ended(&self) -> &Receiver<Ended> {
        self.threads.ended()
    }

    /// Stops and joins every thread; takes at most 5 s.
    pub fn stop(self) -> StopReport {
        self.end()
    }

    fn end(&self) -> StopReport {
        self.stop.trigger();
        self.threads.join(clock::now() + limits::ms(limits::STOP_DEADLINE_MS))
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        // For a start that failed halfway. After `stop` there is no thread left. Nobody waits for the report.
        self.end();
    }
}

fn listen_error(addr: SocketAddr, error: &std::io::Error) -> TrackerStartError {
    if error.kind() == ErrorKind::AddrInUse {
        let why = "the address is in use: stop what listens there, or give --listen another port".into();
        return TrackerStartError::AddressInUse { addr, why };
    }
    TrackerStartError::Listen { addr, why: error.to_string() }
}
