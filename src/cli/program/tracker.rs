//! The `tracker` program: starts a tracker, says where it listens, and waits until it is told to stop.
//!
//! At a terminal that is its own there is a prompt meanwhile. Behind it is a guest: what it shows is what any
//! node would be told.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use rustix::termios::tcgetpgrp;

use super::node::{LAST_WORDS, completions};
use crate::cli::args::http::{self, TRACKER_PAGES};
use crate::cli::args::programs::{self, TrackerArgs, TrackerRun};
use crate::cli::args::verbs::{self, TrackerVerb};
use crate::cli::config::Refusal;
use crate::cli::exit::{ErrorCode, Exit, tracker_error_code};
use crate::cli::output::log;
use crate::cli::output::notices::Notices;
use crate::cli::output::progress::{Form, Screen};
use crate::cli::output::sink::Sink;
use crate::cli::output::stdio::{Output, WriteEnd, say};
use crate::cli::run::session::{Language, Session};
use crate::cli::shell::prompt::Prompt;
use crate::cli::signals::{Signals, service_exit};
use crate::node::{GuestFolder, Membership, Node, NodeConfig};
use crate::proto::event::{Event, Service};
use crate::rt::{EventBroadcast, StopReport, Threads, clock};
use crate::tracker::Tracker;
use crate::web::{WebServer, serve_tracker};

/// Runs the program to its end. `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, signals: &Signals) -> Exit {
    let args = match programs::tracker(arguments) {
        Ok(TrackerRun::Serve(args)) => args,
        Ok(TrackerRun::Command(TrackerVerb::Completions(args))) => {
            return completions(args.shell, "tracker", verbs::tracker_command());
        }
        Err(refusal) => return refuse("tracker", refusal),
    };
    crate::net::raise_file_limit();
    let mut sink = match args.json {
        true => Sink::json(Box::new(io::stdout()), true),
        false => Sink::text(Box::new(io::stdout()), Form::Plain, Screen::default(), None),
    };
    let (feed, threads) = (EventBroadcast::default(), Threads::new());
    if let Err(error) = log::start(&args.log, &feed, &threads) {
        let _unread = sink.tell([Event::error(format!("tracker: {error}"), ErrorCode::LocalIo)]);
        return Exit::Error(ErrorCode::LocalIo);
    }
    let exit = serve(&args, &feed, sink, &threads, signals);
    feed.publish_event(exit.end());
    feed.close();
    let _late_words_are_lost = threads.join(clock::now() + LAST_WORDS);
    exit
}

/// Runs a tracker from its start to its end.
fn serve(
    args: &TrackerArgs,
    feed: &EventBroadcast,
    mut sink: Sink,
    threads: &Threads,
    signals: &Signals,
) -> Exit {
    let refused = |sink: &mut Sink, why: &dyn std::fmt::Display, code| {
        let error = Event::error(format!("tracker: {why}"), code);
        feed.publish_event(error.clone());
        let _unread = sink.tell([error]);
        // What was started ends because it is told to.
        signals.leaving().trigger();
        Exit::Error(code)
    };
    let tracker = match Tracker::start(&args.config(feed.clone())) {
        Ok(tracker) => tracker,
        Err(error) => return refused(&mut sink, &error, tracker_error_code(&error)),
    };
    if let Err(error) = signals.watch_threads(tracker.ended(), threads) {
        return refused(&mut sink, &format!("no thread left: {error}"), ErrorCode::Other);
    }
    let pages = match http::start(&args.pages, TRACKER_PAGES, |config| serve_tracker(tracker.view(), config))
    {
        Ok(pages) => pages,
        Err(error) => return refused(&mut sink, &error, ErrorCode::from(&error)),
    };
    let listening = Event::Listening { service: Service::Tracker, addr: tracker.addr() };
    for event in [Some(listening), pages.as_ref().map(http::said)].into_iter().flatten() {
        feed.publish_event(event.clone());
        // A service serves on when nobody reads where it listens.
        let _unread = sink.tell([event]);
    }
    if let Some(pages) = &pages
        && let Err(error) = signals.watch_threads(pages.ended(), threads)
    {
        return refused(&mut sink, &format!("no thread left: {error}"), ErrorCode::Other);
    }
    let exit = match has_terminal(args) {
        true => at_prompt(&tracker, sink, signals),
        false => None,
    };
    let exit = exit.unwrap_or_else(|| {
        let _triggered = signals.leaving().receiver().recv();
        signals.exit().unwrap_or(Exit::Success)
    });
    // Threads that end from now on end because they are told to.
    signals.leaving().trigger();
    signals.restore_terminal();
    let exit = match pages.map(WebServer::stop) {
        Some(report) => stopped("tracker", &report, service_exit(exit)),
        None => service_exit(exit),
    };
    stopped("tracker", &tracker.stop(), exit)
}

/// Returns true if and only if somebody sits there: input and output are a terminal whose foreground job this
/// is. Who is started with `&`, or without a terminal, just serves.
fn has_terminal(args: &TrackerArgs) -> bool {
    let is_ours = || tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp());
    !args.headless && io::stdin().is_terminal() && io::stdout().is_terminal() && is_ours()
}

/// Reads commands until the tracker is to stop; `None` where the system has nothing left for a prompt: the
/// tracker serves all the same.
fn at_prompt(tracker: &Tracker, sink: Sink, signals: &Signals) -> Option<Exit> {
    let mut prompt = Prompt::new().ok()?;
    let feed = EventBroadcast::default();
    let asides = Notices::of(&feed);
    let (printer, leaving, threads) = (prompt.printer(), signals.leaving().clone(), Threads::new());
    threads.spawn("asides", move || asides.print(Form::Plain, &Screen::default(), printer, &leaving)).ok()?;
    let reached = reachable(tracker.addr());
    let config = NodeConfig {
        membership: Membership::Guest(GuestFolder::Nowhere),
        events: feed.clone(),
        ..NodeConfig::new(unspecified(reached), Path::new(""), reached)
    };
    let load_weight = config.load_weight;
    let guest = Node::start(config).ok()?;
    let mut session = Session::of_guest(&guest, sink, signals, load_weight, Language::Tracker);
    session.set_tracker(tracker.view());
    let exit = prompt.run(&mut session, signals).ok();
    signals.leaving().trigger();
    guest.stop();
    feed.close();
    let _late_words_are_lost = threads.join(clock::now() + LAST_WORDS);
    exit
}

/// Where a listener on `addr` is reached on its own machine.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// Any address of the same family.
fn unspecified(addr: SocketAddr) -> IpAddr {
    match addr {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Shows why a command line is not run: an error, or what was asked for in place of running.
pub(crate) fn refuse(program: &str, refusal: Refusal) -> Exit {
    match refusal {
        Refusal::Clap(error) => {
            let printed = error.print().map_err(WriteEnd::from);
            match error.exit_code() {
                0 => printed.map_or_else(WriteEnd::exit, |()| Exit::Success),
                _ => Exit::Error(ErrorCode::Usage),
            }
        }
        Refusal::Config(error) => {
            say(&format!("{program}: {error}"));
            Exit::Error(ErrorCode::Config)
        }
        Refusal::Show(text) => Output::stdout().lines(&text).map_or_else(WriteEnd::exit, |()| Exit::Success),
    }
}

/// The exit code after a stop, which tells of threads that did not end well.
pub(crate) fn stopped(program: &str, report: &StopReport, exit: Exit) -> Exit {
    if report.is_clean() {
        return exit;
    }
    let StopReport { panicked, still_running } = report;
    if !panicked.is_empty() {
        say(&format!("{program}: threads panicked: {}", panicked.join(", ")));
    }
    if !still_running.is_empty() {
        say(&format!("{program}: threads did not stop in time: {}", still_running.join(", ")));
    }
    if exit == Exit::Success { Exit::Error(ErrorCode::Other) } else { exit }
}
