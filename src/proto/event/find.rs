//! Rows of a search: holders of a content.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::types::{ContentId, FileEntry, FileName, Geometry, Holding, LatencyOrigin, Md5Digest, Millis};

/// A live holder of a content, as `find` and `sources` show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventHolder {
    /// Name under which it publishes the content.
    pub name: FileName,
    /// Address that it serves at.
    pub addr: SocketAddr,
    /// Size of the content.
    pub size_bytes: u64,
    /// MD5 of the whole file, as the holder publishes it.
    pub md5: Md5Digest,
    /// BLAKE3 of the whole file.
    pub b3: ContentId,
    /// How much of the content it has.
    pub state: HolderState,
    /// Pieces that it has: fewer than `total_pieces` for a partial file.
    pub have_pieces: u32,
    /// Pieces of the content.
    pub total_pieces: u32,
    /// Latency from this node. This field and the next three are `null` where they are not known, and for
    /// this node itself.
    pub latency_ms: Option<Millis>,
    /// Where the latency comes from.
    pub latency_from: Option<LatencyOrigin>,
    /// Number of transfers that it takes part in.
    pub load: Option<u32>,
    /// latency + weight of the load * load; the least score is the best.
    pub score_ms: Option<Millis>,
    /// True if and only if `download` would begin with this holder.
    pub chosen: bool,
}

impl EventHolder {
    /// A holder of which only the catalog entry and the address are known: no latency, load or score.
    pub fn of(entry: &FileEntry, addr: SocketAddr) -> EventHolder {
        let total_pieces = Geometry::of(entry.size_bytes).count().unwrap_or(u32::MAX);
        let (state, have_pieces) = match entry.holding {
            Holding::Full => (HolderState::Full, total_pieces),
            Holding::Pieces(have) => (HolderState::Part, have),
        };
        EventHolder {
            name: entry.name.clone(),
            addr,
            size_bytes: entry.size_bytes,
            md5: entry.md5,
            b3: entry.content,
            state,
            have_pieces,
            total_pieces,
            latency_ms: None,
            latency_from: None,
            load: None,
            score_ms: None,
            chosen: false,
        }
    }
}

/// How much of a content a holder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderState {
    /// All pieces.
    Full,
    /// Some pieces.
    Part,
    /// All pieces; the holder is this node itself.
    Own,
}
