//! The announce thread: owns the control connection to the tracker. Registers, publishes changes, beats, asks, leaves.
//!
//! It waits for its mailbox, the connection's end and the next heartbeat at once. A lost connection is opened again after a random
//! part of a second (with heartbeats off: at the next request), and the first thing said on it is the whole catalog.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::tracker_client::{News, Request, TrackerClientConfig};
use super::{Changes, DiscoveryError, PublishedCatalog};
use crate::logic::backoff;
use crate::net::client::{Client, ClientError, Woken};
use crate::proto::tracker::{Hello, ReplyBody, TrackerRefusal, TrackerReply, TrackerRequest};
use crate::rt::{Mailbox, Stop, clock};
use crate::types::{Epoch, FileEntry, FileName, NodeSummary, Nonce, Printable, Provider, Query, limits};

/// Register and update pages sent before the first of their replies is read.
const PAGES_AHEAD: usize = 32;
/// Most rows taken from a tracker for one list; a hostile one could page for ever.
const ROWS_MAX: usize = 100_000;

/// The thread's state.
pub(super) struct Announce {
    config: TrackerClientConfig,
    catalog: Arc<dyn PublishedCatalog>,
    nonce: Arc<Mutex<Option<Nonce>>>,
    news: Box<dyn Fn(News) + Send>,
    mail: Mailbox<Request>,
    stop: Stop,
    rng: SmallRng,
    control: Option<Control>,
    /// When to try again without being asked.
    reconnect_at: Option<Instant>,
    known_epoch: Option<Epoch>,
}

/// A control connection on which this node is registered.
struct Control {
    client: Client,
    /// Version of the catalog that the tracker has.
    version: u64,
    next_heartbeat: Option<Instant>,
}

/// What went wrong with a request.
enum Failure {
    /// The connection is of no use any more.
    Connection(ClientError),
    /// The tracker answered something that is no answer to the request.
    Confused,
    Refused(TrackerRefusal),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Connection(error)
    }
}

/// Works until stopped, then leaves the tracker.
pub(super) fn run(mut announce: Announce) {
    if announce.config.heartbeat.is_some() {
        announce.reconnect_at = Some(clock::now());
    }
    while !announce.stop.is_triggered() {
        announce.turn();
    }
    announce.leave();
}

impl Announce {
    pub(super) fn new(
        config: TrackerClientConfig,
        catalog: Arc<dyn PublishedCatalog>,
        nonce: Arc<Mutex<Option<Nonce>>>,
        news: Box<dyn Fn(News) + Send>,
        mail: Mailbox<Request>,
        stop: Stop,
    ) -> Announce {
        let rng = SmallRng::from_os_rng();
        Announce {
            config,
            catalog,
            nonce,
            news,
            mail,
            stop,
            rng,
            control: None,
            reconnect_at: None,
            known_epoch: None,
        }
    }

    /// Waits for one thing and does it.
    fn turn(&mut self) {
        self.mail.clear();
        if let Some(request) = self.mail.next() {
            return self.serve(request);
        }
        let Some(control) = &mut self.control else {
            if self.wait_for_mail_or_reconnect() {
                self.reconnect_at = None;
                if let Err(error) = self.connected() {
                    self.lost(&error.to_string());
                }
            }
            return;
        };
        let deadline =
            control.next_heartbeat.unwrap_or_else(|| clock::now() + limits::ms(limits::HEARTBEAT_MAX_MS));
        match control.client.wait(std::os::fd::AsFd::as_fd(&self.mail), deadline) {
            Ok(Woken::Mail) | Err(ClientError::Stopped) => {}
            Ok(Woken::Deadline) => self.beat(),
            // Nothing was asked: this is the connection's end, or a tracker out of step.
            Ok(Woken::Socket) => self.lost("it closed the control connection"),
            Err(error) => self.lost(&error.to_string()),
        }
    }

    /// Returns true if and only if it is time to connect again.
    fn wait_for_mail_or_reconnect(&mut self) -> bool {
        self.mail.wait(&self.stop, self.reconnect_at);
        self.reconnect_at.is_some_and(|at| at <= clock::now())
    }

    fn serve(&mut self, request: Request) {
        // The asker may have gone; nobody misses the answer then.
        match request {
            Request::Publish(None) => {
                if self.control.is_some()
                    && let Err(error) = self.on_control(|_, _| Ok(()))
                {
                    (self.news)(News::Lost { why: error.to_string() });
                }
            }
            Request::Publish(Some(reply)) => drop(reply.send(self.on_control(|_, _| Ok(())))),
            Request::Find(query, reply) => {
                drop(reply.send(self.on_control(|client, _| find(client, &query))))
            }
            Request::Nodes(reply) => drop(reply.send(self.on_control(|client, _| nodes(client)))),
            Request::Names(reply) => drop(reply.send(self.on_control(|client, _| names(client)))),
        }
    }

    /// Runs `request` on a control connection that is registered and up to date, opening one if there is none. A connection that turns
    /// out to be lost is replaced once.
    fn on_control<T>(
        &mut self,
        request: impl Fn(&mut Client, Epoch) -> Result<T, Failure>,
    ) -> Result<T, DiscoveryError> {
        let had_connection = self.control.is_some();
        match self.try_on_control(&request) {
            Err(DiscoveryError::NoTracker { .. }) if had_connection && !self.stop.is_triggered() => {
                self.try_on_control(&request)
            }
            result => result,
        }
    }

    fn try_on_control<T>(
        &mut self,
        request: impl Fn(&mut Client, Epoch) -> Result<T, Failure>,
    ) -> Result<T, DiscoveryError> {
        self.connected()?;
        let epoch = self.known_epoch.unwrap_or(Epoch(0));
        let result = self.update().and_then(|()| match &mut self.control {
            Some(control) => request(&mut control.client, epoch),
            None => Err(Failure::Confused),
        });
        result.map_err(|failure| {
            let error = self.explained(failure);
            if !matches!(error, DiscoveryError::Refused { .. }) {
                self.lost(&error.to_string());
            }
            error
        })
    }

    /// Makes sure that there is a control connection on which this node is registered.
    fn connected(&mut self) -> Result<(), DiscoveryError> {
        if self.control.is_some() {
            return Ok(());
        }
        let control = self.register().map_err(|failure| {
            let error = self.explained(failure);
            self.schedule_reconnect();
            error
        })?;
        self.control = Some(control);
        self.reconnect_at = None;
        Ok(())
    }

    fn register(&mut self) -> Result<Control, Failure> {
        let tracker = self.config.tracker;
        let deadline = clock::now() + limits::ms(limits::TRACKER_CONNECT_MS);
        let mut client = Client::connect(tracker, Some(self.config.ip), deadline, &self.stop)?;
        let endpoint = self.endpoint(&client);
        let heartbeat_ms = self.config.heartbeat.map_or(0, |interval| interval.as_millis() as u32);
        let hello = Hello { node: self.config.node, endpoint, heartbeat_ms, attributes: vec![] };
        let (epoch, body) = ask(&mut client, &TrackerRequest::Hello(hello))?;
        let ReplyBody::Welcome { nonce } = body else { return Err(Failure::Confused) };
        *self.nonce.lock() = Some(nonce);
        let (version, entries) = self.catalog.snapshot();
        let body = send_pages(&mut client, register_pages(&entries))?;
        let ReplyBody::Registered { unproved } = body else { return Err(Failure::Confused) };
        if let Some(why) = unproved {
            (self.news)(News::Unproved { endpoint, why: Printable(&why).to_string() });
        }
        let again = self.known_epoch.replace(epoch).is_some();
        (self.news)(News::Registered { again });
        let next_heartbeat = self.config.heartbeat.map(|interval| clock::now() + interval);
        Ok(Control { client, version, next_heartbeat })
    }

    /// `--advertise`, else `<ip>:<port>`, else this connection's own address and the listener's port.
    fn endpoint(&self, client: &Client) -> SocketAddr {
        if let Some(advertised) = self.config.advertise {
            return advertised;
        }
        let ip = match self.config.ip {
            ip if ip.is_unspecified() => client.local_addr().ip().to_canonical(),
            ip => ip,
        };
        SocketAddr::new(ip, self.config.port)
    }

    /// Publishes what has changed since the last time.
    fn update(&mut self) -> Result<(), Failure> {
        let Some(control) = &mut self.control else { return Err(Failure::Confused) };
        let body = match self.catalog.changes_since(control.version) {
            Some((_, changes)) if changes.is_empty() => return Ok(()),
            Some((version, changes)) => {
                control.version = version;
                send_pages(&mut control.client, update_pages(&changes))?
            }
            None => {
                let (version, entries) = self.catalog.snapshot();
                control.version = version;
                send_pages(&mut control.client, register_pages(&entries))?
            }
        };
        match body {
            ReplyBody::Updated | ReplyBody::Registered { .. } => Ok(()),
            _ => Err(Failure::Confused),
        }
    }

    fn beat(&mut self) {
        let load = self.catalog.load();
        let Some(control) = &mut self.control else { return };
        control.next_heartbeat = self.config.heartbeat.map(|interval| clock::now() + interval);
        match ask(&mut control.client, &TrackerRequest::Heartbeat { load }) {
            Ok((_, ReplyBody::Alive)) => {}
            Ok(_) => self.lost("it answered a heartbeat with something else"),
            Err(Failure::Refused(TrackerRefusal::NotRegistered)) => {
                self.lost("it does not know this node any more")
            }
            Err(failure) => {
                let error = self.explained(failure);
                self.lost(&error.to_string());
            }
        }
    }

    /// Drops the control connection and plans the next one.
    fn lost(&mut self, why: &str) {
        if self.control.take().is_some() && !self.stop.is_triggered() {
            (self.news)(News::Lost { why: why.to_owned() });
        }
        self.schedule_reconnect();
    }

    fn schedule_reconnect(&mut self) {
        let max = limits::ms(limits::RECONNECT_JITTER_MS);
        self.reconnect_at = self.config.heartbeat.map(|_| clock::now() + backoff::jitter(&mut self.rng, max));
    }

    /// Says goodbye, if that is quickly done.
    fn leave(&mut self) {
        let Some(control) = &mut self.control else { return };
        // Our own stop would end the goodbye; another one has no news.
        let Ok(unstopped) = Stop::new() else { return };
        control.client.watch(unstopped);
        let deadline = clock::now() + limits::ms(limits::RECONNECT_JITTER_MS);
        if control.client.send(&TrackerRequest::Leave, deadline).is_ok() {
            // The answer is waited for so that a find after our exit cannot come before it.
            let _tracker_may_be_gone = control.client.receive::<TrackerReply>(deadline);
        }
    }

    fn explained(&self, failure: Failure) -> DiscoveryError {
        let tracker = self.config.tracker;
        match failure {
            Failure::Connection(ClientError::Stopped) => DiscoveryError::Cancelled,
            Failure::Connection(error) => DiscoveryError::NoTracker { tracker, why: error.to_string() },
            Failure::Confused => {
                DiscoveryError::NoTracker { tracker, why: "its answer does not fit the question".into() }
            }
            Failure::Refused(TrackerRefusal::NotRegistered) => {
                DiscoveryError::NoTracker { tracker, why: "it does not know this node any more".into() }
            }
            Failure::Refused(refusal) => {
                let why = match refusal {
                    TrackerRefusal::Malformed(why) => format!("malformed request: {}", Printable(&why)),
                    TrackerRefusal::Limit(why) => Printable(&why).to_string(),
                    TrackerRefusal::Busy => "it is too busy".into(),
                    TrackerRefusal::NotRegistered => "not registered".into(),
                };
                DiscoveryError::Refused { tracker, why }
            }
        }
    }
}

fn reply_deadline() -> Instant {
    clock::now() + limits::ms(limits::TRACKER_REPLY_MS)
}

fn receive(client: &mut Client) -> Result<(Epoch, ReplyBody), Failure> {
    let reply: TrackerReply = client.receive(reply_deadline())?;
    match reply.body {
        ReplyBody::Refused(refusal) => Err(Failure::Refused(refusal)),
        body => Ok((reply.epoch, body)),
    }
}

fn ask(client: &mut Client, request: &TrackerRequest) -> Result<(Epoch, ReplyBody), Failure> {
    client.send(request, reply_deadline())?;
    receive(client)
}

/// Sends all pages, some ahead of their replies; returns the reply to the last.
fn send_pages(
    client: &mut Client,
    pages: impl Iterator<Item = TrackerRequest>,
) -> Result<ReplyBody, Failure> {
    let mut waiting = VecDeque::new();
    let mut last = ReplyBody::Staged;
    for page in pages {
        client.send(&page, reply_deadline())?;
        waiting.push_back(());
        if waiting.len() >= PAGES_AHEAD {
            waiting.pop_front();
            last = receive(client)?.1;
        }
    }
    for () in waiting {
        last = receive(client)?.1;
    }
    Ok(last)
}

/// Cuts `items` into runs of about [`limits::PAGE_TARGET_BYTES`]; each comes with whether it is the last. At least one, perhaps empty.
fn paged<'a, T>(items: &'a [T], bytes: impl Fn(&T) -> usize + 'a) -> impl Iterator<Item = (&'a [T], bool)> {
    let mut rest = Some(items);
    std::iter::from_fn(move || {
        let items = rest.take()?;
        let mut total = 0;
        let fitting = items.iter().take_while(|item| {
            total += bytes(item);
            total <= limits::PAGE_TARGET_BYTES
        });
        let count = fitting.count().max(1).min(items.len());
        let (page, later) = items.split_at(count);
        rest = (!later.is_empty()).then_some(later);
        Some((page, later.is_empty()))
    })
}

/// Bytes of an entry on the wire, but for its attributes, of which this version writes none.
fn entry_bytes(entry: &FileEntry) -> usize {
    112 + entry.name.as_str().len()
}

fn register_pages(entries: &[Arc<FileEntry>]) -> impl Iterator<Item = TrackerRequest> {
    paged(entries, |entry| entry_bytes(entry)).map(|(page, last)| TrackerRequest::Register {
        entries: page.iter().map(|entry| FileEntry::clone(entry)).collect(),
        last,
    })
}

fn update_pages(changes: &Changes) -> impl Iterator<Item = TrackerRequest> {
    let removed = paged(&changes.removed, |name: &FileName| 8 + name.as_str().len())
        .map(|(page, _)| TrackerRequest::Update { removed: page.to_vec(), added: vec![], last: false });
    let added = paged(&changes.added, |entry: &Arc<FileEntry>| entry_bytes(entry)).map(|(page, last)| {
        let added = page.iter().map(|entry| FileEntry::clone(entry)).collect();
        TrackerRequest::Update { removed: vec![], added, last }
    });
    removed.chain(added)
}

/// Reads all pages of a list: `request` asks for those after the rows had so far.
fn collect<T>(
    client: &mut Client,
    request: impl Fn(&[T]) -> TrackerRequest,
    page: impl Fn(ReplyBody) -> Option<(Vec<T>, bool)>,
) -> Result<Vec<T>, Failure> {
    let mut rows = Vec::new();
    loop {
        let (_, body) = ask(client, &request(&rows))?;
        let (next, more) = page(body).ok_or(Failure::Confused)?;
        let ended = !more || next.is_empty();
        rows.extend(next);
        if ended || rows.len() >= ROWS_MAX {
            return Ok(rows);
        }
    }
}

fn find(client: &mut Client, query: &Query) -> Result<Vec<Provider>, Failure> {
    collect(
        client,
        |rows: &[Provider]| TrackerRequest::Find { query: query.clone(), skip: rows.len() as u32 },
        |body| match body {
            ReplyBody::Providers { providers, more } => Some((providers, more)),
            _ => None,
        },
    )
}

fn nodes(client: &mut Client) -> Result<Vec<NodeSummary>, Failure> {
    collect(
        client,
        |rows: &[NodeSummary]| TrackerRequest::ListNodes { skip: rows.len() as u32 },
        |body| match body {
            ReplyBody::Nodes { nodes, more } => Some((nodes, more)),
            _ => None,
        },
    )
}

/// The first page is enough for completion.
fn names(client: &mut Client) -> Result<Vec<FileName>, Failure> {
    match ask(client, &TrackerRequest::ListFiles { after: None })?.1 {
        ReplyBody::Files { names, .. } => Ok(names),
        _ => Err(Failure::Confused),
    }
}
