//! Runs commands against a node, and tells what comes of them as events.
//!
//! One command at a time. A command that fails is told and gives its exit code; only the writer of results
//! can end the session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::cli::args::command::{self, Command, Deed, Listed, ParseError};
use crate::cli::args::verbs;
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::output::render;
use crate::cli::output::sink::Sink;
use crate::cli::output::stdio::WriteEnd;
use crate::cli::signals::Signals;
use crate::node::{
    CommandError, DownloadError, DownloadRequest, FindReport, JobError, JobId, JobState, Node, What, events,
};
use crate::proto::event::{DownloadEvent, Event};
use crate::rt::{Stop, clock};
use crate::tracker::View;
use crate::types::{Liveness, Millis, Query};

/// A download that is paused or cancelled is waited for so long.
const JOB_STOPS: Duration = Duration::from_secs(2);

/// What is next after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The command ended so; read on.
    Continue(Exit),
    /// `exit` was typed.
    Leave,
    /// Results can no longer be written: leave with this.
    Unwritable(Exit),
}

/// Whose words are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Node,
    /// Those of a tracker's prompt, which asks as a guest.
    Tracker,
}

impl Language {
    fn parse(self, line: &str) -> Result<Option<Command>, ParseError> {
        match self {
            Language::Node => command::parse(line),
            Language::Tracker => command::parse_tracker(line),
        }
    }

    fn help(self) -> &'static str {
        match self {
            Language::Node => command::HELP,
            Language::Tracker => command::TRACKER_HELP,
        }
    }

    /// Every word that begins a command.
    pub fn verbs(self) -> &'static [&'static str] {
        match self {
            Language::Node => &command::VERBS,
            Language::Tracker => &command::TRACKER_VERBS,
        }
    }
}

/// What clap says of a command, else its line in the one page of help.
fn help_on(verb: &str) -> String {
    let line = || {
        let mut lines = command::HELP.lines().filter(|line| line.split([' ', ',']).any(|word| word == verb));
        lines.next().unwrap_or(command::HELP).to_owned()
    };
    verbs::help(verb).unwrap_or_else(line)
}

/// A node and where its results go.
#[derive(Debug)]
pub struct Session<'a> {
    node: &'a Node,
    sink: Sink,
    signals: &'a Signals,
    load_weight: Millis,
    patience: Patience,
    language: Language,
    /// It shares nothing: there are figures of others alone.
    is_guest: bool,
    /// The tracker at whose prompt this is.
    tracker: Option<View>,
    /// Who leaves by Ctrl-C cancels what runs: whoever asked for it is the one who presses it.
    leaving_cancels: bool,
}

/// How long commands may take.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    /// As it was given.
    pub time: Option<Duration>,
    /// It is over: what is cancelled now is cancelled for that.
    pub is_over: Arc<AtomicBool>,
}

impl Patience {
    /// What to say of a command that was cancelled because its time is over.
    pub fn verdict(&self) -> Option<String> {
        let time = self.time.filter(|_| self.is_over.load(Ordering::Relaxed))?;
        Some(format!("not done in {}, the time of --timeout", humantime::format_duration(time)))
    }
}

/// Why a command has no result.
enum Failed {
    Command(CommandError),
    Job(JobError),
    /// Told already.
    Told(Exit),
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

fn command_text(error: &CommandError) -> String {
    let silent = match error {
        CommandError::NoneAnswered(silent) => silent.as_slice(),
        _ => &[],
    };
    let silent = silent.iter().map(|(addr, why)| render::silent(*addr, why));
    std::iter::once(error.to_string()).chain(silent).collect::<Vec<_>>().join("\n")
}

fn download_text(error: &DownloadError) -> String {
    match error {
        DownloadError::Command(CommandError::Cancelled) => {
            "cancelled: what was fetched stays, and the next `download` of it goes on".to_owned()
        }
        DownloadError::Command(error) => command_text(error),
        DownloadError::Ambiguous { name, variants } => {
            format!("download: {error}\n{}", render::variants(name, variants))
        }
        _ => format!("download: {error}"),
    }
}

impl<'a> Session<'a> {
    /// `load_weight` is what the node ranks with.
    pub fn new(node: &'a Node, sink: Sink, signals: &'a Signals, load_weight: Millis) -> Session<'a> {
        let patience = Patience::default();
        let (language, is_guest) = (Language::Node, false);
        let (tracker, leaving_cancels) = (None, true);
        Session { node, sink, signals, load_weight, patience, language, is_guest, tracker, leaving_cancels }
    }

    /// The same for one who asks from elsewhere: whoever stops the node does not mean that.
    pub fn of_client(node: &'a Node, sink: Sink, signals: &'a Signals, load_weight: Millis) -> Session<'a> {
        Session { leaving_cancels: false, ..Session::new(node, sink, signals, load_weight) }
    }

    /// The same for a guest, which understands `language`.
    pub fn of_guest(
        node: &'a Node,
        sink: Sink,
        signals: &'a Signals,
        load_weight: Millis,
        language: Language,
    ) -> Session<'a> {
        Session { language, is_guest: true, ..Session::new(node, sink, signals, load_weight) }
    }

    pub fn language(&self) -> Language {
        self.language
    }

    /// Has `stats` show a tracker's own figures too.
    pub fn set_tracker(&mut self, tracker: View) {
        self.tracker = Some(tracker);
    }

    /// Commands are cancelled, by whoever counts the time, when it is over.
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    pub fn into_sink(self) -> Sink {
        self.sink
    }

    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Runs one line until it ends or `cancel` is triggered.
    pub fn run_line(&mut self, line: &str, cancel: &Stop) -> Next {
        match self.language.parse(line) {
            Ok(Some(command)) => self.run(command, cancel),
            Ok(None) => Next::Continue(Exit::Success),
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    /// Tells of a line that is no command.
    pub fn refuse(&mut self, why: &str) -> Next {
        let told = self.sink.tell([Event::error(why, ErrorCode::Usage)]);
        next(told.map(|()| Exit::Error(ErrorCode::Usage)))
    }

    /// Tells of something beside commands.
    ///
    /// # Errors
    /// See [`WriteEnd`].
    pub fn tell(&mut self, event: Event) -> Result<(), WriteEnd> {
        self.sink.tell([event])
    }

    /// Runs one command until it ends or `cancel` is triggered.
    pub fn run(&mut self, command: Command, cancel: &Stop) -> Next {
        if command == Command::Exit {
            return Next::Leave;
        }
        let ended = match self.result(command, cancel) {
            Ok(exit) | Err(Failed::Told(exit)) => Ok(exit),
            Err(Failed::Job(error)) => {
                let told = self.sink.tell([Event::error(error.to_string(), ErrorCode::Usage)]);
                told.map(|()| Exit::Error(ErrorCode::Usage))
            }
            Err(Failed::Write(end)) => Err(end),
            Err(Failed::Command(error)) => {
                let (why, code) = self.verdict(command_text(&error), ErrorCode::from(&error));
                self.sink.tell([Event::error(why, code)]).map(|()| Exit::Error(code))
            }
        };
        next(ended)
    }

    fn result(&mut self, command: Command, cancel: &Stop) -> Result<Exit, Failed> {
        match command {
            Command::UpdateList => {
                let scan = self.node.update_list(cancel)?;
                self.sink.tell([events::updated(&scan)])?;
            }
            Command::Find(query) => {
                let report = self.node.find(&query, cancel)?;
                self.sink.tell(events::found(&query, &report))?;
                return Ok(exit_of(&report));
            }
            Command::Sources(query) => {
                let report = self.node.find(&query, cancel)?;
                let mut explained = events::explained(&report, self.load_weight);
                if report.groups.is_empty() {
                    explained.extend(events::found(&query, &FindReport::default()));
                }
                self.sink.tell(explained)?;
                return Ok(exit_of(&report));
            }
            Command::Download(request) => self.download(&request, cancel)?,
            Command::GetLoad(addr) => {
                let load = self.node.load_of(addr, cancel)?;
                self.sink.tell([Event::Load { addr, load }])?;
            }
            Command::List(Listed::Own(kind)) => {
                let files = self.node.files();
                let listed = files.iter().filter(|file| kind.is_none_or(|kind| kind == file.kind));
                self.sink.tell(listed.map(events::file))?;
            }
            Command::List(Listed::Swarm) => self.list_swarm(cancel)?,
            Command::Nodes => self.sink.tell(self.node.nodes(cancel)?.iter().map(Event::node))?,
            Command::Stats => self.stats(cancel)?,
            Command::Replicate { query, copies } => return self.replicate(&query, copies, cancel),
            Command::Background(request) => {
                let id = self.node.start_download(request).map_err(Failed::Job)?;
                self.tell_job(id)?;
            }
            Command::Jobs => self.sink.tell(self.node.jobs().iter().map(events::job))?,
            Command::Job(deed, id) => {
                self.do_to_job(deed, id).map_err(Failed::Job)?;
                self.tell_job(id)?;
            }
            Command::Limit(limit) => {
                if let Some(rate) = limit {
                    self.node.set_max_upload(rate);
                }
                let max_upload_bytes_per_s = self.node.max_upload();
                self.sink.tell([Event::Limit { max_upload_bytes_per_s }])?;
            }
            Command::Help => self.sink.tell([Event::Help { text: self.language.help().to_owned() }])?,
            Command::HelpOn(verb) => self.sink.tell([Event::Help { text: help_on(verb) }])?,
            Command::Exit => {}
        }
        Ok(Exit::Success)
    }

    fn replicate(&mut self, query: &Query, copies: u32, cancel: &Stop) -> Result<Exit, Failed> {
        match self.node.replicate(query, copies, cancel) {
            Ok(report) => {
                let event = events::replication(&report);
                let shortfall = report.status.shortfall();
                self.sink.tell([event])?;
                self.sink.aside(shortfall.as_deref());
                Ok(Exit::Success)
            }
            Err(error) => {
                let (why, code) = self.verdict(download_text(&error), ErrorCode::from(&error));
                let why = why.replacen("download: ", "replicate: ", 1);
                self.sink.tell([Event::error(why, code)])?;
                Ok(Exit::Error(code))
            }
        }
    }

    /// Does it, and waits a moment until it shows: the download has to stop first.
    fn do_to_job(&self, deed: Deed, id: JobId) -> Result<(), JobError> {
        let (news, changed) = bounded(1);
        let _watching = self.node.watch(move |told| {
            if let (true, What::State(_)) = (told.id == id, told.what) {
                let _is_known_already = news.try_send(());
            }
        });
        match deed {
            Deed::Cancel => self.node.cancel(id)?,
            Deed::Pause => self.node.pause(id)?,
            Deed::Resume => return self.node.resume(id),
        }
        let runs = || self.node.jobs().iter().any(|job| job.id == id && job.state == JobState::Running);
        let deadline = clock::now() + JOB_STOPS;
        while runs() && changed.recv_deadline(deadline).is_ok() {}
        Ok(())
    }

    fn tell_job(&mut self, id: JobId) -> Result<(), WriteEnd> {
        let job = self.node.jobs().into_iter().find(|job| job.id == id);
        self.sink.tell(job.iter().map(events::job))
    }

    fn download(&mut self, request: &DownloadRequest, cancel: &Stop) -> Result<(), Failed> {
        let (mut pacing, sink) = (self.sink.pacing(), &mut self.sink);
        let mut unwritable = None;
        // Ends the download alone where nobody reads of it any more.
        let own_cancel = cancel.child().map_err(|error| CommandError::System(error.to_string()))?;
        let downloaded = self.node.download(request, &own_cancel, &mut |event| {
            let events = pacing.pass(event, clock::now());
            if let Err(end) = sink.tell(events.into_iter().map(Event::Download)) {
                unwritable.get_or_insert(end);
                own_cancel.trigger();
            }
        });
        let is_cancelled = downloaded == Err(DownloadError::Command(CommandError::Cancelled));
        if is_cancelled && self.nobody_wants(&own_cancel) {
            self.node.set_aside(&request.name);
        }
        if let Some(end) = unwritable {
            return Err(end.into());
        }
        let now = clock::now();
        match downloaded {
            Ok(done) => {
                let told = pacing.pass(events::done(&done), now);
                Ok(self.sink.tell(told.into_iter().map(Event::Download))?)
            }
            Err(error) => {
                let (why, code) = self.verdict(download_text(&error), ErrorCode::from(&error));
                // A signal that ends the program has a code of its own.
                let leaves = self.signals.exit().filter(|_| self.leaving_cancels);
                let exit_code = match (code, leaves) {
                    (ErrorCode::Interrupted, Some(exit)) => exit.code(),
                    _ => code.exit_code(),
                };
                let end = DownloadEvent::Failed { name: request.name.clone(), why, code, exit_code };
                self.sink.tell(pacing.pass(end, now).into_iter().map(Event::Download))?;
                Err(Failed::Told(Exit::Error(code)))
            }
        }
    }

    /// Returns true if and only if a download ended by `cancel` is not to be gone on with by itself.
    fn nobody_wants(&self, cancel: &Stop) -> bool {
        match self.signals.leaving().is_triggered() {
            true => self.leaving_cancels && self.signals.is_cancel(),
            false => cancel.is_triggered(),
        }
    }

    /// Why a command has failed: what is cancelled may have run out of time.
    fn verdict(&self, why: String, code: ErrorCode) -> (String, ErrorCode) {
        match self.patience.verdict().filter(|_| code == ErrorCode::Interrupted) {
            Some(late) => (late, ErrorCode::TimedOut),
            None => (why, code),
        }
    }

    fn list_swarm(&mut self, cancel: &Stop) -> Result<(), Failed> {
        let (mut names, mut more) = self.node.swarm_names(None, cancel)?;
        loop {
            let last = names.last().cloned();
            self.sink.tell(names.into_iter().map(|name| Event::Name { name }))?;
            if !more || last.is_none() {
                return Ok(());
            }
            (names, more) = self.node.swarm_names(last, cancel)?;
        }
    }

    fn stats(&mut self, cancel: &Stop) -> Result<(), Failed> {
        let nodes = self.node.nodes(cancel)?;
        let of = |liveness| Some(nodes.iter().filter(|node| node.liveness == liveness).count() as u64);
        let mut stats = vec![
            stat("nodes_live", of(Liveness::Live)),
            stat("nodes_suspect", of(Liveness::Suspect)),
            stat("nodes_unproved", of(Liveness::Unproved)),
        ];
        if !self.is_guest {
            let (files, uploads) = (self.node.files(), self.node.upload_meter().now());
            stats.extend([
                stat("shared_files", Some(files.len() as u64)),
                stat("shared_bytes", Some(files.iter().map(|file| file.entry.size_bytes).sum())),
                stat("uploaded_bytes", Some(uploads.sent_bytes)),
                stat("upload_peers", Some(uploads.peers as u64)),
            ]);
            stats.extend(self.node.tally().events());
        }
        if let Some(tracker) = &self.tracker {
            let tally = tracker.tally();
            stats.extend([
                stat("files", Some(tracker.counts().files as u64)),
                stat("announces", Some(tally.announces)),
                stat("finds", Some(tally.finds.total())),
                stat("finds_found", Some(tally.finds.found.iter().sum())),
            ]);
        }
        Ok(self.sink.tell(stats)?)
    }
}

fn stat(name: &str, value: Option<u64>) -> Event {
    Event::Stat { name: name.to_owned(), value }
}

fn exit_of(report: &FindReport) -> Exit {
    match report.groups.iter().all(|group| group.rows.is_empty()) {
        true => Exit::Error(ErrorCode::NotFound),
        false => Exit::Success,
    }
}

fn next(ended: Result<Exit, WriteEnd>) -> Next {
    match ended {
        Ok(exit) => Next::Continue(exit),
        Err(end) => Next::Unwritable(end.exit()),
    }
}
