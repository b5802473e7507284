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
    /// The origin that it is published with.
    pub(crate) origin: FileOrigin,
    /// The name that it is published with.
    pub(crate) name: &'a FileName,
    pub(crate) content: ContentKey,
    pub(crate) placed: Placed,
    pub(crate) fetched: &'a FetchedContent,
    /// The MD5 of the whole file, if this node has computed it.
    pub(crate) md5: Option<Md5Digest>,
    /// The MD5s that holders publish for the content.
    pub(crate) claims: &'a [Claim],
}

impl NewFile<'_> {
    /// Puts the file into the catalog and waits, for a limited time, until the tracker knows it.
    pub(crate) fn publish(self, context: &Context, cancel: &Stop) {
        if self.add_to_catalog(context, cancel).is_err() {
            // The node stops, or the caller cancelled while the file was hashed. The next scan finds the
            // file.
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
            // Without a right manifest the node cannot serve the file, so the indexer hashes the file first.
            None => context.indexer.checked_file(self.name, cancel).map(drop),
        }
    }

    /// The file as the catalog has it. `None` if the file must be hashed first: the manifest contains a wrong
    /// MD5, or no MD5 of the whole file is known.
    fn shared_file(&self) -> Option<SharedFile> {
        let first_source = self.fetched.sources.first();
        let of_first_source = self.claims.iter().find(|claim| Some(&claim.endpoint) == first_source);
        let claim = of_first_source.or(self.claims.first());
        let md5 = self.md5.or(claim.map(|claim| claim.md5))?;
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
            attributes: FileEntry::attributes_of(self.origin == FileOrigin::Replicated),
        };
        // A partial holder passes on the claim of another node: a false one is not its fault.
        let to_blame = self.claims.iter().filter(|claim| !claim.is_passed_on);
        Some(SharedFile {
            entry: Arc::new(entry),
            origin: self.origin,
            manifest,
            stamp: self.placed.stamp,
            racy: false,
            claimants: to_blame.map(|claim| (claim.endpoint, claim.md5)).collect(),
        })
    }
}
