//! Finds and ranks the holders of a content anew, for a download that runs: on a thread of its own, as it
//! waits for answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::logic::select::{Rating, rank};
use crate::net::client::ClientError;
use crate::node::context::Context;
use crate::node::error::CommandError;
use crate::node::find::probe::{LiveHolder, ask, probe};
use crate::node::find::search;
use crate::proto::decode;
use crate::proto::peer::{PeerReply, PeerRequest};
use crate::rt::Stop;
use crate::types::{ContentKey, FileName, Geometry, Holding, PieceSet, Provider, Query, limits};

/// Which pieces a partial holder has.
pub(super) type HeldPieces = BTreeMap<SocketAddr, PieceSet>;

/// What is searched for, and what the download knows already.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) name: FileName,
    pub(super) content: ContentKey,
    /// Who was found before: probed again where nobody can be asked.
    pub(super) known: Vec<Provider>,
    /// The pieces that need not be fetched any more.
    pub(super) here: PieceSet,
    /// Who has failed, refused or sent wrong bytes in this round: what they tell that they have is not
    /// counted on.
    pub(super) distrusted: BTreeSet<SocketAddr>,
    /// The download has no source left, and begins a round: it is news for the user that nobody can be asked.
    pub(super) opens_round: bool,
}

/// What a search came to.
#[derive(Debug)]
pub(super) enum Searched {
    Holders {
        providers: Vec<Provider>,
        /// Those that answered, best first. May be empty.
        ranking: Vec<Rating>,
        /// What those of them have that have not everything.
        parts: HeldPieces,
    },
    /// Nobody has all of the content, those who have parts of it and are trusted lack some piece together,
    /// and the name is offered with another one.
    Replaced,
}

impl Search {
    /// # Errors
    /// [`CommandError::Cancelled`], or [`CommandError::System`].
    pub(super) fn run(self, context: &Context, stop: &Stop) -> Result<Searched, CommandError> {
        let Search { content, .. } = self;
        let (providers, is_found) = match search::providers(context, &Query::Content(content.id.into()), stop)
        {
            Ok(mut providers) => {
                providers.retain(|provider| provider.entry.key() == content);
                (providers, true)
            }
            Err(CommandError::Cancelled) => return Err(CommandError::Cancelled),
            Err(error) => {
                if self.opens_round {
                    context.notices.warn(format!("{error}; going on with the sources known before"));
                }
                (self.known, false)
            }
        };
        let probed = probe(&context.peers, providers.clone(), stop)?;
        let parts = parts(context, content, &probed.live, stop)?;
        let has_full = providers.iter().any(|one| one.entry.holding == Holding::Full);
        if is_found
            && !has_full
            && !are_too_many(&probed.live, &self.distrusted)
            && !is_covered(self.here, &parts, &self.distrusted)
            && is_replaced(context, &self.name, content, stop)
        {
            return Ok(Searched::Replaced);
        }
        Ok(Searched::Holders { ranking: ranking(context, &probed.live, &parts), parts, providers })
    }
}

/// True if what is `here` and the `parts` of those that are trusted are all pieces together.
fn is_covered(here: PieceSet, parts: &HeldPieces, distrusted: &BTreeSet<SocketAddr>) -> bool {
    let mut all = here;
    let trusted = parts.iter().filter(|(endpoint, _)| !distrusted.contains(endpoint));
    trusted.for_each(|(_, has)| all.unite(has));
    is_whole(&all)
}

/// True if not all that are trusted can be asked: those who are not may have what the others lack.
fn are_too_many(live: &[LiveHolder], distrusted: &BTreeSet<SocketAddr>) -> bool {
    let mut endpoints: BTreeSet<_> = live.iter().map(|holder| holder.candidate.endpoint).collect();
    endpoints.retain(|endpoint| !distrusted.contains(endpoint));
    endpoints.len() > limits::PARTS_KNOWN_MAX
}

/// True if every piece is among them.
pub(super) fn is_whole(pieces: &PieceSet) -> bool {
    pieces.len() == pieces.count() as usize
}

/// Returns true if and only if somebody offers all of another content under the name.
fn is_replaced(context: &Context, name: &FileName, content: ContentKey, stop: &Stop) -> bool {
    let is_other = |one: &Provider| one.entry.key() != content && one.entry.holding == Holding::Full;
    let by_name = search::providers(context, &Query::Name(name.clone()), stop);
    by_name.is_ok_and(|providers| providers.iter().any(is_other))
}

/// What the live partial holders have, as far as they are asked: see [`limits::PARTS_KNOWN_MAX`].
///
/// # Errors
/// [`CommandError::Cancelled`], or [`CommandError::System`].
pub(super) fn parts(
    context: &Context,
    content: ContentKey,
    live: &[LiveHolder],
    stop: &Stop,
) -> Result<HeldPieces, CommandError> {
    let full: Vec<_> =
        live.iter().filter(|holder| is_full(holder)).map(|holder| holder.candidate.endpoint).collect();
    let ranked = ranked(context, live.iter().filter(|holder| !full.contains(&holder.candidate.endpoint)));
    let mut partial: Vec<_> = ranked.iter().map(|rating| rating.candidate.endpoint).collect();
    choose(&mut partial, &mut SmallRng::from_os_rng());
    // They have just answered the probe. Where somebody has everything, nobody need wait for one that is
    // silent now.
    let silence_ms = match full.is_empty() {
        true => limits::PROBE_SILENCE_MS,
        false => limits::PROBE_AFTER_FIRST_MS,
    };
    have(context, content, &partial, silence_ms, stop)
}

/// Leaves as many as may be known, of those in the order of their rank: half of them the best ones, the
/// others at random, as of very many those that are near may all lack the same.
fn choose(partial: &mut Vec<SocketAddr>, rng: &mut SmallRng) {
    if partial.len() > limits::PARTS_KNOWN_MAX {
        partial[limits::PARTS_KNOWN_MAX / 2..].shuffle(rng);
        partial.truncate(limits::PARTS_KNOWN_MAX);
    }
}

/// Asks these partial holders which pieces they have. One that has none, or does not tell, is left out.
/// If none tells it takes `silence_ms`.
///
/// # Errors
/// [`CommandError::Cancelled`], or [`CommandError::System`].
pub(super) fn have(
    context: &Context,
    content: ContentKey,
    partial: &[SocketAddr],
    silence_ms: u64,
    stop: &Stop,
) -> Result<HeldPieces, CommandError> {
    let told = ask(&context.peers, partial, &PeerRequest::Have { content }, silence_ms, stop)?;
    let told = told.into_iter().map(|answer| has(content, answer.map(|answer| answer.body)));
    Ok(partial.iter().zip(told).filter_map(|(endpoint, has)| Some((*endpoint, has?))).collect())
}

/// What an answer tells that its sender has.
fn has(content: ContentKey, body: Result<Vec<u8>, ClientError>) -> Option<PieceSet> {
    let count = Geometry::of(content.size_bytes).count()?;
    match decode(&body.ok()?) {
        Ok(PeerReply::Have { pieces }) => PieceSet::from_bytes(count, &pieces).filter(|has| !has.is_empty()),
        _ => None,
    }
}

fn is_full(holder: &LiveHolder) -> bool {
    holder.provider.entry.holding == Holding::Full
}

/// Live holders that have everything, and those whose `parts` are known, each endpoint once, best first.
pub(super) fn ranking(context: &Context, live: &[LiveHolder], parts: &HeldPieces) -> Vec<Rating> {
    let is_of_use = |holder: &&LiveHolder| is_full(holder) || parts.contains_key(&holder.candidate.endpoint);
    ranked(context, live.iter().filter(is_of_use))
}

/// Each endpoint once, best first.
fn ranked<'a>(context: &Context, live: impl Iterator<Item = &'a LiveHolder>) -> Vec<Rating> {
    let by_endpoint: BTreeMap<SocketAddr, _> =
        live.map(|holder| (holder.candidate.endpoint, holder.candidate)).collect();
    let candidates: Vec<_> = by_endpoint.into_values().collect();
    rank(&candidates, context.peers.load_weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::encode;
    use crate::types::ContentId;

    fn set(pieces: &[u32]) -> PieceSet {
        let mut set = PieceSet::none(9);
        pieces.iter().for_each(|piece| set.set(*piece, true));
        set
    }

    #[test]
    fn only_a_set_of_the_contents_pieces_that_is_not_empty_tells_anything() {
        let content = ContentKey { size_bytes: (8 << 20) + 1, id: ContentId([0; 32]) };
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
            assert_eq!(has(content, answer.clone()), expected, "{answer:?}");
        }
        let none = ContentKey { size_bytes: u64::MAX, ..content };
        assert_eq!(has(none, body(PeerReply::Have { pieces: vec![0xff] })), None);
    }

    #[test]
    fn of_too_many_the_best_are_asked_each_time_and_each_of_the_others_some_time() {
        let most = limits::PARTS_KNOWN_MAX;
        let endpoint = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let all: Vec<_> = (0..3 * most as u16).map(endpoint).collect();
        let mut few = all[..most].to_vec();
        let mut rng = SmallRng::seed_from_u64(8);
        choose(&mut few, &mut rng);
        assert_eq!(few, all[..most], "as many as may be");
        let mut asked = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut chosen = all.clone();
            choose(&mut chosen, &mut rng);
            assert_eq!((&chosen[..most / 2], chosen.len()), (&all[..most / 2], most));
            asked.extend(chosen);
        }
        assert_eq!(asked.len(), all.len());
    }

    #[test]
    fn a_content_is_covered_if_no_piece_is_missing_everywhere() {
        let parts = |sets: &[&[u32]]| -> HeldPieces {
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
            let covered = is_covered(set(here), &parts(elsewhere), &distrusted);
            assert_eq!(covered, expected, "{here:?} {elsewhere:?} {distrusted:?}");
        }
    }
}
