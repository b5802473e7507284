//! Accepts connections. Without free descriptors it turns clients away and pauses, instead of spinning.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::event::epoll;
use rustix::io::Errno;

use super::state::{Front, Timer, open_spare};
use crate::net::conn::{Conn, ConnOrigin};
use crate::net::listen;
use crate::net::service::Service;
use crate::rt::clock;

/// Most connections accepted in one round.
const ACCEPTED_MAX: usize = 64;
/// Pause of accepting after the system was out of descriptors or memory.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl<S: Service> Front<S> {
    pub(super) fn accept(&mut self) {
        let Some(listener) = self.config.listener.clone() else { return };
        for _ in 0..ACCEPTED_MAX {
            match listener.accept() {
                // A connection that cannot be set up has just failed, or the system is out of resources. It
                // is dropped; the next one may succeed.
                Ok((socket, peer)) => drop(self.admit(socket, peer)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => return self.pause_listener(&listener, &error),
                },
            }
        }
    }

    /// Pauses accepting after a failure, usually a lack of descriptors or memory. Without a descriptor, one
    /// waiting client is turned away first, so that it does not wait in vain.
    fn pause_listener(&mut self, listener: &TcpListener, error: &io::Error) {
        if matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)) {
            drop(self.spare.take());
            drop(listener.accept());
            self.spare = open_spare();
        }
        let _was_not_watched = epoll::delete(&self.epoll, listener);
        self.timers.set(Timer::Listener, Some(clock::now() + ACCEPT_PAUSE));
    }

    fn admit(&mut self, socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let local = listen::accepted(&socket)?;
        let session = self.service.accepted(peer, local);
        let id = self.new_id();
        self.insert(id, Conn::new(socket, peer, ConnOrigin::Accepted, clock::now()), session);
        self.run_commands();
        self.settle(id);
        Ok(())
    }
}
