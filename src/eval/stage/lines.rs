//! The output of a process, collected line by line. A thread that waits for a line sleeps on a condition
//! variable until the line has come.

use std::io::{BufRead, BufReader, Read};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// An output stream of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why an awaited line did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLine {
    /// The process has closed the stream.
    Ended,
    /// The deadline has passed.
    Late,
}

#[derive(Debug, Default)]
struct Collected {
    lines: Vec<String>,
    has_ended: bool,
}

/// The lines of one stream, from the start of the process on. A mark is a number of lines: the line after a
/// mark has the mark as its index.
#[derive(Debug, Default)]
pub(super) struct Lines {
    collected: Mutex<Collected>,
    changed: Condvar,
}

impl Lines {
    /// Collects lines until the stream ends. Bytes that are not UTF-8 become replacement characters, so a
    /// test can see them.
    pub(super) fn collect(&self, stream: impl Read) {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            self.collected.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
            line.clear();
            self.changed.notify_all();
        }
        self.collected.lock().has_ended = true;
        self.changed.notify_all();
    }

    pub(super) fn len(&self) -> usize {
        self.collected.lock().lines.len()
    }

    pub(super) fn since(&self, mark: usize) -> Vec<String> {
        self.collected.lock().lines[mark..].to_vec()
    }

    /// Waits for the first line after `mark` from which `pick` makes a value. Returns the value and the mark
    /// after that line.
    pub(super) fn pick<T>(
        &self,
        mark: usize,
        deadline: Instant,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<(T, usize), NoLine> {
        let mut collected = self.collected.lock();
        let mut next = mark;
        loop {
            while let Some(line) = collected.lines.get(next) {
                next += 1;
                if let Some(value) = pick(line) {
                    return Ok((value, next));
                }
            }
            let is_late =
                !collected.has_ended && self.changed.wait_until(&mut collected, deadline).timed_out();
            // A line may have come when the wait ended: then it is examined before an error is returned.
            if next == collected.lines.len() {
                match (collected.has_ended, is_late) {
                    (true, _) => return Err(NoLine::Ended),
                    (false, true) => return Err(NoLine::Late),
                    (false, false) => {}
                }
            }
        }
    }
}
