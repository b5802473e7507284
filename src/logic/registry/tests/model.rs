//! The registry against a model: random messages, call-backs and pauses. After each step every answer of the
//! registry must equal the answer of the model, which searches plain lists.

use proptest::prelude::*;

use super::*;
use crate::types::NodeSummary;

/// The state of a registry in plain lists.
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
    is_verified: bool,
    session: Option<u64>,
    hello: u64,
    heartbeat: Option<Duration>,
    last_message: Instant,
    suspect: Option<Suspect>,
    load: Option<u32>,
    entries: Vec<FileEntry>,
}

#[derive(Clone, Copy)]
struct Suspect {
    silent_since: Instant,
    next_call_back: Instant,
    /// It answered the last call-back.
    is_answering: bool,
}

impl Suspect {
    fn new(now: Instant) -> Suspect {
        Suspect { silent_since: now, next_call_back: now, is_answering: false }
    }
}

impl ModelNode {
    fn is_offered(&self) -> bool {
        self.is_verified && self.suspect.is_none_or(|suspect| suspect.is_answering)
    }

    fn put(&mut self, entry: FileEntry) {
        self.entries.retain(|old| old.name != entry.name);
        self.entries.push(entry);
    }

    fn observe(&mut self, now: Instant) {
        self.last_message = now;
        self.suspect = None;
    }
}

/// One step. There are few sessions, nodes and endpoints, so that they collide.
#[derive(Debug, Clone)]
enum Step {
    Hello { s: u64, n: u128, e: u16, beats: bool },
    Register { s: u64, entries: Vec<(u8, u8)>, is_verified: bool },
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
            .prop_map(|(s, entries, is_verified)| Step::Register { s, entries, is_verified }),
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
    let holding = |content: u8| if content % 3 == 2 { Holding::Pieces(1) } else { Holding::Full };
    let made = |(file, content): &(u8, u8)| FileEntry {
        holding: holding(*content),
        ..entry(&format!("f{file}"), *content)
    };
    lines.iter().map(made).collect()
}

const MODEL_FILES_MAX: usize = 4;

impl Model {
    fn own(&mut self, s: u64) -> Option<&mut ModelNode> {
        self.nodes.iter_mut().find(|node| node.session == Some(s))
    }

    fn end(&mut self, s: u64, now: Instant) {
        self.sessions.retain(|session| session.id != s);
        self.nodes.retain(|node| node.session != Some(s) || node.is_verified);
        if let Some(node) = self.own(s) {
            node.session = None;
            node.suspect = node.suspect.or(Some(Suspect::new(now)));
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

    fn register(&mut self, s: u64, entries: Vec<FileEntry>, is_verified: bool, now: Instant) -> bool {
        let Some(session) = self.sessions.iter().find(|session| session.id == s) else {
            return false;
        };
        let (id, at, hello, heartbeat) = (session.node, session.endpoint, session.hello, session.heartbeat);
        if let Some(node) = self.own(s) {
            node.observe(now);
        }
        let is_rival = |node: &ModelNode| if node.is_verified { node.endpoint == at } else { node.id == id };
        let is_late = self
            .nodes
            .iter()
            .any(|node| is_rival(node) && node.hello > hello && (node.is_verified || !is_verified));
        if is_late {
            return false;
        }
        let load = |is_before: &dyn Fn(&ModelNode) -> bool| self.nodes.iter().find(|node| is_before(node));
        let before = if is_verified {
            load(&|node| node.id == id && node.is_verified && node.endpoint == at)
                .or(load(&|node| node.id == id && !node.is_verified))
        } else {
            load(&|node| node.session == Some(s)).or(load(&|node| node.id == id && !node.is_verified))
        };
        let load = before.and_then(|node| node.load);
        self.nodes.retain(|node| {
            if is_verified {
                !is_rival(node)
            } else {
                node.session != Some(s) && (node.id != id || node.is_verified)
            }
        });
        let mut node = ModelNode {
            id,
            endpoint: at,
            is_verified,
            session: Some(s),
            hello,
            heartbeat,
            last_message: now,
            suspect: None,
            load,
            entries: Vec::new(),
        };
        entries.into_iter().for_each(|entry| node.put(entry));
        self.nodes.push(node);
        true
    }

    fn update(&mut self, s: u64, removed: Option<&FileName>, added: Vec<FileEntry>, now: Instant) -> bool {
        let Some(node) = self.own(s) else {
            return false;
        };
        node.observe(now);
        if removed.is_some() && node.entries.is_empty() {
            return false;
        }
        let mut changed = node.clone();
        changed.entries.retain(|old| Some(&old.name) != removed);
        added.into_iter().for_each(|entry| changed.put(entry));
        let is_allowed = changed.entries.len() <= MODEL_FILES_MAX;
        if is_allowed {
            *node = changed;
        }
        is_allowed
    }

    fn due(&mut self, now: Instant) -> Vec<(u128, SocketAddr)> {
        let is_missing = |node: &ModelNode| {
            node.heartbeat.is_some_and(|interval| now.duration_since(node.last_message) > interval * 2)
        };
        self.nodes.retain(|node| node.is_verified || !is_missing(node));
        for node in &mut self.nodes {
            if is_missing(node) && node.is_verified {
                node.suspect = node.suspect.or(Some(Suspect::new(now)));
            }
        }
        self.nodes.retain(|node| {
            node.suspect
                .is_none_or(|suspect| now.duration_since(suspect.silent_since) < Duration::from_secs(600))
        });
        let mut call_backs = Vec::new();
        for node in &mut self.nodes {
            if let Some(suspect) = &mut node.suspect
                && suspect.next_call_back <= now
            {
                suspect.next_call_back = now + Duration::from_secs(5);
                call_backs.push((node.id, node.endpoint));
            }
        }
        call_backs.sort_unstable();
        call_backs
    }

    fn called_back(&mut self, n: u128, e: u16, outcome: CallBackResult, now: Instant) {
        let is_addressed = |node: &ModelNode| {
            node.id == n && node.endpoint == endpoint(e) && node.is_verified && node.suspect.is_some()
        };
        let is_right = outcome == CallBackResult::Answered { node: NodeId(n) };
        self.nodes.retain(|node| !is_addressed(node) || is_right || outcome == CallBackResult::Silent);
        for node in self.nodes.iter_mut().filter(|node| is_addressed(node)) {
            if let Some(suspect) = &mut node.suspect {
                suspect.silent_since = if is_right { now } else { suspect.silent_since };
                suspect.is_answering = is_right;
            }
        }
    }

    fn find(&self, is_wanted: impl Fn(&FileEntry) -> bool) -> Vec<(u128, SocketAddr, FileEntry)> {
        let offered = self.nodes.iter().filter(|node| node.is_offered());
        let mut found: Vec<_> = offered
            .flat_map(|node| node.entries.iter().map(|entry| (node.id, node.endpoint, entry.clone())))
            .filter(|(.., entry)| is_wanted(entry))
            .collect();
        found.sort_by(|a, b| (a.0, a.1, &a.2.name).cmp(&(b.0, b.1, &b.2.name)));
        found
    }
}

/// Applies `step` to both. Both must refuse it or both must carry it out.
fn apply(step: Step, world: &mut World, model: &mut Model) {
    let now = world.now;
    match step {
        Step::Hello { s, n, e, beats } => {
            let heartbeat = beats.then_some(BEAT);
            world.hello(s, n, e, heartbeat);
            model.hello(s, n, e, heartbeat, now);
        }
        Step::Register { s, entries, is_verified } => {
            let reachability = if is_verified { Reachability::Verified } else { Reachability::Unverified };
            let pages: Vec<_> = made(&entries).chunks(2).map(<[FileEntry]>::to_vec).collect();
            let staged = pages.into_iter().chain([vec![]]).try_for_each(|page| world.stage(s, page));
            let given = staged.and_then(|()| world.commit(s, reachability)).is_ok();
            assert_eq!(given, model.register(s, made(&entries), is_verified, now));
        }
        Step::Update { s, removed, added } => {
            let removed = removed.map(|file| name(&format!("f{file}")));
            let given = world.update(s, removed.clone().into_iter().collect(), made(&added));
            assert_eq!(given.is_ok(), model.update(s, removed.as_ref(), made(&added), now), "{given:?}");
            // After a refused page the same session must say hello again.
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
                node.observe(now);
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
                0 => CallBackResult::Refused,
                1 => CallBackResult::Silent,
                2 => CallBackResult::Answered { node: NodeId(n + 1) },
                _ => CallBackResult::Answered { node: NodeId(n) },
            };
            world.called_back(n, e, outcome);
            model.called_back(n, e, outcome, now);
        }
    }
}

fn check_same(world: &World, model: &Model) {
    let find = |query: Query| {
        let found = world.registry.find(&query, 0).expect("few rows are skipped");
        let mut found: Vec<_> = found.map(|one| (one.node.0, one.endpoint, one.entry)).collect();
        found.sort_by(|a, b| (a.0, a.1, &a.2.name).cmp(&(b.0, b.1, &b.2.name)));
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
            liveness: match (node.is_verified, node.is_offered()) {
                (false, _) => Liveness::Unproved,
                (true, true) => Liveness::Live,
                (true, false) => Liveness::Suspect,
            },
            files: node.entries.iter().filter(|entry| entry.holding == Holding::Full).count() as u32,
            load: node.load,
            attributes: Vec::new(),
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
            apply(step, &mut world, &mut model);
            check_same(&world, &model);
        }
    }
}
