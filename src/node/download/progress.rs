//! The steps of a download as events.

use crate::logic::progress::DownloadReporter;
use crate::node::report::Progress;
use crate::proto::event::DownloadEvent;
use crate::rt::clock;
use crate::types::FileName;

/// Takes the steps of a download of `name` and gives the event of each to `publish`.
pub(super) fn reported<'a>(
    name: &FileName,
    publish: &'a mut dyn FnMut(DownloadEvent),
) -> impl FnMut(Progress) + use<'a> {
    let mut reporter = DownloadReporter::new(name.clone());
    move |step| publish(event(&mut reporter, step))
}

fn event(reporter: &mut DownloadReporter, step: Progress) -> DownloadEvent {
    let now = clock::now();
    match step {
        Progress::Ranked { key, ranking } => reporter.ranked(key, ranking, now),
        Progress::Chose { key, holders, others } => reporter.chose(key, holders, others),
        Progress::Waiting => reporter.waiting(),
        Progress::Resumed { marked_bytes } => reporter.resumed(marked_bytes, now),
        Progress::Source { endpoint } => reporter.source(endpoint, now),
        Progress::Left { endpoint, why } => reporter.left(endpoint, why, now),
        Progress::Bytes { done_bytes, total_bytes, fetched_bytes } => {
            reporter.bytes(done_bytes, total_bytes, fetched_bytes, now)
        }
        Progress::Retry { round, of, pause } => reporter.retry(round, of, pause),
        Progress::Hashing => reporter.hashing(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::proto::event::Event;
    use crate::types::{ContentId, ContentKey, LatencyOrigin, Millis, Ranked};

    #[test]
    fn each_step_of_a_download_is_an_event_of_its_name() {
        let name = FileName::new("a.bin").expect("a name");
        let key = ContentKey { size_bytes: 7, id: ContentId([0xcd; 32]) };
        let endpoint = SocketAddr::from(([127, 0, 0, 1], 5002));
        let ranked = Ranked {
            endpoint,
            latency: Millis::from_ms(20),
            latency_origin: LatencyOrigin::Table,
            load: 1,
            score: Millis::from_ms(30),
            yours: 0,
        };
        let mut reporter = DownloadReporter::new(name.clone());
        for step in [
            Progress::Ranked { key, ranking: vec![ranked] },
            Progress::Chose { key, holders: 3, others: 1 },
            Progress::Resumed { marked_bytes: 5 },
            Progress::Source { endpoint },
            Progress::Left { endpoint, why: Some("closed".into()) },
            Progress::Retry { round: 1, of: 4, pause: Duration::from_millis(1500) },
            Progress::Waiting,
            Progress::Hashing,
            Progress::Bytes { done_bytes: 7, total_bytes: 7, fetched_bytes: 7 },
        ] {
            let event = event(&mut reporter, step);
            assert_eq!(event.name(), &name);
            Event::from(event).at(0).to_line();
        }
    }
}
