//! What one command of a command line needs: where its results go, when it is cancelled, and how a guest of
//! the swarm is started for it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::session::TimeLimit;
use crate::cli::args::one_shot::AskArgs;
use crate::cli::args::shared::latency_source;
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::output::notices::Notices;
use crate::cli::output::progress::{Form, ProgressFlag, Screen};
use crate::cli::output::sink::Sink;
use crate::cli::output::stdio::say;
use crate::cli::program::lifecycle::{LAST_WORDS, out_of_resources};
use crate::cli::signals::Signals;
use crate::node::{GuestFolder, LatencySource, Membership, NodeConfig, NodeStartError};
use crate::proto::event::Event;
use crate::rt::{EventBroadcast, Stop, Threads, clock};
use crate::store::{FoundFile, Share, ShareFolders, walk};
use crate::types::{FileName, FileOrigin, path_text};

/// Everything that one command needs.
#[derive(Debug)]
pub struct CommandContext<'a> {
    pub(crate) sink: Sink,
    pub(crate) signals: &'a Signals,
    pub(crate) threads: Threads,
    /// Cancels the command.
    pub(crate) cancel: Stop,
    pub(crate) time_limit: TimeLimit,
    json: bool,
    screen: Screen,
    /// Events of the guest.
    feed: EventBroadcast,
}

/// A file in one of the folders of a directory.
#[derive(Debug)]
pub(crate) struct FolderFile {
    pub(crate) kind: FileOrigin,
    pub(crate) share: Arc<Share>,
    pub(crate) size_bytes: u64,
}

/// Runs `work` with a context, prints the end, and ends the threads that were started for it.
/// `results_aside`: results go to standard error, because standard output is for bytes.
pub(crate) fn run(
    ask: &AskArgs,
    progress: ProgressFlag,
    results_aside: bool,
    signals: &Signals,
    work: impl FnOnce(&mut CommandContext<'_>) -> io::Result<Exit>,
) -> Exit {
    let refused = |error: &io::Error| {
        say(&format!("node: {}", out_of_resources(error)));
        Exit::Error(ErrorCode::Other)
    };
    let mut context = match CommandContext::new(ask, progress, results_aside, signals) {
        Ok(context) => context,
        Err(error) => return refused(&error),
    };
    let exit = work(&mut context).unwrap_or_else(|error| refused(&error));
    context.finish(exit)
}

impl<'a> CommandContext<'a> {
    /// # Errors
    /// When the system gives no thread or descriptor.
    fn new(
        ask: &AskArgs,
        progress: ProgressFlag,
        results_aside: bool,
        signals: &'a Signals,
    ) -> io::Result<CommandContext<'a>> {
        let writer = results_to(results_aside);
        let screen = Screen::default();
        let sink = if ask.json {
            Sink::json(writer, progress != ProgressFlag::None)
        } else {
            Sink::text(writer, progress.form(false), screen.clone(), None)
        };
        let (threads, cancel) = (Threads::new(), signals.leaving().child()?);
        let time_limit = TimeLimit { time: ask.timeout, is_over: Arc::new(AtomicBool::new(false)) };
        if let Some(time) = ask.timeout {
            let (watched, is_over) = (cancel.clone(), Arc::clone(&time_limit.is_over));
            let deadline = clock::now() + time;
            threads.spawn("timeout", move || {
                if !watched.wait_until(deadline) {
                    is_over.store(true, Ordering::Relaxed);
                    watched.trigger();
                }
            })?;
        }
        let (feed, json) = (EventBroadcast::default(), ask.json);
        let (notices, above, leaving) =
            (Notices::subscribe(&feed), screen.clone(), signals.leaving().clone());
        threads.spawn("notices", move || {
            if json {
                notices.write_json(results_to(results_aside), true);
            } else {
                notices.print(Form::Plain, &above, None, &leaving);
            }
        })?;
        Ok(CommandContext { sink, signals, threads, cancel, time_limit, json, screen, feed })
    }

    /// Prints the end, and ends what was started for the command.
    fn finish(mut self, exit: Exit) -> Exit {
        let exit = self.signals.exit().unwrap_or(exit);
        self.cancel.trigger();
        self.feed.close();
        let _late_words_are_lost = self.threads.join(clock::now() + LAST_WORDS);
        if self.json {
            let _unread = self.sink.write([exit.end()]);
        }
        exit
    }

    /// Prints the reason of a result beside it. A line of JSON contains it already.
    pub(crate) fn explain(&self, name: &FileName, why: Option<&str>) {
        self.sink.explain(why.map(|why| format!("{name}: {why}")).as_deref());
    }

    /// Names the latency file that a guest reads without being told to.
    pub(crate) fn name_latencies(&self, ask: &AskArgs, latency: &LatencySource) {
        if let (LatencySource::File(path), None) = (latency, &ask.latency_file) {
            self.notice(&format!("latencies from {} (--latency-file none ignores it)", path_text(path)));
        }
    }

    /// Prints a notice beside the results.
    pub(crate) fn notice(&self, text: &str) {
        self.feed.publish_event(Event::info(text));
    }

    /// Prints why the command has failed.
    pub(crate) fn fail(&mut self, why: &str, code: ErrorCode) -> Exit {
        let exit = match code {
            // A signal that ends the program has a code of its own.
            ErrorCode::Interrupted => self.signals.exit().unwrap_or(Exit::Error(code)),
            _ => Exit::Error(code),
        };
        let _unread = self.sink.write([Event::Error { why: why.to_owned(), code, exit_code: exit.code() }]);
        exit
    }

    /// Prints why the guest does not start.
    pub(crate) fn start_failed(&mut self, error: &NodeStartError) -> Exit {
        self.fail(&format!("node: {error}"), ErrorCode::from(error))
    }

    /// Prints why a command was cancelled: its time is over, or `why`.
    pub(crate) fn cancelled(&mut self, why: &str) -> Exit {
        match self.time_limit.message() {
            Some(late) => self.fail(&late, ErrorCode::TimedOut),
            None => self.fail(why, ErrorCode::Interrupted),
        }
    }

    /// The configuration of a guest for `ask`, whose downloads go into `folder` of `dir`. A latency file
    /// that no flag names is read only with `--as`.
    ///
    /// # Errors
    /// A latency file that cannot be read.
    pub(crate) fn guest(
        &self,
        ask: &AskArgs,
        retries: u32,
        folder: GuestFolder,
        dir: &Path,
    ) -> Result<NodeConfig, NodeStartError> {
        // Without `--as` no row of a file applies.
        let measured = ask.as_node.is_none().then_some(Path::new("none"));
        let named = ask.latency_file.as_deref().or(measured);
        let latency = latency_source(named, Path::new("")).map_err(|(path, error)| {
            NodeStartError::Latency { path: path_text(&path), why: error.to_string() }
        })?;
        let unspecified: IpAddr = match ask.tracker {
            SocketAddr::V4(_) => [0; 4].into(),
            SocketAddr::V6(_) => [0; 16].into(),
        };
        let me = ask.as_node.unwrap_or(SocketAddr::new(unspecified, 0));
        Ok(NodeConfig {
            port: me.port(),
            latency,
            default_latency: ask.default_latency_ms,
            load_weight: ask.load_weight,
            retries,
            membership: Membership::Guest(folder),
            events: self.feed.clone(),
            ..NodeConfig::new(me.ip(), dir, ask.tracker)
        })
    }

    /// The files of folders under the names that a node would publish. Prints why they cannot be read.
    ///
    /// # Errors
    /// The exit code of a directory that cannot be read, or of a time that is over.
    pub(crate) fn files(
        &mut self,
        dir: &Path,
        folders: &ShareFolders,
    ) -> Result<BTreeMap<FileName, FolderFile>, Exit> {
        self.walk(folders).map_err(|error| match self.time_limit.message() {
            Some(late) => self.fail(&late, ErrorCode::TimedOut),
            None => {
                let why = crate::types::Printable(&error.to_string()).to_string();
                self.fail(&format!("node: cannot read {}: {why}", path_text(dir)), ErrorCode::LocalIo)
            }
        })
    }

    fn walk(&self, folders: &ShareFolders) -> io::Result<BTreeMap<FileName, FolderFile>> {
        let mut files = BTreeMap::new();
        for (kind, share) in folders.shared() {
            let add = &mut |file: FoundFile| {
                // The first folder that has a name counts.
                let size_bytes = file.stamp.size_bytes;
                files.entry(file.name).or_insert_with(|| FolderFile {
                    kind,
                    share: Arc::clone(&share),
                    size_bytes,
                });
            };
            let warn = &mut |why| self.screen.say(&format!("warning: {why}"));
            walk(&share, &self.cancel, add, warn)?;
        }
        Ok(files)
    }
}

/// Where results go, unless standard output is for bytes.
fn results_to(aside: bool) -> Box<dyn Write + Send> {
    if aside { Box::new(io::stderr()) } else { Box::new(io::stdout()) }
}
