//! Measures the registry at its design size: 1,000 nodes with 1,000 files each; 10 nodes hold each name.
//!
//! Prints the memory per entry, as the growth of this process's resident set while the registry is filled.
//! Measures a find and repeated registrations. The benchmark allocates nothing else before it reads the
//! memory.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use nearpeer::logic::registry::{Limits, Reachability, Registry, SessionId};
use nearpeer::types::{
    ContentId, ContentPrefix, FileEntry, FileName, Holding, Md5Digest, Md5Origin, NodeId, Nonce, Query,
};

const NODES: u64 = 1_000;
const FILES_PER_NODE: u64 = 1_000;
const HOLDERS: u64 = 10;
const NAMES: u64 = NODES * FILES_PER_NODE / HOLDERS;
const PAGE_LEN: usize = 250;

fn name(number: u64) -> FileName {
    FileName::new(&format!("set-{:03}/sample-{number:06}.bin", number % 100)).expect("valid name")
}

fn content(number: u64) -> ContentId {
    ContentId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// The catalog of a node. Another `version` has the same names with other contents.
fn catalog(node: u64, version: u64) -> Vec<FileEntry> {
    let numbers = (0..FILES_PER_NODE).map(|file| (node * FILES_PER_NODE + file) % NAMES);
    let entry = |number| {
        let content = content(version * NAMES + number);
        let mut md5 = Md5Digest([0; 16]);
        md5.0.copy_from_slice(&content.0[16..]);
        FileEntry {
            name: name(number),
            size_bytes: 5 << 20,
            mtime_ns: 1_700_000_000_000_000_000,
            content,
            md5,
            md5_origin: Md5Origin::Computed,
            holding: Holding::Full,
            attributes: Vec::new(),
        }
    };
    numbers.map(entry).collect()
}

fn register(registry: &mut Registry, node: u64, mut entries: Vec<FileEntry>, now: Instant) {
    let session = SessionId(node);
    while !entries.is_empty() {
        let page = entries.split_off(entries.len().saturating_sub(PAGE_LEN));
        registry.stage_register(session, page, now).expect("within the limits");
    }
    registry.commit_register(session, Reachability::Verified, now).expect("within the limits");
}

fn hello(registry: &mut Registry, node: u64, now: Instant) {
    let endpoint = SocketAddr::from(([10, 0, (node / 250) as u8, (node % 250) as u8], 5000));
    let node_id = NodeId(node.into());
    registry.hello(SessionId(node), node_id, endpoint, None, Nonce(node), now).expect("a good hello");
}

/// Resident set of this process, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1024
}

#[allow(clippy::print_stdout, reason = "a figure that criterion does not measure")]
fn registry(criterion: &mut Criterion) {
    let now = Instant::now();
    let before = resident_bytes();
    let mut registry = Registry::new(Limits::default());
    for node in 0..NODES {
        hello(&mut registry, node, now);
        register(&mut registry, node, catalog(node, 0), now);
    }
    let grown = resident_bytes().saturating_sub(before);
    let entries = NODES * FILES_PER_NODE;
    println!("registry: {entries} entries, {} bytes per entry", grown / entries);

    let mut number = 0;
    let mut next = move || {
        number = (number + 7_919) % NAMES;
        number
    };
    criterion.bench_function("registry/find by name, 10 holders", |bencher| {
        let queries: Vec<_> = (0..4096).map(|_| Query::Name(name(next()))).collect();
        let mut turn = queries.iter().cycle();
        bencher.iter(|| {
            let query = turn.next().expect("endless");
            assert_eq!(
                registry.find(black_box(query), 0).expect("few rows are skipped").map(black_box).count(),
                HOLDERS as usize
            );
        });
    });
    criterion.bench_function("registry/find by content, 10 holders", |bencher| {
        let queries: Vec<_> =
            (0..4096).map(|one| Query::Content(ContentPrefix::from(content(one * 7_919 % NAMES)))).collect();
        let mut turn = queries.iter().cycle();
        bencher.iter(|| {
            let query = turn.next().expect("endless");
            assert_eq!(
                registry.find(black_box(query), 0).expect("few rows are skipped").map(black_box).count(),
                HOLDERS as usize
            );
        });
    });
    let versions = [catalog(500, 0), catalog(500, 1)];
    criterion.bench_function("registry/register 1,000 files anew, none changed", |bencher| {
        bencher.iter(|| register(&mut registry, 500, versions[0].clone(), now));
    });
    criterion.bench_function("registry/register 1,000 files anew, all contents changed", |bencher| {
        let mut turn = 0;
        bencher.iter(|| {
            turn += 1;
            register(&mut registry, 500, versions[turn % 2].clone(), now);
        });
    });
    criterion.bench_function("registry/leave and register 1,000 files", |bencher| {
        bencher.iter(|| {
            registry.leave(SessionId(500)).expect("registered");
            register(&mut registry, 500, versions[0].clone(), now);
        });
    });
}

criterion_group!(benches, registry);
criterion_main!(benches);
