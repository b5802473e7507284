//! The state behind the answers of a tracker: its view of the registry.

use std::net::IpAddr;

use crate::logic::select::{Choice, choose_content, votes};
use crate::proto::event::{EventHolder, HolderState};
use crate::tracker::{HolderRow, KnownNode, Via, View};
use crate::types::{ContentKey, Query};
use crate::web::view::page::{Figure, Frame};
use crate::web::view::peers::PeerRow;
use crate::web::view::sources::{FoundContent, SourceRow, file_link, http_of};

/// The site of a tracker.
pub(super) struct TrackerSite {
    pub(super) view: View,
}

pub(super) fn peer_row(node: &KnownNode) -> PeerRow<'_> {
    PeerRow { summary: &node.summary, silent_for: Some(node.silent_for) }
}

/// The content that a download of the name would take if all of `holders` answered; `None`: the name is
/// ambiguous.
fn resolve(holders: &[HolderRow]) -> Option<ContentKey> {
    let votes = votes(holders.iter().map(|holder| &holder.provider));
    match choose_content(&votes.into_iter().collect::<Vec<_>>()) {
        Choice::One(key) | Choice::Majority { key, .. } => Some(key),
        Choice::Ambiguous => None,
    }
}

impl TrackerSite {
    pub(super) fn frame(&self) -> Frame {
        let counts = self.view.counts();
        Frame {
            program: "tracker",
            addr: self.view.addr().to_string(),
            pages: &[("/", "Search"), ("/peers", "Peers"), ("/stats", "Stats")],
            summary: vec![
                Figure { label: "live nodes", stat: "nodes_live", value: counts.live },
                Figure { label: "files", stat: "files", value: counts.files },
            ],
        }
    }

    /// Finds the contents for `query`: the content with the largest number of full sources first, and in each
    /// content full sources before partial ones, then the lowest known load first. True: there are more rows
    /// than `rows_max`.
    ///
    /// # Errors
    /// Why the tracker refuses the query.
    pub(super) fn find_contents(
        &self,
        query: &Query,
        rows_max: usize,
        asker: IpAddr,
    ) -> Result<(Vec<FoundContent>, bool), String> {
        let result = self.view.find(query, rows_max, asker, Via::Http);
        let (holders, more) = result.map_err(|error| error.to_string())?;
        let mut contents: Vec<FoundContent> = Vec::new();
        let resolved = resolve(&holders);
        for HolderRow { provider, node } in holders {
            let key: ContentKey = provider.entry.key();
            let link = node.as_ref().and_then(http_of).map(|http| file_link(http, &provider.entry.name));
            let entry = provider.entry;
            let holder_event = EventHolder::of(&entry, provider.endpoint);
            let holder = EventHolder { load: node.and_then(|node| node.load), ..holder_event };
            let row = SourceRow { holder, md5_origin: entry.md5_origin, link };
            match contents.iter_mut().find(|content| content.key == key) {
                Some(content) => content.rows.push(row),
                None => contents.push(FoundContent { key, resolved: resolved == Some(key), rows: vec![row] }),
            }
        }
        for content in &mut contents {
            content.rows.sort_by_key(|SourceRow { holder, .. }| {
                (holder.state == HolderState::Part, holder.load.unwrap_or(u32::MAX), holder.addr)
            });
        }
        contents.sort_by_key(|content| (std::cmp::Reverse(content.full_sources().count()), content.key));
        Ok((contents, more))
    }
}
