//! Opens listeners and outgoing sockets, and raises the limit on descriptors.
//!
//! Every socket made here is non-blocking and closed on exec. Must never wait: a connection is only begun
//! here, and the caller waits for it.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::types::limits;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens on `addr`; for port 0 the system chooses a port. A port can be used again although old connections
/// of it are still in `TIME_WAIT`.
///
/// # Errors
/// [`ErrorKind::AddrInUse`] if a program listens there, [`ErrorKind::AddrNotAvailable`] if the address is not
/// this machine's, or another error of the system.
pub fn listen(addr: SocketAddr) -> Result<TcpListener, Error> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    if addr.ip().is_loopback() {
        // A default that paces, such as BBR, needs a timer for every packet, which has no use within a
        // machine. Accepted sockets inherit the algorithm. Every Linux has `reno`; where it must not be
        // chosen, the default stays.
        let _is_not_allowed = socket.set_tcp_congestion(b"reno");
    }
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Begins a connection to `endpoint`, from `bind` unless that is `None` or unspecified. When the socket
/// becomes writable, the connection is established or has failed; [`dialed`] returns which.
///
/// # Errors
/// When the system refuses at once, for instance because no program listens there or there is no route;
/// [`ErrorKind::Unsupported`] if `bind` and `endpoint` are of different families.
pub(super) fn dial(endpoint: SocketAddr, bind: Option<IpAddr>) -> Result<TcpStream, Error> {
    let socket = Socket::new(Domain::for_address(endpoint), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    keep_alive(&SockRef::from(&socket))?;
    if let Some(ip) = bind.filter(|ip| !ip.is_unspecified()) {
        if ip.is_ipv4() != endpoint.is_ipv4() {
            return Err(ErrorKind::Unsupported.into());
        }
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    match socket.connect(&endpoint.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

/// The result of [`dial`], once the socket is writable: this program's address of the connection.
///
/// # Errors
/// Why it failed; [`ErrorKind::ConnectionRefused`] if no program listens there.
pub(super) fn dialed(socket: &TcpStream) -> Result<SocketAddr, Error> {
    if let Some(error) = SockRef::from(socket).take_error()? {
        return Err(error);
    }
    let local = socket.local_addr()?;
    // Without a listener, a socket that the system has given the very port of the endpoint connects to
    // itself.
    if local == socket.peer_addr()? {
        return Err(ErrorKind::ConnectionRefused.into());
    }
    Ok(local)
}

/// Sets the options of an accepted connection; returns this program's address of it.
///
/// # Errors
/// When the system refuses, for instance because the connection has failed already.
pub(super) fn accepted(socket: &TcpStream) -> Result<SocketAddr, Error> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    keep_alive(&SockRef::from(socket))?;
    socket.local_addr()
}

/// Has the system detect that the peer's machine has disappeared. Otherwise a connection that may be idle
/// without a limit would never end.
fn keep_alive(socket: &SockRef<'_>) -> Result<(), Error> {
    let interval = limits::ms(limits::KEEP_ALIVE_INTERVAL_MS);
    let often = TcpKeepalive::new().with_time(limits::ms(limits::KEEP_ALIVE_MS)).with_interval(interval);
    socket.set_tcp_keepalive(&often.with_retries(limits::KEEP_ALIVE_PROBES))
}

/// Raises the soft limit on open files to the hard one; returns the limit (`None`: no limit). If the system
/// refuses, the limit stays, which is not an error.
pub fn raise_file_limit() -> Option<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_and_a_foreign_address_are_different_errors() {
        let first = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let addr = first.local_addr().expect("bound");
        assert_eq!(listen(addr).expect_err("in use").kind(), ErrorKind::AddrInUse);
        let foreign = listen("192.0.2.1:0".parse().expect("an address"));
        assert_eq!(foreign.expect_err("not ours").kind(), ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn accepted_sockets_have_the_options_and_reno_on_loopback() {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let _client = TcpStream::connect(addr).expect("it listens");
        rustix::event::poll(&mut [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)], None)
            .expect("a descriptor");
        let (socket, _) = listener.accept().expect("it has connected");
        assert_eq!(accepted(&socket).expect("a socket"), addr);
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().expect("a socket") && socket.tcp_nodelay().expect("a socket"));
        let plain = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let _is_not_allowed = plain.set_tcp_congestion(b"reno");
        assert_eq!(socket.tcp_congestion().expect("a socket"), plain.tcp_congestion().expect("a socket"));
    }

    #[test]
    fn outgoing_connections_use_keep_alive() {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let socket = dial(listener.local_addr().expect("bound"), None).expect("it listens");
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().expect("a socket"));
        assert_eq!(socket.tcp_keepalive_time().expect("a socket"), limits::ms(limits::KEEP_ALIVE_MS));
    }

    #[test]
    fn the_soft_file_limit_is_raised_to_the_hard_one() {
        let now = raise_file_limit();
        assert_eq!(now, getrlimit(Resource::Nofile).maximum);
    }
}
