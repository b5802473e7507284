//! Reads and runs commands from a pipe or a file on standard input, one after another, without a prompt and
//! without control codes.
//!
//! The reader waits for input and for the stop together, so that a signal ends the wait at once.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::lines::{LineCutter, LineError};
use crate::cli::args::prompt::{PromptCommand, WaitArgs};
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::output::stdio::say;
use crate::cli::run::session::{Next, Session};
use crate::cli::signals::Signals;
use crate::rt::Stop;

/// Reads and runs commands until the input ends, `exit` is read, or the process is to leave. At the end of
/// the input it waits for the background downloads. Without a reason to leave, the exit is that of the last
/// command or background download that failed; after an `exit` that leaves downloads behind it is a failure.
pub fn run(session: &mut Session<'_>, signals: &Signals) -> Exit {
    let (stdin, mut lines) = (io::stdin(), LineReader::default());
    let mut last_failure = Exit::Success;
    loop {
        let line = lines.next(&stdin, signals.leaving());
        if let Some(exit) = signals.exit() {
            return exit;
        }
        let next = match line {
            Ok(Some(Ok(line))) => session.run_line(&line, signals.leaving()),
            Ok(Some(Err(error))) => session.refuse(&error.to_string()),
            // A script that ends has no other way to wait for its downloads.
            Ok(None) => match session.run(PromptCommand::Wait(WaitArgs { id: None }), signals.leaving()) {
                Next::Continue(Exit::Success) | Next::Leave => return last_failure,
                Next::Continue(failure) | Next::Unwritable(failure) => {
                    return signals.exit().unwrap_or(failure);
                }
            },
            Err(error) => {
                say(&format!("cannot read commands: {error}"));
                return Exit::Error(ErrorCode::LocalIo);
            }
        };
        if let Some(exit) = signals.exit() {
            return exit;
        }
        match next {
            Next::Continue(Exit::Success) => {}
            Next::Continue(failure) => last_failure = failure,
            Next::Leave => {
                let left_behind = session.unfinished_text().map(|_| Exit::Error(ErrorCode::Interrupted));
                return left_behind.unwrap_or(last_failure);
            }
            Next::Unwritable(exit) => return exit,
        }
    }
}

/// Reads lines from a descriptor.
#[derive(Debug, Default)]
pub struct LineReader {
    cutter: LineCutter,
    has_ended: bool,
}

impl LineReader {
    /// The next line; `None` at the end of input or when `stop` is triggered.
    ///
    /// # Errors
    /// When the descriptor cannot be read.
    pub fn next(&mut self, input: impl AsFd, stop: &Stop) -> io::Result<Option<Result<String, LineError>>> {
        let mut buffer = [0; 8192];
        loop {
            if let Some(line) = self.cutter.next_line() {
                return Ok(Some(line));
            }
            if self.has_ended {
                return Ok(self.cutter.finish());
            }
            let (is_readable, is_stopped) = {
                let mut fds = [PollFd::new(&input, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
            };
            if is_stopped {
                return Ok(None);
            }
            if !is_readable {
                continue;
            }
            match rustix::io::read(&input, &mut buffer) {
                Ok(0) => self.has_ended = true,
                Ok(count) => self.cutter.push(&buffer[..count]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn lines_are_returned_as_they_are_written_and_the_last_needs_no_newline() {
        let (input, output) = rustix::pipe::pipe().expect("a pipe");
        let (stop, mut lines) = (Stop::new().expect("a descriptor"), LineReader::default());
        rustix::io::write(&output, b"list\nfi").expect("room");
        let mut next = || lines.next(&input, &stop).expect("readable");
        assert_eq!(next(), Some(Ok("list".into())));
        rustix::io::write(&output, b"nd a").expect("room");
        drop(output);
        assert_eq!(next(), Some(Ok("find a".into())));
        assert_eq!(next(), None);
        assert_eq!(next(), None);
    }

    #[test]
    fn a_stop_ends_the_wait_for_a_line() {
        let (input, _kept_open) = rustix::pipe::pipe().expect("a pipe");
        let stop = Stop::new().expect("a descriptor");
        let (done, is_done) = crossbeam_channel::bounded(1);
        let waiting = stop.clone();
        let reader = std::thread::spawn(move || {
            let line = LineReader::default().next(&input, &waiting);
            done.send(line.expect("readable")).expect("the test waits");
        });
        stop.trigger();
        assert_eq!(is_done.recv_timeout(Duration::from_secs(5)), Ok(None));
        reader.join().expect("no panic");
    }
}
