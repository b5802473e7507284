//! Counters since the start of a node, for the command `stats`. They cover finds and jobs of all users.
//!
//! They measure nothing: callers give durations and sizes. The values are whole numbers with the unit in
//! their names; a value without a sample is absent.

use std::time::Duration;

use crate::proto::event::Event;

/// Counters of successful finds, and of downloads that fetched a file.
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
    min: u64,
    max: u64,
}

impl NodeStats {
    /// Records a find that took `elapsed`.
    pub fn record_find(&mut self, elapsed: Duration) {
        self.find_us.observe(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    }

    /// Records a download of a file of `bytes` that took `elapsed`.
    pub fn record_download(&mut self, bytes: u64, elapsed: Duration) {
        self.download_bytes = self.download_bytes.saturating_add(bytes);
        let bytes_per_s = u128::from(bytes) * 1_000_000 / elapsed.as_micros().max(1);
        self.download_bytes_per_s.observe(u64::try_from(bytes_per_s).unwrap_or(u64::MAX));
    }

    /// The counters as events, one for each line of `stats`.
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
        (self.min, self.max) = match self.count {
            0 => (value, value),
            _ => (self.min.min(value), self.max.max(value)),
        };
        self.count += 1;
        self.sum += value as f64;
        self.sum_of_squares += (value as f64).powi(2);
    }

    /// The count as `plural`, and values as `singular`, a word for the value, and `unit`.
    fn events(&self, plural: &str, singular: &str, unit: &str) -> Vec<Event> {
        let if_any = |value: u64| (self.count > 0).then_some(value);
        let count = self.count.max(1) as f64;
        let mean = self.sum / count;
        // Rounding errors may make the variance negative.
        let deviation = (self.sum_of_squares / count - mean.powi(2)).max(0.0).sqrt();
        let mut events = vec![stat(plural, Some(self.count))];
        let values = [
            ("mean", mean.round() as u64),
            ("stdev", deviation.round() as u64),
            ("min", self.min),
            ("max", self.max),
        ];
        events.extend(values.map(|(word, value)| stat(&format!("{singular}_{word}_{unit}"), if_any(value))));
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stats: &NodeStats, expected: &[(&str, Option<u64>)]) {
        let events = stats.events();
        for (name, value) in expected {
            assert!(events.contains(&stat(name, *value)), "{name} {value:?}: {events:#?}");
        }
    }

    #[test]
    fn counters_add_up_and_a_value_without_a_sample_is_absent() {
        let mut stats = NodeStats::default();
        check(&stats, &[("finds", Some(0)), ("find_mean_us", None), ("downloaded_bytes", Some(0))]);
        for us in [2, 4, 4, 4, 5, 5, 7, 9] {
            stats.record_find(Duration::from_micros(us));
        }
        let finds = [("finds", 8), ("find_mean_us", 5), ("find_stdev_us", 2)];
        check(&stats, &finds.map(|(name, value)| (name, Some(value))));
        check(&stats, &[("find_min_us", Some(2)), ("find_max_us", Some(9))]);
        stats.record_download(1000, Duration::from_millis(500));
        stats.record_download(u64::MAX, Duration::ZERO);
        let rates = [("download_min_bytes_per_s", 2000), ("download_max_bytes_per_s", u64::MAX)];
        check(&stats, &rates.map(|(name, value)| (name, Some(value))));
        check(&stats, &[("downloads", Some(2)), ("downloaded_bytes", Some(u64::MAX))]);
    }
}
