//! `verify`: hashes the files of a directory and compares each with what nodes publish under its name.
//!
//! Reads, and changes nothing. It compares with the answers of all nodes, the node that shares the directory
//! included. A file that was damaged while its node runs differs from what that node still publishes.

use std::path::Path;
use std::sync::Arc;

use super::context::{self, CommandContext};
use crate::cli::args::one_shot::VerifyInvocation;
use crate::cli::exit::{ErrorCode, Exit, share_code};
use crate::cli::output::progress::ProgressFlag;
use crate::cli::output::stdio::WriteEnd;
use crate::cli::program::lifecycle::stopped;
use crate::cli::signals::Signals;
use crate::node::{CommandError, GuestFolder, Node};
use crate::proto::event::{Event, VerifyState};
use crate::rt::Stop;
use crate::store::{HashError, RealDisk, ShareFolders, hash_file};
use crate::types::{ContentKey, FileName, Printable, Query};

/// Runs it to its end.
pub fn run(invocation: &VerifyInvocation, signals: &Signals) -> Exit {
    let (ask, progress) = (&invocation.ask, ProgressFlag::Auto);
    context::run(ask, progress, false, signals, |context| Ok(verify(context, invocation)))
}

fn verify(context: &mut CommandContext<'_>, invocation: &VerifyInvocation) -> Exit {
    let dir = invocation.ask.dir.as_deref().unwrap_or(Path::new("."));
    let folders = match ShareFolders::open_read_only(dir, invocation.layout, Arc::new(RealDisk)) {
        Ok(folders) => folders,
        Err(error) => return context.fail(&format!("node: {error}"), share_code(&error)),
    };
    let names = if invocation.names.is_empty() {
        match context.files(dir, &folders) {
            Ok(files) => files.into_keys().collect(),
            Err(exit) => return exit,
        }
    } else {
        invocation.names.clone()
    };
    // The guest does not open the directory: another node may have it.
    let started = context.guest(&invocation.ask, 0, GuestFolder::Nowhere, dir).and_then(Node::start);
    let guest = match started {
        Ok(guest) => guest,
        Err(error) => return context.start_failed(&error),
    };
    let exit = verify_all(context, &guest, &folders, &names);
    stopped("node", &guest.stop(), exit)
}

/// The exit code is that of the worst result: a file that differs, then a file that cannot be read.
fn verify_all(
    context: &mut CommandContext<'_>,
    guest: &Node,
    folders: &ShareFolders,
    names: &[FileName],
) -> Exit {
    let mut exit = Exit::Success;
    for name in names {
        let event = match verified(guest, folders, name, &context.cancel) {
            Ok(event) => event,
            Err(error) => {
                return match context.time_limit.message() {
                    Some(late) => context.fail(&late, ErrorCode::TimedOut),
                    None => context.fail(&error.to_string(), ErrorCode::from(&error)),
                };
            }
        };
        if let Event::Verified { state, why, .. } = &event {
            let found = match state {
                VerifyState::Differs => Exit::Error(ErrorCode::Digest),
                VerifyState::Unreadable => Exit::Error(ErrorCode::LocalIo),
                VerifyState::Ok | VerifyState::Unknown => Exit::Success,
            };
            if exit == Exit::Success || found == Exit::Error(ErrorCode::Digest) {
                exit = found;
            }
            context.explain(name, why.as_deref());
        }
        match context.sink.write([event]) {
            Ok(()) => {}
            // The reader has left.
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
