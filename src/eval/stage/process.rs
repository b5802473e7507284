//! `Process`: a program that runs as a child, with pipes for its input and output.
//!
//! Threads collect both output streams. A descriptor (pidfd) stands for the child: a signal to it cannot
//! reach another process that has the same id later. Dropping a `Process` kills the child.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use thiserror::Error;

use super::lines::{Lines, NoLine, Stream};
use crate::rt::{Stop, Threads, clock};

/// Why a process does not do what its caller needs.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// A step on this machine failed.
    #[error("{what}: {error}")]
    Io {
        /// The step and the process.
        what: String,
        /// The error of the system.
        error: io::Error,
    },
    /// The process ended too early.
    #[error("{name} ended while {what} was awaited")]
    Ended {
        /// The name of the process.
        name: String,
        /// The event that was awaited.
        what: String,
    },
    /// The event did not come before the deadline.
    #[error("{what} did not come in time from {name}")]
    Late {
        /// The name of the process.
        name: String,
        /// The event that was awaited.
        what: String,
    },
}

/// A child process. It keeps all lines of its output.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pidfd: Arc<OwnedFd>,
    stdin: Option<ChildStdin>,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    threads: Threads,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with pipes for input and output. Errors use `name` for the process.
    ///
    /// # Errors
    /// When the system cannot start the program, or gives no descriptor or thread.
    pub fn start(name: &str, mut command: Command) -> Result<Process, ProcessError> {
        let failed = |error| ProcessError::Io { what: format!("start {name}"), error };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let pidfd = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                child.kill().and_then(|()| child.wait()).ok();
                return Err(failed(error.into()));
            }
        };
        let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Process {
            name: name.to_owned(),
            child,
            pidfd: Arc::new(pidfd),
            stdin,
            stdout: Arc::default(),
            stderr: Arc::default(),
            threads: Threads::new(),
            status: None,
        };
        process.collect(&process.stdout, out).map_err(failed)?;
        process.collect(&process.stderr, err).map_err(failed)?;
        Ok(process)
    }

    fn collect(&self, lines: &Arc<Lines>, stream: Option<impl Read + Send + 'static>) -> io::Result<()> {
        let lines = Arc::clone(lines);
        stream.map_or(Ok(()), |stream| self.threads.spawn("output", move || lines.collect(stream)))
    }

    /// Kills the process when `stop` is triggered.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn kill_on(&self, stop: &Stop) -> io::Result<()> {
        let (pidfd, stop) = (Arc::clone(&self.pidfd), stop.clone());
        self.threads.spawn("kill", move || {
            let mut watched = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(&stop, PollFlags::IN)];
            while poll(&mut watched, None) == Err(rustix::io::Errno::INTR) {}
            // Fails if the child has ended.
            pidfd_send_signal(&pidfd, Signal::KILL).ok();
        })
    }

    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.name
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

    /// The mark after all lines that have arrived: their number.
    pub fn mark(&self, stream: Stream) -> usize {
        self.lines(stream).len()
    }

    /// The lines of `stream` after `mark` that have arrived.
    pub fn since(&self, stream: Stream, mark: usize) -> Vec<String> {
        self.lines(stream).since(mark)
    }

    /// Waits for the first line after `mark` from which `pick` makes a value. Returns the value and the mark
    /// after that line.
    ///
    /// # Errors
    /// When no such line comes before the deadline or the end of the stream.
    pub fn pick<T>(
        &self,
        stream: Stream,
        mark: usize,
        deadline: Instant,
        pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<(T, usize), NoLine> {
        self.lines(stream).pick(mark, deadline, pick)
    }

    /// Waits for the line with the address on which a tracker or node listens. Returns the address and the
    /// mark after the line.
    ///
    /// # Errors
    /// As [`Process::pick`].
    pub fn wait_for_addr(&self, deadline: Instant) -> Result<(SocketAddr, usize), NoLine> {
        self.pick(Stream::Stdout, 0, deadline, |line| {
            line.split_once(" listening on ").and_then(|(_, addr)| addr.parse().ok())
        })
    }

    /// The error if `what` did not come.
    pub fn missing(&self, what: &str, why: NoLine) -> ProcessError {
        let (name, what) = (self.name.clone(), what.to_owned());
        match why {
            NoLine::Ended => ProcessError::Ended { name, what },
            NoLine::Late => ProcessError::Late { name, what },
        }
    }

    /// Writes bytes to stdin.
    ///
    /// # Errors
    /// When stdin is closed, by the caller or by the process.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(bytes).and_then(|()| stdin.flush())
    }

    /// Closes stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal. Does nothing if the process has ended.
    pub fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.pidfd, signal).ok();
    }

    /// Waits for the end of the process, at most until `deadline`. Returns true if and only if it has ended.
    ///
    /// # Errors
    /// When the system cannot wait for the process.
    pub fn ends_before(&self, deadline: Instant) -> io::Result<bool> {
        if self.status.is_some() {
            return Ok(true);
        }
        loop {
            let timeout = clock::timespec_until(deadline);
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the end of the process and of its output.
    ///
    /// # Errors
    /// When the process runs at the deadline, or the system cannot wait for it.
    pub fn wait(&mut self, deadline: Instant) -> Result<ExitStatus, ProcessError> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let name = self.name.clone();
        let failed = |error| ProcessError::Io { what: format!("wait for {name}"), error };
        if !self.ends_before(deadline).map_err(failed)? {
            return Err(self.missing("its end", NoLine::Late));
        }
        let status = self.child.wait().map_err(failed)?;
        self.stdin = None;
        if !self.threads.join(deadline).is_clean() {
            return Err(self.missing("the end of its output", NoLine::Late));
        }
        self.status = Some(status);
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.child.kill().and_then(|()| self.child.wait()).ok();
        }
    }
}
