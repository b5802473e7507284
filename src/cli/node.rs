//! The `node` program: starts a node, says where it listens, then reads commands from a prompt or a pipe, or serves until told to stop.
//!
//! Whatever ends it, the node is stopped in order before the process ends.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use rustyline::ExternalPrinter;

use super::args::{self, NodeArgs, Parsed};
use super::exit::Exit;
use super::output::{Output, say};
use super::progress::{Form, Screen};
use super::prompt::Prompt;
use super::session::Session;
use super::signals::{Signals, service_exit};
use super::tracker::{refuse, show, stopped};
use super::{piped, render};
use crate::node::{LatencySource, Level, Node, Notice};
use crate::rt::{Stop, Threads, clock};
use crate::types::Printable;

/// Most notices that wait to be printed; more are dropped.
const NOTICES_MAX: usize = 256;
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
    let args = match args::parse::<NodeArgs>(arguments) {
        Ok(Parsed::Run(args)) => args,
        Ok(Parsed::ShowLimits) => return show(&args::limits_text()),
        Err(error) => return refuse(&error),
    };
    let latency = match args.latency_source(Path::new("")) {
        Ok(latency) => latency,
        Err((path, error)) => {
            say(&format!("node: latency file {}: {error}", path_text(&path)));
            return Exit::LatencyFile;
        }
    };
    if let (LatencySource::File(path), None) = (&latency, &args.latency_file) {
        say(&format!("latencies from {} (--latency-file none ignores it)", path_text(path)));
    }
    run_node(&args, latency, signals).unwrap_or_else(|error| {
        say(&format!("node: the system gives no more threads or descriptors: {error}"));
        Exit::Other
    })
}

fn path_text(path: &Path) -> String {
    Printable(&path.to_string_lossy()).to_string()
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
    let notices_screen = screen.clone();
    threads.spawn("notices", move || print_notices(&arriving, &notices_screen, printer, &leaving))?;
    let mut config = args.config(latency, notices.clone());
    // Whoever pipes commands decides what is downloaded.
    config.resume &= !matches!(input, Input::Pipe);
    let node = match Node::start(config) {
        Ok(node) => node,
        Err(error) => {
            say(&format!("node: {error}"));
            return Ok(Exit::from(&error));
        }
    };
    signals.watch_threads(node.ended(), &threads)?;
    let exit = serve(&node, input, form, screen, signals);
    // Threads that end from now on end because they are told to.
    signals.leaving().trigger();
    let report = node.stop();
    drop(notices);
    let _late_notices_are_lost = threads.join(clock::now() + LAST_NOTICES);
    signals.restore_terminal();
    let exit = if args.headless { service_exit(exit?) } else { exit? };
    Ok(stopped("node", &report, exit))
}

/// From the start of the node until it is to be stopped.
fn serve(node: &Node, input: Input, form: Form, screen: Screen, signals: &Signals) -> io::Result<Exit> {
    if let Err(error) = node.wait_ready(signals.leaving()) {
        if let Some(exit) = signals.exit() {
            return Ok(exit);
        }
        say(&format!("node: {error}"));
        return Ok(Exit::from(&error));
    }
    let mut output = Output::stdout();
    // A reader that is gone already shows with the first result.
    let _unread = output.lines(&render::listening("node", node.addr()));
    match input {
        Input::Prompt(prompt) => prompt.run(&mut Session::new(node, output, form, screen, signals), signals),
        Input::Pipe => Ok(piped::run(&mut Session::new(node, output, form, screen, signals), signals)),
        Input::Nothing => {
            let _until_we_leave = match form {
                Form::Bar => Some(screen.draw(None, node.upload_meter())?),
                _ => None,
            };
            let _triggered = signals.leaving().receiver().recv();
            Ok(signals.exit().unwrap_or(Exit::Success))
        }
    }
}

/// Prints notices above the bars or the prompt, or on standard error, until no one can send any.
fn print_notices(
    arriving: &Receiver<Notice>,
    screen: &Screen,
    mut printer: Option<Box<dyn ExternalPrinter + Send>>,
    leaving: &Stop,
) {
    for Notice { level, text } in arriving {
        let line = match level {
            Level::Info => text,
            Level::Warning => format!("warning: {text}"),
        };
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
