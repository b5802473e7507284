//! What both programs do in the same way: refuse a command line, start the log and the pages, publish events,
//! and stop.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::pages;
use crate::cli::args::http::HttpArgs;
use crate::cli::args::log::LogArgs;
use crate::cli::config::Refusal;
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::output::log;
use crate::cli::output::sink::Sink;
use crate::cli::output::stdio::{Output, WriteEnd, say};
use crate::cli::signals::Signals;
use crate::proto::event::Event;
use crate::rt::{Ended, EventBroadcast, StopReport, Threads, clock};
use crate::web::{WebConfig, WebError, WebServer};

/// The maximum time for the last output of a program or command that has ended.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

/// Prints completions of a program for a shell.
pub(crate) fn print_completions(
    shell: clap_complete::Shell,
    program: &str,
    mut command: clap::Command,
) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, program, &mut text);
    let written = Output::stdout().write_lines(String::from_utf8_lossy(&text).trim_end());
    written.map_or_else(WriteEnd::exit, |()| Exit::Success)
}

/// Prints why a command line is not run: an error, or a text such as that of `--help`.
pub(crate) fn print_refusal(program: &str, refusal: Refusal) -> Exit {
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
        Refusal::Show(text) => {
            Output::stdout().write_lines(&text).map_or_else(WriteEnd::exit, |()| Exit::Success)
        }
    }
}

/// What a program runs with, from its start to its end.
pub(crate) struct ProgramContext<'a> {
    /// The beginning of its error texts.
    name: &'static str,
    /// Where its results go.
    pub(crate) sink: Sink,
    /// Its events, which the log, the pages and the notices read.
    pub(crate) feed: EventBroadcast,
    /// Threads that end once the feed is closed.
    pub(crate) threads: Threads,
    pub(crate) signals: &'a Signals,
}

impl<'a> ProgramContext<'a> {
    pub(crate) fn new(
        name: &'static str,
        sink: Sink,
        feed: EventBroadcast,
        signals: &'a Signals,
    ) -> ProgramContext<'a> {
        ProgramContext { name, sink, feed, threads: Threads::new(), signals }
    }

    /// Starts the log if the flags name a file for it.
    ///
    /// # Errors
    /// The exit code of a log that cannot be written. The reason is published already.
    pub(crate) fn start_log(&mut self, args: &LogArgs) -> Result<(), Exit> {
        log::start(args, &self.feed, &self.threads).map_err(|error| self.refuse(&error, ErrorCode::LocalIo))
    }

    /// Starts the pages by `serve`. `None`: the user has switched them off.
    ///
    /// # Errors
    /// The exit code of pages that cannot be served. The reason is published already.
    pub(crate) fn start_pages(
        &mut self,
        flags: &HttpArgs,
        usual: SocketAddr,
        serve: impl Fn(&WebConfig) -> Result<WebServer, WebError>,
    ) -> Result<Option<WebServer>, Exit> {
        let pages = pages::start(flags, usual, serve);
        pages.map_err(|error| self.refuse(&error, ErrorCode::from(&error)))
    }

    /// Makes the program leave if one of these threads ends before another reason to leave.
    ///
    /// # Errors
    /// The exit code of a system that gives no thread. The reason is published already.
    pub(crate) fn watch(&mut self, ended: &Receiver<Ended>) -> Result<(), Exit> {
        let watched = self.signals.watch_threads(ended, &self.threads);
        watched.map_err(|error| self.refuse_for_resources(&error))
    }

    /// Publishes `events` as results and in the feed. A closed output does not stop the program here: a
    /// command that then writes a result notices it.
    pub(crate) fn announce(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.feed.publish_event(event.clone());
            self.sink.write([event]).ok();
        }
    }

    /// Publishes why the program does not run, and tells its threads to end.
    pub(crate) fn refuse(&mut self, why: &dyn Display, code: ErrorCode) -> Exit {
        self.announce([Event::error(format!("{}: {why}", self.name), code)]);
        // From here on the end of a thread is not a fault.
        self.signals.leaving().trigger();
        Exit::Error(code)
    }

    /// [`ProgramContext::refuse`] if the system gives no thread or descriptor.
    pub(crate) fn refuse_for_resources(&mut self, error: &io::Error) -> Exit {
        self.refuse(&resources_text(error), ErrorCode::Other)
    }

    /// Publishes the end, and waits a moment for the threads that read the feed.
    pub(crate) fn end(&self, exit: Exit) {
        self.feed.publish_event(exit.end());
        self.feed.close();
        // What is not written by then is lost.
        self.threads.join(clock::now() + LAST_WORDS);
    }
}

/// Why a program or command does not run if the system gives no thread or descriptor.
pub(crate) fn resources_text(error: &io::Error) -> String {
    format!("the system gives no more threads or descriptors: {error}")
}

/// Prints which threads have panicked or still run after a stop. Returns the exit: a success with such a
/// thread becomes a failure.
pub(crate) fn exit_after_stop(program: &str, report: &StopReport, exit: Exit) -> Exit {
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
