//! Sends one request to each of many peers at once, on the calling thread.
//!
//! A slow or hostile peer does not delay the others, as long as there are at most `SOCKETS_MAX` requests. The
//! call takes no longer than its [`Timeouts`], except that it returns later to emulate a latency.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::SockRef;

use super::client::{ClientError, poll_until};
use super::listen::{begin_dial, finish_dial};
use crate::proto::Decoder;
use crate::rt::{Stop, clock};

/// Maximum number of sockets that are open at once; further requests wait until one is closed.
const SOCKETS_MAX: usize = 256;
/// Maximum number of bytes of one read.
const READ_BYTES: usize = 16 << 10;

/// A request to a peer.
#[derive(Debug, Clone)]
pub struct Request {
    /// Address of the peer.
    pub endpoint: SocketAddr,
    /// The message in its frame.
    pub frame: Vec<u8>,
    /// Maximum length of the body of a response; a longer one is an error. All responses are in memory at
    /// once.
    pub response_max_bytes: usize,
    /// Emulated latency: if there is a response, the call returns at least this long after it sent the
    /// request, unless it is stopped.
    pub hold_back: Duration,
}

/// When to stop waiting for peers that have not responded.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// This long after the start if no peer has responded.
    pub silence: Duration,
    /// This long after the first response.
    pub after_first: Duration,
}

/// The response of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Body of the frame.
    pub body: Vec<u8>,
    /// Time from the first byte of the request until the last byte of the response. The time to connect and
    /// emulated latency do not count.
    pub round_trip: Duration,
}

/// Sends all `requests` and returns the results in their order. Ends when each has a response or has failed,
/// or at the end of `timeouts`; then the result of a request without a response is [`ClientError::Deadline`].
/// `hold_back` does not count towards `timeouts`.
///
/// # Errors
/// When `poll` fails. A triggered `stop` is not an error of the call: the result of a request without a
/// response is [`ClientError::Stopped`] then.
pub fn request_all(
    requests: &[Request],
    bind: Option<IpAddr>,
    timeouts: Timeouts,
    stop: &Stop,
) -> io::Result<Vec<Result<Response, ClientError>>> {
    let mut results: Vec<Option<Result<Response, ClientError>>> = vec![None; requests.len()];
    let mut deadline = clock::now() + timeouts.silence;
    let mut has_response = false;
    let mut held_back_until = clock::now();
    let mut unsent = requests.iter().enumerate();
    let mut open: Vec<Exchange> = Vec::new();
    let reason_without_response = loop {
        for (index, request) in unsent.by_ref().take(SOCKETS_MAX - open.len()) {
            match begin_dial(request.endpoint, bind) {
                Ok(socket) => open.push(Exchange::new(index, socket, request.response_max_bytes)),
                Err(error) => results[index] = Some(Err(error.into())),
            }
        }
        if open.is_empty() && unsent.len() == 0 {
            // Each request has a result: this reason is not used.
            break ClientError::Deadline;
        }
        let mut watched: Vec<PollFd<'_>> =
            open.iter().map(|exchange| exchange.watched(&requests[exchange.index].frame)).collect();
        watched.push(PollFd::new(stop, PollFlags::IN));
        poll_until(&mut watched, deadline)?;
        let ready: Vec<bool> = watched.iter().map(|one| !one.revents().is_empty()).collect();
        if stop.is_triggered() {
            break ClientError::Stopped;
        }
        // The clock is read before the responses: those that have arrived by now still count, even if this
        // thread did not run for a while.
        let is_late = clock::now() >= deadline;
        let mut position = 0;
        open.retain_mut(|exchange| {
            position += 1;
            if !ready[position - 1] {
                return true;
            }
            let request = &requests[exchange.index];
            let Some(result) = exchange.resume(&request.frame) else { return true };
            if let (Ok(response), Some(sent)) = (&result, exchange.sent) {
                if !has_response {
                    has_response = true;
                    deadline = sent + response.round_trip + timeouts.after_first;
                }
                held_back_until = held_back_until.max(sent + request.hold_back);
            }
            results[exchange.index] = Some(result);
            false
        });
        if is_late {
            break ClientError::Deadline;
        }
    };
    drop(open);
    let is_stopped = stop.wait_until(held_back_until);
    let reason = if is_stopped { ClientError::Stopped } else { reason_without_response };
    Ok(results.into_iter().map(|result| result.unwrap_or_else(|| Err(reason.clone()))).collect())
}

/// The exchange with one peer.
struct Exchange {
    /// Number of the request.
    index: usize,
    socket: TcpStream,
    is_connected: bool,
    written_bytes: usize,
    /// When the first byte of the request was written.
    sent: Option<Instant>,
    decoder: Decoder,
}

impl Exchange {
    fn new(index: usize, socket: TcpStream, response_max_bytes: usize) -> Exchange {
        let decoder = Decoder::up_to(response_max_bytes);
        Exchange { index, socket, is_connected: false, written_bytes: 0, sent: None, decoder }
    }

    /// What the exchange waits for.
    fn watched(&self, frame: &[u8]) -> PollFd<'_> {
        let interest = if self.written_bytes < frame.len() { PollFlags::OUT } else { PollFlags::IN };
        PollFd::new(&self.socket, interest)
    }

    /// Continues as far as it can without waiting; `None` while there is no result.
    fn resume(&mut self, frame: &[u8]) -> Option<Result<Response, ClientError>> {
        match self.try_resume(frame) {
            Ok(response) => Some(Ok(response)),
            Err(NoResponse::Failed(error)) => Some(Err(error)),
            Err(NoResponse::NotReady) => None,
        }
    }

    fn try_resume(&mut self, frame: &[u8]) -> Result<Response, NoResponse> {
        if !self.is_connected {
            finish_dial(&self.socket)?;
            self.is_connected = true;
        }
        // Before the write: the response may be there when the write returns.
        let sent = *self.sent.get_or_insert_with(clock::now);
        while self.written_bytes < frame.len() {
            self.written_bytes += self.socket.write(&frame[self.written_bytes..])?;
        }
        let mut scratch = [0; READ_BYTES];
        // This loop is bounded: the decoder refuses a response that is too long, and a complete one ends it.
        loop {
            let len = self.socket.read(&mut scratch)?;
            if len == 0 {
                return Err(NoResponse::Failed(ClientError::Closed));
            }
            self.decoder.push(&scratch[..len]);
            if let Some(body) = self.decoder.next().map_err(|error| NoResponse::Failed(error.into()))? {
                let round_trip = clock::now() - sent;
                // The exchange is complete. A reset frees the local port at once; an ordinary close would
                // keep it in `TIME_WAIT` for a minute.
                SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).ok();
                return Ok(Response { body: body.to_vec(), round_trip });
            }
        }
    }
}

/// Why an exchange has no response now.
enum NoResponse {
    NotReady,
    Failed(ClientError),
}

impl From<io::Error> for NoResponse {
    fn from(error: io::Error) -> NoResponse {
        match error.kind() {
            // After an interrupted call the socket is still ready, so the next `poll` reports it at once.
            ErrorKind::WouldBlock | ErrorKind::Interrupted => NoResponse::NotReady,
            _ => NoResponse::Failed(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{decode, frame};
    use std::net::TcpListener;

    const LONG: Timeouts =
        Timeouts { silence: Duration::from_secs(10), after_first: Duration::from_secs(10) };

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = listener.local_addr().expect("bound");
        (listener, endpoint)
    }

    fn request(endpoint: SocketAddr, message: u32) -> Request {
        let frame = frame(&message).expect("fits");
        Request { endpoint, frame, response_max_bytes: 4, hold_back: Duration::ZERO }
    }

    /// Accepts `count` connections and answers the number in each request with the number plus one.
    fn answer(listener: &TcpListener, count: usize) {
        for _ in 0..count {
            let (mut peer, _) = listener.accept().expect("connected");
            let mut body = vec![0; frame(&0u32).expect("fits").len()];
            peer.read_exact(&mut body).expect("sent");
            let number: u32 = decode(&body[crate::proto::frame::HEADER_BYTES..]).expect("a number");
            peer.write_all(&frame(&(number + 1)).expect("fits")).expect("taken");
        }
    }

    #[test]
    fn refusing_silent_closing_and_answering_peers_get_their_results() {
        let (refusing, refused) = listener();
        drop(refusing);
        let (_silent, silence) = listener();
        let (closing, closed) = listener();
        let (answering, answered) = listener();
        let stop = Stop::new().expect("a descriptor");
        let requests = [request(refused, 1), request(silence, 2), request(answered, 3), request(closed, 4)];
        let timeouts = Timeouts { after_first: Duration::from_millis(200), ..LONG };
        let results = std::thread::scope(|scope| {
            scope.spawn(|| drop(closing.accept()));
            scope.spawn(|| answer(&answering, 1));
            request_all(&requests, None, timeouts, &stop).expect("the system can wait")
        });
        assert_eq!(results[0], Err(ClientError::Refused));
        assert_eq!(results[1], Err(ClientError::Deadline));
        let answer = results[2].as_ref().expect("answered");
        assert_eq!(decode(&answer.body), Ok(4u32));
        assert!(matches!(results[3], Err(ClientError::Closed | ClientError::Io(ErrorKind::ConnectionReset))));
    }

    #[test]
    fn without_a_response_the_call_ends_at_its_timeout_or_at_a_stop() {
        let (_silent, silence) = listener();
        let stop = Stop::new().expect("a descriptor");
        let requests = [request(silence, 1), request(silence, 2)];
        let timeouts = Timeouts { silence: Duration::from_millis(50), ..LONG };
        let late = request_all(&requests, None, timeouts, &stop).expect("the system can wait");
        assert_eq!(late, vec![Err(ClientError::Deadline); 2]);
        std::thread::scope(|scope| {
            let requesting = scope.spawn(|| request_all(&requests, None, LONG, &stop));
            stop.trigger();
            let stopped = requesting.join().expect("no panic").expect("the system can wait");
            assert_eq!(stopped, vec![Err(ClientError::Stopped); 2]);
        });
    }

    #[test]
    fn more_requests_than_sockets_are_answered_in_order() {
        crate::net::raise_file_limit();
        let (answering, endpoint) = listener();
        let stop = Stop::new().expect("a descriptor");
        let requests: Vec<Request> = (0..600).map(|number| request(endpoint, number)).collect();
        let results = std::thread::scope(|scope| {
            scope.spawn(|| answer(&answering, 600));
            request_all(&requests, None, LONG, &stop).expect("the system can wait")
        });
        for (number, result) in results.iter().enumerate() {
            assert_eq!(decode(&result.as_ref().expect("answered").body), Ok(number as u32 + 1));
        }
    }

    #[test]
    fn a_response_held_back_beyond_the_timeouts_still_counts() {
        let (answering, endpoint) = listener();
        let stop = Stop::new().expect("a descriptor");
        let hold_back = Duration::from_millis(300);
        let requests = [Request { hold_back, ..request(endpoint, 1) }, request(endpoint, 2)];
        let timeouts = Timeouts { after_first: Duration::from_millis(100), ..LONG };
        let started = clock::now();
        let results = std::thread::scope(|scope| {
            scope.spawn(|| answer(&answering, 2));
            request_all(&requests, None, timeouts, &stop).expect("the system can wait")
        });
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert!(clock::now() - started >= hold_back);
    }

    #[test]
    fn a_response_that_is_too_long_is_refused_at_its_header() {
        let (listener, endpoint) = listener();
        let stop = Stop::new().expect("a descriptor");
        let results = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut peer, _) = listener.accept().expect("connected");
                peer.write_all(b"NPR\x01\x05\0\0\0").expect("taken");
                // Held open until the requesting end has closed.
                peer.read_to_end(&mut Vec::new()).ok();
            });
            request_all(&[request(endpoint, 1)], None, LONG, &stop).expect("the system can wait")
        });
        let too_long = crate::proto::FrameError::TooLong { claimed: 5, max: 4 };
        assert_eq!(results[0], Err(ClientError::Frame(too_long)));
    }
}
