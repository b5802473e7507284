//! `Process`: one of the real programs, with its lines as events.
//!
//! Reader threads collect stdout and stderr line by line. A caller that needs a line waits on a condition
//! variable until a deadline. Drop of a `Process` ends the program.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{DEADLINE, events};

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Default)]
struct Collected {
    lines: Vec<String>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Lines {
    collected: Mutex<Collected>,
    changed: Condvar,
}

impl Lines {
    /// Collects lines until the stream ends. Bytes that are not UTF-8 are kept as replacement characters,
    /// because tests look for them.
    fn collect(&self, stream: impl Read) {
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
        self.collected.lock().ended = true;
        self.changed.notify_all();
    }
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pidfd: OwnedFd,
    stdin: Option<ChildStdin>,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
    exit: Option<i32>,
}

impl Process {
    /// Starts `program` with piped stdin, stdout and stderr, in `/` so that it finds no file of the working
    /// directory.
    pub fn start(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Process {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let mut child = Command::new(program)
            .args(&args)
            .current_dir("/")
            // Files of the user must not be found either.
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built with the test");
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a descriptor for the child");
        let (stdout, stderr) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
        let (out_pipe, err_pipe) = (child.stdout.take(), child.stderr.take());
        let (out_lines, err_lines) = (Arc::clone(&stdout), Arc::clone(&stderr));
        let readers = vec![
            std::thread::spawn(move || out_lines.collect(out_pipe.expect("stdout is piped"))),
            std::thread::spawn(move || err_lines.collect(err_pipe.expect("stderr is piped"))),
        ];
        let name = format!(
            "{} {}",
            program.rsplit('/').next().unwrap_or(program),
            args.join(OsStr::new(" ")).display()
        );
        Process { name, stdin: child.stdin.take(), child, pidfd, stdout, stderr, readers, exit: None }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn lines(&self, stream: Stream) -> &Lines {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    /// Number of lines collected until now, for use as a later mark.
    pub fn mark(&self, stream: Stream) -> usize {
        self.lines(stream).collected.lock().lines.len()
    }

    /// Waits for the first line from `mark` on that `matches`. Returns it and the next mark, or `None` if no
    /// such line came before the deadline or the end of the stream.
    pub fn find_line(
        &self,
        stream: Stream,
        mark: usize,
        deadline: Duration,
        matches: impl Fn(&str) -> bool,
    ) -> Option<(String, usize)> {
        let until = Instant::now() + deadline;
        let lines = self.lines(stream);
        let mut collected = lines.collected.lock();
        let mut next = mark;
        loop {
            while let Some(line) = collected.lines.get(next) {
                next += 1;
                if matches(line) {
                    return Some((line.clone(), next));
                }
            }
            let gave_up = collected.ended || lines.changed.wait_until(&mut collected, until).timed_out();
            if gave_up && next == collected.lines.len() {
                return None;
            }
        }
    }

    /// Like [`Process::find_line`], for a line that must come.
    ///
    /// # Panics
    /// If it does not come. The message contains all output.
    pub fn expect_line(
        &self,
        stream: Stream,
        mark: usize,
        deadline: Duration,
        what: &str,
        matches: impl Fn(&str) -> bool,
    ) -> (String, usize) {
        self.find_line(stream, mark, deadline, matches).unwrap_or_else(|| {
            let ended = self.lines(stream).collected.lock().ended;
            panic!(
                "{}: no line with {what} ({})\n{}",
                self.name,
                if ended { "output ended" } else { "deadline" },
                self.transcript()
            );
        })
    }

    /// Waits for a line on stdout that begins with `start`, from the beginning of the output.
    pub fn expect_stdout(&self, start: &str) -> String {
        self.expect_line(Stream::Stdout, 0, DEADLINE, start, |line| line.starts_with(start)).0
    }

    /// Waits for a line on stderr that contains `part`, from the beginning of the output.
    pub fn expect_stderr(&self, part: &str) -> String {
        self.expect_line(Stream::Stderr, 0, DEADLINE, part, |line| line.contains(part)).0
    }

    /// The lines of `stream` from `mark` on that have arrived.
    pub fn since(&self, stream: Stream, mark: usize) -> Vec<String> {
        self.lines(stream).collected.lock().lines[mark..].to_vec()
    }

    /// Sends a line to stdin.
    pub fn send(&mut self, line: &str) {
        self.send_raw(format!("{line}\n").as_bytes());
    }

    /// Sends bytes to stdin. Errors are ignored: the exit code of an ended process shows the failure.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin was closed before");
        let _process_has_ended = stdin.write_all(bytes).and_then(|()| stdin.flush());
    }

    /// Closes stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The targets of its descriptors, as the kernel names them. Empty after its end.
    pub fn open_files(&self) -> Vec<PathBuf> {
        let Ok(descriptors) = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())) else {
            return Vec::new();
        };
        descriptors.filter_map(|one| std::fs::read_link(one.ok()?.path()).ok()).collect()
    }

    /// Peak resident memory since its start, in bytes.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux writes VmHWM");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kib << 10
    }

    /// Sends a signal. Does nothing if the process has ended.
    pub fn signal(&self, signal: Signal) {
        let _process_has_ended = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Kills the process and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait(DEADLINE);
    }

    /// Waits for the end, at most for `at_most`. Returns true if it has ended.
    pub fn ends_within(&self, at_most: Duration) -> bool {
        if self.exit.is_some() {
            return true;
        }
        let until = Instant::now() + at_most;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("cannot wait for {}: {error}", self.name),
            }
        }
    }

    /// Waits for the end and returns the exit code, or 128 + n after signal n. All output has been collected
    /// then.
    ///
    /// # Panics
    /// If the process has not ended by the deadline.
    pub fn wait(&mut self, deadline: Duration) -> i32 {
        if let Some(code) = self.exit {
            return code;
        }
        if !self.ends_within(deadline) {
            panic!("{}: has not ended by the deadline\n{}", self.name, self.transcript());
        }
        let status = self.child.wait().expect("the child is ours");
        self.stdin = None;
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        self.assert_events_fit_their_schema();
        let code =
            status.code().unwrap_or_else(|| 128 + status.signal().expect("ended by exit or by signal"));
        self.exit = Some(code);
        code
    }

    /// Checks that every printed event fits the schema. Runs at the end of every process in every test.
    fn assert_events_fit_their_schema(&self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            for line in self.since(stream, 0) {
                assert_eq!(events::faults(&line), None, "{}", self.name);
            }
        }
    }

    /// All output until now, for failure messages.
    pub fn transcript(&self) -> String {
        format!(
            "--- stdout\n{}\n--- stderr\n{}\n---",
            self.since(Stream::Stdout, 0).join("\n"),
            self.since(Stream::Stderr, 0).join("\n")
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.is_some() {
            return;
        }
        self.signal(Signal::KILL);
        // A failing test has already reported its fault.
        let _gone_already = self.child.wait();
        for reader in self.readers.drain(..) {
            let _reader_panicked = reader.join();
        }
    }
}
