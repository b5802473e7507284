//! Runs the downloads of a node. One attempt tries the contents that a name may mean, one after the other.

use std::sync::Arc;

use super::content::ContentDownload;
use super::error::AttemptError;
use super::file::target::Target;
use super::progress::DownloadEvents;
use super::resolve::{ContentCandidates, Resolution};
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

    /// Runs a download to its end. If the name means another content meanwhile the download begins again, at
    /// most `retries` times.
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
                Err(AttemptError::Replaced(_)) => {
                    let text =
                        format!("`{}` has other content at its holders now: beginning again", request.name);
                    self.context.notices.warn(text);
                }
                Err(AttemptError::Final(error)) => return Err(error),
                Ok(downloaded) => return Ok(downloaded),
            }
        }
        // The last attempt: a further `Replaced` is an error.
        attempt(&task, events).map_err(AttemptError::into_error)
    }

    /// Resumes a download of `content` that was interrupted. If it fails because sources or space are
    /// missing, it can be resumed again.
    pub(crate) fn resume(
        &self,
        request: &DownloadRequest,
        content: ContentKey,
        cancel: &Stop,
        publish: &mut dyn FnMut(DownloadEvent),
    ) -> Result<Downloaded, DownloadError> {
        let events = &mut DownloadEvents::new(&request.name, publish);
        let task = self.task(request, FileOrigin::Downloaded, Some(content), cancel)?;
        attempt(&task, events).map_err(AttemptError::into_error)
    }

    /// Fetches a replica, in one attempt. If it fails the tracker assigns the replica again. The partial file
    /// stays for that, see [`disposition`](super::file::disposition::disposition).
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
            .map_err(AttemptError::into_error)
    }

    fn task<'a>(
        &'a self,
        request: &'a DownloadRequest,
        origin: FileOrigin,
        only: Option<ContentKey>,
        cancel: &'a Stop,
    ) -> Result<DownloadTask<'a>, DownloadError> {
        let Downloader { context, folders, slots } = self;
        let folders = folders.as_ref().ok_or(DownloadError::NoDirectory)?;
        Ok(DownloadTask { context, folders, slots, request, origin, only, cancel })
    }
}

fn attempt(task: &DownloadTask<'_>, events: &mut DownloadEvents<'_>) -> Result<Downloaded, AttemptError> {
    let &DownloadTask { context, folders, request, cancel, .. } = task;
    let target = Target::new(folders, task.origin, &request.name)?;
    let own = target.find_own_file(context, cancel)?;
    let contents = match ContentCandidates::find(context, request, task.only, own.as_deref(), cancel, events)?
    {
        Resolution::OwnFile(key) => {
            if let Some(replica) = own.filter(|own| !target.is_in_place(own)) {
                target.take_over(context, &replica)?;
            }
            return Ok(Downloaded { name: request.name.clone(), key, outcome: Outcome::AlreadyHere });
        }
        Resolution::Contents(contents) => contents,
    };
    target.refuse_to_overwrite(request.force)?;
    let mut sources_failed = None;
    for candidates in contents {
        let key = candidates.key;
        match ContentDownload::new(task, &target, &candidates).run(events) {
            Ok(Some(outcome)) => return Ok(Downloaded { name: request.name.clone(), key, outcome }),
            // Its MD5 is the wrong one: the next content may have the right one.
            Ok(None) => {}
            // The holders of another content that claims the same MD5 may succeed.
            Err(error @ AttemptError::Final(DownloadError::AllFailed { .. })) => sources_failed = Some(error),
            Err(error) => return Err(error),
        }
    }
    // Such a content could have had the right MD5, so `Checksum` would claim too much.
    if let Some(error) = sources_failed {
        return Err(error);
    }
    let checksum =
        request.checksum.map_or_else(|| "the md5 published for it".into(), |checksum| checksum.to_string());
    Err(DownloadError::Checksum { name: request.name.clone(), checksum }.into())
}
