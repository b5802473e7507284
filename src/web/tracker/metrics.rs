//! The tracker's metrics for Prometheus.

use super::context::TrackerSite;
use crate::proto::http::Request;
use crate::tracker::{DURATION_BOUNDS_S, Via};
use crate::web::service::response::Answer;
use crate::web::view::metrics::Families;

impl TrackerSite {
    pub(super) fn metrics(&self, request: &Request) -> Answer {
        let (counts, tally) = (self.view.counts(), self.view.stats());
        let mut families = Families::of_program("tracker", self.view.uptime().as_secs_f64());
        let states = [("live", counts.live), ("suspect", counts.suspect), ("unproved", counts.unproved)];
        let peers = states.map(|(state, peers)| (vec![("state", state.to_owned())], peers as f64));
        families.gauges("nearpeer_peers", "Registered nodes", peers.into());
        families.gauge("nearpeer_files", "Entries in all catalogs", counts.files as f64);
        let requests = counts.replica_requests as f64;
        families.gauge("nearpeer_replica_wishes", "Contents of which copies are wished for", requests);
        families.gauge("nearpeer_replica_tasks", "Copies that nodes are making", counts.replica_tasks as f64);
        families.counter("nearpeer_announces", "Registrations and updates in effect", tally.publications);
        let row = |result: &str, via: Via, number: u64| {
            (vec![("result", result.to_owned()), ("via", via.as_str().to_owned())], number as f64)
        };
        let found = Via::ALL.map(|via| row("found", via, tally.finds.of(via).with_rows));
        let none = Via::ALL.map(|via| row("none", via, tally.finds.of(via).empty));
        let finds = found.into_iter().chain(none).collect();
        families.counters("nearpeer_find_requests", "Finds answered", finds);
        let bounds = DURATION_BOUNDS_S.iter().copied().chain([f64::INFINITY]);
        let buckets = bounds.zip(tally.durations).collect();
        let sum = tally.durations_sum.as_secs_f64();
        families.seconds("nearpeer_find_duration", "Time from a find to its answer", sum, buckets);
        families.answer(request)
    }
}
