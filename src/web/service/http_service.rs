//! The service of a web front: lets requests in, has them answered, and keeps streams of events up to date.
//!
//! What is answered from memory is answered in place. What may take its time runs on a worker while the
//! connection is held, so that answers come in order and no front waits. A connection that asks for a file
//! moves to a front for files, once and for good: no page waits behind a cold disk. One file is on its way on
//! a connection at a time.

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

/// Files are sent in parts of at most so many bytes. Between two of them it is checked that the file still is
/// what was promised.
const PART_BYTES: u64 = 4 << 20;
/// The last part of a file, unless that is no longer: a change that comes before shows in an answer that ends
/// short.
const LAST_PART_BYTES: u64 = 256 << 10;

type WebActions = crate::net::ConnActions<Session, RequestDecoder>;

/// What a program shows: its pages and its interface.
pub(crate) trait Site: Send + Sync + 'static {
    /// Never waits; what has to is handed back as [`Reply::Later`]. A file is asked for on a front for files.
    fn answer(&self, request: &Request, addrs: ConnAddrs, access: &AccessControl) -> Reply;

    /// Whether the answer is a file.
    fn is_file(&self, request: &Request) -> bool;

    /// What streams tell of.
    fn feed(&self) -> &EventBroadcast;

    /// A few figures as they are now, for streams.
    fn figures(&self) -> Vec<event::Event>;

    /// Called every few seconds.
    fn tick(&self) {}
}

/// What comes through the mailbox of a front.
pub(crate) enum Event {
    /// A connection from another front, with the request that made it move.
    Moved { parts: Box<DetachedConn<RequestDecoder>>, session: Box<Session>, request: Box<Request> },
    /// A worker has answered.
    Done { conn: ConnId, manner: Manner, answer: Answer },
    /// Figures as they are now: something has changed, or nothing has for a while.
    News(Arc<str>),
}

/// What a connection is busy with.
pub(crate) struct Session {
    addrs: ConnAddrs,
    /// Requests so far.
    requests: u32,
    /// How the held request is to be answered.
    manner: Manner,
    busy: Busy,
}

/// A stream of events.
pub(crate) struct Stream {
    /// How it was asked for.
    manner: Manner,
    /// The number of the last event that was sent.
    seen: u64,
}

enum Busy {
    Not,
    /// It is a stream of events.
    Stream,
    /// A part of a file is on its way, and `left` of it is to follow if the file is still the same by then.
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
    /// Makes changes, which wait behind no question.
    pub(crate) changer: Pool,
    /// The own mailbox.
    pub(crate) post: Post<Event>,
    /// Where files are sent from; empty: from here.
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

    /// Answers with what `job` makes, on the thread on which it is called.
    fn work(
        &self,
        id: ConnId,
        manner: Manner,
        job: Box<dyn FnOnce() -> Answer + Send>,
    ) -> impl FnOnce() + Send + 'static {
        let (post, stop) = (self.post.clone(), self.stop.clone());
        move || {
            let mut event = Event::Done { conn: id, manner, answer: job() };
            // Full for a moment at most: the front has other mail. It must not miss this, or the connection
            // would wait for ever.
            while let Err(back) = post.send(event) {
                event = back;
                if stop.wait_until(clock::now() + limits::ms(1)) {
                    return;
                }
            }
        }
    }

    /// A stream of what is told after event `after`, or from now on.
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
        // It ends with the connection.
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
        // A full mailbox drops the connection: there is more to do than can be done.
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

/// Sends the first part of `range`; what is left is sent when that is.
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

/// How much is sent next of so many bytes.
fn part_of(bytes: u64) -> u64 {
    if bytes <= LAST_PART_BYTES { bytes } else { PART_BYTES.min(bytes - LAST_PART_BYTES) }
}

/// Has `work` done by `pool`, and the connection held until then.
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
    /// What was told since it was last written to. Events have their numbers, so that who was cut off can go
    /// on after the last one.
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

/// The figures of `site` as they are now.
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
    fn a_file_is_looked_at_again_before_its_last_bytes() {
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
