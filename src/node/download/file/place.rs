//! Publishes a file that a download has placed.

use std::sync::Arc;

use crate::node::context::Context;
use crate::node::download::check::Claim;
use crate::node::error::CommandError;
use crate::node::index::catalog::SharedFile;
use crate::rt::{Stop, clock};
use crate::store::Placed;
use crate::transfer::FetchedContent;
use crate::types::{
    ContentKey, FileEntry, FileName, FileOrigin, Holding, Manifest, Md5Digest, Md5Origin, limits,
};

/// A file in place that is to be published.
#[derive(Debug)]
pub(crate) struct NewFile<'a> {
    pub(crate) kind: FileOrigin,
    /// The published name.
    pub(crate) name: &'a FileName,
    pub(crate) content: ContentKey,
    pub(crate) placed: Placed,
    pub(crate) fetched: &'a FetchedContent,
    /// The MD5 of the whole file, if it was computed here.
    pub(crate) md5: Option<Md5Digest>,
    pub(crate) claims: &'a [Claim],
}

impl NewFile<'_> {
    /// Puts the file into the catalog and waits, for a limited time, until the tracker knows it.
    pub(crate) fn publish(self, context: &Context, cancel: &Stop) {
        if self.add_to_catalog(context, cancel).is_err() {
            // The node stops, or the file has to be hashed first. The next scan finds it.
            return;
        }
        let deadline = clock::now() + limits::ms(limits::OFFER_WAIT_MS);
        if let Err(error) = context.tracker.publish_now(deadline, cancel) {
            context.notices.warn(format!("`{}` is here and not yet offered to others: {error}", self.name));
        }
    }

    fn add_to_catalog(&self, context: &Context, cancel: &Stop) -> Result<(), CommandError> {
        match self.shared_file() {
            Some(file) => context.indexer.add_placed(file),
            // Without a true manifest the file cannot be served before it is hashed.
            None => context.indexer.checked_file(self.name, cancel).map(drop),
        }
    }

    /// The catalog's entry. `None` if that takes hashing the file: its manifest was false, or no MD5 is
    /// known.
    fn shared_file(&self) -> Option<SharedFile> {
        let first = self.fetched.sources.first();
        let claims = || self.claims.iter();
        let claimed = claims().find(|claim| Some(&claim.endpoint) == first).or(self.claims.first());
        let md5 = self.md5.or(claimed.map(|claim| claim.md5))?;
        let manifest = match &self.fetched.manifest {
            Some(manifest) => Arc::clone(manifest),
            None => Arc::new(Manifest::of_single(self.content, md5)?),
        };
        let entry = FileEntry {
            name: self.name.clone(),
            size_bytes: self.content.size_bytes,
            mtime_ns: self.placed.stamp.mtime_ns,
            content: self.content.id,
            md5,
            md5_origin: if self.md5.is_some() { Md5Origin::Computed } else { Md5Origin::Claimed },
            holding: Holding::Full,
            attributes: FileEntry::attributes_of(self.kind == FileOrigin::Replicated),
        };
        let own_claims = claims().filter(|claim| !claim.is_passed_on);
        Some(SharedFile {
            entry: Arc::new(entry),
            kind: self.kind,
            manifest,
            stamp: self.placed.stamp,
            racy: false,
            claimants: own_claims.map(|claim| (claim.endpoint, claim.md5)).collect(),
        })
    }
}
