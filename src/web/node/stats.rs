//! What a node did lately: bytes sent and fetched, and the last searches with their answers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytesize::ByteSize;
use maud::{Markup, html};
use serde_json::json;

use super::Inner;
use crate::logic::history::{History, SLOT};
use crate::node::JobId;
use crate::proto::event::{Event, Record};
use crate::proto::http::escape_value;
use crate::rt::{Follower, clock};
use crate::types::{Printable, limits};
use crate::web::answer::Answer;
use crate::web::page::{moment, size, span};
use crate::web::plot;

/// Of bounded size; brought up to date every few seconds.
#[derive(Debug)]
pub(super) struct Past {
    sent: History,
    /// What the count of sent bytes was.
    sent_before: u64,
    fetched: History,
    /// What each download had fetched.
    fetched_before: HashMap<JobId, u64>,
    told: Follower,
    /// The last first.
    searches: VecDeque<Arc<Record>>,
}

impl Past {
    pub(super) fn new(told: Follower, now: Instant) -> Past {
        Past {
            sent: History::new(now),
            sent_before: 0,
            fetched: History::new(now),
            fetched_before: HashMap::new(),
            told,
            searches: VecDeque::new(),
        }
    }

    /// Takes note of searches that were told since the last time.
    fn note_searches(&mut self) {
        for (_, record) in self.told.catch_up().records {
            if let Event::Searched { .. } = record.event {
                self.searches.push_front(record);
            }
        }
        self.searches.truncate(limits::RECENT_FINDS_MAX);
    }

    /// `sent` bytes in all, and so many `fetched` by each download that is known.
    fn sample(&mut self, sent: u64, fetched: HashMap<JobId, u64>, now: Instant) {
        self.sent.add(sent.saturating_sub(self.sent_before), now);
        self.sent_before = sent;
        let before = |id: &JobId| self.fetched_before.get(id).copied().unwrap_or(0);
        let more = fetched.iter().map(|(id, bytes)| bytes.saturating_sub(before(id))).sum();
        self.fetched.add(more, now);
        self.fetched_before = fetched;
    }
}

impl Inner {
    /// Adds up what was sent and fetched since the last time.
    pub(super) fn sample(&self) {
        let sent = self.node.upload_meter().now().sent_bytes;
        let fetched = self.node.jobs().iter().map(|job| (job.id, job.figures.fetched_bytes)).collect();
        self.past.lock().sample(sent, fetched, clock::now());
    }

    pub(super) fn stats(&self) -> Answer {
        self.sample();
        let now = clock::now();
        let (sent, fetched, searches) = {
            let mut past = self.past.lock();
            past.note_searches();
            (past.sent.sums(now), past.fetched.sums(now), past.searches.clone())
        };
        let search = |search: &Arc<Record>| {
            let Event::Searched { query, rows, addr, took_us, .. } = &search.event else {
                return json!(null);
            };
            json!({ "at": search.ts, "query": query, "rows": rows, "chosen": addr, "took_us": took_us })
        };
        let recent: Vec<_> = searches.iter().map(search).collect();
        let history =
            json!({ "slot_ms": SLOT.as_millis() as u64, "sent_bytes": sent, "fetched_bytes": fetched });
        Answer::json(200, &json!({ "history": history, "recent": recent }))
    }

    pub(super) fn stats_page(&self) -> Answer {
        self.sample();
        let (now, uploads) = (clock::now(), self.node.upload_meter().now());
        let (sent, fetched, searches) = {
            let mut past = self.past.lock();
            past.note_searches();
            (past.sent.per_s(now), past.fetched.per_s(now), past.searches.clone())
        };
        // In decimal units, as the line of a plot is at a round number of bytes.
        let rate = |top: f64| format!("{}/s", ByteSize(top as u64).display().si());
        let main = html! {
            h1 { "Stats" }
            div #stats data-live {
                dl.facts {
                    div { dt { "Load" } dd { (self.shelf.load()) } }
                    div { dt { "Sent" } dd { (size(uploads.sent_bytes)) } }
                    div { dt { "Uploads to" } dd { (uploads.peers) } }
                    div { dt { "Upload limit" } dd { (self.node.max_upload().map_or("none".into(), |limit| rate(limit as f64))) } }
                    div { dt { "Files" } dd { (self.shelf.len()) } }
                    div { dt { "Up for" } dd { (span(now.saturating_duration_since(self.started))) } }
                }
                (plot::figure(&sent, "Bytes of files sent per second", rate))
                br;
                (plot::figure(&fetched, "Bytes of files fetched per second", rate))
                h2 { "Recent searches" }
                div.scroll {
                    table.stack {
                        caption { "The last first, times in UTC" }
                        thead {
                            tr {
                                th scope="col" { "Query" } th scope="col" { "Time" }
                                th.num scope="col" { "Took" } th scope="col" { "Answers" }
                            }
                        }
                        tbody {
                            @for search in &searches {
                                (search_row(search))
                            }
                            @if searches.is_empty() { tr { td colspan="4" { "Nobody has searched yet." } } }
                        }
                    }
                }
            }
        };
        Answer::page(200, self.frame().page("/stats", "Stats", &main))
    }
}

fn search_row(search: &Record) -> Markup {
    let Event::Searched { query, rows, addr, score_ms, took_us } = &search.event else { return html!() };
    html! {
        tr {
            th scope="row" {
                a href=(format!("/?q={}", escape_value(query))) { (Printable(query).to_string()) }
            }
            td.nowrap data-label="Time" { (moment(&search.ts)) }
            td.num data-label="Took" { (took_us / 1000) " ms" }
            td data-label="Answers" {
                (rows)
                @if let (Some(addr), Some(score)) = (addr, score_ms) {
                    ", best " span.mono { (addr) } " at " (score)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_once_however_often_they_are_looked_at() {
        let now = clock::now();
        let mut past = Past::new(crate::rt::Feed::default().follow(), now);
        let jobs = |list: &[(u64, u64)]| list.iter().map(|(id, bytes)| (JobId(*id), *bytes)).collect();
        past.sample(100, jobs(&[(1, 10)]), now);
        past.sample(100, jobs(&[(1, 10), (2, 5)]), now);
        past.sample(150, jobs(&[(1, 30), (2, 5)]), now);
        // One that begins anew counts from its beginning; one that is forgotten takes nothing back.
        past.sample(150, jobs(&[(2, 1)]), now);
        past.sample(150, jobs(&[(2, 4)]), now);
        assert_eq!((past.sent.sums(now), past.fetched.sums(now)), (vec![150], vec![38]));
    }
}
