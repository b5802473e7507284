//! Finds and ranks the holders of a content, and asks partial holders which pieces they have.
//!
//! Everything here blocks. While a download runs, threads of their own call it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::config::TransferConfig;
use super::ports::{HolderSearch, Notices, SearchError};
use crate::logic::select::{Candidate, LiveHolder, rank};
use crate::logic::transfer::RankedSource;
use crate::net::client::ClientError;
use crate::net::multi_request::{Request, Timeouts, request_all};
use crate::proto::decode;
use crate::proto::peer::{PeerReply, PeerRequest};
use crate::rt::Stop;
use crate::types::{
    ContentKey, FileName, Geometry, Holding, Millis, PieceSet, Provider, Query, Ranked, limits,
};

/// Partial holders, and the pieces that each of them has.
pub type HeldPieces = BTreeMap<SocketAddr, PieceSet>;

/// A search, and what the download knows already.
pub(super) struct Search {
    pub(super) config: TransferConfig,
    pub(super) holders: Arc<dyn HolderSearch>,
    pub(super) notices: Arc<dyn Notices>,
    /// The name that was requested.
    pub(super) name: FileName,
    pub(super) content: ContentKey,
    pub(super) geometry: Geometry,
    /// The known holders, which are probed again if discovery gives no answer.
    pub(super) known: Vec<Provider>,
    /// The pieces that need not be fetched any more.
    pub(super) not_wanted: PieceSet,
    /// Holders that have failed, refused or sent wrong bytes in this round: the pieces that they claim to
    /// have are not counted.
    pub(super) faulty: BTreeSet<SocketAddr>,
    /// The download has no source left, and this search begins its next round. Only then the user learns
    /// that discovery gives no answer: otherwise the sources in use go on.
    pub(super) is_between_rounds: bool,
}

/// The result of a search.
#[derive(Debug)]
pub(super) enum SearchResult {
    Holders {
        providers: Vec<Provider>,
        /// See [`ranking`]. May be empty.
        ranking: Vec<Ranked>,
        /// The pieces that the partial holders in the ranking have.
        held: HeldPieces,
    },
    /// No node has the whole content, the partial holders that are not faulty together lack some piece, and
    /// another content has the name now.
    Replaced,
}

impl Search {
    /// Searches, on the calling thread.
    ///
    /// # Errors
    /// [`SearchError::Cancelled`], or [`SearchError::System`].
    pub(super) fn run(self, stop: &Stop) -> Result<SearchResult, SearchError> {
        let Search { config, holders, content, geometry, .. } = &self;
        let (providers, has_answer) = match holders.find(&Query::Content(content.id.into()), stop) {
            Ok(mut providers) => {
                // The query names the content id. A node can publish that id with a wrong size.
                providers.retain(|provider| provider.entry.key() == *content);
                (providers, true)
            }
            Err(SearchError::Cancelled) => return Err(SearchError::Cancelled),
            Err(error @ (SearchError::NoAnswer(_) | SearchError::System(_))) => {
                if self.is_between_rounds {
                    self.notices.warn(format!("{error}; going on with the sources known before"));
                }
                (self.known.clone(), false)
            }
        };
        let live = holders.probe(providers.clone(), stop)?;
        let held = held_pieces(config, (*content, *geometry), &live, stop)?;
        // A full holder that did not answer the probe may answer the next one. A partial holder counts only
        // with the pieces in its answer.
        let has_full = providers.iter().any(|one| one.entry.holding == Holding::Full);
        if has_answer
            && !has_full
            && !are_too_many(&live, &self.faulty)
            && !is_covered(self.not_wanted.clone(), &held, &self.faulty)
            && self.name_has_other_content(stop)
        {
            return Ok(SearchResult::Replaced);
        }
        Ok(SearchResult::Holders { ranking: ranking(&live, &held, config.load_weight), held, providers })
    }

    /// True if discovery answers that some node has the whole of another content under the name.
    fn name_has_other_content(&self, stop: &Stop) -> bool {
        let is_other = |one: &Provider| one.entry.key() != self.content && one.entry.holding == Holding::Full;
        let by_name = self.holders.find(&Query::Name(self.name.clone()), stop);
        by_name.is_ok_and(|providers| providers.iter().any(is_other))
    }
}

/// True if `not_wanted` and the pieces of the holders that are not `faulty` are all pieces together.
fn is_covered(not_wanted: PieceSet, held: &HeldPieces, faulty: &BTreeSet<SocketAddr>) -> bool {
    let mut all = not_wanted;
    let trusted = held.iter().filter(|(endpoint, _)| !faulty.contains(endpoint));
    trusted.for_each(|(_, pieces)| all.unite(pieces));
    is_whole(&all)
}

/// True if more holders that are not `faulty` are live than were asked for their pieces: the others may have
/// what these lack.
fn are_too_many(live: &[LiveHolder], faulty: &BTreeSet<SocketAddr>) -> bool {
    let mut endpoints: BTreeSet<_> = live.iter().map(|holder| holder.candidate.endpoint).collect();
    endpoints.retain(|endpoint| !faulty.contains(endpoint));
    endpoints.len() > limits::PARTS_KNOWN_MAX
}

/// True if the set contains every piece of the content.
pub(super) fn is_whole(pieces: &PieceSet) -> bool {
    pieces.len() == pieces.count() as usize
}

/// Asks the live partial holders of a content which pieces they have, at most [`limits::PARTS_KNOWN_MAX`] of
/// them. Blocks until they have answered or are silent for too long.
///
/// # Errors
/// [`SearchError::Cancelled`], or [`SearchError::System`].
pub fn held_pieces(
    config: &TransferConfig,
    content: (ContentKey, Geometry),
    live: &[LiveHolder],
    stop: &Stop,
) -> Result<HeldPieces, SearchError> {
    let full: Vec<_> =
        live.iter().filter(|holder| is_full(holder)).map(|holder| holder.candidate.endpoint).collect();
    let others = live.iter().filter(|holder| !full.contains(&holder.candidate.endpoint));
    let others = rank_endpoints(others, config.load_weight);
    let mut partial: Vec<_> = others.iter().map(|ranked| ranked.endpoint).collect();
    choose(&mut partial, &mut SmallRng::from_os_rng());
    // All of them have just answered the probe. Where a full holder is known, a silent partial holder is not
    // worth a longer wait.
    let silence_ms = if full.is_empty() { limits::PROBE_SILENCE_MS } else { limits::PROBE_AFTER_FIRST_MS };
    ask_pieces(config, content, &partial, silence_ms, stop)
}

/// Reduces `partial`, best first, to [`limits::PARTS_KNOWN_MAX`] holders: the best ones, and as many others
/// at random. Of very many holders, the near ones may all lack the same pieces.
fn choose(partial: &mut Vec<SocketAddr>, rng: &mut SmallRng) {
    if partial.len() > limits::PARTS_KNOWN_MAX {
        partial[limits::PARTS_KNOWN_MAX / 2..].shuffle(rng);
        partial.truncate(limits::PARTS_KNOWN_MAX);
    }
}

/// Asks these partial holders which pieces they have. The result leaves out a holder that has none or does
/// not answer. Waits for `silence_ms` if no holder answers.
///
/// # Errors
/// [`SearchError::Cancelled`], or [`SearchError::System`].
pub(super) fn ask_pieces(
    config: &TransferConfig,
    (content, geometry): (ContentKey, Geometry),
    partial: &[SocketAddr],
    silence_ms: u64,
    stop: &Stop,
) -> Result<HeldPieces, SearchError> {
    if partial.is_empty() {
        return Ok(HeldPieces::new());
    }
    let request = PeerRequest::Have { content };
    let requests: Vec<_> = partial
        .iter()
        .map(|endpoint| Request {
            endpoint: *endpoint,
            frame: request.framed(),
            response_max_bytes: request.reply_max_bytes(),
            hold_back: config.reply_delay(*endpoint),
        })
        .collect();
    let timeouts =
        Timeouts { silence: limits::ms(silence_ms), after_first: limits::ms(limits::PROBE_AFTER_FIRST_MS) };
    let answers = request_all(&requests, Some(config.bind), timeouts, stop).map_err(SearchError::System)?;
    if stop.is_triggered() {
        return Err(SearchError::Cancelled);
    }
    let sets = answers.into_iter().map(|answer| decode_pieces(&geometry, answer.map(|answer| answer.body)));
    Ok(partial.iter().zip(sets).filter_map(|(endpoint, set)| Some((*endpoint, set?))).collect())
}

/// The pieces that the sender of an answer has. `None` for no piece and for a wrong or missing answer.
fn decode_pieces(geometry: &Geometry, body: Result<Vec<u8>, ClientError>) -> Option<PieceSet> {
    let count = geometry.count()?;
    match decode(&body.ok()?) {
        Ok(PeerReply::Have { pieces }) => PieceSet::from_bytes(count, &pieces).filter(|set| !set.is_empty()),
        _ => None,
    }
}

fn is_full(holder: &LiveHolder) -> bool {
    holder.provider.entry.holding == Holding::Full
}

/// Ranks the live holders that can be sources: the full ones, and the partial ones that `held` names. Each
/// endpoint is there once, the best first. `load_weight`: what one unit of load costs in a score.
pub fn ranking(live: &[LiveHolder], held: &HeldPieces, load_weight: Millis) -> Vec<Ranked> {
    let can_send = |holder: &&LiveHolder| is_full(holder) || held.contains_key(&holder.candidate.endpoint);
    rank_endpoints(live.iter().filter(can_send), load_weight)
}

/// The candidates, each with its pieces in `held`, or with `None` (it has all) if `held` does not name it.
pub(super) fn with_pieces(candidates: &[Candidate], mut held: HeldPieces) -> Vec<RankedSource> {
    candidates.iter().map(|candidate| (*candidate, held.remove(&candidate.endpoint))).collect()
}

/// Ranks the holders, each endpoint once: a holder may have the content under several names.
fn rank_endpoints<'a>(live: impl Iterator<Item = &'a LiveHolder>, load_weight: Millis) -> Vec<Ranked> {
    let by_endpoint: BTreeMap<SocketAddr, _> =
        live.map(|holder| (holder.candidate.endpoint, holder.candidate)).collect();
    let candidates: Vec<_> = by_endpoint.into_values().collect();
    rank(&candidates, load_weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::encode;

    fn set(pieces: &[u32]) -> PieceSet {
        let mut set = PieceSet::none(9);
        pieces.iter().for_each(|piece| set.set(*piece, true));
        set
    }

    #[test]
    fn an_answer_counts_only_with_a_set_of_the_contents_pieces_that_is_not_empty() {
        let geometry = Geometry::of((8 << 20) + 1);
        let body = |reply: PeerReply| Ok(encode(&reply).expect("it fits"));
        for (answer, expected) in [
            (body(PeerReply::Have { pieces: vec![0b1000_0001, 0b1000_0000] }), Some(set(&[0, 7, 8]))),
            (body(PeerReply::Have { pieces: vec![0, 0] }), None),
            (body(PeerReply::Have { pieces: vec![0xff] }), None),
            (body(PeerReply::Have { pieces: vec![0xff, 0x80, 0] }), None),
            (body(PeerReply::Have { pieces: vec![0xff, 0x81] }), None),
            (body(PeerReply::malformed("what?")), None),
            (body(PeerReply::Piece { piece: 0, len_bytes: 1 }), None),
            (Ok(b"garbage".to_vec()), None),
            (Ok(Vec::new()), None),
            (Err(ClientError::Deadline), None),
        ] {
            assert_eq!(decode_pieces(&geometry, answer.clone()), expected, "{answer:?}");
        }
        let none = Geometry::of(u64::MAX);
        assert_eq!(decode_pieces(&none, body(PeerReply::Have { pieces: vec![0xff] })), None);
    }

    #[test]
    fn beyond_the_limit_the_best_half_is_always_chosen_and_the_rest_at_random() {
        let max = limits::PARTS_KNOWN_MAX;
        let endpoint = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let all: Vec<_> = (0..3 * max as u16).map(endpoint).collect();
        let mut few = all[..max].to_vec();
        let mut rng = SmallRng::seed_from_u64(8);
        choose(&mut few, &mut rng);
        assert_eq!(few, all[..max], "none is left out");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut chosen = all.clone();
            choose(&mut chosen, &mut rng);
            assert_eq!((&chosen[..max / 2], chosen.len()), (&all[..max / 2], max));
            seen.extend(chosen);
        }
        assert_eq!(seen.len(), all.len());
    }

    #[test]
    fn a_content_is_covered_if_this_node_and_the_holders_without_a_fault_together_have_all_pieces() {
        let held = |sets: &[&[u32]]| -> HeldPieces {
            let endpoint = |port| SocketAddr::from(([127, 0, 0, 1], port));
            (1..).zip(sets).map(|(port, pieces)| (endpoint(port), set(pieces))).collect()
        };
        for (not_wanted, elsewhere, faulty, expected) in [
            (&[][..], &[][..], 0, false),
            (&[0, 1, 2], &[&[3, 4, 5][..], &[6, 7]], 0, false),
            (&[0, 1, 2], &[&[3, 4, 5], &[5, 6, 7, 8]], 0, true),
            (&[0, 1, 2], &[&[3, 4, 5], &[5, 6, 7, 8]], 1, false),
            (&[0, 1, 2], &[&[3, 4, 5], &[3, 4, 5, 6, 7, 8]], 1, true),
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8], &[], 0, true),
        ] {
            let faulty = BTreeSet::from([SocketAddr::from(([127, 0, 0, 1], faulty))]);
            let covered = is_covered(set(not_wanted), &held(elsewhere), &faulty);
            assert_eq!(covered, expected, "{not_wanted:?} {elsewhere:?} {faulty:?}");
        }
    }
}
