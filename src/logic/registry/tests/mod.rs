//! The rules of the registry, one by one.

mod call_backs;
mod caps;
mod liveness;
mod model;
mod origin;
mod replicas;
mod replicas_model;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::entry::{Node, Session};
use super::staging::{StagedSize, Staging};
use super::*;
use crate::types::{
    Attribute, ContentId, ContentPrefix, FileEntry, FileName, Holding, Liveness, Md5Digest, Md5Origin,
    NodeId, NodeTraits, Nonce, Query, limits,
};

pub(super) const BEAT: Duration = Duration::from_secs(1);

pub(super) fn name(text: &str) -> FileName {
    FileName::new(text).expect("valid name")
}

/// An entry called `text` with content and MD5 number `content`. The contents 0 to 15 have the same first 17
/// hex digits.
pub(super) fn entry(text: &str, content: u8) -> FileEntry {
    let mut id = [0xab; 32];
    id[8] = content;
    FileEntry {
        name: name(text),
        size_bytes: 3 << 20,
        mtime_ns: 5,
        content: ContentId(id),
        md5: Md5Digest([content; 16]),
        md5_origin: Md5Origin::Computed,
        holding: Holding::Full,
        attributes: Vec::new(),
    }
}

pub(super) fn endpoint(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5000 + number))
}

/// A registry with a clock and short commands. In them `s` is a session, `n` a node id, `e` the number of an
/// endpoint.
pub(super) struct World {
    pub(super) registry: Registry,
    pub(super) now: Instant,
}

impl World {
    pub(super) fn new(limits: Limits) -> World {
        World { registry: Registry::new(limits), now: crate::rt::clock::now() }
    }

    pub(super) fn hello(&mut self, s: u64, n: u128, e: u16, heartbeat: Option<Duration>) {
        self.registry
            .hello(SessionId(s), NodeId(n), endpoint(e), heartbeat, Nonce(s), self.now)
            .expect("a good hello");
    }

    pub(super) fn stage(&mut self, s: u64, entries: Vec<FileEntry>) -> Result<(), RegistryError> {
        self.registry.stage_register(SessionId(s), entries, self.now)
    }

    pub(super) fn commit(&mut self, s: u64, reachability: Reachability) -> Result<(), RegistryError> {
        self.registry.commit_register(SessionId(s), reachability, self.now)
    }

    /// Registers in one page.
    fn register(
        &mut self,
        s: u64,
        entries: Vec<FileEntry>,
        reachability: Reachability,
    ) -> Result<(), RegistryError> {
        self.stage(s, entries)?;
        self.commit(s, reachability)
    }

    /// Says hello and makes a verified registration.
    fn join(&mut self, s: u64, n: u128, e: u16, entries: Vec<FileEntry>) {
        self.hello(s, n, e, Some(BEAT));
        self.register(s, entries, Reachability::Verified).expect("registered");
    }

    pub(super) fn update(
        &mut self,
        s: u64,
        removed: Vec<FileName>,
        added: Vec<FileEntry>,
    ) -> Result<(), RegistryError> {
        self.registry.stage_update(SessionId(s), removed, added, self.now)?;
        self.registry.commit_update(SessionId(s), self.now)
    }

    pub(super) fn heartbeat(&mut self, s: u64) -> Result<(), RegistryError> {
        self.registry.heartbeat(SessionId(s), 7, self.now)
    }

    pub(super) fn disconnect(&mut self, s: u64) {
        self.registry.disconnected(SessionId(s), self.now);
    }

    pub(super) fn pass(&mut self, ms: u64) -> Vec<CallBack> {
        self.now += Duration::from_millis(ms);
        self.registry.advance(self.now)
    }

    pub(super) fn called_back(&mut self, n: u128, e: u16, outcome: CallBackResult) {
        let call_back = CallBack { node: NodeId(n), endpoint: endpoint(e) };
        self.registry.apply_call_back(call_back, outcome, self.now);
    }

    /// Node ids that are offered for a name, sorted.
    fn holders(&self, text: &str) -> Vec<u128> {
        let mut found: Vec<_> = self
            .registry
            .find(&Query::Name(name(text)), 0)
            .expect("few rows are skipped")
            .map(|provider| provider.node.0)
            .collect();
        found.sort_unstable();
        found
    }

    fn files(&self) -> Vec<String> {
        self.registry.files_after(None).map(|name| name.as_str().to_owned()).collect()
    }

    fn listed(&self) -> Vec<(u128, Liveness)> {
        self.registry.nodes(0).map(|row| (row.node.0, row.liveness)).collect()
    }

    /// Checks that counters and maps agree with the registrations.
    pub(super) fn check_counts(&self) {
        let registry = &self.registry;
        let files: usize = registry.nodes.iter().map(|(_, node)| node.catalog.len()).sum();
        let names_bytes = |(_, node): (usize, &Node)| -> usize {
            let counted: usize = node.catalog.names().map(|name| name.as_str().len()).sum();
            assert_eq!(node.catalog.names_bytes(), counted);
            counted
        };
        assert_eq!(registry.names_bytes, registry.nodes.iter().map(names_bytes).sum::<usize>());
        let staged = |known: &Session| match &known.staging {
            Staging::Pages { size, .. } => *size,
            _ => StagedSize::default(),
        };
        assert_eq!(registry.files, files);
        assert_eq!(registry.index.lens(), [files; 3]);
        assert_eq!(
            registry.staged,
            registry.sessions.values().map(staged).fold(StagedSize::default(), |sum, one| sum + one)
        );
        let unverified =
            registry.nodes.iter().filter(|(_, node)| node.reachability == Reachability::Unverified).count();
        assert_eq!(registry.unverified.len(), unverified);
        assert_eq!(registry.listed.len(), registry.nodes.len());
        let imported = registry.nodes.iter().filter(|(_, node)| node.origin != Origin::Direct).count();
        assert_eq!(registry.imported, imported);
        registry.check_tasks();
    }
}

fn world() -> World {
    World::new(Limits::default())
}

#[test]
fn traits_of_a_node_are_passed_on_and_cleared_by_a_hello() {
    let mut world = world();
    let says = |port| NodeTraits { http_port: Some(port), replica_quota_bytes: Some(9) };
    let passed_on = |world: &World| {
        let row = world.registry.nodes(0).next().expect("listed");
        let query = Query::Name(name("a"));
        let provider = world.registry.find(&query, 0).expect("few rows").next().expect("offered");
        assert_eq!(provider.attributes, row.attributes);
        provider.traits()
    };
    assert_eq!(world.registry.describe(SessionId(1), says(1)), Err(RegistryError::NotRegistered));
    world.hello(1, 1, 1, Some(BEAT));
    world.registry.describe(SessionId(1), says(1)).expect("it has said hello");
    world.register(1, vec![entry("a", 1)], Reachability::Verified).expect("registered");
    assert_eq!(passed_on(&world), says(1));
    world.registry.describe(SessionId(1), says(2)).expect("registered");
    assert_eq!(passed_on(&world), says(2));
    // Its next registration comes without traits.
    world.join(1, 1, 1, vec![entry("a", 1)]);
    assert_eq!(passed_on(&world), NodeTraits::default());
    // A former session of the same registration changes nothing.
    world.join(2, 1, 1, vec![entry("a", 1)]);
    world.registry.describe(SessionId(1), says(3)).expect("it has said hello");
    assert_eq!(passed_on(&world), NodeTraits::default());
}

const NOT_REGISTERED: Result<(), RegistryError> = Err(RegistryError::NotRegistered);

#[test]
fn endpoints_that_cannot_be_reached_are_refused_and_mapped_ones_become_ipv4() {
    let mut world = world();
    let mut hello = |text: &str| {
        let at: SocketAddr = text.parse().expect(text);
        let given = world.registry.hello(SessionId(1), NodeId(1), at, None, Nonce(9), world.now);
        given.map(|()| world.registry.claim(SessionId(1)).expect("said hello").endpoint.to_string())
    };
    for (text, expected) in [
        ("10.0.0.1:1", Some("10.0.0.1:1")),
        ("[::ffff:10.0.0.1]:65535", Some("10.0.0.1:65535")),
        ("[2001:db8::1]:5", Some("[2001:db8::1]:5")),
        ("10.0.0.1:0", None),
        ("0.0.0.0:5", None),
        ("[::]:5", None),
        ("[::ffff:0.0.0.0]:5", None),
        ("224.0.0.1:5", None),
        ("255.255.255.255:5", None),
        ("[ff02::1]:5", None),
    ] {
        match expected {
            Some(plain) => assert_eq!(hello(text).as_deref(), Ok(plain)),
            None => {
                assert_eq!(hello(text), Err(RegistryError::Endpoint(text.parse().expect(text))));
            }
        }
    }
}

#[test]
fn heartbeat_intervals_outside_the_limits_are_refused() {
    let mut world = world();
    for (ms, is_allowed) in [(99, false), (100, true), (3_600_000, true), (3_600_001, false)] {
        let interval = Some(Duration::from_millis(ms));
        let given = world.registry.hello(SessionId(1), NodeId(1), endpoint(1), interval, Nonce(1), world.now);
        assert_eq!(given.is_ok(), is_allowed, "{ms} ms");
    }
}

#[test]
fn a_registration_takes_effect_as_a_whole_at_its_commit() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("old", 1), entry("both", 1)]);
    world.stage(1, vec![entry("new", 2)]).expect("first page");
    world.stage(1, vec![entry("both", 2)]).expect("second page");
    assert_eq!(world.files(), ["both", "old"]);
    world.commit(1, Reachability::Verified).expect("registered");
    assert_eq!(world.files(), ["both", "new"]);
    let both: Vec<_> =
        world.registry.find(&Query::Name(name("both")), 0).expect("few rows are skipped").collect();
    assert_eq!(both.iter().map(|provider| &provider.entry).collect::<Vec<_>>(), [&entry("both", 2)]);
    world.check_counts();
}

#[test]
fn the_last_staged_change_of_a_name_counts() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1), entry("b", 1), entry("a", 2)]);
    let content = |world: &World, text: &str| {
        let found: Vec<_> = world
            .registry
            .find(&Query::Name(name(text)), 0)
            .expect("few rows are skipped")
            .map(|one| one.entry.md5.0[0])
            .collect();
        found
    };
    assert_eq!(content(&world, "a"), [2]);
    let session = SessionId(1);
    world.registry.stage_update(session, vec![name("b")], vec![entry("b", 3)], world.now).expect("page");
    assert_eq!(content(&world, "b"), [1]);
    world.registry.stage_update(session, vec![name("a")], vec![], world.now).expect("page");
    world.registry.commit_update(session, world.now).expect("updated");
    assert_eq!((content(&world, "a"), content(&world, "b")), (vec![], vec![3]));
    world.check_counts();
}

#[test]
fn too_many_attributes_are_refused_and_unknown_ones_are_not_kept() {
    let attribute = |len| Attribute { tag: 9, value: vec![0; len] };
    for (count, len, is_allowed) in
        [(limits::ATTRIBUTES_MAX, limits::ATTRIBUTE_MAX_BYTES, true), (17, 0, false), (1, 257, false)]
    {
        let mut world = world();
        world.hello(1, 1, 1, None);
        let mut given = entry("a", 1);
        given.attributes = vec![attribute(len); count];
        let expected = if is_allowed { Ok(()) } else { Err(RegistryError::Attributes(name("a"))) };
        assert_eq!(world.register(1, vec![given], Reachability::Verified), expected);
        let kept: Vec<_> = world
            .registry
            .find(&Query::Name(name("a")), 0)
            .expect("few rows are skipped")
            .map(|one| one.entry)
            .collect();
        assert_eq!(kept, if is_allowed { vec![entry("a", 1)] } else { vec![] });
    }
}

#[test]
fn a_partial_holder_has_fewer_pieces_than_all() {
    for (size_bytes, pieces, is_allowed) in [
        (3 << 20, 0, true),
        (3 << 20, 2, true),
        (3 << 20, 3, false),
        (3 << 20, u32::MAX, false),
        (0, 0, false),
        (u64::MAX, 1, false),
    ] {
        let mut world = world();
        world.hello(1, 1, 1, None);
        let given = FileEntry { size_bytes, holding: Holding::Pieces(pieces), ..entry("a", 1) };
        assert_eq!(world.stage(1, vec![given]).is_ok(), is_allowed, "{pieces} of {size_bytes} bytes");
    }
}

#[test]
fn answers_come_in_pages_that_add_up() {
    let mut world = world();
    for n in 1..=7u8 {
        world.join(n.into(), n.into(), n.into(), vec![entry("a", n % 3), entry(&format!("n{n}"), 0)]);
    }
    let queries = [
        Query::Name(name("a")),
        Query::Md5(Md5Digest([0; 16])),
        Query::Content(ContentPrefix::from_hex("abababababababab").expect("prefix")),
        Query::Content(ContentPrefix::from_hex("abababababababab01").expect("prefix")),
    ];
    for (query, expected) in queries.iter().zip([7, 9, 14, 3]) {
        let whole: Vec<_> = world.registry.find(query, 0).expect("few rows are skipped").collect();
        assert_eq!(whole.len(), expected, "{query:?}");
        for skip in 0..=whole.len() + 1 {
            let page: Vec<_> =
                world.registry.find(query, skip).expect("few rows are skipped").take(2).collect();
            assert_eq!(page, whole.iter().skip(skip).take(2).cloned().collect::<Vec<_>>());
        }
    }
    assert_eq!(world.registry.nodes(5).map(|row| row.node.0).collect::<Vec<_>>(), [6, 7]);
    let after = |text| world.registry.files_after(Some(&name(text))).take(2).collect::<Vec<_>>();
    assert_eq!(after("a"), [name("n1"), name("n2")]);
    assert_eq!(after("n6a"), [name("n7")]);
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

impl World {
    /// Sends an empty last page from `from`. Returns the number of the endpoint to call back, `None` if no
    /// call-back is needed, or the ms to wait.
    fn last_page(&mut self, s: u64, from: IpAddr) -> Result<Option<u16>, u128> {
        self.stage(s, vec![]).expect("an empty page");
        match self.registry.begin_call_back(SessionId(s), from, self.now) {
            Ok(claim) => Ok(claim.map(|claim| claim.endpoint.port() - 5000)),
            Err(RegistryError::CallBack { wait_ms, .. }) => Err(wait_ms),
            Err(error) => panic!("{error}"),
        }
    }

    fn conclude_call_back(&mut self, s: u64, e: u16, reachability: Reachability) {
        self.registry.end_call_back(endpoint(e), HERE);
        self.commit(s, reachability).expect("registered");
    }
}

#[test]
fn a_node_with_many_names_for_a_content_does_not_crowd_out_others() {
    let mut world = world();
    let names = |tag: &str, count| (0..count).map(|one| entry(&format!("{tag}{one}"), 1)).collect::<Vec<_>>();
    world.join(1, 1, 1, names("a", 500));
    world.join(2, 2, 2, names("b", 2));
    world.join(3, 3, 3, names("c", 500));
    world.disconnect(3);
    let queries = [
        Query::Md5(Md5Digest([1; 16])),
        Query::Content(ContentPrefix::from_hex("abababababababab").expect("prefix")),
    ];
    for query in queries {
        let found = world.registry.find(&query, 0).expect("few rows are skipped");
        let found: Vec<_> = found.map(|one| one.node.0).collect();
        assert_eq!(found, [vec![1; limits::NAMES_PER_CONTENT_MAX as usize], vec![2; 2]].concat());
    }
    // Another content of the same node counts by itself.
    world.update(1, vec![], (500..520).map(|one| entry(&format!("a{one}"), 2)).collect()).expect("updated");
    let both = Query::Content(ContentPrefix::from_hex("abababababababab").expect("prefix"));
    assert_eq!(world.registry.find(&both, 0).expect("few rows are skipped").count(), 16 + 2 + 16);
}

#[test]
fn a_find_skips_at_most_the_allowed_number_of_rows() {
    let world = world();
    let query = Query::Name(name("a"));
    let max = limits::FIND_SKIP_MAX;
    assert!(world.registry.find(&query, max).is_ok());
    for skip in [max + 1, u32::MAX as usize] {
        assert_eq!(world.registry.find(&query, skip).err(), Some(RegistryError::Skip { skip }));
    }
}
