//! The tracker: knows which node has which file and which nodes are alive. Soft state: a restart loses nothing that nodes do not bring back.

use std::net::SocketAddr;
use std::time::Duration;

use crossbeam_channel::Receiver;
use thiserror::Error;

use crate::rt::{Ended, StopReport};

/// How a tracker runs.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// Port 0: any.
    pub listen: SocketAddr,
    /// Number of front threads.
    pub fronts: usize,
    pub incomplete_max: usize,
    pub incomplete_per_address_max: usize,
    /// How often the sweep looks for missed heartbeats and suspects to call back.
    pub sweep: Duration,
}

/// Why a tracker cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {addr}: {why}")]
    AddressInUse { addr: SocketAddr, why: String },
    #[error("cannot listen on {addr}: {why}")]
    Listen { addr: SocketAddr, why: String },
    #[error("the system gives no more threads or descriptors: {0}")]
    System(#[from] std::io::Error),
}

/// A running tracker.
#[derive(Debug)]
pub struct Tracker {}

#[expect(clippy::todo, unused_variables, reason = "outline that the command line is written against")]
impl Tracker {
    pub fn start(config: TrackerConfig) -> Result<Tracker, StartError> {
        todo!()
    }

    pub fn addr(&self) -> SocketAddr {
        todo!()
    }

    /// Delivers each thread that ends; one that ends before `stop` is a fault.
    pub fn ended(&self) -> &Receiver<Ended> {
        todo!()
    }

    /// Joins every thread; at most 5 s.
    pub fn stop(self) -> StopReport {
        todo!()
    }
}
