//! The server: the socket of a running node, and the threads that run the commands of its clients.
//!
//! The thread `local` accepts connections, reads requests, and cancels commands of closed connections. Worker
//! threads run one command each. Downloads have workers of their own, so that short commands never wait for a
//! download. There are limits for connections, waiting commands, the length of a request and its time. A
//! client that does not read its answer for some seconds is disconnected.

use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::socket::{DIRECTORY, is_same_user, socket_in};
use crate::cli::args::command::Command;
use crate::cli::args::prompt::PromptCommand;
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::output::sink::Sink;
use crate::cli::program::lifecycle::LAST_WORDS;
use crate::cli::run::session::{Next, Session};
use crate::cli::signals::Signals;
use crate::node::Node;
use crate::proto::event::Event;
use crate::rt::{Stop, Threads, clock};
use crate::types::{Millis, Printable, limits};

/// Pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket of a node. Dropping this value removes it.
#[derive(Debug)]
pub struct LocalSocket {
    share: PathBuf,
    path: PathBuf,
    /// `path` goes through this descriptor.
    _dir: OwnedFd,
}

/// A request for a worker.
struct Task {
    command: Result<Command, String>,
    stream: UnixStream,
    cancel: Stop,
    /// Triggered when the command has ended.
    finished: Stop,
}

/// A connection whose request is not complete.
struct Reading {
    stream: UnixStream,
    line: Vec<u8>,
    deadline: Instant,
}

/// A command that runs or waits, and its connection.
struct Running {
    stream: UnixStream,
    cancel: Stop,
    finished: Stop,
}

impl LocalSocket {
    /// Creates the socket of `share` and starts its threads, which end when the process leaves. Replaces the
    /// socket of a node that was killed. Call it only while `node` has the lock of the share.
    ///
    /// # Errors
    /// When the share cannot be written to, or the system gives no thread.
    pub fn start(
        node: &Arc<Node>,
        share: &Path,
        signals: &Signals,
        load_weight: Millis,
        threads: &Threads,
    ) -> io::Result<LocalSocket> {
        match DirBuilder::new().mode(0o700).create(share.join(DIRECTORY)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let (dir, path) = socket_in(share)?;
        let _was_not_there = fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let socket = LocalSocket { share: share.to_owned(), path, _dir: dir };
        let workers = |name: &str, count| -> io::Result<Sender<Task>> {
            let (queue, tasks) = bounded::<Task>(limits::HANDOFF_QUEUE_MAX);
            for number in 1..=count {
                let (node, signals, tasks) = (Arc::clone(node), signals.clone(), tasks.clone());
                let work = move || run_tasks(&node, &signals, load_weight, &tasks);
                threads.spawn(&format!("{name}-{number}"), work)?;
            }
            Ok(queue)
        };
        let (downloads, others) = (
            workers("local-download", limits::HANDOFF_DOWNLOADS_AT_ONCE)?,
            workers("local", limits::HANDOFF_AT_ONCE)?,
        );
        let leaving = signals.leaving().clone();
        let mut socket_server =
            SocketServer { listener, downloads, others, leaving, reading: Vec::new(), running: Vec::new() };
        threads.spawn_fallible("local", move || socket_server.serve())?;
        Ok(socket)
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.path);
        let _holds_unfinished_downloads = fs::remove_dir(self.share.join(DIRECTORY));
    }
}

/// The thread that serves all connections and never blocks on one.
struct SocketServer {
    listener: UnixListener,
    downloads: Sender<Task>,
    others: Sender<Task>,
    leaving: Stop,
    reading: Vec<Reading>,
    running: Vec<Running>,
}

/// The state of connections after a wait, in their order.
struct PollResult {
    /// Of [`SocketServer::reading`]: there is something to read.
    readable: Vec<bool>,
    /// Of [`SocketServer::running`]: the client has closed the connection.
    closed: Vec<bool>,
}

impl SocketServer {
    fn serve(&mut self) -> io::Result<()> {
        while !self.leaving.is_triggered() {
            let Some(PollResult { readable, closed }) = self.wait()? else { continue };
            self.cancel_closed(&closed);
            self.read(&readable);
            self.accept();
        }
        self.disconnect();
        Ok(())
    }

    /// Waits a moment until the clients of cancelled commands have their answers, and disconnects the others.
    fn disconnect(&mut self) {
        let deadline = clock::now() + LAST_WORDS;
        for one in &self.running {
            if !one.finished.wait_until(deadline) {
                let _gone_already = one.stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    /// Waits for connections, requests, and ended commands. `None`: a signal has interrupted it.
    fn wait(&self) -> io::Result<Option<PollResult>> {
        let now = clock::now();
        let soonest = self.reading.iter().map(|one| one.deadline.saturating_duration_since(now)).min();
        let timeout = soonest.map(clock::timespec);
        let mut fds = vec![PollFd::new(&self.leaving, PollFlags::IN)];
        // Without room, new connections wait in the backlog.
        let accepts =
            if self.reading.len() < limits::HANDOFF_READING_MAX { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::new(&self.listener, accepts));
        fds.extend(self.reading.iter().map(|one| PollFd::new(&one.stream, PollFlags::IN)));
        let connections_at = fds.len();
        // After its request a client sends nothing. A connection that is closed already is not polled again.
        let connected: Vec<usize> =
            (0..self.running.len()).filter(|&index| !self.running[index].cancel.is_triggered()).collect();
        fds.extend(connected.iter().map(|&index| PollFd::new(&self.running[index].stream, PollFlags::RDHUP)));
        fds.extend(self.running.iter().map(|one| PollFd::new(&one.finished, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let mut closed = vec![false; self.running.len()];
        for (fd, index) in fds[connections_at..].iter().zip(connected) {
            closed[index] = is_ready(fd);
        }
        Ok(Some(PollResult { readable: fds[2..connections_at].iter().map(is_ready).collect(), closed }))
    }

    /// Cancels the commands of closed connections, and forgets commands that have ended.
    fn cancel_closed(&mut self, closed: &[bool]) {
        for (one, is_closed) in self.running.iter().zip(closed) {
            if *is_closed {
                one.cancel.trigger();
            }
        }
        self.running.retain(|one| !one.finished.is_triggered());
    }

    /// Reads requests, and drops connections whose time is over.
    fn read(&mut self, readable: &[bool]) {
        let now = clock::now();
        let mut readable = readable.iter();
        for mut one in std::mem::take(&mut self.reading) {
            match readable.next() {
                Some(true) => match one.read() {
                    Ok(Some(command)) => self.dispatch(one.stream, command),
                    Ok(None) => self.reading.push(one),
                    // A program that does not speak the protocol gets no answer.
                    Err(_) => {}
                },
                _ if one.deadline > now => self.reading.push(one),
                _ => {}
            }
        }
    }

    /// Gives a request to a worker.
    fn dispatch(&mut self, stream: UnixStream, command: Result<Command, String>) {
        let parts = || -> io::Result<(UnixStream, Stop, Stop)> {
            stream.set_nonblocking(false)?;
            stream.set_write_timeout(Some(limits::ms(limits::HANDOFF_STALL_MS)))?;
            Ok((stream.try_clone()?, self.leaving.child()?, Stop::new()?))
        };
        let Ok((kept, cancel, finished)) = parts() else { return };
        let queue = match command {
            Ok(Command::Download(_)) => &self.downloads,
            _ => &self.others,
        };
        let task = Task { command, stream, cancel: cancel.clone(), finished: finished.clone() };
        match queue.try_send(task) {
            Ok(()) => self.running.push(Running { stream: kept, cancel, finished }),
            Err(refused) => {
                let mut sink = Sink::json(Box::new(refused.into_inner().stream), true);
                let why = "the node is busy with other jobs: try again later";
                send_end(&mut sink, Some(why), Exit::Error(ErrorCode::Other));
            }
        }
    }

    /// Accepts all connections that wait, while there is room.
    fn accept(&mut self) {
        while self.reading.len() < limits::HANDOFF_READING_MAX {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // Without a pause the loop would spin: the listener stays readable.
                    self.leaving.wait_until(clock::now() + ACCEPT_PAUSE);
                    return;
                }
            };
            if is_same_user(&stream) && stream.set_nonblocking(true).is_ok() {
                let deadline = clock::now() + limits::ms(limits::HANDOFF_REQUEST_MS);
                self.reading.push(Reading { stream, line: Vec::new(), deadline });
            }
        }
    }
}

impl Reading {
    /// The request, once the whole line has come. JSON that is no command is answered with an error.
    ///
    /// # Errors
    /// A line that is no JSON or too long, or a connection that has ended: the client gets no answer.
    fn read(&mut self) -> io::Result<Option<Result<Command, String>>> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.line.extend(&bytes[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        match self.line.iter().position(|byte| *byte == b'\n') {
            Some(end) => match serde_json::from_slice(&self.line[..end]) {
                Err(error) if !error.is_data() => Err(error.into()),
                command => Ok(Some(command.map_err(|error| {
                    format!("the request is no command: {}", Printable(&error.to_string()))
                }))),
            },
            None if self.line.len() > limits::LINE_MAX_BYTES => Err(io::ErrorKind::InvalidData.into()),
            None => Ok(None),
        }
    }
}

/// Runs the commands of a queue, until the process leaves.
fn run_tasks(node: &Node, signals: &Signals, load_weight: Millis, tasks: &Receiver<Task>) {
    loop {
        let task = select! {
            recv(tasks) -> task => task,
            recv(signals.leaving().receiver()) -> _ => return,
        };
        let Ok(Task { command, stream, cancel, finished }) = task else { return };
        let mut sink = Sink::json(Box::new(stream), true);
        let mut session = Session::of_client(node, &mut sink, signals, load_weight);
        let next = match command {
            Ok(command) => session.run(PromptCommand::Swarm(command), &cancel),
            Err(why) => session.refuse(&why),
        };
        if let Next::Continue(exit) = next {
            send_end(&mut sink, None, exit);
        }
        finished.trigger();
    }
}

/// Sends the last events of an answer.
fn send_end(sink: &mut Sink, why: Option<&str>, exit: Exit) {
    let error = why.and_then(|why| Some(Event::error(why, exit.error_code()?)));
    let end = exit.end();
    let _client_is_gone = sink.write(error.into_iter().chain([end]));
}
