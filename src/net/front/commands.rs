//! Carrying out what a service wants of its front: the commands queued in its
//! [`crate::net::service::ConnActions`].
//!
//! Invariant: commands are carried out in the order they were queued, right after the call that queued them,
//! and those for a connection that has ended are void. Must never send or read here: what an act changes
//! shows in the connection's next turn.

use std::borrow::Borrow;

use super::{Entry, Front, why};
use crate::net::conn::{Conn, ConnOrigin};
use crate::net::listen::dial;
use crate::net::service::{Closed, ConnCommand, ConnId, DetachedConn, Service};
use crate::proto::Decode;
use crate::rt::clock;

impl<S: Service> Front<S> {
    /// Until nothing is queued: an act may call the service, which may queue more.
    pub(crate) fn obey(&mut self) {
        loop {
            let commands = self.actions.take();
            if commands.is_empty() {
                return;
            }
            for command in commands {
                self.carry_out(command);
            }
        }
    }

    fn carry_out(&mut self, command: ConnCommand<S::Session, S::Decoder>) {
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
                match dial(endpoint, bind) {
                    Ok(socket) => {
                        let origin = ConnOrigin::Ours { answer_by: Some(now + deadline) };
                        let mut conn = Conn::new(socket, endpoint, origin, now);
                        conn.connecting = true;
                        conn.output.push_bytes(first);
                        self.insert(id, conn, session);
                        self.give_turn(id);
                    }
                    Err(error) => self.service.closed(id, session, &why(&error), &mut self.actions),
                }
            }
            ConnCommand::HandOver { conn, to } => {
                if self.conns.get(&conn).is_some_and(|entry| entry.session.is_some())
                    && let Some(Entry { conn, .. }) = self.remove(conn)
                {
                    let Conn { socket, peer, decoder, output, .. } = conn;
                    to(DetachedConn { socket, peer, decoder, unsent: output.into_unsent() });
                }
            }
            ConnCommand::Adopt { parts, session, message } => self.adopt(parts, session, message.borrow()),
        }
    }

    fn queue_output(&mut self, id: ConnId, push: impl FnOnce(&mut Conn<S::Decoder>)) {
        self.change(id, |conn| {
            if conn.output.is_empty() {
                conn.note_taken(clock::now());
            }
            push(conn);
        });
    }

    /// Changes a connection that is still in use; its next turn draws the conclusions.
    fn change(&mut self, id: ConnId, change: impl FnOnce(&mut Conn<S::Decoder>)) {
        if let Some(Entry { conn, session: Some(_) }) = self.conns.get_mut(&id) {
            change(conn);
            self.give_turn(id);
        }
    }

    fn adopt(
        &mut self,
        parts: DetachedConn<S::Decoder>,
        session: S::Session,
        message: &<S::Decoder as Decode>::Message,
    ) {
        let id = self.new_id();
        let mut conn = Conn::new(parts.socket, parts.peer, ConnOrigin::Accepted, clock::now());
        conn.decoder = parts.decoder;
        conn.backlog = true;
        conn.output.push_bytes(parts.unsent);
        self.insert(id, conn, session);
        let Some(Entry { conn, session: Some(session) }) = self.conns.get_mut(&id) else { return };
        let after = self.service.message(id, session, message, &mut self.actions);
        conn.note_message();
        conn.follow(after);
        self.give_turn(id);
    }
}
