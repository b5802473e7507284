//! Reports of a node as events: results of commands, jobs, the end of a download.

use std::net::SocketAddr;
use std::time::Duration;

use crate::node::error::DownloadError;
use crate::node::jobs::{Job, JobChange, JobEvent};
use crate::node::report::{
    Downloaded, FindReport, FoundGroup, FoundRow, OwnFile, ReplicationReport, ResolvedContent, ScanSummary,
};
use crate::proto::event::{DownloadEvent, Event, EventHolder, HolderState};
use crate::types::{self, FileName, Millis, Query, Ranked};

/// The end of a download that has placed a file.
pub fn done(done: &Downloaded) -> DownloadEvent {
    DownloadEvent::done(done.name.clone(), done.key, done.outcome.clone())
}

/// The end of a download of `name` that has failed.
fn failed(name: &FileName, error: &DownloadError) -> DownloadEvent {
    DownloadEvent::failed(name.clone(), format!("download: {error}"), error.into())
}

/// The result of `find` for `query`: holders that did not answer, then the number of rows, then the rows.
pub fn found(query: &Query, report: &FindReport) -> Vec<Event> {
    let rows = report.groups.iter().flat_map(|group| &group.rows);
    let rows: Vec<_> = rows.map(|row| Event::Found(holder(row, report.resolved))).collect();
    let find = Event::Find { query: query.to_string(), rows: counted(rows.len()) };
    silent(&report.silent).into_iter().chain([find]).chain(rows).collect()
}

/// A search for `query` that took `elapsed`, for the log and other readers.
pub(crate) fn searched(query: &Query, report: &FindReport, elapsed: Duration) -> Event {
    let rows = || report.groups.iter().flat_map(|group| &group.rows);
    let first = report.resolved.map(|resolved| resolved.first);
    let rating = first.and_then(|addr| rows().find(|row| row.endpoint == addr)?.rating);
    Event::Searched {
        query: query.to_string(),
        rows: counted(rows().count()),
        addr: first,
        score_ms: rating.map(|rating| rating.score),
        took_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    }
}

/// The result of `sources`: each content, and its holders in the order of their scores, where one unit of
/// load costs `load_weight`.
pub fn explained(report: &FindReport, load_weight: Millis) -> Vec<Event> {
    let mut events = silent(&report.silent);
    for group in &report.groups {
        let Some(first) = group.rows.first() else { continue };
        events.push(Event::Content {
            name: first.entry.name.clone(),
            size_bytes: group.key.size_bytes,
            b3: group.key.id,
            full_holders: counted(full_holders(group)),
            rows: counted(group.rows.len()),
            resolved: report.resolved.is_some_and(|resolved| resolved.key == group.key),
        });
        events.extend(group.rows.iter().zip(1..).map(|(row, place)| Event::Candidate {
            place: row.rating.is_some().then_some(place),
            load_weight_ms: load_weight,
            holder: holder(row, report.resolved),
        }));
    }
    events
}

/// One event for each holder that did not answer.
pub fn silent(silent: &[(SocketAddr, String)]) -> Vec<Event> {
    silent.iter().map(|(addr, why)| Event::Silent { addr: *addr, why: why.clone() }).collect()
}

/// A file of the own share.
pub fn file(file: &OwnFile) -> Event {
    let entry = &file.entry;
    Event::File {
        name: entry.name.clone(),
        size_bytes: entry.size_bytes,
        md5: Some(entry.md5),
        b3: Some(entry.content),
        kind: Some(file.kind),
    }
}

/// State of the replicas of a content.
pub fn replication(report: &ReplicationReport) -> Event {
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
pub fn job(job: &Job) -> Event {
    let Job { id, request, source, state, result, progress } = job;
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

/// The event for what happened to a job.
pub(crate) fn job_event(event: &JobEvent<'_>) -> Event {
    let JobEvent { id, request, source, change } = *event;
    match change {
        JobChange::Progress(event) => event.clone().into(),
        JobChange::Ended(Ok(downloaded)) => done(downloaded).into(),
        JobChange::Ended(Err(error)) => failed(&request.name, error).into(),
        JobChange::State(state) => {
            let (id, name) = (id.0, request.name.clone());
            Event::Job { id, name, state, source, done_bytes: None, total_bytes: None, why: None }
        }
    }
}

/// Changes that a scan of the share has found.
pub fn updated(scan: &ScanSummary) -> Event {
    Event::Updated {
        files: counted(scan.files),
        added: counted(scan.added),
        removed: counted(scan.removed),
        changed: counted(scan.changed),
    }
}

/// Number of other nodes that have the whole content, each counted once for all its names.
fn full_holders(group: &FoundGroup) -> usize {
    let others = group.rows.iter().filter(|row| row.rating.is_some());
    types::full_holders(others.map(|row| (row.endpoint, row.entry.holding)))
}

/// A row of a search. `resolved` is the content that a download would take, if there is one.
pub fn holder(row: &FoundRow, resolved: Option<ResolvedContent>) -> EventHolder {
    let holder = EventHolder::of(&row.entry, row.endpoint);
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

fn counted(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
