//! The `tracker` program: starts a tracker, prints its address, and waits for a reason to leave.
//!
//! In the foreground of a terminal it also shows a prompt. A guest runs the commands of that prompt, so they
//! show what every node would see.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use rustix::termios::tcgetpgrp;

use super::lifecycle::{LAST_WORDS, ProgramContext, exit_after_stop, print_completions, print_refusal};
use super::pages::{TRACKER_PAGES, listening_event};
use crate::cli::args::prompt::Language;
use crate::cli::args::tracker::{self, TrackerArgs, TrackerRun};
use crate::cli::exit::{Exit, tracker_error_code};
use crate::cli::output::notices::Notices;
use crate::cli::output::progress::{Form, Screen};
use crate::cli::output::sink::Sink;
use crate::cli::run::session::Session;
use crate::cli::shell::prompt::Prompt;
use crate::cli::signals::{Signals, service_exit};
use crate::node::{GuestFolder, Membership, Node, NodeConfig};
use crate::proto::event::{Event, Service};
use crate::rt::{EventBroadcast, Threads, clock};
use crate::tracker::Tracker;
use crate::web::{WebServer, serve_tracker};

/// Runs the program to its end. `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, signals: &Signals) -> Exit {
    let args = match tracker::read(arguments) {
        Ok(TrackerRun::Serve(args)) => args,
        Ok(TrackerRun::Completions(shell)) => {
            return print_completions(shell, "tracker", tracker::tracker_command());
        }
        Err(refusal) => return print_refusal("tracker", refusal),
    };
    crate::net::raise_file_limit();
    let sink = if args.json {
        Sink::json(Box::new(io::stdout()), true)
    } else {
        Sink::text(Box::new(io::stdout()), Form::Plain, Screen::default(), None)
    };
    let mut program = ProgramContext::new("tracker", sink, EventBroadcast::default(), signals);
    let result = program.start_log(&args.log).and_then(|()| serve(&args, &mut program));
    let (Ok(exit) | Err(exit)) = result;
    program.end(exit);
    exit
}

/// Runs a tracker from its start to its end.
///
/// # Errors
/// The exit of a tracker that does not run. The reason is published already.
fn serve(args: &TrackerArgs, program: &mut ProgramContext<'_>) -> Result<Exit, Exit> {
    let signals = program.signals;
    let tracker = Tracker::start(&args.config(program.feed.clone()))
        .map_err(|error| program.refuse(&error, tracker_error_code(&error)))?;
    program.watch(tracker.ended())?;
    let pages =
        program.start_pages(&args.pages, TRACKER_PAGES, |config| serve_tracker(tracker.view(), config))?;
    program.announce([Event::Listening { service: Service::Tracker, addr: tracker.addr() }]);
    if let Some(pages) = &pages {
        program.announce([listening_event(pages)]);
        program.watch(pages.ended())?;
    }
    let exit = if wants_prompt(args) { run_prompt(&tracker, &mut program.sink, signals) } else { None };
    let exit = exit.unwrap_or_else(|| {
        signals.wait_to_leave();
        signals.exit().unwrap_or(Exit::Success)
    });
    // From here on the end of a thread is not a fault.
    signals.leaving().trigger();
    signals.restore_terminal();
    let exit = match pages.map(WebServer::stop) {
        Some(report) => exit_after_stop("tracker", &report, service_exit(exit)),
        None => service_exit(exit),
    };
    Ok(exit_after_stop("tracker", &tracker.stop(), exit))
}

/// Returns true if and only if there is no `--headless`, input and output are a terminal, and this process is
/// in its foreground. A tracker that is started with `&`, or without a terminal, has no prompt.
fn wants_prompt(args: &TrackerArgs) -> bool {
    let is_ours = || tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp());
    !args.headless && io::stdin().is_terminal() && io::stdout().is_terminal() && is_ours()
}

/// Reads and runs commands until the tracker is to stop. `None`: the prompt or its guest does not start, and
/// the tracker serves without a prompt.
fn run_prompt(tracker: &Tracker, sink: &mut Sink, signals: &Signals) -> Option<Exit> {
    let mut prompt = Prompt::new().ok()?;
    let feed = EventBroadcast::default();
    let notices = Notices::subscribe(&feed);
    let (printer, leaving, threads) = (prompt.printer(), signals.leaving().clone(), Threads::new());
    threads
        .spawn("notices", move || notices.print(Form::Plain, &Screen::default(), printer, &leaving))
        .ok()?;
    let tracker_addr = reachable(tracker.addr());
    let config = NodeConfig {
        membership: Membership::Guest(GuestFolder::Nowhere),
        events: feed.clone(),
        ..NodeConfig::new(unspecified_ip(tracker_addr), Path::new(""), tracker_addr)
    };
    let load_weight = config.load_weight;
    let guest = Node::start(config).ok()?;
    let mut session = Session::of_guest(&guest, sink, signals, load_weight, Language::Tracker);
    session.set_tracker(tracker.view());
    let exit = prompt.run(&mut session, signals).ok();
    signals.leaving().trigger();
    guest.stop();
    feed.close();
    // What is not printed by then is lost.
    threads.join(clock::now() + LAST_WORDS);
    exit
}

/// The address at which programs of this machine reach a listener on `addr`.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// The unspecified IP address of the same family, on which a guest of the tracker at `addr` listens.
fn unspecified_ip(addr: SocketAddr) -> IpAddr {
    match addr {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
