//! Finding: asks discovery who has something, probes all holders at once, ranks those that answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::latency::Latencies;
use crate::discovery::Discovery as _;
use crate::logic::select::{Candidate, Choice, Rating, choose_content, rank, votes};
use crate::net::client::ClientError;
use crate::net::multi_request::{Request, Response, Timeouts, ask_all};
use crate::node::api::{CommandError, FindReport, FoundGroup, FoundRow, ResolvedContent};
use crate::node::context::Context;
use crate::node::events;
use crate::proto::decode;
use crate::proto::peer::{PeerReply, PeerRequest};
use crate::rt::{Stop, clock};
use crate::types::{ContentKey, FileEntry, Geometry, Holding, Millis, NodeId, Provider, Query, limits};

/// A holder that answered the load probe.
#[derive(Debug, Clone)]
pub(crate) struct LiveHolder {
    pub(crate) provider: Provider,
    pub(crate) candidate: Candidate,
}

/// What a probe round found.
#[derive(Debug, Default)]
pub(crate) struct Probed {
    pub(crate) live: Vec<LiveHolder>,
    /// Those that did not answer, and why.
    pub(crate) silent: Vec<(SocketAddr, String)>,
    /// How many were known, if not all of them were asked.
    known_of_many: Option<usize>,
}

impl Probed {
    /// Tells the user if not all holders were asked.
    pub(crate) fn warn(&self, context: &Context) {
        if let Some(known) = self.known_of_many {
            let max = limits::PROBE_CANDIDATES_MAX;
            context.warn(format!(
                "{known} holders are known: {max} of them are asked, first those that have everything"
            ));
        }
    }
}

/// Holders according to discovery, without the own node.
pub(crate) fn providers(
    context: &Context,
    query: &Query,
    cancel: &Stop,
) -> Result<Vec<Provider>, CommandError> {
    let mut providers = context.discovery.find(query, cancel)?;
    providers.retain(|provider| provider.node != context.state.node && is_possible(provider));
    Ok(providers)
}

/// Returns false for content so large that its pieces cannot be numbered: nobody has it.
fn is_possible(provider: &Provider) -> bool {
    Geometry::of(provider.entry.size_bytes).count().is_some()
}

/// Asks each of `providers` how busy it is, each endpoint once for each content, at most
/// [`limits::PROBE_CANDIDATES_MAX`].
pub(crate) fn probe(
    context: &Context,
    mut providers: Vec<Provider>,
    cancel: &Stop,
) -> Result<Probed, CommandError> {
    let mut probed = Probed::default();
    if providers.len() > limits::PROBE_CANDIDATES_MAX {
        probed.known_of_many = Some(providers.len());
        sample(&mut providers, &mut SmallRng::from_os_rng());
    }
    let latencies = context.refreshed_latencies();
    let mut asked: BTreeMap<(SocketAddr, ContentKey), usize> = BTreeMap::new();
    let mut questions = Vec::new();
    for provider in &providers {
        let key = provider.entry.key();
        asked.entry((provider.endpoint, key)).or_insert_with(|| {
            let request = PeerRequest::Load { asker: context.state.node, content: Some(key) };
            questions.push(question(
                provider.endpoint,
                &request,
                context.emulate_latency.then_some(&latencies),
            ));
            questions.len() - 1
        });
    }
    let answers = ask_within_patience(context, &questions, limits::PROBE_SILENCE_MS, cancel)?;
    for provider in providers {
        let index = asked[&(provider.endpoint, provider.entry.key())];
        match load_from(&answers[index]) {
            // The own node under another address.
            Ok((node, ..)) if node == context.state.node => {}
            Ok((node, ..)) if node != provider.node => {
                probed.silent.push((provider.endpoint, "another node answers there".into()));
            }
            Ok((_, load, yours)) => {
                let round_trip = answers[index].as_ref().map_or(Duration::ZERO, |answer| answer.round_trip);
                let (latency, latency_origin) = latencies.of(provider.endpoint, round_trip);
                let candidate = Candidate {
                    endpoint: provider.endpoint,
                    latency,
                    latency_origin,
                    load,
                    yours: u32::from(yours.min(1)),
                };
                probed.live.push(LiveHolder { provider, candidate });
            }
            Err(why) => probed.silent.push((provider.endpoint, why)),
        }
    }
    probed.silent.sort();
    probed.silent.dedup();
    Ok(probed)
}

/// Leaves [`limits::PROBE_CANDIDATES_MAX`] of them: those that have everything first, as the name means what
/// they have, and as many more may be downloading it; else at random.
fn sample(providers: &mut Vec<Provider>, rng: &mut SmallRng) {
    providers.shuffle(rng);
    providers.sort_by_key(|one| one.entry.holding != Holding::Full);
    providers.truncate(limits::PROBE_CANDIDATES_MAX);
}

/// Asks each of `endpoints` the same, with the patience of a probe, but `silence_ms` where nobody answers;
/// the answers in their order.
///
/// # Errors
/// [`CommandError::Cancelled`], or [`CommandError::System`].
pub(crate) fn ask(
    context: &Context,
    endpoints: &[SocketAddr],
    request: &PeerRequest,
    silence_ms: u64,
    cancel: &Stop,
) -> Result<Vec<Result<Response, ClientError>>, CommandError> {
    if endpoints.is_empty() {
        return Ok(Vec::new());
    }
    let latencies = Arc::clone(&context.latencies.lock());
    let emulated = context.emulate_latency.then_some(&latencies);
    let questions: Vec<_> = endpoints.iter().map(|endpoint| question(*endpoint, request, emulated)).collect();
    ask_within_patience(context, &questions, silence_ms, cancel)
}

/// `emulated`: the answer is held back as these say.
fn question(endpoint: SocketAddr, request: &PeerRequest, emulated: Option<&Arc<Latencies>>) -> Request {
    Request {
        endpoint,
        frame: request.framed(),
        answer_max_bytes: request.reply_max_bytes(),
        hold_back: emulated.map_or(Duration::ZERO, |latencies| latencies.emulated(endpoint)),
    }
}

fn ask_within_patience(
    context: &Context,
    questions: &[Request],
    silence_ms: u64,
    cancel: &Stop,
) -> Result<Vec<Result<Response, ClientError>>, CommandError> {
    let patience =
        Timeouts { silence: limits::ms(silence_ms), after_first: limits::ms(limits::PROBE_AFTER_FIRST_MS) };
    let answers = ask_all(questions, Some(context.ip), patience, cancel)
        .map_err(|error| CommandError::System(error.to_string()))?;
    match cancel.is_triggered() {
        true => Err(CommandError::Cancelled),
        false => Ok(answers),
    }
}

/// Node id, load and `yours` of an answer to a load request.
fn load_from(answer: &Result<Response, ClientError>) -> Result<(NodeId, u32, u8), String> {
    let answer = answer.as_ref().map_err(|error| error.to_string())?;
    match decode(&answer.body) {
        Ok(PeerReply::Load { node, load, yours }) => Ok((node, load, yours)),
        Ok(PeerReply::Refused(why)) => Err(why.to_string()),
        Ok(_) => Err("its answer does not fit the question".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// The load of one node, as `getload` shows it.
pub(crate) fn load_of(context: &Context, endpoint: SocketAddr, cancel: &Stop) -> Result<u32, CommandError> {
    let request = PeerRequest::Load { asker: context.state.node, content: None };
    let question = question(endpoint, &request, None);
    let silence = limits::ms(limits::PROBE_SILENCE_MS);
    let unreachable = |why: String| CommandError::Unreachable { endpoint, why };
    let answers = ask_all(&[question], Some(context.ip), Timeouts { silence, after_first: silence }, cancel)
        .map_err(|error| unreachable(error.to_string()))?;
    match load_from(&answers[0]) {
        Ok((_, load, _)) => Ok(load),
        Err(_) if cancel.is_triggered() => Err(CommandError::Cancelled),
        Err(why) => Err(unreachable(why)),
    }
}

/// [`find`] for somebody, which the feed is told of.
pub(crate) fn search(context: &Context, query: &Query, cancel: &Stop) -> Result<FindReport, CommandError> {
    let began = clock::now();
    let report = find(context, query, cancel)?;
    let took = clock::now().saturating_duration_since(began);
    context.tally.lock().found(took);
    context.events.tell(events::searched(query, &report, took));
    Ok(report)
}

/// The answer to a person's `find`.
pub(crate) fn find(context: &Context, query: &Query, cancel: &Stop) -> Result<FindReport, CommandError> {
    let providers = context.discovery.find(query, cancel)?;
    let (mine, others): (Vec<_>, Vec<_>) =
        providers.into_iter().partition(|one| one.node == context.state.node);
    // As the tracker knows us, which is surer than what we know ourselves.
    let own_endpoint = mine.first().map_or(context.endpoint, |one| one.endpoint);
    let any_known = !others.is_empty();
    let probed = probe(context, others, cancel)?;
    probed.warn(context);
    let Probed { live, silent, .. } = probed;
    let own = own_entries(context, query);
    if live.is_empty() && own.is_empty() && any_known {
        return Err(CommandError::NoneAnswered(silent));
    }
    Ok(report(live, own, own_endpoint, context.load_weight, silent))
}

/// Files of the own share that fit the query.
fn own_entries(context: &Context, query: &Query) -> Vec<Arc<FileEntry>> {
    let catalog = context.state.catalog.read();
    match query {
        Query::Name(name) => catalog.get(name).map(|file| Arc::clone(&file.entry)).into_iter().collect(),
        Query::Md5(md5) => catalog.entries().filter(|entry| entry.md5 == *md5).cloned().collect(),
        Query::Content(prefix) => {
            catalog.entries().filter(|entry| prefix.matches(&entry.content)).cloned().collect()
        }
    }
}

/// Groups by content, most live full holders first; within one, those who have all of it first, best score
/// first, the own node last.
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
    let meant = match choice(held()) {
        Choice::One(key) | Choice::Majority { key, .. } => Some(key),
        // What is here already is as good as any.
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
    let meant = meant.and_then(|key| {
        let first =
            groups.iter().find(|group| group.key == key)?.rows.iter().find(|row| row.rating.is_some())?;
        Some(ResolvedContent { key, first: first.endpoint })
    });
    FindReport { groups, silent, meant }
}

/// Which of these contents a name means, each with those of its holders that answer. What nobody else has is
/// not among the choices.
pub(crate) fn choice<'a>(contents: impl Iterator<Item = (ContentKey, &'a [LiveHolder])>) -> Choice {
    let votes = votes(contents.flat_map(|(_, holders)| holders).map(|holder| &holder.provider));
    choose_content(&votes.into_iter().collect::<Vec<_>>())
}

/// Number of nodes among `holders` that have the whole content, under however many names.
pub(crate) fn full_holders(holders: &[LiveHolder]) -> usize {
    let mut nodes: Vec<_> = holders
        .iter()
        .filter(|holder| holder.provider.entry.holding == Holding::Full)
        .map(|holder| holder.provider.node)
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes.len()
}

/// Rows in order of score, those of parts after all others. A node that has the content under several names
/// has a row for each. Shown is the load as told.
fn rated_rows(holders: Vec<LiveHolder>, weight: Millis) -> Vec<FoundRow> {
    let candidates: Vec<_> =
        holders.iter().map(|holder| Candidate { yours: 0, ..holder.candidate }).collect();
    let ranking = rank(&candidates, weight);
    let mut rows: Vec<(usize, FoundRow)> = holders
        .into_iter()
        .map(|holder| {
            let endpoint = holder.provider.endpoint;
            let place = ranking
                .iter()
                .position(|rating: &Rating| rating.candidate.endpoint == endpoint)
                .unwrap_or(usize::MAX);
            let rating = ranking.get(place).copied();
            let http = holder.provider.traits().http_port;
            let http = http.map(|port| SocketAddr::new(endpoint.ip(), port));
            (place, FoundRow { endpoint, http, entry: holder.provider.entry, rating })
        })
        .collect();
    let is_part = |row: &FoundRow| row.entry.holding != Holding::Full;
    rows.sort_by(|(a_place, a), (b_place, b)| {
        (is_part(a), a_place, &a.entry.name).cmp(&(is_part(b), b_place, &b.entry.name))
    });
    rows.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ContentId, FileName, Md5Digest, Md5Origin};

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
    fn replicas_have_no_say_in_what_a_name_means() {
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
    fn what_is_meant_is_what_a_download_takes_and_where_it_begins() {
        let holder = |port: u16, content: u8, latency_ms, holding, is_replica| {
            let mut provider = provider(port, holding);
            provider.entry.content = ContentId([content; 32]);
            provider.entry.attributes = FileEntry::attributes_of(is_replica);
            let candidate = Candidate {
                endpoint: provider.endpoint,
                latency: Millis::from_ms(latency_ms),
                latency_origin: crate::logic::select::LatencyOrigin::Measured,
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
            let meant = report.meant.map(|meant| (meant.key.id.0[0], meant.first.port()));
            assert_eq!(meant, expected, "{live:?}");
        };
        check(&[], &[own(1)], None);
        check(&[full(1, 1, 20), full(2, 1, 10), part(3, 1)], &[own(1)], Some((1, 2)));
        check(&[full(1, 1, 20), full(2, 2, 10), full(3, 2, 5)], &[], Some((2, 3)));
        check(&[full(1, 1, 20), full(2, 2, 10)], &[], None);
        // What is here decides where nothing else does, and has no vote besides.
        check(&[full(1, 1, 20), full(2, 2, 10)], &[own(1)], Some((1, 1)));
        check(&[full(1, 1, 20)], &[own(2)], Some((1, 1)));
        // Replicas have no say, and parts are better than nothing.
        check(
            &[full(1, 1, 20), full(2, 2, 10), full(3, 2, 9), replica(4, 1), replica(5, 1)],
            &[],
            Some((2, 3)),
        );
        check(&[part(1, 1)], &[], Some((1, 1)));
    }

    #[test]
    fn of_too_many_those_that_have_everything_are_asked_and_any_of_the_others() {
        let max = limits::PROBE_CANDIDATES_MAX;
        let mut rng = SmallRng::seed_from_u64(3);
        for (full, full_asked) in [(0, 0), (1, 1), (max, max), (max + 9, max)] {
            let parts = (0..1000).map(|port| provider(port, Holding::Pieces(1)));
            let all: Vec<_> =
                parts.chain((0..full as u16).map(|port| provider(1000 + port, Holding::Full))).collect();
            let samples = [(); 2].map(|()| {
                let mut asked = all.clone();
                sample(&mut asked, &mut rng);
                let of_full = asked.iter().filter(|one| one.entry.holding == Holding::Full).count();
                assert_eq!((asked.len(), of_full), (max, full_asked));
                asked.iter().map(|one| one.endpoint).collect::<Vec<_>>()
            });
            assert_ne!(samples[0], samples[1], "at random");
        }
    }
}
