//! A large file goes from one node process to another, and both need little memory: peak memory under 64 MiB,
//! equal bytes.
//!
//! `NEARPEER_PROVE_SIZE` sets the size in bytes. `scripts/prove` runs 5 GiB. The file is sparse, so that it
//! is quick to create. The copy is not sparse and needs its full size on the disk of the target directory.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::support::process::{Process, Stream};
use crate::support::world::{NodeSpec, World};
use crate::support::{count, print_figures};

const SIZE_BYTES: usize = 512 << 20;
const PEAK_MAX_BYTES: u64 = 64 << 20;
/// Ranges of the file that are not zero.
const WRITTEN: usize = 24;
/// Bytes per second that the slowest test machine hashes or copies.
const SLOWEST_BYTES_PER_S: u64 = 8 << 20;

/// Waits for the first line that begins with `start`. Returns the rest of it.
fn wait_for(process: &Process, stream: Stream, start: &str, patience: Duration) -> String {
    let (line, _) = process.expect_line(stream, 0, patience, start, |line| line.starts_with(start));
    line[start.len()..].trim().to_owned()
}

/// Creates a sparse file with some random ranges, its last bytes among them.
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

/// True if two files have the same bytes. Reads them side by side.
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
    let size_bytes = count("NEARPEER_PROVE_SIZE", SIZE_BYTES) as u64;
    let seed: u64 = SmallRng::from_os_rng().random();
    print_figures(&format!("memory: seed {seed}"));
    let patience = Duration::from_secs(60 + size_bytes / SLOWEST_BYTES_PER_S);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    for share in [&from, &to] {
        fs::create_dir(share).expect("made");
    }
    make_file(&from.join("large.bin"), size_bytes, seed);

    let world = World::new().tracker();
    let start_node = |share: &Path| world.start(NodeSpec::new().port(0).share(share));
    let ready = |process: &Process| wait_for(process, Stream::Stderr, "ready: ", patience);
    let start = Instant::now();
    let source = start_node(&from);
    assert_eq!(ready(&source.process), "1 files");
    let scanned = start.elapsed();
    let mut downloader = start_node(&to);
    ready(&downloader.process);
    let start = Instant::now();
    downloader.process.send("download large.bin");
    let result = wait_for(&downloader.process, Stream::Stdout, "downloaded large.bin ", patience);
    let downloaded = start.elapsed();
    assert!(result.starts_with(&format!("{size_bytes} bytes ")), "{result}");

    assert!(are_equal(&from.join("large.bin"), &to.join("large.bin")), "seed {seed}: other bytes");
    // Reads the peak as late as possible, so that work after the download counts too.
    let (source_peak, downloader_peak) = (source.process.peak_bytes(), downloader.process.peak_bytes());
    print_figures(&format!(
        "memory: {:.0} MiB: peak source {:.1} MiB, downloader {:.1} MiB; scanned in {:.1} s, downloaded in {:.1} s",
        mib(size_bytes),
        mib(source_peak),
        mib(downloader_peak),
        scanned.as_secs_f64(),
        downloaded.as_secs_f64(),
    ));
    for (who, peak) in [("source", source_peak), ("downloader", downloader_peak)] {
        assert!(peak < PEAK_MAX_BYTES, "{who}: peak {:.1} MiB", mib(peak));
    }
    assert_eq!((downloader.leave(), source.leave()), (0, 0));
}
