//! The connections of a front: how they are inserted, removed and closed.

use rustix::event::epoll::{self, EventData};

use super::state::{ConnEntry, Front, Timer, close_reason};
use crate::net::conn::Conn;
use crate::net::service::{Closed, ConnId, Service};

impl<S: Service> Front<S> {
    /// Adds a connection. If epoll cannot watch it, its session ends at once.
    pub(super) fn insert(&mut self, id: ConnId, mut conn: Conn<S::Decoder>, session: S::Session) {
        conn.watched = conn.interest();
        match epoll::add(&self.epoll, &conn.socket, EventData::new_u64(id.0), conn.watched) {
            Ok(()) => drop(self.conns.insert(id, ConnEntry { conn, session: Some(session) })),
            Err(error) => self.service.closed(id, session, &close_reason(&error.into()), &mut self.actions),
        }
    }

    /// Removes a connection, with everything that was kept for it.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<ConnEntry<S::Session, S::Decoder>> {
        let entry = self.conns.remove(&id)?;
        self.timers.set(Timer::Deadline(id), None);
        self.timers.set(Timer::Pace(id), None);
        self.eviction.remove(id);
        // epoll reports a closed descriptor as long as a duplicate of it is open. So it is deleted before the
        // socket is dropped.
        epoll::delete(&self.epoll, &entry.conn.socket).ok();
        Some(entry)
    }

    /// Removes and closes a connection and ends its session. The caller runs the commands that the service
    /// queues then.
    pub(super) fn end_session(&mut self, id: ConnId, why: &Closed) {
        let Some(ConnEntry { conn, session }) = self.remove(id) else { return };
        if matches!(why, Closed::Stalled | Closed::Evicted) {
            conn.reset_if_untaken();
        }
        drop(conn);
        if let Some(session) = session {
            self.service.closed(id, session, why, &mut self.actions);
        }
    }

    /// Removes and closes a connection, ends its session, and runs the commands that the service queues then.
    pub(super) fn close(&mut self, id: ConnId, why: &Closed) {
        self.end_session(id, why);
        self.run_commands();
    }
}
