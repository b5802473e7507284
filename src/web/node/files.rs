//! Serves the node's own files by HTTP, whole or in ranges, with validators so that a downloader can resume,
//! and as metalinks.

use std::sync::Arc;

use super::context::{NodeSite, NodeView};
use crate::node::{OpenSharedFile, UploadGuard};
use crate::proto::event::ErrorCode;
use crate::proto::http::{
    Head, HeaderValue, HttpDate, Request, Selection, Validators, content_disposition, select,
};
use crate::proto::peer::PeerRefusal;
use crate::types::{FileEntry, FileName};
use crate::web::service::access::ConnAddrs;
use crate::web::service::response::{Answer, Problem, Reply, ResponseBody, Sending, file_head};
use crate::web::view::metalink;
use crate::web::view::sources::file_link;

/// The name in `/files/NAME`, or in `/download/NAME` as older systems use it.
pub(super) fn name_of(path: &str) -> Option<&str> {
    path.strip_prefix("/files/").or_else(|| path.strip_prefix("/download/"))
}

impl ResponseBody for UploadGuard {
    fn is_good(&self) -> bool {
        self.is_unchanged()
    }

    fn sent(&mut self, bytes: u64) {
        UploadGuard::record_sent(self, bytes);
    }
}

impl NodeView {
    /// Answers for the file called `name`. It may wait for a disk.
    pub(super) fn file(&self, name: &str, request: &Request, addrs: ConnAddrs) -> Reply {
        let opened = FileName::new(name)
            .map_err(|_| PeerRefusal::NotShared)
            .and_then(|name| self.shared_files.open(&name));
        let open = match opened {
            Ok(open) => open,
            Err(refusal) => return Reply::Now(refused(&refusal).json()),
        };
        let entry = Arc::clone(open.entry());
        let etag = format!("\"{}\"", entry.content);
        let validators = Validators { etag, modified: Some(HttpDate::from_ns(entry.mtime_ns)) };
        let (head, size) = (head_of(&entry, &validators), entry.size_bytes);
        match select(request, size, &validators) {
            Selection::Whole => sending(head, open, 0..size, addrs),
            Selection::Part(range) => {
                let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                let head = head.with_status(206).with("Content-Range", visible(content_range));
                sending(head, open, range, addrs)
            }
            Selection::NotModified => Reply::Now(Answer { head: head.with_status(304), body: b"".into() }),
            Selection::PreconditionFailed => {
                let problem = Problem::new(
                    412,
                    ErrorCode::Digest,
                    "the file is not the one that is meant",
                    "ask without a condition",
                );
                Reply::Now(problem.json())
            }
            Selection::Unsatisfiable => {
                let problem =
                    Problem::new(416, ErrorCode::Usage, "the file has no such bytes", "ask within its size");
                let mut answer = problem.json();
                answer.head = answer.head.with("Content-Range", visible(format!("bytes */{size}")));
                Reply::Now(answer)
            }
        }
    }
}

fn sending(head: Head, open: OpenSharedFile, range: std::ops::Range<u64>, addrs: ConnAddrs) -> Reply {
    let file = Arc::clone(&open.file);
    let transfer = Box::new(open.begin(addrs.peer.ip()));
    Reply::File(Sending { head, file, range, transfer })
}

fn head_of(entry: &FileEntry, validators: &Validators) -> Head {
    let modified = validators.modified.unwrap_or(HttpDate::from_seconds(0));
    file_head(200)
        .with("Content-Type", "application/octet-stream")
        .with("Content-Disposition", content_disposition(entry.name.as_str()))
        .with("Accept-Ranges", "bytes")
        .with("ETag", visible(validators.etag.clone()))
        .with("Last-Modified", modified)
        .with("Cache-Control", "no-cache")
}

/// A text of digits and punctuation is a valid header value.
fn visible(text: String) -> HeaderValue {
    HeaderValue::new(text).expect("numbers, hex digits and ASCII words")
}

fn refused(refusal: &PeerRefusal) -> Problem {
    match refusal {
        PeerRefusal::Changed => Problem::new(
            409,
            ErrorCode::Digest,
            "the file is not as it was published, and is being looked at",
            "try again in a moment",
        ),
        PeerRefusal::Busy => Problem::busy(),
        PeerRefusal::Unreadable(_) => {
            Problem::new(503, ErrorCode::LocalIo, "the file cannot be read", "try another source")
        }
        _ => Problem::new(
            404,
            ErrorCode::NotFound,
            "there is no such file here",
            "GET /api/v1/files lists what there is",
        ),
    }
}

impl NodeSite {
    /// The metalink of a file of the swarm. Its sources have the order in which this node ranks them; this
    /// node comes last.
    pub(super) fn metalink(&self, request: &Request, addrs: ConnAddrs) -> Reply {
        let wanted = match metalink::wanted(request) {
            Ok(wanted) => wanted,
            Err(problem) => return Reply::Now(problem.json()),
        };
        self.later(move |view| {
            let found = view.found(&wanted.query()).and_then(|mut contents| {
                for row in contents.iter_mut().flat_map(|content| &mut content.rows) {
                    if row.is_own() {
                        row.link = Some(file_link(addrs.local, &row.holder.name));
                    }
                }
                metalink::answer(&wanted, &contents, |key| view.shared_files.manifest(key))
            });
            found.unwrap_or_else(|problem| problem.json())
        })
    }
}
