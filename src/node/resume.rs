//! Goes on, by itself, with downloads that a former run of the node left unfinished.
//!
//! What is unfinished is read from the share's records each time, so that whatever else happens to them (another download of the
//! content, a cancel) counts. Sources may be there later: it is tried again, at growing pauses, until nothing is left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::api::{CommandError, DownloadError, DownloadRequest, Downloaded, Level, Outcome};
use super::download;
use super::engine::Engine;
use crate::rt::{Stop, clock};
use crate::store::{self, Record};
use crate::types::FileName;

const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Removes what cannot be gone on with, and says what stays.
pub(super) fn tidy_up(engine: &Engine) {
    let swept = store::sweep(&engine.share);
    if swept.parts > 0 {
        let (parts, mib) = (swept.parts, swept.allocated_bytes >> 20);
        engine.notice(Level::Info, format!("unfinished downloads in .nearpeer: {parts}, {mib} MiB"));
    }
}

/// Goes on until nothing is unfinished, then waits for `stop`, as a thread of a node does not end before.
pub(super) fn run(engine: &Arc<Engine>, stop: &Stop) {
    let mut pause = FIRST_PAUSE;
    let mut told: HashMap<FileName, String> = HashMap::new();
    while !stop.is_triggered() {
        let records = store::unfinished(&engine.share);
        if records.is_empty() {
            break;
        }
        for record in &records {
            let why = match go_on(engine, record, stop) {
                Ok(done) => {
                    engine.notice(Level::Info, complete(&done));
                    continue;
                }
                Err(DownloadError::Command(CommandError::Cancelled)) => continue,
                Err(error) => {
                    if !is_for_want_of_sources(&error) {
                        store::set_aside(&engine.share, record.key);
                    }
                    error.to_string()
                }
            };
            if told.get(&record.name) != Some(&why) {
                engine.warn(format!("`{}` is unfinished: {why}", record.name));
                told.insert(record.name.clone(), why);
            }
        }
        stop.wait_until(clock::now() + pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    // Delivers nothing: ends when the node does.
    let _stopped = stop.receiver().recv();
}

fn go_on(engine: &Arc<Engine>, record: &Record, stop: &Stop) -> Result<Downloaded, DownloadError> {
    let cancel = stop.child().map_err(|error| CommandError::System(error.to_string()))?;
    *engine.resuming.lock() = Some((record.name.clone(), cancel.clone()));
    let Record { name, checksum, verify_whole, force, .. } = record;
    let request = DownloadRequest {
        name: name.clone(),
        checksum: *checksum,
        verify_whole: *verify_whole,
        force: *force,
    };
    let done = download::go_on(engine, &request, record.key, &cancel, &mut |_| {});
    *engine.resuming.lock() = None;
    done
}

/// Returns true if and only if it may go better later, with nobody doing anything here.
fn is_for_want_of_sources(error: &DownloadError) -> bool {
    matches!(error, DownloadError::NotFound(_) | DownloadError::AllFailed { .. } | DownloadError::Command(_))
}

fn complete(done: &Downloaded) -> String {
    let Downloaded { name, key, outcome } = done;
    let from = match outcome {
        Outcome::AlreadyHere => "already here".to_owned(),
        Outcome::Fetched { sources, .. } => {
            let sources: Vec<_> = sources.iter().map(ToString::to_string).collect();
            format!("from {}", sources.join(", "))
        }
    };
    format!("went on with `{name}`: {} bytes b3 {} {from}", key.size_bytes, key.id)
}

/// See [`super::Node::set_aside`].
pub(super) fn set_aside(engine: &Engine, name: &FileName) {
    let running = engine.resuming.lock().clone();
    if let Some((_, cancel)) = running.filter(|(resuming, _)| resuming == name) {
        cancel.trigger();
    }
    for record in store::unfinished(&engine.share).iter().filter(|record| record.name == *name) {
        store::set_aside(&engine.share, record.key);
    }
}
