//! A control connection to the tracker: registration, updates, heartbeats and requests.
//!
//! Its calls block the announce thread, each with a deadline. After a [`ControlError`] other than `Refused`
//! the caller drops the connection. A catalog is sent in pages: messages of limited size, the last one
//! marked.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use super::interface::{NamePage, ReplicationRequest, TrackerClientConfig};
use crate::discovery::published::{Changes, PublishedCatalog, ReplicaCapacity};
use crate::net::client::{Client, ClientError, Woken};
use crate::proto::tracker::{Hello, ReplyBody, TrackerRefusal, TrackerReply, TrackerRequest};
use crate::rt::{Stop, clock};
use crate::types::{
    Epoch, FileEntry, FileName, NodeSummary, NodeTraits, Nonce, Printable, Provider, Query, ReplicaTask,
    ReplicationStatus, limits, reason,
};

/// Number of pages that are sent before the reply to the first of them is read.
const PAGES_AHEAD: usize = 32;
/// Maximum length of a list: a hostile tracker could send pages without end.
const LIST_MAX: usize = limits::FIND_SKIP_MAX;

/// Why a request failed. The text follows "no tracker at …:" or "the tracker refused:".
#[derive(Debug, Error)]
pub(crate) enum ControlError {
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ClientError),
    /// The tracker breaks the protocol.
    #[error("its answer does not fit the question")]
    WrongReply,
    /// The tracker has forgotten this node, or another node has verified the endpoint since.
    #[error("it does not know this node any more")]
    NotRegistered,
    /// The tracker does not carry the request out.
    #[error("{0}")]
    Refused(String),
}

impl From<TrackerRefusal> for ControlError {
    fn from(refusal: TrackerRefusal) -> ControlError {
        match refusal {
            TrackerRefusal::NotRegistered => ControlError::NotRegistered,
            TrackerRefusal::Malformed(why) => {
                ControlError::Refused(format!("malformed request: {}", Printable(reason(&why))))
            }
            TrackerRefusal::Limit(why) => ControlError::Refused(Printable(reason(&why)).to_string()),
            TrackerRefusal::Busy => ControlError::Refused("it is too busy".into()),
        }
    }
}

/// A connection to the tracker.
pub(crate) struct Control {
    client: Client,
    /// `None`: the node publishes nothing on this connection.
    registration: Option<Registration>,
}

/// The registration of this node, as the tracker has it.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    /// Version of the catalog that the tracker has.
    version: u64,
    /// The traits that the tracker has.
    traits: NodeTraits,
    /// The tracker's epoch.
    pub(crate) epoch: Epoch,
    /// The endpoint that is registered.
    pub(crate) endpoint: SocketAddr,
    /// Why the tracker does not offer the endpoint; `None`: it does.
    pub(crate) unverified: Option<String>,
}

impl Control {
    /// Connects and registers the whole catalog. `show_nonce` gets what the listener must show when the
    /// tracker calls it back.
    pub(crate) fn register(
        config: &TrackerClientConfig,
        catalog: &dyn PublishedCatalog,
        show_nonce: impl FnOnce(Nonce),
        stop: &Stop,
    ) -> Result<Control, ControlError> {
        let deadline = clock::now() + limits::ms(limits::TRACKER_CONNECT_MS);
        let mut client = Client::connect(config.tracker, Some(config.ip), deadline, stop)?;
        let endpoint = endpoint(config, &client);
        let heartbeat_ms = config.heartbeat.map_or(0, |interval| interval.as_millis() as u32);
        let traits = catalog.traits();
        let hello = Hello { node: config.node, endpoint, heartbeat_ms, attributes: traits.to_attributes() };
        let (epoch, body) = ask(&mut client, &TrackerRequest::Hello(hello))?;
        let ReplyBody::Welcome { nonce } = body else { return Err(ControlError::WrongReply) };
        show_nonce(nonce);
        let (version, entries) = catalog.snapshot();
        let body = send_pages(&mut client, register_pages(&entries))?;
        let ReplyBody::Registered { unproved } = body else { return Err(ControlError::WrongReply) };
        let unverified = unproved.map(|why| Printable(reason(&why)).to_string());
        let registration = Some(Registration { version, traits, epoch, endpoint, unverified });
        Ok(Control { client, registration })
    }

    /// Connects without a registration, for requests only.
    pub(crate) fn connect(config: &TrackerClientConfig, stop: &Stop) -> Result<Control, ControlError> {
        let deadline = clock::now() + limits::ms(limits::TRACKER_CONNECT_MS);
        let client = Client::connect(config.tracker, Some(config.ip), deadline, stop)?;
        Ok(Control { client, registration: None })
    }

    /// The registration on this connection, if there is one.
    pub(crate) fn registration(&self) -> Option<&Registration> {
        self.registration.as_ref()
    }

    /// Publishes the changes of the traits and of the catalog that the tracker does not have.
    pub(crate) fn update(&mut self, catalog: &dyn PublishedCatalog) -> Result<(), ControlError> {
        let Some(registration) = &mut self.registration else { return Ok(()) };
        let traits = catalog.traits();
        if traits != registration.traits {
            let request = TrackerRequest::Describe { attributes: traits.to_attributes() };
            let ReplyBody::Described = ask(&mut self.client, &request)?.1 else {
                return Err(ControlError::WrongReply);
            };
            registration.traits = traits;
        }
        let (version, body) = match catalog.changes_since(registration.version) {
            Some((_, changes)) if changes.is_empty() => return Ok(()),
            Some((version, changes)) => (version, send_pages(&mut self.client, update_pages(&changes))?),
            None => {
                let (version, entries) = catalog.snapshot();
                (version, send_pages(&mut self.client, register_pages(&entries))?)
            }
        };
        registration.version = version;
        match body {
            ReplyBody::Updated | ReplyBody::Registered { .. } => Ok(()),
            _ => Err(ControlError::WrongReply),
        }
    }

    /// Waits for the end of the connection, for mail, or until `deadline`.
    pub(crate) fn wait(&mut self, mail: BorrowedFd<'_>, deadline: Instant) -> Result<Woken, ClientError> {
        self.client.wait(mail, deadline)
    }

    /// Sends a heartbeat with the node's load.
    pub(crate) fn heartbeat(&mut self, load: u32) -> Result<(), ControlError> {
        match ask(&mut self.client, &TrackerRequest::Heartbeat { load })?.1 {
            ReplyBody::Alive => Ok(()),
            _ => Err(ControlError::WrongReply),
        }
    }

    /// All holders of what `query` names that the tracker offers.
    pub(crate) fn find(&mut self, query: &Query) -> Result<Vec<Provider>, ControlError> {
        self.collect(
            |rows: &[Provider]| TrackerRequest::Find { query: query.clone(), skip: rows.len() as u32 },
            |body| match body {
                ReplyBody::Providers { providers, more } => Some((providers, more)),
                _ => None,
            },
        )
    }

    /// All nodes that the tracker knows.
    pub(crate) fn nodes(&mut self) -> Result<Vec<NodeSummary>, ControlError> {
        self.collect(
            |rows: &[NodeSummary]| TrackerRequest::ListNodes { skip: rows.len() as u32 },
            |body| match body {
                ReplyBody::Nodes { nodes, more } => Some((nodes, more)),
                _ => None,
            },
        )
    }

    /// The first names after `after`; `None`: from the start.
    pub(crate) fn names(&mut self, after: Option<FileName>) -> Result<NamePage, ControlError> {
        match ask(&mut self.client, &TrackerRequest::ListFiles { after })?.1 {
            ReplyBody::Files { names, more } => Ok((names, more)),
            _ => Err(ControlError::WrongReply),
        }
    }

    /// Asks the tracker which replicas to keep.
    pub(crate) fn take_tasks(
        &mut self,
        capacity: &ReplicaCapacity,
    ) -> Result<Vec<ReplicaTask>, ControlError> {
        let ReplicaCapacity { free_bytes, running } = capacity;
        let request = TrackerRequest::TakeTasks { room_bytes: *free_bytes, running: running.clone() };
        match ask(&mut self.client, &request)?.1 {
            ReplyBody::Tasks { tasks } => Ok(tasks),
            _ => Err(ControlError::WrongReply),
        }
    }

    /// Requests copies of a content. `again`: an earlier run of the tracker had the request.
    pub(crate) fn replicate(
        &mut self,
        request: &ReplicationRequest,
        again: bool,
    ) -> Result<ReplicationStatus, ControlError> {
        let ReplicationRequest { content, name, copies } = request.clone();
        let request = TrackerRequest::Replicate { content, name, copies, again };
        match ask(&mut self.client, &request)?.1 {
            ReplyBody::Replication(status) => Ok(status),
            _ => Err(ControlError::WrongReply),
        }
    }

    /// Leaves the tracker, and waits for its reply for at most [`limits::LEAVE_MS`].
    pub(crate) fn leave(mut self) {
        if self.registration.is_none() {
            return;
        }
        // The stop of this connection is triggered already and would end this call.
        let Ok(unstopped) = Stop::new() else { return };
        self.client.set_stop(unstopped);
        let deadline = clock::now() + limits::ms(limits::LEAVE_MS);
        if self.client.send(&TrackerRequest::Leave, deadline).is_ok() {
            // Waits for the reply, so that a find after the exit of this node does not list it. The tracker
            // may be gone.
            self.client.receive::<TrackerReply>(deadline).ok();
        }
    }

    /// Reads all pages of a list, up to [`LIST_MAX`] rows. `request` asks for the rows after the given ones;
    /// `page` gives the rows of a reply, and whether more follow.
    fn collect<T>(
        &mut self,
        request: impl Fn(&[T]) -> TrackerRequest,
        page: impl Fn(ReplyBody) -> Option<(Vec<T>, bool)>,
    ) -> Result<Vec<T>, ControlError> {
        let mut rows = Vec::new();
        loop {
            let (_, body) = ask(&mut self.client, &request(&rows))?;
            let (next, more) = page(body).ok_or(ControlError::WrongReply)?;
            // A tracker that promises more rows and sends none would keep this loop alive.
            let is_last = !more || next.is_empty();
            rows.extend(next);
            if is_last || rows.len() >= LIST_MAX {
                return Ok(rows);
            }
        }
    }
}

/// The endpoint to register: `advertise`, else the port of the listener at `ip`, or at the local address of
/// the connection if `ip` is unspecified.
fn endpoint(config: &TrackerClientConfig, client: &Client) -> SocketAddr {
    if let Some(advertised) = config.advertise {
        return advertised;
    }
    let ip = match config.ip {
        ip if ip.is_unspecified() => client.local_addr().ip().to_canonical(),
        ip => ip,
    };
    SocketAddr::new(ip, config.port)
}

fn reply_deadline() -> Instant {
    clock::now() + limits::ms(limits::TRACKER_REPLY_MS)
}

fn receive(client: &mut Client) -> Result<(Epoch, ReplyBody), ControlError> {
    let reply: TrackerReply = client.receive(reply_deadline())?;
    match reply.body {
        ReplyBody::Refused(refusal) => Err(refusal.into()),
        body => Ok((reply.epoch, body)),
    }
}

fn ask(client: &mut Client, request: &TrackerRequest) -> Result<(Epoch, ReplyBody), ControlError> {
    client.send(request, reply_deadline())?;
    receive(client)
}

/// Sends all pages, some ahead of their replies. Returns the reply to the last page.
fn send_pages(
    client: &mut Client,
    pages: impl Iterator<Item = TrackerRequest>,
) -> Result<ReplyBody, ControlError> {
    let mut awaited = 0;
    let mut last = ReplyBody::Staged;
    for page in pages {
        client.send(&page, reply_deadline())?;
        awaited += 1;
        if awaited == PAGES_AHEAD {
            awaited -= 1;
            (_, last) = receive(client)?;
        }
    }
    for _ in 0..awaited {
        (_, last) = receive(client)?;
    }
    Ok(last)
}

/// Cuts `items` into pages of about [`limits::PAGE_TARGET_BYTES`], and tells for each whether it is the last
/// one. There is at least one page, which may be empty. A page has at least one of the items, however long.
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

/// At least the number of bytes of an entry on the wire.
fn entry_bytes(entry: &FileEntry) -> usize {
    112 + FileEntry::ATTRIBUTES_MAX_BYTES + entry.name.as_str().len()
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
