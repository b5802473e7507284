//! The thread `expiry`. At each interval it tells the registry the time. The registry then finds suspects,
//! forgets expired nodes and looks for missing copies. The thread asks the fronts to call suspects back, and
//! publishes which nodes have come, changed or gone.

use std::sync::Arc;
use std::time::Duration;

use super::service::CallSuspect;
use super::shared::Shared;
use crate::proto::event::Event;
use crate::rt::{Post, Stop, clock};

/// Runs the thread until `stop`. The fronts get the call-backs in rotation.
pub(super) fn run(shared: &Arc<Shared>, fronts: &[Post<CallSuspect>], every: Duration, stop: &Stop) {
    let mut next = 0;
    while !stop.wait_until(clock::now() + every) {
        // The lock is released after each call, so that requests do not wait for all three.
        let call_backs = shared.registry.write().advance(clock::now());
        shared.registry.write().replicate(clock::now());
        let (gone, changed) = shared.registry.write().take_changes();
        let gone = gone.into_iter().map(Event::gone);
        for event in gone.chain(changed.iter().map(Event::node)) {
            shared.events.publish_event(event);
        }
        for call_back in call_backs {
            // A front whose mailbox is full has more urgent work. The registry lists the suspect again after
            // `SUSPECT_CALL_BACK_MS`.
            fronts[next % fronts.len()].send(CallSuspect(call_back)).ok();
            next = next.wrapping_add(1);
        }
    }
}
