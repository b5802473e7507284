//! Finds and ranks the holders of a content again while its download runs. It blocks, so it runs on a thread
//! of its own.

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

/// The pieces that each of some partial holders has.
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
    /// Holders found before: probed again if discovery gives no answer.
    pub(super) known: Vec<Provider>,
    /// The pieces that need not be fetched any more.
    pub(super) here: PieceSet,
    /// Holders that have failed, refused or sent wrong bytes in this round: the pieces that they claim to
    /// have are not counted.
    pub(super) distrusted: BTreeSet<SocketAddr>,
    /// The download has no source left and begins a round: the user learns it if discovery gives no answer.
    pub(super) opens_round: bool,
}

/// The result of a search.
#[derive(Debug)]
pub(super) enum Searched {
    Holders {
        providers: Vec<Provider>,
        /// Those that answered the probe, best first. May be empty.
        ranking: Vec<Ranked>,
        /// The pieces that the partial holders among them have.
        held: HeldPieces,
    },
    /// No node has all of the content, the trusted partial holders together lack some piece, and the name
    /// means another content now.
    Replaced,
}

impl Search {
    /// Searches, on the calling thread.
    ///
    /// # Errors
    /// [`SearchError::Cancelled`], or [`SearchError::System`].
    pub(super) fn run(self, stop: &Stop) -> Result<Searched, SearchError> {
        let Search { config, holders, content, geometry, .. } = &self;
        let (providers, is_found) = match holders.find(&Query::Content(content.id.into()), stop) {
            Ok(mut providers) => {
                providers.retain(|provider| provider.entry.key() == *content);
                (providers, true)
            }
            Err(SearchError::Cancelled) => return Err(SearchError::Cancelled),
            Err(error) => {
                if self.opens_round {
                    self.notices.warn(format!("{error}; going on with the sources known before"));
                }
                (self.known.clone(), false)
            }
        };
        let live = holders.probe(providers.clone(), stop)?;
        let held = held_pieces(config, (*content, *geometry), &live, stop)?;
        let has_full = providers.iter().any(|one| one.entry.holding == Holding::Full);
        if is_found
            && !has_full
            && !are_too_many(&live, &self.distrusted)
            && !is_covered(self.here.clone(), &held, &self.distrusted)
            && self.is_replaced(stop)
        {
            return Ok(Searched::Replaced);
        }
        Ok(Searched::Holders { ranking: ranking(&live, &held, config.load_weight), held, providers })
    }

    /// Returns true if and only if some node has all of another content under the name.
    fn is_replaced(&self, stop: &Stop) -> bool {
        let is_other = |one: &Provider| one.entry.key() != self.content && one.entry.holding == Holding::Full;
        let by_name = self.holders.find(&Query::Name(self.name.clone()), stop);
        by_name.is_ok_and(|providers| providers.iter().any(is_other))
    }
}

/// True if `here` and the `held` of trusted holders are all pieces together.
fn is_covered(here: PieceSet, held: &HeldPieces, distrusted: &BTreeSet<SocketAddr>) -> bool {
    let mut all = here;
    let trusted = held.iter().filter(|(endpoint, _)| !distrusted.contains(endpoint));
    trusted.for_each(|(_, has)| all.unite(has));
    is_whole(&all)
}

/// True if there are more trusted holders than may be asked: the others may have what these lack.
fn are_too_many(live: &[LiveHolder], distrusted: &BTreeSet<SocketAddr>) -> bool {
    let mut endpoints: BTreeSet<_> = live.iter().map(|holder| holder.candidate.endpoint).collect();
    endpoints.retain(|endpoint| !distrusted.contains(endpoint));
    endpoints.len() > limits::PARTS_KNOWN_MAX
}

/// True if every piece is among them.
pub(super) fn is_whole(pieces: &PieceSet) -> bool {
    pieces.len() == pieces.count() as usize
}

/// The pieces that the live partial holders of a content have. At most [`limits::PARTS_KNOWN_MAX`] of them
/// are seen. Blocks for the time of a probe.
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
    let ranked = ranked(others, config.load_weight);
    let mut partial: Vec<_> = ranked.iter().map(|ranked| ranked.endpoint).collect();
    choose(&mut partial, &mut SmallRng::from_os_rng());
    // They have just answered the probe. Where a full holder is known, a silent partial holder is not worth a
    // longer wait.
    let silence_ms = if full.is_empty() { limits::PROBE_SILENCE_MS } else { limits::PROBE_AFTER_FIRST_MS };
    have(config, content, &partial, silence_ms, stop)
}

/// Leaves as many as may be known, of those in the order of their rank: the best ones, and as many others at
/// random. The near ones of very many may all lack the same pieces.
fn choose(partial: &mut Vec<SocketAddr>, rng: &mut SmallRng) {
    if partial.len() > limits::PARTS_KNOWN_MAX {
        partial[limits::PARTS_KNOWN_MAX / 2..].shuffle(rng);
        partial.truncate(limits::PARTS_KNOWN_MAX);
    }
}

/// Asks these partial holders which pieces they have. A holder that has none or does not answer is left out.
/// Takes `silence_ms` if none answers.
///
/// # Errors
/// [`SearchError::Cancelled`], or [`SearchError::System`].
pub(super) fn have(
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
    let held = answers.into_iter().map(|answer| has(&geometry, answer.map(|answer| answer.body)));
    Ok(partial.iter().zip(held).filter_map(|(endpoint, has)| Some((*endpoint, has?))).collect())
}

/// The pieces that the sender of an answer has.
fn has(geometry: &Geometry, body: Result<Vec<u8>, ClientError>) -> Option<PieceSet> {
    let count = geometry.count()?;
    match decode(&body.ok()?) {
        Ok(PeerReply::Have { pieces }) => PieceSet::from_bytes(count, &pieces).filter(|has| !has.is_empty()),
        _ => None,
    }
}

fn is_full(holder: &LiveHolder) -> bool {
    holder.provider.entry.holding == Holding::Full
}

/// The live holders that have everything and those whose pieces are known (`held`), each endpoint once, best
/// first. `load_weight`: what one unit of load costs.
pub fn ranking(live: &[LiveHolder], held: &HeldPieces, load_weight: Millis) -> Vec<Ranked> {
    let is_of_use = |holder: &&LiveHolder| is_full(holder) || held.contains_key(&holder.candidate.endpoint);
    ranked(live.iter().filter(is_of_use), load_weight)
}

/// The candidates, each with the pieces that it has; `None`, all of them, if `held` does not name it.
pub(super) fn with_pieces(candidates: &[Candidate], mut held: HeldPieces) -> Vec<RankedSource> {
    candidates.iter().map(|candidate| (*candidate, held.remove(&candidate.endpoint))).collect()
}

/// Each endpoint once, best first.
fn ranked<'a>(live: impl Iterator<Item = &'a LiveHolder>, load_weight: Millis) -> Vec<Ranked> {
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
    fn only_a_set_of_the_contents_pieces_that_is_not_empty_is_accepted() {
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
            assert_eq!(has(&geometry, answer.clone()), expected, "{answer:?}");
        }
        let none = Geometry::of(u64::MAX);
        assert_eq!(has(&none, body(PeerReply::Have { pieces: vec![0xff] })), None);
    }

    #[test]
    fn beyond_the_limit_the_best_half_is_always_chosen_and_the_rest_at_random() {
        let most = limits::PARTS_KNOWN_MAX;
        let endpoint = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let all: Vec<_> = (0..3 * most as u16).map(endpoint).collect();
        let mut few = all[..most].to_vec();
        let mut rng = SmallRng::seed_from_u64(8);
        choose(&mut few, &mut rng);
        assert_eq!(few, all[..most], "as many as may be");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut chosen = all.clone();
            choose(&mut chosen, &mut rng);
            assert_eq!((&chosen[..most / 2], chosen.len()), (&all[..most / 2], most));
            seen.extend(chosen);
        }
        assert_eq!(seen.len(), all.len());
    }

    #[test]
    fn a_content_is_covered_if_no_piece_is_missing_everywhere() {
        let held = |sets: &[&[u32]]| -> HeldPieces {
            let endpoint = |port| SocketAddr::from(([127, 0, 0, 1], port));
            (1..).zip(sets).map(|(port, pieces)| (endpoint(port), set(pieces))).collect()
        };
        for (here, elsewhere, distrusted, expected) in [
            (&[][..], &[][..], 0, false),
            (&[0, 1, 2], &[&[3, 4, 5][..], &[6, 7]], 0, false),
            (&[0, 1, 2], &[&[3, 4, 5], &[5, 6, 7, 8]], 0, true),
            (&[0, 1, 2], &[&[3, 4, 5], &[5, 6, 7, 8]], 1, false),
            (&[0, 1, 2], &[&[3, 4, 5], &[3, 4, 5, 6, 7, 8]], 1, true),
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8], &[], 0, true),
        ] {
            let distrusted = BTreeSet::from([SocketAddr::from(([127, 0, 0, 1], distrusted))]);
            let covered = is_covered(set(here), &held(elsewhere), &distrusted);
            assert_eq!(covered, expected, "{here:?} {elsewhere:?} {distrusted:?}");
        }
    }
}
