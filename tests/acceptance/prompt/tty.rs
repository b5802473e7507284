//! `Tty`: a program at a pseudo-terminal whose output is kept completely, and a filter for the bytes that are
//! not text.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rexpect::process::PtyProcess;
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::DEADLINE;

#[derive(Debug, Default)]
struct Seen {
    /// Received bytes, and whether the stream has ended.
    bytes: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

/// A program at its own terminal.
pub(crate) struct Tty {
    process: PtyProcess,
    terminal: File,
    seen: Arc<Seen>,
    reader: Option<JoinHandle<()>>,
    /// End of the last awaited text.
    mark: usize,
}

/// Settings of a terminal.
pub(crate) struct Kind {
    /// `TERM`. `None` means not set.
    pub(crate) term: Option<&'static str>,
    pub(crate) columns: u16,
    /// More environment variables.
    pub(crate) set: &'static [(&'static str, &'static str)],
}

pub(crate) const XTERM: Kind = Kind { term: Some("xterm"), columns: 80, set: &[] };

impl Tty {
    /// Runs a line of `sh` in `dir`, at a terminal with these settings.
    pub(crate) fn start(line: &str, dir: &Path, kind: &Kind) -> Tty {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("stty cols {} rows 24; {line}", kind.columns)]).current_dir(dir);
        shell.env("XDG_STATE_HOME", dir.join("state")).env("XDG_CONFIG_HOME", dir);
        shell.env_remove("NO_COLOR").env_remove("TERM").env_remove("COLUMNS");
        shell.envs(kind.term.map(|term| ("TERM", term))).envs(kind.set.iter().copied());
        let mut process = PtyProcess::new(shell).expect("a pseudo-terminal");
        process.set_kill_timeout(Some(1000));
        let terminal = process.get_file_handle().expect("its other end");
        let seen = Arc::new(Seen::default());
        let (mut source, kept) = (terminal.try_clone().expect("a descriptor"), Arc::clone(&seen));
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = source.read(&mut buffer) {
                kept.bytes.lock().0.extend(&buffer[..len]);
                kept.changed.notify_all();
            }
            kept.bytes.lock().1 = true;
            kept.changed.notify_all();
        });
        Tty { process, terminal, seen, reader: Some(reader), mark: 0 }
    }

    /// Waits for `text` after the last awaited text. Returns the output before it.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        let mut bytes = self.seen.bytes.lock();
        loop {
            let fresh = &bytes.0[self.mark..];
            if let Some(at) = fresh.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.mark += at + text.len();
                return String::from_utf8_lossy(&fresh[..at]).into_owned();
            }
            let gave_up = bytes.1 || self.seen.changed.wait_until(&mut bytes, until).timed_out();
            assert!(!gave_up, "awaiting {text:?}: {:?}", String::from_utf8_lossy(&bytes.0[self.mark..]));
        }
    }

    pub(crate) fn keys(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).expect("sent");
    }

    /// Runs a command, and waits for its answer and the next prompt.
    pub(crate) fn command(&mut self, line: &str, answer: &str) {
        self.keys(&format!("{line}\r"));
        self.expect(answer);
        self.expect("> ");
    }

    pub(crate) fn resize(&self, columns: u16) {
        let size = Winsize { ws_col: columns, ws_row: 24, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.terminal, size).expect("it is a terminal");
    }

    /// Waits for the end. Returns the exit code and all output.
    pub(crate) fn end(mut self) -> (i32, Vec<u8>) {
        let until = Instant::now() + DEADLINE;
        let mut bytes = self.seen.bytes.lock();
        while !bytes.1 {
            let late = self.seen.changed.wait_until(&mut bytes, until).timed_out();
            assert!(!late, "it does not end: {:?}", String::from_utf8_lossy(&bytes.0[self.mark..]));
        }
        let all = std::mem::take(&mut bytes.0);
        drop(bytes);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
        // For example `Exited(Pid(7), 0)`: its type has no public name.
        let status = format!("{:?}", self.process.wait().expect("it is our child"));
        let code =
            status.strip_prefix("Exited(Pid(").and_then(|rest| rest.strip_suffix(')')?.split_once("), "));
        let (_, code) = code.unwrap_or_else(|| panic!("{status}"));
        (code.parse().expect("a number"), all)
    }
}

/// Removes from `bytes` the codes with which an editor and bars draw: returns, cursor up, down, right and
/// left, erasure of a line, a bell, and the marks of a synchronised update.
pub(crate) fn without_drawing(bytes: &[u8]) -> Vec<u8> {
    let mut rest = String::from_utf8_lossy(bytes).into_owned();
    for mark in ["\u{1b}[?2026h", "\u{1b}[?2026l", "\r", "\u{7}"] {
        rest = rest.replace(mark, "");
    }
    let mut plain = String::new();
    let mut parts = rest.split("\u{1b}[");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let text = part.trim_start_matches(|c: char| c.is_ascii_digit());
        match text.strip_prefix(['A', 'B', 'C', 'D', 'K']) {
            Some(text) if part.len() - text.len() <= 4 => plain.push_str(text),
            _ => plain.push_str(&format!("\u{1b}[{part}")),
        }
    }
    plain.into_bytes()
}
