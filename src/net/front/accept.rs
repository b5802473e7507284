//! Accepts connections. Without a free descriptor it closes one waiting connection and pauses: the listener
//! would be reported ready again and again.

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

/// Maximum number of connections that are accepted in one round of the loop.
const ACCEPTED_MAX: usize = 64;
/// Pause of accepting after a lack of descriptors or memory.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl<S: Service> Front<S> {
    pub(super) fn accept(&mut self) {
        let Some(listener) = self.config.listener.clone() else { return };
        for _ in 0..ACCEPTED_MAX {
            match listener.accept() {
                // A connection that cannot be set up has failed just now, or the kernel is out of memory. It
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

    /// Pauses accepting after a failure, usually a lack of descriptors or memory. Without a descriptor it
    /// first closes the connection of one waiting client with the help of the spare descriptor, so that this
    /// client does not wait for an answer.
    fn pause_listener(&mut self, listener: &TcpListener, error: &io::Error) {
        if matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)) {
            drop(self.spare_descriptor.take());
            drop(listener.accept());
            self.spare_descriptor = open_spare();
        }
        // This fails only if the listener is not watched.
        epoll::delete(&self.epoll, listener).ok();
        self.timers.set(Timer::Accept, Some(clock::now() + ACCEPT_PAUSE));
    }

    fn admit(&mut self, socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let local = listen::set_up_accepted(&socket)?;
        let session = self.service.accepted(peer, local);
        let id = self.new_id();
        self.insert(id, Conn::new(socket, peer, ConnOrigin::Accepted, clock::now()), session);
        self.run_commands();
        self.settle(id);
        Ok(())
    }
}
