//! Measures a `find` by a script: from the start to the exit of the real node process, on loopback.
//!
//! Gate: the benchmark fails if the median is over 100 ms.

#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use nearpeer::eval::stage::{Process, Stream};

const GATE: Duration = Duration::from_millis(100);
/// The longest wait for a program.
const DEADLINE: Duration = Duration::from_secs(30);

/// Starts a program and returns its listening address.
fn serve(path: &str, args: &[&str]) -> (Process, String) {
    let service = start(path, args);
    let (addr, _) =
        service.wait_for_addr(Instant::now() + DEADLINE).unwrap_or_else(|why| panic!("{path}: {why:?}"));
    (service, addr.to_string())
}

fn start(path: &str, args: &[&str]) -> Process {
    let mut command = Command::new(path);
    command.args(args);
    Process::start(path, command).unwrap_or_else(|error| panic!("{error}"))
}

fn node_args<'a>(share: &'a Path, tracker: &'a str) -> Vec<&'a str> {
    let share = share.to_str().expect("UTF-8");
    vec!["127.0.0.1", "0", share, "--tracker", tracker, "--latency-file", "none"]
}

/// Runs one piped `find` that must name `holder`, and returns its duration.
fn find(share: &Path, tracker: &str, holder: &str) -> Duration {
    let start_time = Instant::now();
    let mut node = start(env!("CARGO_BIN_EXE_node"), &node_args(share, tracker));
    node.send(b"find a.txt\n").expect("the node reads");
    node.close_stdin();
    let status = node.wait(start_time + DEADLINE).expect("the node ends");
    let took = start_time.elapsed();
    let text = node.since(Stream::Stdout, 0).join("\n");
    let row = format!("Found nodes:\n{} ", holder.replace(':', " "));
    assert!(status.success() && text.contains(&row), "{status}: {text}");
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
