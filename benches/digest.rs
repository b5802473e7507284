//! Measures the digests of every piece: MD5 one by one and in lanes, BLAKE3, and both together as a
//! downloader computes them.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use md5::{Digest, Md5};
use nearpeer::store::{piece_digests, verify};
use nearpeer::sys::md5_of_many;
use nearpeer::types::{Geometry, Manifest};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

const PIECE: usize = 1 << 20;

fn digest(criterion: &mut Criterion) {
    let mut bytes = vec![0; 8 * PIECE];
    SmallRng::seed_from_u64(1).fill_bytes(&mut bytes);
    let pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
    let size_bytes = bytes.len() as u64;
    let digests = piece_digests(&Geometry::of(size_bytes), 0, &pieces);
    let manifest = Manifest::of_hashed(size_bytes, digests);
    let numbered: Vec<(u32, &[u8])> = (0..).zip(pieces.iter().copied()).collect();

    let mut group = criterion.benchmark_group("digest");
    group.throughput(Throughput::Bytes(PIECE as u64));
    group.bench_function("md-5, 1 MiB", |bencher| bencher.iter(|| Md5::digest(black_box(pieces[0]))));
    group.bench_function("blake3, 1 MiB", |bencher| bencher.iter(|| blake3::hash(black_box(pieces[0]))));
    for count in [1, 2, 4, 8] {
        group.throughput(Throughput::Bytes((count * PIECE) as u64));
        group.bench_function(format!("md5 lanes, {count} x 1 MiB"), |bencher| {
            bencher.iter(|| md5_of_many(black_box(&pieces[..count]), |_, _| ()));
        });
    }
    group.bench_function("verify, 8 x 1 MiB", |bencher| {
        bencher.iter(|| verify(black_box(&manifest), black_box(&numbered)));
    });
    group.finish();
}

criterion_group!(benches, digest);
criterion_main!(benches);
