//! The whole-file MD5: which holder claims which, whether it is computed, and which claims are wrong.

use std::net::SocketAddr;

use crate::node::context::Context;
use crate::node::report::DownloadRequest;
use crate::transfer::FetchedContent;
use crate::types::{Checksum, FileName, Geometry, Holding, Md5Digest, Provider};

/// The MD5 of the whole file, as one holder publishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) endpoint: SocketAddr,
    pub(super) md5: Md5Digest,
    /// The holder is a partial one: it passes on what other holders claim, and cannot compute the MD5.
    pub(super) is_passed_on: bool,
}

/// The claims of these holders, each once.
pub(super) fn claims<'a>(providers: impl Iterator<Item = &'a Provider>) -> Vec<Claim> {
    let claim = |provider: &Provider| Claim {
        endpoint: provider.endpoint,
        md5: provider.entry.md5,
        is_passed_on: provider.entry.holding != Holding::Full,
    };
    let mut claims: Vec<_> = providers.map(claim).collect();
    claims.sort_unstable();
    claims.dedup();
    claims
}

/// True if the whole-file MD5 has to be computed: the user requests the check or a checksum, a piece MD5 was
/// not checked or was wrong, or the file is so small that it costs nothing.
pub(super) fn is_md5_needed(
    request: &DownloadRequest,
    fetched: &FetchedContent,
    geometry: &Geometry,
) -> bool {
    let is_small = geometry.count().is_some_and(|pieces| pieces <= 1);
    request.verify_whole || request.checksum.is_some() || !fetched.piece_md5s_hold || is_small
}

/// True if `md5` is the requested MD5, or any of the claimed ones where no MD5 is requested.
pub(super) fn is_right(request: &DownloadRequest, claims: &[Claim], md5: Md5Digest) -> bool {
    match request.checksum {
        Some(Checksum::Md5(requested)) => md5 == requested,
        _ => claims.iter().any(|claim| claim.md5 == md5),
    }
}

/// Warns of every full holder that claims another MD5 than the computed one.
pub(super) fn warn_of_false_claims(context: &Context, name: &FileName, claims: &[Claim], md5: Md5Digest) {
    for Claim { endpoint, md5: claimed, .. } in
        claims.iter().filter(|claim| claim.md5 != md5 && !claim.is_passed_on)
    {
        context.notices.warn(format!("`{name}` has md5 {md5}; {endpoint} falsely claims {claimed}"));
    }
}
