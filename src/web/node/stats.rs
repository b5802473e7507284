//! Shows the stats of a node and its recent past: bytes sent and fetched, and the last searches with their
//! results.

use std::sync::Arc;

use maud::{Markup, html};
use serde_json::json;

use super::context::NodeView;
use crate::logic::rate_history::SLOT;
use crate::proto::event::{Event, Record};
use crate::proto::http::escape_value;
use crate::rt::clock;
use crate::types::Printable;
use crate::web::service::response::Answer;
use crate::web::view::page::{moment, rate, size, span};
use crate::web::view::plot::{self, Scale};

impl NodeView {
    /// Adds the bytes that the node has sent and fetched since the last call to its recent past.
    pub(super) fn sample(&self) {
        let (sent, fetched) = (self.node.upload_meter().now().sent_bytes, self.node.fetched_bytes());
        self.past.lock().sample(sent, fetched, clock::now());
    }

    pub(super) fn stats(&self) -> Answer {
        self.sample();
        let now = clock::now();
        let (sent, fetched, searches) = {
            let mut past = self.past.lock();
            past.record_searches();
            (past.sent.history.sums(now), past.fetched.history.sums(now), past.searches.clone())
        };
        let recent: Vec<&Record> = searches.iter().map(Arc::as_ref).collect();
        let slot_ms = SLOT.as_millis() as u64;
        let history = json!({ "slot_ms": slot_ms, "uploaded_bytes": sent, "fetched_bytes": fetched });
        Answer::json(200, &json!({ "history": history, "recent": recent }))
    }

    pub(super) fn stats_page(&self) -> Answer {
        self.sample();
        let (now, uploads) = (clock::now(), self.node.upload_meter().now());
        let (sent, fetched, searches) = {
            let mut past = self.past.lock();
            past.record_searches();
            (past.sent.history.per_s(now), past.fetched.history.per_s(now), past.searches.clone())
        };
        let main = html! {
            h1 { "Stats" }
            div #stats data-live {
                dl.facts {
                    div { dt { "Load" } dd { (self.shared_files.load()) } }
                    div { dt { "Sent" } dd { (size(uploads.sent_bytes)) } }
                    div { dt { "Uploads to" } dd { (uploads.peers) } }
                    div { dt { "Upload limit" } dd { (self.node.max_upload().map_or("none".into(), rate)) } }
                    div { dt { "Files" } dd { (self.shared_files.len()) } }
                    div { dt { "Up for" } dd { (span(now.saturating_duration_since(self.started))) } }
                }
                (plot::figure(&sent, "Bytes of files sent per second", Scale::Bytes))
                br;
                (plot::figure(&fetched, "Bytes of files fetched per second", Scale::Bytes))
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
