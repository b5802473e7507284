//! The log: the events of a program, appended to a file as lines of JSON.
//!
//! The log has no events for the bytes of downloads. While the program runs, no other nearpeer program can
//! use the file (`flock`). The log begins a new file when the file has its maximum size, which is then
//! renamed to `FILE.1`, and when another program has moved the file. Invariant: between two writes the file
//! has whole lines only. Events that cannot be written, as on a full disk, are counted; the next write that
//! succeeds begins with their number.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use thiserror::Error;

use super::stdio::say;
use crate::cli::args::log::LogArgs;
use crate::proto::event::{DownloadEvent, Event, Record};
use crate::rt::{EventBroadcast, EventSubscriber, Threads, clock};
use crate::types::{Printable, limits, path_text};

/// Why the log cannot be opened, or its thread cannot start. The system or its user is the cause.
#[derive(Debug, Error)]
#[error("cannot write the log {path}: {why}")]
pub struct LogError {
    path: String,
    why: String,
}

/// An open log.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    /// Maximum size of the file.
    max_bytes: u64,
    /// Events that could not be written.
    missed: u64,
}

/// Starts the log that `args` configure, of the events of `feed` from now on. Without `--log` there is none.
///
/// # Errors
/// [`LogError`].
pub(crate) fn start(args: &LogArgs, feed: &EventBroadcast, threads: &Threads) -> Result<(), LogError> {
    let Some(path) = &args.log else { return Ok(()) };
    let log_error = |error: io::Error| LogError { path: path_text(path), why: error.to_string() };
    let mut log = Log::open(path, args.log_max.max(limits::LOG_MIN_BYTES)).map_err(log_error)?;
    let subscriber = feed.subscribe();
    threads.spawn("log", move || log.run(subscriber)).map_err(log_error)
}

impl Log {
    fn open(path: &Path, max_bytes: u64) -> io::Result<Log> {
        let file = open_and_lock(path)?;
        file.set_len(end_of_lines(&file)?)?;
        Ok(Log { path: path.to_owned(), file, max_bytes, missed: 0 })
    }

    fn run(&mut self, subscriber: EventSubscriber) {
        for batch in subscriber {
            self.missed += batch.missed;
            let is_logged =
                |record: &Record| !matches!(record.event, Event::Download(DownloadEvent::Bytes { .. }));
            let lines = batch.items.iter().filter(|(_, record)| is_logged(record));
            self.write_or_count(&lines.map(|(_, record)| record.to_line()).collect::<Vec<_>>());
        }
    }

    /// Writes `lines`, or counts them as missed.
    fn write_or_count(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        match self.write(lines) {
            Ok(()) => self.missed = 0,
            Err(error) => {
                if self.missed == 0 {
                    let path = self.path.to_string_lossy();
                    say(&format!("warning: the log {} cannot be written: {error}", Printable(&path)));
                }
                self.missed += lines.len() as u64;
            }
        }
    }

    fn write(&mut self, lines: &[String]) -> io::Result<()> {
        let missed =
            (self.missed > 0).then(|| Event::Missed { count: self.missed }.at(clock::wall_ns()).to_line());
        let mut block = String::new();
        for line in missed.iter().chain(lines) {
            block.push_str(line);
            block.push('\n');
        }
        self.rotate_if_due(block.len() as u64)?;
        // The length is looked up each time, because other programs may truncate the file.
        let before_bytes = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(block.as_bytes()) {
            // The disk may have taken a part of the block, which may end within a line.
            self.file.set_len(end_of_lines(&self.file)?.min(before_bytes))?;
            return Err(error);
        }
        Ok(())
    }

    fn rotate_if_due(&mut self, more_bytes: u64) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let is_in_place = fs::metadata(&self.path)
            .is_ok_and(|at_path| (at_path.dev(), at_path.ino()) == (ours.dev(), ours.ino()));
        let is_full = ours.len() > 0 && ours.len() + more_bytes > self.max_bytes;
        if is_in_place && is_full {
            let mut previous = OsString::from(&self.path);
            previous.push(".1");
            fs::rename(&self.path, previous)?;
        }
        if !is_in_place || is_full {
            *self = Log { missed: self.missed, ..Log::open(&self.path, self.max_bytes)? };
        }
        Ok(())
    }
}

/// Opens a log and locks it for this process.
fn open_and_lock(path: &Path) -> io::Result<File> {
    // The open of a pipe would wait for its reader.
    let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    let file =
        options.read(true).append(true).create(true).mode(0o640).custom_flags(without_waiting).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another program writes it: give each program its own log",
        )
    })?;
    Ok(file)
}

/// The offset after the last whole line. A killed program may have left part of a line there.
fn end_of_lines(mut file: &File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let bytes = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(bytes)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::progress::DownloadReporter;
    use tempfile::TempDir;

    /// The events in a file, which has whole lines only.
    fn logged(path: &Path) -> Vec<Event> {
        let text = fs::read_to_string(path).expect("a log");
        assert!(text.is_empty() || text.ends_with('\n'), "{text}");
        text.lines().map(|line| Record::from_line(line).expect("an event").event).collect()
    }

    fn line(text: &str) -> String {
        Event::info(text).at(0).to_line()
    }

    #[test]
    fn events_except_bytes_are_appended_until_the_feed_is_closed() {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("log");
        fs::write(&path, format!("{}\n{{\"event\":\"no", line("before"))).expect("written");
        let (feed, threads) = (EventBroadcast::default(), Threads::new());
        let args = LogArgs { log: Some(path.clone()), log_max: 1 << 20 };
        start(&args, &feed, &threads).expect("it starts");
        let busy = start(&args, &feed, &threads).expect_err("it is in use").to_string();
        assert!(busy.contains("another program writes it"), "{busy}");
        let name = crate::types::FileName::new("a").expect("a name");
        feed.publish_event(DownloadReporter::new(name).bytes(1, 2, 1, clock::now()).into());
        feed.publish_event(Event::warning("after"));
        feed.close();
        assert!(threads.join(clock::now() + limits::ms(limits::STOP_DEADLINE_MS)).is_clean());
        assert_eq!(logged(&path), [Event::info("before"), Event::warning("after")]);
    }

    #[test]
    fn a_new_file_follows_a_full_or_moved_log() {
        let dir = TempDir::new().expect("a directory");
        let [path, former, moved] = ["log", "log.1", "moved"].map(|name| dir.path().join(name));
        let mut log = Log::open(&path, 3 * line("1").len() as u64).expect("opened");
        ["1", "2", "3"].iter().for_each(|text| log.write_or_count(&[line(text)]));
        assert_eq!(logged(&former), [Event::info("1"), Event::info("2")]);
        assert_eq!(logged(&path), [Event::info("3")]);
        fs::rename(&path, &moved).expect("moved");
        log.write_or_count(&[line("4")]);
        assert_eq!((logged(&moved), logged(&path)), (vec![Event::info("3")], vec![Event::info("4")]));
    }

    #[test]
    fn events_that_cannot_be_written_are_counted_in_the_log() {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("log");
        let mut log = Log::open(&path, 1 << 20).expect("opened");
        log.write_or_count(&[line("1")]);
        let file = std::mem::replace(&mut log.file, File::open(&path).expect("read only"));
        log.write_or_count(&[line("2"), line("3")]);
        log.write_or_count(&[line("4")]);
        log.file = file;
        log.write_or_count(&[line("5")]);
        assert_eq!(logged(&path), [Event::info("1"), Event::Missed { count: 3 }, Event::info("5")]);
    }

    #[test]
    fn only_a_regular_file_can_be_a_log() {
        let dir = TempDir::new().expect("a directory");
        for path in [dir.path(), Path::new("/dev/null"), &dir.path().join("no/log")] {
            assert!(Log::open(path, 1 << 20).is_err(), "{}", path.display());
        }
    }
}
