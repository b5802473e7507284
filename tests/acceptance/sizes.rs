//! Files of every difficult size, from two sources: zero bytes, one byte, around a piece, and primes.

use std::fs;

use crate::support::content::{b3_hex, md5_hex, noise};
use crate::support::rows::downloaded_row;
use crate::support::world::{NodeSpec, World, assert_only};

const PIECE: usize = 1 << 20;
/// The last two are primes: one within a piece, and one of three pieces whose last piece has 17 bytes.
const SIZES: [usize; 9] = [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE - 1, 2 * PIECE, 7919, 2 * PIECE + 17];

#[test]
fn files_of_awkward_sizes_come_whole_from_two_sources() {
    let files: Vec<_> =
        (110..).zip(SIZES).map(|(seed, size)| (format!("{size}.bin"), noise(seed, size))).collect();
    let world = World::new().tracker();
    let spec = files.iter().fold(NodeSpec::new().headless(), |spec, (name, bytes)| spec.file(name, bytes));
    let sources = [world.start(spec.clone()), world.start(spec)];
    let commands: String = files.iter().map(|(name, _)| format!("download {name}\n")).collect();
    let ran = world.run(&NodeSpec::new(), &commands);
    assert_eq!((ran.code, ran.out.len()), (0, files.len()), "{ran:#?}");
    for ((name, bytes), line) in files.iter().zip(&ran.out) {
        let row = downloaded_row(line, name);
        assert_eq!(row.size, bytes.len() as u64);
        let hex = if row.algorithm == "md5" { md5_hex(bytes) } else { b3_hex(bytes) };
        assert_eq!(row.hex, hex, "{name}");
        let pieces = bytes.len().div_ceil(PIECE) as u32;
        assert_eq!(row.md5_pieces.unwrap_or(pieces), pieces, "{name}");
        assert!(pieces > 1 || row.algorithm == "md5", "one piece is checked by its own MD5: {line}");
        assert!(row.sources.len() <= pieces.max(1) as usize, "not more sources than pieces: {line}");
        assert!(row.sources.iter().all(|used| sources.iter().any(|node| node.addr == *used)), "{line}");
        assert!(fs::read(ran.share.join(name)).expect("in place") == *bytes, "{name}");
    }
    let mut names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_only(&ran.share, &names);
}
