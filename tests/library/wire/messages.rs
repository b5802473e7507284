//! Every message of the wire format: its name, a fixed sample, and a strategy for random values.

use std::fmt::Debug;
use std::net::SocketAddr;

use nearpeer::proto::peer::{PeerRefusal, PeerReply, PeerRequest};
use nearpeer::proto::tracker::{Hello, ReplyBody, TrackerRefusal, TrackerReply, TrackerRequest};
use nearpeer::types::{
    Attribute, ContentId, ContentKey, ContentPrefix, Epoch, FileEntry, FileName, Holding, Liveness,
    Md5Digest, Md5Origin, NodeId, NodeSummary, NodeTraits, Nonce, PieceDigests, Provider, Query, ReplicaTask,
    ReplicationStatus,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message that fills a frame.
pub(crate) trait Message: Serialize + DeserializeOwned + PartialEq + Debug + 'static {
    /// Names of all variants, nested refusals included.
    const NAMES: &[&str];
    fn name(&self) -> &'static str;
    /// At least one sample for each name.
    fn samples() -> Vec<Self>;
    fn any() -> BoxedStrategy<Self>;
}

/// Gives each variant its name. The generated `match` makes an unlisted variant a compile error.
macro_rules! names {
    ($($pattern:pat => $name:literal,)*) => {
        const NAMES: &[&str] = &[$($name),*];
        fn name(&self) -> &'static str {
            match self { $($pattern => $name),* }
        }
    };
}

impl Message for TrackerRequest {
    names! {
        TrackerRequest::Hello(_) => "tracker-request/hello",
        TrackerRequest::Register { .. } => "tracker-request/register",
        TrackerRequest::Update { .. } => "tracker-request/update",
        TrackerRequest::Heartbeat { .. } => "tracker-request/heartbeat",
        TrackerRequest::Leave => "tracker-request/leave",
        TrackerRequest::Find { query: Query::Name(_), .. } => "tracker-request/find-name",
        TrackerRequest::Find { query: Query::Md5(_), .. } => "tracker-request/find-md5",
        TrackerRequest::Find { query: Query::Content(_), .. } => "tracker-request/find-content",
        TrackerRequest::ListNodes { .. } => "tracker-request/list-nodes",
        TrackerRequest::ListFiles { after: None } => "tracker-request/list-files",
        TrackerRequest::ListFiles { after: Some(_) } => "tracker-request/list-files-after",
        TrackerRequest::Describe { .. } => "tracker-request/describe",
        TrackerRequest::Replicate { .. } => "tracker-request/replicate",
        TrackerRequest::TakeTasks { .. } => "tracker-request/take-tasks",
    }

    fn samples() -> Vec<TrackerRequest> {
        let prefix = ContentPrefix::from_hex("8081828384858687f").expect("17 digits");
        vec![
            TrackerRequest::Hello(Hello {
                node: node(),
                endpoint: v4(),
                heartbeat_ms: 5000,
                attributes: vec![attribute()],
            }),
            TrackerRequest::Register { entries: vec![entry("aa/a.bin"), partial()], last: true },
            TrackerRequest::Update { removed: vec![name("aa/a.bin")], added: vec![partial()], last: false },
            TrackerRequest::Heartbeat { load: 3 },
            TrackerRequest::Leave,
            TrackerRequest::Find { query: Query::Name(name("aa/a.bin")), skip: 0 },
            TrackerRequest::Find { query: Query::Md5(md5()), skip: 10 },
            TrackerRequest::Find { query: Query::Content(prefix), skip: 0 },
            TrackerRequest::ListNodes { skip: 500 },
            TrackerRequest::ListFiles { after: None },
            TrackerRequest::ListFiles { after: Some(name("größe.txt")) },
            TrackerRequest::Describe { attributes: node_attributes() },
            TrackerRequest::Replicate { content: key(), name: name("aa/a.bin"), copies: 3, again: false },
            TrackerRequest::TakeTasks { room_bytes: 1 << 30, running: vec![key()] },
        ]
    }

    fn any() -> BoxedStrategy<TrackerRequest> {
        let query = prop_oneof![
            names().prop_map(Query::Name),
            any::<[u8; 16]>().prop_map(|bytes| Query::Md5(Md5Digest(bytes))),
            "[0-9a-f]{16,64}".prop_map(|hex| Query::Content(ContentPrefix::from_hex(&hex).expect("hex"))),
        ];
        prop_oneof![
            (nodes(), any::<SocketAddr>(), any::<u32>(), attributes()).prop_map(
                |(node, endpoint, heartbeat_ms, attributes)| {
                    TrackerRequest::Hello(Hello {
                        node,
                        endpoint: without_scope(endpoint),
                        heartbeat_ms,
                        attributes,
                    })
                }
            ),
            (vec(entries(), 0..9), any::<bool>())
                .prop_map(|(entries, last)| TrackerRequest::Register { entries, last }),
            (vec(names(), 0..9), vec(entries(), 0..9), any::<bool>())
                .prop_map(|(removed, added, last)| TrackerRequest::Update { removed, added, last }),
            any::<u32>().prop_map(|load| TrackerRequest::Heartbeat { load }),
            Just(TrackerRequest::Leave),
            (query, any::<u32>()).prop_map(|(query, skip)| TrackerRequest::Find { query, skip }),
            any::<u32>().prop_map(|skip| TrackerRequest::ListNodes { skip }),
            option::of(names()).prop_map(|after| TrackerRequest::ListFiles { after }),
            attributes().prop_map(|attributes| TrackerRequest::Describe { attributes }),
            (keys(), names(), any::<u32>(), any::<bool>()).prop_map(|(content, name, copies, again)| {
                TrackerRequest::Replicate { content, name, copies, again }
            }),
            (any::<u64>(), vec(keys(), 0..9))
                .prop_map(|(room_bytes, running)| TrackerRequest::TakeTasks { room_bytes, running }),
        ]
        .boxed()
    }
}

impl Message for TrackerReply {
    names! {
        TrackerReply { body: ReplyBody::Welcome { .. }, .. } => "tracker-reply/welcome",
        TrackerReply { body: ReplyBody::Staged, .. } => "tracker-reply/staged",
        TrackerReply { body: ReplyBody::Registered { unproved: None }, .. } => "tracker-reply/registered",
        TrackerReply { body: ReplyBody::Registered { unproved: Some(_) }, .. } => "tracker-reply/registered-unproved",
        TrackerReply { body: ReplyBody::Updated, .. } => "tracker-reply/updated",
        TrackerReply { body: ReplyBody::Alive, .. } => "tracker-reply/alive",
        TrackerReply { body: ReplyBody::Left, .. } => "tracker-reply/left",
        TrackerReply { body: ReplyBody::Providers { .. }, .. } => "tracker-reply/providers",
        TrackerReply { body: ReplyBody::Nodes { .. }, .. } => "tracker-reply/nodes",
        TrackerReply { body: ReplyBody::Files { .. }, .. } => "tracker-reply/files",
        TrackerReply { body: ReplyBody::Refused(TrackerRefusal::Malformed(_)), .. } => "tracker-reply/refused-malformed",
        TrackerReply { body: ReplyBody::Refused(TrackerRefusal::NotRegistered), .. } => "tracker-reply/refused-not-registered",
        TrackerReply { body: ReplyBody::Refused(TrackerRefusal::Limit(_)), .. } => "tracker-reply/refused-limit",
        TrackerReply { body: ReplyBody::Refused(TrackerRefusal::Busy), .. } => "tracker-reply/refused-busy",
        TrackerReply { body: ReplyBody::Described, .. } => "tracker-reply/described",
        TrackerReply { body: ReplyBody::Replication(_), .. } => "tracker-reply/replication",
        TrackerReply { body: ReplyBody::Tasks { .. }, .. } => "tracker-reply/tasks",
    }

    fn samples() -> Vec<TrackerReply> {
        let row = |liveness, load, attributes| NodeSummary {
            node: node(),
            endpoint: v4(),
            liveness,
            files: 7,
            load,
            attributes,
        };
        let provider = |endpoint, entry, attributes| Provider { node: node(), endpoint, entry, attributes };
        [
            ReplyBody::Welcome { nonce: Nonce(0x1122_3344_5566_7788) },
            ReplyBody::Staged,
            ReplyBody::Registered { unproved: None },
            ReplyBody::Registered { unproved: Some("10.0.0.1:5001: connection refused".to_owned()) },
            ReplyBody::Updated,
            ReplyBody::Alive,
            ReplyBody::Left,
            ReplyBody::Providers {
                providers: vec![
                    provider(v4(), entry("aa/a.bin"), node_attributes()),
                    provider(v6(), partial(), vec![]),
                ],
                more: true,
            },
            ReplyBody::Nodes {
                nodes: vec![
                    row(Liveness::Live, Some(3), node_attributes()),
                    row(Liveness::Suspect, None, vec![]),
                    row(Liveness::Unproved, Some(0), vec![]),
                ],
                more: false,
            },
            ReplyBody::Files { names: vec![name("aa/a.bin"), name("größe.txt")], more: true },
            ReplyBody::Refused(TrackerRefusal::Malformed("why".to_owned())),
            ReplyBody::Refused(TrackerRefusal::NotRegistered),
            ReplyBody::Refused(TrackerRefusal::Limit("at most 500000 files".to_owned())),
            ReplyBody::Refused(TrackerRefusal::Busy),
            ReplyBody::Described,
            ReplyBody::Replication(ReplicationStatus {
                wanted: 9,
                copies: 3,
                awaited: 1,
                under_way: 2,
                given: 4,
                no_room: 5,
                busy: 6,
                failed: 7,
            }),
            ReplyBody::Tasks { tasks: vec![ReplicaTask { content: key(), name: name("aa/a.bin") }] },
        ]
        .map(|body| TrackerReply { epoch: Epoch(0x0102_0304_0506_0708), body })
        .into()
    }

    fn any() -> BoxedStrategy<TrackerReply> {
        let provider = (nodes(), any::<SocketAddr>(), entries(), attributes()).prop_map(
            |(node, endpoint, entry, attributes)| Provider {
                node,
                endpoint: without_scope(endpoint),
                entry,
                attributes,
            },
        );
        let liveness = prop_oneof![Just(Liveness::Live), Just(Liveness::Suspect), Just(Liveness::Unproved)];
        let row =
            (nodes(), any::<SocketAddr>(), liveness, any::<u32>(), option::of(any::<u32>()), attributes());
        let row = row.prop_map(|(node, endpoint, liveness, files, load, attributes)| NodeSummary {
            node,
            endpoint: without_scope(endpoint),
            liveness,
            files,
            load,
            attributes,
        });
        let refusal = prop_oneof![
            ".{0,40}".prop_map(TrackerRefusal::Malformed),
            Just(TrackerRefusal::NotRegistered),
            ".{0,40}".prop_map(TrackerRefusal::Limit),
            Just(TrackerRefusal::Busy),
        ];
        let task = (keys(), names()).prop_map(|(content, name)| ReplicaTask { content, name });
        let body = prop_oneof![
            any::<u64>().prop_map(|nonce| ReplyBody::Welcome { nonce: Nonce(nonce) }),
            Just(ReplyBody::Staged),
            option::of(".{0,40}").prop_map(|unproved| ReplyBody::Registered { unproved }),
            Just(ReplyBody::Updated),
            Just(ReplyBody::Alive),
            Just(ReplyBody::Left),
            (vec(provider, 0..9), any::<bool>())
                .prop_map(|(providers, more)| ReplyBody::Providers { providers, more }),
            (vec(row, 0..9), any::<bool>()).prop_map(|(nodes, more)| ReplyBody::Nodes { nodes, more }),
            (vec(names(), 0..9), any::<bool>()).prop_map(|(names, more)| ReplyBody::Files { names, more }),
            refusal.prop_map(ReplyBody::Refused),
            Just(ReplyBody::Described),
            any::<[u32; 8]>().prop_map(
                |[wanted, copies, awaited, under_way, given, no_room, busy, failed]| {
                    ReplyBody::Replication(ReplicationStatus {
                        wanted,
                        copies,
                        awaited,
                        under_way,
                        given,
                        no_room,
                        busy,
                        failed,
                    })
                }
            ),
            vec(task, 0..9).prop_map(|tasks| ReplyBody::Tasks { tasks }),
        ];
        (any::<u64>(), body).prop_map(|(epoch, body)| TrackerReply { epoch: Epoch(epoch), body }).boxed()
    }
}

impl Message for PeerRequest {
    names! {
        PeerRequest::Identify => "peer-request/identify",
        PeerRequest::Load { content: None, .. } => "peer-request/load",
        PeerRequest::Load { content: Some(_), .. } => "peer-request/load-content",
        PeerRequest::Manifest { .. } => "peer-request/manifest",
        PeerRequest::Piece { .. } => "peer-request/piece",
        PeerRequest::Have { .. } => "peer-request/have",
    }

    fn samples() -> Vec<PeerRequest> {
        vec![
            PeerRequest::Identify,
            PeerRequest::Load { asker: node(), content: None },
            PeerRequest::Load { asker: node(), content: Some(key()) },
            PeerRequest::Manifest { content: key(), first_piece: 20_000 },
            PeerRequest::Piece { asker: node(), content: key(), piece: 2 },
            PeerRequest::Have { content: key() },
        ]
    }

    fn any() -> BoxedStrategy<PeerRequest> {
        prop_oneof![
            Just(PeerRequest::Identify),
            (nodes(), option::of(keys())).prop_map(|(asker, content)| PeerRequest::Load { asker, content }),
            (keys(), any::<u32>())
                .prop_map(|(content, first_piece)| PeerRequest::Manifest { content, first_piece }),
            (nodes(), keys(), any::<u32>()).prop_map(|(asker, content, piece)| PeerRequest::Piece {
                asker,
                content,
                piece
            }),
            keys().prop_map(|content| PeerRequest::Have { content }),
        ]
        .boxed()
    }
}

impl Message for PeerReply {
    names! {
        PeerReply::Identity { nonce: None, .. } => "peer-reply/identity-without-nonce",
        PeerReply::Identity { nonce: Some(_), .. } => "peer-reply/identity",
        PeerReply::Load { .. } => "peer-reply/load",
        PeerReply::Manifest { .. } => "peer-reply/manifest",
        PeerReply::Piece { .. } => "peer-reply/piece",
        PeerReply::Refused(PeerRefusal::Malformed(_)) => "peer-reply/refused-malformed",
        PeerReply::Refused(PeerRefusal::NotShared) => "peer-reply/refused-not-shared",
        PeerReply::Refused(PeerRefusal::Changed) => "peer-reply/refused-changed",
        PeerReply::Refused(PeerRefusal::NoSuchPiece) => "peer-reply/refused-no-such-piece",
        PeerReply::Refused(PeerRefusal::Unreadable(_)) => "peer-reply/refused-unreadable",
        PeerReply::Refused(PeerRefusal::Busy) => "peer-reply/refused-busy",
        PeerReply::Have { .. } => "peer-reply/have",
    }

    fn samples() -> Vec<PeerReply> {
        let piece = PieceDigests { md5: md5(), subtree: [0xc7; 32] };
        vec![
            PeerReply::Identity { node: node(), nonce: None },
            PeerReply::Identity { node: node(), nonce: Some(Nonce(0x1122_3344_5566_7788)) },
            PeerReply::Load { node: node(), load: 3, yours: 1 },
            PeerReply::Manifest { first_piece: 1, pieces: vec![piece, piece] },
            PeerReply::Piece { piece: 2, len_bytes: 1 << 20 },
            PeerReply::Refused(PeerRefusal::Malformed("why".to_owned())),
            PeerReply::Refused(PeerRefusal::NotShared),
            PeerReply::Refused(PeerRefusal::Changed),
            PeerReply::Refused(PeerRefusal::NoSuchPiece),
            PeerReply::Refused(PeerRefusal::Unreadable("input/output error".to_owned())),
            PeerReply::Refused(PeerRefusal::Busy),
            PeerReply::Have { pieces: vec![0b1010_0000] },
        ]
    }

    fn any() -> BoxedStrategy<PeerReply> {
        let digests = any::<([u8; 16], [u8; 32])>()
            .prop_map(|(md5, subtree)| PieceDigests { md5: Md5Digest(md5), subtree });
        let refusal = prop_oneof![
            ".{0,40}".prop_map(PeerRefusal::Malformed),
            Just(PeerRefusal::NotShared),
            Just(PeerRefusal::Changed),
            Just(PeerRefusal::NoSuchPiece),
            ".{0,40}".prop_map(PeerRefusal::Unreadable),
            Just(PeerRefusal::Busy),
        ];
        prop_oneof![
            (nodes(), option::of(any::<u64>()))
                .prop_map(|(node, nonce)| PeerReply::Identity { node, nonce: nonce.map(Nonce) }),
            (nodes(), any::<u32>(), any::<u8>()).prop_map(|(node, load, yours)| PeerReply::Load {
                node,
                load,
                yours
            }),
            (any::<u32>(), vec(digests, 0..9))
                .prop_map(|(first_piece, pieces)| PeerReply::Manifest { first_piece, pieces }),
            any::<(u32, u32)>().prop_map(|(piece, len_bytes)| PeerReply::Piece { piece, len_bytes }),
            refusal.prop_map(PeerReply::Refused),
            vec(any::<u8>(), 0..99).prop_map(|pieces| PeerReply::Have { pieces }),
        ]
        .boxed()
    }
}

// Values of the samples. No two fields are equal, so that swapped fields show.

pub(crate) fn node() -> NodeId {
    NodeId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100)
}

fn v4() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5001))
}

fn v6() -> SocketAddr {
    "[2001:db8::2]:5002".parse().expect("an address")
}

fn md5() -> Md5Digest {
    Md5Digest(std::array::from_fn(|i| 0x40 + i as u8))
}

fn content() -> ContentId {
    ContentId(std::array::from_fn(|i| 0x80 + i as u8))
}

fn key() -> ContentKey {
    ContentKey { size_bytes: 0x30_0007, id: content() }
}

pub(crate) fn name(text: &str) -> FileName {
    FileName::new(text).expect(text)
}

fn attribute() -> Attribute {
    Attribute { tag: 0x0201, value: b"site".to_vec() }
}

/// HTTP port 8080 and 1 GiB for replicas.
fn node_attributes() -> Vec<Attribute> {
    NodeTraits { http_port: Some(8080), replica_quota_bytes: Some(1 << 30) }.to_attributes()
}

pub(crate) fn entry(text: &str) -> FileEntry {
    FileEntry {
        name: name(text),
        size_bytes: 0x30_0007,
        mtime_ns: 1_700_000_000_123_456_789,
        content: content(),
        md5: md5(),
        md5_origin: Md5Origin::Computed,
        holding: Holding::Full,
        attributes: vec![],
    }
}

fn partial() -> FileEntry {
    FileEntry {
        md5_origin: Md5Origin::Claimed,
        holding: Holding::Pieces(2),
        mtime_ns: -1,
        attributes: vec![attribute()],
        ..entry("größe.txt")
    }
}

// Strategies of the parts.

fn names() -> impl Strategy<Value = FileName> {
    "[a-zA-Z0-9_ é文-][a-zA-Z0-9._ é文-]{0,20}(/[a-z]{1,9}){0,3}".prop_map(|text| name(&text))
}

fn nodes() -> impl Strategy<Value = NodeId> {
    any::<u128>().prop_map(NodeId)
}

fn keys() -> impl Strategy<Value = ContentKey> {
    any::<(u64, [u8; 32])>().prop_map(|(size_bytes, id)| ContentKey { size_bytes, id: ContentId(id) })
}

fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    let attribute = (any::<u16>(), vec(any::<u8>(), 0..9)).prop_map(|(tag, value)| Attribute { tag, value });
    vec(attribute, 0..4)
}

fn entries() -> impl Strategy<Value = FileEntry> {
    let origin = prop_oneof![Just(Md5Origin::Computed), Just(Md5Origin::Claimed)];
    let holding = prop_oneof![Just(Holding::Full), any::<u32>().prop_map(Holding::Pieces)];
    (names(), keys(), any::<i64>(), any::<[u8; 16]>(), origin, holding, attributes()).prop_map(
        |(name, key, mtime_ns, md5, md5_origin, holding, attributes)| FileEntry {
            name,
            size_bytes: key.size_bytes,
            mtime_ns,
            content: key.id,
            md5: Md5Digest(md5),
            md5_origin,
            holding,
            attributes,
        },
    )
}

/// Scope and flow label of an IPv6 address are not transmitted.
fn without_scope(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip(), addr.port())
}
