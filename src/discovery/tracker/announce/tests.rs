//! The announce thread against trackers that misbehave.

use super::*;
use crate::discovery::{Changes, Finder, ReplicaCapacity, TrackerClient, TrackerSession};
use crate::proto::tracker::{ReplyBody, TrackerRefusal, TrackerReply, TrackerRequest};
use crate::proto::{Decoder, decode, frame};
use crate::rt::Threads;
use crate::types::{ContentId, FileEntry, Holding, Md5Digest, Md5Origin, NodeTraits};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn soon() -> Instant {
    clock::now() + Duration::from_secs(10)
}

/// A catalog of one file, which is new in each version.
#[derive(Default)]
struct OneFile(AtomicU64);

impl OneFile {
    fn entry(&self) -> Arc<FileEntry> {
        Arc::new(FileEntry {
            name: FileName::new("a").expect("a name"),
            size_bytes: self.0.load(Ordering::Relaxed),
            mtime_ns: 0,
            content: ContentId([1; 32]),
            md5: Md5Digest([2; 16]),
            md5_origin: Md5Origin::Computed,
            holding: Holding::Full,
            attributes: vec![],
        })
    }
}

impl PublishedCatalog for OneFile {
    fn snapshot(&self) -> (u64, Vec<Arc<FileEntry>>) {
        (self.0.load(Ordering::Relaxed), vec![self.entry()])
    }

    fn changes_since(&self, version: u64) -> Option<(u64, Changes)> {
        let now = self.0.load(Ordering::Relaxed);
        let added = if version == now { vec![] } else { vec![self.entry()] };
        Some((now, Changes { removed: vec![], added }))
    }

    fn load(&self) -> u32 {
        0
    }

    fn traits(&self) -> NodeTraits {
        NodeTraits::default()
    }

    fn replica_capacity(&self) -> Option<ReplicaCapacity> {
        None
    }
}

/// A tracker that refuses every update, and answers on one connection at a time.
fn tracker_without_updates(listener: &TcpListener) {
    let reply = |request| match request {
        TrackerRequest::Hello(_) => ReplyBody::Welcome { nonce: Nonce(1) },
        TrackerRequest::Register { .. } => ReplyBody::Registered { unproved: None },
        TrackerRequest::Find { .. } => ReplyBody::Providers { providers: vec![], more: false },
        TrackerRequest::Leave => ReplyBody::Left,
        _ => ReplyBody::Refused(TrackerRefusal::Limit("full".into())),
    };
    while let Ok((mut socket, _)) = listener.accept() {
        let (mut decoder, mut scratch) = (Decoder::new(), [0; 4096]);
        while let Ok(len @ 1..) = socket.read(&mut scratch) {
            decoder.push(&scratch[..len]);
            while let Some(body) = decoder.next().expect("frames") {
                let body = reply(decode(body).expect("a request"));
                let left = body == ReplyBody::Left;
                let bytes = frame(&TrackerReply { epoch: Epoch(1), body }).expect("it fits");
                socket.write_all(&bytes).expect("the client reads");
                if left {
                    return;
                }
            }
        }
    }
}

/// A tracker that is restarted after two requests for copies. It then answers one on the next connection and
/// closes that too. Sends each content that was requested, with the number of the connection.
fn restarted_tracker(listener: &TcpListener, requested: &Sender<(usize, ContentKey)>) {
    for (number, (epoch, requests_max)) in [(1, 2), (2, 1), (2, 9)].into_iter().enumerate() {
        let Ok((mut socket, _)) = listener.accept() else { return };
        let (mut decoder, mut scratch, mut requests) = (Decoder::new(), [0; 4096], 0);
        while let (Ok(len @ 1..), true) = (socket.read(&mut scratch), requests < requests_max) {
            decoder.push(&scratch[..len]);
            while let Some(body) = decoder.next().expect("frames") {
                let body = match decode(body).expect("a request") {
                    TrackerRequest::Hello(_) => ReplyBody::Welcome { nonce: Nonce(1) },
                    TrackerRequest::Register { .. } => ReplyBody::Registered { unproved: None },
                    TrackerRequest::Replicate { content, .. } => {
                        requests += 1;
                        requested.send((number, content)).expect("the test receives");
                        ReplyBody::Replication(ReplicationStatus::default())
                    }
                    TrackerRequest::Leave => ReplyBody::Left,
                    _ => ReplyBody::Refused(TrackerRefusal::Limit("full".into())),
                };
                let bytes = frame(&TrackerReply { epoch: Epoch(epoch), body }).expect("it fits");
                socket.write_all(&bytes).expect("the client reads");
            }
            if requests == requests_max {
                break;
            }
        }
    }
}

#[test]
fn a_node_repeats_all_replication_requests_to_a_restarted_tracker_even_over_a_lost_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let tracker = listener.local_addr().expect("bound");
    let (threads, stop) = (Threads::new(), Stop::new().expect("a descriptor"));
    let (requested, requests) = crossbeam_channel::unbounded();
    threads.spawn("tracker", move || restarted_tracker(&listener, &requested)).expect("a thread");
    let config = TrackerClientConfig {
        tracker,
        node: crate::types::NodeId(1),
        ip: tracker.ip(),
        port: 1,
        advertise: None,
        heartbeat: Some(Duration::from_secs(60)),
        registers: true,
    };
    let catalog: Arc<dyn PublishedCatalog> = Arc::new(OneFile::default());
    let client =
        TrackerClient::start(config, catalog, Arc::default(), |_| (), &threads, &stop).expect("a thread");
    let keys = [1, 2].map(|number| ContentKey { size_bytes: 1, id: ContentId([number; 32]) });
    for content in keys {
        let request = ReplicationRequest { content, name: FileName::new("a").expect("a name"), copies: 2 };
        assert!(client.replicate(request, &stop).is_ok());
    }
    let received: Vec<_> = (0..4)
        .map(|_| requests.recv_timeout(Duration::from_secs(10)).expect("each request is repeated"))
        .collect();
    assert_eq!(received, [(0, keys[0]), (0, keys[1]), (1, keys[0]), (2, keys[1])]);
    stop.trigger();
    assert!(threads.join(soon()).is_clean());
}

#[test]
fn a_node_that_does_not_register_reports_no_lost_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let tracker = listener.local_addr().expect("bound");
    let (threads, stop) = (Threads::new(), Stop::new().expect("a descriptor"));
    // Answers one request on each connection, and closes it.
    threads
        .spawn("tracker", move || {
            for (mut socket, _) in (0..2).map(|_| listener.accept().expect("a connection")) {
                let (mut decoder, mut scratch, mut has_request) = (Decoder::new(), [0; 4096], false);
                while !has_request {
                    let len = socket.read(&mut scratch).expect("a request");
                    decoder.push(&scratch[..len]);
                    while let Some(body) = decoder.next().expect("frames") {
                        has_request = matches!(decode(body).expect("a request"), TrackerRequest::Find { .. });
                        let body = ReplyBody::Providers { providers: vec![], more: false };
                        let bytes = frame(&TrackerReply { epoch: Epoch(1), body }).expect("it fits");
                        socket.write_all(&bytes).expect("the client reads");
                    }
                }
            }
        })
        .expect("a thread");
    let config = TrackerClientConfig {
        tracker,
        node: crate::types::NodeId(1),
        ip: tracker.ip(),
        port: 1,
        advertise: None,
        heartbeat: None,
        registers: false,
    };
    let (events, received) = crossbeam_channel::unbounded();
    let report = move |event| drop(events.send(event));
    let catalog: Arc<dyn PublishedCatalog> = Arc::new(OneFile::default());
    let client =
        TrackerClient::start(config, catalog, Arc::default(), report, &threads, &stop).expect("a thread");
    let query = Query::Name(FileName::new("a").expect("a name"));
    for _ in 0..2 {
        assert_eq!(client.find(&query, soon(), &stop), Ok(vec![]));
    }
    stop.trigger();
    assert!(threads.join(soon()).is_clean());
    assert_eq!(received.try_iter().collect::<Vec<_>>(), []);
}

#[test]
fn a_node_registers_again_after_a_refused_update() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let tracker = listener.local_addr().expect("bound");
    let (threads, stop) = (Threads::new(), Stop::new().expect("a descriptor"));
    threads.spawn("tracker", move || tracker_without_updates(&listener)).expect("a thread");
    let one_file = Arc::new(OneFile::default());
    let config = TrackerClientConfig {
        tracker,
        node: crate::types::NodeId(1),
        ip: tracker.ip(),
        port: 1,
        advertise: None,
        heartbeat: None,
        registers: true,
    };
    let catalog: Arc<dyn PublishedCatalog> = Arc::clone(&one_file) as _;
    let client =
        TrackerClient::start(config, catalog, Arc::default(), |_| (), &threads, &stop).expect("a thread");
    assert_eq!(client.publish_now(soon(), &stop), Ok(()));
    one_file.0.store(1, Ordering::Relaxed);
    let query = Query::Name(FileName::new("a").expect("a name"));
    assert!(matches!(client.find(&query, soon(), &stop), Err(DiscoveryError::Refused { .. })));
    assert_eq!(
        client.find(&query, soon(), &stop),
        Ok(vec![]),
        "the connection of the refused page was replaced"
    );
    stop.trigger();
    assert!(threads.join(soon()).is_clean());
}
