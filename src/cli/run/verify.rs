//! `verify`: hashes the files of a directory and holds each against what is published under its name.
//!
//! Reads, and changes nothing. What is published is what nodes that answer tell, the one that shares the
//! directory among them: so a file that was damaged under a running node differs from what that node still
//! publishes.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::one_shot::{CommandContext, share_code};
use crate::cli::args::verbs::VerifyArgs;
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::output::progress::ProgressFlag;
use crate::cli::output::stdio::WriteEnd;
use crate::cli::program::node::path_text;
use crate::cli::program::tracker::stopped;
use crate::cli::signals::Signals;
use crate::node::{CommandError, GuestFolder, Node};
use crate::proto::event::{Event, VerifyState};
use crate::rt::Stop;
use crate::store::{HashError, RealDisk, ShareFolders, hash_file};
use crate::types::{ContentKey, FileName, Printable, Query};

/// Runs it to its end.
pub fn run(args: &VerifyArgs, signals: &Signals) -> Exit {
    let desk = match CommandContext::new(&args.ask, ProgressFlag::Auto, false, signals) {
        Ok(desk) => desk,
        Err(error) => {
            crate::cli::output::stdio::say(&format!(
                "node: the system gives no more threads or descriptors: {error}"
            ));
            return Exit::Error(ErrorCode::Other);
        }
    };
    desk.finish(|desk| verify(desk, args))
}

fn verify(desk: &mut CommandContext<'_>, args: &VerifyArgs) -> io::Result<Exit> {
    let dir = args.ask.dir.as_deref().unwrap_or(Path::new("."));
    let folders = match ShareFolders::look(dir, args.layout, Arc::new(RealDisk)) {
        Ok(folders) => folders,
        Err(error) => return Ok(desk.fail(&format!("node: {error}"), share_code(&error))),
    };
    let names = match names(desk, args, &folders) {
        Ok(names) => names,
        Err(error) => {
            if let Some(late) = desk.patience.verdict() {
                return Ok(desk.fail(&late, ErrorCode::TimedOut));
            }
            let why = format!("node: cannot read {}: {}", path_text(dir), Printable(&error.to_string()));
            return Ok(desk.fail(&why, ErrorCode::LocalIo));
        }
    };
    // What is verified may be another node's.
    let started = desk.guest(&args.ask, 0, GuestFolder::Nowhere, dir).and_then(Node::start);
    let guest = match started {
        Ok(guest) => guest,
        Err(error) => {
            return Ok(crate::cli::program::node::refused(&mut desk.sink, &error, ErrorCode::from(&error)));
        }
    };
    let exit = verify_all(desk, &guest, &folders, &names);
    Ok(stopped("node", &guest.stop(), exit))
}

/// Those that were named, else all that are there, in order.
fn names(desk: &CommandContext<'_>, args: &VerifyArgs, folders: &ShareFolders) -> io::Result<Vec<FileName>> {
    if !args.names.is_empty() {
        return Ok(args.names.clone());
    }
    Ok(desk.walked(folders)?.into_keys().collect())
}

/// The worst is the result: a file that differs, then one that cannot be read.
fn verify_all(
    desk: &mut CommandContext<'_>,
    guest: &Node,
    folders: &ShareFolders,
    names: &[FileName],
) -> Exit {
    let mut exit = Exit::Success;
    for name in names {
        let told = match verified(guest, folders, name, &desk.cancel) {
            Ok(event) => event,
            Err(_) if desk.patience.verdict().is_some() => {
                return desk.fail(&desk.patience.verdict().unwrap_or_default(), ErrorCode::TimedOut);
            }
            Err(error) => return desk.fail(&error.to_string(), ErrorCode::from(&error)),
        };
        if let Event::Verified { state, why, .. } = &told {
            let found = match state {
                VerifyState::Differs => Exit::Error(ErrorCode::Digest),
                VerifyState::Unreadable => Exit::Error(ErrorCode::LocalIo),
                VerifyState::Ok | VerifyState::Unknown => Exit::Success,
            };
            if exit == Exit::Success || found == Exit::Error(ErrorCode::Digest) {
                exit = found;
            }
            desk.explain(name, why.as_deref());
        }
        match desk.sink.tell([told]) {
            Ok(()) => {}
            // Whoever read it has had enough.
            Err(WriteEnd::Closed) => return exit,
            Err(end) => return end.exit(),
        }
    }
    exit
}

fn verified(
    guest: &Node,
    folders: &ShareFolders,
    name: &FileName,
    cancel: &Stop,
) -> Result<Event, CommandError> {
    let event = |state, key: Option<ContentKey>, why| Event::Verified {
        name: name.clone(),
        state,
        size_bytes: key.map_or(0, |key| key.size_bytes),
        b3: key.map(|key| key.id),
        why,
    };
    let hashed = folders.visible(name).map_err(HashError::Io);
    let key = match hashed.and_then(|visible| hash_file(&visible.share, name, cancel)) {
        Ok(hashed) => hashed.manifest.key(),
        Err(HashError::Stopped) => return Err(CommandError::Cancelled),
        Err(error) => {
            let why = Printable(&error.to_string()).to_string();
            return Ok(event(VerifyState::Unreadable, None, Some(why)));
        }
    };
    let published = match guest.find(&Query::Name(name.clone()), cancel) {
        Ok(report) => report.groups,
        Err(CommandError::NoneAnswered(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    if published.iter().any(|group| group.key == key) {
        return Ok(event(VerifyState::Ok, Some(key), None));
    }
    let Some(other) = published.first() else { return Ok(event(VerifyState::Unknown, Some(key), None)) };
    let by: Vec<_> = other.rows.iter().map(|row| row.endpoint.to_string()).collect();
    let (size_bytes, b3) = (other.key.size_bytes, other.key.id.short());
    let why = format!("published: {size_bytes} bytes b3 {b3} by {}", by.join(","));
    Ok(event(VerifyState::Differs, Some(key), Some(why)))
}
