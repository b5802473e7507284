//! The server: the socket of a running node, and the threads that run the commands of clients.
//!
//! The thread `local` accepts connections, reads requests, and cancels commands of closed connections. Worker
//! threads run one command each. Downloads have workers of their own, so that short commands never wait for a
//! download. There are limits for connections, waiting commands, and the length and duration of a request.
//! The server disconnects a client that does not read its answer for some seconds.

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

use super::socket::{DIRECTORY, is_trusted_user, socket_in};
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
    /// `path` goes through this descriptor, which must stay open.
    _directory_of_path: OwnedFd,
}

/// A request for a worker.
struct Task {
    /// `Err`: why the request is not a command. The worker sends this to the client.
    command: Result<Command, String>,
    stream: UnixStream,
    cancel: Stop,
    /// Triggered when the command has ended.
    finished: Stop,
}

/// A connection whose request is not complete.
struct IncompleteRequest {
    stream: UnixStream,
    line: Vec<u8>,
    deadline: Instant,
}

/// A command that runs or waits, and its connection.
struct RunningCommand {
    stream: UnixStream,
    cancel: Stop,
    finished: Stop,
}

impl LocalSocket {
    /// Creates the socket of `share` and starts its threads, which end when the process leaves. Replaces the
    /// socket of a node that was killed: call this function only while `node` has the lock of the share.
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
        // Usually there is none.
        fs::remove_file(&path).ok();
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let socket = LocalSocket { share: share.to_owned(), path, _directory_of_path: dir };
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
        let (incomplete, running) = (Vec::new(), Vec::new());
        let mut socket_server = SocketServer { listener, downloads, others, leaving, incomplete, running };
        threads.spawn_fallible("local", move || socket_server.serve())?;
        Ok(socket)
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        // A user may have removed the socket, and the directory may hold partial files.
        fs::remove_file(&self.path).ok();
        fs::remove_dir(self.share.join(DIRECTORY)).ok();
    }
}

/// The state of the thread `local`, which serves all connections and never blocks on one.
struct SocketServer {
    listener: UnixListener,
    /// The queue of the workers for downloads.
    downloads: Sender<Task>,
    /// The queue of the workers for all other commands.
    others: Sender<Task>,
    leaving: Stop,
    incomplete: Vec<IncompleteRequest>,
    running: Vec<RunningCommand>,
}

/// The state of connections after a wait.
struct PollResult {
    /// For each of [`SocketServer::incomplete`]: there is something to read.
    readable: Vec<bool>,
    /// For each of [`SocketServer::running`]: the client has closed the connection.
    closed: Vec<bool>,
}

impl SocketServer {
    fn serve(&mut self) -> io::Result<()> {
        while !self.leaving.is_triggered() {
            let Some(PollResult { readable, closed }) = self.wait()? else { continue };
            self.cancel_closed(&closed);
            self.read_requests(&readable);
            self.accept();
        }
        self.disconnect();
        Ok(())
    }

    /// The process leaves, which cancels all commands: waits a moment until they have ended with an answer,
    /// and disconnects the clients of the others.
    fn disconnect(&mut self) {
        let deadline = clock::now() + LAST_WORDS;
        for command in &self.running {
            if !command.finished.wait_until(deadline) {
                // Fails if the client has disconnected already.
                command.stream.shutdown(std::net::Shutdown::Both).ok();
            }
        }
    }

    /// Waits for connections, requests, closed connections, and the end of commands. `None`: a signal has
    /// interrupted the wait.
    fn wait(&self) -> io::Result<Option<PollResult>> {
        let now = clock::now();
        let until_deadline = |request: &IncompleteRequest| request.deadline.saturating_duration_since(now);
        let soonest = self.incomplete.iter().map(until_deadline).min();
        let timeout = soonest.map(clock::timespec);
        let mut fds = vec![PollFd::new(&self.leaving, PollFlags::IN)];
        // Without room, new connections wait in the backlog.
        let accepts = if self.has_room() { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::new(&self.listener, accepts));
        let requests_at = fds.len();
        fds.extend(self.incomplete.iter().map(|request| PollFd::new(&request.stream, PollFlags::IN)));
        let commands_at = fds.len();
        // After its request a client sends nothing: only its end of the connection matters. A connection that
        // is known to be closed would end each wait at once, so it is left out.
        let connected: Vec<usize> =
            (0..self.running.len()).filter(|&index| !self.running[index].cancel.is_triggered()).collect();
        fds.extend(connected.iter().map(|&index| PollFd::new(&self.running[index].stream, PollFlags::RDHUP)));
        fds.extend(self.running.iter().map(|command| PollFd::new(&command.finished, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let mut closed = vec![false; self.running.len()];
        for (fd, index) in fds[commands_at..].iter().zip(connected) {
            closed[index] = is_ready(fd);
        }
        let readable = fds[requests_at..commands_at].iter().map(is_ready).collect();
        Ok(Some(PollResult { readable, closed }))
    }

    /// Returns true if and only if a further connection can be accepted.
    fn has_room(&self) -> bool {
        self.incomplete.len() < limits::HANDOFF_READING_MAX
    }

    /// Cancels the commands of closed connections, and forgets commands that have ended.
    fn cancel_closed(&mut self, closed: &[bool]) {
        for (command, is_closed) in self.running.iter().zip(closed) {
            if *is_closed {
                command.cancel.trigger();
            }
        }
        self.running.retain(|command| !command.finished.is_triggered());
    }

    /// Reads requests, and disconnects clients whose time is over.
    fn read_requests(&mut self, readable: &[bool]) {
        let now = clock::now();
        let mut readable = readable.iter();
        for mut request in std::mem::take(&mut self.incomplete) {
            match readable.next() {
                Some(true) => match request.read() {
                    Ok(Some(command)) => self.dispatch(request.stream, command),
                    Ok(None) => self.incomplete.push(request),
                    // A program that does not speak the protocol gets no answer.
                    Err(_) => {}
                },
                _ if request.deadline > now => self.incomplete.push(request),
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
        // If the system gives no descriptor, the client is disconnected.
        let Ok((kept, cancel, finished)) = parts() else { return };
        let queue = match command {
            Ok(Command::Download(_)) => &self.downloads,
            _ => &self.others,
        };
        let task = Task { command, stream, cancel: cancel.clone(), finished: finished.clone() };
        match queue.try_send(task) {
            Ok(()) => self.running.push(RunningCommand { stream: kept, cancel, finished }),
            Err(full) => {
                let mut sink = Sink::json(Box::new(full.into_inner().stream), true);
                let why = "the node is busy with other commands: try again later";
                send_end(&mut sink, Some(why), Exit::Error(ErrorCode::Other));
            }
        }
    }

    /// Accepts all connections that wait, while there is room.
    fn accept(&mut self) {
        while self.has_room() {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // Without a pause the loop would spin: the listener stays readable.
                    self.leaving.wait_until(clock::now() + ACCEPT_PAUSE);
                    return;
                }
            };
            if is_trusted_user(&stream) && stream.set_nonblocking(true).is_ok() {
                let deadline = clock::now() + limits::ms(limits::HANDOFF_REQUEST_MS);
                self.incomplete.push(IncompleteRequest { stream, line: Vec::new(), deadline });
            }
        }
    }
}

impl IncompleteRequest {
    /// Reads what has come. `None`: the line is not complete yet. `Some(Err(_))`: the line is JSON, but not a
    /// command; the client gets this error as its answer.
    ///
    /// # Errors
    /// The line is not JSON or too long, or the connection has ended: the client gets no answer.
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
                    format!("the request is not a command: {}", Printable(&error.to_string()))
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
        // With any other result the client has gone.
        if let Next::Continue(exit) = next {
            send_end(&mut sink, None, exit);
        }
        finished.trigger();
    }
}

/// Sends the last events of an answer: the error `why` if there is one, and the end.
fn send_end(sink: &mut Sink, why: Option<&str>, exit: Exit) {
    let error = why.and_then(|why| Some(Event::error(why, exit.error_code()?)));
    let end = exit.end();
    // Fails if the client has gone.
    sink.write(error.into_iter().chain([end])).ok();
}
