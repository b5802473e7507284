//! One name with several contents: they are distinguished by more than their MD5 and never mixed.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng, rngs::SmallRng};

use nearpeer::node::{DownloadError, DownloadRequest, Node, NodeConfig, Outcome, Ready};
use nearpeer::rt::Stop;
use nearpeer::tracker::{Tracker, TrackerConfig};
use nearpeer::types::{Checksum, FileName};

use crate::support::content::{b3_hex, key_of, md5_hex, noise};
use crate::support::rows::{downloaded_row, find_rows};
use crate::support::world::{NodeSpec, World, assert_only};
use crate::support::{count, print_figures, seed};

/// The first of two blocks of 64 bytes with the same MD5, published by Wang, Feng, Lai and Yu in 2004.
const COLLIDING: &str = "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89\
                         55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b\
                         d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0\
                         e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70";
/// The second block: six bits differ.
const FLIPPED: [(usize, u8); 6] = [(19, 0x80), (45, 0x80), (59, 0x80), (83, 0x80), (109, 0x80), (123, 0x80)];

/// Both blocks, each followed by the same bytes, so that their MD5s stay equal.
fn colliding_pair(len: usize) -> [Vec<u8>; 2] {
    let digits: Vec<u8> = COLLIDING.bytes().collect();
    let hex = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("hexadecimal digits")
    };
    let mut one: Vec<u8> = digits.chunks(2).map(hex).collect();
    let mut other = one.clone();
    for (at, bit) in FLIPPED {
        other[at] ^= bit;
    }
    let behind = noise(101, len - one.len());
    one.extend(&behind);
    other.extend(&behind);
    [one, other]
}

fn check_both_are_served(len: usize) {
    let pair = colliding_pair(len);
    let [one, other] = &pair;
    assert_eq!(md5_hex(one), md5_hex(other), "they collide");
    assert!(one.len() == len && other.len() == len && b3_hex(one) != b3_hex(other), "and are different");
    let world = World::new().tracker();
    let holders = pair.each_ref().map(|bytes| world.holder(&[("f.bin", bytes)]));

    let rows = find_rows(&world.ask("find f.bin").out);
    let mut shown: Vec<_> = rows.iter().map(|row| (row.endpoint, row.md5.clone(), row.b3.clone())).collect();
    shown.sort();
    let expected = |index: usize| (holders[index].addr, md5_hex(one), b3_hex(&pair[index])[..16].to_owned());
    let mut both = [expected(0), expected(1)];
    both.sort();
    assert_eq!(shown, both, "one MD5, two contents");
    // A query by MD5 finds both, a query by BLAKE3 finds one.
    assert_eq!(find_rows(&world.ask(&format!("find md5={}", md5_hex(one))).out).len(), 2);
    for (index, bytes) in pair.iter().enumerate() {
        let found = find_rows(&world.ask(&format!("find b3={}", b3_hex(bytes))).out);
        assert_eq!(found.iter().map(|row| row.endpoint).collect::<Vec<_>>(), [holders[index].addr]);
    }

    let ran = world.ask("download f.bin");
    assert_eq!((ran.code, ran.out.len()), (16, 0), "ambiguous: {ran:#?}");
    for bytes in &pair {
        assert!(ran.err.contains(&b3_hex(bytes)[..16]), "each is named: {}", ran.err);
    }
    assert_only(&ran.share, &[]);
    for (index, bytes) in pair.iter().enumerate() {
        let ran = world.ask(&format!("download f.bin --checksum b3={}", b3_hex(bytes)));
        assert_eq!(ran.code, 0, "{ran:#?}");
        let row = downloaded_row(ran.out.last().expect("a result"), "f.bin");
        assert_eq!(row.sources, [holders[index].addr], "{ran:#?}");
        assert!(fs::read(ran.share.join("f.bin")).expect("in place") == *bytes);
    }
    let ran = world.ask(&format!("download f.bin --checksum md5={}", md5_hex(one)));
    assert_eq!(ran.code, 0, "{ran:#?}");
    let row = downloaded_row(ran.out.last().expect("a result"), "f.bin");
    let placed = fs::read(ran.share.join("f.bin")).expect("in place");
    let which = pair.iter().position(|bytes| *bytes == placed).expect("one of the two, whole");
    assert_eq!(row.sources, [holders[which].addr], "all of it from who has it: {ran:#?}");
}

#[test]
fn a_colliding_md5_pair_is_distinguished() {
    check_both_are_served(128 + 1000);
}

/// Here the MD5s of the first pieces collide too, and all other pieces are equal.
#[test]
fn a_colliding_md5_pair_of_several_pieces_is_distinguished() {
    check_both_are_served((2 << 20) + 128 + 777);
}

const HOLDERS: usize = 6;
const PIECE: usize = 1 << 20;

/// One name, and the holders of each content under it.
struct Case {
    name: FileName,
    contents: [Vec<u8>; 2],
    holders: [usize; 2],
}

impl Case {
    /// Two contents of equal size. They differ everywhere, or in only one byte, so that a mix would have a
    /// valid form.
    fn random(number: usize, rng: &mut SmallRng) -> Case {
        // One case of five has several pieces.
        let len = match rng.random_range(0..5) {
            0 => rng.random_range(PIECE + 1..PIECE + 5000),
            _ => rng.random_range(1..5000),
        };
        let mut one = vec![0; len];
        rng.fill_bytes(&mut one);
        let mut other = one.clone();
        if rng.random() {
            rng.fill_bytes(&mut other);
        } else {
            other[rng.random_range(0..len)] ^= 1 << rng.random_range(0..8);
        }
        if one == other {
            other[0] ^= 1;
        }
        let first = rng.random_range(1..HOLDERS);
        let second = rng.random_range(1..=HOLDERS - first);
        let name = FileName::new(&format!("f{number}.bin")).expect("a name");
        Case { name, contents: [one, other], holders: [first, second] }
    }

    /// Gives the contents to random shares.
    fn hand_out(&self, shares: &[tempfile::TempDir], rng: &mut SmallRng) {
        let mut shares: Vec<&Path> = shares.iter().map(tempfile::TempDir::path).collect();
        shares.shuffle(rng);
        let mut shares = shares.into_iter();
        for (bytes, count) in self.contents.iter().zip(self.holders) {
            let mut first: Option<&Path> = None;
            for share in shares.by_ref().take(count) {
                match first {
                    None => fs::write(share.join(self.name.as_str()), bytes).expect("written"),
                    Some(first) => {
                        fs::hard_link(first.join(self.name.as_str()), share.join(self.name.as_str()))
                            .expect("linked");
                    }
                }
                first = first.or(Some(share));
            }
        }
    }

    /// Downloads the name, with or without a checksum. Returns the fault.
    fn fault(&self, requester: &Node, share: &Path, by_checksum: Option<usize>) -> Option<String> {
        let [one, other] = self.holders;
        // For an ambiguous name more holders win. A checksum selects one content alone.
        let majority = (one != other).then_some(usize::from(other > one));
        let chosen = by_checksum.or(majority);
        let checksum = by_checksum.map(|index| Checksum::Content(key_of(&self.contents[index]).id.into()));
        let request =
            DownloadRequest { name: self.name.clone(), checksum, verify_whole: false, force: false };
        let done = requester.download(&request, &Stop::new().expect("a descriptor"), &mut |_| ());
        let path = share.join(self.name.as_str());
        let placed = fs::read(&path).ok();
        // Makes room for the next downloads. Only this code reads the downloaded file.
        let _not_there = fs::remove_file(&path);
        let which = |bytes: &Vec<u8>| self.contents.iter().position(|content| content == bytes);
        match (&done, placed, chosen) {
            (Ok(done), Some(bytes), Some(chosen))
                if which(&bytes) == Some(chosen)
                    && done.key == key_of(&bytes)
                    && matches!(done.outcome, Outcome::Fetched { .. }) =>
            {
                None
            }
            (Err(DownloadError::Ambiguous { variants, .. }), None, None) if variants.len() == 2 => None,
            (done, placed, chosen) => {
                let placed = placed.map(|bytes| (bytes.len(), which(&bytes)));
                Some(format!(
                    "{}: held by {:?}, to be chosen {chosen:?}: {done:?}, placed {placed:?}",
                    self.name, self.holders
                ))
            }
        }
    }
}

#[test]
fn two_contents_under_one_name_are_never_mixed() {
    let runs = count("NEARPEER_NAMES", 1000);
    let mut rng = SmallRng::seed_from_u64(seed(20_261_125));
    let shares: Vec<_> = (0..HOLDERS).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let cases: Vec<_> = (0..runs)
        .map(|number| {
            let case = Case::random(number, &mut rng);
            case.hand_out(&shares, &mut rng);
            let by_checksum = rng.random_bool(0.2).then(|| rng.random_range(0..2));
            (case, by_checksum)
        })
        .collect();
    let tracker = Tracker::start(&TrackerConfig::default()).expect("the tracker starts");
    let start = |share: &Path| {
        let config = NodeConfig::new([127, 0, 0, 1].into(), share, tracker.addr());
        Node::start(NodeConfig { heartbeat: None, retries: 0, ..config }).expect("the node starts")
    };
    let cancel = Stop::new().expect("a descriptor");
    let holders: Vec<_> = shares.iter().map(|share| start(share.path())).collect();
    for (holder, share) in holders.iter().zip(&shares) {
        let files = fs::read_dir(share.path()).expect("readable").count();
        // Waits for all files, not only for those that a long scan has published.
        let scan = holder.update_list(&cancel).expect("scanned");
        assert_eq!(scan.files, files);
    }
    let share = tempfile::tempdir().expect("a directory");
    let requester = start(share.path());
    assert_eq!(requester.wait_ready(&cancel), Ok(Ready::Complete { files: 0 }));
    // Several downloads at once, as in a busy node.
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((case, by_checksum)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fault = case.fault(&requester, share.path(), *by_checksum);
                    faults.lock().expect("no panic").extend(fault);
                }
            });
        }
    });
    let faults = faults.into_inner().expect("no panic");
    assert!(faults.is_empty(), "{} of {runs} went wrong, as {}", faults.len(), faults[0]);
    let ambiguous = cases.iter().filter(|(case, _)| case.holders[0] == case.holders[1]).count();
    print_figures(&format!("names: 0 of {runs} names with two contents mixed, {ambiguous} equally held"));
    for report in [requester.stop()].into_iter().chain(holders.iter().map(Node::stop)) {
        assert!(report.is_clean(), "{report:?}");
    }
}

/// The same with the real programs, with contents of several pieces from throttled holders, so that a mix has
/// time to happen.
#[test]
fn two_contents_of_several_pieces_are_not_mixed_by_their_many_sources() {
    let (one, other) = (noise(102, (4 << 20) + 99), noise(103, (4 << 20) + 99));
    let world = World::new().tracker();
    let slow = |bytes: &[u8]| {
        world.start(NodeSpec::new().headless().file("f.bin", bytes).flags(&["--max-upload", "4MiB"]))
    };
    let wanted = [slow(&one), slow(&one), slow(&one)];
    let _others = [slow(&other), slow(&other)];
    let ran = world.ask("download f.bin");
    assert_eq!(ran.code, 0, "{ran:#?}");
    let row = downloaded_row(ran.out.last().expect("a result"), "f.bin");
    assert!(row.sources.iter().all(|used| wanted.iter().any(|node| node.addr == *used)), "{row:?}");
    assert!(fs::read(ran.share.join("f.bin")).expect("in place") == one);
}
