//! Gets the piece list of a content from one source, page by page, on a connection of its own: the one for pieces is moved by the
//! source to another thread, which has no lists. Pieces can thus arrive meanwhile.

use std::net::SocketAddr;

use super::peer::{Asker, Fault, silence_from};
use crate::proto::peer::{PeerReply, PeerRequest};
use crate::rt::{Stop, clock};
use crate::types::{Geometry, Manifest, PieceDigests};

/// Fetches the list and accepts it.
///
/// # Errors
/// Why the source is of no use; [`Fault::Manifest`] if its list is not that of the content.
pub(super) fn fetch(asker: &Asker, endpoint: SocketAddr, stop: &Stop) -> Result<Manifest, Fault> {
    let mut client = asker.connect(endpoint, stop)?;
    let expected = Geometry::of(asker.content.size_bytes).count().unwrap_or(u32::MAX) as usize;
    let mut pieces: Vec<PieceDigests> = Vec::new();
    while pieces.len() < expected {
        let first_piece = pieces.len() as u32;
        let asked_at = clock::now();
        let request = PeerRequest::Manifest { content: asker.content, first_piece };
        client.send(&request, silence_from(asked_at))?;
        let reply = client.receive(silence_from(asked_at))?;
        asker.hold_back(endpoint, asked_at, stop)?;
        match reply {
            PeerReply::Manifest { first_piece: first, pieces: page }
                if first == first_piece && !page.is_empty() =>
            {
                pieces.extend(page);
            }
            PeerReply::Refused(refusal) => return Err(Fault::Refused(refusal)),
            _ => return Err(Fault::Unfit("its answer is not the piece list that was asked for")),
        }
    }
    Manifest::accept(asker.content, pieces).map_err(Fault::Manifest)
}
