//! The `tracker` program: starts a tracker, says where it listens, and waits until it is told to stop.

use std::ffi::OsString;
use std::io;

use super::args;
use super::config::Refusal;
use super::exit::{ErrorCode, Exit, tracker_error_code};
use super::output::{Output, say};
use super::progress::{Form, Screen};
use super::signals::{Signals, service_exit};
use super::sink::Sink;
use crate::proto::event::Event;
use crate::rt::{StopReport, Threads};
use crate::tracker::Tracker;

/// Runs the program to its end. `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, signals: &Signals) -> Exit {
    let args = match args::tracker(arguments) {
        Ok(args) => args,
        Err(refusal) => return refuse("tracker", refusal),
    };
    crate::net::raise_file_limit();
    let mut sink = match args.json {
        true => Sink::json(Box::new(io::stdout()), true),
        false => Sink::text(Box::new(io::stdout()), Form::Plain, Screen::default(), None),
    };
    let tracker = match Tracker::start(&args.config()) {
        Ok(tracker) => tracker,
        Err(error) => {
            let code = tracker_error_code(&error);
            let _unread = sink.tell([Event::error(format!("tracker: {error}"), code)]);
            return Exit::Error(code);
        }
    };
    let threads = Threads::new();
    if let Err(error) = signals.watch_threads(tracker.ended(), &threads) {
        say(&format!("tracker: no thread left: {error}"));
        return Exit::Error(ErrorCode::Other);
    }
    // A service serves on when nobody reads where it listens.
    let _unread = sink.tell([Event::Listening { program: "tracker".to_owned(), addr: tracker.addr() }]);
    let _triggered = signals.leaving().receiver().recv();
    let exit = service_exit(signals.exit().unwrap_or(Exit::Success));
    stopped("tracker", &tracker.stop(), exit)
}

/// Shows why a command line is not run: an error, or what was asked for in place of running.
pub(super) fn refuse(program: &str, refusal: Refusal) -> Exit {
    match refusal {
        Refusal::Clap(error) => {
            let _unread = error.print();
            if error.exit_code() == 0 { Exit::Success } else { Exit::Error(ErrorCode::Usage) }
        }
        Refusal::Config(error) => {
            say(&format!("{program}: {error}"));
            Exit::Error(ErrorCode::Config)
        }
        Refusal::Show(text) => {
            let _unread = Output::stdout().lines(&text);
            Exit::Success
        }
    }
}

/// The exit code after a stop, which tells of threads that did not end well.
pub(super) fn stopped(program: &str, report: &StopReport, exit: Exit) -> Exit {
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
