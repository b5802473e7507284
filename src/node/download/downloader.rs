//! Attempts of one download: which contents are tried, in which order, and how often.

use std::sync::Arc;

use super::content::ContentDownload;
use super::error::Failed;
use super::file::target::Target;
use super::progress::DownloadEvents;
use super::resolve::{self, ContentCandidates};
use super::slots::DownloadSlots;
use super::task::DownloadTask;
use crate::node::context::Context;
use crate::node::error::DownloadError;
use crate::node::report::{DownloadRequest, Downloaded, Outcome};
use crate::proto::event::DownloadEvent;
use crate::rt::Stop;
use crate::store::{Share, ShareFolders};
use crate::types::{ContentKey, FileOrigin, ReplicaTask};

/// Runs the downloads of one node.
#[derive(Debug)]
pub(crate) struct Downloader {
    context: Arc<Context>,
    /// `None`: this node has no directory and downloads nothing.
    folders: Option<Arc<ShareFolders>>,
    slots: DownloadSlots,
}

impl Downloader {
    pub(crate) fn new(context: Arc<Context>, folders: Option<Arc<ShareFolders>>) -> Downloader {
        Downloader { context, folders, slots: DownloadSlots::default() }
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The directory where downloads are placed, if there is one.
    pub(crate) fn downloads_folder(&self) -> Option<Arc<Share>> {
        self.folders.as_ref().map(|folders| folders.downloads())
    }

    /// Runs a download to its end. If the name comes to mean another content meanwhile the download begins
    /// again, as often as rounds are repeated.
    pub(crate) fn download(
        &self,
        request: &DownloadRequest,
        cancel: &Stop,
        publish: &mut dyn FnMut(DownloadEvent),
    ) -> Result<Downloaded, DownloadError> {
        let events = &mut DownloadEvents::new(&request.name, publish);
        let task = self.task(request, FileOrigin::Downloaded, None, cancel)?;
        for _ in 0..self.context.peers.retries {
            match attempt(&task, events) {
                Err(Failed::Replaced(_)) => {
                    let text =
                        format!("`{}` has other content at its holders now: beginning anew", request.name);
                    self.context.notices.warn(text);
                }
                Err(Failed::For(error)) => return Err(error),
                Ok(downloaded) => return Ok(downloaded),
            }
        }
        attempt(&task, events).map_err(Failed::into_error)
    }

    /// Resumes a download of `content` that was interrupted. Its partial file stays to be resumed if it fails
    /// for want of sources or space.
    pub(crate) fn resume(
        &self,
        request: &DownloadRequest,
        content: ContentKey,
        cancel: &Stop,
        publish: &mut dyn FnMut(DownloadEvent),
    ) -> Result<Downloaded, DownloadError> {
        let events = &mut DownloadEvents::new(&request.name, publish);
        let task = self.task(request, FileOrigin::Downloaded, Some(content), cancel)?;
        attempt(&task, events).map_err(Failed::into_error)
    }

    /// Fetches a replica, in one attempt. The tracker assigns it again if the attempt fails; what was fetched
    /// stays until then.
    pub(crate) fn keep_replica(
        &self,
        replica: &ReplicaTask,
        cancel: &Stop,
    ) -> Result<Outcome, DownloadError> {
        let name = replica.name.clone();
        let request = DownloadRequest { name, checksum: None, verify_whole: false, force: false };
        let task = self.task(&request, FileOrigin::Replicated, Some(replica.content), cancel)?;
        attempt(&task, &mut DownloadEvents::new(&request.name, &mut |_| {}))
            .map(|done| done.outcome)
            .map_err(Failed::into_error)
    }

    fn task<'a>(
        &'a self,
        request: &'a DownloadRequest,
        kind: FileOrigin,
        only: Option<ContentKey>,
        cancel: &'a Stop,
    ) -> Result<DownloadTask<'a>, DownloadError> {
        let Downloader { context, folders, slots } = self;
        let folders = folders.as_ref().ok_or(DownloadError::NoDirectory)?;
        Ok(DownloadTask { context, folders, slots, request, kind, only, cancel })
    }
}

fn attempt(task: &DownloadTask<'_>, events: &mut DownloadEvents<'_>) -> Result<Downloaded, Failed> {
    let &DownloadTask { context, folders, request, cancel, .. } = task;
    let target = Target::of(folders, task.kind, &request.name)?;
    let own = target.own(context, cancel)?;
    let contents = match ContentCandidates::find(context, request, task.only, own.as_deref(), cancel, events)?
    {
        resolve::SearchOutcome::AlreadyHere(key) => {
            if let Some(replica) = own.filter(|own| !target.is_in_place(own)) {
                target.take_over(context, &replica)?;
            }
            return Ok(Downloaded { name: request.name.clone(), key, outcome: Outcome::AlreadyHere });
        }
        resolve::SearchOutcome::Contents(contents) => contents,
    };
    target.refuse_to_overwrite(request.force)?;
    let mut failed = None;
    for candidates in contents {
        let key = candidates.key;
        match ContentDownload::new(task, &target, &candidates).run(events) {
            Ok(Some(outcome)) => return Ok(Downloaded { name: request.name.clone(), key, outcome }),
            Ok(None) => {}
            // The holders of another content that claims the same MD5 may succeed.
            Err(error @ Failed::For(DownloadError::AllFailed { .. })) => failed = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let checksum =
        request.checksum.map_or_else(|| "the md5 published for it".into(), |checksum| checksum.to_string());
    Err(DownloadError::Checksum { name: request.name.clone(), checksum }.into())
}
