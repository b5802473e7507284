//! What the tracker answers to each request of a peer.
//!
//! A method translates a request into calls of the registry, and their results into a reply. It holds the
//! registry's lock for these calls and while it copies one page of rows out of the registry.

use std::time::{Duration, Instant};

use rand::Rng;

use super::service::{Requester, Session, TrackerService};
use super::stats::{RecordedFind, Via};
use crate::logic::registry::{Reachability, RegistryError, SessionId};
use crate::net::{ConnActions, ConnId};
use crate::proto::peer::PeerRequest;
use crate::proto::tracker::{Hello, ReplyBody, TrackerRefusal, TrackerRequest};
use crate::rt::clock;
use crate::types::{Attribute, FileEntry, FileName, NodeTraits, Nonce, Query, limits};

impl TrackerService {
    /// The reply to a request. `None`: a call-back has begun, and its outcome decides the reply.
    ///
    /// # Errors
    /// [`RegistryError`] if the registry refuses the request.
    pub(super) fn answer(
        &mut self,
        conn: ConnId,
        requester: Requester,
        request: TrackerRequest,
        actions: &mut ConnActions<Session>,
    ) -> Result<Option<ReplyBody>, RegistryError> {
        let now = clock::now();
        let session = requester.session;
        let registry = &self.shared.registry;
        let reply = match request {
            TrackerRequest::Hello(hello) => self.hello(session, &hello, now)?,
            TrackerRequest::Register { entries, last } => {
                registry.write().stage_register(session, entries, now)?;
                if last {
                    return self.register(conn, requester, now, actions);
                }
                ReplyBody::Staged
            }
            TrackerRequest::Update { removed, added, last } => {
                self.update(session, removed, added, last, now)?
            }
            TrackerRequest::Heartbeat { load } => {
                registry.write().heartbeat(session, load, now)?;
                self.shared.record_change();
                ReplyBody::Alive
            }
            TrackerRequest::Leave => {
                registry.write().leave(session)?;
                self.shared.record_change();
                actions.keep_idle(conn, false);
                ReplyBody::Left
            }
            TrackerRequest::Find { query, skip } => self.find(requester, &query, skip, now)?,
            TrackerRequest::ListNodes { skip } => {
                let registry = registry.read();
                let (nodes, more) = page(registry.nodes(skip as usize), |_| NODE_ROW_BYTES);
                ReplyBody::Nodes { nodes, more }
            }
            TrackerRequest::ListFiles { after } => {
                let registry = registry.read();
                let (names, more) =
                    page(registry.files_after(after.as_ref()), |name: &FileName| name_bytes(name));
                ReplyBody::Files { names, more }
            }
            TrackerRequest::Describe { attributes } => match traits(&attributes) {
                Some(traits) => {
                    registry.write().describe(session, traits)?;
                    ReplyBody::Described
                }
                None => too_many_attributes(),
            },
            TrackerRequest::Replicate { content, name, copies, again } => {
                ReplyBody::Replication(registry.write().request_copies(content, name, copies, again, now)?)
            }
            TrackerRequest::TakeTasks { room_bytes, running } => {
                ReplyBody::Tasks { tasks: registry.write().take_tasks(session, room_bytes, &running, now)? }
            }
        };
        Ok(Some(reply))
    }

    fn hello(&mut self, session: SessionId, hello: &Hello, now: Instant) -> Result<ReplyBody, RegistryError> {
        let Some(traits) = traits(&hello.attributes) else { return Ok(too_many_attributes()) };
        let nonce = Nonce(self.rng.random());
        let heartbeat = Some(hello.heartbeat_ms).filter(|ms| *ms > 0);
        let heartbeat = heartbeat.map(|ms| Duration::from_millis(u64::from(ms)));
        let mut registry = self.shared.registry.write();
        registry.hello(session, hello.node, hello.endpoint, heartbeat, nonce, now)?;
        registry.describe(session, traits)?;
        Ok(ReplyBody::Welcome { nonce })
    }

    /// Ends a registration whose last page is staged: puts it in effect if its endpoint was verified just
    /// now, else calls the endpoint's listener back first.
    fn register(
        &self,
        conn: ConnId,
        Requester { session, from }: Requester,
        now: Instant,
        actions: &mut ConnActions<Session>,
    ) -> Result<Option<ReplyBody>, RegistryError> {
        let mut registry = self.shared.registry.write();
        let Some(claim) = registry.begin_call_back(session, from, now)? else {
            registry.commit_register(session, Reachability::Verified, now)?;
            drop(registry);
            self.shared.record_publication();
            return Ok(Some(ReplyBody::Registered { unproved: None }));
        };
        drop(registry);
        let call = Session::VerifyCall { control: conn, session, claim, from, answered: false };
        let frame = PeerRequest::Identify.framed();
        actions.connect(claim.endpoint, None, call, frame, limits::ms(limits::CALL_BACK_DEADLINE_MS));
        Ok(None)
    }

    fn update(
        &self,
        session: SessionId,
        removed: Vec<FileName>,
        added: Vec<FileEntry>,
        is_last: bool,
        now: Instant,
    ) -> Result<ReplyBody, RegistryError> {
        let mut registry = self.shared.registry.write();
        registry.stage_update(session, removed, added, now)?;
        if !is_last {
            return Ok(ReplyBody::Staged);
        }
        registry.commit_update(session, now)?;
        drop(registry);
        self.shared.record_publication();
        Ok(ReplyBody::Updated)
    }

    fn find(
        &self,
        requester: Requester,
        query: &Query,
        skip: u32,
        now: Instant,
    ) -> Result<ReplyBody, RegistryError> {
        let (providers, more) = page(self.shared.registry.read().find(query, skip as usize)?, |provider| {
            PROVIDER_ROW_BYTES + name_bytes(&provider.entry.name)
        });
        // A request for a further page belongs to a find that was counted with its first page.
        if skip == 0 {
            let find = RecordedFind { query, requester: requester.from, via: Via::Native };
            self.shared.record_find(find, &providers, more, now);
        }
        Ok(ReplyBody::Providers { providers, more })
    }
}

/// What the attributes of a node say; `None` if there are more of them, or longer ones, than are allowed.
/// Tags of later versions are skipped.
fn traits(attributes: &[Attribute]) -> Option<NodeTraits> {
    Attribute::are_bounded(attributes).then(|| NodeTraits::of(attributes))
}

fn too_many_attributes() -> ReplyBody {
    let why = "more attributes of the node, or longer ones, than are allowed";
    ReplyBody::Refused(TrackerRefusal::Limit(why.into()))
}

/// Maximum size of a row of the list of nodes on the wire, for rows without a text: a little more than its
/// fields and the lengths of its lists.
const NODE_ROW_BYTES: usize = 72 + NodeTraits::WIRE_MAX_BYTES;
/// The same for a provider, without its name.
const PROVIDER_ROW_BYTES: usize = 152 + NodeTraits::WIRE_MAX_BYTES + FileEntry::ATTRIBUTES_MAX_BYTES;

/// Size of a name on the wire: its length and its bytes.
fn name_bytes(name: &FileName) -> usize {
    8 + name.as_str().len()
}

/// The first page of `items`: as many as fit it, at least one. Also returns whether there are more items.
/// `bytes` gives the size of an item on the wire.
fn page<T>(items: impl Iterator<Item = T>, bytes: impl Fn(&T) -> usize) -> (Vec<T>, bool) {
    let mut total_bytes = 0;
    let mut page = Vec::new();
    for item in items {
        total_bytes += bytes(&item);
        if total_bytes > limits::PAGE_TARGET_BYTES && !page.is_empty() {
            return (page, true);
        }
        page.push(item);
    }
    (page, false)
}
