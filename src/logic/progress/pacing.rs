//! How often the bytes of a download are published: ten times a second or less, and always the last bytes. A
//! file of one piece has no event for its bytes.

use std::time::{Duration, Instant};

use super::reducer::DownloadProgress;
use crate::proto::event::DownloadEvent;
use crate::types::FileName;

/// The least time between two events with bytes.
const BYTES_EVERY: Duration = Duration::from_millis(100);

/// Passes on the events of one download, but withholds events with bytes that come too soon.
#[derive(Debug)]
pub struct BytesPacing {
    every: Duration,
    progress: DownloadProgress,
    passed_at: Option<Instant>,
    /// The file of the last event with bytes, if that event was withheld.
    withheld: Option<FileName>,
}

impl Default for BytesPacing {
    fn default() -> BytesPacing {
        let progress = DownloadProgress::default();
        BytesPacing { every: BYTES_EVERY, progress, passed_at: None, withheld: None }
    }
}

impl BytesPacing {
    /// Withholds no event of a file of several pieces, for readers that limit the rate themselves.
    pub fn unpaced() -> BytesPacing {
        BytesPacing { every: Duration::ZERO, ..BytesPacing::default() }
    }

    /// Takes the next event, which happened at `now`, and returns the events to publish. The bytes that were
    /// withheld last come before the end of the download.
    pub fn pass(&mut self, event: DownloadEvent, now: Instant) -> Vec<DownloadEvent> {
        self.progress.apply(&event, now);
        let DownloadEvent::Bytes { name, done_bytes, total_bytes, .. } = &event else {
            let withheld = if event.is_end() { self.withheld_bytes(now) } else { None };
            return withheld.into_iter().chain([event]).collect();
        };
        let is_long_ago = |at| now.saturating_duration_since(at) >= self.every;
        let is_due = done_bytes == total_bytes || self.passed_at.is_none_or(is_long_ago);
        self.withheld = self.progress.has_several_pieces().then(|| name.clone());
        if !is_due {
            return Vec::new();
        }
        self.withheld_bytes(now).into_iter().collect()
    }

    /// The withheld bytes, with the rate and time left at `now`.
    fn withheld_bytes(&mut self, now: Instant) -> Option<DownloadEvent> {
        let name = self.withheld.take()?;
        self.passed_at = Some(now);
        Some(self.progress.bytes_event(name, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::event::ErrorCode;
    use crate::rt::clock;
    use std::net::SocketAddr;

    const MIB: u64 = 1 << 20;

    fn name() -> FileName {
        FileName::new("a.bin").expect("a name")
    }

    fn event(done_bytes: u64, total_bytes: u64, rate: Option<u64>, eta_ms: Option<u64>) -> DownloadEvent {
        DownloadEvent::Bytes {
            name: name(),
            done_bytes,
            eta_ms,
            fetched_bytes: done_bytes,
            rate_bytes_per_s: rate,
            sources: 1,
            total_bytes,
        }
    }

    fn bytes(done_mib: u64) -> DownloadEvent {
        event(done_mib * MIB, 10 * MIB, None, None)
    }

    /// A download that has its first source at `now`.
    fn begun(now: Instant) -> BytesPacing {
        let mut pacing = BytesPacing::default();
        let source = DownloadEvent::Source {
            name: name(),
            addr: SocketAddr::from(([127, 0, 0, 1], 5002)),
            sources: 1,
        };
        assert_eq!(pacing.pass(source.clone(), now), [source]);
        pacing
    }

    fn failed() -> DownloadEvent {
        DownloadEvent::failed(name(), "cancelled", ErrorCode::Interrupted)
    }

    #[test]
    fn bytes_pass_ten_times_a_second_and_the_last_always() {
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pacing = begun(start);
        let passed: Vec<_> = [(1000, 1), (1050, 2), (1099, 3), (1100, 4), (1110, 5), (1120, 10)]
            .into_iter()
            .flat_map(|(ms, done)| pacing.pass(bytes(done), at(ms)))
            .map(|event| match event {
                DownloadEvent::Bytes { done_bytes, .. } => done_bytes / MIB,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(passed, [1, 4, 10]);
        assert_eq!(pacing.pass(failed(), at(1130)), [failed()], "no bytes are withheld");
    }

    #[test]
    fn withheld_bytes_pass_before_the_end_with_the_rate_of_that_time() {
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pacing = begun(start);
        let expected = |done, rate: u64, eta| event(done * MIB, 10 * MIB, Some(rate * MIB), Some(eta));
        assert_eq!(pacing.pass(bytes(2), at(1000)), [expected(2, 2, 4000)]);
        assert_eq!(pacing.pass(bytes(3), at(1050)), []);
        assert_eq!(pacing.pass(failed(), at(1500)), [expected(3, 2, 3500), failed()]);
    }

    #[test]
    fn a_file_of_one_piece_has_no_event_for_its_bytes() {
        let mut pacing = BytesPacing::default();
        assert_eq!(pacing.pass(event(MIB, MIB, None, None), clock::now()), []);
        assert_eq!(pacing.pass(failed(), clock::now()), [failed()]);
    }
}
