//! The registry's rules one by one, then all of them at once against a model that keeps plain lists and searches them whole.

use proptest::prelude::*;

use super::*;
use crate::types::{Attribute, ContentId, ContentPrefix, Md5Digest, Md5Origin};

const BEAT: Duration = Duration::from_secs(1);

fn name(text: &str) -> FileName {
    FileName::new(text).expect("valid name")
}

/// An entry called `text` with content and MD5 number `content`; the contents 0 to 15 share their first 17 hex digits.
fn entry(text: &str, content: u8) -> FileEntry {
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

fn endpoint(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5000 + number))
}

/// A registry with a clock, driven in few words: session `s` says it is node `n` at endpoint `e`.
struct World {
    registry: Registry,
    now: Instant,
}

impl World {
    fn new(limits: Limits) -> World {
        World { registry: Registry::new(limits), now: Instant::now() }
    }

    fn hello(&mut self, s: u64, n: u128, e: u16, heartbeat: Option<Duration>) {
        self.registry
            .hello(SessionId(s), NodeId(n), endpoint(e), heartbeat, Nonce(s), self.now)
            .expect("a good hello");
    }

    fn stage(&mut self, s: u64, entries: Vec<FileEntry>) -> Result<(), RegistryError> {
        self.registry.stage_register(SessionId(s), entries, self.now)
    }

    fn commit(&mut self, s: u64, proof: Proof) -> Result<(), RegistryError> {
        self.registry.commit_register(SessionId(s), proof, self.now)
    }

    /// Registers in one page.
    fn register(&mut self, s: u64, entries: Vec<FileEntry>, proof: Proof) -> Result<(), RegistryError> {
        self.stage(s, entries)?;
        self.commit(s, proof)
    }

    /// Hello and a proved registration.
    fn join(&mut self, s: u64, n: u128, e: u16, entries: Vec<FileEntry>) {
        self.hello(s, n, e, Some(BEAT));
        self.register(s, entries, Proof::Proved).expect("registered");
    }

    fn update(&mut self, s: u64, removed: Vec<FileName>, added: Vec<FileEntry>) -> Result<(), RegistryError> {
        self.registry.stage_update(SessionId(s), removed, added, self.now)?;
        self.registry.commit_update(SessionId(s), self.now)
    }

    fn heartbeat(&mut self, s: u64) -> Result<(), RegistryError> {
        self.registry.heartbeat(SessionId(s), 7, self.now)
    }

    fn disconnect(&mut self, s: u64) {
        self.registry.disconnected(SessionId(s), self.now);
    }

    fn pass(&mut self, ms: u64) -> Vec<CallBack> {
        self.now += Duration::from_millis(ms);
        self.registry.due(self.now)
    }

    fn called_back(&mut self, n: u128, e: u16, outcome: Outcome) {
        let call_back = CallBack { node: NodeId(n), endpoint: endpoint(e) };
        self.registry.called_back(call_back, outcome, self.now);
    }

    /// Node ids that are offered for a name, sorted.
    fn holders(&self, text: &str) -> Vec<u128> {
        let mut found: Vec<_> =
            self.registry.find(&Query::Name(name(text)), 0).map(|provider| provider.node.0).collect();
        found.sort_unstable();
        found
    }

    fn files(&self) -> Vec<String> {
        self.registry.files_after(None).map(|name| name.as_str().to_owned()).collect()
    }

    fn listed(&self) -> Vec<(u128, Liveness)> {
        self.registry.nodes(0).map(|row| (row.node.0, row.liveness)).collect()
    }

    /// Nothing may be left of what is gone.
    fn check_counts(&self) {
        let registry = &self.registry;
        let files: usize = registry.nodes.iter().map(|(_, node)| node.catalog.len()).sum();
        let staged = |known: &Session| match &known.staging {
            Staging::Pages { added, .. } => *added,
            _ => 0,
        };
        assert_eq!(registry.files, files);
        assert_eq!(registry.index.lens(), [files; 3]);
        assert_eq!(registry.staged, registry.sessions.values().map(staged).sum::<usize>());
        assert_eq!(registry.by_id.len(), registry.nodes.len());
        assert_eq!(registry.listed.len(), registry.nodes.len());
    }
}

fn world() -> World {
    World::new(Limits::default())
}

const NOT_REGISTERED: Result<(), RegistryError> = Err(RegistryError::NotRegistered);

#[test]
fn endpoints_nobody_could_connect_to_are_refused_and_mapped_ones_made_plain() {
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
fn a_registration_is_in_effect_whole_at_its_commit_and_not_before() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("old", 1), entry("both", 1)]);
    world.stage(1, vec![entry("new", 2)]).expect("first page");
    world.stage(1, vec![entry("both", 2)]).expect("second page");
    assert_eq!(world.files(), ["both", "old"]);
    world.commit(1, Proof::Proved).expect("registered");
    assert_eq!(world.files(), ["both", "new"]);
    let both: Vec<_> = world.registry.find(&Query::Name(name("both")), 0).collect();
    assert_eq!(both.iter().map(|provider| &provider.entry).collect::<Vec<_>>(), [&entry("both", 2)]);
    world.check_counts();
}

#[test]
fn the_last_line_about_a_name_counts() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1), entry("b", 1), entry("a", 2)]);
    let content = |world: &World, text: &str| {
        let found: Vec<_> =
            world.registry.find(&Query::Name(name(text)), 0).map(|one| one.entry.md5.0[0]).collect();
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
fn attributes_are_checked_and_not_kept() {
    let attribute = |len| Attribute { tag: 9, value: vec![0; len] };
    for (count, len, is_allowed) in
        [(limits::ATTRIBUTES_MAX, limits::ATTRIBUTE_MAX_BYTES, true), (17, 0, false), (1, 257, false)]
    {
        let mut world = world();
        world.hello(1, 1, 1, None);
        let mut given = entry("a", 1);
        given.attributes = vec![attribute(len); count];
        let expected = if is_allowed { Ok(()) } else { Err(RegistryError::Attributes(name("a"))) };
        assert_eq!(world.register(1, vec![given], Proof::Proved), expected);
        let kept: Vec<_> = world.registry.find(&Query::Name(name("a")), 0).map(|one| one.entry).collect();
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
fn caps_on_files_hold_at_the_limit_and_a_refusal_changes_nothing() {
    let entries = |count: u8| (0..count).map(|one| entry(&format!("f{one}"), one)).collect::<Vec<_>>();
    let shrunk = Limits { files_max: 8, files_per_node_max: 5, ..Limits::default() };
    for (first, second, expected) in [
        (4, 4, Ok(())),
        (5, 3, Ok(())),
        (5, 4, Err(RegistryError::Files { max: 8 })),
        (0, 5, Ok(())),
        (0, 6, Err(RegistryError::FilesOfNode { max: 5 })),
    ] {
        let mut world = World::new(shrunk.clone());
        world.join(1, 1, 1, entries(first));
        world.hello(2, 2, 2, None);
        // In pages of two entries: the one too many is refused wherever it comes.
        let staged = entries(second).chunks(2).try_for_each(|page| world.stage(2, page.to_vec()));
        assert_eq!(staged, expected, "{first} and {second}");
        if staged.is_err() {
            assert_eq!(world.registry.staged, 0);
            assert_eq!(world.stage(2, vec![]), Err(RegistryError::Incomplete));
            assert_eq!(world.commit(2, Proof::Proved), Err(RegistryError::Incomplete));
            assert_eq!(world.files().len(), usize::from(first));
            world.hello(2, 2, 2, None);
            world.register(2, entries(1), Proof::Proved).expect("begun anew");
        }
        world.check_counts();
    }
}

#[test]
fn an_update_may_fill_a_catalog_and_not_overfill_it() {
    let mut world = World::new(Limits { files_per_node_max: 2, ..Limits::default() });
    world.join(1, 1, 1, vec![entry("a", 1), entry("b", 1)]);
    assert_eq!(world.update(1, vec![], vec![entry("a", 2)]), Ok(()));
    assert_eq!(world.update(1, vec![name("a")], vec![entry("c", 2)]), Ok(()));
    let too_many = Err(RegistryError::FilesOfNode { max: 2 });
    assert_eq!(world.update(1, vec![], vec![entry("d", 1)]), too_many);
    assert_eq!(world.files(), ["b", "c"]);
    let removed = vec![name("b"), name("x"), name("y")];
    assert_eq!(world.update(1, removed, vec![]), Err(RegistryError::Removals { max: 2 }));
    assert_eq!(world.files(), ["b", "c"]);
    world.check_counts();
}

#[test]
fn a_full_tracker_refuses_new_nodes_and_renews_the_known() {
    let mut world = World::new(Limits { nodes_max: 2, ..Limits::default() });
    world.join(1, 1, 1, vec![]);
    world.join(2, 2, 2, vec![]);
    for proof in [Proof::Proved, Proof::Unproved] {
        world.hello(3, 3, 3, None);
        assert_eq!(world.register(3, vec![], proof), Err(RegistryError::Nodes { max: 2 }));
    }
    world.join(4, 1, 1, vec![entry("a", 1)]);
    world.join(5, 4, 2, vec![entry("a", 1)]);
    assert_eq!(world.holders("a"), [1, 4]);
    world.registry.leave(SessionId(5)).expect("left");
    world.join(6, 6, 6, vec![]);
    world.check_counts();
}

#[test]
fn a_proved_registration_takes_the_endpoint_over_and_the_former_node_is_heard_no_more() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.stage(1, vec![entry("late", 1)]).expect("staged");
    world.join(2, 2, 1, vec![entry("b", 1)]);
    assert_eq!((world.files(), world.listed()), (vec!["b".to_owned()], vec![(2, Liveness::Live)]));
    assert_eq!(world.heartbeat(1), NOT_REGISTERED);
    assert_eq!(world.update(1, vec![], vec![entry("late", 1)]), NOT_REGISTERED);
    assert_eq!(world.registry.leave(SessionId(1)), NOT_REGISTERED);
    for proof in [Proof::Proved, Proof::Unproved] {
        assert_eq!(world.register(1, vec![entry("late", 1)], proof), NOT_REGISTERED);
    }
    world.disconnect(1);
    assert_eq!(world.files(), ["b"]);
    world.check_counts();
}

#[test]
fn a_former_session_of_the_same_node_is_heard_no_more() {
    let mut world = world();
    world.hello(1, 1, 1, Some(BEAT));
    world.stage(1, vec![entry("late", 1)]).expect("staged");
    world.join(2, 1, 1, vec![entry("a", 1)]);
    assert_eq!(world.commit(1, Proof::Proved), NOT_REGISTERED);
    assert_eq!(world.heartbeat(1), NOT_REGISTERED);
    world.disconnect(1);
    assert_eq!((world.files(), world.listed()), (vec!["a".to_owned()], vec![(1, Liveness::Live)]));
    world.check_counts();
}

#[test]
fn a_node_that_moves_leaves_its_former_endpoint() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.join(2, 1, 2, vec![entry("b", 1)]);
    let rows: Vec<_> = world.registry.nodes(0).map(|row| row.endpoint).collect();
    assert_eq!((world.files(), rows), (vec!["b".to_owned()], vec![endpoint(2)]));
    world.check_counts();
}

#[test]
fn unproved_nodes_are_listed_never_offered_and_displace_nobody() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.hello(2, 2, 1, Some(BEAT));
    world.register(2, vec![entry("a", 1), entry("b", 1)], Proof::Unproved).expect("listed");
    assert_eq!(world.listed(), [(1, Liveness::Live), (2, Liveness::Unproved)]);
    assert_eq!((world.holders("a"), world.files()), (vec![1], vec!["a".to_owned()]));
    assert_eq!(world.heartbeat(2), Ok(()));
    assert_eq!(world.update(2, vec![], vec![entry("c", 1)]), Ok(()));
    assert_eq!(world.files(), ["a"]);
    // Knowing a node's id is not enough to take it out of the answers.
    world.hello(3, 1, 9, None);
    world.register(3, vec![], Proof::Unproved).expect("listed");
    assert_eq!((world.holders("a"), world.heartbeat(1)), (vec![1], Ok(())));
    world.register(1, vec![entry("a", 2)], Proof::Proved).expect("an unproved rival is in nobody's way");
    world.disconnect(2);
    assert_eq!(world.listed(), [(1, Liveness::Live)]);
    world.check_counts();
}

#[test]
fn a_node_whose_listener_is_gone_is_offered_no_more_when_it_registers_again() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.register(1, vec![entry("a", 1)], Proof::Unproved).expect("listed");
    assert_eq!((world.holders("a"), world.listed()), (vec![], vec![(1, Liveness::Unproved)]));
    world.register(1, vec![entry("a", 1)], Proof::Proved).expect("proved again");
    assert_eq!((world.holders("a"), world.listed()), (vec![1], vec![(1, Liveness::Live)]));
    world.check_counts();
}

#[test]
fn the_end_of_a_control_connection_makes_its_node_suspect_at_once() {
    for heartbeat in [Some(BEAT), None] {
        let mut world = world();
        world.hello(1, 1, 1, heartbeat);
        world.register(1, vec![entry("a", 1)], Proof::Proved).expect("registered");
        world.disconnect(1);
        assert_eq!((world.holders("a"), world.files()), (vec![], vec![]));
        assert_eq!(world.listed(), [(1, Liveness::Suspect)]);
        assert_eq!(world.heartbeat(1), NOT_REGISTERED);
        assert_eq!(world.pass(0), [CallBack { node: NodeId(1), endpoint: endpoint(1) }]);
        world.hello(2, 1, 1, None);
        world.register(2, vec![entry("a", 1)], Proof::Proved).expect("registered");
        assert_eq!((world.holders("a"), world.pass(5_000)), (vec![1], vec![]));
    }
}

#[test]
fn two_missed_heartbeats_make_a_node_suspect_and_a_late_one_live_again() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.hello(2, 2, 2, None);
    world.register(2, vec![entry("a", 1)], Proof::Proved).expect("registered");
    world.hello(3, 3, 3, Some(BEAT));
    world.register(3, vec![entry("a", 1)], Proof::Unproved).expect("listed");
    assert_eq!((world.pass(2_000), world.holders("a")), (vec![], vec![1, 2]));
    assert_eq!(world.pass(1).len(), 1);
    assert_eq!(world.holders("a"), [2]);
    assert_eq!(world.listed(), [(1, Liveness::Suspect), (2, Liveness::Live)]);
    assert_eq!(world.heartbeat(1), Ok(()));
    assert_eq!(world.holders("a"), [1, 2]);
    world.pass(2_000);
    // A page of a long registration shows as well as a heartbeat that the node is there.
    world.stage(1, vec![entry("a", 1)]).expect("staged");
    assert_eq!((world.pass(2_000), world.holders("a")), (vec![], vec![1, 2]));
    let row = world.registry.nodes(0).next().expect("a row");
    assert_eq!((row.load, row.files), (Some(7), 1));
    world.check_counts();
}

#[test]
fn suspects_are_called_back_until_they_answer_refuse_or_have_been_silent_too_long() {
    let suspect = || {
        let mut world = world();
        world.join(1, 1, 1, vec![entry("a", 1)]);
        world.disconnect(1);
        assert_eq!(world.pass(0).len(), 1);
        world
    };
    let is_listed = |world: &World| !world.listed().is_empty();

    let mut world = suspect();
    assert_eq!((world.pass(4_999).len(), world.pass(1).len(), world.pass(4_999).len()), (0, 1, 0));
    world.called_back(1, 1, Outcome::Answered { node: NodeId(1) });
    assert_eq!((world.holders("a"), world.listed()), (vec![1], vec![(1, Liveness::Live)]));
    assert_eq!(world.pass(1).len(), 1, "still called back: its control connection is not there");
    world.called_back(1, 1, Outcome::Silent);
    assert_eq!((world.holders("a"), world.listed()), (vec![], vec![(1, Liveness::Suspect)]));
    world.pass(599_998);
    assert!(is_listed(&world));
    world.pass(1);
    assert!(!is_listed(&world), "10 minutes after its last answer");
    world.check_counts();

    for outcome in [Outcome::Refused, Outcome::Answered { node: NodeId(2) }] {
        let mut world = suspect();
        world.called_back(1, 2, outcome);
        world.called_back(2, 1, outcome);
        assert!(is_listed(&world), "an outcome for somebody else");
        world.called_back(1, 1, outcome);
        assert!(!is_listed(&world), "{outcome:?}");
        world.check_counts();

        let mut world = suspect();
        world.join(2, 1, 1, vec![entry("a", 1)]);
        world.called_back(1, 1, outcome);
        assert_eq!(world.holders("a"), [1], "a late {outcome:?} changes nothing for a live node");
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
        let whole: Vec<_> = world.registry.find(query, 0).collect();
        assert_eq!(whole.len(), expected, "{query:?}");
        for skip in 0..=whole.len() + 1 {
            let page: Vec<_> = world.registry.find(query, skip).take(2).collect();
            assert_eq!(page, whole.iter().skip(skip).take(2).cloned().collect::<Vec<_>>());
        }
    }
    assert_eq!(world.registry.nodes(5).map(|row| row.node.0).collect::<Vec<_>>(), [6, 7]);
    let after = |text| world.registry.files_after(Some(&name(text))).take(2).collect::<Vec<_>>();
    assert_eq!(after("a"), [name("n1"), name("n2")]);
    assert_eq!(after("n6a"), [name("n7")]);
}

/// The model: lists, searched whole.
#[derive(Default)]
struct Model {
    sessions: Vec<ModelSession>,
    nodes: Vec<ModelNode>,
    hellos: u64,
}

struct ModelSession {
    id: u64,
    node: u128,
    endpoint: SocketAddr,
    heartbeat: Option<Duration>,
    hello: u64,
}

#[derive(Clone)]
struct ModelNode {
    id: u128,
    endpoint: SocketAddr,
    is_proved: bool,
    session: Option<u64>,
    hello: u64,
    heartbeat: Option<Duration>,
    heard: Instant,
    /// Since when it is suspect and silent, when the next call-back is due, whether it answered the last one.
    suspect: Option<(Instant, Instant, bool)>,
    load: Option<u32>,
    entries: Vec<FileEntry>,
}

impl ModelNode {
    fn is_offered(&self) -> bool {
        self.is_proved && self.suspect.is_none_or(|(.., is_answering)| is_answering)
    }

    fn put(&mut self, entry: FileEntry) {
        self.entries.retain(|old| old.name != entry.name);
        self.entries.push(entry);
    }

    fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.suspect = None;
    }
}

/// One step. Sessions, nodes and endpoints are few, so that they meet.
#[derive(Debug, Clone)]
enum Step {
    Hello { s: u64, n: u128, e: u16, beats: bool },
    Register { s: u64, entries: Vec<(u8, u8)>, is_proved: bool },
    Update { s: u64, removed: Option<u8>, added: Vec<(u8, u8)> },
    Heartbeat { s: u64 },
    Leave { s: u64 },
    Disconnect { s: u64 },
    Pass { ms: u64 },
    CalledBack { n: u128, e: u16, outcome: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lines = || prop::collection::vec((0..5u8, 0..3u8), 0..5);
    let step = prop_oneof![
        3 => (0..5u64, 0..4u128, 0..4u16, any::<bool>())
            .prop_map(|(s, n, e, beats)| Step::Hello { s, n, e, beats }),
        6 => (0..5u64, lines(), prop::bool::weighted(0.8))
            .prop_map(|(s, entries, is_proved)| Step::Register { s, entries, is_proved }),
        3 => (0..5u64, prop::option::of(0..5u8), lines())
            .prop_map(|(s, removed, added)| Step::Update { s, removed, added }),
        2 => (0..5u64).prop_map(|s| Step::Heartbeat { s }),
        1 => (0..5u64).prop_map(|s| Step::Leave { s }),
        2 => (0..5u64).prop_map(|s| Step::Disconnect { s }),
        4 => prop_oneof![Just(0), Just(500), Just(1_000), Just(5_000), Just(600_000)]
            .prop_map(|ms| Step::Pass { ms }),
        4 => (0..4u128, 0..4u16, 0..4u8).prop_map(|(n, e, outcome)| Step::CalledBack { n, e, outcome }),
    ];
    prop::collection::vec(step, 1..60)
}

fn made(lines: &[(u8, u8)]) -> Vec<FileEntry> {
    lines.iter().map(|(file, content)| entry(&format!("f{file}"), *content)).collect()
}

const MODEL_FILES_MAX: usize = 4;

impl Model {
    fn own(&mut self, s: u64) -> Option<&mut ModelNode> {
        self.nodes.iter_mut().find(|node| node.session == Some(s))
    }

    fn end(&mut self, s: u64, now: Instant) {
        self.sessions.retain(|session| session.id != s);
        self.nodes.retain(|node| node.session != Some(s) || node.is_proved);
        if let Some(node) = self.own(s) {
            node.session = None;
            node.suspect = node.suspect.or(Some((now, now, false)));
        }
    }

    fn hello(&mut self, s: u64, n: u128, e: u16, heartbeat: Option<Duration>, now: Instant) {
        let is_same = self.own(s).is_some_and(|node| node.id == n && node.endpoint == endpoint(e));
        if !is_same {
            self.end(s, now);
        }
        self.sessions.retain(|session| session.id != s);
        self.hellos += 1;
        let (endpoint, hello) = (endpoint(e), self.hellos);
        self.sessions.push(ModelSession { id: s, node: n, endpoint, heartbeat, hello });
    }

    fn register(&mut self, s: u64, entries: Vec<FileEntry>, is_proved: bool, now: Instant) -> bool {
        let Some(session) = self.sessions.iter().find(|session| session.id == s) else {
            return false;
        };
        let (id, at, hello, heartbeat) = (session.node, session.endpoint, session.hello, session.heartbeat);
        if let Some(node) = self.own(s) {
            node.hear(now);
        }
        let is_rival = |node: &ModelNode| node.id == id || node.is_proved && node.endpoint == at;
        let is_late = self
            .nodes
            .iter()
            .any(|node| is_rival(node) && node.hello > hello && (node.is_proved || !is_proved));
        if is_late {
            return false;
        }
        let load = |is_before: &dyn Fn(&ModelNode) -> bool| self.nodes.iter().find(|node| is_before(node));
        let before = if is_proved {
            load(&|node| node.id == id && node.is_proved).or(load(&|node| node.id == id))
        } else {
            load(&|node| node.session == Some(s)).or(load(&|node| node.id == id && !node.is_proved))
        };
        let load = before.and_then(|node| node.load);
        self.nodes.retain(|node| match is_proved {
            true => !is_rival(node),
            false => node.session != Some(s) && (node.id != id || node.is_proved),
        });
        let mut node = ModelNode {
            id,
            endpoint: at,
            is_proved,
            session: Some(s),
            hello,
            heartbeat,
            heard: now,
            suspect: None,
            load,
            entries: Vec::new(),
        };
        entries.into_iter().for_each(|entry| node.put(entry));
        self.nodes.push(node);
        true
    }

    fn update(&mut self, s: u64, removed: Option<FileName>, added: Vec<FileEntry>, now: Instant) -> bool {
        let Some(node) = self.own(s) else {
            return false;
        };
        node.hear(now);
        if removed.is_some() && node.entries.is_empty() {
            return false;
        }
        let mut changed = node.clone();
        changed.entries.retain(|old| Some(&old.name) != removed.as_ref());
        added.into_iter().for_each(|entry| changed.put(entry));
        let is_allowed = changed.entries.len() <= MODEL_FILES_MAX;
        if is_allowed {
            *node = changed;
        }
        is_allowed
    }

    fn due(&mut self, now: Instant) -> Vec<(u128, SocketAddr)> {
        let is_missing = |node: &ModelNode| {
            node.heartbeat.is_some_and(|interval| now.duration_since(node.heard) > interval * 2)
        };
        self.nodes.retain(|node| node.is_proved || !is_missing(node));
        for node in &mut self.nodes {
            if is_missing(node) && node.is_proved {
                node.suspect = node.suspect.or(Some((now, now, false)));
            }
        }
        self.nodes.retain(|node| {
            node.suspect.is_none_or(|(silent, ..)| now.duration_since(silent) < Duration::from_secs(600))
        });
        let mut call_backs = Vec::new();
        for node in &mut self.nodes {
            if let Some((_, next, _)) = &mut node.suspect
                && *next <= now
            {
                *next = now + Duration::from_secs(5);
                call_backs.push((node.id, node.endpoint));
            }
        }
        call_backs.sort_unstable();
        call_backs
    }

    fn called_back(&mut self, n: u128, e: u16, outcome: Outcome, now: Instant) {
        let is_meant = |node: &ModelNode| {
            node.id == n && node.endpoint == endpoint(e) && node.is_proved && node.suspect.is_some()
        };
        let is_there = outcome == Outcome::Answered { node: NodeId(n) };
        self.nodes.retain(|node| !is_meant(node) || is_there || outcome == Outcome::Silent);
        for node in self.nodes.iter_mut().filter(|node| is_meant(node)) {
            if let Some((silent, _, is_answering)) = &mut node.suspect {
                *silent = if is_there { now } else { *silent };
                *is_answering = is_there;
            }
        }
    }

    fn find(&self, is_wanted: impl Fn(&FileEntry) -> bool) -> Vec<(u128, SocketAddr, FileEntry)> {
        let offered = self.nodes.iter().filter(|node| node.is_offered());
        let mut found: Vec<_> = offered
            .flat_map(|node| node.entries.iter().map(|entry| (node.id, node.endpoint, entry.clone())))
            .filter(|(.., entry)| is_wanted(entry))
            .collect();
        found.sort_by(|a, b| (a.0, &a.2.name).cmp(&(b.0, &b.2.name)));
        found
    }
}

/// Does `step` to both; both must refuse or carry out alike.
fn take(step: Step, world: &mut World, model: &mut Model) {
    let now = world.now;
    match step {
        Step::Hello { s, n, e, beats } => {
            let heartbeat = beats.then_some(BEAT);
            world.hello(s, n, e, heartbeat);
            model.hello(s, n, e, heartbeat, now);
        }
        Step::Register { s, entries, is_proved } => {
            let proof = if is_proved { Proof::Proved } else { Proof::Unproved };
            let pages: Vec<_> = made(&entries).chunks(2).map(<[FileEntry]>::to_vec).collect();
            let staged = pages.into_iter().chain([vec![]]).try_for_each(|page| world.stage(s, page));
            let given = staged.and_then(|()| world.commit(s, proof)).is_ok();
            assert_eq!(given, model.register(s, made(&entries), is_proved, now));
        }
        Step::Update { s, removed, added } => {
            let removed = removed.map(|file| name(&format!("f{file}")));
            let given = world.update(s, removed.clone().into_iter().collect(), made(&added));
            assert_eq!(given.is_ok(), model.update(s, removed, made(&added), now), "{given:?}");
            // A refused page wants a hello, which the same session says again.
            if given.is_err_and(|error| error != RegistryError::NotRegistered)
                && let Some(claim) = world.registry.claim(SessionId(s))
            {
                let port = claim.endpoint.port() - 5000;
                world.hello(s, claim.node.0, port, Some(BEAT));
                model.hello(s, claim.node.0, port, Some(BEAT), now);
            }
        }
        Step::Heartbeat { s } => {
            let given = world.heartbeat(s).is_ok();
            let node = model.own(s);
            assert_eq!(given, node.is_some());
            if let Some(node) = node {
                node.load = Some(7);
                node.hear(now);
            }
        }
        Step::Leave { s } => {
            assert_eq!(world.registry.leave(SessionId(s)).is_ok(), model.own(s).is_some());
            model.nodes.retain(|node| node.session != Some(s));
        }
        Step::Disconnect { s } => {
            world.disconnect(s);
            model.end(s, now);
        }
        Step::Pass { ms } => {
            let mut call_backs: Vec<_> =
                world.pass(ms).iter().map(|call| (call.node.0, call.endpoint)).collect();
            call_backs.sort_unstable();
            assert_eq!(call_backs, model.due(world.now));
        }
        Step::CalledBack { n, e, outcome } => {
            let outcome = match outcome {
                0 => Outcome::Refused,
                1 => Outcome::Silent,
                2 => Outcome::Answered { node: NodeId(n + 1) },
                _ => Outcome::Answered { node: NodeId(n) },
            };
            world.called_back(n, e, outcome);
            model.called_back(n, e, outcome, now);
        }
    }
}

fn check_same(world: &World, model: &Model) {
    let find = |query: Query| {
        let found = world.registry.find(&query, 0);
        let mut found: Vec<_> = found.map(|one| (one.node.0, one.endpoint, one.entry)).collect();
        found.sort_by(|a, b| (a.0, &a.2.name).cmp(&(b.0, &b.2.name)));
        found
    };
    let mut names = Vec::new();
    for file in 0..5 {
        let wanted = name(&format!("f{file}"));
        let expected = model.find(|entry| entry.name == wanted);
        names.extend((!expected.is_empty()).then(|| wanted.clone()));
        assert_eq!(find(Query::Name(wanted)), expected);
    }
    assert_eq!(world.registry.files_after(None).collect::<Vec<_>>(), names);
    for content in 0..3 {
        let md5 = Md5Digest([content; 16]);
        assert_eq!(find(Query::Md5(md5)), model.find(|entry| entry.md5 == md5));
        let id = entry("x", content).content.to_string();
        for digits in [16, 17, 18, 64] {
            let prefix = ContentPrefix::from_hex(&id[..digits]).expect("prefix");
            let is_wanted = |entry: &FileEntry| entry.content.to_string().starts_with(&id[..digits]);
            assert_eq!(find(Query::Content(prefix)), model.find(is_wanted));
        }
    }
    let mut rows: Vec<_> = model
        .nodes
        .iter()
        .map(|node| NodeSummary {
            node: NodeId(node.id),
            endpoint: node.endpoint,
            liveness: match (node.is_proved, node.is_offered()) {
                (false, _) => Liveness::Unproved,
                (true, true) => Liveness::Live,
                (true, false) => Liveness::Suspect,
            },
            files: node.entries.len() as u32,
            load: node.load,
        })
        .collect();
    rows.sort_by_key(|row| (row.endpoint, row.liveness == Liveness::Unproved, row.node));
    assert_eq!(world.registry.nodes(0).collect::<Vec<_>>(), rows);
    world.check_counts();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_registry_answers_as_the_model_does(steps in steps()) {
        let mut world = World::new(Limits { files_per_node_max: MODEL_FILES_MAX, ..Limits::default() });
        let mut model = Model::default();
        for step in steps {
            take(step, &mut world, &mut model);
            check_same(&world, &model);
        }
    }
}
