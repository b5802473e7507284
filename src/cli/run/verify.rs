//! `verify`: hashes the files of a directory and compares each with the contents that nodes publish under its
//! name.
//!
//! `verify` changes nothing. It asks all holders of the name, a node that shares the directory included. A
//! file that was damaged while its node runs differs from the content that this node still publishes.

use std::path::Path;
use std::sync::Arc;

use super::context::{self, CommandContext, ResultStream};
use crate::cli::args::one_shot::VerifyInvocation;
use crate::cli::exit::{ErrorCode, Exit, share_code};
use crate::cli::output::progress::ProgressFlag;
use crate::cli::output::stdio::WriteEnd;
use crate::cli::program::lifecycle::exit_after_stop;
use crate::cli::signals::Signals;
use crate::node::{CommandError, GuestFolder, Node};
use crate::proto::event::{Event, VerifyState};
use crate::rt::Stop;
use crate::store::{HashError, RealDisk, ShareFolders, hash_file};
use crate::types::{ContentKey, FileName, Printable, Query};

/// Runs `verify` to its end.
pub fn run(invocation: &VerifyInvocation, signals: &Signals) -> Exit {
    let (common, progress) = (&invocation.common, ProgressFlag::Auto);
    context::run(common, progress, ResultStream::Stdout, signals, |context| Ok(verify(context, invocation)))
}

fn verify(context: &mut CommandContext<'_>, invocation: &VerifyInvocation) -> Exit {
    let dir = invocation.common.dir.as_deref().unwrap_or(Path::new("."));
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
    // The guest downloads nothing. It does not open the directory, because a node may share it.
    let (retries, folder) = (0, GuestFolder::Nowhere);
    let config = context.guest_config(&invocation.common, retries, folder, dir);
    let guest = match config.and_then(Node::start) {
        Ok(guest) => guest,
        Err(error) => return context.start_failed(&error),
    };
    let exit = verify_all(context, &guest, &folders, &names);
    exit_after_stop("node", &guest.stop(), exit)
}

/// Verifies each file. Returns the exit of the worst result: a file that differs is worse than a file that
/// cannot be read.
fn verify_all(
    context: &mut CommandContext<'_>,
    guest: &Node,
    folders: &ShareFolders,
    names: &[FileName],
) -> Exit {
    let mut exit = Exit::Success;
    for name in names {
        let event = match verify_file(guest, folders, name, &context.cancel) {
            Ok(event) => event,
            Err(error) => {
                return match context.time_limit.text_if_over() {
                    Some(late) => context.fail(&late, ErrorCode::TimedOut),
                    None => context.fail(&error.to_string(), ErrorCode::from(&error)),
                };
            }
        };
        if let Event::Verified { state, why, .. } = &event {
            let file_exit = match state {
                VerifyState::Differs => Exit::Error(ErrorCode::Digest),
                VerifyState::Unreadable => Exit::Error(ErrorCode::LocalIo),
                VerifyState::Ok | VerifyState::Unknown => Exit::Success,
            };
            if exit == Exit::Success || file_exit == Exit::Error(ErrorCode::Digest) {
                exit = file_exit;
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

/// Hashes one file and compares it with the contents that nodes publish under its name.
///
/// # Errors
/// The swarm cannot be asked, or the command is cancelled. A file that cannot be read is a result.
fn verify_file(
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
    let visible = folders.visible(name).map_err(HashError::Io);
    let key = match visible.and_then(|visible| hash_file(&visible.share, name, cancel)) {
        Ok(hashed) => hashed.manifest.key(),
        Err(HashError::Stopped) => return Err(CommandError::Cancelled),
        Err(error) => {
            let why = Printable(&error.to_string()).to_string();
            return Ok(event(VerifyState::Unreadable, None, Some(why)));
        }
    };
    let published = match guest.find(&Query::Name(name.clone()), cancel) {
        Ok(report) => report.groups,
        // There are holders, but none of them says now which content it has.
        Err(CommandError::NoneAnswered(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    if published.iter().any(|group| group.key == key) {
        return Ok(event(VerifyState::Ok, Some(key), None));
    }
    // Several other contents may have the name: the reason names the first of them.
    let Some(other) = published.first() else { return Ok(event(VerifyState::Unknown, Some(key), None)) };
    let by: Vec<_> = other.rows.iter().map(|row| row.endpoint.to_string()).collect();
    let (size_bytes, b3) = (other.key.size_bytes, other.key.id.short());
    let why = format!("published: {size_bytes} bytes b3 {b3} by {}", by.join(","));
    Ok(event(VerifyState::Differs, Some(key), Some(why)))
}
