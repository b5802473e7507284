//! Runs commands on a node, and writes their results as events.
//!
//! One command runs at a time. A command that fails writes an error and gives an exit code. The session
//! goes on until `exit`, or until results cannot be written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::session_jobs::{SessionJobs, WaitError};
use crate::cli::args::command::{Command, ListScope, ReplicateArgs};
use crate::cli::args::prompt::{CommandWords, Grammar, Language, PromptCommand};
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::output::render;
use crate::cli::output::sink::Sink;
use crate::cli::output::stdio::WriteEnd;
use crate::cli::signals::Signals;
use crate::node::{CommandError, DownloadError, DownloadRequest, FindReport, JobError, JobId, Node, events};
use crate::proto::event::{DownloadEvent, Event};
use crate::rt::{Stop, clock};
use crate::tracker::View;
use crate::types::{Liveness, Millis, Query};

/// How long `pause` and `cancel` wait until the download has stopped.
const JOB_STOP_WAIT: Duration = Duration::from_secs(2);
/// Why a download that the user cancels has no result.
pub(crate) const DOWNLOAD_CANCELLED: &str = "cancelled: fetched pieces stay, and the next `download` resumes";

/// What the caller does after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Read the next command. The last one has ended with this exit.
    Continue(Exit),
    /// Leave: the command was `exit`.
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
    jobs: SessionJobs,
    /// The node is a guest: it shares nothing, so its own stats are not shown.
    is_guest: bool,
    /// The tracker whose prompt this is.
    tracker: Option<View>,
    /// A Ctrl-C that makes the process leave also cancels the download for good: the user who leaves is the
    /// user who started it.
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
    pub fn text_if_over(&self) -> Option<String> {
        let time = self.time.filter(|_| self.is_over.load(Ordering::Relaxed))?;
        Some(format!("not finished in {}, the time of --timeout", humantime::format_duration(time)))
    }
}

/// Why a command has no result.
enum Failure {
    Command(CommandError),
    Job(JobError),
    /// Downloads that are paused do not end.
    Paused(Vec<JobId>),
    /// The error is written already.
    Written(Exit),
    Write(WriteEnd),
}

impl From<WriteEnd> for Failure {
    fn from(end: WriteEnd) -> Failure {
        Failure::Write(end)
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Failure {
        Failure::Command(error)
    }
}

impl From<WaitError> for Failure {
    fn from(error: WaitError) -> Failure {
        match error {
            WaitError::Job(error) => Failure::Job(error),
            WaitError::Paused(ids) => Failure::Paused(ids),
            WaitError::Cancelled => Failure::Command(CommandError::Cancelled),
        }
    }
}

/// The error of a command, with a line for each holder that does not answer.
fn command_text(error: &CommandError) -> String {
    let silent = match error {
        CommandError::NoneAnswered(silent) => silent.as_slice(),
        _ => &[],
    };
    let lines = silent.iter().map(|(addr, why)| render::silent_line(*addr, why));
    std::iter::once(error.to_string()).chain(lines).collect::<Vec<_>>().join("\n")
}

/// The error of a download.
fn download_text(error: &DownloadError) -> String {
    match error {
        DownloadError::Command(CommandError::Cancelled) => DOWNLOAD_CANCELLED.to_owned(),
        _ => content_text("download", error),
    }
}

/// The error of the command `verb`, which is for one content: with a line for each content to choose from.
fn content_text(verb: &str, error: &DownloadError) -> String {
    match error {
        DownloadError::Command(error) => command_text(error),
        DownloadError::Ambiguous { name, variants } => {
            format!("{verb}: {error}\n{}", render::variants(name, variants))
        }
        _ => format!("{verb}: {error}"),
    }
}

impl<'a> Session<'a> {
    /// A session of a prompt or a pipe. `load_weight` is the weight of the load in the scores of the node.
    pub fn new(node: &'a Node, sink: &'a mut Sink, signals: &'a Signals, load_weight: Millis) -> Session<'a> {
        let (time_limit, grammar) = (TimeLimit::default(), Grammar::new(Language::Node));
        let jobs = SessionJobs::watch(node);
        let (is_guest, tracker, leaving_cancels) = (false, None, true);
        Session {
            node,
            sink,
            signals,
            load_weight,
            time_limit,
            grammar,
            jobs,
            is_guest,
            tracker,
            leaving_cancels,
        }
    }

    /// A session for a client of the local socket. A user who stops the node does not cancel the download of
    /// the client.
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

    /// What the user must know when the session ends before its background downloads; `None`: all have ended.
    pub fn unfinished_text(&self) -> Option<String> {
        let count = self.jobs.unfinished();
        let what = if count == 1 { "1 download is" } else { &format!("{count} downloads are") };
        let kept = "fetched pieces stay, and the next node on this directory resumes";
        (count > 0).then(|| format!("{what} not finished: {kept}"))
    }

    /// Writes why a line is not a command.
    pub fn refuse(&mut self, why: &str) -> Next {
        let written = self.sink.write([Event::error(why, ErrorCode::Usage)]);
        next_after(written.map(|()| Exit::Error(ErrorCode::Usage)))
    }

    /// Runs one command until it ends or `cancel` is triggered.
    pub fn run(&mut self, command: PromptCommand, cancel: &Stop) -> Next {
        if command == PromptCommand::Exit {
            return Next::Leave;
        }
        next_after(match self.run_prompt_command(command, cancel) {
            Ok(exit) | Err(Failure::Written(exit)) => Ok(exit),
            Err(Failure::Job(error)) => {
                let written = self.sink.write([Event::error(error.to_string(), ErrorCode::Usage)]);
                written.map(|()| Exit::Error(ErrorCode::Usage))
            }
            Err(Failure::Paused(ids)) => {
                let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let why = format!("wait: paused, so it does not end: {ids}: `resume` lets it continue");
                let code = ErrorCode::Interrupted;
                self.sink.write([Event::error(why, code)]).map(|()| Exit::Error(code))
            }
            Err(Failure::Write(end)) => Err(end),
            Err(Failure::Command(error)) => {
                let (why, code) = self.reason(command_text(&error), ErrorCode::from(&error));
                self.sink.write([Event::error(why, code)]).map(|()| Exit::Error(code))
            }
        })
    }

    fn run_prompt_command(&mut self, command: PromptCommand, cancel: &Stop) -> Result<Exit, Failure> {
        match command {
            PromptCommand::Swarm(command) => return self.run_swarm_command(command, cancel),
            PromptCommand::Background(download) => {
                let id = self.jobs.start(self.node, &download.request(), cancel)?;
                self.show_job(id)?;
            }
            PromptCommand::Jobs => self.sink.write(self.node.jobs().iter().map(events::job_event))?,
            PromptCommand::Cancel(job) => self.stop_job(job.id, Node::cancel)?,
            PromptCommand::Pause(job) => self.stop_job(job.id, Node::pause)?,
            PromptCommand::Resume(job) => {
                self.node.resume(job.id).map_err(Failure::Job)?;
                self.show_job(job.id)?;
            }
            PromptCommand::Wait(args) => {
                let failure = match args.id {
                    Some(id) => self.jobs.wait_for(self.node, id, cancel)?,
                    None => self.jobs.wait_for_all(self.node, cancel)?,
                };
                return Ok(failure.map_or(Exit::Success, Exit::Error));
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
            // `run` has returned before.
            PromptCommand::Exit => {}
        }
        Ok(Exit::Success)
    }

    fn run_swarm_command(&mut self, command: Command, cancel: &Stop) -> Result<Exit, Failure> {
        match command {
            Command::Updatelist => {
                let scan = self.node.update_list(cancel)?;
                self.sink.write([events::update_event(&scan)])?;
            }
            Command::Find(query) => {
                let report = self.node.find(&query.0, cancel)?;
                self.sink.write(events::find_events(&query.0, &report))?;
                return Ok(exit_of(&report));
            }
            Command::Sources(query) => {
                let report = self.node.find(&query.0, cancel)?;
                let mut explained = events::sources_events(&report, self.load_weight);
                if report.groups.is_empty() {
                    explained.extend(events::find_events(&query.0, &FindReport::default()));
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
            Command::List(list) => match list.scope() {
                ListScope::Own(origin) => {
                    let files = self.node.files();
                    let listed =
                        files.iter().filter(|file| origin.is_none_or(|origin| origin == file.origin));
                    self.sink.write(listed.map(events::file_event))?;
                }
                ListScope::Swarm => self.list_swarm(cancel)?,
            },
            Command::Nodes => self.sink.write(self.node.nodes(cancel)?.iter().map(Event::node))?,
            Command::Stats => self.stats(cancel)?,
            Command::Replicate(ReplicateArgs { query, copies }) => {
                return self.replicate(&query.0, copies, cancel);
            }
        }
        Ok(Exit::Success)
    }

    fn replicate(&mut self, query: &Query, copies: u32, cancel: &Stop) -> Result<Exit, Failure> {
        match self.node.replicate(query, copies, cancel) {
            Ok(report) => {
                let event = events::replication_event(&report);
                let shortfall = report.status.shortfall();
                self.sink.write([event])?;
                self.sink.explain(shortfall.as_deref());
                Ok(Exit::Success)
            }
            Err(error) => {
                let (why, code) = self.reason(content_text("replicate", &error), ErrorCode::from(&error));
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
    ) -> Result<(), Failure> {
        stop(self.node, id).map_err(Failure::Job)?;
        self.jobs.wait_until_stopped(self.node, id, clock::now() + JOB_STOP_WAIT);
        Ok(self.show_job(id)?)
    }

    /// Shows a job, if the node still lists it.
    fn show_job(&mut self, id: JobId) -> Result<(), WriteEnd> {
        let job = self.node.jobs().into_iter().find(|job| job.id == id);
        self.sink.write(job.iter().map(events::job_event))
    }

    fn download(&mut self, request: &DownloadRequest, cancel: &Stop) -> Result<(), Failure> {
        let (mut pacing, sink) = (self.sink.pacing(), &mut *self.sink);
        let mut write_end = None;
        // Ends this download alone if its events cannot be written.
        let download_cancel = cancel.child().map_err(|error| CommandError::System(error.to_string()))?;
        let result = self.node.download(request, &download_cancel, &mut |event| {
            let events = pacing.pass(event, clock::now());
            if let Err(end) = sink.write(events.into_iter().map(Event::Download)) {
                write_end.get_or_insert(end);
                download_cancel.trigger();
            }
        });
        let is_cancelled = result == Err(DownloadError::Command(CommandError::Cancelled));
        if is_cancelled && self.is_unwanted(&download_cancel) {
            self.node.quarantine(&request.name);
        }
        if let Some(end) = write_end {
            return Err(end.into());
        }
        let now = clock::now();
        match result {
            Ok(done) => {
                let done = pacing.pass(events::done_event(&done), now);
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
                Err(Failure::Written(Exit::Error(code)))
            }
        }
    }

    /// Returns true if and only if the node must not resume by itself a cancelled download: its user has
    /// cancelled it, or the reader of its events has left.
    fn is_unwanted(&self, cancel: &Stop) -> bool {
        if self.signals.leaving().is_triggered() {
            self.leaving_cancels && self.signals.is_by_user()
        } else {
            cancel.is_triggered()
        }
    }

    /// The reason and code of a failure. If the command was cancelled because its time is over, they say so.
    fn reason(&self, why: String, code: ErrorCode) -> (String, ErrorCode) {
        match self.time_limit.text_if_over().filter(|_| code == ErrorCode::Interrupted) {
            Some(late) => (late, ErrorCode::TimedOut),
            None => (why, code),
        }
    }

    fn list_swarm(&mut self, cancel: &Stop) -> Result<(), Failure> {
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

    fn stats(&mut self, cancel: &Stop) -> Result<(), Failure> {
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
                stat("announces", Some(tally.publications)),
                stat("finds", Some(tally.finds.total())),
                stat("finds_found", Some(tally.finds.with_rows())),
            ]);
        }
        Ok(self.sink.write(stats)?)
    }
}

fn stat(name: &str, value: Option<u64>) -> Event {
    Event::Stat { name: name.to_owned(), value }
}

/// The exit of `find` and `sources`: an error if there is no holder.
fn exit_of(report: &FindReport) -> Exit {
    let is_empty = report.groups.iter().all(|group| group.rows.is_empty());
    if is_empty { Exit::Error(ErrorCode::NotFound) } else { Exit::Success }
}

/// What the caller does after a command with this result.
fn next_after(result: Result<Exit, WriteEnd>) -> Next {
    match result {
        Ok(exit) => Next::Continue(exit),
        Err(end) => Next::Unwritable(end.exit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cancelled_download_says_that_pieces_stay() {
        let cancelled = DownloadError::Command(CommandError::Cancelled);
        assert_eq!(download_text(&cancelled), DOWNLOAD_CANCELLED);
        assert_eq!(content_text("replicate", &cancelled), "cancelled");
    }

    #[test]
    fn an_error_begins_with_its_command_and_names_stay_unchanged() {
        let error = DownloadError::NotFound("download: x".to_owned());
        assert_eq!(download_text(&error), "download: no node has `download: x`");
        assert_eq!(content_text("replicate", &error), "replicate: no node has `download: x`");
    }
}
