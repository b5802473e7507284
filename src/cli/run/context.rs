//! What one command of a command line needs: the sink of its results, the stop that cancels it, and the
//! configuration of its guest.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::session::TimeLimit;
use crate::cli::args::one_shot::CommonArgs;
use crate::cli::args::shared::latency_source;
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::output::notices::Notices;
use crate::cli::output::progress::{Form, ProgressFlag, Screen};
use crate::cli::output::sink::Sink;
use crate::cli::output::stdio::say;
use crate::cli::program::lifecycle::{LAST_WORDS, resources_text};
use crate::cli::signals::Signals;
use crate::node::{GuestFolder, LatencySource, Membership, NodeConfig, NodeStartError};
use crate::proto::event::Event;
use crate::rt::{EventBroadcast, Stop, Threads, clock};
use crate::store::{FoundFile, Share, ShareFolders, SkippedEntry, walk};
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
    pub(crate) origin: FileOrigin,
    pub(crate) share: Arc<Share>,
    pub(crate) size_bytes: u64,
}

/// The stream for results.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ResultStream {
    Stdout,
    /// Standard output is for the bytes of a file.
    Stderr,
}

impl ResultStream {
    fn writer(self) -> Box<dyn Write + Send> {
        match self {
            ResultStream::Stdout => Box::new(io::stdout()),
            ResultStream::Stderr => Box::new(io::stderr()),
        }
    }
}

/// Runs `work` with a context, prints the end, and ends the threads that were started for the command.
pub(crate) fn run(
    common: &CommonArgs,
    progress: ProgressFlag,
    results: ResultStream,
    signals: &Signals,
    work: impl FnOnce(&mut CommandContext<'_>) -> io::Result<Exit>,
) -> Exit {
    let say_why = |error: &io::Error| {
        say(&format!("node: {}", resources_text(error)));
        Exit::Error(ErrorCode::Other)
    };
    let mut context = match CommandContext::new(common, progress, results, signals) {
        Ok(context) => context,
        Err(error) => return say_why(&error),
    };
    let exit = work(&mut context).unwrap_or_else(|error| say_why(&error));
    context.finish(exit)
}

impl<'a> CommandContext<'a> {
    /// # Errors
    /// When the system gives no thread or descriptor.
    fn new(
        common: &CommonArgs,
        progress: ProgressFlag,
        results: ResultStream,
        signals: &'a Signals,
    ) -> io::Result<CommandContext<'a>> {
        let screen = Screen::default();
        let sink = if common.json {
            Sink::json(results.writer(), progress != ProgressFlag::None)
        } else {
            let is_headless = false;
            Sink::text(results.writer(), progress.form(is_headless), screen.clone(), None)
        };
        let (threads, cancel) = (Threads::new(), signals.leaving().child()?);
        let time_limit = TimeLimit { time: common.timeout, is_over: Arc::new(AtomicBool::new(false)) };
        if let Some(time) = common.timeout {
            let (watched, is_over) = (cancel.clone(), Arc::clone(&time_limit.is_over));
            let deadline = clock::now() + time;
            threads.spawn("timeout", move || {
                if !watched.wait_until(deadline) {
                    is_over.store(true, Ordering::Relaxed);
                    watched.trigger();
                }
            })?;
        }
        let (feed, json) = (EventBroadcast::default(), common.json);
        let (notices, above, leaving) =
            (Notices::subscribe(&feed), screen.clone(), signals.leaving().clone());
        threads.spawn("notices", move || {
            if json {
                notices.write_json(results.writer(), true);
            } else {
                notices.print(Form::Plain, &above, None, &leaving);
            }
        })?;
        Ok(CommandContext { sink, signals, threads, cancel, time_limit, json, screen, feed })
    }

    /// Prints the end, and ends the threads of the command.
    fn finish(mut self, exit: Exit) -> Exit {
        let exit = self.signals.exit().unwrap_or(exit);
        self.cancel.trigger();
        self.feed.close();
        // What is not printed by then is lost.
        self.threads.join(clock::now() + LAST_WORDS);
        if self.json {
            self.sink.write([exit.end()]).ok();
        }
        exit
    }

    /// Prints the reason of a result on standard error. A line of JSON contains the reason already.
    pub(crate) fn explain(&self, name: &FileName, why: Option<&str>) {
        self.sink.explain(why.map(|why| format!("{name}: {why}")).as_deref());
    }

    /// Prints the name of the latency file of a guest if no flag names the file.
    pub(crate) fn notice_latency_file(&self, common: &CommonArgs, latency: &LatencySource) {
        if let (LatencySource::File(path), None) = (latency, &common.latency_file) {
            self.notice(&format!("latencies from {} (--latency-file none ignores it)", path_text(path)));
        }
    }

    /// Prints a notice. Its thread prints it, so results may come before it.
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
        self.sink.write([Event::Error { why: why.to_owned(), code, exit_code: exit.code() }]).ok();
        exit
    }

    /// Prints why the guest does not start.
    pub(crate) fn start_failed(&mut self, error: &NodeStartError) -> Exit {
        self.fail(&format!("node: {error}"), ErrorCode::from(error))
    }

    /// Prints why a command was cancelled: its time is over, or else `why`.
    pub(crate) fn cancelled(&mut self, why: &str) -> Exit {
        match self.time_limit.text_if_over() {
            Some(late) => self.fail(&late, ErrorCode::TimedOut),
            None => self.fail(why, ErrorCode::Interrupted),
        }
    }

    /// The configuration of a guest, whose downloads go into `folder` of `dir`. A latency file that no flag
    /// names is read only with `--as`.
    ///
    /// # Errors
    /// A latency file that cannot be read.
    pub(crate) fn guest_config(
        &self,
        common: &CommonArgs,
        retries: u32,
        folder: GuestFolder,
        dir: &Path,
    ) -> Result<NodeConfig, NodeStartError> {
        // Without `--as` no row of a file applies.
        let no_file = common.as_node.is_none().then_some(Path::new("none"));
        let named = common.latency_file.as_deref().or(no_file);
        let latency = latency_source(named, Path::new("")).map_err(|(path, error)| {
            NodeStartError::Latency { path: path_text(&path), why: error.to_string() }
        })?;
        let unspecified: IpAddr = match common.tracker {
            SocketAddr::V4(_) => [0; 4].into(),
            SocketAddr::V6(_) => [0; 16].into(),
        };
        let own_addr = common.as_node.unwrap_or(SocketAddr::new(unspecified, 0));
        Ok(NodeConfig {
            port: own_addr.port(),
            latency,
            default_latency: common.default_latency_ms,
            load_weight: common.load_weight,
            retries,
            membership: Membership::Guest(folder),
            events: self.feed.clone(),
            ..NodeConfig::new(own_addr.ip(), dir, common.tracker)
        })
    }

    /// The files of the folders of `dir`, under the names that a node would publish. Prints a failure.
    ///
    /// # Errors
    /// The exit if the directory cannot be read, or the command is cancelled.
    pub(crate) fn files(
        &mut self,
        dir: &Path,
        folders: &ShareFolders,
    ) -> Result<BTreeMap<FileName, FolderFile>, Exit> {
        self.walk_folders(folders).map_err(|error| match self.time_limit.text_if_over() {
            Some(late) => self.fail(&late, ErrorCode::TimedOut),
            None => {
                let why = crate::types::Printable(&error.to_string()).to_string();
                self.fail(&format!("node: cannot read {}: {why}", path_text(dir)), ErrorCode::LocalIo)
            }
        })
    }

    fn walk_folders(&self, folders: &ShareFolders) -> io::Result<BTreeMap<FileName, FolderFile>> {
        let mut files = BTreeMap::new();
        for (origin, share) in folders.shared() {
            let add = &mut |file: FoundFile| {
                // If two folders have a name, the first folder counts.
                let size_bytes = file.stamp.size_bytes;
                files.entry(file.name).or_insert_with(|| FolderFile {
                    origin,
                    share: Arc::clone(&share),
                    size_bytes,
                });
            };
            let skip = &mut |skipped: SkippedEntry| self.screen.say(&format!("warning: {}", skipped.why));
            walk(&share, &self.cancel, add, skip)?;
        }
        Ok(files)
    }
}
