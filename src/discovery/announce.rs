//! The announce thread: owns the control connection to the tracker. Registers, publishes changes, beats, asks, leaves.
//!
//! It waits for its mailbox, the connection's end and the next heartbeat at once. A lost connection is opened again after a random
//! part of a second (with heartbeats off: at the next request), and the first thing said on it is the whole catalog.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use thiserror::Error;

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

/// What went wrong with a request. The text goes on from "no tracker at …:" or "the tracker refused:".
#[derive(Debug, Error)]
enum Failure {
    /// The connection is of no use any more.
    #[error(transparent)]
    Connection(#[from] ClientError),
    #[error("its answer does not fit the question")]
    Confused,
    /// It has forgotten this node, or another one has proved the endpoint since.
    #[error("it does not know this node any more")]
    NotRegistered,
    #[error("{0}")]
    Refused(String),
}

impl From<TrackerRefusal> for Failure {
    fn from(refusal: TrackerRefusal) -> Failure {
        match refusal {
            TrackerRefusal::NotRegistered => Failure::NotRegistered,
            TrackerRefusal::Malformed(why) => {
                Failure::Refused(format!("malformed request: {}", Printable(&why)))
            }
            TrackerRefusal::Limit(why) => Failure::Refused(Printable(&why).to_string()),
            TrackerRefusal::Busy => Failure::Refused("it is too busy".into()),
        }
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
        let Some(control) = &mut self.control else { return self.wait_without_connection() };
        let deadline =
            control.next_heartbeat.unwrap_or_else(|| clock::now() + limits::ms(limits::HEARTBEAT_MAX_MS));
        match control.client.wait(self.mail.as_fd(), deadline) {
            Ok(Woken::Mail) | Err(ClientError::Stopped) => {}
            Ok(Woken::Deadline) => self.beat(),
            // Nothing was asked: this is the connection's end, or a tracker out of step.
            Ok(Woken::Socket) => self.lost("it closed the control connection"),
            Err(error) => self.lost(&error.to_string()),
        }
    }

    /// Waits for mail, or until it is time to connect again, and then does.
    fn wait_without_connection(&mut self) {
        self.mail.wait(&self.stop, self.reconnect_at);
        if self.reconnect_at.is_some_and(|at| at <= clock::now()) && !self.stop.is_triggered() {
            // A failure plans the next attempt; whoever asks for something meanwhile is told.
            let _not_yet = self.connected();
        }
    }

    fn serve(&mut self, request: Request) {
        // An asker may have gone meanwhile; nobody misses the answer then.
        match request {
            Request::Publish(None) => {
                if self.control.is_some() {
                    // Said by `lost` if it fails, and made good by the next registration.
                    let _published_later = self.on_control(|_| Ok(()));
                }
            }
            Request::Publish(Some(reply)) => drop(reply.send(self.on_control(|_| Ok(())))),
            Request::Find(query, reply) => drop(reply.send(self.on_control(|client| find(client, &query)))),
            Request::Nodes(reply) => drop(reply.send(self.on_control(nodes))),
            Request::Names(reply) => drop(reply.send(self.on_control(names))),
        }
    }

    /// Runs `request` on a control connection that is registered and up to date, opening one if there is none. A connection that turns
    /// out to be lost is replaced once; a tracker that is too slow is not asked again.
    fn on_control<T>(
        &mut self,
        request: impl Fn(&mut Client) -> Result<T, Failure>,
    ) -> Result<T, DiscoveryError> {
        let had_connection = self.control.is_some();
        let result =
            match self.try_on_control(&request) {
                Err(
                    Failure::Connection(ClientError::Closed | ClientError::Io(_)) | Failure::NotRegistered,
                ) if had_connection => self.try_on_control(&request),
                result => result,
            };
        let tracker = self.config.tracker;
        result.map_err(|failure| match failure {
            Failure::Connection(ClientError::Stopped) => DiscoveryError::Cancelled,
            Failure::Refused(why) => DiscoveryError::Refused { tracker, why },
            failure => DiscoveryError::NoTracker { tracker, why: failure.to_string() },
        })
    }

    fn try_on_control<T>(
        &mut self,
        request: impl Fn(&mut Client) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let catalog = Arc::clone(&self.catalog);
        let control = self.connected()?;
        let result = update(control, catalog.as_ref()).and_then(|()| request(&mut control.client));
        if let Err(failure) = &result
            && !matches!(failure, Failure::Refused(_))
        {
            self.lost(&failure.to_string());
        }
        result
    }

    /// A control connection on which this node is registered; opened now if there is none.
    fn connected(&mut self) -> Result<&mut Control, Failure> {
        let control = match self.control.take() {
            Some(control) => control,
            None => match self.register() {
                Ok(control) => control,
                Err(failure) => {
                    self.plan_reconnect();
                    return Err(failure);
                }
            },
        };
        self.reconnect_at = None;
        Ok(self.control.insert(control))
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

    fn beat(&mut self) {
        let load = self.catalog.load();
        let Some(control) = &mut self.control else { return };
        control.next_heartbeat = self.config.heartbeat.map(|interval| clock::now() + interval);
        match ask(&mut control.client, &TrackerRequest::Heartbeat { load }) {
            Ok((_, ReplyBody::Alive)) => {}
            Ok(_) => self.lost(&Failure::Confused.to_string()),
            Err(failure) => self.lost(&failure.to_string()),
        }
    }

    /// Drops the control connection and plans the next one.
    fn lost(&mut self, why: &str) {
        if self.control.take().is_some() && !self.stop.is_triggered() {
            (self.news)(News::Lost { why: why.to_owned() });
        }
        self.plan_reconnect();
    }

    fn plan_reconnect(&mut self) {
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
}

/// Publishes what has changed since the last time.
fn update(control: &mut Control, catalog: &dyn PublishedCatalog) -> Result<(), Failure> {
    let (version, body) = match catalog.changes_since(control.version) {
        Some((_, changes)) if changes.is_empty() => return Ok(()),
        Some((version, changes)) => (version, send_pages(&mut control.client, update_pages(&changes))?),
        None => {
            let (version, entries) = catalog.snapshot();
            (version, send_pages(&mut control.client, register_pages(&entries))?)
        }
    };
    control.version = version;
    match body {
        ReplyBody::Updated | ReplyBody::Registered { .. } => Ok(()),
        _ => Err(Failure::Confused),
    }
}

fn reply_deadline() -> Instant {
    clock::now() + limits::ms(limits::TRACKER_REPLY_MS)
}

fn receive(client: &mut Client) -> Result<(Epoch, ReplyBody), Failure> {
    let reply: TrackerReply = client.receive(reply_deadline())?;
    match reply.body {
        ReplyBody::Refused(refusal) => Err(refusal.into()),
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
