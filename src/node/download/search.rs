//! Finds and ranks the holders of a content anew, for a download that runs: on a thread of its own, as it waits for answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::logic::select::{Rating, rank};
use crate::net::ask::Answer;
use crate::net::client::ClientError;
use crate::node::api::CommandError;
use crate::node::engine::Engine;
use crate::node::find::{self, LiveHolder};
use crate::proto::decode;
use crate::proto::peer::{PeerReply, PeerRequest};
use crate::rt::Stop;
use crate::types::{ContentKey, FileName, Geometry, Holding, PieceSet, Provider, Query};

/// Which pieces a partial holder has.
pub(super) type Parts = BTreeMap<SocketAddr, PieceSet>;

/// What a search came to.
#[derive(Debug)]
pub(super) enum Searched {
    Holders {
        providers: Vec<Provider>,
        /// Those that answered, best first. May be empty.
        ranking: Vec<Rating>,
        /// What those of them have that have not everything.
        parts: Parts,
    },
    /// Nobody has the content, and the name is offered with another one.
    Replaced,
}

/// Searches. Where nobody can be asked who they are, those known before are probed again; `is_alone` (the download has no source left)
/// makes that news for the user.
///
/// # Errors
/// [`CommandError::Cancelled`], or [`CommandError::System`].
pub(super) fn holders(
    engine: &Engine,
    name: &FileName,
    content: ContentKey,
    known: Vec<Provider>,
    is_alone: bool,
    stop: &Stop,
) -> Result<Searched, CommandError> {
    let providers = match find::providers(engine, &Query::Content(content.id.into()), stop) {
        Ok(providers) if providers.is_empty() && is_alone && is_replaced(engine, name, content, stop) => {
            return Ok(Searched::Replaced);
        }
        Ok(mut providers) => {
            providers.retain(|provider| provider.entry.key() == content);
            providers
        }
        Err(CommandError::Cancelled) => return Err(CommandError::Cancelled),
        Err(error) => {
            if is_alone {
                engine.warn(format!("{error}; going on with the sources known before"));
            }
            known
        }
    };
    let probed = find::probe(engine, providers.clone(), stop)?;
    let parts = parts(engine, content, &probed.live, stop)?;
    Ok(Searched::Holders { ranking: ranking(engine, &probed.live, &parts), parts, providers })
}

/// Returns true if and only if the name is offered with other content.
fn is_replaced(engine: &Engine, name: &FileName, content: ContentKey, stop: &Stop) -> bool {
    let by_name = find::providers(engine, &Query::Name(name.clone()), stop);
    by_name.is_ok_and(|providers| providers.iter().any(|one| one.entry.key() != content))
}

/// Asks the live partial holders which pieces they have. One that has none, or does not tell, is of no use and left out.
///
/// # Errors
/// [`CommandError::Cancelled`], or [`CommandError::System`].
pub(super) fn parts(
    engine: &Engine,
    content: ContentKey,
    live: &[LiveHolder],
    stop: &Stop,
) -> Result<Parts, CommandError> {
    let is_full =
        |endpoint| live.iter().any(|holder| is_full(holder) && holder.candidate.endpoint == endpoint);
    let mut endpoints: Vec<_> = live.iter().map(|holder| holder.candidate.endpoint).collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    endpoints.retain(|endpoint| !is_full(*endpoint));
    let count = Geometry::of(content.size_bytes).count().unwrap_or(0);
    let told = find::ask(engine, &endpoints, &PeerRequest::Have { content }, stop)?;
    let has = |answer: Result<Answer, ClientError>| match decode(&answer.ok()?.body) {
        Ok(PeerReply::Have { pieces }) => PieceSet::from_bytes(count, &pieces).filter(|has| !has.is_empty()),
        _ => None,
    };
    let parts = endpoints.into_iter().zip(told);
    Ok(parts.filter_map(|(endpoint, answer)| Some((endpoint, has(answer)?))).collect())
}

fn is_full(holder: &LiveHolder) -> bool {
    holder.provider.entry.holding == Holding::Full
}

/// Live holders that have everything, and those whose `parts` are known, each endpoint once, best first.
pub(super) fn ranking(engine: &Engine, live: &[LiveHolder], parts: &Parts) -> Vec<Rating> {
    let of_use =
        live.iter().filter(|holder| is_full(holder) || parts.contains_key(&holder.candidate.endpoint));
    let by_endpoint: BTreeMap<SocketAddr, _> =
        of_use.map(|holder| (holder.candidate.endpoint, holder.candidate)).collect();
    let candidates: Vec<_> = by_endpoint.into_values().collect();
    rank(&candidates, engine.load_weight)
}
