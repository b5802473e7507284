//! The sweep: lets time pass in the registry, which finds suspects and missing copies; has the fronts call
//! suspects back; publishes what has changed about nodes.

use std::sync::Arc;
use std::time::Duration;

use super::service::CallSuspect;
use super::shared::Shared;
use crate::proto::event::Event;
use crate::rt::{Post, Stop, clock};

/// Sweeps at each interval until stopped. Call-backs go to the fronts in rotation.
pub(super) fn run(shared: &Arc<Shared>, fronts: &[Post<CallSuspect>], every: Duration, stop: &Stop) {
    let mut next = 0;
    while !stop.wait_until(clock::now() + every) {
        let call_backs = shared.registry.write().advance(clock::now());
        shared.registry.write().replicate(clock::now());
        let (gone, changed) = shared.registry.write().take_changes();
        let gone = gone.into_iter().map(Event::gone);
        for event in gone.chain(changed.iter().map(Event::node)) {
            shared.events.publish_event(event);
        }
        for call_back in call_backs {
            // A front whose mailbox is full has more urgent work. The suspect is called back at the next
            // interval.
            let _next_time = fronts[next % fronts.len()].send(CallSuspect(call_back));
            next = next.wrapping_add(1);
        }
    }
}
