//! Makes events from the reports of a node: results of commands, jobs, the end of a download.

use std::net::SocketAddr;
use std::time::Duration;

use crate::node::error::DownloadError;
use crate::node::jobs::{Job, JobChange, JobEvent};
use crate::node::report::{
    Downloaded, FindReport, FoundGroup, FoundRow, OwnFile, ReplicationReport, ResolvedContent, ScanSummary,
};
use crate::proto::event::{DownloadEvent, Event, EventHolder, HolderState};
use crate::types::{self, FileName, Millis, Query, Ranked};

/// The end of a successful download.
pub fn done_event(downloaded: &Downloaded) -> DownloadEvent {
    let Downloaded { name, key, outcome } = downloaded.clone();
    DownloadEvent::done(name, key, outcome)
}

/// The end of a failed download of `name`.
fn failed_event(name: &FileName, error: &DownloadError) -> DownloadEvent {
    DownloadEvent::failed(name.clone(), format!("download: {error}"), error.into())
}

/// The result of `find` for `query`: holders without a valid answer, then the number of rows, then the rows.
pub fn find_events(query: &Query, report: &FindReport) -> Vec<Event> {
    let rows = report.groups.iter().flat_map(|group| &group.rows);
    let rows: Vec<_> = rows.map(|row| Event::Found(event_holder(row, report.resolved))).collect();
    let find = Event::Find { query: query.to_string(), rows: to_u64(rows.len()) };
    silent_events(&report.silent).into_iter().chain([find]).chain(rows).collect()
}

/// A search for `query` that took `elapsed`, for the log and other readers.
pub(crate) fn search_event(query: &Query, report: &FindReport, elapsed: Duration) -> Event {
    let rows = || report.groups.iter().flat_map(|group| &group.rows);
    let first = report.resolved.map(|resolved| resolved.first);
    let rating = first.and_then(|addr| rows().find(|row| row.endpoint == addr)?.rating);
    Event::Searched {
        query: query.to_string(),
        rows: to_u64(rows().count()),
        addr: first,
        score_ms: rating.map(|rating| rating.score),
        took_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    }
}

/// The result of `sources`: holders without a valid answer, then each content and its holders in the order of
/// their rank, where one unit of load costs `load_weight`.
pub fn sources_events(report: &FindReport, load_weight: Millis) -> Vec<Event> {
    let mut events = silent_events(&report.silent);
    for group in &report.groups {
        let Some(first) = group.rows.first() else { continue };
        events.push(Event::Content {
            name: first.entry.name.clone(),
            size_bytes: group.key.size_bytes,
            b3: group.key.id,
            full_holders: to_u64(full_holders(group)),
            rows: to_u64(group.rows.len()),
            resolved: report.resolved.is_some_and(|resolved| resolved.key == group.key),
        });
        events.extend(group.rows.iter().zip(1..).map(|(row, place)| Event::Candidate {
            place: row.rating.is_some().then_some(place),
            load_weight_ms: load_weight,
            holder: event_holder(row, report.resolved),
        }));
    }
    events
}

/// One event for each holder without a valid answer.
pub fn silent_events(silent: &[(SocketAddr, String)]) -> Vec<Event> {
    silent.iter().map(|(addr, why)| Event::Silent { addr: *addr, why: why.clone() }).collect()
}

/// A file of the own share.
pub fn file_event(file: &OwnFile) -> Event {
    let entry = &file.entry;
    Event::File {
        name: entry.name.clone(),
        size_bytes: entry.size_bytes,
        md5: Some(entry.md5),
        b3: Some(entry.content),
        kind: Some(file.origin),
    }
}

/// Numbers of wanted and present copies of a content. Each live node with the whole content counts.
pub fn replication_event(report: &ReplicationReport) -> Event {
    let ReplicationReport { name, key, status } = report;
    Event::Replication {
        name: name.clone(),
        size_bytes: key.size_bytes,
        b3: key.id,
        wanted: status.wanted,
        copies: status.copies,
        awaited: status.awaited,
        under_way: status.under_way.saturating_add(status.given),
        shortfall: status.shortfall(),
    }
}

/// A job with its progress.
pub fn job_event(job: &Job) -> Event {
    let Job { id, request, source, state, result, progress } = job;
    // A total of 0 means that the content is not known yet: the event has no number then. A file of 0 bytes
    // has no number either.
    let known = |bytes: u64| (progress.total_bytes > 0).then_some(bytes);
    Event::Job {
        id: id.0,
        name: request.name.clone(),
        state: *state,
        source: *source,
        done_bytes: known(progress.done_bytes),
        total_bytes: known(progress.total_bytes),
        why: result.as_ref().and_then(|result| result.as_ref().err()).map(ToString::to_string),
    }
}

/// The event for a change of a job.
pub(crate) fn job_change_event(event: &JobEvent<'_>) -> Event {
    let JobEvent { id, request, source, change } = *event;
    match change {
        JobChange::Progress(event) => event.clone().into(),
        JobChange::Ended(Ok(downloaded)) => done_event(downloaded).into(),
        JobChange::Ended(Err(error)) => failed_event(&request.name, error).into(),
        JobChange::State(state) => {
            let (id, name) = (id.0, request.name.clone());
            Event::Job { id, name, state, source, done_bytes: None, total_bytes: None, why: None }
        }
    }
}

/// The result of `updatelist`: the changes that a scan has found.
pub fn update_event(scan: &ScanSummary) -> Event {
    Event::Updated {
        files: to_u64(scan.files),
        added: to_u64(scan.added),
        removed: to_u64(scan.removed),
        changed: to_u64(scan.changed),
    }
}

/// Number of other nodes that have the whole content, each counted once for all its names.
fn full_holders(group: &FoundGroup) -> usize {
    let others = group.rows.iter().filter(|row| row.rating.is_some());
    types::full_holders(others.map(|row| (row.endpoint, row.entry.holding)))
}

/// A row of a search. `resolved` is the content that the name means, if it means one.
pub fn event_holder(row: &FoundRow, resolved: Option<ResolvedContent>) -> EventHolder {
    let holder = EventHolder::of(&row.entry, row.endpoint);
    // Only the own node has no rating.
    let Some(Ranked { latency, latency_origin, load, score, .. }) = row.rating else {
        return EventHolder { state: HolderState::Own, have_pieces: holder.total_pieces, ..holder };
    };
    EventHolder {
        latency_ms: Some(latency),
        latency_from: Some(latency_origin),
        load: Some(load),
        score_ms: Some(score),
        chosen: resolved == Some(ResolvedContent { key: row.entry.key(), first: row.endpoint }),
        ..holder
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
