//! The `node` program: starts a node, says where it listens, then reads commands from a prompt or a pipe, or serves until told to stop.
//!
//! Whatever ends it, the node is stopped in order before the process ends.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;
use rustyline::ExternalPrinter;

use super::args::{self, NodeArgs, NodeRun};
use super::exit::{ErrorCode, Exit, dataset_error_code};
use super::handoff::server::Server;
use super::oneshot::share_code;
use super::output::{Output, say};
use super::pages::{self, NODE_PAGES};
use super::progress::{Form, ProgressFlag, Screen, plain};
use super::prompt::Prompt;
use super::render::{self, Said};
use super::session::Session;
use super::signals::{Signals, service_exit};
use super::sink::Sink;
use super::tracker::{refuse, stopped};
use super::verbs::{self, Verb};
use super::{oneshot, piped, verify};
use crate::node::{
    JobId, JobState, Journal, LatencySource, Level, Node, Notice, Origin, Ready, Watching, What, events,
};
use crate::proto::event::{Event, Record};
use crate::rt::{Stop, Threads, clock};
use crate::store::{self, Dataset, Folders, Generated, RealDisk};
use crate::types::{DatasetSpec, Printable, limits};
use crate::web::{WebServer, serve_node};

/// Most notices that wait to be printed; more are dropped.
pub(super) const NOTICES_MAX: usize = 256;
/// The last notices are waited for this long when the node has stopped.
const LAST_NOTICES: Duration = Duration::from_millis(500);

/// Where commands come from.
enum Input {
    Prompt(Box<Prompt>),
    Pipe,
    Nothing,
}

/// Runs the program to its end. `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, signals: &Signals) -> Exit {
    let args = match args::node(arguments) {
        Ok(NodeRun::Share(args)) => args,
        Ok(NodeRun::Command(Verb::Completions(args))) => return completions(args.shell),
        Ok(NodeRun::Command(Verb::Verify(args))) => return verify::run(&args, signals),
        Ok(NodeRun::Command(verb)) => {
            let Some(errand) = verb.errand() else { return Exit::Error(ErrorCode::Usage) };
            return oneshot::run(&errand, signals);
        }
        Err(refusal) => return refuse("node", refusal),
    };
    let latency = match args.latency_source(Path::new("")) {
        Ok(latency) => latency,
        Err((path, error)) => {
            say(&format!("node: latency file {}: {error}", path_text(&path)));
            return Exit::Error(ErrorCode::LatencyFile);
        }
    };
    if let (LatencySource::File(path), None) = (&latency, &args.latency_file) {
        say(&format!("latencies from {} (--latency-file none ignores it)", path_text(path)));
    }
    run_node(&args, latency, signals).unwrap_or_else(|error| {
        say(&format!("node: the system gives no more threads or descriptors: {error}"));
        Exit::Error(ErrorCode::Other)
    })
}

pub(super) fn path_text(path: &Path) -> String {
    Printable(&path.to_string_lossy()).to_string()
}

/// Prints completions for a shell.
fn completions(shell: clap_complete::Shell) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut verbs::node_command(), "node", &mut text);
    let _unread = Output::stdout().lines(String::from_utf8_lossy(&text).trim_end());
    Exit::Success
}

fn run_node(args: &NodeArgs, latency: LatencySource, signals: &Signals) -> io::Result<Exit> {
    crate::net::raise_file_limit();
    let mut input = match args.headless {
        true => Input::Nothing,
        false if io::stdin().is_terminal() => Input::Prompt(Box::new(Prompt::new()?)),
        false => Input::Pipe,
    };
    let printer = match &mut input {
        Input::Prompt(prompt) => prompt.printer(),
        _ => None,
    };
    let threads = Threads::new();
    let (notices, arriving) = bounded(NOTICES_MAX);
    let leaving = signals.leaving().clone();
    let (form, screen) = (args.progress.form(args.headless), Screen::default());
    let (news, jobs) = bounded(NOTICES_MAX);
    let asides = Asides { notices: arriving, jobs };
    if args.json {
        threads.spawn("notices", move || tell_asides(&asides))?;
    } else {
        let screen = screen.clone();
        threads.spawn("notices", move || print_asides(&asides, &screen, printer, &leaving))?;
    }
    let mut config = args.config(latency, notices.clone());
    // Whoever pipes commands decides what is downloaded.
    config.resume &= !matches!(input, Input::Pipe);
    let load_weight = config.load_weight;
    let mut sink = match args.json {
        true => Sink::json(Box::new(io::stdout()), args.progress != ProgressFlag::None),
        false => Sink::text(Box::new(io::stdout()), form, screen.clone(), None),
    };
    if let Some(spec) = &args.generate
        && let Err(exit) = generate(args, spec, &mut sink, signals)
    {
        return Ok(exit);
    }
    let node = match Node::start(config) {
        Ok(node) => Arc::new(node),
        Err(error) => return Ok(refused(&mut sink, &error, ErrorCode::from(&error))),
    };
    sink.show_uploads(node.upload_meter());
    let _watching = watch_jobs(&node, news);
    signals.watch_threads(node.ended(), &threads)?;
    let local = Threads::new();
    signals.watch_threads(local.ended(), &threads)?;
    // There before anybody is told that the node listens. A share that cannot be written to is served only: it takes no jobs.
    let server = Server::start(&node, &args.dir, signals, load_weight, &local).ok();
    let mut pages = None;
    let exit = ready(&node, &mut sink, signals).and_then(|()| {
        let is_served = args.pages.http.is_some() || !matches!(input, Input::Pipe);
        if is_served {
            pages = start_pages(args, &node, &mut sink)?;
        }
        if let Some(pages) = &pages {
            signals.watch_threads(pages.ended(), &threads)?;
        }
        let mut session = Session::new(&node, sink, signals, load_weight);
        match input {
            Input::Prompt(prompt) => Ok(prompt.run(&mut session, signals)?),
            Input::Pipe => Ok(piped::run(&mut session, signals)),
            Input::Nothing => {
                let _until_we_leave = match form {
                    Form::Bar if !args.json => Some(screen.draw(None, Some(node.upload_meter()))?),
                    _ => None,
                };
                let _triggered = signals.leaving().receiver().recv();
                Ok(signals.exit().unwrap_or(Exit::Success))
            }
        }
    });
    // Threads that end from now on end because they are told to.
    signals.leaving().trigger();
    drop(server);
    let served = pages.map(WebServer::stop).unwrap_or_default();
    let local = local.join(clock::now() + limits::ms(limits::STOP_DEADLINE_MS));
    let report = node.stop();
    drop(notices);
    let _late_notices_are_lost = threads.join(clock::now() + LAST_NOTICES);
    signals.restore_terminal();
    let exit = match exit {
        Ok(exit) | Err(NotServed::Told(exit)) => exit,
        Err(NotServed::System(error)) => return Err(error),
    };
    let exit = if args.headless { service_exit(exit) } else { exit };
    let exit =
        [&served, &local, &report].into_iter().fold(exit, |exit, report| stopped("node", report, exit));
    Ok(exit)
}

/// Why a node that was started did not get to its commands.
enum NotServed {
    /// Told already.
    Told(Exit),
    System(io::Error),
}

impl From<io::Error> for NotServed {
    fn from(error: io::Error) -> NotServed {
        NotServed::System(error)
    }
}

/// Waits until the node is registered, and says so.
fn ready(node: &Node, sink: &mut Sink, signals: &Signals) -> Result<(), NotServed> {
    let files = match node.wait_ready(signals.leaving()) {
        Ok(Ready::Complete { files }) => Some(files as u64),
        Ok(Ready::Scanning) => None,
        Err(error) => {
            let told = || refused(sink, &error, ErrorCode::from(&error));
            return Err(NotServed::Told(signals.exit().unwrap_or_else(told)));
        }
    };
    let listening = Event::Listening { program: "node".to_owned(), addr: node.addr() };
    // A reader that is gone already shows with the first result.
    let _unread = sink.tell([listening, Event::Ready { files }]);
    Ok(())
}

/// Starts the node's pages, and says where they are.
fn start_pages(args: &NodeArgs, node: &Arc<Node>, sink: &mut Sink) -> Result<Option<WebServer>, NotServed> {
    let serve = |config: &_| serve_node(Arc::clone(node), config);
    let pages = pages::start(&args.pages, NODE_PAGES, serve)
        .map_err(|error| NotServed::Told(refused(sink, &error, ErrorCode::from(&error))))?;
    if let Some(pages) = &pages {
        // A reader that is gone already shows with the first result.
        let _unread = sink.tell([events::notice(pages::said(pages))]);
    }
    Ok(pages)
}

/// Fills an empty share.
fn generate(args: &NodeArgs, spec: &DatasetSpec, sink: &mut Sink, signals: &Signals) -> Result<(), Exit> {
    let folders = Folders::open(&args.dir, args.layout, args.save_dir.as_deref(), Arc::new(RealDisk))
        .map_err(|error| refused(sink, &error, share_code(&error)))?;
    let named = args.id.clone().or_else(|| Some(args.dir.file_name()?.to_str()?.to_owned()));
    let peer = named.unwrap_or_else(|| "node".to_owned());
    let dataset = Dataset { spec: spec.clone(), peer, seed: 0 };
    match store::generate(&folders, &dataset, signals.leaving()) {
        Ok(None) => Ok(()),
        Ok(Some(Generated { files, bytes })) => {
            let text = format!("generated {files} files of {bytes} bytes together");
            let _unread = sink.tell([events::notice(Notice { level: Level::Info, text })]);
            Ok(())
        }
        Err(error) => match signals.exit() {
            Some(exit) => Err(exit),
            None => Err(refused(sink, &error, dataset_error_code(&error))),
        },
    }
}

/// Says why the node does not run.
pub(super) fn refused(sink: &mut Sink, why: &dyn std::fmt::Display, code: ErrorCode) -> Exit {
    let _unread = sink.tell([Event::error(format!("node: {why}"), code)]);
    Exit::Error(code)
}

/// What is told beside commands: notices, and news of downloads that nobody waits for.
#[derive(Debug)]
pub(super) struct Asides {
    pub(super) notices: Receiver<Notice>,
    /// Empty where there are no such downloads.
    pub(super) jobs: Receiver<Record>,
}

impl Asides {
    /// What comes next; `None` once no one can send any notice.
    fn next(&self) -> Option<Record> {
        let stamped = |event: Event| event.at(clock::wall_ns());
        select! {
            recv(self.notices) -> notice => notice.ok().map(|notice| stamped(events::notice(notice))),
            recv(self.jobs) -> record => match record {
                Ok(record) => Some(record),
                Err(_) => self.notices.recv().ok().map(|notice| stamped(events::notice(notice))),
            },
        }
    }
}

/// Tells asides as lines of JSON on standard output until no one can send any.
pub(super) fn tell_asides(asides: &Asides) {
    let mut sink = Sink::json(Box::new(io::stdout()), true);
    while let Some(record) = asides.next() {
        // The first result tells those who have to know.
        let _unread = sink.pass([record]);
    }
}

/// Prints asides above the bars or the prompt, or on standard error, until no one can send any.
pub(super) fn print_asides(
    asides: &Asides,
    screen: &Screen,
    mut printer: Option<Box<dyn ExternalPrinter + Send>>,
    leaving: &Stop,
) {
    while let Some(record) = asides.next() {
        let Some(line) = aside_line(&record) else { continue };
        if screen.say_above(&line).is_some() {
            continue;
        }
        // Once we leave, nobody redraws the prompt.
        let printed = match &mut printer {
            Some(printer) if !leaving.is_triggered() => printer.print(format!("{line}\n")).is_ok(),
            _ => false,
        };
        if !printed {
            say(&line);
        }
    }
}

/// What people are told of an aside, a download with its number before it.
fn aside_line(record: &Record) -> Option<String> {
    let told = match (&record.event, events::progress(&record.event)) {
        (event, Some(progress)) => plain::news(event.download()?, &progress)?,
        (event, None) => match render::text(event)? {
            Said::Aside(line) | Said::Result(line) => line,
        },
    };
    Some(record.job.map_or_else(|| told.clone(), |id| format!("[{id}] {told}")))
}

/// Has news of downloads in the background sent to `asides`; dropped where nobody takes them.
fn watch_jobs(node: &Node, asides: Sender<Record>) -> Watching {
    let journals: Mutex<HashMap<JobId, Journal>> = Mutex::default();
    node.watch(move |news| {
        if news.origin != Origin::Background {
            return;
        }
        let now = clock::now();
        let mut told = Vec::new();
        {
            let mut journals = journals.lock();
            let journal = || Journal::new(news.request.name.clone());
            match news.what {
                What::Progress(progress) => {
                    told.extend(journals.entry(news.id).or_insert_with(journal).event(progress, now));
                }
                What::State(JobState::Done(done)) => {
                    told = journals.remove(&news.id).unwrap_or_else(journal).done(done, now);
                }
                What::State(JobState::Failed(error)) => {
                    let journal = journals.remove(&news.id);
                    let why = format!("download: {error}");
                    told =
                        journal.map_or_else(Vec::new, |mut journal| journal.failed(&why, error.into(), now));
                }
                What::State(JobState::Cancelled) => drop(journals.remove(&news.id)),
                What::State(JobState::Queued | JobState::Running | JobState::Paused) => {}
            }
        }
        for event in told {
            let record = Record { job: Some(news.id.0), ..event.at(clock::wall_ns()) };
            let _dropped_when_full = asides.try_send(record);
        }
    })
}
