//! `Process`: one of the real programs in a test. It panics with all output where the program does not do
//! what the test needs, and it checks every printed event.

use std::ffi::OsStr;
use std::ops::{Deref, DerefMut};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nearpeer::eval::stage::{self, NoLine, ProcessError};
use rustix::process::Signal;

use super::{DEADLINE, events};

pub use stage::Stream;

/// A running program. Drop ends it.
#[derive(Debug)]
pub struct Process(stage::Process);

impl Deref for Process {
    type Target = stage::Process;

    fn deref(&self) -> &stage::Process {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut stage::Process {
        &mut self.0
    }
}

impl Process {
    /// Starts `program` in `/`, so that it finds no file of the working directory.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Process {
        let mut command = Command::new(program);
        // Files of the user must not be found either.
        command.args(args).current_dir("/").env("XDG_CONFIG_HOME", "/nonexistent");
        let words = command.get_args().collect::<Vec<_>>().join(OsStr::new(" "));
        let name = format!("{} {}", program.rsplit('/').next().unwrap_or(program), words.display());
        Process(stage::Process::start(&name, command).expect("the binary was built with the test"))
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
        self.pick_line(stream, mark, deadline, matches).ok()
    }

    fn pick_line(
        &self,
        stream: Stream,
        mark: usize,
        deadline: Duration,
        matches: impl Fn(&str) -> bool,
    ) -> Result<(String, usize), NoLine> {
        self.pick(stream, mark, Instant::now() + deadline, |line| matches(line).then(|| line.to_owned()))
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
        self.pick_line(stream, mark, deadline, matches)
            .unwrap_or_else(|why| panic!("{}\n{}", self.missing(what, why), self.transcript()))
    }

    /// Waits for a line on stdout that begins with `start`, from the beginning of the output.
    pub fn expect_stdout(&self, start: &str) -> String {
        self.expect_line(Stream::Stdout, 0, DEADLINE, start, |line| line.starts_with(start)).0
    }

    /// Waits for a line on stderr that contains `part`, from the beginning of the output.
    pub fn expect_stderr(&self, part: &str) -> String {
        self.expect_line(Stream::Stderr, 0, DEADLINE, part, |line| line.contains(part)).0
    }

    /// Sends a line to stdin.
    pub fn send(&mut self, line: &str) {
        self.send_raw(format!("{line}\n").as_bytes());
    }

    /// Sends bytes to stdin. Errors are ignored: the exit code of an ended process shows the failure.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _process_has_ended = self.0.send(bytes);
    }

    /// The targets of its descriptors, as the kernel names them. Empty after its end.
    pub fn open_files(&self) -> Vec<PathBuf> {
        let Ok(descriptors) = std::fs::read_dir(format!("/proc/{}/fd", self.id())) else {
            return Vec::new();
        };
        descriptors.filter_map(|one| std::fs::read_link(one.ok()?.path()).ok()).collect()
    }

    /// Peak resident memory since its start, in bytes.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux writes VmHWM");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kib << 10
    }

    /// Kills the process and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait(DEADLINE);
    }

    /// Waits for the end, at most for `at_most`. Returns true if it has ended.
    pub fn ends_within(&self, at_most: Duration) -> bool {
        self.ends_before(Instant::now() + at_most).expect("the child is ours")
    }

    /// Waits for the end and returns the exit code, or 128 + n after signal n. All output has been collected
    /// then.
    ///
    /// # Panics
    /// If the process has not ended by the deadline.
    pub fn wait(&mut self, deadline: Duration) -> i32 {
        let status = match self.0.wait(Instant::now() + deadline) {
            Ok(status) => status,
            Err(error @ ProcessError::Late { .. }) => panic!("{error}\n{}", self.transcript()),
            Err(error) => panic!("{error}"),
        };
        self.assert_events_fit_their_schema();
        status.code().unwrap_or_else(|| 128 + status.signal().expect("ended by exit or by signal"))
    }

    /// Checks that every printed event fits the schema. Runs at the end of every process in every test.
    fn assert_events_fit_their_schema(&self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            for line in self.since(stream, 0) {
                assert_eq!(events::faults(&line), None, "{}", self.name());
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
