//! The turn of a connection: reads, hands messages to the service, sends, and derives what follows.

use std::net::Shutdown;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::state::{ConnEntry, Front, Timer, close_reason};
use crate::net::conn::ConnOrigin;
use crate::net::listen::finish_dial;
use crate::net::service::{Closed, ConnId, Service};
use crate::proto::Decode;
use crate::rt::clock;
use crate::types::limits;

/// Maximum number of messages that are handed over from one connection in one turn.
const MESSAGES_MAX: usize = 64;
/// After this time a turn hands over no further message: some requests take far longer than others.
const MESSAGES_TIME: Duration = Duration::from_millis(2);

impl<S: Service> Front<S> {
    /// Queues the connection for its next turn, unless it is queued already.
    pub(super) fn schedule(&mut self, id: ConnId) {
        if let Some(entry) = self.conns.get_mut(&id)
            && !entry.conn.scheduled
        {
            entry.conn.scheduled = true;
            self.scheduled.push_back(id);
        }
    }

    pub(super) fn run_turn(&mut self, id: ConnId) {
        self.receive(id);
        self.hand_over_messages(id);
        self.send_some(id);
        self.settle(id);
    }

    /// Notices a failure or the end of a dial, and reads once if there is something to read.
    fn receive(&mut self, id: ConnId) {
        let Some(ConnEntry { conn, .. }) = self.conns.get_mut(&id) else { return };
        let ready = std::mem::replace(&mut conn.ready, EventFlags::empty());
        let mut outcome = Ok(());
        if conn.connecting {
            if ready.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
                outcome = finish_dial(&conn.socket).map(|_local| conn.connecting = false);
            }
        } else if ready.intersects(EventFlags::ERR | EventFlags::HUP) {
            match conn.socket.take_error() {
                Ok(None) => return self.close(id, &Closed::Peer),
                Ok(Some(error)) | Err(error) => outcome = Err(error),
            }
        } else if ready.contains(EventFlags::IN) && conn.wants_input() {
            outcome = conn.read(&mut self.scratch);
        }
        if let Err(error) = outcome {
            self.close(id, &close_reason(&error));
        }
    }

    /// Hands complete messages to the service, up to the limits of a turn.
    fn hand_over_messages(&mut self, id: ConnId) {
        let until = clock::now() + MESSAGES_TIME;
        for number in 0..MESSAGES_MAX {
            if number > 0 && clock::now() >= until {
                return;
            }
            let Some(ConnEntry { conn, session: Some(session) }) = self.conns.get_mut(&id) else { return };
            if !conn.backlog || !conn.is_open_for_messages() {
                return;
            }
            match conn.decoder.next() {
                Ok(Some(message)) => {
                    let next = self.service.message(id, session, message, &mut self.actions);
                    conn.record_message();
                    conn.apply(next);
                }
                Ok(None) => {
                    conn.backlog = false;
                    return;
                }
                Err(error) if conn.origin == ConnOrigin::Accepted => {
                    if let Some(reply) = self.service.malformed_reply(&error) {
                        conn.output.push_bytes(reply);
                    }
                    conn.closing = Some(Closed::Malformed);
                }
                Err(_) => self.end_session(id, &Closed::Malformed),
            }
            self.run_commands();
        }
    }

    /// Sends what is queued, up to the limits of a turn.
    pub(super) fn send_some(&mut self, id: ConnId) {
        let Some(ConnEntry { conn, session: Some(session) }) = self.conns.get_mut(&id) else { return };
        if conn.connecting || conn.paced_until.is_some() || conn.output.is_empty() {
            return;
        }
        let (now, rate) = (clock::now(), self.config.rate.as_deref());
        match conn.output.send(&conn.socket, limits::UPLOAD_TURN_BYTES, rate, now) {
            Ok(sent) => {
                if sent.bytes > 0 {
                    conn.record_taken(now);
                    self.eviction.record_taken(id);
                }
                if sent.wait_until.is_some() {
                    conn.paced_until = sent.wait_until;
                    self.timers.set(Timer::Pace(id), sent.wait_until);
                }
                if sent.file_bytes > 0 {
                    self.service.file_sent(session, sent.file_bytes);
                }
                for tag in sent.finished {
                    self.service.sent(id, session, tag, &mut self.actions);
                }
                self.run_commands();
            }
            Err(error) => self.close(id, &close_reason(&error)),
        }
    }

    /// Ends a turn: derives from the connection's state whether it is closed, what epoll watches and when its
    /// deadline is, and closes the connections that are evicted.
    pub(super) fn settle(&mut self, id: ConnId) {
        let Some(ConnEntry { conn, session }) = self.conns.get_mut(&id) else { return };
        let now = clock::now();
        conn.scheduled = false;
        if conn.output.is_empty() {
            match conn.closing.clone() {
                // The end of the stream is read only when every message was handed over and none is held, so
                // no answer is missing.
                None if conn.ended => return self.close(id, &Closed::Peer),
                Some(why) if session.is_some() => return self.finish(id, &why),
                _ if conn.lingers_until.is_some() && conn.ended => {
                    return self.close(id, &Closed::Ours);
                }
                _ => {}
            }
        }
        conn.record_turn(now);
        if conn.backlog && conn.is_open_for_messages() {
            conn.scheduled = true;
            self.scheduled.push_back(id);
        }
        let interest = conn.interest();
        if interest != conn.watched {
            if let Err(error) = epoll::modify(&self.epoll, &conn.socket, EventData::new_u64(id.0), interest) {
                return self.close(id, &close_reason(&error.into()));
            }
            conn.watched = interest;
        }
        self.timers.set(Timer::Deadline(id), conn.due(&self.config.deadlines).map(|(at, _)| at));
        let address = conn.peer.ip();
        self.eviction.observe(id, conn);
        while let Some(victim) = self.eviction.victim(address) {
            self.close(victim, &Closed::Evicted);
        }
    }

    /// Ends the session of a connection whose output is sent. The peer of an accepted connection may still
    /// send input, which would reset the connection before the peer has the last reply: then the connection
    /// lingers. Otherwise it is closed.
    fn finish(&mut self, id: ConnId, why: &Closed) {
        let Some(ConnEntry { conn, session }) = self.conns.get_mut(&id) else { return };
        let lingers = conn.origin == ConnOrigin::Accepted && !conn.ended;
        if !lingers || conn.socket.shutdown(Shutdown::Write).is_err() {
            return self.close(id, why);
        }
        conn.lingers_until = Some(clock::now() + limits::ms(limits::CLOSE_LINGER_MS));
        if let Some(session) = session.take() {
            self.service.closed(id, session, why, &mut self.actions);
            self.run_commands();
        }
        self.settle(id);
    }
}
