//! The demo's processes and its temporary directory: real children that are killed and files that are removed
//! however it ends.
//!
//! Children read commands from a pipe and die with their parent, even if that is killed. What they say
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

/// Why the demo could not go on.
#[derive(Debug, Error)]
pub enum DemoError {
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
    #[error("{who} ended while {what} was awaited")]
    Ended { who: &'static str, what: String },
    #[error("{what} did not come in time from {who}")]
    Late { who: &'static str, what: String },
    #[error("{0}")]
    Unexpected(String),
    #[error("interrupted")]
    Interrupted,
}

/// Names what failed.
pub fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> DemoError {
    let what = what.into();
    move |error| DemoError::Io { what, error }
}

/// Where a child said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// A line that a child said; `None` when it can say no more there.
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
        // Both fail where it has ended and been waited for.
        let _has_ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// All children, and what they have said and nobody has asked for yet.
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
    /// Everything must happen before `deadline` and ends when `stop` is triggered.
    pub fn new(stop: Stop, deadline: Instant) -> Stage {
        const LINES_MAX: usize = 1024;
        let (sender, heard) = bounded(LINES_MAX);
        let (roles, pending) = (Vec::new(), VecDeque::new());
        Stage { roles, threads: Threads::new(), sender, heard, pending, stop, deadline }
    }

    /// Starts this very program in the role that `arguments` begin with, and waits until it says where it
    /// listens.
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
            // Out of reach of the terminal's Ctrl-C: the demo stops its children itself.
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

    /// Gives a child a command.
    pub fn command(&mut self, name: &'static str, line: &str) -> Result<(), DemoError> {
        match &mut self.role(name)?.stdin {
            Some(stdin) => stdin.write_all(format!("{line}\n").as_bytes()).map_err(io_error(name)),
            None => Err(DemoError::Unexpected(format!("{name} takes no commands any more"))),
        }
    }

    /// Waits until `name` says a line on `stream` from which `pick` makes something; the lines before it
    /// there are dropped.
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

    /// Kills a child as a power failure would.
    pub fn kill(&mut self, name: &'static str) -> Result<(), DemoError> {
        let role = self.role(name)?;
        role.child.kill().and_then(|()| role.child.wait()).map_err(io_error(format!("kill {name}")))?;
        Ok(())
    }

    /// Kills all children and waits for their ends.
    pub fn clear(&mut self) {
        self.roles.clear();
    }

    /// Ends a child in order: no more commands come. Its exit status is the last command's.
    pub fn finish(&mut self, name: &'static str) -> Result<ExitStatus, DemoError> {
        drop(self.role(name)?.stdin.take());
        self.ended(name)
    }

    /// Ends a child that takes no commands.
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

    /// What children said on standard error and nobody asked for, to explain a failure.
    pub fn last_words(&mut self) -> Vec<String> {
        self.pending.extend(self.heard.try_iter());
        let words = self.pending.drain(..).filter_map(|(name, stream, line)| {
            line.filter(|_| stream == Stream::Err).map(|line| format!("{name}: {line}"))
        });
        words.collect()
    }
}
