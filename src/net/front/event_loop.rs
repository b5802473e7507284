//! The readiness loop: waits for sockets, the mailbox, the stop and the timers, and serves what is ready.

use std::io;

use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::io::Errno;

use super::accept::ACCEPT_PAUSE;
use super::state::{ConnEntry, Front, LISTENER, MAILBOX, STOP, Timer, watch_listener};
use crate::net::config::FrontConfig;
use crate::net::service::{Closed, ConnId, Service};
use crate::rt::{Mailbox, Stop, clock};

/// Maximum number of events that one round takes from epoll.
const READY_MAX: usize = 256;
/// Maximum number of events that one round takes from the mailbox.
const MAIL_MAX: usize = 256;

/// Runs a front on this thread until `stop` is triggered. Then it sends once what the kernel takes without
/// waiting, and closes all connections.
///
/// # Errors
/// When the process has no descriptor left at the start, or epoll fails.
pub fn run<S: Service>(
    service: S,
    config: FrontConfig,
    mailbox: Mailbox<S::Event>,
    stop: Stop,
) -> io::Result<()> {
    let mut front = Front::new(service, config, mailbox, stop)?;
    front.serve()?;
    front.close_all();
    Ok(())
}

impl<S: Service> Front<S> {
    fn serve(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(READY_MAX);
        while !self.stop.is_triggered() {
            let timeout = if self.scheduled.is_empty() && !self.has_more_mail {
                self.timers.next().map(clock::timespec_until)
            } else {
                Some(Timespec::default())
            };
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let mut has_mail = std::mem::take(&mut self.has_more_mail);
            for event in &events {
                let (flags, data) = (event.flags, event.data);
                match data.u64() {
                    LISTENER => self.accept(),
                    MAILBOX => has_mail = true,
                    STOP => return Ok(()),
                    id => {
                        if let Some(entry) = self.conns.get_mut(&ConnId(id)) {
                            entry.conn.ready |= flags;
                            self.schedule(ConnId(id));
                        }
                    }
                }
            }
            if has_mail {
                self.handle_mail();
            }
            // A connection that is queued again during this round gets its next turn in the next round.
            for _ in 0..self.scheduled.len() {
                if let Some(id) = self.scheduled.pop_front() {
                    self.run_turn(id);
                }
            }
            self.expire();
        }
        Ok(())
    }

    /// Hands the events of the mailbox to the service.
    fn handle_mail(&mut self) {
        self.mailbox.clear();
        for _ in 0..MAIL_MAX {
            let Some(event) = self.mailbox.next() else { return };
            self.service.event(event, &mut self.actions);
            self.run_commands();
        }
        self.has_more_mail = true;
    }

    /// Closes connections whose deadline has passed, and continues sends and accepts whose pause is over.
    fn expire(&mut self) {
        let now = clock::now();
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Deadline(id) => {
                    let Some(ConnEntry { conn, .. }) = self.conns.get(&id) else { continue };
                    match conn.due(&self.config.deadlines) {
                        Some((at, why)) if at <= now => self.close(id, &why),
                        due => self.timers.set(timer, due.map(|(at, _)| at)),
                    }
                }
                Timer::Pace(id) => {
                    if let Some(entry) = self.conns.get_mut(&id) {
                        entry.conn.paced_until = None;
                        entry.conn.record_taken(now);
                        self.schedule(id);
                    }
                }
                Timer::Accept => {
                    if let Some(listener) = &self.config.listener
                        && watch_listener(&self.epoll, listener).is_err()
                    {
                        self.timers.set(Timer::Accept, Some(now + ACCEPT_PAUSE));
                    }
                }
            }
        }
    }

    /// Sends once what the kernel takes without waiting, and closes every connection.
    fn close_all(&mut self) {
        for id in self.ids() {
            self.send_some(id);
        }
        // Commands that the service queues in these last calls are not run any more.
        for id in self.ids() {
            self.end_session(id, &Closed::Ours);
        }
    }
}
