//! The client: sends a command to the node that shares a directory, and prints the events of the answer.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::Value;

use super::socket::{is_trusted_user, socket_in};
use crate::cli::args::command::Command;
use crate::cli::args::one_shot::Invocation;
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::run::context::CommandContext;
use crate::cli::run::session::DOWNLOAD_CANCELLED;
use crate::proto::event::{Event, Record};
use crate::rt::Stop;
use crate::types::{limits, path_text};

/// Why there is no next event.
#[derive(Debug)]
enum NoEvent {
    /// Ctrl-C or `--timeout` has cancelled the command at this end.
    Cancelled,
    /// The node has ended, its answer is malformed, or the connection cannot be read.
    Failed(String),
}

/// Reads the events of an answer.
struct AnswerReader {
    stream: UnixStream,
    unread: Vec<u8>,
}

/// Sends the command to the node that shares `dir`, and prints the answer. Prints a failure, too.
pub fn run(context: &mut CommandContext<'_>, dir: &Path, invocation: &Invocation) -> Exit {
    let dir_text = path_text(dir);
    let stream = match connect(dir, &invocation.command) {
        Ok(stream) => stream,
        Err(error) if means_no_node(&error) => {
            let why = format!("node: no running node takes commands for {dir_text}");
            return context.fail(&why, ErrorCode::LocalIo);
        }
        Err(error) => {
            let why = format!("node: cannot send the command to the node that shares {dir_text}: {error}");
            return context.fail(&why, ErrorCode::LocalIo);
        }
    };
    if !invocation.typed_guest_flags.is_empty() {
        let flags: Vec<String> =
            invocation.typed_guest_flags.iter().map(|flag| format!("--{flag}")).collect();
        let flags = flags.join(", ");
        context.notice(&format!("{flags} not used: the node that shares {dir_text} has its own settings"));
    }
    let mut answer = AnswerReader { stream, unread: Vec::new() };
    loop {
        let record = match answer.next(&context.cancel) {
            Ok(record) => record,
            // The connection closes when this function returns. That cancels the command at the node.
            Err(NoEvent::Cancelled) => {
                return context.cancelled(match invocation.command {
                    Command::Download(_) => DOWNLOAD_CANCELLED,
                    _ => "cancelled",
                });
            }
            Err(NoEvent::Failed(why)) => {
                let why = format!("node: the node that shares {dir_text}: {why}");
                return context.fail(&why, ErrorCode::Other);
            }
        };
        if let Event::End { exit_code, code } = record.event {
            return Exit::of_end(exit_code, code);
        }
        if let Err(end) = context.sink.write_records([record]) {
            return end.exit();
        }
    }
}

/// Returns true if and only if no node listens on the socket.
fn means_no_node(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn connect(dir: &Path, command: &Command) -> io::Result<UnixStream> {
    let (_directory_of_path, path) = socket_in(dir)?;
    let mut stream = UnixStream::connect(path)?;
    if !is_trusted_user(&stream) {
        // The program of another user could print anything as the answer of the node.
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    let mut line = serde_json::to_string(command).map_err(io::Error::other)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    Ok(stream)
}

/// The record on a line of an answer. `None`: this version does not know the event. A newer node may send
/// events or fields that an older client has not.
fn record_of(line: &str) -> Result<Option<Record>, serde_json::Error> {
    let error = match Record::from_line(line) {
        Ok(record) => return Ok(Some(record)),
        Err(error) => error,
    };
    let is_event = serde_json::from_str::<Value>(line).is_ok_and(|value| value["event"].is_string());
    if is_event { Ok(None) } else { Err(error) }
}

impl AnswerReader {
    /// Waits for the next event that this version knows, or until `cancel` is triggered.
    fn next(&mut self, cancel: &Stop) -> Result<Record, NoEvent> {
        let failed = |error: io::Error| NoEvent::Failed(error.to_string());
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                let malformed = |error| NoEvent::Failed(format!("its answer is not an event: {error}"));
                match record_of(line.trim_end()).map_err(malformed)? {
                    Some(record) => return Ok(record),
                    None => continue,
                }
            }
            if self.unread.len() > limits::HANDOFF_LINE_MAX_BYTES {
                return Err(NoEvent::Failed("its answer has a line that is too long".to_owned()));
            }
            let mut fds = [PollFd::new(&self.stream, PollFlags::IN), PollFd::new(cancel, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failed(error.into())),
            }
            let [_, cancel_fd] = &fds;
            if !cancel_fd.revents().is_empty() {
                return Err(NoEvent::Cancelled);
            }
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    let why = "it closed the connection before the command ended";
                    return Err(NoEvent::Failed(why.to_owned()));
                }
                Ok(count) => self.unread.extend(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events that a client reads from an answer, and why it reads no further.
    fn read_all(answer: &str) -> (Vec<Event>, String) {
        let (stream, mut node) = UnixStream::pair().expect("a pair");
        node.write_all(answer.as_bytes()).expect("room");
        drop(node);
        let cancel = Stop::new().expect("a descriptor");
        let (mut reader, mut events) = (AnswerReader { stream, unread: Vec::new() }, Vec::new());
        loop {
            match reader.next(&cancel) {
                Ok(record) => events.push(record.event),
                Err(NoEvent::Failed(why)) => return (events, why),
                Err(NoEvent::Cancelled) => panic!("nothing cancels it"),
            }
        }
    }

    #[test]
    fn a_client_skips_events_that_it_does_not_know() {
        let known = Event::info("x");
        let line = known.clone().at(0).to_line();
        let newer = r#"{"event":"of_a_newer_node","ts":"1970-01-01T00:00:00.000Z"}"#;
        let (events, why) = read_all(&format!("{newer}\n{line}\n{newer}\n{line}\n"));
        assert_eq!(events, [known.clone(), known]);
        assert!(why.contains("closed the connection"), "{why}");
    }

    #[test]
    fn a_line_that_is_not_an_event_ends_the_answer() {
        for line in ["nonsense", "7", "{}", r#"{"event":7}"#] {
            let (events, why) = read_all(&format!("{line}\n"));
            assert!(events.is_empty() && why.contains("is not an event"), "{line}: {why}");
        }
    }

    #[test]
    fn a_cancelled_client_stops_reading() {
        let (stream, _node) = UnixStream::pair().expect("a pair");
        let cancel = Stop::new().expect("a descriptor");
        cancel.trigger();
        let ended = AnswerReader { stream, unread: Vec::new() }.next(&cancel);
        assert!(matches!(ended, Err(NoEvent::Cancelled)));
    }
}
