//! The `node` program: starts a node, says where it listens, then reads commands from a prompt or a pipe, or serves until told to stop.
//!
//! Whatever ends it, the node is stopped in order before the process ends.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use rustyline::ExternalPrinter;

use super::args::{self, NodeArgs, NodeRun};
use super::exit::{ErrorCode, Exit};
use super::handoff::server::Server;
use super::output::{Output, say};
use super::progress::{Form, ProgressFlag, Screen};
use super::prompt::Prompt;
use super::render::{self, Said};
use super::session::Session;
use super::signals::{Signals, service_exit};
use super::sink::Sink;
use super::tracker::{refuse, stopped};
use super::verbs::{self, Verb};
use super::{oneshot, piped, verify};
use crate::node::{LatencySource, Node, Notice, Ready, events};
use crate::proto::event::Event;
use crate::rt::{Stop, Threads, clock};
use crate::types::{Printable, limits};

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
    if args.json {
        threads.spawn("notices", move || tell_notices(&arriving))?;
    } else {
        let screen = screen.clone();
        threads.spawn("notices", move || print_notices(&arriving, &screen, printer, &leaving))?;
    }
    let mut config = args.config(latency, notices.clone());
    // Whoever pipes commands decides what is downloaded.
    config.resume &= !matches!(input, Input::Pipe);
    let load_weight = config.load_weight;
    let mut sink = match args.json {
        true => Sink::json(Box::new(io::stdout()), args.progress != ProgressFlag::None),
        false => Sink::text(Box::new(io::stdout()), form, screen.clone(), None),
    };
    let node = match Node::start(config) {
        Ok(node) => Arc::new(node),
        Err(error) => return Ok(refused(&mut sink, &error, ErrorCode::from(&error))),
    };
    sink.show_uploads(node.upload_meter());
    signals.watch_threads(node.ended(), &threads)?;
    let local = Threads::new();
    let exit = ready(&node, &mut sink, signals).and_then(|()| {
        // A share that cannot be written to is served only: it takes no jobs.
        let _server = Server::start(&node, &args.dir, signals, load_weight, &local).ok();
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
    let local = local.join(clock::now() + limits::ms(limits::STOP_DEADLINE_MS));
    let report = match Arc::into_inner(node) {
        Some(node) => node.stop(),
        // A job that does not end keeps it.
        None => local,
    };
    drop(notices);
    let _late_notices_are_lost = threads.join(clock::now() + LAST_NOTICES);
    signals.restore_terminal();
    let exit = match exit {
        Ok(exit) | Err(NotServed::Told(exit)) => exit,
        Err(NotServed::System(error)) => return Err(error),
    };
    let exit = if args.headless { service_exit(exit) } else { exit };
    Ok(stopped("node", &report, exit))
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

/// Says why the node does not run.
pub(super) fn refused(sink: &mut Sink, why: &dyn std::fmt::Display, code: ErrorCode) -> Exit {
    let _unread = sink.tell([Event::error(format!("node: {why}"), code)]);
    Exit::Error(code)
}

/// Tells notices as lines of JSON on standard output until no one can send any.
pub(super) fn tell_notices(arriving: &Receiver<Notice>) {
    let mut sink = Sink::json(Box::new(io::stdout()), true);
    for notice in arriving {
        // The first result tells those who have to know.
        let _unread = sink.tell([events::notice(notice)]);
    }
}

/// Prints notices above the bars or the prompt, or on standard error, until no one can send any.
pub(super) fn print_notices(
    arriving: &Receiver<Notice>,
    screen: &Screen,
    mut printer: Option<Box<dyn ExternalPrinter + Send>>,
    leaving: &Stop,
) {
    for notice in arriving {
        let Some(Said::Aside(line)) = render::text(&events::notice(notice)) else { continue };
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
