//! Runs one command of a command line, on a guest or on the node that shares the directory.
//!
//! A guest is a node that uses the swarm for one command: it registers nothing and locks nothing. If `-d` is
//! the share of a running node, that node gets the command through its socket, and this program prints the
//! events of the answer. Ctrl-C and `--timeout` cancel the command in both cases.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{bounded, select};

use super::context::{self, CommandContext, FolderFile, ResultStream};
use super::session::{Next, Session};
use super::temporary::TemporaryDir;
use crate::cli::args::command::{Command, ListScope};
use crate::cli::args::one_shot::Invocation;
use crate::cli::args::prompt::{Language, PromptCommand};
use crate::cli::exit::{ErrorCode, Exit, share_code};
use crate::cli::local_socket::client;
use crate::cli::output::stdio::WriteEnd;
use crate::cli::program::lifecycle::exit_after_stop;
use crate::cli::signals::Signals;
use crate::node::{GuestFolder, Node, NodeStartError};
use crate::proto::event::Event;
use crate::rt::{Stop, Threads};
use crate::store::{RealDisk, Share, ShareError, ShareFolders};
use crate::types::{FileName, FileOrigin, path_text};

/// The directory that a command uses, and the place of a download.
enum Target {
    /// The command uses no directory.
    Nowhere,
    /// A directory. A download goes into it under its own name.
    Dir(PathBuf),
    /// A download becomes this file of the directory.
    File { dir: PathBuf, name: FileName },
    /// A download goes into this directory first, and from there to standard output.
    Stdout(TemporaryDir),
}

/// Runs one command to its end.
pub fn run(invocation: &Invocation, signals: &Signals) -> Exit {
    let results = match invocation.output.as_deref() {
        Some(output) if output == Path::new("-") => ResultStream::Stderr,
        _ => ResultStream::Stdout,
    };
    context::run(&invocation.common, invocation.progress, results, signals, |context| {
        if let (Some(why), None) = (why_directory_needed(&invocation.command), &invocation.common.dir) {
            return Ok(context.fail(why, ErrorCode::Usage));
        }
        match target_of(invocation) {
            Ok(target) => run_with_target(context, invocation, target),
            Err(NoTarget::Name(why)) => Ok(context.fail(&format!("download: {why}"), ErrorCode::Usage)),
            Err(NoTarget::Io(error)) => {
                let why =
                    format!("node: cannot create a directory for a download to standard output: {error}");
                Ok(context.fail(&why, ErrorCode::LocalIo))
            }
        }
    })
}

/// Why a command cannot run without `-d`; `None`: it can.
fn why_directory_needed(command: &Command) -> Option<&'static str> {
    match command {
        Command::Updatelist => {
            Some("updatelist: give -d DIR: the node that shares this directory reads it again")
        }
        Command::List(list) if list.scope() != ListScope::Swarm => {
            Some("list: give -d DIR, whose files are to be shown")
        }
        _ => None,
    }
}

/// Why there is no place for a download.
enum NoTarget {
    /// The path of `-o` has no name that a shared file can have.
    Name(String),
    /// The temporary directory cannot be created.
    Io(io::Error),
}

fn target_of(invocation: &Invocation) -> Result<Target, NoTarget> {
    let Some(output) = &invocation.output else {
        return Ok(match (&invocation.common.dir, &invocation.command) {
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

fn run_with_target(
    context: &mut CommandContext<'_>,
    invocation: &Invocation,
    target: Target,
) -> io::Result<Exit> {
    let temporary = match target {
        Target::Nowhere => return run_in_folder(context, invocation, GuestFolder::Nowhere, Path::new("")),
        Target::Dir(dir) => return run_in_folder(context, invocation, GuestFolder::Share, &dir),
        Target::File { dir, name } => {
            return run_in_folder(context, invocation, GuestFolder::File(name), &dir);
        }
        Target::Stdout(dir) => dir,
    };
    let exit = run_in_folder(context, invocation, GuestFolder::Share, temporary.path())?;
    let (Exit::Success, Command::Download(request)) = (exit, &invocation.command) else { return Ok(exit) };
    let file = File::open(temporary.path().join(request.name.as_str()));
    // The directory is removed before the first byte is written: a signal after that leaves nothing behind.
    drop(temporary);
    match file.and_then(|file| write_to_stdout(file, &context.cancel)) {
        Ok(StdoutEnd::Written) => Ok(exit),
        Ok(StdoutEnd::Cancelled) => Ok(context.cancelled("cancelled: the file was not written to its end")),
        Err(error) => {
            Ok(context.fail(&format!("download: cannot write the file: {error}"), ErrorCode::LocalIo))
        }
    }
}

/// Runs the command on a guest with `folder` of `dir`, or on the node that shares `dir`.
fn run_in_folder(
    context: &mut CommandContext<'_>,
    invocation: &Invocation,
    folder: GuestFolder,
    dir: &Path,
) -> io::Result<Exit> {
    // Only a node publishes the files of a directory.
    if invocation.command == Command::Updatelist {
        return Ok(client::run(context, dir, invocation));
    }
    let config = match context.guest_config(&invocation.common, invocation.retries, folder, dir) {
        Ok(config) => config,
        Err(error) => return Ok(context.start_failed(&error)),
    };
    if let Command::List(list) = &invocation.command
        && let ListScope::Own(origin) = list.scope()
    {
        // The share is opened only to learn whether a node uses it.
        return Ok(match Share::open_as_guest(dir, Arc::new(RealDisk)) {
            Ok(_) => list_directory(context, dir, invocation, origin),
            Err(ShareError::InUse { .. }) => client::run(context, dir, invocation),
            Err(error) => context.fail(&format!("node: {error}"), share_code(&error)),
        });
    }
    let latency = config.latency.clone();
    match Node::start(config) {
        Ok(guest) => {
            context.notice_latency_file(&invocation.common, &latency);
            run_on_guest(&guest, context, invocation)
        }
        Err(NodeStartError::ShareInUse { .. }) => Ok(client::run(context, dir, invocation)),
        Err(error) => Ok(context.start_failed(&error)),
    }
}

/// Runs the command on `guest`, and stops the guest.
fn run_on_guest(guest: &Node, context: &mut CommandContext<'_>, invocation: &Invocation) -> io::Result<Exit> {
    let guest_stops = context.signals.leaving().child()?;
    context.signals.watch_threads_until(&guest_stops, guest.ended(), &context.threads)?;
    let weight = invocation.common.load_weight;
    let mut session = Session::of_guest(guest, &mut context.sink, context.signals, weight, Language::Node);
    session.set_time_limit(context.time_limit.clone());
    let next = session.run(PromptCommand::Swarm(invocation.command.clone()), &context.cancel);
    // From here on the end of a thread of the guest is not a fault. The process does not leave yet: the file
    // may still have to go to standard output.
    guest_stops.trigger();
    let exit = match next {
        Next::Continue(exit) | Next::Unwritable(exit) => exit,
        Next::Leave => Exit::Success,
    };
    Ok(exit_after_stop("node", &guest.stop(), exit))
}

/// Prints the files of a directory that no node shares, under the names that a node would publish. A line has
/// a size but no digest, because the files are not hashed.
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
    let listed = files.into_iter().filter_map(|(name, FolderFile { origin, share, size_bytes })| {
        let origin = folders.origin_when_placed(origin, &share, &name);
        let is_wanted = wanted.is_none_or(|wanted| wanted == origin);
        let kind = Some(origin);
        is_wanted.then_some(Event::File { name, size_bytes, md5: None, b3: None, kind })
    });
    context.sink.write(listed).map_or_else(WriteEnd::exit, |()| Exit::Success)
}

/// Why writing to standard output has ended.
enum StdoutEnd {
    /// The whole file is written, or the reader has closed the pipe.
    Written,
    Cancelled,
}

/// Writes a verified file to standard output, until `cancel` is triggered.
fn write_to_stdout(mut file: File, cancel: &Stop) -> io::Result<StdoutEnd> {
    let (result, results) = bounded(1);
    // The thread is not joined: the reader of standard output may be slow or never read.
    Threads::new().spawn("pour", move || {
        let mut out = io::stdout().lock();
        // Nobody receives the result after a cancel.
        result.send(io::copy(&mut file, &mut out).and_then(|_| out.flush())).ok();
    })?;
    let written = select! {
        recv(results) -> written => written.unwrap_or_else(|_| Err(io::Error::other("its thread has ended"))),
        recv(cancel.receiver()) -> _ => return Ok(StdoutEnd::Cancelled),
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(StdoutEnd::Written),
    }
}
