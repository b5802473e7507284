//! Runs commands on a node, and publishes their results as events.
//!
//! One command runs at a time. A command that fails publishes an error and gives an exit code. The session
//! goes on until `exit`, or until results cannot be written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::cli::args::command::{Command, Listed, ReplicateArgs};
use crate::cli::args::prompt::{CommandWords, Grammar, Language, PromptCommand};
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::output::render;
use crate::cli::output::sink::Sink;
use crate::cli::output::stdio::WriteEnd;
use crate::cli::signals::Signals;
use crate::node::{
    CommandError, DownloadError, DownloadRequest, FindReport, JobChange, JobError, JobId, JobState, Node,
    events,
};
use crate::proto::event::{DownloadEvent, Event};
use crate::rt::{Stop, clock};
use crate::tracker::View;
use crate::types::{Liveness, Millis, Query};

/// How long `pause` and `cancel` wait until the download has stopped.
const JOB_STOP_WAIT: Duration = Duration::from_secs(2);

/// What the caller does after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Read the next line. The command has ended with this exit.
    Continue(Exit),
    /// Leave: the line was `exit`.
    Leave,
    /// Leave with this exit: results cannot be written.
    Unwritable(Exit),
}

/// A node, the sink of its results, and the language of its lines.
#[derive(Debug)]
pub struct Session<'a> {
    node: &'a Node,
    sink: &'a mut Sink,
    signals: &'a Signals,
    load_weight: Millis,
    time_limit: TimeLimit,
    grammar: Grammar,
    /// The node is a guest and has no counters of its own.
    is_guest: bool,
    /// The tracker of this prompt.
    tracker: Option<View>,
    /// A Ctrl-C that makes the process leave also cancels the download for good: the same user has started
    /// it.
    leaving_cancels: bool,
}

/// The time limit of a command.
#[derive(Debug, Clone, Default)]
pub struct TimeLimit {
    /// The value of `--timeout`.
    pub time: Option<Duration>,
    /// The time is over, and the command was cancelled for that reason.
    pub is_over: Arc<AtomicBool>,
}

impl TimeLimit {
    /// The reason of a command that was cancelled because its time is over; `None`: the time is not over.
    pub fn message(&self) -> Option<String> {
        let time = self.time.filter(|_| self.is_over.load(Ordering::Relaxed))?;
        Some(format!("not finished in {}, the time of --timeout", humantime::format_duration(time)))
    }
}

/// Why a command has no result.
enum Failed {
    Command(CommandError),
    Job(JobError),
    /// The error is published already.
    Published(Exit),
    Write(WriteEnd),
}

impl From<WriteEnd> for Failed {
    fn from(end: WriteEnd) -> Failed {
        Failed::Write(end)
    }
}

impl From<CommandError> for Failed {
    fn from(error: CommandError) -> Failed {
        Failed::Command(error)
    }
}

/// The error of a command, with a line for each holder that does not answer.
fn command_text(error: &CommandError) -> String {
    let silent = match error {
        CommandError::NoneAnswered(silent) => silent.as_slice(),
        _ => &[],
    };
    let silent = silent.iter().map(|(addr, why)| render::silent(*addr, why));
    std::iter::once(error.to_string()).chain(silent).collect::<Vec<_>>().join("\n")
}

/// The error of a download, with a line for each content to choose from.
fn download_text(error: &DownloadError) -> String {
    match error {
        DownloadError::Command(CommandError::Cancelled) => {
            "cancelled: fetched pieces stay, and the next `download` resumes".to_owned()
        }
        DownloadError::Command(error) => command_text(error),
        DownloadError::Ambiguous { name, variants } => {
            format!("download: {error}\n{}", render::variants(name, variants))
        }
        _ => format!("download: {error}"),
    }
}

impl<'a> Session<'a> {
    /// A session of a prompt or a pipe. `load_weight` is what the node ranks with.
    pub fn new(node: &'a Node, sink: &'a mut Sink, signals: &'a Signals, load_weight: Millis) -> Session<'a> {
        let (time_limit, grammar) = (TimeLimit::default(), Grammar::new(Language::Node));
        let (is_guest, tracker, leaving_cancels) = (false, None, true);
        Session { node, sink, signals, load_weight, time_limit, grammar, is_guest, tracker, leaving_cancels }
    }

    /// A session for a client of the local socket. A user who stops the node does not cancel its command.
    pub fn of_client(
        node: &'a Node,
        sink: &'a mut Sink,
        signals: &'a Signals,
        load_weight: Millis,
    ) -> Session<'a> {
        Session { leaving_cancels: false, ..Session::new(node, sink, signals, load_weight) }
    }

    /// A session of a guest, whose lines are in `language`.
    pub fn of_guest(
        node: &'a Node,
        sink: &'a mut Sink,
        signals: &'a Signals,
        load_weight: Millis,
        language: Language,
    ) -> Session<'a> {
        let grammar = Grammar::new(language);
        Session { grammar, is_guest: true, ..Session::new(node, sink, signals, load_weight) }
    }

    /// What may be typed, for completion.
    pub fn words(&self) -> Vec<CommandWords> {
        self.grammar.words()
    }

    /// Makes `stats` show a tracker's own counters too.
    pub fn set_tracker(&mut self, tracker: View) {
        self.tracker = Some(tracker);
    }

    /// Names this limit as the reason of a command that was cancelled when its time was over.
    pub fn set_time_limit(&mut self, time_limit: TimeLimit) {
        self.time_limit = time_limit;
    }

    /// The node that runs the commands.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Runs one line until it ends or `cancel` is triggered.
    pub fn run_line(&mut self, line: &str, cancel: &Stop) -> Next {
        match self.grammar.parse(line) {
            Ok(Some(command)) => self.run(command, cancel),
            Ok(None) => Next::Continue(Exit::Success),
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    /// Publishes why a line is no command.
    pub fn refuse(&mut self, why: &str) -> Next {
        let written = self.sink.write([Event::error(why, ErrorCode::Usage)]);
        next(written.map(|()| Exit::Error(ErrorCode::Usage)))
    }

    /// Runs one command until it ends or `cancel` is triggered.
    pub fn run(&mut self, command: PromptCommand, cancel: &Stop) -> Next {
        if command == PromptCommand::Exit {
            return Next::Leave;
        }
        let ended = match self.result(command, cancel) {
            Ok(exit) | Err(Failed::Published(exit)) => Ok(exit),
            Err(Failed::Job(error)) => {
                let written = self.sink.write([Event::error(error.to_string(), ErrorCode::Usage)]);
                written.map(|()| Exit::Error(ErrorCode::Usage))
            }
            Err(Failed::Write(end)) => Err(end),
            Err(Failed::Command(error)) => {
                let (why, code) = self.reason(command_text(&error), ErrorCode::from(&error));
                self.sink.write([Event::error(why, code)]).map(|()| Exit::Error(code))
            }
        };
        next(ended)
    }

    fn result(&mut self, command: PromptCommand, cancel: &Stop) -> Result<Exit, Failed> {
        match command {
            PromptCommand::Swarm(command) => return self.swarm_result(command, cancel),
            PromptCommand::Background(download) => {
                let id = self.node.start_download(download.request()).map_err(Failed::Job)?;
                self.show_job(id)?;
            }
            PromptCommand::Jobs => self.sink.write(self.node.jobs().iter().map(events::job))?,
            PromptCommand::Cancel(job) => self.stop_job(job.id, Node::cancel)?,
            PromptCommand::Pause(job) => self.stop_job(job.id, Node::pause)?,
            PromptCommand::Resume(job) => {
                self.node.resume(job.id).map_err(Failed::Job)?;
                self.show_job(job.id)?;
            }
            PromptCommand::Limit(args) => {
                if let Some(limit) = args.limit {
                    self.node.set_max_upload(limit.bytes_per_s());
                }
                let max_upload_bytes_per_s = self.node.max_upload();
                self.sink.write([Event::Limit { max_upload_bytes_per_s }])?;
            }
            PromptCommand::Help(_) => self.sink.write([Event::Help { text: self.grammar.help() }])?,
            PromptCommand::HelpText(text) => self.sink.write([Event::Help { text }])?,
            PromptCommand::Exit => {}
        }
        Ok(Exit::Success)
    }

    fn swarm_result(&mut self, command: Command, cancel: &Stop) -> Result<Exit, Failed> {
        match command {
            Command::Updatelist => {
                let scan = self.node.update_list(cancel)?;
                self.sink.write([events::updated(&scan)])?;
            }
            Command::Find(query) => {
                let report = self.node.find(&query.0, cancel)?;
                self.sink.write(events::found(&query.0, &report))?;
                return Ok(exit_of(&report));
            }
            Command::Sources(query) => {
                let report = self.node.find(&query.0, cancel)?;
                let mut explained = events::explained(&report, self.load_weight);
                if report.groups.is_empty() {
                    explained.extend(events::found(&query.0, &FindReport::default()));
                }
                self.sink.write(explained)?;
                return Ok(exit_of(&report));
            }
            Command::Download(download) => self.download(&download.request(), cancel)?,
            Command::Getload(args) => {
                let addr = args.addr();
                let load = self.node.load_of(addr, cancel)?;
                self.sink.write([Event::Load { addr, load }])?;
            }
            Command::List(list) => match list.listed() {
                Listed::Own(kind) => {
                    let files = self.node.files();
                    let listed = files.iter().filter(|file| kind.is_none_or(|kind| kind == file.kind));
                    self.sink.write(listed.map(events::file))?;
                }
                Listed::Swarm => self.list_swarm(cancel)?,
            },
            Command::Nodes => self.sink.write(self.node.nodes(cancel)?.iter().map(Event::node))?,
            Command::Stats => self.stats(cancel)?,
            Command::Replicate(ReplicateArgs { query, copies }) => {
                return self.replicate(&query.0, copies, cancel);
            }
        }
        Ok(Exit::Success)
    }

    fn replicate(&mut self, query: &Query, copies: u32, cancel: &Stop) -> Result<Exit, Failed> {
        match self.node.replicate(query, copies, cancel) {
            Ok(report) => {
                let event = events::replication(&report);
                let shortfall = report.status.shortfall();
                self.sink.write([event])?;
                self.sink.explain(shortfall.as_deref());
                Ok(Exit::Success)
            }
            Err(error) => {
                let (why, code) = self.reason(download_text(&error), ErrorCode::from(&error));
                let why = why.replacen("download: ", "replicate: ", 1);
                self.sink.write([Event::error(why, code)])?;
                Ok(Exit::Error(code))
            }
        }
    }

    /// Cancels or pauses a job by `stop`, waits until the download has stopped, and shows the job.
    fn stop_job(
        &mut self,
        id: JobId,
        stop: impl FnOnce(&Node, JobId) -> Result<(), JobError>,
    ) -> Result<(), Failed> {
        let (change, changed) = bounded(1);
        let _watching = self.node.watch(move |event| {
            if let (true, JobChange::State(_) | JobChange::Ended(_)) = (event.id == id, event.change) {
                let _is_known_already = change.try_send(());
            }
        });
        stop(self.node, id).map_err(Failed::Job)?;
        let runs = || self.node.jobs().iter().any(|job| job.id == id && job.state == JobState::Running);
        let deadline = clock::now() + JOB_STOP_WAIT;
        while runs() && changed.recv_deadline(deadline).is_ok() {}
        Ok(self.show_job(id)?)
    }

    /// Shows a job.
    fn show_job(&mut self, id: JobId) -> Result<(), WriteEnd> {
        let job = self.node.jobs().into_iter().find(|job| job.id == id);
        self.sink.write(job.iter().map(events::job))
    }

    fn download(&mut self, request: &DownloadRequest, cancel: &Stop) -> Result<(), Failed> {
        let (mut pacing, sink) = (self.sink.pacing(), &mut *self.sink);
        let mut unwritable = None;
        // Ends this download if its events cannot be written.
        let own_cancel = cancel.child().map_err(|error| CommandError::System(error.to_string()))?;
        let downloaded = self.node.download(request, &own_cancel, &mut |event| {
            let events = pacing.pass(event, clock::now());
            if let Err(end) = sink.write(events.into_iter().map(Event::Download)) {
                unwritable.get_or_insert(end);
                own_cancel.trigger();
            }
        });
        let is_cancelled = downloaded == Err(DownloadError::Command(CommandError::Cancelled));
        if is_cancelled && self.is_unwanted(&own_cancel) {
            self.node.set_aside(&request.name);
        }
        if let Some(end) = unwritable {
            return Err(end.into());
        }
        let now = clock::now();
        match downloaded {
            Ok(done) => {
                let done = pacing.pass(events::done(&done), now);
                Ok(self.sink.write(done.into_iter().map(Event::Download))?)
            }
            Err(error) => {
                let (why, code) = self.reason(download_text(&error), ErrorCode::from(&error));
                // A signal that ends the program has a code of its own.
                let leaves = self.signals.exit().filter(|_| self.leaving_cancels);
                let exit_code = match (code, leaves) {
                    (ErrorCode::Interrupted, Some(exit)) => exit.code(),
                    _ => code.exit_code(),
                };
                let end = DownloadEvent::Failed { name: request.name.clone(), why, code, exit_code };
                self.sink.write(pacing.pass(end, now).into_iter().map(Event::Download))?;
                Err(Failed::Published(Exit::Error(code)))
            }
        }
    }

    /// Returns true if and only if a download that `cancel` has ended is not resumed by itself: the user has
    /// cancelled it, or its reader has left.
    fn is_unwanted(&self, cancel: &Stop) -> bool {
        if self.signals.leaving().is_triggered() {
            self.leaving_cancels && self.signals.is_cancel()
        } else {
            cancel.is_triggered()
        }
    }

    /// The reason and code of a failure. A command whose time is over was cancelled for that.
    fn reason(&self, why: String, code: ErrorCode) -> (String, ErrorCode) {
        match self.time_limit.message().filter(|_| code == ErrorCode::Interrupted) {
            Some(late) => (late, ErrorCode::TimedOut),
            None => (why, code),
        }
    }

    fn list_swarm(&mut self, cancel: &Stop) -> Result<(), Failed> {
        let (mut names, mut more) = self.node.swarm_names(None, cancel)?;
        loop {
            let last = names.last().cloned();
            self.sink.write(names.into_iter().map(|name| Event::Name { name }))?;
            if !more || last.is_none() {
                return Ok(());
            }
            (names, more) = self.node.swarm_names(last, cancel)?;
        }
    }

    fn stats(&mut self, cancel: &Stop) -> Result<(), Failed> {
        let nodes = self.node.nodes(cancel)?;
        let count = |liveness| Some(nodes.iter().filter(|node| node.liveness == liveness).count() as u64);
        let mut stats = vec![
            stat("nodes_live", count(Liveness::Live)),
            stat("nodes_suspect", count(Liveness::Suspect)),
            stat("nodes_unproved", count(Liveness::Unproved)),
        ];
        if !self.is_guest {
            let (files, uploads) = (self.node.files(), self.node.upload_meter().now());
            stats.extend([
                stat("shared_files", Some(files.len() as u64)),
                stat("shared_bytes", Some(files.iter().map(|file| file.entry.size_bytes).sum())),
                stat("uploaded_bytes", Some(uploads.sent_bytes)),
                stat("upload_peers", Some(uploads.peers as u64)),
            ]);
            stats.extend(self.node.stats().events());
        }
        if let Some(tracker) = &self.tracker {
            let tally = tracker.stats();
            stats.extend([
                stat("files", Some(tracker.counts().files as u64)),
                stat("announces", Some(tally.announces)),
                stat("finds", Some(tally.finds.total())),
                stat("finds_found", Some(tally.finds.found.iter().sum())),
            ]);
        }
        Ok(self.sink.write(stats)?)
    }
}

fn stat(name: &str, value: Option<u64>) -> Event {
    Event::Stat { name: name.to_owned(), value }
}

/// The exit of `find` and `sources`.
fn exit_of(report: &FindReport) -> Exit {
    let is_empty = report.groups.iter().all(|group| group.rows.is_empty());
    if is_empty { Exit::Error(ErrorCode::NotFound) } else { Exit::Success }
}

/// What the caller does after a command that has ended so.
fn next(ended: Result<Exit, WriteEnd>) -> Next {
    match ended {
        Ok(exit) => Next::Continue(exit),
        Err(end) => Next::Unwritable(end.exit()),
    }
}
