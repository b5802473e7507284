//! The `tracker` program: starts a tracker, says where it listens, and waits until it is told to stop.

use std::ffi::OsString;

use super::args::{self, Parsed, TrackerArgs};
use super::exit::Exit;
use super::output::{Output, say};
use super::render;
use super::signals::{Signals, service_exit};
use crate::rt::{StopReport, Threads};
use crate::tracker::Tracker;

/// Runs the program to its end. `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, signals: &Signals) -> Exit {
    let config = match args::parse::<TrackerArgs>(arguments) {
        Ok(Parsed::Run(args)) => args.config(),
        Ok(Parsed::ShowLimits) => return show(&args::limits_text()),
        Err(error) => return refuse(&error),
    };
    crate::net::raise_file_limit();
    let tracker = match Tracker::start(&config) {
        Ok(tracker) => tracker,
        Err(error) => {
            say(&format!("tracker: {error}"));
            return Exit::from(&error);
        }
    };
    let threads = Threads::new();
    if let Err(error) = signals.watch_threads(tracker.ended(), &threads) {
        say(&format!("tracker: no thread left: {error}"));
        return Exit::Other;
    }
    // A service serves on when nobody reads where it listens.
    let _unread = Output::stdout().lines(&render::listening("tracker", tracker.addr()));
    let _triggered = signals.leaving().receiver().recv();
    let exit = service_exit(signals.exit().unwrap_or(Exit::Success));
    stopped("tracker", &tracker.stop(), exit)
}

/// Prints what was asked for in place of running.
pub(super) fn show(text: &str) -> Exit {
    let _unread = Output::stdout().lines(text);
    Exit::Success
}

/// Shows what clap says of a command line: an error, or the help that was asked for.
pub(super) fn refuse(error: &clap::Error) -> Exit {
    let _unread = error.print();
    if error.exit_code() == 0 { Exit::Success } else { Exit::Usage }
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
    if exit == Exit::Success { Exit::Other } else { exit }
}
