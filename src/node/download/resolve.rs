//! Which content a download fetches and who holds it, from a name, an optional checksum, and the own files.

use std::collections::{BTreeMap, BTreeSet};

use super::progress::DownloadEvents;
use crate::logic::backoff::retry_pause;
use crate::logic::select::{Choice, LiveHolder, votes};
use crate::node::context::Context;
use crate::node::error::{CommandError, DownloadError};
use crate::node::find::probe::{Probed, probe};
use crate::node::find::search;
use crate::node::index::catalog::SharedFile;
use crate::node::report::{Attempt, DownloadRequest, Variant};
use crate::rt::{Stop, clock};
use crate::types::{Checksum, ContentKey, FileEntry, Holding, Md5Digest, Provider, Query, limits};

/// A content and its holders.
#[derive(Debug)]
pub(super) struct ContentCandidates {
    pub(super) key: ContentKey,
    /// Holders that answered the probe.
    pub(super) live: Vec<LiveHolder>,
    /// All known holders.
    pub(super) providers: Vec<Provider>,
}

/// The result of the search for something to download.
#[derive(Debug)]
pub(super) enum SearchOutcome {
    /// The own file of that name is the requested content.
    AlreadyHere(ContentKey),
    /// To be tried in this order; never empty.
    Contents(Vec<ContentCandidates>),
}

impl ContentCandidates {
    /// The MD5 of the whole file as a holder claims it; a full holder if there is one.
    pub(super) fn claimed_md5(&self) -> Option<Md5Digest> {
        let full = self.providers.iter().find(|one| one.entry.holding == Holding::Full);
        full.or(self.providers.first()).map(|one| one.entry.md5)
    }

    /// Finds the holders of the requested name, or of the content `only` under any name; probes them and
    /// chooses the content. While holders are known and none answers, it repeats in rounds.
    pub(super) fn find(
        context: &Context,
        request: &DownloadRequest,
        only: Option<ContentKey>,
        own: Option<&SharedFile>,
        cancel: &Stop,
        events: &mut DownloadEvents<'_>,
    ) -> Result<SearchOutcome, DownloadError> {
        let query = only
            .map_or_else(|| Query::Name(request.name.clone()), |content| Query::Content(content.id.into()));
        let mut round = 0;
        loop {
            let providers = search::providers(context, &query, cancel)?;
            let own_fits = own.filter(|own| {
                only.is_none_or(|content| own.entry.key() == content)
                    && request.checksum.is_none_or(|wanted| fits(wanted, &own.entry))
            });
            if providers.is_empty() && round == 0 {
                return match own_fits {
                    Some(own) => Ok(SearchOutcome::AlreadyHere(own.entry.key())),
                    None => Err(DownloadError::NotFound(request.name.as_str().into())),
                };
            }
            let any_known = !providers.is_empty();
            let wanted = match only {
                Some(content) => providers.into_iter().filter(|one| one.entry.key() == content).collect(),
                None => wanted(providers, request.checksum),
            };
            if wanted.is_empty() && any_known {
                return match own_fits {
                    Some(own) => Ok(SearchOutcome::AlreadyHere(own.entry.key())),
                    None => Err(no_match(request)),
                };
            }
            let namesakes = wanted.len();
            let mut holders = wanted.clone();
            if only.is_none() {
                holders.extend(under_other_names(context, &wanted, cancel)?);
            }
            let probed = probe(&context.peers, holders.clone(), cancel)?;
            probed.warn(&context.notices);
            let Probed { live, silent, .. } = probed;
            if !live.is_empty() {
                let is_namesake = |holder: &LiveHolder| holders[..namesakes].contains(&holder.provider);
                let (mut named, mut others): (Vec<_>, Vec<_>) = live.into_iter().partition(is_namesake);
                if named.is_empty() {
                    std::mem::swap(&mut named, &mut others);
                }
                // Only holders that publish the name decide what it means.
                let mut found = choose(request, own_fits, by_content(named, &holders), events)?;
                if let SearchOutcome::Contents(contents) = &mut found {
                    for candidates in contents {
                        let is_same = |other: &&LiveHolder| other.provider.entry.key() == candidates.key;
                        candidates.live.extend(others.iter().filter(is_same).cloned());
                    }
                }
                return Ok(found);
            }
            // No holder answers, but the own copy is one of the requested contents.
            if let Some(own) =
                own_fits.filter(|own| wanted.iter().any(|one| one.entry.key() == own.entry.key()))
            {
                return Ok(SearchOutcome::AlreadyHere(own.entry.key()));
            }
            if round == context.peers.retries {
                let attempts = silent.into_iter().map(|(endpoint, why)| Attempt { endpoint, why }).collect();
                return Err(DownloadError::AllFailed {
                    name: request.name.clone(),
                    attempts,
                    all_by_digest: false,
                });
            }
            let pause = retry_pause(round);
            round += 1;
            events.publish(|reporter, _| reporter.retry(round, context.peers.retries, pause));
            if cancel.wait_until(clock::now() + pause) {
                return Err(CommandError::Cancelled.into());
            }
        }
    }
}

/// Holders of the same contents under other names: more sources. If the name means many contents they are
/// left out; the running download searches for holders in any case.
fn under_other_names(
    context: &Context,
    namesakes: &[Provider],
    cancel: &Stop,
) -> Result<Vec<Provider>, CommandError> {
    let keys: BTreeSet<_> = namesakes.iter().map(|one| one.entry.key()).collect();
    let mut others = Vec::new();
    if keys.len() <= limits::CONTENTS_LOOKED_UP_MAX {
        for key in keys {
            match search::providers(context, &Query::Content(key.id.into()), cancel) {
                Ok(holders) => others.extend(holders.into_iter().filter(|one| one.entry.key() == key)),
                Err(CommandError::Cancelled) => return Err(CommandError::Cancelled),
                // The holders under this name are known.
                Err(_) => {}
            }
        }
    }
    let is_known = |other: &Provider| {
        namesakes.iter().any(|one| (one.endpoint, one.entry.key()) == (other.endpoint, other.entry.key()))
    };
    others.retain(|other| !is_known(other));
    Ok(others)
}

fn no_match(request: &DownloadRequest) -> DownloadError {
    let checksum = request.checksum.map(|checksum| checksum.to_string()).unwrap_or_default();
    DownloadError::Checksum { name: request.name.clone(), checksum }
}

/// Returns true if and only if `entry` has, or claims, the checksum.
fn fits(wanted: Checksum, entry: &FileEntry) -> bool {
    match wanted {
        Checksum::Md5(md5) => entry.md5 == md5,
        Checksum::Content(prefix) => prefix.matches(&entry.content),
    }
}

/// The holders of the contents that the checksum names. An MD5 names every content for which a holder claims
/// it.
fn wanted(providers: Vec<Provider>, checksum: Option<Checksum>) -> Vec<Provider> {
    let Some(checksum) = checksum else { return providers };
    let keys: Vec<_> =
        providers.iter().filter(|one| fits(checksum, &one.entry)).map(|one| one.entry.key()).collect();
    providers.into_iter().filter(|one| keys.contains(&one.entry.key())).collect()
}

fn by_content(live: Vec<LiveHolder>, providers: &[Provider]) -> Vec<ContentCandidates> {
    let mut contents: BTreeMap<ContentKey, ContentCandidates> = BTreeMap::new();
    for holder in live {
        let key = holder.provider.entry.key();
        let candidates = contents.entry(key).or_insert_with(|| ContentCandidates {
            key,
            live: Vec::new(),
            providers: providers.iter().filter(|one| one.entry.key() == key).cloned().collect(),
        });
        candidates.live.push(holder);
    }
    let votes = votes(contents.values().flat_map(|one| &one.live).map(|holder| &holder.provider));
    let mut contents: Vec<_> = contents.into_values().collect();
    contents.sort_by_key(|one| (std::cmp::Reverse(votes[&one.key]), one.key));
    contents
}

fn choose(
    request: &DownloadRequest,
    own: Option<&SharedFile>,
    mut contents: Vec<ContentCandidates>,
    events: &mut DownloadEvents<'_>,
) -> Result<SearchOutcome, DownloadError> {
    let own_key = own.map(|own| own.entry.key());
    let is_own = |key: ContentKey| own_key == Some(key);
    if let Some(Checksum::Md5(_)) = request.checksum {
        // Each content that claims the MD5 is tried, in the order in which `find` shows them.
        return match contents.iter().find(|one| is_own(one.key)) {
            Some(own) => Ok(SearchOutcome::AlreadyHere(own.key)),
            None => Ok(SearchOutcome::Contents(contents)),
        };
    }
    let chosen = match search::choice(contents.iter().map(|one| (one.key, one.live.as_slice()))) {
        Choice::One(key) => key,
        Choice::Majority { key, holders, others } => {
            events.publish(|reporter, _| reporter.chose(key, holders, others));
            key
        }
        Choice::Ambiguous => match own_key.filter(|own| contents.iter().any(|one| one.key == *own)) {
            Some(own) => own,
            None => {
                return Err(DownloadError::Ambiguous {
                    name: request.name.clone(),
                    variants: variants(&contents),
                });
            }
        },
    };
    if is_own(chosen) {
        return Ok(SearchOutcome::AlreadyHere(chosen));
    }
    contents.retain(|one| one.key == chosen);
    Ok(SearchOutcome::Contents(contents))
}

fn variants(contents: &[ContentCandidates]) -> Vec<Variant> {
    let variant = |one: &ContentCandidates| {
        let md5 = one.live.first().map(|holder| holder.provider.entry.md5)?;
        Some(Variant { key: one.key, md5, live_full_holders: search::full_holders(&one.live) })
    };
    contents.iter().filter_map(variant).collect()
}
