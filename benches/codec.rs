//! Measures the work of every find: encoding and decoding of a catalog page and a find reply, and the ranking
//! of candidates.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nearpeer::logic::select::{Candidate, rank};
use nearpeer::proto::tracker::{ReplyBody, TrackerReply, TrackerRequest};
use nearpeer::proto::{decode, encode};
use nearpeer::types::{
    ContentId, Epoch, FileEntry, FileName, Holding, LatencyOrigin, Md5Digest, Md5Origin, Millis, NodeId,
    Provider,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn entry(number: u64) -> FileEntry {
    FileEntry {
        name: FileName::new(&format!("run-{}/images/frame-{number:06}.png", number % 10)).expect("a name"),
        size_bytes: number * 7919,
        mtime_ns: 1_700_000_000_000_000_000,
        content: ContentId([number as u8; 32]),
        md5: Md5Digest([number as u8; 16]),
        md5_origin: Md5Origin::Computed,
        holding: Holding::Full,
        attributes: Vec::new(),
    }
}

fn both_ways<T: Serialize + DeserializeOwned>(criterion: &mut Criterion, name: &str, message: &T) {
    let body = encode(message).expect("fits a frame");
    let mut group = criterion.benchmark_group(format!("codec/{name}"));
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| encode(black_box(message))));
    group.bench_function("decode", |bencher| bencher.iter(|| decode::<T>(black_box(&body))));
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    let page = TrackerRequest::Register { entries: (0..500).map(entry).collect(), last: false };
    both_ways(criterion, "page of 500 entries", &page);
    let provider = |number: u8| Provider {
        node: NodeId(u128::from(number)),
        endpoint: SocketAddr::from(([10, 0, 0, number], 5001)),
        entry: entry(1),
        attributes: vec![],
    };
    let body = ReplyBody::Providers { providers: (0..10).map(provider).collect(), more: false };
    both_ways(criterion, "find reply of 10 providers", &TrackerReply { epoch: Epoch(1), body });
}

fn ranking(criterion: &mut Criterion) {
    let mut random = SmallRng::seed_from_u64(1);
    let mut group = criterion.benchmark_group("rank");
    for count in [10, 256] {
        let candidate = |_| Candidate {
            endpoint: SocketAddr::from((random.random::<[u8; 4]>(), 5001)),
            latency: Millis::from_micros(random.random_range(100..50_000)),
            latency_origin: LatencyOrigin::Measured,
            load: random.random_range(0..12),
            yours: 0,
        };
        let candidates: Vec<_> = (0..count).map(candidate).collect();
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("{count} candidates"), |bencher| {
            bencher.iter(|| rank(black_box(&candidates), Millis::from_ms(10)));
        });
    }
    group.finish();
}

criterion_group!(benches, codec, ranking);
criterion_main!(benches);
