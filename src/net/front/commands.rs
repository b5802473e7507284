//! Runs the commands that a service has queued in its [`crate::net::ConnActions`].
//!
//! Invariant: commands run in the order in which they were queued, right after the call that queued them;
//! commands for a closed connection are ignored. No command sends or reads: it changes the state of a
//! connection, and the next turn of the connection acts on it.

use std::borrow::Borrow;

use super::state::{ConnEntry, Front, close_reason};
use crate::net::conn::{Conn, ConnOrigin};
use crate::net::listen::begin_dial;
use crate::net::service::{Closed, ConnCommand, ConnId, DetachedConn, Service};
use crate::proto::Decode;
use crate::rt::clock;

impl<S: Service> Front<S> {
    /// Runs commands until none is queued: a command may call the service, which may queue more.
    pub(super) fn run_commands(&mut self) {
        loop {
            let commands = self.actions.take();
            if commands.is_empty() {
                return;
            }
            for command in commands {
                self.run_command(command);
            }
        }
    }

    fn run_command(&mut self, command: ConnCommand<S::Session, S::Decoder>) {
        match command {
            ConnCommand::Send { to, bytes } => self.queue_output(to, |conn| conn.output.push_bytes(bytes)),
            ConnCommand::SendFile { to, file, range, tag } => {
                self.queue_output(to, |conn| conn.output.push_file(file, range, tag));
            }
            ConnCommand::Release { conn } => self.change(conn, |conn| conn.held = false),
            ConnCommand::Close { conn } => self.change(conn, |conn| {
                conn.closing.get_or_insert(Closed::Ours);
            }),
            ConnCommand::KeepIdle { conn, forever } => self.change(conn, |conn| conn.keep_idle = forever),
            ConnCommand::Connect { endpoint, bind, session, first, deadline } => {
                let (id, now) = (self.new_id(), clock::now());
                match begin_dial(endpoint, bind) {
                    Ok(socket) => {
                        let origin = ConnOrigin::Opened { answer_by: Some(now + deadline) };
                        let mut conn = Conn::new(socket, endpoint, origin, now);
                        conn.connecting = true;
                        conn.output.push_bytes(first);
                        self.insert(id, conn, session);
                        self.schedule(id);
                    }
                    Err(error) => self.service.closed(id, session, &close_reason(&error), &mut self.actions),
                }
            }
            ConnCommand::HandOver { conn, to } => {
                // A connection without a session lingers: it is not handed over.
                if self.conns.get(&conn).is_some_and(|entry| entry.session.is_some())
                    && let Some(ConnEntry { conn, .. }) = self.remove(conn)
                {
                    let Conn { socket, peer, decoder, output, .. } = conn;
                    to(DetachedConn { socket, peer, decoder, unsent: output.into_unsent() });
                }
            }
            ConnCommand::Adopt { detached, session, message } => {
                self.adopt(detached, session, message.borrow());
            }
        }
    }

    fn queue_output(&mut self, id: ConnId, push: impl FnOnce(&mut Conn<S::Decoder>)) {
        self.change(id, |conn| {
            if conn.output.is_empty() {
                conn.record_taken(clock::now());
            }
            push(conn);
        });
    }

    /// Changes a connection that has a session, and queues it for a turn.
    fn change(&mut self, id: ConnId, change: impl FnOnce(&mut Conn<S::Decoder>)) {
        if let Some(ConnEntry { conn, session: Some(_) }) = self.conns.get_mut(&id) {
            change(conn);
            self.schedule(id);
        }
    }

    fn adopt(
        &mut self,
        detached: DetachedConn<S::Decoder>,
        session: S::Session,
        message: &<S::Decoder as Decode>::Message,
    ) {
        let id = self.new_id();
        let mut conn = Conn::new(detached.socket, detached.peer, ConnOrigin::Accepted, clock::now());
        conn.decoder = detached.decoder;
        // The decoder may have complete messages after the one that caused the move.
        conn.backlog = true;
        conn.output.push_bytes(detached.unsent);
        self.insert(id, conn, session);
        let Some(ConnEntry { conn, session: Some(session) }) = self.conns.get_mut(&id) else { return };
        let next = self.service.message(id, session, message, &mut self.actions);
        conn.record_message();
        conn.apply(next);
        self.schedule(id);
    }
}
