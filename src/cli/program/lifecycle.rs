//! What both programs do alike: refuse a command line, start the log and the pages, publish events, and stop.

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

/// How long a program that has ended waits for its last output.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

/// Prints completions of a program for a shell.
pub(crate) fn completions(shell: clap_complete::Shell, program: &str, mut command: clap::Command) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, program, &mut text);
    let written = Output::stdout().lines(String::from_utf8_lossy(&text).trim_end());
    written.map_or_else(WriteEnd::exit, |()| Exit::Success)
}

/// Prints why a command line is not run: an error, or a text such as that of `--help`.
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

/// What a program runs with, from its start to its end.
pub(crate) struct ProgramContext<'a> {
    /// The beginning of its error texts.
    name: &'static str,
    /// Where its results go.
    pub(crate) sink: Sink,
    /// Its events: the log, the pages and the notices read them.
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

    /// Starts the log, if there is one.
    ///
    /// # Errors
    /// The exit code of a log that cannot be written. The reason is published already.
    pub(crate) fn start_log(&mut self, args: &LogArgs) -> Result<(), Exit> {
        log::start(args, &self.feed, &self.threads).map_err(|error| self.refuse(&error, ErrorCode::LocalIo))
    }

    /// Starts the pages by `serve`. `None`: they are off.
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

    /// Makes the program leave when one of these threads ends before the program is told to stop.
    ///
    /// # Errors
    /// The exit code of a system that gives no thread. The reason is published already.
    pub(crate) fn watch(&mut self, ended: &Receiver<Ended>) -> Result<(), Exit> {
        let watched = self.signals.watch_threads(ended, &self.threads);
        watched.map_err(|error| self.out_of_resources(&error))
    }

    /// Publishes `events` as results and in the feed. A program serves on when its output is closed: the
    /// first result of a command shows that.
    pub(crate) fn announce(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.feed.publish_event(event.clone());
            let _unread = self.sink.write([event]);
        }
    }

    /// Publishes why the program does not run, and has its threads end.
    pub(crate) fn refuse(&mut self, why: &dyn Display, code: ErrorCode) -> Exit {
        self.announce([Event::error(format!("{}: {why}", self.name), code)]);
        // All threads are stopped now, so their end is no fault.
        self.signals.leaving().trigger();
        Exit::Error(code)
    }

    /// [`ProgramContext::refuse`] where the system gives no thread or descriptor.
    pub(crate) fn out_of_resources(&mut self, error: &io::Error) -> Exit {
        self.refuse(&out_of_resources(error), ErrorCode::Other)
    }

    /// Publishes the end, and waits a moment for the threads that read the feed.
    pub(crate) fn end(&self, exit: Exit) {
        self.feed.publish_event(exit.end());
        self.feed.close();
        let _late_words_are_lost = self.threads.join(clock::now() + LAST_WORDS);
    }
}

/// The reason of a program or command for which the system has no thread or descriptor.
pub(crate) fn out_of_resources(error: &io::Error) -> String {
    format!("the system gives no more threads or descriptors: {error}")
}

/// The exit after a stop. Names threads that have panicked or still run.
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
