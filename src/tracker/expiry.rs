//! The sweep: lets time pass in the registry, where suspects and missing copies are found, has the fronts
//! call suspects back, and tells what has become of nodes.

use std::sync::Arc;
use std::time::Duration;

use super::service::CallSuspect;
use super::shared::Shared;
use crate::proto::event::Event;
use crate::rt::{Post, Stop, clock};

/// Sweeps at each interval until stopped; call-backs go to the fronts in turn.
pub(super) fn run(shared: &Arc<Shared>, fronts: &[Post<CallSuspect>], every: Duration, stop: &Stop) {
    let mut turn = 0;
    while !stop.wait_until(clock::now() + every) {
        let call_backs = shared.registry.write().due(clock::now());
        shared.registry.write().replicate(clock::now());
        let (gone, changed) = shared.registry.write().take_changes();
        let gone = gone.into_iter().map(Event::gone);
        for event in gone.chain(changed.iter().map(Event::node)) {
            shared.events.publish_event(event);
        }
        for call_back in call_backs {
            // A front that cannot take it has more urgent work; the suspect's turn comes again.
            let _next_time = fronts[turn % fronts.len()].send(CallSuspect(call_back));
            turn = turn.wrapping_add(1);
        }
    }
}
