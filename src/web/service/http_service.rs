//! The service of a web front: it admits requests, has them answered, and updates streams of events.
//!
//! The front answers from memory in place. A worker runs what takes time, while the connection is held; so
//! answers come in order and no front waits. A connection that requests a file moves to a file front, once
//! and for good; so no page waits behind a cold disk. A connection sends one file at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use super::access::{AccessControl, ConnAddrs};
use super::response::{Answer, Problem, Reply, ResponseBody, Sending, now, stream_head};
use crate::net::{Closed, ConnId, DetachedConn, NextRead, Service};
use crate::proto::event::{self, Record};
use crate::proto::http::{Framing, Manner, Request, RequestDecoder, RequestError, Version, chunk};
use crate::rt::{EventBroadcast, Pool, Post, Stop, clock};
use crate::types::limits;

/// The most bytes of one part of a file. Between two parts the service checks that the file is unchanged.
const PART_BYTES: u64 = 4 << 20;
/// The size of the last part of a file, unless the file is shorter. A change before the last part makes the
/// answer end short.
const LAST_PART_BYTES: u64 = 256 << 10;

type WebActions = crate::net::ConnActions<Session, RequestDecoder>;

/// The pages and the interface of a program.
pub(crate) trait Site: Send + Sync + 'static {
    /// Answers a request and never waits. Work that must wait is returned as [`Reply::Later`]. Files are
    /// requested on a file front.
    fn answer(&self, request: &Request, addrs: ConnAddrs, access: &AccessControl) -> Reply;

    /// Whether the answer is a file.
    fn is_file(&self, request: &Request) -> bool;

    /// The events that streams deliver.
    fn feed(&self) -> &EventBroadcast;

    /// The present figures, for streams.
    fn figures(&self) -> Vec<event::Event>;

    /// Runs every few seconds.
    fn tick(&self) {}
}

/// What comes through the mailbox of a front.
pub(crate) enum Event {
    /// A connection from another front, with the request that caused the move.
    Moved { parts: Box<DetachedConn<RequestDecoder>>, session: Box<Session>, request: Box<Request> },
    /// A worker has made an answer.
    Done { conn: ConnId, manner: Manner, answer: Answer },
    /// The present figures. They changed, or streams have had no update for a while.
    News(Arc<str>),
}

/// What a connection is doing.
pub(crate) struct Session {
    addrs: ConnAddrs,
    /// Number of requests on this connection.
    requests: u32,
    /// How to write the answer to the held request.
    manner: Manner,
    busy: Busy,
}

/// A stream of events.
pub(crate) struct Stream {
    /// How to write to the client of the stream.
    manner: Manner,
    /// The number of the last event that was sent.
    seen: u64,
}

enum Busy {
    Not,
    /// The connection is a stream of events.
    Stream,
    /// The front sends a part of a file. It sends `left` afterwards if the file is unchanged.
    File {
        transfer: Box<dyn ResponseBody>,
        file: Arc<File>,
        left: Range<u64>,
    },
}

pub(crate) struct HttpService<S> {
    pub(crate) site: Arc<S>,
    pub(crate) access: Arc<AccessControl>,
    pub(crate) workers: Pool,
    /// Runs changes. They do not wait behind questions to peers.
    pub(crate) changer: Pool,
    /// The mailbox of this front.
    pub(crate) post: Post<Event>,
    /// The mailboxes of the file fronts. Empty: this front sends files itself.
    pub(crate) file_fronts: Vec<Post<Event>>,
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
            Reply::Later(job) => {
                let work = self.work(id, session.manner, job);
                have_done(&self.workers, id, session.manner, work, actions)
            }
            Reply::Changed(job) => {
                let work = self.work(id, session.manner, job);
                have_done(&self.changer, id, session.manner, work, actions)
            }
            Reply::Events { after } => self.open_stream(id, session, after, actions),
            Reply::File(sending) => {
                let Sending { head, file, range, transfer } = sending;
                let bytes = range.end - range.start;
                actions.send(id, head.write(session.manner, Framing::Length(bytes), now()));
                if session.manner.is_head {
                    return after(session.manner);
                }
                session.busy = send_part(id, transfer, file, range, actions);
                NextRead::Hold
            }
        }
    }

    /// Returns a task that runs `job` and sends its answer to this front.
    fn work(
        &self,
        id: ConnId,
        manner: Manner,
        job: Box<dyn FnOnce() -> Answer + Send>,
    ) -> impl FnOnce() + Send + 'static {
        let (post, stop) = (self.post.clone(), self.stop.clone());
        move || {
            let mut event = Event::Done { conn: id, manner, answer: job() };
            // The mailbox is full for a moment at most, because the front empties it. The front must get this
            // answer, or the connection would wait forever.
            while let Err(back) = post.send(event) {
                event = back;
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
        after_event: Option<u64>,
        actions: &mut WebActions,
    ) -> NextRead {
        if session.manner.is_head {
            actions.send(id, stream_head().write(session.manner, Framing::Stream, now()));
            return after(session.manner);
        }
        if self.streams.len() >= limits::HTTP_STREAMS_MAX {
            return send(id, session.manner, &Problem::busy().json(), actions);
        }
        // The stream ends with the connection.
        session.manner.keep_alive = false;
        actions.send(id, stream_head().write(session.manner, Framing::Stream, now()));
        let seen = after_event.unwrap_or_else(|| self.site.feed().last());
        let mut stream = Stream { manner: session.manner, seen };
        let figures = figures_text(&*self.site);
        let first = stream.catch_up(self.site.feed()) + &figures;
        actions.send(id, in_stream(session.manner, first.as_bytes()));
        self.streams.insert(id, stream);
        session.busy = Busy::Stream;
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
        let session = Session { busy: Busy::Not, requests: session.requests - 1, ..*session };
        let (session, request) = (Box::new(session), Box::new(request.clone()));
        // A full mailbox drops the connection: the server is overloaded.
        actions.hand_over(id, move |parts| {
            drop(front.send(Event::Moved { parts: Box::new(parts), session, request }));
        });
    }
}

impl<S: Site> Service for HttpService<S> {
    type Session = Session;
    type Event = Event;
    type Decoder = RequestDecoder;

    fn accepted(&mut self, peer: SocketAddr, local: SocketAddr) -> Session {
        Session { addrs: ConnAddrs { peer, local }, requests: 0, manner: Manner::LAST, busy: Busy::Not }
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

    fn event(&mut self, event: Event, actions: &mut WebActions) {
        match event {
            Event::Moved { parts, session, request } => actions.adopt(*parts, *session, *request),
            Event::Done { conn, manner, answer } => {
                if send(conn, manner, &answer, actions) == NextRead::Close {
                    actions.close(conn);
                }
                actions.release(conn);
            }
            Event::News(figures) => {
                let feed = self.site.feed();
                for (id, stream) in &mut self.streams {
                    let text = stream.catch_up(feed) + &figures;
                    actions.send(*id, in_stream(stream.manner, text.as_bytes()));
                }
            }
        }
    }

    fn file_sent(&mut self, session: &mut Session, bytes: u64) {
        if let Busy::File { transfer, .. } = &mut session.busy {
            transfer.sent(bytes);
        }
    }

    fn sent(&mut self, id: ConnId, session: &mut Session, _tag: u64, actions: &mut WebActions) {
        let mut is_whole = true;
        if let Busy::File { transfer, file, left } = std::mem::replace(&mut session.busy, Busy::Not) {
            is_whole = transfer.is_good();
            if is_whole && !left.is_empty() {
                session.busy = send_part(id, transfer, file, left, actions);
                return;
            }
        }
        if !(session.manner.keep_alive && is_whole) {
            actions.close(id);
        }
        actions.release(id);
    }

    fn closed(&mut self, id: ConnId, session: Session, _why: &Closed, _actions: &mut WebActions) {
        if matches!(session.busy, Busy::Stream) {
            self.streams.remove(&id);
        }
    }
}

/// Sends the first part of `range`. The service sends the rest when the part is sent.
fn send_part(
    id: ConnId,
    transfer: Box<dyn ResponseBody>,
    file: Arc<File>,
    range: Range<u64>,
    actions: &mut WebActions,
) -> Busy {
    let left = range.start + part_of(range.end - range.start)..range.end;
    actions.send_file(id, Arc::clone(&file), range.start..left.start, 0);
    Busy::File { transfer, file, left }
}

/// The size of the next part of this many bytes.
fn part_of(bytes: u64) -> u64 {
    if bytes <= LAST_PART_BYTES { bytes } else { PART_BYTES.min(bytes - LAST_PART_BYTES) }
}

/// Runs `work` on `pool` and holds the connection until it is done.
fn have_done(
    pool: &Pool,
    id: ConnId,
    manner: Manner,
    work: impl FnOnce() + Send + 'static,
    actions: &mut WebActions,
) -> NextRead {
    if pool.try_run(work).is_err() {
        return send(id, manner, &Problem::busy().json(), actions);
    }
    NextRead::Hold
}

fn send(id: ConnId, manner: Manner, answer: &Answer, actions: &mut WebActions) -> NextRead {
    actions.send(id, answer.write(manner));
    after(manner)
}

fn after(manner: Manner) -> NextRead {
    if manner.keep_alive { NextRead::Next } else { NextRead::Close }
}

impl Stream {
    /// The events since the last update. Each has its number, so a client that was cut off can continue after
    /// the last one.
    fn catch_up(&mut self, feed: &EventBroadcast) -> String {
        let since = feed.after(self.seen);
        let mut text = String::new();
        if since.missed > 0 {
            let missed = event::Event::Missed { count: since.missed }.at(clock::wall_ns());
            text.push_str(&event_text(None, &missed));
        }
        for (number, record) in since.items {
            text.push_str(&event_text(Some(number), &record));
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

fn event_text(number: Option<u64>, record: &Record) -> String {
    let id = number.map(|number| format!("id: {number}\n")).unwrap_or_default();
    format!("{id}data: {}\n\n", record.to_line())
}

fn in_stream(manner: Manner, bytes: &[u8]) -> Vec<u8> {
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
                let part = part_of(*left);
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
