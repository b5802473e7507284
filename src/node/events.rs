//! What a node does and finds, as the events that other programs are told.
//!
//! Pure translation, for whoever tells: reports and the progress of downloads in, events out; the time comes
//! in as `now`. A [`Journal`] paces: bytes are told at most ten times a second, and the last of them always;
//! a file of one piece gets no event for its bytes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::api::{
    CommandError, DownloadError, DownloadRequest, Downloaded, FindReport, FoundGroup, FoundRow, Outcome,
    OwnFile, Progress, ReplicationReport, ResolvedContent, ScanSummary, StartError,
};
use super::jobs::progress::DownloadProgress;
use super::jobs::{Job, JobId, JobSource, JobState};
use crate::logic::select::{Candidate, LatencyOrigin, Rating};
use crate::proto::event::{self, ErrorCode, Event, EventHolder, EventRanked, HolderState, LatencyFrom};
use crate::types::{ContentKey, ContentPrefix, FileName, Holding, Millis, Query};

/// Bytes are told no more often.
const BYTES_EVERY: Duration = Duration::from_millis(100);

/// Events of one download.
#[derive(Debug)]
pub struct Journal {
    name: FileName,
    figures: DownloadProgress,
    bytes_every: Duration,
    bytes_told_at: Option<Instant>,
    /// Bytes are known that were not told.
    withheld: bool,
}

impl Journal {
    pub fn new(name: FileName) -> Journal {
        let figures = DownloadProgress::default();
        Journal { name, figures, bytes_every: BYTES_EVERY, bytes_told_at: None, withheld: false }
    }

    /// For who paces by itself: all bytes are told.
    pub fn unpaced(name: FileName) -> Journal {
        Journal { bytes_every: Duration::ZERO, ..Journal::new(name) }
    }

    /// The event for `progress`, if it is worth one.
    pub fn event(&mut self, progress: &Progress, now: Instant) -> Option<Event> {
        self.figures.take(progress, now);
        let (name, sources) = (self.name.clone(), counted(self.figures.sources()));
        Some(match progress {
            Progress::Ranked { key, ranking } => Event::Ranked {
                name,
                b3: key.id.to_string(),
                ranking: ranking.iter().map(ranked).collect(),
                size_bytes: key.size_bytes,
            },
            Progress::Chose { key, holders, others } => Event::Chose {
                name,
                b3: key.id.to_string(),
                holders: counted(*holders),
                others: counted(*others),
                size_bytes: key.size_bytes,
            },
            Progress::Resumed { marked_bytes } => Event::Resumed { name, marked_bytes: *marked_bytes },
            Progress::Source { endpoint } => Event::Source { name, addr: *endpoint, sources },
            Progress::Left { endpoint, why } => {
                Event::Left { name, addr: *endpoint, sources, why: why.clone() }
            }
            Progress::Retry { round, of, pause } => {
                Event::Retry { name, of: *of, pause_ms: whole_ms(*pause), round: *round }
            }
            Progress::Waiting => Event::Waiting { name },
            Progress::Hashing => Event::Hashing { name },
            Progress::Bytes { done_bytes, total_bytes, .. } => {
                self.withheld = self.figures.has_pieces();
                let long_ago = |at| now.saturating_duration_since(at) >= self.bytes_every;
                let is_due = done_bytes == total_bytes || self.bytes_told_at.is_none_or(long_ago);
                return is_due.then(|| self.withheld_bytes(now)).flatten();
            }
        })
    }

    /// The last events: bytes not yet told, and the good end.
    pub fn done(&mut self, done: &Downloaded, now: Instant) -> Vec<Event> {
        let outcome = match &done.outcome {
            Outcome::AlreadyHere => event::EventOutcome::AlreadyHere,
            Outcome::Fetched { md5, pieces, sources } => event::EventOutcome::Fetched {
                from: sources.clone(),
                md5: md5.map(|md5| md5.to_string()),
                pieces: *pieces,
            },
        };
        let (name, ContentKey { size_bytes, id }) = (done.name.clone(), done.key);
        let end = Event::Done { name, b3: id.to_string(), size_bytes, outcome };
        self.withheld_bytes(now).into_iter().chain([end]).collect()
    }

    /// The last events: bytes not yet told, and the bad end, said as `why`.
    pub fn failed(&mut self, why: &str, code: ErrorCode, now: Instant) -> Vec<Event> {
        let end = Event::failed(self.name.clone(), why, code);
        self.withheld_bytes(now).into_iter().chain([end]).collect()
    }

    fn withheld_bytes(&mut self, now: Instant) -> Option<Event> {
        if !std::mem::take(&mut self.withheld) {
            return None;
        }
        self.bytes_told_at = Some(now);
        let figures = &self.figures;
        Some(Event::Bytes {
            name: self.name.clone(),
            done_bytes: figures.done_bytes,
            eta_ms: figures.time_left(now).map(whole_ms),
            fetched_bytes: figures.fetched_bytes,
            rate_bytes_per_s: figures.rate_bytes_per_s(now),
            sources: counted(figures.sources()),
            total_bytes: figures.total_bytes,
        })
    }
}

/// The progress that an event tells of; `None` for all others, the end of a download among them. Undoes
/// [`Journal::event`].
pub fn progress(event: &Event) -> Option<Progress> {
    let key = |size_bytes, b3: &str| {
        let id = ContentPrefix::from_hex(b3)?.first();
        Some(ContentKey { size_bytes, id })
    };
    Some(match event {
        Event::Ranked { b3, ranking, size_bytes, .. } => {
            Progress::Ranked { key: key(*size_bytes, b3)?, ranking: ranking.iter().map(rating).collect() }
        }
        Event::Chose { b3, holders, others, size_bytes, .. } => Progress::Chose {
            key: key(*size_bytes, b3)?,
            holders: usize::try_from(*holders).unwrap_or(usize::MAX),
            others: usize::try_from(*others).unwrap_or(usize::MAX),
        },
        Event::Waiting { .. } => Progress::Waiting,
        Event::Resumed { marked_bytes, .. } => Progress::Resumed { marked_bytes: *marked_bytes },
        Event::Source { addr, .. } => Progress::Source { endpoint: *addr },
        Event::Left { addr, why, .. } => Progress::Left { endpoint: *addr, why: why.clone() },
        Event::Bytes { done_bytes, fetched_bytes, total_bytes, .. } => Progress::Bytes {
            done_bytes: *done_bytes,
            total_bytes: *total_bytes,
            fetched_bytes: *fetched_bytes,
        },
        Event::Retry { of, pause_ms, round, .. } => {
            Progress::Retry { round: *round, of: *of, pause: Duration::from_millis(*pause_ms) }
        }
        Event::Hashing { .. } => Progress::Hashing,
        _ => return None,
    })
}

/// What `find` has found for `query`: those who do not answer, then how many rows there are, then the rows.
pub fn found(query: &Query, report: &FindReport) -> Vec<Event> {
    let rows = report.groups.iter().flat_map(|group| &group.rows);
    let rows: Vec<_> = rows.map(|row| Event::Found(holder(row, report.meant))).collect();
    let find = Event::Find { query: query.to_string(), rows: counted(rows.len()) };
    silent(&report.silent).into_iter().chain([find]).chain(rows).collect()
}

/// What others may know of a search that took so long.
pub(super) fn searched(query: &Query, report: &FindReport, took: Duration) -> Event {
    let rows = || report.groups.iter().flat_map(|group| &group.rows);
    let first = report.meant.map(|meant| meant.first);
    let rating = first.and_then(|addr| rows().find(|row| row.endpoint == addr)?.rating);
    Event::Searched {
        query: query.to_string(),
        rows: counted(rows().count()),
        addr: first,
        score_ms: rating.map(|rating| rating.score),
        took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    }
}

/// What `sources` explains: the same holders, each in its place among those of its content.
pub fn explained(report: &FindReport, load_weight: Millis) -> Vec<Event> {
    let mut events = silent(&report.silent);
    for group in &report.groups {
        let Some(first) = group.rows.first() else { continue };
        events.push(Event::Content {
            name: first.entry.name.clone(),
            size_bytes: group.key.size_bytes,
            b3: group.key.id.to_string(),
            full_holders: counted(full_holders(group)),
            rows: counted(group.rows.len()),
            meant: report.meant.is_some_and(|meant| meant.key == group.key),
        });
        events.extend(group.rows.iter().zip(1..).map(|(row, place)| Event::Candidate {
            place: row.rating.is_some().then_some(place),
            load_weight_ms: load_weight,
            holder: holder(row, report.meant),
        }));
    }
    events
}

/// One event for each holder that does not answer.
pub fn silent(silent: &[(SocketAddr, String)]) -> Vec<Event> {
    silent.iter().map(|(addr, why)| Event::Silent { addr: *addr, why: why.clone() }).collect()
}

pub fn file(file: &OwnFile) -> Event {
    let entry = &file.entry;
    Event::File {
        kind: Some(file.kind.to_string()),
        name: entry.name.clone(),
        size_bytes: entry.size_bytes,
        md5: Some(entry.md5.to_string()),
        b3: Some(entry.content.to_string()),
    }
}

pub fn replication(report: &ReplicationReport) -> Event {
    let ReplicationReport { name, key, status } = report;
    Event::Replication {
        name: name.clone(),
        size_bytes: key.size_bytes,
        b3: key.id.to_string(),
        wanted: status.wanted,
        copies: status.copies,
        awaited: status.awaited,
        under_way: status.under_way.saturating_add(status.given),
        shortfall: status.shortfall(),
    }
}

pub fn job(job: &Job) -> Event {
    let Job { id, request, origin, state, figures } = job;
    let known = |bytes: u64| (figures.total_bytes > 0).then_some(bytes);
    let mut event = job_state(*id, request, *origin, state);
    if let Event::Job { done_bytes, total_bytes, .. } = &mut event {
        (*done_bytes, *total_bytes) = (known(figures.done_bytes), known(figures.total_bytes));
    }
    event
}

/// The same of which only the state is known.
pub(super) fn job_state(id: JobId, request: &DownloadRequest, origin: JobSource, state: &JobState) -> Event {
    let why = match state {
        JobState::Failed(error) => Some(error.to_string()),
        _ => None,
    };
    let state = match state {
        JobState::Queued => event::JobState::Queued,
        JobState::Running => event::JobState::Running,
        JobState::Paused => event::JobState::Paused,
        JobState::Done(_) => event::JobState::Done,
        JobState::Failed(_) => event::JobState::Failed,
        JobState::Cancelled => event::JobState::Cancelled,
    };
    let origin = match origin {
        JobSource::Asked => event::JobOrigin::Asked,
        JobSource::Background => event::JobOrigin::Background,
        JobSource::Unasked => event::JobOrigin::Unasked,
    };
    let (id, name) = (id.0, request.name.clone());
    Event::Job { id, name, state, origin, done_bytes: None, total_bytes: None, why }
}

pub fn updated(scan: &ScanSummary) -> Event {
    Event::Updated {
        files: counted(scan.files),
        added: counted(scan.added),
        removed: counted(scan.removed),
        changed: counted(scan.changed),
    }
}

/// Number of other nodes that have the whole content, under however many names.
fn full_holders(group: &FoundGroup) -> usize {
    let full = group.rows.iter().filter(|row| row.rating.is_some() && row.entry.holding == Holding::Full);
    let mut endpoints: Vec<_> = full.map(|row| row.endpoint).collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    endpoints.len()
}

fn holder(row: &FoundRow, meant: Option<ResolvedContent>) -> EventHolder {
    let told = EventHolder::of(&row.entry, row.endpoint);
    let Some(Rating { candidate, score }) = row.rating else {
        return EventHolder { state: HolderState::Own, have_pieces: told.total_pieces, ..told };
    };
    EventHolder {
        latency_ms: Some(candidate.latency),
        latency_from: Some(latency_from(candidate.latency_origin)),
        load: Some(candidate.load),
        score_ms: Some(score),
        chosen: meant == Some(ResolvedContent { key: row.entry.key(), first: row.endpoint }),
        ..told
    }
}

fn ranked(rating: &Rating) -> EventRanked {
    let candidate = &rating.candidate;
    EventRanked {
        addr: candidate.endpoint,
        latency_ms: candidate.latency,
        latency_from: latency_from(candidate.latency_origin),
        load: candidate.load,
        score_ms: rating.score,
        yours: candidate.yours,
    }
}

fn rating(ranked: &EventRanked) -> Rating {
    let candidate = Candidate {
        endpoint: ranked.addr,
        latency: ranked.latency_ms,
        latency_origin: match ranked.latency_from {
            LatencyFrom::File => LatencyOrigin::Table,
            LatencyFrom::Default => LatencyOrigin::Default,
            LatencyFrom::Measured => LatencyOrigin::Measured,
        },
        load: ranked.load,
        yours: ranked.yours,
    };
    Rating { candidate, score: ranked.score_ms }
}

fn latency_from(origin: LatencyOrigin) -> LatencyFrom {
    match origin {
        LatencyOrigin::Table => LatencyFrom::File,
        LatencyOrigin::Default => LatencyFrom::Default,
        LatencyOrigin::Measured => LatencyFrom::Measured,
    }
}

fn counted(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<&StartError> for ErrorCode {
    fn from(error: &StartError) -> ErrorCode {
        match error {
            StartError::AddressInUse { .. } => ErrorCode::AddressInUse,
            StartError::Listen { .. } => ErrorCode::Network,
            StartError::NoSuchDirectory { .. } => ErrorCode::Usage,
            StartError::ShareInUse { .. } | StartError::Share { .. } => ErrorCode::LocalIo,
            StartError::Latency { .. } => ErrorCode::LatencyFile,
            StartError::System(_) => ErrorCode::Other,
        }
    }
}

impl From<&CommandError> for ErrorCode {
    fn from(error: &CommandError) -> ErrorCode {
        match error {
            CommandError::NoTracker { .. } | CommandError::TrackerRefused { .. } => ErrorCode::NoTracker,
            CommandError::Unreachable { .. } => ErrorCode::Network,
            CommandError::NoneAnswered(_) => ErrorCode::SourcesFailed,
            CommandError::Latency { .. } => ErrorCode::LatencyFile,
            CommandError::Share(_) => ErrorCode::LocalIo,
            CommandError::System(_) => ErrorCode::Other,
            CommandError::Cancelled => ErrorCode::Interrupted,
        }
    }
}

impl From<&DownloadError> for ErrorCode {
    fn from(error: &DownloadError) -> ErrorCode {
        match error {
            DownloadError::Command(error) => ErrorCode::from(error),
            DownloadError::NotFound(_) => ErrorCode::NotFound,
            DownloadError::Ambiguous { .. } => ErrorCode::Ambiguous,
            DownloadError::Exists { .. } => ErrorCode::Exists,
            DownloadError::AllFailed { all_by_digest: true, .. } | DownloadError::Checksum { .. } => {
                ErrorCode::Digest
            }
            DownloadError::AllFailed { .. } => ErrorCode::SourcesFailed,
            DownloadError::NoSpace { .. } => ErrorCode::NoSpace,
            DownloadError::Disk { .. } => ErrorCode::LocalIo,
        }
    }
}

#[cfg(test)]
mod tests;
