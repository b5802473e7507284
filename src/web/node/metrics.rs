//! The node's metrics for Prometheus.

use super::context::NodeView;
use crate::proto::http::Request;
use crate::rt::clock;
use crate::web::service::response::Answer;
use crate::web::view::metrics::Families;

impl NodeView {
    pub(super) fn metrics(&self, request: &Request) -> Answer {
        let uptime = clock::now().saturating_duration_since(self.started);
        let mut families = Families::of_program("node", uptime.as_secs_f64());
        let uploads = self.node.upload_meter().now();
        families.gauge("nearpeer_files", "Own files", self.shared_files.len() as f64);
        families.gauge(
            "nearpeer_load",
            "Transfers that this node takes part in",
            f64::from(self.shared_files.load()),
        );
        families.gauge("nearpeer_upload_peers", "Peers to which the node uploads", uploads.peers as f64);
        families.bytes_counter("nearpeer_upload", "Bytes of files sent", uploads.sent_bytes);
        if let Some(rate) = self.node.max_upload() {
            let labels = vec![("dir", "up".to_owned())];
            let help = "Limit on all transfers together";
            families.gauges("nearpeer_limit_bytes_per_second", help, vec![(labels, rate as f64)]);
        }
        let jobs = self.node.jobs();
        let states = ["queued", "running", "paused"].map(|state| {
            let number = jobs.iter().filter(|job| job.state.as_str() == state).count();
            (vec![("state", state.to_owned())], number as f64)
        });
        families.gauges("nearpeer_downloads", "Downloads that are not finished", states.into());
        let by_result = self.ended_jobs.by_result();
        let rows = by_result.map(|(result, number)| (vec![("result", result.to_owned())], number as f64));
        families.counters("nearpeer_downloads_completed", "Downloads that have ended", rows.into());
        families.answer(request)
    }
}
