//! A large file goes from one node process to another and neither ever holds much of it: peak memory under 64
//! MiB, equal bytes.
//!
//! `NEARPEER_PROVE_SIZE` sets the size in bytes; `scripts/prove` runs 5 GiB. The file is sparse, so that
//! making it costs nothing; the copy is not, and needs its size on the disk of the target directory.

#![allow(clippy::print_stdout, reason = "figures for those who ask with --nocapture")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

const SIZE_BYTES: u64 = 512 << 20;
const PEAK_MAX_BYTES: u64 = 64 << 20;
/// Stretches of the file that are not zero.
const WRITTEN: usize = 24;
/// What the slowest machine that we test on hashes or copies in a second.
const SLOWEST_BYTES_PER_S: u64 = 8 << 20;

/// A program that runs until its standard input ends, or until this is dropped.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    patience: Duration,
}

impl Program {
    fn start(path: &str, args: &[&str], patience: Duration) -> Program {
        let mut command = Command::new(path);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{path}: {error}"));
        let (sender, lines) = unbounded();
        forward(child.stdout.take().expect("piped"), sender.clone());
        forward(child.stderr.take().expect("piped"), sender);
        Program { stdin: child.stdin.take(), child, lines, patience }
    }

    /// What follows `start` on the first line that begins so, on either stream.
    fn wait_for(&self, start: &str) -> String {
        let deadline = Instant::now() + self.patience;
        let mut seen = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_deadline(deadline) else {
                panic!("no `{start}` in {:?} or before its end, but: {seen:#?}", self.patience)
            };
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim().to_owned();
            }
            seen.push(line);
        }
    }

    fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open until the end");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("the program reads");
    }

    /// The most memory it ever had resident, in bytes.
    fn peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it still runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells VmHWM");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kib << 10
    }

    /// Ends its input and waits; its exit code.
    fn finish(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself, and a test that fails has said so already.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn forward(stream: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
}

/// A sparse file with some random stretches, its last bytes among them.
fn make_file(path: &Path, size_bytes: u64, seed: u64) {
    let file = File::create_new(path).expect("made");
    file.set_len(size_bytes).expect("sparse files are possible");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut stretch = vec![0; 300_007];
    for number in 0..WRITTEN {
        random.fill_bytes(&mut stretch);
        let last = size_bytes - stretch.len() as u64;
        let at = if number == 0 { last } else { random.random_range(0..=last) };
        file.write_all_at(&stretch, at).expect("room on the disk");
    }
}

/// Whether two files hold the same bytes; reads them side by side.
fn are_equal(one: &Path, other: &Path) -> bool {
    let open = |path: &Path| BufReader::with_capacity(1 << 20, File::open(path).expect("readable"));
    let (mut one, mut other) = (open(one), open(other));
    loop {
        let (left, right) = (one.fill_buf().expect("readable"), other.fill_buf().expect("readable"));
        let common = left.len().min(right.len());
        if left[..common] != right[..common] {
            return false;
        }
        if common == 0 {
            return left.len() == right.len();
        }
        one.consume(common);
        other.consume(common);
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[test]
fn a_large_file_needs_little_memory_at_both_ends() {
    let size_bytes = match std::env::var("NEARPEER_PROVE_SIZE") {
        Ok(text) => text.parse().expect("NEARPEER_PROVE_SIZE is a number of bytes"),
        Err(_) => SIZE_BYTES,
    };
    let seed: u64 = SmallRng::from_os_rng().random();
    println!("memory: seed {seed}");
    let patience = Duration::from_secs(60 + size_bytes / SLOWEST_BYTES_PER_S);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    for share in [&from, &to] {
        fs::create_dir(share).expect("made");
    }
    make_file(&from.join("large.bin"), size_bytes, seed);

    let tracker = Program::start(env!("CARGO_BIN_EXE_tracker"), &["--listen", "127.0.0.1:0"], patience);
    let tracker_addr = tracker.wait_for("tracker listening on ");
    let start_node = |share: &Path| {
        let share = share.to_str().expect("UTF-8");
        let args = ["127.0.0.1", "0", share, "--tracker", &tracker_addr, "--latency-file", "none"];
        Program::start(env!("CARGO_BIN_EXE_node"), &args, patience)
    };
    let start = Instant::now();
    let source = start_node(&from);
    assert_eq!(source.wait_for("ready: "), "1 files");
    let scanned = start.elapsed();
    let mut downloader = start_node(&to);
    downloader.wait_for("ready: ");
    let start = Instant::now();
    downloader.type_line("download large.bin");
    let told = downloader.wait_for("downloaded large.bin ");
    let downloaded = start.elapsed();
    assert!(told.starts_with(&format!("{size_bytes} bytes ")), "{told}");

    assert!(are_equal(&from.join("large.bin"), &to.join("large.bin")), "seed {seed}: other bytes");
    // Now, as late as can be: what they did after the download counts too.
    let (source_peak, downloader_peak) = (source.peak_bytes(), downloader.peak_bytes());
    println!(
        "memory: {:.0} MiB: peak source {:.1} MiB, downloader {:.1} MiB; scanned in {:.1} s, downloaded in {:.1} s",
        mib(size_bytes),
        mib(source_peak),
        mib(downloader_peak),
        scanned.as_secs_f64(),
        downloaded.as_secs_f64(),
    );
    for (who, peak) in [("source", source_peak), ("downloader", downloader_peak)] {
        assert!(peak < PEAK_MAX_BYTES, "{who}: peak {:.1} MiB", mib(peak));
    }
    assert_eq!(downloader.finish(), Some(0));
    assert_eq!(source.finish(), Some(0));
}
