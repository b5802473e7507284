//! One command, said on the command line: asks the swarm as a guest, or has the node do it that shares the directory.
//!
//! A guest registers nothing and locks nothing. Where `-d` is the share of a running node, the same words go to that node through its
//! socket, and what it tells is told here. Ctrl-C and `--timeout` cancel either.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::args::latency_source;
use super::asides::Asides;
use super::command::{Command, Listed};
use super::exit::{ErrorCode, Exit};
use super::handoff::client;
use super::node::{LAST_WORDS, path_text, refused};
use super::output::say;
use super::progress::{ProgressFlag, Screen};
use super::session::{Language, Next, Patience, Session};
use super::signals::Signals;
use super::sink::Sink;
use super::temporary::TemporaryDir;
use super::tracker::stopped;
use super::verbs::{AskArgs, Errand};
use crate::node::{LatencySource, Membership, Node, NodeConfig, StartError};
use crate::proto::event::Event;
use crate::rt::{Feed, Stop, Threads, clock};
use crate::store::{RealDisk, Share, ShareError, walk};
use crate::types::{FileName, Printable};

/// Where a download goes.
enum Target {
    /// Under its own name into a directory.
    Dir(PathBuf),
    /// Into this file, by way of a directory beside it.
    File { path: PathBuf, staging: PathBuf },
    /// To standard output, by way of a directory that is removed.
    Stdout(TemporaryDir),
}

/// Everything that one command needs.
#[derive(Debug)]
pub struct Desk<'a> {
    pub(super) sink: Sink,
    pub(super) signals: &'a Signals,
    pub(super) threads: Threads,
    pub(super) cancel: Stop,
    pub(super) patience: Patience,
    json: bool,
    /// Results go to standard error, as standard output is for bytes.
    results_aside: bool,
    screen: Screen,
    /// What the guest tells that asks.
    feed: Feed,
}

/// Runs one command to its end.
pub fn run(errand: &Errand, signals: &Signals) -> Exit {
    let to_stdout = errand.output.as_deref() == Some(Path::new("-"));
    let desk = match Desk::new(&errand.ask, errand.progress, to_stdout, signals) {
        Ok(desk) => desk,
        Err(error) => return out_of_resources(&error),
    };
    desk.finish(|desk| match target(errand) {
        Ok(target) => at_target(desk, errand, &target),
        Err(error) => Ok(desk.fail(&format!("node: {error}"), ErrorCode::LocalIo)),
    })
}

fn out_of_resources(error: &io::Error) -> Exit {
    say(&format!("node: the system gives no more threads or descriptors: {error}"));
    Exit::Error(ErrorCode::Other)
}

fn target(errand: &Errand) -> io::Result<Target> {
    let Some(output) = &errand.output else {
        let here = || match errand.command {
            Command::Download(_) => PathBuf::from("."),
            // Nothing is read or written there.
            _ => std::env::temp_dir(),
        };
        return Ok(Target::Dir(errand.ask.dir.clone().unwrap_or_else(here)));
    };
    if output == Path::new("-") {
        return Ok(Target::Stdout(TemporaryDir::create("nearpeer-download")?));
    }
    let (Some(name), parent) = (output.file_name(), output.parent()) else {
        return Err(io::Error::other(format!("{}: give the name of a file", path_text(output))));
    };
    let parent = parent.filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The same file has the same place, so that a download into it is gone on with.
    let number = blake3::hash(name.as_encoded_bytes()).to_hex();
    let staging = parent.join(".nearpeer").join(format!("to-{}", &number.as_str()[..16]));
    Ok(Target::File { path: output.clone(), staging })
}

fn at_target(desk: &mut Desk<'_>, errand: &Errand, target: &Target) -> io::Result<Exit> {
    let dir = match target {
        Target::Dir(dir) => dir.as_path(),
        Target::Stdout(dir) => dir.path(),
        Target::File { path, staging } => {
            let force = matches!(&errand.command, Command::Download(request) if request.force);
            if path.symlink_metadata().is_ok() && !force {
                let why = format!("download: {} exists: use --force to replace it", path_text(path));
                return Ok(desk.fail(&why, ErrorCode::Exists));
            }
            if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(staging) {
                let why = format!("download: cannot write beside {}: {error}", path_text(path));
                return Ok(desk.fail(&why, ErrorCode::LocalIo));
            }
            staging.as_path()
        }
    };
    let exit = at_directory(desk, errand, dir)?;
    let Command::Download(request) = &errand.command else { return Ok(exit) };
    let here = dir.join(request.name.as_str());
    let moved = match target {
        Target::Dir(_) => Ok(()),
        Target::File { path, staging } => {
            let moved = if exit == Exit::Success { place(&here, path, request.force) } else { Ok(()) };
            remove_empty(staging, &request.name);
            moved
        }
        Target::Stdout(_) if exit == Exit::Success => pour(&here),
        Target::Stdout(_) => Ok(()),
    };
    Ok(match moved {
        Ok(()) => exit,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            desk.fail("download: the file exists by now: use --force to replace it", ErrorCode::Exists)
        }
        Err(error) => desk.fail(&format!("download: cannot write the file: {error}"), ErrorCode::LocalIo),
    })
}

/// As a guest, or through the node that shares the directory.
fn at_directory(desk: &mut Desk<'_>, errand: &Errand, dir: &Path) -> io::Result<Exit> {
    let needs_node = errand.command == Command::UpdateList;
    let ranks = matches!(errand.command, Command::Find(_) | Command::Sources(_) | Command::Download(_));
    let guest =
        if needs_node { Err(in_use(dir)) } else { desk.guest(&errand.ask, ranks, errand.retries, dir) };
    match guest {
        Ok(_) if matches!(errand.command, Command::List(Listed::Own(_))) => {
            match Share::visit(dir, Arc::new(RealDisk)) {
                Ok(share) => desk.list_directory(dir, &share),
                Err(ShareError::InUse { .. }) => client::run(desk, dir, errand),
                Err(error) => Ok(desk.fail(&format!("node: {error}"), share_code(&error))),
            }
        }
        Ok(config) => match Node::start(config) {
            Ok(node) => desk.ask(&node, errand),
            Err(StartError::ShareInUse { .. }) => client::run(desk, dir, errand),
            Err(error) => Ok(desk.start_failed(&error)),
        },
        Err(StartError::ShareInUse { .. }) => client::run(desk, dir, errand),
        Err(error) => Ok(desk.start_failed(&error)),
    }
}

fn in_use(dir: &Path) -> StartError {
    StartError::ShareInUse { path: path_text(dir) }
}

/// Gives a verified file its name.
fn place(here: &Path, path: &Path, force: bool) -> io::Result<()> {
    let flags = if force { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    renameat_with(CWD, here, CWD, path, flags)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Takes away the directories of a staging that are empty; what is unfinished stays.
fn remove_empty(staging: &Path, name: &FileName) {
    let mut dir = staging.join(name.as_str());
    while dir.pop() && dir.starts_with(staging) {
        let _not_empty = fs::remove_dir(&dir);
    }
    if let Some(parent) = staging.parent() {
        let _not_empty = fs::remove_dir(parent);
    }
}

/// Writes a verified file to standard output.
fn pour(here: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).open(here)?;
    let mut out = io::stdout().lock();
    match io::copy(&mut file, &mut out).and_then(|_| out.flush()) {
        // Whoever read it has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

impl<'a> Desk<'a> {
    /// # Errors
    /// When the system gives no thread or descriptor.
    pub(super) fn new(
        ask: &AskArgs,
        progress: ProgressFlag,
        results_aside: bool,
        signals: &'a Signals,
    ) -> io::Result<Desk<'a>> {
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
        Ok(Desk {
            sink,
            signals,
            threads,
            cancel,
            patience,
            json: ask.json,
            results_aside,
            screen,
            feed: Feed::default(),
        })
    }

    /// Runs `work`, says that this was all, and ends what was started for it.
    pub(super) fn finish(mut self, work: impl FnOnce(&mut Desk<'a>) -> io::Result<Exit>) -> Exit {
        let exit = work(&mut self).unwrap_or_else(|error| out_of_resources(&error));
        let exit = self.signals.exit().unwrap_or(exit);
        self.cancel.trigger();
        self.feed.close();
        let _late_words_are_lost = self.threads.join(clock::now() + LAST_WORDS);
        if self.json {
            let end = Event::End { exit_code: exit.code(), code: exit.error_code() };
            let _nobody_reads = self.sink.tell([end]);
        }
        exit
    }

    /// Says beside a result why it is so; lines of JSON have it in them.
    pub(super) fn explain(&self, name: &FileName, why: Option<&str>) {
        self.sink.aside(why.map(|why| format!("{name}: {why}")).as_deref());
    }

    /// Tells that it has failed.
    pub(super) fn fail(&mut self, why: &str, code: ErrorCode) -> Exit {
        let _nobody_reads = self.sink.tell([Event::error(why, code)]);
        Exit::Error(code)
    }

    fn start_failed(&mut self, error: &StartError) -> Exit {
        refused(&mut self.sink, error, ErrorCode::from(error))
    }

    /// How a guest asks for `ask`, whose downloads go into `dir`. Its notices are printed. A latency file that nobody named is read only
    /// where sources are ranked.
    pub(super) fn guest(
        &self,
        ask: &AskArgs,
        ranks: bool,
        retries: u32,
        dir: &Path,
    ) -> Result<NodeConfig, StartError> {
        let named = ask.latency_file.as_deref().or((!ranks).then_some(Path::new("none")));
        let latency = latency_source(named, Path::new("")).map_err(|(path, error)| StartError::Latency {
            path: path_text(&path),
            why: error.to_string(),
        })?;
        if let (LatencySource::File(path), None) = (&latency, &ask.latency_file) {
            self.screen.say(&format!("latencies from {} (--latency-file none ignores it)", path_text(path)));
        }
        let unspecified: IpAddr = match ask.tracker {
            SocketAddr::V4(_) => [0; 4].into(),
            SocketAddr::V6(_) => [0; 16].into(),
        };
        let me = ask.as_node.unwrap_or(SocketAddr::new(unspecified, 0));
        let (json, results_aside) = (self.json, self.results_aside);
        let (screen, leaving) = (self.screen.clone(), self.signals.leaving().clone());
        let asides = Asides::of(&self.feed);
        self.threads.spawn("asides", move || match json {
            true => asides.tell(results_to(results_aside)),
            false => asides.print(&screen, None, &leaving),
        })?;
        Ok(NodeConfig {
            port: me.port(),
            latency,
            default_latency: ask.default_latency_ms,
            load_weight: ask.load_weight,
            retries,
            membership: Membership::Guest,
            events: self.feed.clone(),
            ..NodeConfig::new(me.ip(), dir, ask.tracker)
        })
    }

    /// Asks as `node`, a guest.
    fn ask(&mut self, node: &Node, errand: &Errand) -> io::Result<Exit> {
        self.signals.watch_threads(node.ended(), &self.threads)?;
        let sink = std::mem::replace(&mut self.sink, Sink::json(Box::new(io::sink()), false));
        let weight = errand.ask.load_weight;
        let mut session = Session::of_guest(node, sink, self.signals, weight, Language::Node);
        session.set_patience(self.patience.clone());
        let next = session.run(errand.command.clone(), &self.cancel);
        self.sink = session.into_sink();
        // Threads that end from now on end because they are told to.
        self.signals.leaving().trigger();
        let exit = match next {
            Next::Continue(exit) | Next::Unwritable(exit) => exit,
            Next::Leave => Exit::Success,
        };
        Ok(stopped("node", &node.stop(), exit))
    }

    /// The files of a directory that nobody shares: their sizes, as nobody has hashed them.
    fn list_directory(&mut self, dir: &Path, share: &Share) -> io::Result<Exit> {
        let mut files = Vec::new();
        let mut warnings = Vec::new();
        let walked = walk(share, &self.cancel, &mut |file| files.push(file), &mut |why| warnings.push(why));
        warnings.iter().for_each(|why| self.screen.say(&format!("warning: {why}")));
        if let Err(error) = walked {
            let why = format!("node: cannot read {}: {}", path_text(dir), Printable(&error.to_string()));
            return Ok(self.fail(&why, ErrorCode::LocalIo));
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let listed = files.into_iter().map(|file| Event::File {
            name: file.name,
            size_bytes: file.stamp.size_bytes,
            md5: None,
            b3: None,
            kind: None,
        });
        let _nobody_reads = self.sink.tell(listed);
        Ok(Exit::Success)
    }
}

/// Where results go, unless standard output is for bytes.
fn results_to(aside: bool) -> Box<dyn Write + Send> {
    match aside {
        true => Box::new(io::stderr()),
        false => Box::new(io::stdout()),
    }
}

/// Why a directory cannot be used, as a word.
pub(super) fn share_code(error: &ShareError) -> ErrorCode {
    match error {
        ShareError::NoSuchDirectory { .. } => ErrorCode::Usage,
        ShareError::InUse { .. } | ShareError::Io { .. } => ErrorCode::LocalIo,
    }
}
