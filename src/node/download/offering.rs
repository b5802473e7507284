//! Offers the verified pieces of a download to others while it runs: from the first one on, until it is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::node::core;
use crate::node::engine::Engine;
use crate::store::{FileStamp, Partial};
use crate::types::{
    ContentKey, FileEntry, FileName, Geometry, Holding, Manifest, Md5Digest, Md5Origin, limits,
};

/// How often the number of pieces is published while it grows: as often as others ask which ones.
const PUBLISH_EVERY: Duration = Duration::from_millis(limits::SEARCH_AGAIN_MS);

/// What one download offers. Nothing is offered of a content of one piece.
#[derive(Debug)]
pub(super) struct Offering {
    engine: Arc<Engine>,
    name: FileName,
    content: ContentKey,
    state: State,
}

#[derive(Debug)]
enum State {
    NotYet,
    Open {
        published_at: Option<Instant>,
    },
    /// The piece list has proved false: whoever passes it on would be taken for the liar.
    Withdrawn,
}

impl Offering {
    pub(super) fn new(engine: &Arc<Engine>, name: &FileName, content: ContentKey) -> Offering {
        Offering { engine: Arc::clone(engine), name: name.clone(), content, state: State::NotYet }
    }

    /// A piece was verified and is written to `part`. `md5`: what its holders claim for the whole file.
    pub(super) fn add(
        &mut self,
        piece: u32,
        manifest: &Arc<Manifest>,
        part: &Partial,
        md5: Md5Digest,
        now: Instant,
    ) {
        let count = Geometry::of(self.content.size_bytes).count().unwrap_or(0);
        if count < 2 {
            return;
        }
        let published_at = match &mut self.state {
            State::Withdrawn => return,
            State::Open { published_at } => published_at,
            state @ State::NotYet => {
                self.engine.memory.partials.lock().begin(Arc::clone(manifest), part.file());
                *state = State::Open { published_at: None };
                let State::Open { published_at } = state else { return };
                published_at
            }
        };
        let has = self.engine.memory.partials.lock().add(&self.content, piece) as u32;
        // All pieces are a file, which is published once it is in place.
        if has < count && published_at.is_none_or(|at| now.saturating_duration_since(at) >= PUBLISH_EVERY) {
            *published_at = Some(now);
            let entry = FileEntry {
                name: self.name.clone(),
                size_bytes: self.content.size_bytes,
                mtime_ns: FileStamp::of(&part.file()).map_or(0, |stamp| stamp.mtime_ns),
                content: self.content.id,
                md5,
                md5_origin: Md5Origin::Claimed,
                holding: Holding::Pieces(has),
                attributes: Vec::new(),
            };
            let _core_has_ended = self.engine.core.send(core::Event::Partial(entry));
        }
    }

    /// Offers nothing of this download any more.
    pub(super) fn withdraw(&mut self) {
        if let State::Open { .. } = std::mem::replace(&mut self.state, State::Withdrawn) {
            self.engine.memory.partials.lock().end(&self.content);
            let _core_has_ended = self.engine.core.send(core::Event::PartialEnded(self.content));
        }
    }
}

impl Drop for Offering {
    fn drop(&mut self) {
        self.withdraw();
    }
}
