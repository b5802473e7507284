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
    /// The last write has failed, and the user knows it.
    is_failing: bool,
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
        if !begins_as_log(&file)? {
            let why = "it is another file, not a log of nearpeer: give a new name";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(Log { path: path.to_owned(), file, max_bytes, missed: 0, is_failing: false })
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
            Ok(()) => (self.missed, self.is_failing) = (0, false),
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
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
        // The end is looked up each time: another program may have truncated the file within a line, and a
        // killed program or a full disk may have left a part of a line.
        let lines_bytes = end_of_lines(&self.file)?;
        if lines_bytes < self.file.metadata()?.len() {
            self.file.set_len(lines_bytes)?;
        }
        if let Err(error) = self.file.write_all(block.as_bytes()) {
            // No line of this block counts as written, so none may stay.
            let lines_bytes = end_of_lines(&self.file)?.min(lines_bytes);
            self.file.set_len(lines_bytes)?;
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
            let (missed, is_failing) = (self.missed, self.is_failing);
            *self = Log { missed, is_failing, ..Log::open(&self.path, self.max_bytes)? };
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

/// Returns true if and only if the file is empty or begins as an event, whole or torn. A user may name a file
/// of another kind by mistake, which must not lose a byte.
fn begins_as_log(mut file: &File) -> io::Result<bool> {
    const BEGIN: &[u8] = b"{\"event\":\"";
    let mut begin = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(BEGIN.len() as u64).read_to_end(&mut begin)?;
    Ok(BEGIN.starts_with(&begin))
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
    fn a_line_that_another_program_cuts_is_removed_before_the_next_one() {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("log");
        let mut log = Log::open(&path, 1 << 20).expect("opened");
        log.write_or_count(&[line("1"), line("2")]);
        let other = OpenOptions::new().write(true).open(&path).expect("opened");
        other.set_len(line("1").len() as u64 + 5).expect("cut");
        log.write_or_count(&[line("3")]);
        assert_eq!(logged(&path), [Event::info("1"), Event::info("3")]);
    }

    #[test]
    fn a_file_that_is_not_a_log_is_refused_and_keeps_its_bytes() {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("photo.jpg");
        for bytes in [&b"\xff\xd8\n\x01"[..], b"no newline", b"{}\n{", b"\n"] {
            fs::write(&path, bytes).expect("written");
            let error = Log::open(&path, 1 << 20).expect_err("refused").to_string();
            assert!(error.contains("not a log"), "{error}");
            assert_eq!(fs::read(&path).expect("readable"), bytes);
        }
        for bytes in [&b""[..], b"{\"ev", line("1").as_bytes()] {
            fs::write(&path, bytes).expect("written");
            Log::open(&path, 1 << 20).expect("a log, whole or torn");
        }
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
