//! One command, said on the command line: asks the swarm as a guest, or has the node do it that shares the
//! directory.
//!
//! A guest registers nothing and locks nothing. Where `-d` is the share of a running node, the same words go
//! to that node through its socket, and what it tells is told here. Ctrl-C and `--timeout` cancel either.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{bounded, select};

use super::session::{Language, Next, Patience, Session};
use super::temporary::TemporaryDir;
use crate::cli::args::command::{Command, Listed};
use crate::cli::args::programs::latency_source;
use crate::cli::args::verbs::{AskArgs, Invocation};
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::local_socket::client;
use crate::cli::output::notices::Notices;
use crate::cli::output::progress::{Form, ProgressFlag, Screen};
use crate::cli::output::sink::Sink;
use crate::cli::output::stdio::{WriteEnd, say};
use crate::cli::program::node::{LAST_WORDS, path_text, refused};
use crate::cli::program::tracker::stopped;
use crate::cli::signals::Signals;
use crate::node::{GuestFolder, LatencySource, Membership, Node, NodeConfig, StartError};
use crate::proto::event::Event;
use crate::rt::{EventBroadcast, Stop, Threads, clock};
use crate::store::{FoundFile, RealDisk, Share, ShareError, ShareFolders, walk};
use crate::types::{FileName, FileOrigin, Printable};

/// Where a download goes.
enum Target {
    /// It is none.
    Nowhere,
    /// Under its own name into a directory.
    Dir(PathBuf),
    /// As this file of a directory.
    File { dir: PathBuf, name: FileName },
    /// To standard output, by way of a directory that is removed.
    Stdout(TemporaryDir),
}

/// Everything that one command needs.
#[derive(Debug)]
pub struct CommandContext<'a> {
    pub(crate) sink: Sink,
    pub(crate) signals: &'a Signals,
    pub(crate) threads: Threads,
    pub(crate) cancel: Stop,
    pub(crate) patience: Patience,
    json: bool,
    screen: Screen,
    /// What the guest tells that asks.
    feed: EventBroadcast,
}

/// Runs one command to its end.
pub fn run(errand: &Invocation, signals: &Signals) -> Exit {
    let to_stdout = errand.output.as_deref() == Some(Path::new("-"));
    let desk = match CommandContext::new(&errand.ask, errand.progress, to_stdout, signals) {
        Ok(desk) => desk,
        Err(error) => return out_of_resources(&error),
    };
    desk.finish(|desk| {
        if let (Some(why), None) = (needs_directory(&errand.command), &errand.ask.dir) {
            return Ok(desk.fail(why, ErrorCode::Usage));
        }
        match target(errand) {
            Ok(target) => at_target(desk, errand, target),
            Err(NoTarget::Name(why)) => Ok(desk.fail(&format!("download: {why}"), ErrorCode::Usage)),
            Err(NoTarget::Io(error)) => {
                let why = format!("node: no directory for a download to standard output: {error}");
                Ok(desk.fail(&why, ErrorCode::LocalIo))
            }
        }
    })
}

/// Why a command makes no sense without `-d`.
fn needs_directory(command: &Command) -> Option<&'static str> {
    match command {
        Command::UpdateList => {
            Some("updatelist: give -d DIR: the node that shares this directory reads it again")
        }
        Command::List(Listed::Own(_)) => Some("list: give -d DIR, whose files are to be shown"),
        _ => None,
    }
}

fn out_of_resources(error: &io::Error) -> Exit {
    say(&format!("node: the system gives no more threads or descriptors: {error}"));
    Exit::Error(ErrorCode::Other)
}

/// Why there is no place for a download.
enum NoTarget {
    /// What was typed is no name of a file.
    Name(String),
    Io(io::Error),
}

fn target(errand: &Invocation) -> Result<Target, NoTarget> {
    let Some(output) = &errand.output else {
        return Ok(match (&errand.ask.dir, &errand.command) {
            (Some(dir), _) => Target::Dir(dir.clone()),
            (None, Command::Download(_)) => Target::Dir(PathBuf::from(".")),
            (None, _) => Target::Nowhere,
        });
    };
    if output == Path::new("-") {
        return TemporaryDir::create("nearpeer-download").map(Target::Stdout).map_err(NoTarget::Io);
    }
    let no_name = |why: &str| NoTarget::Name(format!("-o {}: {why}", path_text(output)));
    let name = output.file_name().ok_or_else(|| no_name("give the name of a file"))?;
    let name = name.to_str().ok_or_else(|| no_name("give a name in UTF-8"))?;
    let name = FileName::new(name).map_err(|error| no_name(&error.to_string()))?;
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(Target::File { dir: parent.unwrap_or(Path::new(".")).to_owned(), name })
}

fn at_target(desk: &mut CommandContext<'_>, errand: &Invocation, target: Target) -> io::Result<Exit> {
    let temporary = match target {
        Target::Nowhere => return at_directory(desk, errand, GuestFolder::Nowhere, Path::new("")),
        Target::Dir(dir) => return at_directory(desk, errand, GuestFolder::Share, &dir),
        Target::File { dir, name } => return at_directory(desk, errand, GuestFolder::File(name), &dir),
        Target::Stdout(dir) => dir,
    };
    let exit = at_directory(desk, errand, GuestFolder::Share, temporary.path())?;
    let (Exit::Success, Command::Download(request)) = (exit, &errand.command) else { return Ok(exit) };
    let file = File::open(temporary.path().join(request.name.as_str()));
    // Whatever ends us from now on, nothing is left.
    drop(temporary);
    match file.and_then(|file| pour(file, &desk.cancel)) {
        Ok(Poured::All) => Ok(exit),
        Ok(Poured::Cancelled) => Ok(match desk.patience.verdict() {
            Some(late) => desk.fail(&late, ErrorCode::TimedOut),
            None => desk.fail("cancelled: the file was not written to its end", ErrorCode::Interrupted),
        }),
        Err(error) => Ok(desk.fail(&format!("download: cannot write the file: {error}"), ErrorCode::LocalIo)),
    }
}

/// As a guest, or through the node that shares the directory.
fn at_directory(
    desk: &mut CommandContext<'_>,
    errand: &Invocation,
    folder: GuestFolder,
    dir: &Path,
) -> io::Result<Exit> {
    let needs_node = errand.command == Command::UpdateList;
    let guest = match needs_node {
        true => Err(StartError::ShareInUse { path: path_text(dir) }),
        false => desk.guest(&errand.ask, errand.retries, folder, dir),
    };
    match guest {
        Ok(_) if matches!(errand.command, Command::List(Listed::Own(_))) => {
            match Share::visit(dir, Arc::new(RealDisk)) {
                Ok(_free) => desk.list_directory(dir, errand),
                Err(ShareError::InUse { .. }) => client::run(desk, dir, errand),
                Err(error) => Ok(desk.fail(&format!("node: {error}"), share_code(&error))),
            }
        }
        Ok(config) => {
            let latency = config.latency.clone();
            match Node::start(config) {
                Ok(node) => {
                    desk.name_latencies(&errand.ask, &latency);
                    desk.ask(&node, errand)
                }
                Err(StartError::ShareInUse { .. }) => client::run(desk, dir, errand),
                Err(error) => Ok(desk.start_failed(&error)),
            }
        }
        Err(StartError::ShareInUse { .. }) => client::run(desk, dir, errand),
        Err(error) => Ok(desk.start_failed(&error)),
    }
}

/// How writing to standard output went.
enum Poured {
    /// Or whoever read it has had enough.
    All,
    Cancelled,
}

/// Writes a verified file to standard output, until `cancel`.
fn pour(mut file: File, cancel: &Stop) -> io::Result<Poured> {
    let (done, is_done) = bounded(1);
    // Who reads may be slow, or wait for ever: nobody waits for this thread.
    Threads::new().spawn("pour", move || {
        let mut out = io::stdout().lock();
        let _nobody_waits = done.send(io::copy(&mut file, &mut out).and_then(|_| out.flush()));
    })?;
    let written = select! {
        recv(is_done) -> written => written.unwrap_or_else(|_| Err(io::Error::other("its thread has ended"))),
        recv(cancel.receiver()) -> _ => return Ok(Poured::Cancelled),
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(Poured::All),
    }
}

impl<'a> CommandContext<'a> {
    /// `results_aside`: results go to standard error, as standard output is for bytes. Notices are told with
    /// the results.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor.
    pub(crate) fn new(
        ask: &AskArgs,
        progress: ProgressFlag,
        results_aside: bool,
        signals: &'a Signals,
    ) -> io::Result<CommandContext<'a>> {
        let writer = results_to(results_aside);
        let screen = Screen::default();
        let sink = match ask.json {
            true => Sink::json(writer, progress != ProgressFlag::None),
            false => Sink::text(writer, progress.form(false), screen.clone(), None),
        };
        let (threads, cancel) = (Threads::new(), signals.leaving().child()?);
        let patience = Patience { time: ask.timeout, is_over: Arc::new(AtomicBool::new(false)) };
        if let Some(time) = ask.timeout {
            let (watched, is_over) = (cancel.clone(), Arc::clone(&patience.is_over));
            let deadline = clock::now() + time;
            threads.spawn("timeout", move || {
                if !watched.wait_until(deadline) {
                    is_over.store(true, Ordering::Relaxed);
                    watched.trigger();
                }
            })?;
        }
        let (feed, json) = (EventBroadcast::default(), ask.json);
        let (asides, above, leaving) = (Notices::of(&feed), screen.clone(), signals.leaving().clone());
        threads.spawn("asides", move || match json {
            true => asides.tell(results_to(results_aside), true),
            false => asides.print(Form::Plain, &above, None, &leaving),
        })?;
        Ok(CommandContext { sink, signals, threads, cancel, patience, json, screen, feed })
    }

    /// Runs `work`, says that this was all, and ends what was started for it.
    pub(crate) fn finish(mut self, work: impl FnOnce(&mut CommandContext<'a>) -> io::Result<Exit>) -> Exit {
        let exit = work(&mut self).unwrap_or_else(|error| out_of_resources(&error));
        let exit = self.signals.exit().unwrap_or(exit);
        self.cancel.trigger();
        self.feed.close();
        let _late_words_are_lost = self.threads.join(clock::now() + LAST_WORDS);
        if self.json {
            let _nobody_reads = self.sink.tell([exit.end()]);
        }
        exit
    }

    /// Says beside a result why it is so; lines of JSON have it in them.
    pub(crate) fn explain(&self, name: &FileName, why: Option<&str>) {
        self.sink.aside(why.map(|why| format!("{name}: {why}")).as_deref());
    }

    /// Says which latency file a guest goes by that was not told to.
    pub(crate) fn name_latencies(&self, ask: &AskArgs, latency: &LatencySource) {
        if let (LatencySource::File(path), None) = (latency, &ask.latency_file) {
            self.notice(&format!("latencies from {} (--latency-file none ignores it)", path_text(path)));
        }
    }

    /// Tells of something beside the result.
    pub(crate) fn notice(&self, text: &str) {
        self.feed.publish_event(Event::info(text));
    }

    /// Tells that it has failed.
    pub(crate) fn fail(&mut self, why: &str, code: ErrorCode) -> Exit {
        let exit = match code {
            // A signal that ends the program has a code of its own.
            ErrorCode::Interrupted => self.signals.exit().unwrap_or(Exit::Error(code)),
            _ => Exit::Error(code),
        };
        let _nobody_reads =
            self.sink.tell([Event::Error { why: why.to_owned(), code, exit_code: exit.code() }]);
        exit
    }

    fn start_failed(&mut self, error: &StartError) -> Exit {
        refused(&mut self.sink, error, ErrorCode::from(error))
    }

    /// How a guest asks for `ask`, whose downloads go into `folder` of `dir`. A latency file that nobody
    /// named is read only for a command that stands for a node.
    pub(crate) fn guest(
        &self,
        ask: &AskArgs,
        retries: u32,
        folder: GuestFolder,
        dir: &Path,
    ) -> Result<NodeConfig, StartError> {
        // No row of a file is for a command that stands for no node.
        let measured = ask.as_node.is_none().then_some(Path::new("none"));
        let named = ask.latency_file.as_deref().or(measured);
        let latency = latency_source(named, Path::new("")).map_err(|(path, error)| StartError::Latency {
            path: path_text(&path),
            why: error.to_string(),
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

    /// Asks as `node`, a guest.
    fn ask(&mut self, node: &Node, errand: &Invocation) -> io::Result<Exit> {
        let over = self.signals.leaving().child()?;
        self.signals.watch_threads_until(&over, node.ended(), &self.threads)?;
        let sink = std::mem::replace(&mut self.sink, Sink::json(Box::new(io::sink()), false));
        let weight = errand.ask.load_weight;
        let mut session = Session::of_guest(node, sink, self.signals, weight, Language::Node);
        session.set_patience(self.patience.clone());
        let next = session.run(errand.command.clone(), &self.cancel);
        self.sink = session.into_sink();
        // Threads that end from now on end because they are told to. The process is not leaving yet: what was
        // fetched may be for standard output.
        over.trigger();
        let exit = match next {
            Next::Continue(exit) | Next::Unwritable(exit) => exit,
            Next::Leave => Exit::Success,
        };
        Ok(stopped("node", &node.stop(), exit))
    }

    /// The files of a directory that nobody shares, under the names that they would be published under: their
    /// sizes, as nobody has hashed them.
    fn list_directory(&mut self, dir: &Path, errand: &Invocation) -> io::Result<Exit> {
        let folders = match ShareFolders::look(dir, errand.layout, Arc::new(RealDisk)) {
            Ok(folders) => folders,
            Err(error) => return Ok(self.fail(&format!("node: {error}"), share_code(&error))),
        };
        let files = match self.walked(&folders) {
            Ok(files) => files,
            Err(_) if self.patience.verdict().is_some() => {
                return Ok(self.fail(&self.patience.verdict().unwrap_or_default(), ErrorCode::TimedOut));
            }
            Err(error) => {
                let why = format!("node: cannot read {}: {}", path_text(dir), Printable(&error.to_string()));
                return Ok(self.fail(&why, ErrorCode::LocalIo));
            }
        };
        let Command::List(Listed::Own(wanted)) = errand.command else { return Ok(Exit::Success) };
        let listed = files.into_iter().filter_map(|(name, Stands { kind, share, size_bytes })| {
            let kind = folders.kind_once(kind, &share, &name);
            let is_wanted = wanted.is_none_or(|wanted| wanted == kind);
            let kind = Some(kind);
            is_wanted.then_some(Event::File { name, size_bytes, md5: None, b3: None, kind })
        });
        Ok(self.sink.tell(listed).map_or_else(WriteEnd::exit, |()| Exit::Success))
    }

    /// What would be published of folders: for each name the folder that it stands in and its size.
    pub(crate) fn walked(&self, folders: &ShareFolders) -> io::Result<BTreeMap<FileName, Stands>> {
        let mut files = BTreeMap::new();
        for (kind, share) in folders.shared() {
            let take = &mut |file: FoundFile| {
                // That of the first folder counts.
                let size_bytes = file.stamp.size_bytes;
                files.entry(file.name).or_insert_with(|| Stands {
                    kind,
                    share: Arc::clone(&share),
                    size_bytes,
                });
            };
            let warn = &mut |why| self.screen.say(&format!("warning: {why}"));
            walk(&share, &self.cancel, take, warn)?;
        }
        Ok(files)
    }
}

/// A file in one of the folders of a directory.
#[derive(Debug)]
pub(crate) struct Stands {
    kind: FileOrigin,
    share: Arc<Share>,
    size_bytes: u64,
}

/// Where results go, unless standard output is for bytes.
fn results_to(aside: bool) -> Box<dyn Write + Send> {
    match aside {
        true => Box::new(io::stderr()),
        false => Box::new(io::stdout()),
    }
}

/// Why a directory cannot be used, as a word.
pub(crate) fn share_code(error: &ShareError) -> ErrorCode {
    match error {
        ShareError::NoSuchDirectory { .. } => ErrorCode::Usage,
        ShareError::InUse { .. } | ShareError::Io { .. } => ErrorCode::LocalIo,
    }
}
