//! Measures a `find` by a script: from the start to the exit of the real node process, on loopback.
//!
//! Gate: the benchmark fails if the median is over 100 ms.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};

const GATE: Duration = Duration::from_millis(100);

/// A program that runs until this value is dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // The benchmark needs no output of the program, so it kills it.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Starts a program and returns its listening address.
fn serve(path: &str, args: &[&str]) -> (Service, String) {
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut service = Service(command.spawn().unwrap_or_else(|error| panic!("{path}: {error}")));
    let mut line = String::new();
    BufReader::new(service.0.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
    let addr = line.trim_end().rsplit(' ').next().filter(|addr| addr.contains(':'));
    let addr = addr.unwrap_or_else(|| panic!("{path} does not listen: {line:?}")).to_owned();
    (service, addr)
}

fn node_args<'a>(share: &'a Path, tracker: &'a str) -> Vec<&'a str> {
    let share = share.to_str().expect("UTF-8");
    vec!["127.0.0.1", "0", share, "--tracker", tracker, "--latency-file", "none"]
}

/// Runs one piped `find` that must name `holder`, and returns its duration.
fn find(share: &Path, tracker: &str, holder: &str) -> Duration {
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command
        .args(node_args(share, tracker))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("the node starts");
    child.stdin.take().expect("piped").write_all(b"find a.txt\n").expect("the node reads");
    let output = child.wait_with_output().expect("a child");
    let took = start.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    let row = format!("Found nodes:\n{} ", holder.replace(':', " "));
    assert!(output.status.success() && text.contains(&row), "{}: {text}", output.status);
    took
}

fn piped_find(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    for share in [&from, &to] {
        std::fs::create_dir(share).expect("made");
    }
    std::fs::write(from.join("a.txt"), "a small file\n").expect("written");
    let (_tracker, tracker) = serve(env!("CARGO_BIN_EXE_tracker"), &["--listen", "127.0.0.1:0"]);
    let mut args = node_args(&from, &tracker);
    args.push("--headless");
    let (_holder, holder) = serve(env!("CARGO_BIN_EXE_node"), &args);

    let mut samples = Vec::new();
    let mut group = criterion.benchmark_group("find");
    group.sample_size(20);
    group.bench_function("piped", |bencher| {
        bencher.iter_custom(|times| {
            let taken: Vec<Duration> = (0..times).map(|_| find(&to, &tracker, &holder)).collect();
            samples.extend_from_slice(&taken);
            taken.iter().sum()
        });
    });
    group.finish();
    samples.sort_unstable();
    // No program path: the user filtered for another benchmark.
    if let (Some(median), Some(worst)) = (samples.get(samples.len() / 2), samples.last()) {
        println!("find: median {median:.1?}, worst {worst:.1?} of {}; gate {GATE:?}", samples.len());
        assert!(*median <= GATE, "the median is over the gate");
    }
}

criterion_group!(benches, piped_find);
criterion_main!(benches);
