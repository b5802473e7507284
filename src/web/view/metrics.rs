//! Metrics for Prometheus: the families of one program, in the format OpenMetrics 1.0 or in the older text
//! format, as the request wants.
//!
//! Names, units and labels follow the conventions of both formats: the unit comes last, counters end in
//! `_total`, and no label has a file name.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::proto::http::Request;
use crate::web::service::response::Answer;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const OLDER_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Clock ticks per second in the CPU times of `/proc`. On Linux the number is constant.
const TICKS_PER_S: f64 = 100.0;

/// The families of one answer. A family is a metric with all its labels.
#[derive(Debug, Default)]
pub(crate) struct Families(Vec<Family>);

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    values: Values,
}

/// Labels with their values. Empty: a value without labels.
type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
enum Values {
    Gauges(Vec<(Labels, f64)>),
    Counters(Vec<(Labels, f64)>),
    /// Each bucket has its upper bound, and the number of values between the bound before and its own.
    Histogram {
        sum: f64,
        buckets: Vec<(f64, u64)>,
    },
}

impl Families {
    /// Starts with the families that every program has. `uptime_s`: seconds since the start.
    pub(crate) fn of_program(program: &'static str, uptime_s: f64) -> Families {
        let mut families = Families::default();
        let version =
            vec![("program", program.to_owned()), ("version", env!("CARGO_PKG_VERSION").to_owned())];
        families.gauges("nearpeer_build_info", "The program, always 1", vec![(version, 1.0)]);
        families.gauge("nearpeer_up", "Whether the program serves", 1.0);
        families.push(
            "nearpeer_uptime",
            "Time since the start",
            Some(Unit::Seconds),
            Values::Gauges(unlabelled(uptime_s)),
        );
        families.add_process();
        families
    }

    pub(crate) fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.push(name, help, None, Values::Gauges(unlabelled(value)));
    }

    pub(crate) fn gauges(&mut self, name: &'static str, help: &'static str, values: Vec<(Labels, f64)>) {
        self.push(name, help, None, Values::Gauges(values));
    }

    /// `name` without `_total`.
    pub(crate) fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, help, None, Values::Counters(unlabelled(value as f64)));
    }

    /// `name` without `_bytes_total`.
    pub(crate) fn bytes_counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, help, Some(Unit::Bytes), Values::Counters(unlabelled(value as f64)));
    }

    pub(crate) fn counters(&mut self, name: &'static str, help: &'static str, values: Vec<(Labels, f64)>) {
        self.push(name, help, None, Values::Counters(values));
    }

    /// A histogram of times. `name` without its unit; for `buckets` see [`Values::Histogram`].
    pub(crate) fn seconds(
        &mut self,
        name: &'static str,
        help: &'static str,
        sum: f64,
        buckets: Vec<(f64, u64)>,
    ) {
        self.push(name, help, Some(Unit::Seconds), Values::Histogram { sum, buckets });
    }

    fn push(&mut self, name: &'static str, help: &'static str, unit: Option<Unit>, values: Values) {
        self.0.push(Family { name, help, unit, values });
    }

    /// Adds the families that the system reports about this process. Unknown values are left out.
    fn add_process(&mut self) {
        let descriptors = std::fs::read_dir("/proc/self/fd").map(|dir| dir.count() as f64);
        if let Ok(open) = descriptors {
            self.gauge("process_open_fds", "Open descriptors", open);
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: Option<f64> = resident.and_then(|text| text.split_whitespace().next()?.parse().ok());
        if let Some(kib) = kib {
            let values = Values::Gauges(unlabelled(kib * 1024.0));
            self.push("process_resident_memory", "Memory in use", Some(Unit::Bytes), values);
        }
        let stat = std::fs::read_to_string("/proc/self/stat").ok();
        // The name of the program stands in parentheses and may contain some, so its end is the last one.
        let fields = stat.as_deref().and_then(|text| text.rsplit_once(')')).map(|(_, rest)| rest);
        let ticks = |text: &str| -> Option<f64> {
            // The times in user mode and in the kernel; see proc_pid_stat(5).
            let mut times = text.split_whitespace().skip(11);
            Some(times.next()?.parse::<f64>().ok()? + times.next()?.parse::<f64>().ok()?)
        };
        if let Some(ticks) = fields.and_then(ticks) {
            let values = Values::Counters(unlabelled(ticks / TICKS_PER_S));
            self.push("process_cpu", "Processor time spent", Some(Unit::Seconds), values);
        }
    }

    /// The answer to a request for metrics.
    pub(crate) fn answer(self, request: &Request) -> Answer {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &registry).ok();
        let accepts_open =
            request.list("accept").any(|format| format.starts_with("application/openmetrics-text"));
        if accepts_open {
            Answer::text(200, OPEN_METRICS, text)
        } else {
            Answer::text(200, OLDER_TEXT, to_older_text(&text))
        }
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, help, unit, values } in &self.0 {
            match values {
                Values::Gauges(rows) => {
                    let encoder = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
                    encode_rows(encoder, rows, |encoder, value| encoder.encode_gauge(&value))?;
                }
                Values::Counters(rows) => {
                    let encoder =
                        encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
                    encode_rows(encoder, rows, |encoder, value| {
                        encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None)
                    })?;
                }
                Values::Histogram { sum, buckets } => {
                    let count = buckets.iter().map(|(_, number)| number).sum();
                    encoder
                        .encode_descriptor(name, help, unit.as_ref(), MetricType::Histogram)?
                        .encode_histogram::<NoLabelSet>(*sum, count, buckets, None)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_rows(
    mut encoder: MetricEncoder<'_>,
    rows: &[(Labels, f64)],
    encode: impl Fn(&mut MetricEncoder<'_>, f64) -> fmt::Result,
) -> fmt::Result {
    for (labels, value) in rows {
        if labels.is_empty() {
            encode(&mut encoder, *value)?
        } else {
            encode(&mut encoder.encode_family(labels)?, *value)?
        }
    }
    Ok(())
}

fn unlabelled(value: f64) -> Vec<(Labels, f64)> {
    vec![(Labels::new(), value)]
}

/// Converts OpenMetrics to the older text format. There the family of a counter has the name of its samples,
/// and there is no unit and no end mark.
fn to_older_text(text: &str) -> String {
    let counter_of = |line| str::strip_prefix(line, "# TYPE ")?.strip_suffix(" counter");
    let counters: Vec<&str> = text.lines().filter_map(counter_of).collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => continue,
            (Some("#"), Some(what), Some(name), Some(rest)) => {
                let total = if counters.contains(&name) { "_total" } else { "" };
                out.push_str(&format!("# {what} {name}{total} {rest}"));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::RequestDecoder;

    fn metrics_text(accept: &str) -> String {
        let mut decoder = RequestDecoder::new();
        decoder.push(format!("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n").as_bytes());
        let request = decoder.next().expect("a request").expect("complete");
        let mut families = Families::of_program("tracker", 1.5);
        families.counter("nearpeer_announces", "Registrations", 7);
        families.counters("nearpeer_finds", "Finds", vec![(vec![("via", "a\"b\n".to_owned())], 2.0)]);
        families.seconds("nearpeer_find_duration", "Time of a find", 0.5, vec![(0.1, 3), (f64::INFINITY, 1)]);
        let body = families.answer(request).body;
        String::from_utf8(body.into_owned()).expect("text")
    }

    #[test]
    fn both_formats_name_families_as_prometheus_expects() {
        let open = metrics_text(OPEN_METRICS);
        for line in [
            "# TYPE nearpeer_announces counter\n",
            "\nnearpeer_announces_total 7",
            "\nnearpeer_finds_total{via=\"a\\\"b\\n\"} 2",
            "\nnearpeer_build_info{program=\"tracker\",version=\"",
            "# UNIT nearpeer_find_duration_seconds seconds\n",
            "\nnearpeer_find_duration_seconds_bucket{le=\"0.1\"} 3\n",
            "\nnearpeer_find_duration_seconds_bucket{le=\"+Inf\"} 4\n",
            "\nprocess_resident_memory_bytes ",
        ] {
            assert!(open.contains(line), "{line} is not in\n{open}");
        }
        assert!(open.ends_with("# EOF\n"));
        let older = metrics_text("text/plain");
        for line in [
            "# TYPE nearpeer_announces_total counter\n",
            "\nnearpeer_announces_total 7",
            "# TYPE nearpeer_find_duration_seconds histogram\n",
            "# TYPE process_cpu_seconds_total counter\n",
        ] {
            assert!(older.contains(line), "{line} is not in\n{older}");
        }
        assert!(!older.contains("# EOF") && !older.contains("# UNIT"));
    }
}
