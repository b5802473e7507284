//! The answer to a search, for people and programs: contents, and a row for each source of each content.
//!
//! Tracker and node show the same rows. The tracker knows neither latency nor score, because both depend on
//! the node that downloads.

use std::net::SocketAddr;

use maud::{Markup, html};
use serde_json::{Value, json};

use super::page::{NONE, size};
use crate::proto::event::{Event, EventHolder, HolderState};
use crate::proto::http::{escape_path, escape_value};
use crate::types::{
    self, ContentKey, FileName, Holding, LatencyOrigin, Md5Origin, NodeSummary, Query, limits,
};
use crate::web::service::response::event_json;

/// One source of a content. Here a source is a holder that a download can use, or the node itself.
#[derive(Debug, Clone)]
pub(crate) struct SourceRow {
    /// The source as events describe it.
    pub(crate) holder: EventHolder,
    pub(crate) md5_origin: Md5Origin,
    /// The URL of the file, if the source serves HTTP.
    pub(crate) link: Option<String>,
}

/// A content and its rows.
#[derive(Debug, Clone)]
pub(crate) struct FoundContent {
    pub(crate) key: ContentKey,
    /// A download of the name would take this content.
    pub(crate) resolved: bool,
    /// At least one source.
    pub(crate) rows: Vec<SourceRow>,
}

/// The address of the node's own web server, if the node has published it.
pub(crate) fn http_of(node: &NodeSummary) -> Option<SocketAddr> {
    node.traits().http_port.map(|port| SocketAddr::new(node.endpoint.ip(), port))
}

/// Reads the text of a search: `md5=` or `b3=` with a digest, else a file name.
///
/// # Errors
/// Why the text is not a query.
pub(crate) fn query_of(text: &str) -> Result<Query, String> {
    Query::parse(text).map_err(|error| error.to_string())
}

/// The path of `name` on the web server of a node.
pub(crate) fn file_path(name: &FileName) -> String {
    format!("/files/{}", escape_path(name.as_str()))
}

/// The URL of `name` on a web server.
pub(crate) fn file_link(http: SocketAddr, name: &FileName) -> String {
    format!("http://{http}{}", file_path(name))
}

impl SourceRow {
    pub(crate) fn is_own(&self) -> bool {
        self.holder.state == HolderState::Own
    }

    fn json(&self) -> Value {
        event_json(&Event::Found(self.holder.clone()), json!({ "http": self.link }))
    }

    fn row(&self) -> Markup {
        let SourceRow { holder, link, .. } = self;
        html! {
            tr.chosen[holder.chosen] {
                th scope="row" {
                    @match link {
                        Some(link) => a href=(link) download { (holder.name.to_string()) },
                        None => (holder.name.to_string()),
                    }
                    @if holder.chosen { " " span.tag.good { "chosen" } }
                    @if self.is_own() { " " span.tag { "this node" } }
                }
                td.mono data-label="Address" { (holder.addr) }
                td.num data-label="Size" { (size(holder.size_bytes)) }
                td.mono data-label="BLAKE3" title=(holder.b3) { (holder.b3.short()) "…" }
                td.mono data-label="MD5" title=(md5_note(self.md5_origin)) { (holder.md5) }
                td.num data-label="Latency" {
                    @match holder.latency_ms {
                        Some(latency) => span title=[holder.latency_from.map(latency_note)] { (latency) " ms" },
                        None => (NONE),
                    }
                }
                td.num data-label="Load" { @match holder.load { Some(load) => (load), None => (NONE) } }
                td.num data-label="Score" { @match holder.score_ms { Some(score) => (score), None => (NONE) } }
                td data-label="Has" {
                    @if holder.state == HolderState::Part { (holder.have_pieces) " of " (holder.total_pieces) " pieces" }
                    @else { "all of it" }
                }
            }
        }
    }
}

fn latency_note(from: LatencyOrigin) -> &'static str {
    match from {
        LatencyOrigin::Table => "from the latency file",
        LatencyOrigin::Default => "not in the latency file",
        LatencyOrigin::Measured => "measured",
    }
}

fn md5_note(origin: Md5Origin) -> &'static str {
    match origin {
        Md5Origin::Computed => "computed by this source",
        Md5Origin::Claimed => "claimed by another source, not yet computed by this one",
    }
}

/// Contents and their sources as JSON.
pub(crate) fn items(contents: &[FoundContent]) -> Vec<Value> {
    contents.iter().map(FoundContent::json).collect()
}

impl FoundContent {
    /// The sources that have the whole content.
    pub(crate) fn full_sources(&self) -> impl Iterator<Item = &SourceRow> {
        self.rows.iter().filter(|row| row.holder.state != HolderState::Part)
    }

    /// Number of other nodes that have the whole content, under any name.
    fn full_holders(&self) -> usize {
        let full = self.rows.iter().filter(|row| row.holder.state == HolderState::Full);
        types::full_holders(full.map(|row| (row.holder.addr, Holding::Full)))
    }

    /// Shows at most `rows_max` rows. `action`: what the user can do with the content.
    pub(crate) fn table(&self, rows_max: usize, action: &Markup) -> Markup {
        let sources = super::page::count(self.rows.len(), "source");
        html! {
            div.scroll {
                table.stack {
                    caption {
                        b { (size(self.key.size_bytes)) } " · " (sources) " · b3 " code { (self.key.id) } " " (action)
                    }
                    thead {
                        tr {
                            th scope="col" { "Name" } th scope="col" { "Address" } th.num scope="col" { "Size" }
                            th scope="col" { "BLAKE3" } th scope="col" { "MD5" } th.num scope="col" { "Latency" }
                            th.num scope="col" { "Load" } th.num scope="col" { "Score" } th scope="col" { "Has" }
                        }
                    }
                    tbody { @for row in self.rows.iter().take(rows_max) { (row.row()) } }
                }
            }
        }
    }

    fn json(&self) -> Value {
        let counted = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let first = self.rows.first().map(|row| &row.holder);
        let sources: Vec<Value> = self.rows.iter().map(SourceRow::json).collect();
        let more = json!({ "md5": first.map(|first| &first.md5), "sources": sources });
        let Some(first) = first else { return more };
        let content = Event::Content {
            name: first.name.clone(),
            size_bytes: self.key.size_bytes,
            b3: self.key.id,
            full_holders: counted(self.full_holders()),
            rows: counted(self.rows.len()),
            resolved: self.resolved,
        };
        event_json(&content, more)
    }
}

/// Shows all tables of a search, with at most [`limits::HTTP_PAGE_ROWS`] rows in all, and says where the
/// other rows are.
pub(crate) fn tables(
    contents: &[FoundContent],
    query: &Query,
    action: impl Fn(&FoundContent) -> Markup,
) -> Markup {
    let mut rows_left = limits::HTTP_PAGE_ROWS;
    let mut contents_shown = Vec::new();
    for content in contents {
        if rows_left > 0 {
            contents_shown.push((content, rows_left));
        }
        rows_left = rows_left.saturating_sub(content.rows.len());
    }
    let rows: usize = contents.iter().map(|content| content.rows.len()).sum();
    let parameter = match query {
        Query::Name(name) => format!("name={}", escape_value(name.as_str())),
        digest => format!("hash={}", escape_value(&digest.to_string())),
    };
    html! {
        @for (content, rows_max) in contents_shown { (content.table(rows_max, &action(content))) br; }
        @if rows > limits::HTTP_PAGE_ROWS {
            p.soft {
                "The first " (limits::HTTP_PAGE_ROWS) " rows are shown: "
                a href=(format!("/api/v1/find?{parameter}")) { "all of them for programs" } "."
            }
        }
    }
}
