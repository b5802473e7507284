//! One connection of a front: its socket, its input and output, and what it waits for.
//!
//! The front gives each ready connection a turn, in which it does a bounded part of its work. After a turn it
//! derives from the state here what epoll shall watch, the next deadline, and whether the connection may be
//! evicted. These are not stored. No function here waits.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use socket2::SockRef;

use super::config::Deadlines;
use super::output::Output;
use super::service::{Closed, NextRead};
use crate::proto::Decode;
use crate::types::limits;

/// How the connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnOrigin {
    Accepted,
    /// This front has opened it. It must be connected and its first message complete by `answer_by`, which is
    /// `None` after the first message.
    Opened {
        answer_by: Option<Instant>,
    },
}

#[derive(Debug)]
pub(super) struct Conn<D> {
    pub(super) socket: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) origin: ConnOrigin,
    pub(super) decoder: D,
    pub(super) output: Output,
    /// What epoll has reported since the last turn.
    pub(super) ready: EventFlags,
    /// What epoll watches.
    pub(super) watched: EventFlags,
    /// It is queued for its next turn.
    pub(super) scheduled: bool,
    /// The connection is not up yet.
    pub(super) connecting: bool,
    /// The service will answer the last message later. The front hands over no message until the service
    /// releases the connection.
    pub(super) held: bool,
    /// The decoder may have complete messages that the front has not handed over yet.
    pub(super) backlog: bool,
    /// The peer has closed its sending side.
    pub(super) ended: bool,
    /// The front will close the connection for this reason when all output is sent.
    pub(super) closing: Option<Closed>,
    /// Set while the connection lingers: all output is sent and this side has closed its sending half. Until
    /// this time the front reads input and drops it, because unread input would reset the connection, and the
    /// peer might lose the last reply.
    pub(super) lingers_until: Option<Instant>,
    /// The connection may be idle without a limit.
    pub(super) keep_idle: bool,
    /// The peer has sent a complete message: the connection counts as honest.
    pub(super) proven: bool,
    /// The rate allows no byte before this.
    pub(super) paced_until: Option<Instant>,
    /// Since when the front waits for the rest of a request.
    request_since: Option<Instant>,
    /// When the last turn was.
    active_at: Instant,
    /// When the peer last took a byte, or when the first byte began to wait for it.
    taken_at: Instant,
}

impl<D: Decode> Conn<D> {
    pub(super) fn new(socket: TcpStream, peer: SocketAddr, origin: ConnOrigin, now: Instant) -> Conn<D> {
        Conn {
            socket,
            peer,
            origin,
            decoder: D::default(),
            output: Output::default(),
            ready: EventFlags::empty(),
            watched: EventFlags::empty(),
            scheduled: false,
            connecting: false,
            held: false,
            backlog: false,
            ended: false,
            closing: None,
            lingers_until: None,
            keep_idle: false,
            proven: false,
            paced_until: None,
            request_since: None,
            active_at: now,
            taken_at: now,
        }
    }

    /// Reads once into the decoder. Drops the bytes if the connection lingers.
    ///
    /// # Errors
    /// When the connection has failed.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        match self.socket.read(scratch) {
            Ok(0) => self.ended = true,
            Ok(_) if self.lingers_until.is_some() => {}
            Ok(len) => {
                self.decoder.push(&scratch[..len]);
                self.backlog = true;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Returns true if and only if the front may hand a message over.
    pub(super) fn is_open_for_messages(&self) -> bool {
        !self.held
            && !self.connecting
            && self.closing.is_none()
            && self.lingers_until.is_none()
            && self.output.held_bytes() < limits::OUTPUT_HIGH_BYTES
    }

    /// Returns true if and only if the front reads from the connection.
    pub(super) fn wants_input(&self) -> bool {
        !self.ended && (self.lingers_until.is_some() || (self.is_open_for_messages() && !self.backlog))
    }

    /// Applies what the service has returned for a message.
    pub(super) fn apply(&mut self, next: NextRead) {
        match next {
            NextRead::Next => {}
            NextRead::Hold => self.held = true,
            NextRead::Close => {
                self.closing.get_or_insert(Closed::Ours);
            }
        }
    }

    /// Records that a message was handed over.
    pub(super) fn record_message(&mut self) {
        self.proven = true;
        self.request_since = None;
        if let ConnOrigin::Opened { answer_by } = &mut self.origin {
            *answer_by = None;
        }
    }

    /// Records that the peer took bytes, or that its time to take bytes begins now.
    pub(super) fn record_taken(&mut self, now: Instant) {
        self.taken_at = now;
    }

    /// Records the end of a turn. If a request is incomplete and was complete before, its time begins now.
    pub(super) fn record_turn(&mut self, now: Instant) {
        self.active_at = now;
        let is_incomplete = self.decoder.waiting_bytes() > 0 || !self.proven;
        if is_incomplete && self.wants_input() && self.lingers_until.is_none() {
            self.request_since.get_or_insert(now);
        } else {
            self.request_since = None;
        }
    }

    /// What epoll shall watch.
    pub(super) fn interest(&self) -> EventFlags {
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, self.wants_input());
        let sends = self.connecting || (!self.output.is_empty() && self.paced_until.is_none());
        interest.set(EventFlags::OUT, sends);
        interest
    }

    /// Returns true if and only if the peer has begun a request and not finished it, or the connection
    /// lingers.
    pub(super) fn is_incomplete(&self) -> bool {
        self.origin == ConnOrigin::Accepted
            && (self.lingers_until.is_some() || (self.request_since.is_some() && self.output.is_empty()))
    }

    /// Returns true if and only if the connection waits, for a limited time, for a further request.
    pub(super) fn is_idle(&self) -> bool {
        self.origin == ConnOrigin::Accepted
            && self.proven
            && self.request_since.is_none()
            && self.output.is_empty()
            && !(self.held || self.keep_idle || self.lingers_until.is_some())
    }

    /// Returns true if and only if a file is queued for the peer, which takes another descriptor.
    pub(super) fn is_sent_a_file(&self) -> bool {
        self.lingers_until.is_none() && self.output.has_file()
    }

    /// Number of bytes in memory because the peer does not take its replies: the replies and the requests
    /// behind them. `None` if no reply waits, and for a connection that this front has opened: `answer_by`
    /// limits it.
    pub(super) fn untaken_bytes(&self) -> Option<usize> {
        let held_bytes = self.output.held_bytes();
        let has_waiting_reply = self.origin == ConnOrigin::Accepted && held_bytes > 0;
        has_waiting_reply.then(|| held_bytes + self.decoder.waiting_bytes())
    }

    /// If output is queued, makes the kernel drop what it has of it when the socket is closed. Otherwise the
    /// kernel would keep it for minutes for a peer that does not read.
    pub(super) fn reset_if_untaken(&self) {
        if !self.output.is_empty() {
            // This fails only if the connection has failed already.
            SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).ok();
        }
    }

    /// The next deadline, and the reason to close the connection at it.
    pub(super) fn due(&self, deadlines: &Deadlines) -> Option<(Instant, Closed)> {
        if let Some(until) = self.lingers_until {
            return Some((until, Closed::Ours));
        }
        let answer_by = match self.origin {
            ConnOrigin::Opened { answer_by: Some(at) } => Some(at),
            _ => self.request_since.map(|at| at + deadlines.request),
        };
        let sends = !self.connecting && !self.output.is_empty() && self.paced_until.is_none();
        let stalled = sends.then(|| self.taken_at + deadlines.write_stall);
        let idle = self.output.is_empty() && !self.held && !self.keep_idle && answer_by.is_none();
        let idle = idle.then(|| self.active_at + deadlines.idle);
        let all = [(answer_by, Closed::Deadline), (stalled, Closed::Stalled), (idle, Closed::Deadline)];
        all.into_iter().filter_map(|(at, why)| Some((at?, why))).min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listen::listen;
    use crate::proto::Decoder;
    use crate::rt::clock;

    #[test]
    fn each_state_of_a_connection_has_its_interest_its_deadline_and_counts_as_incomplete_or_not() {
        const IN: EventFlags = EventFlags::IN;
        const OUT: EventFlags = EventFlags::OUT;
        const NONE: EventFlags = EventFlags::empty();
        let (request, idle) = (limits::REQUEST_DEADLINE_MS, limits::IDLE_DEADLINE_MS);
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let now = clock::now();
        let later = now + Duration::from_secs(1);
        type Change = fn(&mut Conn<Decoder>, Instant);
        type Row = (&'static str, Change, EventFlags, Option<(u64, Closed)>, bool);
        let table: [Row; 11] = [
            ("just accepted", |_, _| (), IN, Some((request, Closed::Deadline)), true),
            (
                "idle after a request",
                |conn, _| conn.record_message(),
                IN,
                Some((idle, Closed::Deadline)),
                false,
            ),
            (
                "kept idle",
                |conn, _| {
                    conn.record_message();
                    conn.keep_idle = true;
                },
                IN,
                None,
                false,
            ),
            (
                "kept idle with an incomplete request",
                |conn, _| {
                    conn.record_message();
                    conn.keep_idle = true;
                    conn.decoder.push(b"NPR");
                },
                IN,
                Some((request, Closed::Deadline)),
                true,
            ),
            (
                "held",
                |conn, _| {
                    conn.record_message();
                    conn.held = true;
                    conn.decoder.push(b"NPR");
                },
                NONE,
                None,
                false,
            ),
            (
                "with waiting output",
                |conn, _| {
                    conn.record_message();
                    conn.output.push_bytes(vec![0; 10]);
                },
                IN | OUT,
                Some((limits::WRITE_STALL_MS, Closed::Stalled)),
                false,
            ),
            (
                "with waiting output, and the peer has ended",
                |conn, _| {
                    conn.record_message();
                    conn.ended = true;
                    conn.output.push_bytes(vec![0; 10]);
                },
                OUT,
                Some((limits::WRITE_STALL_MS, Closed::Stalled)),
                false,
            ),
            (
                "with much waiting output",
                |conn, _| {
                    conn.record_message();
                    conn.output.push_bytes(vec![0; limits::OUTPUT_HIGH_BYTES]);
                },
                OUT,
                Some((limits::WRITE_STALL_MS, Closed::Stalled)),
                false,
            ),
            (
                "with output that waits for the rate",
                |conn, now| {
                    conn.record_message();
                    conn.output.push_bytes(vec![0; 10]);
                    conn.paced_until = Some(now);
                },
                IN,
                None,
                false,
            ),
            (
                "lingering",
                |conn, now| {
                    conn.record_message();
                    conn.closing = Some(Closed::Ours);
                    conn.lingers_until = Some(now);
                },
                IN,
                Some((0, Closed::Ours)),
                true,
            ),
            (
                "being opened by this front",
                |conn, now| {
                    conn.origin = ConnOrigin::Opened { answer_by: Some(now + Duration::from_millis(77)) };
                    conn.connecting = true;
                    conn.output.push_bytes(vec![0; 10]);
                },
                OUT,
                Some((77, Closed::Deadline)),
                false,
            ),
        ];
        for (state, change, interest, due, incomplete) in table {
            let socket = TcpStream::connect(addr).expect("it listens");
            let mut conn = Conn::new(socket, addr, ConnOrigin::Accepted, now);
            change(&mut conn, now);
            conn.record_turn(now);
            let expected = due.map(|(ms, why)| (now + Duration::from_millis(ms), why));
            assert_eq!(
                (conn.interest(), conn.due(&Deadlines::default()), conn.is_incomplete()),
                (interest, expected, incomplete),
                "{state}"
            );
            // A further byte of the same request does not extend its deadline.
            let request_since = conn.request_since;
            conn.record_turn(later);
            assert_eq!(conn.request_since, request_since, "{state}");
        }
    }
}
