//! The processes of the demo by name, with one deadline for all waits. However the demo ends, its processes
//! are killed.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Instant;

use rustix::process::Signal;
use thiserror::Error;

use crate::eval::stage::{NoLine, Process, ProcessError, Stream};
use crate::rt::{Stop, clock};
use crate::types::limits;

/// Why the demo cannot continue.
#[derive(Debug, Error)]
pub enum DemoError {
    /// A step on this machine failed.
    #[error("{what}: {error}")]
    Io {
        /// The step.
        what: String,
        /// The error of the system.
        error: std::io::Error,
    },
    /// A process does not do what the demo needs.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A process printed something unexpected.
    #[error("{0}")]
    Unexpected(String),
    /// The user interrupted the demo.
    #[error("interrupted")]
    Interrupted,
}

/// Adds the failed step to an error.
pub fn io_error(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DemoError {
    let what = what.into();
    move |error| DemoError::Io { what, error }
}

/// A process of the demo. `read_stdout` and `read_stderr`: how many lines the demo has read.
#[derive(Debug)]
struct Role {
    process: Process,
    addr: Option<SocketAddr>,
    read_stdout: usize,
    read_stderr: usize,
}

/// All processes of the demo.
#[derive(Debug)]
pub struct Processes {
    roles: Vec<Role>,
    stop: Stop,
    deadline: Instant,
}

impl Processes {
    /// Every wait ends at `deadline` at the latest. `stop` kills all processes, which ends a wait too.
    pub fn new(stop: Stop, deadline: Instant) -> Processes {
        Processes { roles: Vec::new(), stop, deadline }
    }

    /// Starts this program in the role that `arguments` begin with. Waits until the process reports its
    /// address.
    ///
    /// # Errors
    /// When the program cannot be started, or reports no address.
    pub fn start(&mut self, name: &str, dir: &Path, arguments: &[String]) -> Result<SocketAddr, DemoError> {
        let program = std::env::current_exe().map_err(io_error(format!("find the program of {name}")))?;
        let mut command = Command::new(program);
        // A process group of its own: Ctrl-C does not reach the process, and the demo stops it.
        command.args(arguments).current_dir(dir).process_group(0);
        let process = Process::start(name, command)?;
        process.kill_on(&self.stop).map_err(io_error(format!("watch {name}")))?;
        self.roles.push(Role { process, addr: None, read_stdout: 0, read_stderr: 0 });
        let deadline = self.deadline;
        let role = self.role(name)?;
        let reported = role.process.wait_for_addr(deadline);
        let (addr, next) = reported.map_err(|why| self.missing(name, "its address", why))?;
        let role = self.role(name)?;
        (role.addr, role.read_stdout) = (Some(addr), next);
        Ok(addr)
    }

    fn role(&mut self, name: &str) -> Result<&mut Role, DemoError> {
        let role = self.roles.iter_mut().find(|role| role.process.name() == name);
        role.ok_or_else(|| DemoError::Unexpected(format!("{name} does not run")))
    }

    /// The error if `what` did not come from a process.
    fn missing(&mut self, name: &str, what: &str, why: NoLine) -> DemoError {
        if self.stop.is_triggered() {
            return DemoError::Interrupted;
        }
        self.role(name).map_or_else(|error| error, |role| role.process.missing(what, why).into())
    }

    /// The name of the process that listens at `addr`.
    pub fn name_of(&self, addr: SocketAddr) -> Option<String> {
        let role = self.roles.iter().find(|role| role.addr == Some(addr));
        role.map(|role| role.process.name().to_owned())
    }

    /// Sends a command to a process.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn command(&mut self, name: &str, line: &str) -> Result<(), DemoError> {
        let sent = self.role(name)?.process.send(format!("{line}\n").as_bytes());
        // The stop kills the processes, so a command that it overtakes fails.
        sent.map_err(|error| {
            if self.stop.is_triggered() {
                return DemoError::Interrupted;
            }
            io_error(format!("send a command to {name}"))(error)
        })
    }

    /// Waits for a line of `name` on `stream` from which `pick` makes a value. Earlier lines of that stream
    /// are dropped.
    ///
    /// # Errors
    /// When no such line comes.
    pub fn wait<T>(
        &mut self,
        name: &str,
        stream: Stream,
        what: &str,
        pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, DemoError> {
        let deadline = self.deadline;
        let Role { process, read_stdout, read_stderr, .. } = self.role(name)?;
        let read = match stream {
            Stream::Stdout => read_stdout,
            Stream::Stderr => read_stderr,
        };
        match process.pick(stream, *read, deadline, pick) {
            Ok((value, next)) => {
                *read = next;
                Ok(value)
            }
            Err(why) => Err(self.missing(name, what, why)),
        }
    }

    /// Kills a process without warning, as a power failure does.
    ///
    /// # Errors
    /// When the system cannot wait for its end.
    pub fn kill(&mut self, name: &str) -> Result<(), DemoError> {
        let deadline = self.deadline;
        let process = &mut self.role(name)?.process;
        process.signal(Signal::KILL);
        process.wait(deadline)?;
        Ok(())
    }

    /// Kills all processes and waits until they have ended. Their last words stay.
    pub fn kill_all(&mut self) {
        let deadline = clock::now() + limits::ms(limits::STOP_DEADLINE_MS);
        for role in &mut self.roles {
            role.process.signal(Signal::KILL);
            // An error: the process is in the hands of the system.
            role.process.wait(deadline).ok();
        }
    }

    /// Closes the input of a process and waits for its end. The exit status tells whether a command failed.
    ///
    /// # Errors
    /// When the process does not end.
    pub fn finish(&mut self, name: &str) -> Result<ExitStatus, DemoError> {
        self.role(name)?.process.close_stdin();
        self.wait_for_end(name)
    }

    /// Terminates a process that takes no commands.
    ///
    /// # Errors
    /// When the process does not end.
    pub fn terminate(&mut self, name: &str) -> Result<ExitStatus, DemoError> {
        self.role(name)?.process.signal(Signal::TERM);
        self.wait_for_end(name)
    }

    fn wait_for_end(&mut self, name: &str) -> Result<ExitStatus, DemoError> {
        let deadline = self.deadline;
        let status = self.role(name)?.process.wait(deadline)?;
        if self.stop.is_triggered() { Err(DemoError::Interrupted) } else { Ok(status) }
    }

    /// The unread lines of standard error, to explain a failure.
    pub fn last_words(&self) -> Vec<String> {
        let of = |role: &Role| {
            let name = role.process.name().to_owned();
            let lines = role.process.since(Stream::Stderr, role.read_stderr).into_iter();
            lines.map(move |line| format!("{name}: {line}")).collect::<Vec<_>>()
        };
        self.roles.iter().flat_map(of).collect()
    }
}
