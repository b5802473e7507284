//! The client: sends a command to the node that shares a directory, and prints the events of its answer.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::socket::{is_same_user, socket_in};
use crate::cli::args::command::Command;
use crate::cli::args::one_shot::Invocation;
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::run::context::CommandContext;
use crate::proto::event::{Event, Record};
use crate::rt::Stop;
use crate::types::{limits, path_text};

/// Why there is no further line.
enum NoLine {
    Cancelled,
    /// The node has ended, or its answer is malformed.
    Gone(String),
}

/// Reads the lines of a connection.
struct Lines {
    stream: UnixStream,
    unread: Vec<u8>,
}

/// Has the node that shares `dir` run the command. Failures are printed.
///
/// # Errors
/// When the system gives no descriptor.
pub fn run(context: &mut CommandContext<'_>, dir: &Path, invocation: &Invocation) -> io::Result<Exit> {
    let shown = path_text(dir);
    let stream = match connect(dir, &invocation.command) {
        Ok(stream) => stream,
        Err(error) if is_absence(&error) => {
            let why = format!("node: no running node that takes commands shares {shown}");
            return Ok(context.fail(&why, ErrorCode::LocalIo));
        }
        Err(error) => {
            let why = format!("node: the node that shares {shown} cannot be asked: {error}");
            return Ok(context.fail(&why, ErrorCode::LocalIo));
        }
    };
    if !invocation.guest_flags.is_empty() {
        let flags: Vec<String> = invocation.guest_flags.iter().map(|flag| format!("--{flag}")).collect();
        let flags = flags.join(", ");
        context.notice(&format!("{flags} not used: the node that shares {shown} has settings of its own"));
    }
    let mut lines = Lines { stream, unread: Vec::new() };
    loop {
        let record = match lines.next(&context.cancel) {
            Ok(record) => record,
            // The connection closes when this function returns. That cancels the command at the node.
            Err(NoLine::Cancelled) => {
                let why = "cancelled: fetched pieces stay, and the next `download` resumes";
                return Ok(context.cancelled(why));
            }
            Err(NoLine::Gone(why)) => {
                let why = format!("node: the node that shares {shown}: {why}");
                return Ok(context.fail(&why, ErrorCode::Other));
            }
        };
        if let Event::End { exit_code, code } = record.event {
            return Ok(Exit::of_end(exit_code, code));
        }
        if let Err(end) = context.sink.write_records([record]) {
            return Ok(end.exit());
        }
    }
}

/// Returns true if and only if no node listens on the socket.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn connect(dir: &Path, command: &Command) -> io::Result<UnixStream> {
    let (_kept_open, path) = socket_in(dir)?;
    let mut stream = UnixStream::connect(path)?;
    if !is_same_user(&stream) {
        // Its answer would look like that of the own node.
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    let mut line = serde_json::to_string(command).map_err(io::Error::other)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    Ok(stream)
}

impl Lines {
    /// The next event, until `cancel`.
    fn next(&mut self, cancel: &Stop) -> Result<Record, NoLine> {
        let gone = |error: io::Error| NoLine::Gone(error.to_string());
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line);
                let malformed = |error| NoLine::Gone(format!("its answer is no event: {error}"));
                return Record::from_line(text.trim_end()).map_err(malformed);
            }
            if self.unread.len() > limits::HANDOFF_LINE_MAX_BYTES {
                return Err(NoLine::Gone("its answer has a line that is too long".to_owned()));
            }
            let stopped = {
                let mut fds = [PollFd::new(&self.stream, PollFlags::IN), PollFd::new(cancel, PollFlags::IN)];
                match poll(&mut fds, None) {
                    Ok(_) => {}
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
