//! One command of a command line. A guest of the swarm runs it, or the node that shares the directory.
//!
//! A guest registers nothing and locks nothing. If `-d` is the share of a running node, that node gets the
//! command through its socket, and this program prints its events. Ctrl-C and `--timeout` cancel either.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{bounded, select};

use super::context::{self, CommandContext, FolderFile};
use super::session::{Next, Session};
use super::temporary::TemporaryDir;
use crate::cli::args::command::{Command, Listed};
use crate::cli::args::one_shot::Invocation;
use crate::cli::args::prompt::{Language, PromptCommand};
use crate::cli::exit::{ErrorCode, Exit, share_code};
use crate::cli::local_socket::client;
use crate::cli::output::stdio::WriteEnd;
use crate::cli::program::lifecycle::stopped;
use crate::cli::signals::Signals;
use crate::node::{GuestFolder, Node, NodeStartError};
use crate::proto::event::Event;
use crate::rt::{Stop, Threads};
use crate::store::{RealDisk, Share, ShareError, ShareFolders};
use crate::types::{FileName, FileOrigin, path_text};

/// Where a download goes.
enum Target {
    /// The command is no download.
    Nowhere,
    /// Under its own name into a directory.
    Dir(PathBuf),
    /// As this file of a directory.
    File { dir: PathBuf, name: FileName },
    /// To standard output, by way of a directory that is removed.
    Stdout(TemporaryDir),
}

/// Runs one command to its end.
pub fn run(invocation: &Invocation, signals: &Signals) -> Exit {
    let to_stdout = invocation.output.as_deref() == Some(Path::new("-"));
    context::run(&invocation.ask, invocation.progress, to_stdout, signals, |context| {
        if let (Some(why), None) = (needs_directory(&invocation.command), &invocation.ask.dir) {
            return Ok(context.fail(why, ErrorCode::Usage));
        }
        match target(invocation) {
            Ok(target) => at_target(context, invocation, target),
            Err(NoTarget::Name(why)) => Ok(context.fail(&format!("download: {why}"), ErrorCode::Usage)),
            Err(NoTarget::Io(error)) => {
                let why =
                    format!("node: cannot create a directory for a download to standard output: {error}");
                Ok(context.fail(&why, ErrorCode::LocalIo))
            }
        }
    })
}

/// Why a command makes no sense without `-d`.
fn needs_directory(command: &Command) -> Option<&'static str> {
    match command {
        Command::Updatelist => {
            Some("updatelist: give -d DIR: the node that shares this directory reads it again")
        }
        Command::List(list) if list.listed() != Listed::Swarm => {
            Some("list: give -d DIR, whose files are to be shown")
        }
        _ => None,
    }
}

/// Why there is no place for a download.
enum NoTarget {
    /// The typed path has no usable name of a file.
    Name(String),
    Io(io::Error),
}

fn target(invocation: &Invocation) -> Result<Target, NoTarget> {
    let Some(output) = &invocation.output else {
        return Ok(match (&invocation.ask.dir, &invocation.command) {
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

fn at_target(context: &mut CommandContext<'_>, invocation: &Invocation, target: Target) -> io::Result<Exit> {
    let temporary = match target {
        Target::Nowhere => return at_directory(context, invocation, GuestFolder::Nowhere, Path::new("")),
        Target::Dir(dir) => return at_directory(context, invocation, GuestFolder::Share, &dir),
        Target::File { dir, name } => {
            return at_directory(context, invocation, GuestFolder::File(name), &dir);
        }
        Target::Stdout(dir) => dir,
    };
    let exit = at_directory(context, invocation, GuestFolder::Share, temporary.path())?;
    let (Exit::Success, Command::Download(request)) = (exit, &invocation.command) else { return Ok(exit) };
    let file = File::open(temporary.path().join(request.name.as_str()));
    // Removed before the first byte is written: a signal after that leaves nothing behind.
    drop(temporary);
    match file.and_then(|file| pour(file, &context.cancel)) {
        Ok(Poured::All) => Ok(exit),
        Ok(Poured::Cancelled) => Ok(context.cancelled("cancelled: the file was not written to its end")),
        Err(error) => {
            Ok(context.fail(&format!("download: cannot write the file: {error}"), ErrorCode::LocalIo))
        }
    }
}

/// Runs the command as a guest, or through the node that shares the directory.
fn at_directory(
    context: &mut CommandContext<'_>,
    invocation: &Invocation,
    folder: GuestFolder,
    dir: &Path,
) -> io::Result<Exit> {
    if invocation.command == Command::Updatelist {
        return client::run(context, dir, invocation);
    }
    let config = match context.guest(&invocation.ask, invocation.retries, folder, dir) {
        Ok(config) => config,
        Err(error) => return Ok(context.start_failed(&error)),
    };
    if let Command::List(list) = &invocation.command
        && let Listed::Own(kind) = list.listed()
    {
        return match Share::open_as_guest(dir, Arc::new(RealDisk)) {
            Ok(_free) => Ok(list_directory(context, dir, invocation, kind)),
            Err(ShareError::InUse { .. }) => client::run(context, dir, invocation),
            Err(error) => Ok(context.fail(&format!("node: {error}"), share_code(&error))),
        };
    }
    let latency = config.latency.clone();
    match Node::start(config) {
        Ok(guest) => {
            context.name_latencies(&invocation.ask, &latency);
            run_as(&guest, context, invocation)
        }
        Err(NodeStartError::ShareInUse { .. }) => client::run(context, dir, invocation),
        Err(error) => Ok(context.start_failed(&error)),
    }
}

/// Runs the command on `guest`, and stops that.
fn run_as(guest: &Node, context: &mut CommandContext<'_>, invocation: &Invocation) -> io::Result<Exit> {
    let over = context.signals.leaving().child()?;
    context.signals.watch_threads_until(&over, guest.ended(), &context.threads)?;
    let weight = invocation.ask.load_weight;
    let mut session = Session::of_guest(guest, &mut context.sink, context.signals, weight, Language::Node);
    session.set_time_limit(context.time_limit.clone());
    let next = session.run(PromptCommand::Swarm(invocation.command.clone()), &context.cancel);
    // The threads of the guest are stopped now, so their end is no fault. The process does not leave yet: the
    // file may still have to go to standard output.
    over.trigger();
    let exit = match next {
        Next::Continue(exit) | Next::Unwritable(exit) => exit,
        Next::Leave => Exit::Success,
    };
    Ok(stopped("node", &guest.stop(), exit))
}

/// Prints the files of a directory that no node shares, under the names that a node would publish. They have
/// sizes and no digests, because they are not hashed.
fn list_directory(
    context: &mut CommandContext<'_>,
    dir: &Path,
    invocation: &Invocation,
    wanted: Option<FileOrigin>,
) -> Exit {
    let folders = match ShareFolders::open_read_only(dir, invocation.layout, Arc::new(RealDisk)) {
        Ok(folders) => folders,
        Err(error) => return context.fail(&format!("node: {error}"), share_code(&error)),
    };
    let files = match context.files(dir, &folders) {
        Ok(files) => files,
        Err(exit) => return exit,
    };
    let listed = files.into_iter().filter_map(|(name, FolderFile { kind, share, size_bytes })| {
        let kind = folders.kind_once(kind, &share, &name);
        let is_wanted = wanted.is_none_or(|wanted| wanted == kind);
        let kind = Some(kind);
        is_wanted.then_some(Event::File { name, size_bytes, md5: None, b3: None, kind })
    });
    context.sink.write(listed).map_or_else(WriteEnd::exit, |()| Exit::Success)
}

/// How writing to standard output went.
enum Poured {
    /// All was written, or the reader has left.
    All,
    Cancelled,
}

/// Writes a verified file to standard output, until `cancel`.
fn pour(mut file: File, cancel: &Stop) -> io::Result<Poured> {
    let (done, is_done) = bounded(1);
    // The thread is not joined: its reader may be slow or never read.
    Threads::new().spawn("pour", move || {
        let mut out = io::stdout().lock();
        let _cancelled = done.send(io::copy(&mut file, &mut out).and_then(|_| out.flush()));
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
