//! The asking end: hands a command to the node that shares a directory, and tells here what that node tells.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{Request, is_ours, socket_in, words};
use crate::cli::args::verbs::Invocation;
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::program::node::path_text;
use crate::cli::run::one_shot::CommandContext;
use crate::proto::event::{Event, Record};
use crate::rt::Stop;
use crate::types::limits;

/// Why there is no further line.
enum NoLine {
    Cancelled,
    /// The node has ended, or does not speak as it should.
    Gone(String),
}

/// Lines of a connection.
struct Lines {
    stream: UnixStream,
    unread: Vec<u8>,
}

/// Has the node that shares `dir` do it.
///
/// # Errors
/// None so far; what goes wrong is told.
pub fn run(desk: &mut CommandContext<'_>, dir: &Path, errand: &Invocation) -> io::Result<Exit> {
    let shown = path_text(dir);
    let Some(words) = words(&errand.command) else {
        return Ok(desk.fail(&format!("node: {shown} is in use by another node"), ErrorCode::LocalIo));
    };
    let stream = match connect(dir, &Request { words }) {
        Ok(stream) => stream,
        Err(error) if is_absence(&error) => {
            let why = format!("node: no running node that takes commands shares {shown}");
            return Ok(desk.fail(&why, ErrorCode::LocalIo));
        }
        Err(error) => {
            let why = format!("node: the node that shares {shown} cannot be asked: {error}");
            return Ok(desk.fail(&why, ErrorCode::LocalIo));
        }
    };
    if !errand.own_flags.is_empty() {
        let flags = errand.own_flags.join(", ");
        desk.notice(&format!("{flags} not used: the node that shares {shown} goes by its own"));
    }
    let mut lines = Lines { stream, unread: Vec::new() };
    loop {
        let record = match lines.next(&desk.cancel) {
            Ok(record) => record,
            Err(NoLine::Cancelled) => {
                // Closing the connection, as this function does when it returns, cancels it there.
                let why = "cancelled: what was fetched stays, and the next `download` of it goes on";
                let late = desk.patience.verdict();
                let code = if late.is_some() { ErrorCode::TimedOut } else { ErrorCode::Interrupted };
                return Ok(desk.fail(&late.unwrap_or_else(|| why.to_owned()), code));
            }
            Err(NoLine::Gone(why)) => {
                return Ok(desk.fail(&format!("node: the node that shares {shown}: {why}"), ErrorCode::Other));
            }
        };
        if let Event::End { exit_code, code } = record.event {
            return Ok(Exit::of_end(exit_code, code));
        }
        if let Err(end) = desk.sink.pass([record]) {
            return Ok(end.exit());
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn connect(dir: &Path, request: &Request) -> io::Result<UnixStream> {
    let (_kept_open, path) = socket_in(dir)?;
    let mut stream = UnixStream::connect(path)?;
    if !is_ours(&stream) {
        // What it tells would be taken for what our own node tells.
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's"));
    }
    let mut line = serde_json::to_string(request).map_err(io::Error::other)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    Ok(stream)
}

impl Lines {
    fn next(&mut self, cancel: &Stop) -> Result<Record, NoLine> {
        let gone = |error: io::Error| NoLine::Gone(error.to_string());
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line);
                let misspoken = |error| NoLine::Gone(format!("its answer is no event: {error}"));
                return Record::from_line(text.trim_end()).map_err(misspoken);
            }
            if self.unread.len() > limits::HANDOFF_LINE_MAX_BYTES {
                return Err(NoLine::Gone("its answer has a line that is too long".to_owned()));
            }
            let stopped = {
                let mut fds = [PollFd::new(&self.stream, PollFlags::IN), PollFd::new(cancel, PollFlags::IN)];
                match poll(&mut fds, None) {
                    Ok(_) => {}
                    // Nothing is known of either.
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(gone(error.into())),
                }
                !fds[1].revents().is_empty()
            };
            if stopped {
                return Err(NoLine::Cancelled);
            }
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(NoLine::Gone("it has ended before it was done".to_owned())),
                Ok(count) => self.unread.extend(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(gone(error)),
            }
        }
    }
}
