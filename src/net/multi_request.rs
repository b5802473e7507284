//! Asks many peers one question each, all at once, on the calling thread.
//!
//! One slow or hostile peer never delays the others, and the whole takes no longer than [`Timeouts`] says,
//! but for answers that are there and held back to play a longer way.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::SockRef;

use super::client::{ClientError, poll_until};
use super::listen::{dial, dialed};
use crate::proto::Decoder;
use crate::rt::{Stop, clock};

/// Most sockets open at once; further questions wait for one to be free.
const SOCKETS_MAX: usize = 256;
/// Most bytes taken from a socket at a time.
const READ_BYTES: usize = 16 << 10;

/// One frame for one peer.
#[derive(Debug, Clone)]
pub struct Request {
    /// The peer that gets the request.
    pub endpoint: SocketAddr,
    /// The request in its envelope.
    pub frame: Vec<u8>,
    /// Longest body of an answer; a longer one is refused. All answers of a round are kept at once.
    pub answer_max_bytes: usize,
    /// Emulated latency: the answer is given out no sooner than this after the request was sent.
    pub hold_back: Duration,
}

/// When to stop waiting for those that have not answered.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// This long after the start if nobody has answered.
    pub silence: Duration,
    /// This long after the first answer.
    pub after_first: Duration,
}

/// What a peer answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Body of the one frame that came back.
    pub body: Vec<u8>,
    /// From the moment the request was sent (connection set up before) until the answer was there, as it was,
    /// not as emulated.
    pub round_trip: Duration,
}

/// Asks all `questions` and gives the results in their order. Ends when each is answered or has failed, or
/// when `patience` ends; what is unanswered then is a [`ClientError::Deadline`]. `hold_back` does not count
/// towards `patience`.
///
/// # Errors
/// When the system cannot wait. A triggered `stop` is no error here: it makes the unanswered ones
/// [`ClientError::Stopped`].
pub fn ask_all(
    questions: &[Request],
    bind: Option<IpAddr>,
    patience: Timeouts,
    stop: &Stop,
) -> io::Result<Vec<Result<Response, ClientError>>> {
    let mut results: Vec<Option<Result<Response, ClientError>>> = vec![None; questions.len()];
    let mut deadline = clock::now() + patience.silence;
    let mut answered = false;
    let mut held_back_until = clock::now();
    let mut unasked = questions.iter().enumerate();
    let mut open: Vec<Asking> = Vec::new();
    let late = loop {
        for (index, question) in unasked.by_ref().take(SOCKETS_MAX - open.len()) {
            match dial(question.endpoint, bind) {
                Ok(socket) => open.push(Asking::new(index, socket, question.answer_max_bytes)),
                Err(error) => results[index] = Some(Err(error.into())),
            }
        }
        if open.is_empty() && unasked.len() == 0 {
            break ClientError::Deadline;
        }
        let mut watched: Vec<PollFd<'_>> =
            open.iter().map(|asking| asking.watched(&questions[asking.index].frame)).collect();
        watched.push(PollFd::new(stop, PollFlags::IN));
        poll_until(&mut watched, deadline)?;
        let ready: Vec<bool> = watched.iter().map(|one| !one.revents().is_empty()).collect();
        if stop.is_triggered() {
            break ClientError::Stopped;
        }
        // Before the answers are taken: those that are there by now still count, however late this thread
        // comes to look.
        let is_late = clock::now() >= deadline;
        let mut position = 0;
        open.retain_mut(|asking| {
            position += 1;
            if !ready[position - 1] {
                return true;
            }
            let question = &questions[asking.index];
            let Some(result) = asking.go_on(&question.frame) else { return true };
            if let (Ok(answer), Some(sent)) = (&result, asking.sent) {
                if !answered {
                    answered = true;
                    deadline = sent + answer.round_trip + patience.after_first;
                }
                held_back_until = held_back_until.max(sent + question.hold_back);
            }
            results[asking.index] = Some(result);
            false
        });
        if is_late {
            break ClientError::Deadline;
        }
    };
    drop(open);
    let stopped = stop.wait_until(held_back_until);
    let missing = if stopped { ClientError::Stopped } else { late };
    Ok(results.into_iter().map(|result| result.unwrap_or_else(|| Err(missing.clone()))).collect())
}

/// One question under way.
struct Asking {
    /// Which question.
    index: usize,
    socket: TcpStream,
    connected: bool,
    written: usize,
    /// When the request began to be handed to the system.
    sent: Option<Instant>,
    decoder: Decoder,
}

impl Asking {
    fn new(index: usize, socket: TcpStream, answer_max_bytes: usize) -> Asking {
        let decoder = Decoder::up_to(answer_max_bytes);
        Asking { index, socket, connected: false, written: 0, sent: None, decoder }
    }

    /// What the question waits for.
    fn watched(&self, frame: &[u8]) -> PollFd<'_> {
        let interest = if self.written < frame.len() { PollFlags::OUT } else { PollFlags::IN };
        PollFd::new(&self.socket, interest)
    }

    /// Goes on as far as it can without waiting; `None` while there is no result.
    fn go_on(&mut self, frame: &[u8]) -> Option<Result<Response, ClientError>> {
        match self.try_go_on(frame) {
            Ok(answer) => Some(Ok(answer)),
            Err(Pause::Failed(error)) => Some(Err(error)),
            Err(Pause::NotReady) => None,
        }
    }

    fn try_go_on(&mut self, frame: &[u8]) -> Result<Response, Pause> {
        if !self.connected {
            dialed(&self.socket)?;
            self.connected = true;
        }
        // Before the write: the answer may be there by the time that the write returns.
        let sent = *self.sent.get_or_insert_with(clock::now);
        while self.written < frame.len() {
            self.written += self.socket.write(&frame[self.written..])?;
        }
        let mut scratch = [0; READ_BYTES];
        // Bounded by the longest answer: the decoder refuses a longer one and the first complete one ends it.
        loop {
            let len = self.socket.read(&mut scratch)?;
            if len == 0 {
                return Err(Pause::Failed(ClientError::Closed));
            }
            self.decoder.push(&scratch[..len]);
            if let Some(body) = self.decoder.next().map_err(|error| Pause::Failed(error.into()))? {
                let round_trip = clock::now() - sent;
                // All has been said. Closed in the usual way each question would keep a port for a minute.
                let _closes_in_the_usual_way = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
                return Ok(Response { body: body.to_vec(), round_trip });
            }
        }
    }
}

/// Why a question does not go on.
enum Pause {
    NotReady,
    Failed(ClientError),
}

impl From<io::Error> for Pause {
    fn from(error: io::Error) -> Pause {
        match error.kind() {
            // An interrupted call is made again when the socket is found ready again, at once.
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Pause::NotReady,
            _ => Pause::Failed(error.into()),
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

    fn question(endpoint: SocketAddr, message: u32) -> Request {
        let frame = frame(&message).expect("fits");
        Request { endpoint, frame, answer_max_bytes: 4, hold_back: Duration::ZERO }
    }

    /// Answers `count` connections, each with its number plus one.
    fn answer(listener: &TcpListener, count: usize) {
        for _ in 0..count {
            let (mut peer, _) = listener.accept().expect("asked");
            let mut asked = vec![0; frame(&0u32).expect("fits").len()];
            peer.read_exact(&mut asked).expect("sent");
            let number: u32 = decode(&asked[crate::proto::frame::HEADER_BYTES..]).expect("a number");
            peer.write_all(&frame(&(number + 1)).expect("fits")).expect("taken");
        }
    }

    #[test]
    fn one_refuses_one_is_silent_one_closes_one_answers() {
        let (refusing, refused) = listener();
        drop(refusing);
        let (_silent, silence) = listener();
        let (closing, closed) = listener();
        let (answering, answered) = listener();
        let stop = Stop::new().expect("a descriptor");
        let questions =
            [question(refused, 1), question(silence, 2), question(answered, 3), question(closed, 4)];
        let patience = Timeouts { after_first: Duration::from_millis(200), ..LONG };
        let results = std::thread::scope(|scope| {
            scope.spawn(|| drop(closing.accept()));
            scope.spawn(|| answer(&answering, 1));
            ask_all(&questions, None, patience, &stop).expect("the system can wait")
        });
        assert_eq!(results[0], Err(ClientError::Refused));
        assert_eq!(results[1], Err(ClientError::Deadline));
        let answer = results[2].as_ref().expect("answered");
        assert_eq!(decode(&answer.body), Ok(4u32));
        assert!(matches!(results[3], Err(ClientError::Closed | ClientError::Io(ErrorKind::ConnectionReset))));
    }

    #[test]
    fn all_silent_ends_with_the_silence_and_a_stop_ends_it_at_once() {
        let (_silent, silence) = listener();
        let stop = Stop::new().expect("a descriptor");
        let questions = [question(silence, 1), question(silence, 2)];
        let patience = Timeouts { silence: Duration::from_millis(50), ..LONG };
        let late = ask_all(&questions, None, patience, &stop).expect("the system can wait");
        assert_eq!(late, vec![Err(ClientError::Deadline); 2]);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask_all(&questions, None, LONG, &stop));
            stop.trigger();
            let stopped = asking.join().expect("no panic").expect("the system can wait");
            assert_eq!(stopped, vec![Err(ClientError::Stopped); 2]);
        });
    }

    #[test]
    fn more_than_fit_at_once_are_answered_in_order() {
        crate::net::raise_file_limit();
        let (answering, endpoint) = listener();
        let stop = Stop::new().expect("a descriptor");
        let questions: Vec<Request> = (0..600).map(|number| question(endpoint, number)).collect();
        let results = std::thread::scope(|scope| {
            scope.spawn(|| answer(&answering, 600));
            ask_all(&questions, None, LONG, &stop).expect("the system can wait")
        });
        for (number, result) in results.iter().enumerate() {
            assert_eq!(decode(&result.as_ref().expect("answered").body), Ok(number as u32 + 1));
        }
    }

    #[test]
    fn an_answer_held_back_beyond_the_patience_still_counts() {
        let (answering, endpoint) = listener();
        let stop = Stop::new().expect("a descriptor");
        let hold_back = Duration::from_millis(300);
        let questions = [Request { hold_back, ..question(endpoint, 1) }, question(endpoint, 2)];
        let patience = Timeouts { after_first: Duration::from_millis(100), ..LONG };
        let started = clock::now();
        let results = std::thread::scope(|scope| {
            scope.spawn(|| answer(&answering, 2));
            ask_all(&questions, None, patience, &stop).expect("the system can wait")
        });
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert!(clock::now() - started >= hold_back);
    }

    #[test]
    fn an_answer_longer_than_it_can_be_is_refused_at_its_header() {
        let (listener, endpoint) = listener();
        let stop = Stop::new().expect("a descriptor");
        let results = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut peer, _) = listener.accept().expect("asked");
                peer.write_all(b"NPR\x01\x05\0\0\0").expect("taken");
                // Held open until the asker has gone.
                let _whatever = peer.read_to_end(&mut Vec::new());
            });
            ask_all(&[question(endpoint, 1)], None, LONG, &stop).expect("the system can wait")
        });
        let too_long = crate::proto::FrameError::TooLong { claimed: 5, max: 4 };
        assert_eq!(results[0], Err(ClientError::Frame(too_long)));
    }
}
