//! Finds and ranks the holders of a content anew, for a download that runs: on a thread of its own, as it waits for answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::logic::select::{Rating, rank};
use crate::node::api::CommandError;
use crate::node::engine::Engine;
use crate::node::find::{self, LiveHolder};
use crate::rt::Stop;
use crate::types::{ContentKey, FileName, Holding, Provider, Query};

/// What a search came to.
#[derive(Debug)]
pub(super) enum Searched {
    Holders {
        providers: Vec<Provider>,
        /// Those that answered, best first. May be empty.
        ranking: Vec<Rating>,
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
    Ok(Searched::Holders { ranking: ranking(engine, &probed.live), providers })
}

/// Returns true if and only if the name is offered with other content.
fn is_replaced(engine: &Engine, name: &FileName, content: ContentKey, stop: &Stop) -> bool {
    let by_name = find::providers(engine, &Query::Name(name.clone()), stop);
    by_name.is_ok_and(|providers| providers.iter().any(|one| one.entry.key() != content))
}

/// Live full holders, each endpoint once, best first.
pub(super) fn ranking(engine: &Engine, live: &[LiveHolder]) -> Vec<Rating> {
    let full = live.iter().filter(|holder| holder.provider.entry.holding == Holding::Full);
    let by_endpoint: BTreeMap<SocketAddr, _> =
        full.map(|holder| (holder.candidate.endpoint, holder.candidate)).collect();
    let candidates: Vec<_> = by_endpoint.into_values().collect();
    rank(&candidates, engine.load_weight)
}
