//! The search: asks discovery for holders, probes them at once, and ranks those that answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::probe::{ProbeReport, probe};
use crate::logic::select::{Candidate, Choice, LiveHolder, choose_content, rank, votes};
use crate::node::context::Context;
use crate::node::error::CommandError;
use crate::node::report::{FindReport, FoundGroup, FoundRow, ResolvedContent};
use crate::node::state::NodeState;
use crate::rt::Stop;
use crate::types::{self, ContentKey, FileEntry, Geometry, Holding, Millis, Provider, Query, Ranked};

/// Asks discovery for the holders of what `query` names. The result does not contain the own node.
pub(crate) fn providers(
    context: &Context,
    query: &Query,
    cancel: &Stop,
) -> Result<Vec<Provider>, CommandError> {
    let mut providers = context.directory.providers(query, cancel)?;
    providers.retain(|provider| provider.node != context.peers.node && is_possible(provider));
    Ok(providers)
}

/// Returns false for a content that is too large to number its pieces, which no node can have.
fn is_possible(provider: &Provider) -> bool {
    Geometry::of(provider.entry.size_bytes).count().is_some()
}

/// Runs the command `find`.
pub(crate) fn find(context: &Context, query: &Query, cancel: &Stop) -> Result<FindReport, CommandError> {
    let providers = context.directory.providers(query, cancel)?;
    let (own, others): (Vec<_>, Vec<_>) =
        providers.into_iter().partition(|one| one.node == context.peers.node);
    // The tracker has reached this node at the address that it returns; the configured one may be wrong.
    let own_endpoint = own.first().map_or(context.peers.endpoint, |one| one.endpoint);
    let any_known = !others.is_empty();
    let probed = probe(&context.peers, others, cancel)?;
    probed.warn_if_too_many(&context.notices);
    let ProbeReport { live, silent, .. } = probed;
    let own = own_entries(&context.state, query);
    if live.is_empty() && own.is_empty() && any_known {
        return Err(CommandError::NoneAnswered(silent));
    }
    Ok(report(live, own, own_endpoint, context.peers.load_weight, silent))
}

/// Own files that the query names.
fn own_entries(state: &NodeState, query: &Query) -> Vec<Arc<FileEntry>> {
    let catalog = state.catalog.read();
    match query {
        Query::Name(name) => catalog.get(name).map(|file| Arc::clone(&file.entry)).into_iter().collect(),
        Query::Md5(md5) => catalog.entries().filter(|entry| entry.md5 == *md5).cloned().collect(),
        Query::Content(prefix) => {
            catalog.entries().filter(|entry| prefix.matches(&entry.content)).cloned().collect()
        }
    }
}

/// Groups the holders by content. Contents with most votes come first; within a content full holders by
/// score, then partial holders by score, then the own node.
fn report(
    live: Vec<LiveHolder>,
    own: Vec<Arc<FileEntry>>,
    own_endpoint: SocketAddr,
    weight: Millis,
    silent: Vec<(SocketAddr, String)>,
) -> FindReport {
    let own_keys: Vec<_> = own.iter().map(|entry| entry.key()).collect();
    let mut by_content: BTreeMap<ContentKey, (Vec<LiveHolder>, Vec<Arc<FileEntry>>)> = BTreeMap::new();
    for holder in live {
        by_content.entry(holder.provider.entry.key()).or_default().0.push(holder);
    }
    for entry in own {
        by_content.entry(entry.key()).or_default().1.push(entry);
    }
    let held = || by_content.iter().map(|(key, (holders, _))| (*key, holders.as_slice()));
    let votes = votes(held().flat_map(|(_, holders)| holders).map(|holder| &holder.provider));
    let resolved = match choice(held()) {
        Choice::One(key) | Choice::Majority { key, .. } => Some(key),
        // As in a download: the user has one of these contents already.
        Choice::Ambiguous => own_keys.iter().copied().find(|own| !by_content[own].0.is_empty()),
    };
    let mut groups: Vec<(usize, FoundGroup)> = by_content
        .into_iter()
        .map(|(key, (holders, own))| {
            let mut rows = rated_rows(holders, weight);
            rows.extend(own.into_iter().map(|entry| FoundRow {
                endpoint: own_endpoint,
                http: None,
                entry: FileEntry::clone(&entry),
                rating: None,
            }));
            (votes.get(&key).copied().unwrap_or(0), FoundGroup { key, rows })
        })
        .collect();
    groups.sort_by_key(|(votes, group)| (std::cmp::Reverse(*votes), group.key));
    let groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
    let resolved = resolved.and_then(|key| {
        let first =
            groups.iter().find(|group| group.key == key)?.rows.iter().find(|row| row.rating.is_some())?;
        Some(ResolvedContent { key, first: first.endpoint })
    });
    FindReport { groups, silent, resolved }
}

/// Which of these contents a name means; each comes with its live holders. A content without any is not
/// chosen.
pub(crate) fn choice<'a>(contents: impl Iterator<Item = (ContentKey, &'a [LiveHolder])>) -> Choice {
    let votes = votes(contents.flat_map(|(_, holders)| holders).map(|holder| &holder.provider));
    choose_content(&votes.into_iter().collect::<Vec<_>>())
}

/// Number of nodes among `holders` that have the whole content. A node with several names of it counts once.
pub(crate) fn full_holders(holders: &[LiveHolder]) -> usize {
    types::full_holders(holders.iter().map(|holder| (holder.provider.node, holder.provider.entry.holding)))
}

/// Rows in order of score, with partial holders last. A node that has the content under several names has a
/// row for each. The user sees the load as the node reports it, so the transfers of this node count too.
fn rated_rows(holders: Vec<LiveHolder>, weight: Millis) -> Vec<FoundRow> {
    let candidates: Vec<_> =
        holders.iter().map(|holder| Candidate { yours: 0, ..holder.candidate }).collect();
    let ranking = rank(&candidates, weight);
    let mut rows: Vec<(usize, FoundRow)> = holders
        .into_iter()
        .map(|holder| {
            let endpoint = holder.provider.endpoint;
            let place =
                ranking.iter().position(|ranked: &Ranked| ranked.endpoint == endpoint).unwrap_or(usize::MAX);
            let rating = ranking.get(place).copied();
            let http = holder.provider.traits().http_port;
            let http = http.map(|port| SocketAddr::new(endpoint.ip(), port));
            (place, FoundRow { endpoint, http, entry: holder.provider.entry, rating })
        })
        .collect();
    let is_partial = |row: &FoundRow| row.entry.holding != Holding::Full;
    rows.sort_by(|(a_place, a), (b_place, b)| {
        (is_partial(a), a_place, &a.entry.name).cmp(&(is_partial(b), b_place, &b.entry.name))
    });
    rows.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ContentId, FileName, Md5Digest, Md5Origin, NodeId};

    fn provider(port: u16, holding: Holding) -> Provider {
        let entry = FileEntry {
            name: FileName::new("a").expect("a name"),
            size_bytes: 2 << 20,
            mtime_ns: 0,
            content: ContentId([0; 32]),
            md5: Md5Digest([0; 16]),
            md5_origin: Md5Origin::Claimed,
            holding,
            attributes: Vec::new(),
        };
        let (node, endpoint) = (NodeId(u128::from(port)), ([127, 0, 0, 1], port).into());
        Provider { node, endpoint, entry, attributes: Vec::new() }
    }

    #[test]
    fn replicas_do_not_vote_on_what_a_name_means() {
        let check = |contents: &[&[(u16, bool)]], expected: &[usize]| {
            let holder = |content: u8, (port, is_replica): &(u16, bool)| {
                let mut provider = provider(*port, Holding::Full);
                provider.entry.content = ContentId([content; 32]);
                provider.entry.attributes = FileEntry::attributes_of(*is_replica);
                provider
            };
            let held =
                (0..).zip(contents).flat_map(|(content, one)| one.iter().map(move |of| holder(content, of)));
            let held: Vec<_> = held.collect();
            assert_eq!(votes(held.iter()).into_values().collect::<Vec<_>>(), expected, "{contents:?}");
        };
        check(&[], &[]);
        check(&[&[(1, false), (2, false)], &[(3, false)]], &[2, 1]);
        check(&[&[(1, false)], &[(2, false), (3, true), (4, true)]], &[1, 1]);
        check(&[&[(1, false), (1, true)], &[(3, true), (4, true)]], &[1, 0]);
        check(&[&[(1, true)], &[(3, true), (4, true)]], &[1, 2]);
    }

    #[test]
    fn find_resolves_a_name_to_the_content_and_the_best_source() {
        let holder = |port: u16, content: u8, latency_ms, holding, is_replica| {
            let mut provider = provider(port, holding);
            provider.entry.content = ContentId([content; 32]);
            provider.entry.attributes = FileEntry::attributes_of(is_replica);
            let candidate = Candidate {
                endpoint: provider.endpoint,
                latency: Millis::from_ms(latency_ms),
                latency_origin: crate::types::LatencyOrigin::Measured,
                load: 0,
                yours: 0,
            };
            LiveHolder { provider, candidate }
        };
        let full = |port, content, latency_ms| holder(port, content, latency_ms, Holding::Full, false);
        let replica = |port, content| holder(port, content, 1, Holding::Full, true);
        let part = |port, content| holder(port, content, 1, Holding::Pieces(1), false);
        let own = |content| Arc::new(full(9, content, 0).provider.entry);
        let check = |live: &[LiveHolder], own: &[Arc<FileEntry>], expected: Option<(u8, u16)>| {
            let me = ([127, 0, 0, 1], 9).into();
            let report = report(live.to_vec(), own.to_vec(), me, Millis::from_ms(10), vec![]);
            let resolved = report.resolved.map(|content| (content.key.id.0[0], content.first.port()));
            assert_eq!(resolved, expected, "{live:?}");
        };
        check(&[], &[own(1)], None);
        check(&[full(1, 1, 20), full(2, 1, 10), part(3, 1)], &[own(1)], Some((1, 2)));
        check(&[full(1, 1, 20), full(2, 2, 10), full(3, 2, 5)], &[], Some((2, 3)));
        check(&[full(1, 1, 20), full(2, 2, 10)], &[], None);
        // An own content decides between equal ones, and has no vote otherwise.
        check(&[full(1, 1, 20), full(2, 2, 10)], &[own(1)], Some((1, 1)));
        check(&[full(1, 1, 20)], &[own(2)], Some((1, 1)));
        // Replicas do not vote, and partial holders are better than none.
        check(
            &[full(1, 1, 20), full(2, 2, 10), full(3, 2, 9), replica(4, 1), replica(5, 1)],
            &[],
            Some((2, 3)),
        );
        check(&[part(1, 1)], &[], Some((1, 1)));
    }
}
