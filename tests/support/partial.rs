//! Interrupted downloads: the progress that their lines on stderr report, and the files that they leave in a
//! share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nearpeer::store::{Partial, RealDisk, Record, Share};
use nearpeer::types::{FileName, Geometry};
use rustix::process::Signal;

use super::DEADLINE;
use super::content::{key_of, manifest_of};
use super::process::{Process, Stream};
use super::world::{NodeSpec, World, tree};

/// The directory of partial files.
pub const PARTS_DIR: &str = ".nearpeer";

/// The percentage that a plain progress line reports for the download of `name`.
pub fn percent(line: &str, name: &str) -> Option<u32> {
    line.strip_prefix(name)?.strip_prefix(' ')?.split_once('%')?.0.parse().ok()
}

/// The highest percentage that a process has reported for `name`, 0 if it has reported none.
pub fn percent_said(process: &Process, name: &str) -> u32 {
    let lines = process.since(Stream::Stderr, 0);
    lines.iter().filter_map(|line| percent(line, name)).max().unwrap_or(0)
}

/// MiB of an earlier download of `name` that the lines of a later download report as found.
pub fn found_mib(lines: &[String], name: &str) -> Option<f64> {
    let found = |line: &String| {
        let rest = line.strip_prefix(name)?.strip_prefix(": resuming: ")?;
        rest.split_once(" MiB were left by an earlier download")?.0.parse().ok()
    };
    lines.iter().find_map(found)
}

/// Names in the directory of partial files.
pub fn left(share: &Path) -> Vec<String> {
    let parts = share.join(PARTS_DIR);
    if parts.is_dir() { tree(&parts) } else { Vec::new() }
}

/// The only file in the directory of partial files that ends in `extension`.
///
/// # Panics
/// If there is no such file, or several.
pub fn left_file(share: &Path, extension: &str) -> PathBuf {
    let mut found = left(share);
    found.retain(|name| name.ends_with(extension));
    assert_eq!(found.len(), 1, "files that end in {extension}: {:?}", left(share));
    share.join(PARTS_DIR).join(&found[0])
}

/// Leaves in `share` a partial file of `bytes` under `name` that has these pieces. No node resumes it without
/// a command.
pub fn plant(share: &Path, name: &str, bytes: &[u8], pieces: impl Iterator<Item = u32>) {
    let share = Arc::new(Share::open(share, Arc::new(RealDisk)).expect("a share"));
    let key = key_of(bytes);
    let partial = Partial::open(&share, key).expect("a new partial file").partial;
    for range in pieces.filter_map(|piece| Geometry::of(key.size_bytes).range(piece)) {
        partial.write_piece(range.start, &bytes[range.start as usize..range.end as usize]).expect("written");
    }
    let record = Record {
        name: FileName::new(name).expect("an ordinary name"),
        key,
        checksum: None,
        verify_whole: false,
        force: false,
        manifest: Arc::new(manifest_of(bytes)),
    };
    partial.write_record(&record).expect("written");
    partial.quarantine();
}

/// Downloads `name` into `share` by a node at a pipe, and ends that node by `signal` when it reports at least
/// `at_percent` %. The sources should be throttled: a download that ends before the signal is started again.
pub fn interrupt(world: &World, share: &Path, name: &str, at_percent: u32, signal: Signal) {
    for _ in 0..10 {
        let (mut process, _) = world.launch(&NodeSpec::new().port(0).share(share));
        process.send(&format!("download {name}"));
        process.expect_line(Stream::Stderr, 0, DEADLINE, "so much progress", |line| {
            percent(line, name).is_some_and(|said| said >= at_percent)
        });
        process.signal(signal);
        let code = process.wait(DEADLINE);
        assert_eq!(code, 128 + signal.as_raw(), "ended by the signal: {}", process.transcript());
        match std::fs::remove_file(share.join(name)) {
            Ok(()) => {}
            Err(_) => return,
        }
    }
    panic!("the download of `{name}` is done before each signal");
}
