//! The probe: requests the load of many holders at once, and measures the round trip to each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::latency::Latencies;
use super::peers::Peers;
use crate::logic::select::{Candidate, LiveHolder};
use crate::net::client::ClientError;
use crate::net::multi_request::{Request, Response, Timeouts, request_all};
use crate::node::error::CommandError;
use crate::node::notices::Notices;
use crate::proto::decode;
use crate::proto::peer::{PeerReply, PeerRequest};
use crate::rt::Stop;
use crate::types::{ContentKey, Holding, NodeId, Provider, limits};

/// Result of a probe.
#[derive(Debug, Default)]
pub(crate) struct ProbeReport {
    pub(crate) live: Vec<LiveHolder>,
    /// Holders without a valid answer, and why.
    pub(crate) silent: Vec<(SocketAddr, String)>,
    /// Number of known holders, if they are more than may be probed.
    known_if_too_many: Option<usize>,
}

impl ProbeReport {
    /// Warns the user if not all holders were probed.
    pub(crate) fn warn_if_too_many(&self, notices: &Notices) {
        if let Some(known) = self.known_if_too_many {
            let max = limits::PROBE_CANDIDATES_MAX;
            notices.warn(format!("{known} holders are known: {max} of them are asked, full holders first"));
        }
    }
}

/// Requests the load of `providers`, or of [`limits::PROBE_CANDIDATES_MAX`] of them. An endpoint with several
/// names of a content gets one request for it.
pub(crate) fn probe(
    peers: &Peers,
    mut providers: Vec<Provider>,
    cancel: &Stop,
) -> Result<ProbeReport, CommandError> {
    let mut probed = ProbeReport::default();
    if providers.len() > limits::PROBE_CANDIDATES_MAX {
        probed.known_if_too_many = Some(providers.len());
        sample(&mut providers, &mut SmallRng::from_os_rng());
    }
    let latencies = peers.refresh_latencies();
    // The index of the request for each endpoint and content.
    let mut requested: BTreeMap<(SocketAddr, ContentKey), usize> = BTreeMap::new();
    let mut requests = Vec::new();
    for provider in &providers {
        let key = provider.entry.key();
        requested.entry((provider.endpoint, key)).or_insert_with(|| {
            let request = PeerRequest::Load { asker: peers.node, content: Some(key) };
            requests.push(request_to(
                provider.endpoint,
                &request,
                peers.emulate_latency.then_some(&latencies),
            ));
            requests.len() - 1
        });
    }
    let answers = request_loads(peers, &requests, cancel)?;
    for provider in providers {
        let index = requested[&(provider.endpoint, provider.entry.key())];
        match load_from(&answers[index]) {
            // The own node answers at this address: it is no source.
            Ok((node, ..)) if node == peers.node => {}
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
                    // A peer has at most one transfer of a content to this node. A larger number would make
                    // its score too low.
                    yours: u32::from(yours.min(1)),
                };
                probed.live.push(LiveHolder { provider, candidate });
            }
            Err(why) => probed.silent.push((provider.endpoint, why)),
        }
    }
    // A holder with several names of a content is listed once.
    probed.silent.sort();
    probed.silent.dedup();
    Ok(probed)
}

/// Reduces `providers` to [`limits::PROBE_CANDIDATES_MAX`], at random but full holders first: they decide
/// what a name means, and there may be very many partial ones.
fn sample(providers: &mut Vec<Provider>, rng: &mut SmallRng) {
    providers.shuffle(rng);
    providers.sort_by_key(|one| one.entry.holding != Holding::Full);
    providers.truncate(limits::PROBE_CANDIDATES_MAX);
}

/// With `emulated` the reply counts as arrived only after the latency of `endpoint`.
fn request_to(endpoint: SocketAddr, request: &PeerRequest, emulated: Option<&Arc<Latencies>>) -> Request {
    Request {
        endpoint,
        frame: request.framed(),
        response_max_bytes: request.reply_max_bytes(),
        hold_back: emulated.map_or(Duration::ZERO, |latencies| latencies.emulated(endpoint)),
    }
}

fn request_loads(
    peers: &Peers,
    requests: &[Request],
    cancel: &Stop,
) -> Result<Vec<Result<Response, ClientError>>, CommandError> {
    let timeouts = Timeouts {
        silence: limits::ms(limits::PROBE_SILENCE_MS),
        after_first: limits::ms(limits::PROBE_AFTER_FIRST_MS),
    };
    let answers = request_all(requests, Some(peers.ip), timeouts, cancel)
        .map_err(|error| CommandError::System(error.to_string()))?;
    if cancel.is_triggered() { Err(CommandError::Cancelled) } else { Ok(answers) }
}

/// Node id, load and `yours` of the reply to a load request.
fn load_from(answer: &Result<Response, ClientError>) -> Result<(NodeId, u32, u8), String> {
    let answer = answer.as_ref().map_err(|error| error.to_string())?;
    match decode(&answer.body) {
        Ok(PeerReply::Load { node, load, yours }) => Ok((node, load, yours)),
        Ok(PeerReply::Refused(why)) => Err(why.to_string()),
        Ok(_) => Err("its reply does not fit the request".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Requests the load of the node at `endpoint`, for the command `getload`.
///
/// # Errors
/// [`CommandError::Unreachable`], also if the reply is not valid, or [`CommandError::Cancelled`].
pub(crate) fn load_of(peers: &Peers, endpoint: SocketAddr, cancel: &Stop) -> Result<u32, CommandError> {
    let request = PeerRequest::Load { asker: peers.node, content: None };
    let load_request = request_to(endpoint, &request, None);
    let silence = limits::ms(limits::PROBE_SILENCE_MS);
    let unreachable = |why: String| CommandError::Unreachable { endpoint, why };
    let answers =
        request_all(&[load_request], Some(peers.ip), Timeouts { silence, after_first: silence }, cancel)
            .map_err(|error| unreachable(error.to_string()))?;
    match load_from(&answers[0]) {
        Ok((_, load, _)) => Ok(load),
        Err(_) if cancel.is_triggered() => Err(CommandError::Cancelled),
        Err(why) => Err(unreachable(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ContentId, FileEntry, FileName, Md5Digest, Md5Origin};

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
    fn of_too_many_holders_full_ones_are_probed_first_and_others_at_random() {
        let max = limits::PROBE_CANDIDATES_MAX;
        let mut rng = SmallRng::seed_from_u64(3);
        for (full, full_probed) in [(0, 0), (1, 1), (max, max), (max + 9, max)] {
            let parts = (0..1000).map(|port| provider(port, Holding::Pieces(1)));
            let all: Vec<_> =
                parts.chain((0..full as u16).map(|port| provider(1000 + port, Holding::Full))).collect();
            let samples = [(); 2].map(|()| {
                let mut probed = all.clone();
                sample(&mut probed, &mut rng);
                let of_full = probed.iter().filter(|one| one.entry.holding == Holding::Full).count();
                assert_eq!((probed.len(), of_full), (max, full_probed));
                probed.iter().map(|one| one.endpoint).collect::<Vec<_>>()
            });
            assert_ne!(samples[0], samples[1], "at random");
        }
    }
}
