//! The command `replicate`: resolves the content and requests copies of it.
//!
//! It probes no holder and fetches nothing: the tracker says which nodes are live. If a query names several
//! contents, they are chosen from as in a download.

use crate::discovery::ReplicationRequest;
use crate::logic::select::{Choice, choose_content, votes};
use crate::node::context::Context;
use crate::node::error::DownloadError;
use crate::node::report::{ReplicationReport, Variant};
use crate::rt::Stop;
use crate::types::{ContentKey, FileName, Holding, Provider, Query};

/// See [`crate::node::Node::replicate`].
pub(crate) fn replicate(
    context: &Context,
    query: &Query,
    copies: u32,
    cancel: &Stop,
) -> Result<ReplicationReport, DownloadError> {
    let providers =
        context.directory.providers(query, cancel).map_err(|error| DownloadError::Command(error.into()))?;
    let (content, name) = resolve(query, &providers)?;
    let request = ReplicationRequest { content, name: name.clone(), copies };
    let status =
        context.tracker.replicate(request, cancel).map_err(|error| DownloadError::Command(error.into()))?;
    Ok(ReplicationReport { name, key: content, status })
}

/// The content that the query names, and a name for its copies: the name in the query, else one that a holder
/// publishes.
fn resolve(query: &Query, providers: &[Provider]) -> Result<(ContentKey, FileName), DownloadError> {
    let votes: Vec<_> = votes(providers.iter()).into_iter().filter(|(_, votes)| *votes > 0).collect();
    // The holder whose name and MD5 are reported. It holds a replica only if no other holder has the content.
    let reported_holder = |key: &ContentKey| {
        let full =
            providers.iter().filter(|one| one.entry.holding == Holding::Full && one.entry.key() == *key);
        full.min_by_key(|one| one.entry.is_replica()).expect("only full holders vote")
    };
    let name_of = |key: &ContentKey| match query {
        Query::Name(name) => name.clone(),
        Query::Md5(_) | Query::Content(_) => reported_holder(key).entry.name.clone(),
    };
    let Some((first, _)) = votes.first() else { return Err(DownloadError::NotFound(query.to_string())) };
    match choose_content(&votes) {
        Choice::One(key) | Choice::Majority { key, .. } => Ok((key, name_of(&key))),
        Choice::Ambiguous => {
            let variant = |(key, votes): &(ContentKey, usize)| Variant {
                key: *key,
                md5: reported_holder(key).entry.md5,
                live_full_holders: *votes,
            };
            Err(DownloadError::Ambiguous {
                name: name_of(first),
                variants: votes.iter().map(variant).collect(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ContentId, FileEntry, Md5Digest, Md5Origin, NodeId};

    fn provider(node: u128, name: &str, content: u8, holding: Holding) -> Provider {
        let entry = FileEntry {
            name: FileName::new(name).expect("a name"),
            size_bytes: 2 << 20,
            mtime_ns: 0,
            content: ContentId([content; 32]),
            md5: Md5Digest([content; 16]),
            md5_origin: Md5Origin::Computed,
            holding,
            attributes: vec![],
        };
        let (node, endpoint) = (NodeId(node), ([127, 0, 0, 1], 5000).into());
        Provider { node, endpoint, entry, attributes: vec![] }
    }

    #[test]
    fn a_query_names_the_content_with_most_full_holders() {
        let by_name = Query::Name(FileName::new("a").expect("a name"));
        let check = |query: &Query, providers: &[Provider], expected: Option<(u8, &str)>| {
            let resolved = resolve(query, providers).ok();
            let resolved = resolved.as_ref().map(|(key, name)| (key.id.0[0], name.as_str()));
            assert_eq!(resolved, expected, "{providers:?}");
        };
        let full = |node, name, content| provider(node, name, content, Holding::Full);
        let part = provider(3, "a", 2, Holding::Pieces(1));
        check(&by_name, &[], None);
        check(&by_name, std::slice::from_ref(&part), None);
        check(&by_name, &[full(1, "a", 1), part.clone()], Some((1, "a")));
        check(&by_name, &[full(1, "a", 1), full(2, "a", 2), full(3, "a", 2)], Some((2, "a")));
        check(&by_name, &[full(1, "a", 1), full(2, "a", 2)], None);
        // Replicas vote only if there are no other copies.
        let replica = |node, content| {
            let mut replica = full(node, "a", content);
            replica.entry.attributes = FileEntry::attributes_of(true);
            replica
        };
        check(&by_name, &[full(1, "a", 1), replica(2, 2), replica(3, 2)], Some((1, "a")));
        check(&by_name, &[replica(1, 1), replica(2, 2), replica(3, 2)], Some((2, "a")));
        // A node with two names of a content votes once.
        check(&by_name, &[full(1, "a", 1), full(1, "a", 1), full(2, "a", 2)], None);
        check(&Query::Md5(Md5Digest([1; 16])), &[full(1, "b", 1)], Some((1, "b")));
    }
}
