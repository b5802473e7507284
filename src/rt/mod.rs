//! Running: the clock, stops, threads, mailboxes, the worker pool, broadcasts.
//!
//! This folder does not know files, peers or decisions. Only code here reads a clock or starts a thread.

pub mod broadcast;
pub mod clock;
mod event_broadcast;
pub mod mailbox;
pub mod pool;
pub mod stop;
pub mod threads;

pub use broadcast::{Batch, Broadcast, Subscriber};
pub use event_broadcast::{EventBroadcast, EventSubscriber};
pub use mailbox::{Mailbox, Post, mailbox};
pub use pool::{Busy, Pool};
pub use stop::Stop;
pub use threads::{Ended, How, StopReport, Threads};
