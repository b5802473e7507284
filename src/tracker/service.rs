//! The service of a front thread: what happens on its connections. `requests.rs` has the reply to each
//! request.
//!
//! The registry decides; the service keeps only what each connection is for. It never holds the registry's
//! lock while it waits.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::shared::Shared;
use crate::logic::registry::{CallBack, CallBackResult, Claim, Reachability, RegistryError, SessionId};
use crate::net::{Closed, ConnActions, ConnId, NextRead, Service};
use crate::proto::peer::{PeerReply, PeerRequest};
use crate::proto::tracker::{ReplyBody, TrackerRefusal, TrackerReply, TrackerRequest};
use crate::proto::{CodecError, Decoder, FrameError, decode, frame};
use crate::rt::clock;
use crate::types::{limits, reason};

/// Mail to a front: it shall call this suspect back.
#[derive(Debug)]
pub(super) struct CallSuspect(pub(super) CallBack);

/// The peer at the other end of an accepted connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requester {
    /// The registry's number of the connection.
    pub(super) session: SessionId,
    /// Address of the peer.
    pub(super) from: IpAddr,
}

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Session {
    /// A peer sends requests. The registry knows the session only after a hello.
    Requester { requester: Requester, said_hello: bool },
    /// A call-back that verifies an endpoint: the tracker asks the listener whether it belongs to the control
    /// connection `control` of this front. `answered`: the reply has arrived.
    VerifyCall { control: ConnId, session: SessionId, claim: Claim, from: IpAddr, answered: bool },
    /// A call-back to a suspect: the tracker asks whether it is still there.
    SuspectCall { call_back: CallBack, answered: bool },
}

/// Serves the connections of one front thread.
#[derive(Debug)]
pub(super) struct TrackerService {
    pub(super) shared: Arc<Shared>,
    pub(super) rng: SmallRng,
}

impl TrackerService {
    pub(super) fn new(shared: Arc<Shared>) -> TrackerService {
        TrackerService { shared, rng: SmallRng::from_os_rng() }
    }

    fn reply(&self, body: ReplyBody) -> Vec<u8> {
        let reply = TrackerReply { epoch: self.shared.epoch, body };
        frame(&reply).unwrap_or_else(|error: CodecError| {
            unreachable!("a page is far smaller than a frame may be: {error}")
        })
    }

    fn refuse(&self, conn: ConnId, error: &RegistryError, actions: &mut ConnActions<Session>) {
        let refusal = match error {
            RegistryError::NotRegistered => {
                // The connection may have been that of a registered node. Without a registration it may not
                // be idle without a limit.
                actions.keep_idle(conn, false);
                TrackerRefusal::NotRegistered
            }
            error => TrackerRefusal::Limit(reason(&error.to_string()).to_owned()),
        };
        actions.send(conn, self.reply(ReplyBody::Refused(refusal)));
    }

    fn malformed(&self, why: &str) -> Vec<u8> {
        self.reply(ReplyBody::Refused(TrackerRefusal::Malformed(reason(why).to_owned())))
    }

    /// Ends the call-back to `endpoint` that `from` caused: puts the registration in effect and answers the
    /// control connection that waits for it. `unproved` says why the endpoint is not verified.
    fn conclude(
        &mut self,
        control: ConnId,
        session: SessionId,
        (endpoint, from): (SocketAddr, IpAddr),
        unproved: Option<String>,
        actions: &mut ConnActions<Session>,
    ) {
        let reachability = if unproved.is_none() { Reachability::Verified } else { Reachability::Unverified };
        let outcome = {
            let mut registry = self.shared.registry.write();
            registry.end_call_back(endpoint, from);
            registry.commit_register(session, reachability, clock::now())
        };
        match outcome {
            Ok(()) => {
                self.shared.record_publication();
                actions.keep_idle(control, true);
                actions.send(control, self.reply(ReplyBody::Registered { unproved }));
            }
            Err(error) => self.refuse(control, &error, actions),
        }
        actions.release(control);
    }
}

impl Service for TrackerService {
    type Session = Session;
    type Event = CallSuspect;
    type Decoder = Decoder;

    fn accepted(&mut self, peer: SocketAddr, _local: SocketAddr) -> Session {
        let id = SessionId(self.shared.next_session.fetch_add(1, Ordering::Relaxed));
        let requester = Requester { session: id, from: peer.ip().to_canonical() };
        Session::Requester { requester, said_hello: false }
    }

    fn message(
        &mut self,
        id: ConnId,
        session: &mut Session,
        body: &[u8],
        actions: &mut ConnActions<Session>,
    ) -> NextRead {
        match session {
            Session::Requester { requester, said_hello } => {
                let request = match decode(body) {
                    Ok(request) => request,
                    Err(error) => {
                        actions.send(id, self.malformed(&error.to_string()));
                        return NextRead::Close;
                    }
                };
                *said_hello |= matches!(request, TrackerRequest::Hello(_));
                match self.answer(id, *requester, request, actions) {
                    Ok(Some(body)) => actions.send(id, self.reply(body)),
                    Ok(None) => return NextRead::Hold,
                    Err(error) => self.refuse(id, &error, actions),
                }
                NextRead::Next
            }
            Session::VerifyCall { control, session, claim, from, answered } => {
                *answered = true;
                let unproved = match decode(body) {
                    Ok(PeerReply::Identity { node, nonce })
                        if node == claim.node && nonce == Some(claim.nonce) =>
                    {
                        None
                    }
                    Ok(PeerReply::Identity { .. }) => Some("another node answers there"),
                    _ => Some("what answers there is not a node"),
                };
                let unproved = unproved.map(str::to_owned);
                self.conclude(*control, *session, (claim.endpoint, *from), unproved, actions);
                NextRead::Close
            }
            Session::SuspectCall { call_back, answered } => {
                *answered = true;
                let outcome = match decode(body) {
                    Ok(PeerReply::Identity { node, .. }) => CallBackResult::Answered { node },
                    _ => CallBackResult::Refused,
                };
                self.shared.registry.write().apply_call_back(*call_back, outcome, clock::now());
                NextRead::Close
            }
        }
    }

    fn malformed_reply(&mut self, error: &FrameError) -> Option<Vec<u8>> {
        Some(self.malformed(&error.to_string()))
    }

    fn event(&mut self, CallSuspect(call_back): CallSuspect, actions: &mut ConnActions<Session>) {
        let call = Session::SuspectCall { call_back, answered: false };
        actions.connect(
            call_back.endpoint,
            None,
            call,
            PeerRequest::Identify.framed(),
            limits::ms(limits::CALL_BACK_DEADLINE_MS),
        );
    }

    fn sent(&mut self, _id: ConnId, _session: &mut Session, _tag: u64, _actions: &mut ConnActions<Session>) {}

    fn closed(&mut self, _id: ConnId, session: Session, why: &Closed, actions: &mut ConnActions<Session>) {
        match session {
            Session::Requester { said_hello: false, .. } => {}
            Session::Requester { requester, said_hello: true } => {
                self.shared.registry.write().disconnected(requester.session, clock::now());
                self.shared.record_change();
            }
            Session::VerifyCall { answered: true, .. } | Session::SuspectCall { answered: true, .. } => {}
            Session::VerifyCall { control, session, claim, from, .. } => {
                let unproved = format!("it cannot be reached there: {}", call_failure(why));
                self.conclude(control, session, (claim.endpoint, from), Some(unproved), actions);
            }
            Session::SuspectCall { call_back, .. } => {
                let outcome =
                    if *why == Closed::Refused { CallBackResult::Refused } else { CallBackResult::Silent };
                self.shared.registry.write().apply_call_back(call_back, outcome, clock::now());
            }
        }
    }
}

/// Why a call-back got no answer. The user of the node reads it.
fn call_failure(why: &Closed) -> String {
    match why {
        Closed::Refused => "connection refused".into(),
        Closed::Deadline => format!("no answer within {} ms", limits::CALL_BACK_DEADLINE_MS),
        Closed::Error(kind) => kind.to_string(),
        Closed::Malformed => "what answers there is not a node".into(),
        // The node has closed it, or this front ends.
        _ => "the connection was closed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::registry::Limits;
    use crate::net::Deadlines;
    use crate::proto::tracker::Hello;
    use crate::rt::EventBroadcast;
    use crate::tracker::{Tracker, TrackerConfig};
    use crate::types::{NodeId, Nonce};
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::time::Duration;

    /// Longer than any step of these tests takes.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// One end of a connection. A read panics after [`PATIENCE`].
    struct Talk {
        socket: TcpStream,
        decoder: Decoder,
    }

    impl Talk {
        fn over(socket: TcpStream) -> Talk {
            socket.set_read_timeout(Some(PATIENCE)).expect("a valid time");
            Talk { socket, decoder: Decoder::new() }
        }

        fn send<T: serde::Serialize>(&mut self, message: &T) {
            self.socket.write_all(&frame(message).expect("it fits")).expect("taken");
        }

        /// The next message; `None` at the end of the connection.
        fn receive<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
            let mut scratch = [0; 1000];
            loop {
                if let Some(body) = self.decoder.next().expect("frames") {
                    return Some(decode(body).expect("a message"));
                }
                match self.socket.read(&mut scratch).expect("in time") {
                    0 => return None,
                    len => self.decoder.push(&scratch[..len]),
                }
            }
        }

        fn ask(&mut self, request: &TrackerRequest) -> ReplyBody {
            self.send(request);
            self.receive::<TrackerReply>().expect("answered").body
        }
    }

    fn tracker(idle: Duration) -> Tracker {
        let deadlines = Deadlines { idle, ..Deadlines::default() };
        Tracker::start(&TrackerConfig { deadlines, ..TrackerConfig::default() }).expect("it starts")
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").expect("a free port")
    }

    /// Says hello and sends an empty catalog. The reply waits for the call-back to `listener`.
    fn begin_registration(tracker: &Tracker, node: NodeId, listener: &TcpListener) -> (Talk, Nonce) {
        let endpoint = listener.local_addr().expect("bound");
        let mut control = Talk::over(TcpStream::connect(tracker.addr()).expect("it listens"));
        let hello = Hello { node, endpoint, heartbeat_ms: 0, attributes: Vec::new() };
        let ReplyBody::Welcome { nonce } = control.ask(&TrackerRequest::Hello(hello)) else {
            panic!("not welcome")
        };
        control.send(&TrackerRequest::Register { entries: Vec::new(), last: true });
        (control, nonce)
    }

    fn answer_call_back(listener: &TcpListener, node: NodeId, nonce: Nonce) {
        let mut call = Talk::over(listener.accept().expect("called back").0);
        assert_eq!(call.receive(), Some(PeerRequest::Identify));
        call.send(&PeerReply::Identity { node, nonce: Some(nonce) });
    }

    fn registered(tracker: &Tracker, node: NodeId, listener: &TcpListener) -> Talk {
        let (mut control, nonce) = begin_registration(tracker, node, listener);
        answer_call_back(listener, node, nonce);
        let reply = control.receive::<TrackerReply>().expect("answered").body;
        assert_eq!(reply, ReplyBody::Registered { unproved: None });
        control
    }

    #[test]
    fn a_control_connection_may_be_idle_without_a_limit_only_while_its_node_is_registered() {
        let tracker = tracker(Duration::from_millis(200));
        let mut stays = registered(&tracker, NodeId(1), &listener());
        let mut leaves = registered(&tracker, NodeId(2), &listener());
        assert_eq!(leaves.ask(&TrackerRequest::Leave), ReplyBody::Left);
        assert_eq!(leaves.receive::<TrackerReply>(), None, "closed after a while");
        // Another connection replaces the first registration at this endpoint.
        let contested = listener();
        let mut replaced = registered(&tracker, NodeId(3), &contested);
        let mut replaces = registered(&tracker, NodeId(3), &contested);
        let refused = ReplyBody::Refused(TrackerRefusal::NotRegistered);
        assert_eq!(replaced.ask(&TrackerRequest::Heartbeat { load: 0 }), refused);
        assert_eq!(replaced.receive::<TrackerReply>(), None, "closed after a while");
        for talk in [&mut stays, &mut replaces] {
            assert_eq!(talk.ask(&TrackerRequest::Heartbeat { load: 0 }), ReplyBody::Alive);
        }
        assert!(tracker.stop().is_clean());
    }

    #[test]
    fn a_half_closed_control_connection_gets_all_its_answers() {
        let (tracker, node) = (tracker(PATIENCE), NodeId(1));
        let listener = listener();
        let (mut control, nonce) = begin_registration(&tracker, node, &listener);
        control.send(&TrackerRequest::ListNodes { skip: 0 });
        control.socket.shutdown(Shutdown::Write).expect("connected");
        answer_call_back(&listener, node, nonce);
        let mut replies = Vec::new();
        while let Some(TrackerReply { body, .. }) = control.receive() {
            replies.push(body);
        }
        match &replies[..] {
            [ReplyBody::Registered { unproved: None }, ReplyBody::Nodes { nodes, more: false }] => {
                assert_eq!(nodes.iter().map(|row| row.node).collect::<Vec<_>>(), [node]);
            }
            other => panic!("{other:?}"),
        }
        assert!(tracker.stop().is_clean());
    }

    #[test]
    fn the_end_of_a_connection_without_a_hello_does_not_take_the_write_lock_of_the_registry() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let shared = Arc::new(Shared::new(addr, Limits::default(), EventBroadcast::default()));
        let (mut service, mut actions) = (TrackerService::new(Arc::clone(&shared)), ConnActions::default());
        let find = frame(&TrackerRequest::ListFiles { after: None }).expect("it fits");
        // Another thread is reading.
        let reading = shared.registry.read();
        let (done, is_done) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut session = service.accepted(addr, addr);
                service.message(ConnId(1), &mut session, &find[8..], &mut actions);
                service.closed(ConnId(1), session, &Closed::Peer, &mut actions);
                done.send(()).expect("the test waits");
            });
            let outcome = is_done.recv_timeout(PATIENCE);
            drop(reading);
            outcome.expect("it waits for the lock");
        });
    }
}
