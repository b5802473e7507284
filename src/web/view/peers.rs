//! The nodes that a tracker knows, for people and for programs; the same rows on tracker and node.

use std::time::Duration;

use maud::{Markup, html};
use serde_json::{Value, json};

use super::page::{NONE, span};
use super::sources::http_of;
use crate::proto::event::Event;
use crate::types::{Liveness, NodeSummary};
use crate::web::service::response::event_json;

/// A registered node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerRow<'a> {
    pub(crate) summary: &'a NodeSummary,
    /// Time since its last heartbeat, which only the tracker knows.
    pub(crate) silent_for: Option<Duration>,
}

/// A table of `nodes`. `is_tracker`: the table has a column for the last heartbeat.
pub(crate) fn table<'a>(caption: &str, is_tracker: bool, nodes: impl Iterator<Item = PeerRow<'a>>) -> Markup {
    let rows: Vec<Markup> = nodes.map(PeerRow::row).collect();
    html! {
        div.scroll {
            table.stack {
                caption { (caption) }
                thead {
                    tr {
                        th scope="col" { "Address" } th scope="col" { "State" } th.num scope="col" { "Files" }
                        th.num scope="col" { "Load" }
                        @if is_tracker { th.num scope="col" { "Last heartbeat" } }
                        th scope="col" { "Node" }
                    }
                }
                tbody {
                    @for row in &rows { (row) }
                    @if rows.is_empty() { tr { td colspan="6" { "No node is registered." } } }
                }
            }
        }
    }
}

impl<'a> PeerRow<'a> {
    /// A row of a node's list of nodes.
    pub(crate) fn of_node(summary: &'a NodeSummary) -> PeerRow<'a> {
        PeerRow { summary, silent_for: None }
    }

    fn row(self) -> Markup {
        let PeerRow { summary, silent_for } = self;
        let tone = match summary.liveness {
            Liveness::Live => "tag good",
            Liveness::Suspect => "tag warn",
            Liveness::Unproved => "tag bad",
        };
        html! {
            tr {
                th.mono scope="row" {
                    @match http_of(summary) {
                        Some(http) => a href=(format!("http://{http}/")) { (summary.endpoint) },
                        None => (summary.endpoint),
                    }
                }
                td data-label="State" { span class=(tone) { (summary.liveness) } }
                td.num data-label="Files" { (summary.files) }
                td.num data-label="Load" { @match summary.load { Some(load) => (load), None => (NONE) } }
                @if let Some(silent_for) = silent_for { td.num data-label="Last heartbeat" { (span(silent_for)) " ago" } }
                td.mono data-label="Node" { (summary.node) }
            }
        }
    }

    /// The node as JSON.
    pub(crate) fn json(self) -> Value {
        let PeerRow { summary, silent_for } = self;
        let more = json!({
            "node": summary.node.to_string(),
            "http": http_of(summary).map(|http| format!("http://{http}/")),
            "silent_ms": silent_for.map(|silent| silent.as_millis() as u64),
        });
        event_json(&Event::node(summary), more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{NodeId, limits};

    #[test]
    fn a_full_page_of_nodes_is_small() {
        let summary = NodeSummary {
            node: NodeId(u128::MAX),
            endpoint: "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().expect("an address"),
            liveness: Liveness::Unproved,
            files: u32::MAX,
            load: Some(u32::MAX),
            attributes: crate::types::NodeTraits { http_port: Some(65535), replica_quota_bytes: None }
                .to_attributes(),
        };
        let row = PeerRow { summary: &summary, silent_for: Some(Duration::from_secs(86_399)) };
        let page = table("", true, std::iter::repeat_n(row, limits::HTTP_PAGE_ROWS)).into_string();
        // The frame of a page, style, script and icon have about 15 kB.
        assert!(page.len() < 80_000, "{} bytes", page.len());
    }
}
