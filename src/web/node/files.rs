//! Serves the node's own files by HTTP, whole or in ranges, and metalinks. Validators let a downloader resume
//! a file that has not changed.

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
use crate::web::service::response::{Answer, FileReply, Problem, Reply, ResponseBody, file_head};
use crate::web::view::metalink;
use crate::web::view::sources::file_link;

/// The name in `/files/NAME`, or in `/download/NAME` as older systems use it.
pub(super) fn name_of(path: &str) -> Option<&str> {
    path.strip_prefix("/files/").or_else(|| path.strip_prefix("/download/"))
}

impl ResponseBody for UploadGuard {
    fn is_unchanged(&self) -> bool {
        UploadGuard::is_unchanged(self)
    }

    fn record_sent(&mut self, bytes: u64) {
        UploadGuard::record_sent(self, bytes);
    }
}

impl NodeView {
    /// The reply with the file called `name`. This may wait for a disk, so it runs on a file front.
    pub(super) fn file(&self, name: &str, request: &Request, addrs: ConnAddrs) -> Reply {
        let opened = FileName::new(name)
            .map_err(|_| PeerRefusal::NotShared)
            .and_then(|name| self.shared_files.open(&name));
        let open = match opened {
            Ok(open) => open,
            Err(refusal) => return Reply::Now(refusal_problem(&refusal).json()),
        };
        let entry = Arc::clone(open.entry());
        let etag = format!("\"{}\"", entry.content);
        let validators = Validators { etag, modified: Some(HttpDate::from_ns(entry.mtime_ns)) };
        let (head, size) = (head_of(&entry, &validators), entry.size_bytes);
        match select(request, size, &validators) {
            Selection::Whole => file_reply(head, open, 0..size, addrs),
            Selection::Part(range) => {
                let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                let head = head.with_status(206).with("Content-Range", header_value(content_range));
                file_reply(head, open, range, addrs)
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
                answer.head = answer.head.with("Content-Range", header_value(format!("bytes */{size}")));
                Reply::Now(answer)
            }
        }
    }
}

fn file_reply(head: Head, open: OpenSharedFile, range: std::ops::Range<u64>, addrs: ConnAddrs) -> Reply {
    let file = Arc::clone(&open.file);
    let transfer = Box::new(open.begin(addrs.peer.ip()));
    Reply::File(FileReply { head, file, range, transfer })
}

fn head_of(entry: &FileEntry, validators: &Validators) -> Head {
    let modified = validators.modified.unwrap_or(HttpDate::from_seconds(0));
    file_head(200)
        .with("Content-Type", "application/octet-stream")
        .with("Content-Disposition", content_disposition(entry.name.as_str()))
        .with("Accept-Ranges", "bytes")
        .with("ETag", header_value(validators.etag.clone()))
        .with("Last-Modified", modified)
        .with("Cache-Control", "no-cache")
}

/// The header value of a text that has only ASCII letters, digits and punctuation.
fn header_value(text: String) -> HeaderValue {
    HeaderValue::new(text).expect("a text without control characters is a header value")
}

fn refusal_problem(refusal: &PeerRefusal) -> Problem {
    match refusal {
        PeerRefusal::Changed => Problem::new(
            409,
            ErrorCode::Digest,
            "the file has changed since the node published it, and the node reads it again",
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
        let wanted = match metalink::read_request(request) {
            Ok(wanted) => wanted,
            Err(problem) => return Reply::Now(problem.json()),
        };
        self.on_worker(move |view| {
            let answer = view.find_contents(&wanted.query()).and_then(|mut contents| {
                for row in contents.iter_mut().flat_map(|content| &mut content.rows) {
                    // A downloader needs a whole URL. The address is the one at which it reached this node.
                    if row.is_own() {
                        row.link = Some(file_link(addrs.local, &row.holder.name));
                    }
                }
                metalink::answer(&wanted, &contents, |key| view.shared_files.manifest(key))
            });
            answer.unwrap_or_else(|problem| problem.json())
        })
    }
}
