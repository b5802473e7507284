//! The registry's rules, one by one.

use super::*;
use crate::types::{Attribute, ContentId, ContentPrefix, FileEntry, Holding, Md5Digest, Md5Origin};

pub(super) const BEAT: Duration = Duration::from_secs(1);

pub(super) fn name(text: &str) -> FileName {
    FileName::new(text).expect("valid name")
}

/// An entry called `text` with content and MD5 number `content`; the contents 0 to 15 share their first 17 hex digits.
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

/// A registry with a clock, driven in few words: session `s` says it is node `n` at endpoint `e`.
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

    pub(super) fn commit(&mut self, s: u64, proof: Proof) -> Result<(), RegistryError> {
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
        self.registry.due(self.now)
    }

    pub(super) fn called_back(&mut self, n: u128, e: u16, outcome: Outcome) {
        let call_back = CallBack { node: NodeId(n), endpoint: endpoint(e) };
        self.registry.called_back(call_back, outcome, self.now);
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

    /// Nothing may be left of what is gone.
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
            _ => Staged::default(),
        };
        assert_eq!(registry.files, files);
        assert_eq!(registry.index.lens(), [files; 3]);
        assert_eq!(
            registry.staged,
            registry.sessions.values().map(staged).fold(Staged::default(), |sum, one| sum + one)
        );
        let unproved = registry.nodes.iter().filter(|(_, node)| node.proof == Proof::Unproved).count();
        assert_eq!(registry.unproved.len(), unproved);
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
    let both: Vec<_> =
        world.registry.find(&Query::Name(name("both")), 0).expect("few rows are skipped").collect();
    assert_eq!(both.iter().map(|provider| &provider.entry).collect::<Vec<_>>(), [&entry("both", 2)]);
    world.check_counts();
}

#[test]
fn the_last_line_about_a_name_counts() {
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
            assert_eq!(world.registry.staged, Staged::default());
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
fn who_answers_with_the_id_of_another_node_takes_nothing_from_it() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.join(2, 1, 2, vec![entry("b", 1)]);
    let rows: Vec<_> = world.registry.nodes(0).map(|row| (row.endpoint, row.files)).collect();
    assert_eq!(rows, [(endpoint(1), 1), (endpoint(2), 1)]);
    assert_eq!((world.files(), world.heartbeat(1)), (vec!["a".to_owned(), "b".to_owned()], Ok(())));
    assert_eq!(world.update(1, vec![], vec![entry("c", 1)]), Ok(()));
    world.registry.leave(SessionId(2)).expect("left");
    assert_eq!(world.files(), ["a", "c"]);
    world.check_counts();
}

#[test]
fn a_node_that_moves_is_asked_at_its_former_endpoint_and_forgotten_there() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.join(1, 1, 2, vec![entry("a", 1)]);
    assert_eq!(world.listed(), [(1, Liveness::Suspect), (1, Liveness::Live)]);
    assert_eq!(world.pass(0), [CallBack { node: NodeId(1), endpoint: endpoint(1) }]);
    world.called_back(1, 1, Outcome::Refused);
    assert_eq!((world.listed(), world.heartbeat(1)), (vec![(1, Liveness::Live)], Ok(())));
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
fn a_node_id_has_one_unproved_registration_the_latest() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.hello(2, 1, 9, None);
    world.register(2, vec![], Proof::Unproved).expect("listed");
    assert_eq!(world.listed(), [(1, Liveness::Live), (1, Liveness::Unproved)]);
    world.hello(1, 1, 1, None);
    world.register(1, vec![entry("a", 1)], Proof::Unproved).expect("listed");
    assert_eq!((world.files(), world.listed()), (vec![], vec![(1, Liveness::Unproved)]));
    assert_eq!((world.heartbeat(2), world.heartbeat(1)), (NOT_REGISTERED, Ok(())));
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

/// `count` entries with names of `len` bytes that no other `tag` has.
fn long_names(tag: char, count: usize, len: usize) -> Vec<FileEntry> {
    (0..count).map(|one| entry(&format!("{tag}{one:0width$}", width = len - 1), 1)).collect()
}

fn bounded_names(names_per_node_max_bytes: usize, names_max_bytes: usize) -> World {
    World::new(Limits { names_per_node_max_bytes, names_max_bytes, ..Limits::default() })
}

#[test]
fn names_count_by_their_bytes() {
    for (first, second, expected) in [
        (10, 10, Ok(())),
        (10, 11, Err(RegistryError::NamesOfNode { max: 1_000 })),
        (9, 6, Ok(())),
        (9, 7, Err(RegistryError::Names { max: 1_500 })),
    ] {
        let names_max_bytes = if first == 10 { 10_000 } else { 1_500 };
        let mut world = bounded_names(1_000, names_max_bytes);
        world.join(1, 1, 1, long_names('a', first, 100));
        world.hello(2, 2, 2, None);
        // In pages of two entries: the one too many is refused wherever it comes.
        let entries = long_names('b', second, 100);
        let staged = entries.chunks(2).try_for_each(|page| world.stage(2, page.to_vec()));
        assert_eq!(staged, expected, "{first} and {second}");
        world.check_counts();
    }
}

#[test]
fn an_update_counts_the_bytes_of_its_names_too() {
    let mut world = bounded_names(1_000, 10_000);
    world.join(1, 1, 1, long_names('a', 9, 100));
    assert_eq!(world.update(1, vec![], long_names('b', 1, 100)), Ok(()));
    assert_eq!(world.update(1, vec![], long_names('a', 9, 100)), Ok(()), "they are there already");
    assert_eq!(
        world.update(1, vec![name("x")], long_names('c', 1, 1)),
        Err(RegistryError::NamesOfNode { max: 1_000 })
    );
    let gone: Vec<_> = long_names('b', 1, 100).into_iter().map(|entry| entry.name).collect();
    assert_eq!(world.update(1, gone, long_names('c', 1, 100)), Ok(()));
    // Names that are not there cost as much while they are staged.
    let long = |tag| long_names(tag, 3, 200).into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    let session = SessionId(1);
    assert_eq!(world.registry.stage_update(session, long('x'), vec![], world.now), Ok(()));
    let refused = Err(RegistryError::NamesOfNode { max: 1_000 });
    assert_eq!(world.registry.stage_update(session, long('y'), vec![], world.now), refused);
    world.check_counts();
}

#[test]
fn a_full_tracker_still_takes_removals() {
    let mut world = bounded_names(1_000, 1_000);
    world.join(1, 1, 1, long_names('a', 10, 100));
    let gone: Vec<_> = long_names('a', 2, 100).into_iter().map(|entry| entry.name).collect();
    assert_eq!(world.update(1, gone, vec![]), Ok(()));
    assert_eq!(world.registry.names_bytes, 800);
    world.check_counts();
}

fn shared_staging(staged_max: usize, staged_names_max_bytes: usize) -> World {
    World::new(Limits { staged_max, staged_names_max_bytes, ..Limits::default() })
}

#[test]
fn pages_kept_waiting_keep_nobody_out() {
    // Eight that stage half of all there is each and never end; who registers fully beside them still can, and so again.
    for mut world in [shared_staging(100, 1 << 20), shared_staging(1 << 20, 100 * 20)] {
        for s in 1..=8 {
            world.hello(s, s.into(), s as u16, None);
            for page in long_names('h', 50, 20).chunks(5) {
                world.stage(s, page.to_vec()).expect("there is room, or is made");
            }
        }
        for s in [11, 12] {
            world.hello(s, s.into(), s as u16, None);
            for page in long_names('a', 50, 20).chunks(5) {
                world.stage(s, page.to_vec()).expect("there is room, or is made");
            }
            world.commit(s, Proof::Proved).expect("registered");
            world.check_counts();
        }
        assert_eq!(world.commit(1, Proof::Proved), Err(RegistryError::Incomplete));
        assert_eq!(
            world.stage(1, vec![]),
            Err(RegistryError::Incomplete),
            "a part never passes for the whole"
        );
        world.join(1, 1, 1, vec![entry("b", 1)]);
        world.check_counts();
    }
}

#[test]
fn stagings_of_proved_nodes_make_room_last() {
    let mut world = shared_staging(4, 1 << 20);
    world.join(1, 1, 1, vec![]);
    let page = |tag| long_names(tag, 2, 5);
    world.registry.stage_update(SessionId(1), vec![], page('a'), world.now).expect("staged");
    world.hello(2, 2, 2, None);
    world.stage(2, page('b')).expect("staged");
    world.hello(3, 3, 3, None);
    world.stage(3, page('c')).expect("staged, in place of the other unproved one");
    assert_eq!(world.stage(2, vec![]), Err(RegistryError::Incomplete));
    assert_eq!(world.stage(3, page('d')), Err(RegistryError::Crowded), "nobody else who is unproved is left");
    world.stage(1, vec![]).expect_err("of another kind");
    world.hello(4, 4, 4, None);
    world.stage(4, long_names('e', 4, 5)).expect("nobody is left");
    world.check_counts();
}

#[test]
fn staged_removals_count_in_the_share_of_staged_pages() {
    let mut world = shared_staging(6, 1 << 20);
    world.join(1, 1, 1, long_names('a', 4, 5));
    let gone: Vec<_> = long_names('x', 4, 5).into_iter().map(|entry| entry.name).collect();
    world.registry.stage_update(SessionId(1), gone, vec![], world.now).expect("staged");
    world.hello(2, 2, 2, None);
    assert_eq!(world.stage(2, long_names('b', 3, 5)), Err(RegistryError::Crowded));
    world.hello(2, 2, 2, None);
    assert_eq!(world.stage(2, long_names('b', 2, 5)), Ok(()));
    world.check_counts();
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

impl World {
    /// An empty last page from `from`: the port to call back, `None` if there is no need to, or the ms to wait.
    fn last_page(&mut self, s: u64, from: IpAddr) -> Result<Option<u16>, u128> {
        self.stage(s, vec![]).expect("an empty page");
        match self.registry.begin_proof(SessionId(s), from, self.now) {
            Ok(claim) => Ok(claim.map(|claim| claim.endpoint.port() - 5000)),
            Err(RegistryError::CallBack { wait_ms, .. }) => Err(wait_ms),
            Err(error) => panic!("{error}"),
        }
    }

    fn prove(&mut self, s: u64, e: u16, proof: Proof) {
        self.registry.end_proof(endpoint(e), HERE);
        self.commit(s, proof).expect("registered");
    }
}

#[test]
fn a_session_has_one_call_back_a_second() {
    let mut world = world();
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    world.prove(1, 1, Proof::Unproved);
    assert_eq!(world.last_page(1, HERE), Err(1_000));
    assert_eq!(world.stage(1, vec![]), Err(RegistryError::Incomplete), "what was staged is dropped");
    // Neither a new hello nor another endpoint is a way around it.
    world.pass(400);
    for e in [1, 2] {
        world.hello(1, 1, e, None);
        assert_eq!(world.last_page(1, HERE), Err(600));
    }
    world.pass(600);
    world.hello(1, 1, 2, None);
    assert_eq!(world.last_page(1, HERE), Ok(Some(2)));
    world.check_counts();
}

#[test]
fn a_proof_lasts_a_second_for_the_same_hello() {
    let mut world = world();
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    world.pass(50);
    world.prove(1, 1, Proof::Proved);
    for _ in 0..3 {
        world.pass(300);
        assert_eq!(world.last_page(1, HERE), Ok(None));
        world.commit(1, Proof::Proved).expect("registered");
    }
    world.pass(50);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)), "asked again once it is a second old");
    world.prove(1, 1, Proof::Proved);
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Err(1_000), "another nonce is another proof");
    // Whoever has lost the endpoint proves it anew.
    world.pass(1_000);
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    world.prove(1, 1, Proof::Proved);
    world.join(2, 2, 1, vec![]);
    assert_eq!(world.last_page(1, HERE), Err(1_000));
}

#[test]
fn an_endpoint_is_called_back_once_at_a_time_for_each_who_asks() {
    let mut world = world();
    for (s, e) in [(1, 1), (2, 1), (3, 2), (4, 1), (5, 1)] {
        world.hello(s, s.into(), e, None);
    }
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    assert!(world.last_page(2, HERE).is_err());
    assert_eq!(world.last_page(3, HERE), Ok(Some(2)), "another port is another node");
    assert_eq!(world.last_page(4, ELSEWHERE), Ok(Some(1)), "who asks elsewhere keeps nobody out");
    world.prove(1, 1, Proof::Proved);
    assert_eq!(world.last_page(5, HERE), Ok(Some(1)));
    // An end that goes untold does not keep an endpoint for ever.
    world.pass(2_000);
    world.hello(2, 2, 1, None);
    assert_eq!(world.last_page(2, HERE), Ok(Some(1)));
    world.check_counts();
}

#[test]
fn one_node_with_many_names_for_a_content_hides_nobody() {
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
    // Of the same node another content counts by itself.
    world.update(1, vec![], (500..520).map(|one| entry(&format!("a{one}"), 2)).collect()).expect("updated");
    let both = Query::Content(ContentPrefix::from_hex("abababababababab").expect("prefix"));
    assert_eq!(world.registry.find(&both, 0).expect("few rows are skipped").count(), 16 + 2 + 16);
}

#[test]
fn a_find_skips_no_more_rows_than_any_node_asks_for() {
    let world = world();
    let query = Query::Name(name("a"));
    let max = limits::FIND_SKIP_MAX;
    assert!(world.registry.find(&query, max).is_ok());
    for skip in [max + 1, u32::MAX as usize] {
        assert_eq!(world.registry.find(&query, skip).err(), Some(RegistryError::Skip { skip }));
    }
}
