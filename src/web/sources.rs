//! The answer to a search, for people and for programs: contents, and a row for each source of each.
//!
//! The same rows on tracker and node; the tracker knows neither latency nor score, as those are between two nodes.

use std::net::SocketAddr;

use maud::{Markup, html};
use serde_json::{Value, json};

use super::page::{NONE, size};
use crate::proto::http::escape_path;
use crate::types::{
    Checksum, ContentKey, FileEntry, FileName, Holding, Md5Origin, Millis, NodeSummary, Query,
};

/// One source of one file.
#[derive(Debug, Clone)]
pub(super) struct SourceRow {
    pub(super) entry: FileEntry,
    pub(super) endpoint: SocketAddr,
    /// Where the file can be fetched by HTTP.
    pub(super) link: Option<String>,
    /// And where it comes from: `table`, `default` or `measured`.
    pub(super) latency: Option<(Millis, &'static str)>,
    pub(super) load: Option<u32>,
    pub(super) score: Option<Millis>,
    /// A download would begin with it.
    pub(super) chosen: bool,
    /// `ok`, or `self` for the own node.
    pub(super) state: &'static str,
}

/// Rows of the same content.
#[derive(Debug, Clone)]
pub(super) struct FoundContent {
    pub(super) key: ContentKey,
    /// Not empty.
    pub(super) rows: Vec<SourceRow>,
}

/// Where the node's own web server is, if it has told.
pub(super) fn http_of(node: &NodeSummary) -> Option<SocketAddr> {
    node.traits().http_port.map(|port| SocketAddr::new(node.endpoint.ip(), port))
}

/// What the text of a search means: `md5=` or `b3=` and a digest, else a file name.
///
/// # Errors
/// Why it means nothing.
pub(super) fn query_of(text: &str) -> Result<Query, String> {
    if text.starts_with("md5=") || text.starts_with("b3=") {
        return match text.parse() {
            Ok(Checksum::Md5(md5)) => Ok(Query::Md5(md5)),
            Ok(Checksum::Content(prefix)) => Ok(Query::Content(prefix)),
            Err(error) => Err(error.to_string()),
        };
    }
    FileName::new(text).map(Query::Name).map_err(|error| error.to_string())
}

/// The text that means `query`.
pub(super) fn text_of(query: &Query) -> String {
    match query {
        Query::Name(name) => name.as_str().to_owned(),
        Query::Md5(md5) => Checksum::Md5(*md5).to_string(),
        Query::Content(prefix) => Checksum::Content(*prefix).to_string(),
    }
}

/// Where `name` is fetched from at a web server.
pub(super) fn file_link(http: SocketAddr, name: &FileName) -> String {
    format!("http://{http}/files/{}", escape_path(name.as_str()))
}

/// Whether the source has only some pieces.
pub(super) fn is_part(row: &SourceRow) -> bool {
    row.entry.holding != Holding::Full
}

/// Number, or none; exact, with at most 3 decimals.
pub(super) fn millis(value: Millis) -> Value {
    let micros = value.as_micros();
    if micros.is_multiple_of(1000) { json!(micros / 1000) } else { json!(micros as f64 / 1000.0) }
}

impl SourceRow {
    fn json(&self) -> Value {
        let SourceRow { entry, endpoint, link, latency, load, score, chosen, state } = self;
        json!({
            "peer": endpoint.to_string(),
            "name": entry.name.as_str(),
            "http": link,
            "latency_ms": latency.map(|(latency, _)| millis(latency)),
            "latency_from": latency.map(|(_, origin)| origin),
            "load": load,
            "score": score.map(millis),
            "chosen": chosen,
            "state": state,
            "pieces": match entry.holding { Holding::Full => Value::Null, Holding::Pieces(count) => json!(count) },
        })
    }

    fn row(&self) -> Markup {
        let SourceRow { entry, endpoint, link, latency, load, score, chosen, state } = self;
        html! {
            tr.chosen[*chosen] {
                th scope="row" {
                    @match link {
                        Some(link) => a href=(link) download { (entry.name.to_string()) },
                        None => (entry.name.to_string()),
                    }
                    @if *chosen { " " span.tag.good { "chosen" } }
                    @if *state == "self" { " " span.tag { "this node" } }
                }
                td.mono data-label="Address" { (endpoint) }
                td.num data-label="Size" { (size(entry.size_bytes)) }
                td.mono data-label="BLAKE3" title=(entry.content) { (entry.content.short()) "…" }
                td.mono data-label="MD5" title=(md5_note(entry)) { (entry.md5) }
                td.num data-label="Latency" {
                    @match latency { Some((latency, origin)) => span title=(origin) { (latency) " ms" }, None => (NONE) }
                }
                td.num data-label="Load" { @match load { Some(load) => (load), None => (NONE) } }
                td.num data-label="Score" { @match score { Some(score) => (score), None => (NONE) } }
                td data-label="Has" {
                    @match entry.holding { Holding::Full => "all of it", Holding::Pieces(count) => { (count) " pieces" } }
                }
            }
        }
    }
}

fn md5_note(entry: &FileEntry) -> &'static str {
    match entry.md5_origin {
        Md5Origin::Computed => "computed by this source",
        Md5Origin::Claimed => "claimed by another source, not yet computed by this one",
    }
}

impl FoundContent {
    /// Sources that have all of it.
    pub(super) fn full_sources(&self) -> impl Iterator<Item = &SourceRow> {
        self.rows.iter().filter(|row| !is_part(row))
    }

    /// `action`: what can be done with it.
    pub(super) fn table(&self, action: &Markup) -> Markup {
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
                    tbody { @for row in &self.rows { (row.row()) } }
                }
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        let first = self.rows.first().map(|row| &row.entry);
        json!({
            "name": first.map(|entry| entry.name.as_str()),
            "size": self.key.size_bytes,
            "b3": self.key.id.to_string(),
            "md5": first.map(|entry| entry.md5.to_string()),
            "sources": self.rows.iter().map(SourceRow::json).collect::<Vec<_>>(),
        })
    }
}
