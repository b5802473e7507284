//! The demo's child processes. They are killed however the demo ends.
//!
//! Children read commands from a pipe and die with their parent, even if the parent is killed. Their output
//! arrives line by line on one channel.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use thiserror::Error;

use crate::rt::{Stop, Threads};

/// Why the demo cannot continue.
#[derive(Debug, Error)]
pub enum DemoError {
    /// A step on this machine failed.
    #[error("{what}: {error}")]
    Io {
        /// The step or the line.
        what: String,
        /// The error of the system.
        error: io::Error,
    },
    /// A child ended too early.
    #[error("{who} ended while {what} was awaited")]
    Ended {
        /// The name of the child.
        who: &'static str,
        /// The step or the line.
        what: String,
    },
    /// A line did not come before the deadline.
    #[error("{what} did not come in time from {who}")]
    Late {
        /// The name of the child.
        who: &'static str,
        /// The step or the line.
        what: String,
    },
    /// A child printed something unexpected.
    #[error("{0}")]
    Unexpected(String),
    /// The user interrupted the demo.
    #[error("interrupted")]
    Interrupted,
}

/// Adds the failed step to an error.
pub fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> DemoError {
    let what = what.into();
    move |error| DemoError::Io { what, error }
}

/// An output stream of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A line of a child's output. `None` at the end of the stream.
type Heard = (&'static str, Stream, Option<String>);

/// A child process.
#[derive(Debug)]
struct Role {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    addr: Option<SocketAddr>,
}

impl Drop for Role {
    fn drop(&mut self) {
        // Both fail if the child has ended already.
        let _has_ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// All children, and their output that was not read yet.
#[derive(Debug)]
pub struct Stage {
    roles: Vec<Role>,
    threads: Threads,
    sender: Sender<Heard>,
    heard: Receiver<Heard>,
    pending: VecDeque<Heard>,
    stop: Stop,
    deadline: Instant,
}

impl Stage {
    /// Every wait ends at `deadline`, or when `stop` is triggered.
    pub fn new(stop: Stop, deadline: Instant) -> Stage {
        const LINES_MAX: usize = 1024;
        let (sender, heard) = bounded(LINES_MAX);
        let (roles, pending) = (Vec::new(), VecDeque::new());
        Stage { roles, threads: Threads::new(), sender, heard, pending, stop, deadline }
    }

    /// Starts this program in the role that `arguments` begin with. Waits until the child reports its
    /// address.
    pub fn start(
        &mut self,
        name: &'static str,
        dir: &Path,
        arguments: &[String],
    ) -> Result<SocketAddr, DemoError> {
        let failed = |what| io_error(format!("{what} {name}"));
        let program = std::env::current_exe().map_err(failed("find the program of"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(dir)
            // A process group of its own: Ctrl-C does not reach the child, and the demo stops it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed("start"))?;
        let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        self.roles.push(Role { name, child, stdin, addr: None });
        if let (Some(out), Some(err)) = (out, err) {
            self.listen_to(name, Stream::Out, out).map_err(failed("listen to"))?;
            self.listen_to(name, Stream::Err, err).map_err(failed("listen to"))?;
        }
        let addr = self.wait(name, Stream::Out, "its address", |line| {
            line.split_once(" listening on ").and_then(|(_, addr)| addr.parse::<SocketAddr>().ok())
        })?;
        self.role(name)?.addr = Some(addr);
        Ok(addr)
    }

    fn listen_to(
        &self,
        name: &'static str,
        stream: Stream,
        input: impl Read + Send + 'static,
    ) -> io::Result<()> {
        let sender = self.sender.clone();
        self.threads.spawn(name, move || {
            for line in BufReader::new(input).lines().map_while(Result::ok) {
                if sender.send((name, stream, Some(line))).is_err() {
                    return;
                }
            }
            let _stage_is_gone = sender.send((name, stream, None));
        })
    }

    fn role(&mut self, name: &'static str) -> Result<&mut Role, DemoError> {
        let found = self.roles.iter_mut().find(|role| role.name == name);
        found.ok_or_else(|| DemoError::Unexpected(format!("{name} does not run")))
    }

    /// The name of the child that listens at `addr`.
    pub fn name_of(&self, addr: SocketAddr) -> Option<&'static str> {
        self.roles.iter().find(|role| role.addr == Some(addr)).map(|role| role.name)
    }

    /// Sends a command to a child.
    pub fn command(&mut self, name: &'static str, line: &str) -> Result<(), DemoError> {
        match &mut self.role(name)?.stdin {
            Some(stdin) => stdin.write_all(format!("{line}\n").as_bytes()).map_err(io_error(name)),
            None => Err(DemoError::Unexpected(format!("{name} takes no commands any more"))),
        }
    }

    /// Waits for a line of `name` on `stream` from which `pick` makes a value. Earlier lines of that stream
    /// are dropped.
    pub fn wait<T>(
        &mut self,
        name: &'static str,
        stream: Stream,
        what: &str,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, DemoError> {
        let mut kept = VecDeque::new();
        let result = loop {
            let (who, from, line) = match self.pending.pop_front() {
                Some(heard) => heard,
                None => match self.hear(name, what) {
                    Ok(heard) => heard,
                    Err(error) => break Err(error),
                },
            };
            match line {
                _ if (who, from) != (name, stream) => kept.push_back((who, from, line)),
                Some(line) => {
                    if let Some(picked) = pick(&line) {
                        break Ok(picked);
                    }
                }
                None => {
                    kept.push_back((who, from, None));
                    break Err(DemoError::Ended { who: name, what: what.to_owned() });
                }
            }
        };
        kept.append(&mut self.pending);
        self.pending = kept;
        result
    }

    fn hear(&self, who: &'static str, what: &str) -> Result<Heard, DemoError> {
        let late = || DemoError::Late { who, what: what.to_owned() };
        select! {
            recv(self.heard) -> heard => heard.map_err(|_| late()),
            recv(self.stop.receiver()) -> _ => Err(DemoError::Interrupted),
            recv(crossbeam_channel::at(self.deadline)) -> _ => Err(late()),
        }
    }

    /// Kills a child without warning, as a power failure does.
    pub fn kill(&mut self, name: &'static str) -> Result<(), DemoError> {
        let role = self.role(name)?;
        role.child.kill().and_then(|()| role.child.wait()).map_err(io_error(format!("kill {name}")))?;
        Ok(())
    }

    /// Kills all children and waits until they have ended.
    pub fn clear(&mut self) {
        self.roles.clear();
    }

    /// Closes the input of a child and waits for its end. Its exit status is that of its last command.
    pub fn finish(&mut self, name: &'static str) -> Result<ExitStatus, DemoError> {
        drop(self.role(name)?.stdin.take());
        self.ended(name)
    }

    /// Terminates a child that takes no commands.
    pub fn terminate(&mut self, name: &'static str) -> Result<ExitStatus, DemoError> {
        let child = &self.role(name)?.child;
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(|error| io_error(format!("stop {name}"))(error.into()))?;
        }
        self.ended(name)
    }

    fn ended(&mut self, name: &'static str) -> Result<ExitStatus, DemoError> {
        let drained = self.wait(name, Stream::Out, "its end", |_| None::<()>);
        if !matches!(drained, Err(DemoError::Ended { .. })) {
            drained?;
        }
        self.role(name)?.child.wait().map_err(io_error(format!("wait for {name}")))
    }

    /// The unread lines of standard error, to explain a failure.
    pub fn last_words(&mut self) -> Vec<String> {
        self.pending.extend(self.heard.try_iter());
        let words = self.pending.drain(..).filter_map(|(name, stream, line)| {
            line.filter(|_| stream == Stream::Err).map(|line| format!("{name}: {line}"))
        });
        words.collect()
    }
}
