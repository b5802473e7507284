//! What a node has found and downloaded since it started, whoever asked for it, added up for `stats`.
//!
//! Pure: durations and sizes come in. Figures are whole numbers with their unit in the name; what has no
//! sample has no value.

use std::time::Duration;

use crate::proto::event::Event;

/// Finds and downloads that ended well.
#[derive(Debug, Clone, Default)]
pub struct NodeStats {
    find_us: Samples,
    download_bytes: u64,
    download_bytes_per_s: Samples,
}

/// Mean and spread of numbers, in constant memory.
#[derive(Debug, Clone, Default)]
struct Samples {
    count: u64,
    sum: f64,
    sum_of_squares: f64,
    least: u64,
    most: u64,
}

impl NodeStats {
    pub fn record_find(&mut self, took: Duration) {
        self.find_us.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// So many bytes are in place that were not here.
    pub fn record_download(&mut self, bytes: u64, took: Duration) {
        self.download_bytes = self.download_bytes.saturating_add(bytes);
        let per_s = u128::from(bytes) * 1_000_000 / took.as_micros().max(1);
        self.download_bytes_per_s.observe(u64::try_from(per_s).unwrap_or(u64::MAX));
    }

    pub fn events(&self) -> Vec<Event> {
        let mut events = self.find_us.events("finds", "find", "us");
        events.extend(self.download_bytes_per_s.events("downloads", "download", "bytes_per_s"));
        events.push(stat("downloaded_bytes", Some(self.download_bytes)));
        events
    }
}

/// One line of `stats`.
fn stat(name: &str, value: Option<u64>) -> Event {
    Event::Stat { name: name.to_owned(), value }
}

impl Samples {
    fn observe(&mut self, value: u64) {
        (self.least, self.most) = match self.count {
            0 => (value, value),
            _ => (self.least.min(value), self.most.max(value)),
        };
        self.count += 1;
        self.sum += value as f64;
        self.sum_of_squares += (value as f64).powi(2);
    }

    fn events(&self, counted: &str, what: &str, unit: &str) -> Vec<Event> {
        let any = |value: u64| (self.count > 0).then_some(value);
        let count = self.count.max(1) as f64;
        let mean = self.sum / count;
        // Rounding may take it below 0.
        let deviation = (self.sum_of_squares / count - mean.powi(2)).max(0.0).sqrt();
        let mut events = vec![stat(counted, Some(self.count))];
        let figures = [
            ("mean", mean.round() as u64),
            ("stdev", deviation.round() as u64),
            ("min", self.least),
            ("max", self.most),
        ];
        events.extend(figures.map(|(which, value)| stat(&format!("{what}_{which}_{unit}"), any(value))));
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tally: &NodeStats, expected: &[(&str, Option<u64>)]) {
        let events = tally.events();
        for (name, value) in expected {
            assert!(events.contains(&stat(name, *value)), "{name} {value:?}: {events:#?}");
        }
    }

    #[test]
    fn figures_add_up_and_what_has_no_sample_has_no_value() {
        let mut tally = NodeStats::default();
        check(&tally, &[("finds", Some(0)), ("find_mean_us", None), ("downloaded_bytes", Some(0))]);
        for us in [2, 4, 4, 4, 5, 5, 7, 9] {
            tally.record_find(Duration::from_micros(us));
        }
        let finds = [("finds", 8), ("find_mean_us", 5), ("find_stdev_us", 2)];
        check(&tally, &finds.map(|(name, value)| (name, Some(value))));
        check(&tally, &[("find_min_us", Some(2)), ("find_max_us", Some(9))]);
        tally.record_download(1000, Duration::from_millis(500));
        tally.record_download(u64::MAX, Duration::ZERO);
        let rates = [("download_min_bytes_per_s", 2000), ("download_max_bytes_per_s", u64::MAX)];
        check(&tally, &rates.map(|(name, value)| (name, Some(value))));
        check(&tally, &[("downloads", Some(2)), ("downloaded_bytes", Some(u64::MAX))]);
    }
}
