//! Sets up sockets: listeners, outgoing connections and accepted ones. Also raises the limit on descriptors.
//!
//! Every socket made here is non-blocking and closed on exec. No function here waits: `begin_dial` begins a
//! connection, the caller waits until the socket is writable, and `finish_dial` ends it.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::types::limits;

/// Maximum number of connections that wait to be accepted.
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
        // A default congestion control that paces its packets, such as BBR, sets a timer for each packet.
        // That only costs time within a machine. Accepted sockets inherit the algorithm. Every Linux has
        // `reno`; a machine that does not allow it keeps its default.
        socket.set_tcp_congestion(b"reno").ok();
    }
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Begins a connection to `endpoint`, from `bind` unless that is `None` or unspecified. When the socket
/// becomes writable, the connection is established or has failed; [`finish_dial`] returns which.
///
/// # Errors
/// When the kernel refuses at once, for instance because no program listens there or there is no route;
/// [`ErrorKind::Unsupported`] if `bind` and `endpoint` are of different families.
pub(super) fn begin_dial(endpoint: SocketAddr, bind: Option<IpAddr>) -> Result<TcpStream, Error> {
    let socket = Socket::new(Domain::for_address(endpoint), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    set_keepalive(&SockRef::from(&socket))?;
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

/// Ends [`begin_dial`], once the socket is writable. Returns the local address of the connection.
///
/// # Errors
/// Why it failed; [`ErrorKind::ConnectionRefused`] if no program listens there.
pub(super) fn finish_dial(socket: &TcpStream) -> Result<SocketAddr, Error> {
    if let Some(error) = SockRef::from(socket).take_error()? {
        return Err(error);
    }
    let local = socket.local_addr()?;
    // A TCP self-connect: no program listens at the endpoint, and the kernel happened to choose the
    // endpoint's port as the local port of this socket.
    if local == socket.peer_addr()? {
        return Err(ErrorKind::ConnectionRefused.into());
    }
    Ok(local)
}

/// Sets the options of an accepted connection; returns its local address.
///
/// # Errors
/// When the kernel refuses, for instance because the connection has failed already.
pub(super) fn set_up_accepted(socket: &TcpStream) -> Result<SocketAddr, Error> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    set_keepalive(&SockRef::from(socket))?;
    socket.local_addr()
}

/// Makes the kernel send keepalive probes, which detect that the peer's machine has disappeared. Without
/// them a connection that may be idle without a limit would never end.
fn set_keepalive(socket: &SockRef<'_>) -> Result<(), Error> {
    let interval = limits::ms(limits::KEEP_ALIVE_INTERVAL_MS);
    let keepalive = TcpKeepalive::new().with_time(limits::ms(limits::KEEP_ALIVE_MS)).with_interval(interval);
    socket.set_tcp_keepalive(&keepalive.with_retries(limits::KEEP_ALIVE_PROBES))
}

/// Raises the soft limit on open files to the hard one; returns the limit (`None`: no limit). If the kernel
/// refuses, the limit stays, which is not an error.
pub fn raise_file_limit() -> Option<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).ok();
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
        assert_eq!(set_up_accepted(&socket).expect("a socket"), addr);
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().expect("a socket") && socket.tcp_nodelay().expect("a socket"));
        let plain = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        plain.set_tcp_congestion(b"reno").ok();
        assert_eq!(socket.tcp_congestion().expect("a socket"), plain.tcp_congestion().expect("a socket"));
    }

    #[test]
    fn outgoing_connections_use_keep_alive() {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let socket = begin_dial(listener.local_addr().expect("bound"), None).expect("it listens");
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
