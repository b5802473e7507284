//! Resolves the name of a download, with its checksum and the own file, to contents and their holders.

use std::collections::{BTreeMap, BTreeSet};

use super::progress::DownloadEvents;
use crate::logic::backoff::retry_pause;
use crate::logic::select::{Choice, LiveHolder, votes};
use crate::node::context::Context;
use crate::node::error::{CommandError, DownloadError};
use crate::node::find::probe::{ProbeReport, probe};
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
    /// All known holders, also those that did not answer.
    pub(super) providers: Vec<Provider>,
}

/// What a name means for a download.
#[derive(Debug)]
pub(super) enum Resolution {
    /// The own file of that name has the requested content.
    OwnFile(ContentKey),
    /// The contents to try, in this order; never empty.
    Contents(Vec<ContentCandidates>),
}

impl ContentCandidates {
    /// The MD5 of the whole file as a holder claims it, a full holder if there is one. `None`: no holder is
    /// known.
    pub(super) fn claimed_md5(&self) -> Option<Md5Digest> {
        let full = self.providers.iter().find(|one| one.entry.holding == Holding::Full);
        full.or(self.providers.first()).map(|one| one.entry.md5)
    }

    /// Finds the holders of the requested name, or of the content `only` under any name; probes them and
    /// chooses the content. If none of the known holders answers, it tries again in further rounds.
    pub(super) fn find(
        context: &Context,
        request: &DownloadRequest,
        only: Option<ContentKey>,
        own: Option<&SharedFile>,
        cancel: &Stop,
        events: &mut DownloadEvents<'_>,
    ) -> Result<Resolution, DownloadError> {
        let query = only
            .map_or_else(|| Query::Name(request.name.clone()), |content| Query::Content(content.id.into()));
        let mut round = 0;
        loop {
            let providers = search::providers(context, &query, cancel)?;
            let own_fits = own.filter(|own| {
                only.is_none_or(|content| own.entry.key() == content)
                    && request.checksum.is_none_or(|checksum| fits(checksum, &own.entry))
            });
            // A later round that finds no holder goes on: the holders of an earlier round may come back.
            if providers.is_empty() && round == 0 {
                return match own_fits {
                    Some(own) => Ok(Resolution::OwnFile(own.entry.key())),
                    None => Err(DownloadError::NotFound(request.name.as_str().into())),
                };
            }
            let any_known = !providers.is_empty();
            let wanted = match only {
                Some(content) => providers.into_iter().filter(|one| one.entry.key() == content).collect(),
                None => with_checksum(providers, request.checksum),
            };
            if wanted.is_empty() && any_known {
                return match own_fits {
                    Some(own) => Ok(Resolution::OwnFile(own.entry.key())),
                    None => Err(no_match(request)),
                };
            }
            let mut holders = wanted.clone();
            if only.is_none() {
                holders.extend(under_other_names(context, &wanted, cancel)?);
            }
            let probed = probe(&context.peers, holders.clone(), cancel)?;
            probed.warn_if_too_many(&context.notices);
            let ProbeReport { live, silent, .. } = probed;
            if !live.is_empty() {
                let has_name = |holder: &LiveHolder| wanted.contains(&holder.provider);
                let (named, others): (Vec<_>, Vec<_>) = live.into_iter().partition(has_name);
                return choose_among_live(request, own_fits, (named, others), &holders, events);
            }
            // No holder answers, but the own copy is one of the requested contents.
            if let Some(own) =
                own_fits.filter(|own| wanted.iter().any(|one| one.entry.key() == own.entry.key()))
            {
                return Ok(Resolution::OwnFile(own.entry.key()));
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

/// Holders of the same contents under other names: more sources. If the name means many contents the result
/// is empty: each content would take a request to the tracker, and the running download searches again.
fn under_other_names(
    context: &Context,
    with_name: &[Provider],
    cancel: &Stop,
) -> Result<Vec<Provider>, CommandError> {
    let keys: BTreeSet<_> = with_name.iter().map(|one| one.entry.key()).collect();
    let mut others = Vec::new();
    if keys.len() <= limits::CONTENTS_LOOKED_UP_MAX {
        for key in keys {
            match search::providers(context, &Query::Content(key.id.into()), cancel) {
                Ok(holders) => others.extend(holders.into_iter().filter(|one| one.entry.key() == key)),
                Err(CommandError::Cancelled) => return Err(CommandError::Cancelled),
                // The download can begin with the holders that are known.
                Err(_) => {}
            }
        }
    }
    let is_known = |other: &Provider| {
        with_name.iter().any(|one| (one.endpoint, one.entry.key()) == (other.endpoint, other.entry.key()))
    };
    others.retain(|other| !is_known(other));
    Ok(others)
}

fn no_match(request: &DownloadRequest) -> DownloadError {
    let checksum = request.checksum.map(|checksum| checksum.to_string()).unwrap_or_default();
    DownloadError::Checksum { name: request.name.clone(), checksum }
}

/// Returns true if and only if `entry` claims the MD5, or has a content with the BLAKE3 prefix.
fn fits(checksum: Checksum, entry: &FileEntry) -> bool {
    match checksum {
        Checksum::Md5(md5) => entry.md5 == md5,
        Checksum::Content(prefix) => prefix.matches(&entry.content),
    }
}

/// The holders of the contents that the checksum names. An MD5 names every content for which any holder
/// claims it.
fn with_checksum(providers: Vec<Provider>, checksum: Option<Checksum>) -> Vec<Provider> {
    let Some(checksum) = checksum else { return providers };
    let keys: Vec<_> =
        providers.iter().filter(|one| fits(checksum, &one.entry)).map(|one| one.entry.key()).collect();
    providers.into_iter().filter(|one| keys.contains(&one.entry.key())).collect()
}

/// Groups the live holders by content, the content with most votes first, as `find` shows them.
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

/// Chooses among the contents of the live holders, with and without the name. Only holders that publish the
/// name decide what it means; the others are further sources.
fn choose_among_live(
    request: &DownloadRequest,
    own: Option<&SharedFile>,
    (mut named, mut others): (Vec<LiveHolder>, Vec<LiveHolder>),
    providers: &[Provider],
    events: &mut DownloadEvents<'_>,
) -> Result<Resolution, DownloadError> {
    // Of the holders with the name none answers: those under other names have the same contents.
    if named.is_empty() {
        std::mem::swap(&mut named, &mut others);
    }
    let mut resolution = choose(request, own, by_content(named, providers), events)?;
    if let Resolution::Contents(contents) = &mut resolution {
        for candidates in contents {
            let is_same = |other: &&LiveHolder| other.provider.entry.key() == candidates.key;
            candidates.live.extend(others.iter().filter(is_same).cloned());
        }
    }
    Ok(resolution)
}

/// Chooses the contents to try. If the own file has a chosen content, that file is the result.
fn choose(
    request: &DownloadRequest,
    own: Option<&SharedFile>,
    mut contents: Vec<ContentCandidates>,
    events: &mut DownloadEvents<'_>,
) -> Result<Resolution, DownloadError> {
    let own_key = own.map(|own| own.entry.key());
    let is_own = |key: ContentKey| own_key == Some(key);
    if let Some(Checksum::Md5(_)) = request.checksum {
        // A claim of an MD5 may be false, so each content for which it is claimed is tried.
        return match contents.iter().find(|one| is_own(one.key)) {
            Some(own) => Ok(Resolution::OwnFile(own.key)),
            None => Ok(Resolution::Contents(contents)),
        };
    }
    let chosen = match search::choice(contents.iter().map(|one| (one.key, one.live.as_slice()))) {
        Choice::One(key) => key,
        Choice::Majority { key, holders, others } => {
            events.publish(|reporter, _| reporter.chose(key, holders, others));
            key
        }
        // The user has one of these contents under the name already.
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
        return Ok(Resolution::OwnFile(chosen));
    }
    contents.retain(|one| one.key == chosen);
    Ok(Resolution::Contents(contents))
}

/// The contents that the user can choose from.
fn variants(contents: &[ContentCandidates]) -> Vec<Variant> {
    let variant = |one: &ContentCandidates| {
        let md5 = one.live.first().map(|holder| holder.provider.entry.md5)?;
        Some(Variant { key: one.key, md5, live_full_holders: search::full_holders(&one.live) })
    };
    contents.iter().filter_map(variant).collect()
}
