//! The service of a web front: it admits and answers requests, and updates streams of events.
//!
//! The front itself answers from memory. If an answer takes time, a worker makes it while the front holds the
//! connection: so answers come in order and no front waits. A connection that requests a file moves to a file
//! front and stays there: so no page waits for a slow disk. A connection sends one file at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use super::access::{AccessControl, ConnAddrs};
use super::event_id::EventId;
use super::response::{Answer, FileReply, Problem, Reply, ResponseBody, date_now, stream_head};
use crate::net::{Closed, ConnId, DetachedConn, NextRead, Service};
use crate::proto::event::{Event, Record};
use crate::proto::http::{Framing, Manner, Request, RequestDecoder, RequestError, Version, chunk};
use crate::rt::{EventBroadcast, Pool, Post, Stop, clock};
use crate::types::limits;

/// Maximum size of one part of a file. Between two parts the service checks that the file is unchanged.
const PART_BYTES: u64 = 4 << 20;
/// The size of the last part of a file, unless the file is shorter. If the file changes before its last part,
/// the answer ends too early, and the client notices that.
const LAST_PART_BYTES: u64 = 256 << 10;

type WebActions = crate::net::ConnActions<Session, RequestDecoder>;

/// The pages and the interface of a program.
pub(crate) trait Site: Send + Sync + 'static {
    /// Answers a request. Never waits, except for the disk of a file: work that must wait is returned as
    /// [`Reply::OnWorker`], and files are requested on a file front.
    fn answer(&self, request: &Request, addrs: ConnAddrs, access: &AccessControl) -> Reply;

    /// Returns true if and only if the answer is a file.
    fn is_file(&self, request: &Request) -> bool;

    /// The events that streams deliver.
    fn feed(&self) -> &EventBroadcast;

    /// The present figures of the program, such as the number of files, for streams.
    fn figures(&self) -> Vec<Event>;

    /// The server calls this every few seconds.
    fn tick(&self) {}
}

/// A message in the mailbox of a front.
pub(crate) enum FrontMessage {
    /// A connection from another front, with the request that caused the move.
    Moved { parts: Box<DetachedConn<RequestDecoder>>, session: Box<Session>, request: Box<Request> },
    /// A worker, or the thread for changes, has made an answer.
    Done { conn: ConnId, manner: Manner, answer: Answer },
    /// The present figures. The front sends them, and all new events, to its streams.
    News(Arc<str>),
}

/// The state of a connection.
pub(crate) struct Session {
    addrs: ConnAddrs,
    /// Number of requests on this connection.
    requests: u32,
    /// How to write the answer to the held request.
    manner: Manner,
    activity: Activity,
}

/// A stream of events.
pub(crate) struct Stream {
    /// How to write to the client of the stream.
    manner: Manner,
    /// The number of the last event that was sent.
    seen: u64,
}

/// What a connection sends over several turns of its front.
enum Activity {
    Idle,
    /// The connection is a stream of events.
    Stream,
    /// The front sends a part of a file. It sends `left` afterwards if the file is unchanged.
    File {
        transfer: Box<dyn ResponseBody>,
        file: Arc<File>,
        left: Range<u64>,
    },
}

/// The service of one front.
pub(crate) struct HttpService<S> {
    pub(crate) site: Arc<S>,
    pub(crate) access: Arc<AccessControl>,
    pub(crate) workers: Pool,
    /// The thread for changes: a change does not wait for workers that ask peers.
    pub(crate) changer: Pool,
    /// The mailbox of this front.
    pub(crate) post: Post<FrontMessage>,
    /// The mailboxes of the file fronts. Empty: this front sends files itself.
    pub(crate) file_fronts: Vec<Post<FrontMessage>>,
    pub(crate) next_file_front: usize,
    pub(crate) streams: BTreeMap<ConnId, Stream>,
    pub(crate) stop: Stop,
}

impl<S: Site> HttpService<S> {
    fn reply(
        &mut self,
        id: ConnId,
        session: &mut Session,
        reply: Reply,
        actions: &mut WebActions,
    ) -> NextRead {
        match reply {
            Reply::Now(answer) => send(id, session.manner, &answer, actions),
            Reply::OnWorker(make) => {
                let task = self.answer_task(id, session.manner, make);
                run_and_hold(&self.workers, id, session.manner, task, actions)
            }
            Reply::OnChangeThread(make) => {
                let task = self.answer_task(id, session.manner, make);
                run_and_hold(&self.changer, id, session.manner, task, actions)
            }
            Reply::Events { after } => self.open_stream(id, session, after, actions),
            Reply::File(FileReply { head, file, range, transfer }) => {
                let bytes = range.end - range.start;
                actions.send(id, head.write(session.manner, Framing::Length(bytes), date_now()));
                if session.manner.is_head {
                    return next_read(session.manner);
                }
                session.activity = send_part(id, transfer, file, range, actions);
                NextRead::Hold
            }
        }
    }

    /// Returns a task that makes an answer with `make` and sends it to this front.
    fn answer_task(
        &self,
        id: ConnId,
        manner: Manner,
        make: Box<dyn FnOnce() -> Answer + Send>,
    ) -> impl FnOnce() + Send + 'static {
        let (post, stop) = (self.post.clone(), self.stop.clone());
        move || {
            let mut message = FrontMessage::Done { conn: id, manner, answer: make() };
            // The front must get the answer, or the connection would wait forever. A full mailbox has room
            // again soon, because the front reads it.
            while let Err(unsent) = post.send(message) {
                message = unsent;
                if stop.wait_until(clock::now() + limits::ms(1)) {
                    return;
                }
            }
        }
    }

    /// Opens a stream of the events after `after_event`, or of events from now on.
    fn open_stream(
        &mut self,
        id: ConnId,
        session: &mut Session,
        after: Option<EventId>,
        actions: &mut WebActions,
    ) -> NextRead {
        if session.manner.is_head {
            actions.send(id, stream_head().write(session.manner, Framing::Stream, date_now()));
            return next_read(session.manner);
        }
        if self.streams.len() >= limits::HTTP_STREAMS_MAX {
            return send(id, session.manner, &Problem::busy().json(), actions);
        }
        // The stream ends with the connection.
        session.manner.keep_alive = false;
        actions.send(id, stream_head().write(session.manner, Framing::Stream, date_now()));
        let feed = self.site.feed();
        let seen = after.map_or(feed.last(), |id| id.number_in(feed.run(), feed.last()));
        let mut stream = Stream { manner: session.manner, seen };
        let figures = figures_text(&*self.site);
        let first = stream.catch_up(self.site.feed()) + &figures;
        actions.send(id, stream_bytes(session.manner, first.as_bytes()));
        self.streams.insert(id, stream);
        session.activity = Activity::Stream;
        NextRead::Hold
    }

    fn move_to_file_front(
        &mut self,
        id: ConnId,
        session: &Session,
        request: &Request,
        actions: &mut WebActions,
    ) {
        let front = self.file_fronts[self.next_file_front].clone();
        self.next_file_front = (self.next_file_front + 1) % self.file_fronts.len();
        // The file front will count this request again.
        let session = Session { activity: Activity::Idle, requests: session.requests - 1, ..*session };
        let (session, request) = (Box::new(session), Box::new(request.clone()));
        // A full mailbox drops the connection: the server is overloaded.
        actions.hand_over(id, move |parts| {
            drop(front.send(FrontMessage::Moved { parts: Box::new(parts), session, request }));
        });
    }
}

impl<S: Site> Service for HttpService<S> {
    type Session = Session;
    type Event = FrontMessage;
    type Decoder = RequestDecoder;

    fn accepted(&mut self, peer: SocketAddr, local: SocketAddr) -> Session {
        let addrs = ConnAddrs { peer, local };
        Session { addrs, requests: 0, manner: Manner::LAST, activity: Activity::Idle }
    }

    fn message(
        &mut self,
        id: ConnId,
        session: &mut Session,
        request: &Request,
        actions: &mut WebActions,
    ) -> NextRead {
        session.requests += 1;
        session.manner = request.manner;
        session.manner.keep_alive &= session.requests < limits::HTTP_REQUESTS_MAX;
        if let Err(refusal) = self.access.admit(request, session.addrs, clock::now()) {
            return send(id, session.manner, &Problem::from(refusal).json(), actions);
        }
        if !self.file_fronts.is_empty() && self.site.is_file(request) {
            self.move_to_file_front(id, session, request, actions);
            return NextRead::Next;
        }
        let reply = self.site.answer(request, session.addrs, &self.access);
        self.reply(id, session, reply, actions)
    }

    fn malformed_reply(&mut self, error: &RequestError) -> Option<Vec<u8>> {
        Some(Problem::from(error).json().write(Manner::LAST))
    }

    fn event(&mut self, message: FrontMessage, actions: &mut WebActions) {
        match message {
            FrontMessage::Moved { parts, session, request } => actions.adopt(*parts, *session, *request),
            FrontMessage::Done { conn, manner, answer } => {
                if send(conn, manner, &answer, actions) == NextRead::Close {
                    actions.close(conn);
                }
                actions.release(conn);
            }
            FrontMessage::News(figures) => {
                let feed = self.site.feed();
                for (id, stream) in &mut self.streams {
                    let text = stream.catch_up(feed) + &figures;
                    actions.send(*id, stream_bytes(stream.manner, text.as_bytes()));
                }
            }
        }
    }

    fn file_sent(&mut self, session: &mut Session, bytes: u64) {
        if let Activity::File { transfer, .. } = &mut session.activity {
            transfer.record_sent(bytes);
        }
    }

    fn sent(&mut self, id: ConnId, session: &mut Session, _tag: u64, actions: &mut WebActions) {
        let mut is_whole = true;
        if let Activity::File { transfer, file, left } =
            std::mem::replace(&mut session.activity, Activity::Idle)
        {
            is_whole = transfer.is_unchanged();
            if is_whole && !left.is_empty() {
                session.activity = send_part(id, transfer, file, left, actions);
                return;
            }
        }
        if !(session.manner.keep_alive && is_whole) {
            actions.close(id);
        }
        actions.release(id);
    }

    fn closed(&mut self, id: ConnId, session: Session, _why: &Closed, _actions: &mut WebActions) {
        if matches!(session.activity, Activity::Stream) {
            self.streams.remove(&id);
        }
    }
}

/// Sends the first part of `range`. The service sends the other parts, each after the one before.
fn send_part(
    id: ConnId,
    transfer: Box<dyn ResponseBody>,
    file: Arc<File>,
    range: Range<u64>,
    actions: &mut WebActions,
) -> Activity {
    let left = range.start + part_bytes(range.end - range.start)..range.end;
    actions.send_file(id, Arc::clone(&file), range.start..left.start, 0);
    Activity::File { transfer, file, left }
}

/// The size of the next part when `bytes` are left.
fn part_bytes(bytes: u64) -> u64 {
    if bytes <= LAST_PART_BYTES { bytes } else { PART_BYTES.min(bytes - LAST_PART_BYTES) }
}

/// Runs `task` on `pool`, and holds the connection until the answer comes through the mailbox.
fn run_and_hold(
    pool: &Pool,
    id: ConnId,
    manner: Manner,
    task: impl FnOnce() + Send + 'static,
    actions: &mut WebActions,
) -> NextRead {
    if pool.try_run(task).is_err() {
        return send(id, manner, &Problem::busy().json(), actions);
    }
    NextRead::Hold
}

fn send(id: ConnId, manner: Manner, answer: &Answer, actions: &mut WebActions) -> NextRead {
    actions.send(id, answer.write(manner));
    next_read(manner)
}

/// What the front does with the connection after an answer.
fn next_read(manner: Manner) -> NextRead {
    if manner.keep_alive { NextRead::Next } else { NextRead::Close }
}

impl Stream {
    /// The text of the events since the last update. Each event has its number, so a client whose connection
    /// broke can continue after the last one.
    fn catch_up(&mut self, feed: &EventBroadcast) -> String {
        let since = feed.after(self.seen);
        let mut text = String::new();
        if since.missed > 0 {
            let missed = Event::Missed { count: since.missed }.at(clock::wall_ns());
            text.push_str(&event_text(None, &missed));
        }
        for (number, record) in since.items {
            text.push_str(&event_text(Some(EventId::new(feed.run(), number)), &record));
            self.seen = number;
        }
        text
    }
}

/// The present figures of `site`, as text of a stream.
pub(crate) fn figures_text(site: &impl Site) -> String {
    let now_ns = clock::wall_ns();
    site.figures().into_iter().map(|figure| event_text(None, &figure.at(now_ns))).collect()
}

fn event_text(id: Option<EventId>, record: &Record) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}data: {}\n\n", record.to_line())
}

/// The bytes of a text in a stream: HTTP/1.1 has chunks, and HTTP/1.0 only the end of the connection.
fn stream_bytes(manner: Manner, bytes: &[u8]) -> Vec<u8> {
    if manner.version == Version::Http11 { chunk(bytes) } else { bytes.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_checked_again_before_its_last_part() {
        for (bytes, parts) in [
            (0, vec![0]),
            (1, vec![1]),
            (LAST_PART_BYTES, vec![LAST_PART_BYTES]),
            (LAST_PART_BYTES + 1, vec![1, LAST_PART_BYTES]),
            (PART_BYTES, vec![PART_BYTES - LAST_PART_BYTES, LAST_PART_BYTES]),
            (2 * PART_BYTES + 7, vec![PART_BYTES, PART_BYTES - LAST_PART_BYTES + 7, LAST_PART_BYTES]),
        ] {
            let mut left = bytes;
            let next = |left: &mut u64| {
                let part = part_bytes(*left);
                *left -= part;
                part
            };
            let mut sent = vec![next(&mut left)];
            while left > 0 {
                sent.push(next(&mut left));
            }
            assert_eq!(sent, parts, "{bytes}");
        }
    }
}
