//! Kills downloaders, sources and the tracker by SIGKILL at random moments: the file is right every time.
//!
//! `scripts/prove` kills more often: `NEARPEER_KILLS`, `NEARPEER_TRANSFERS`. A random moment is a timed wait
//! for the end of the process. Nothing is synchronised by it.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use nearpeer::types::{Liveness, NodeSummary};

use crate::support::content::noise;
use crate::support::partial::{found_mib, left, percent, percent_said};
use crate::support::process::{Process, Stream};
use crate::support::world::{Node, NodeSpec, World, assert_only};
use crate::support::{DEADLINE, count, print_figures, seed};

const NAME: &str = "f.bin";

/// Starts a node over `share` with the download as its only command. The node ends after it.
fn start_download(world: &World, share: &Path) -> Process {
    let (mut process, _) = world.launch(&NodeSpec::new().port(0).share(share));
    process.send(&format!("download {NAME}"));
    process.close_stdin();
    process
}

/// Asserts that the share has nothing under the name, or the whole file. Returns true for the whole file.
fn is_whole(share: &Path, bytes: &[u8], context: &dyn Fn() -> String) -> bool {
    match std::fs::read(share.join(NAME)) {
        Ok(found) => {
            assert!(found == bytes, "something else stands under the name\n{}", context());
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", context());
            false
        }
    }
}

/// The moment of a kill.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// This time after the start.
    After(Duration),
    /// This time after it has reported that percentage.
    Percent(u32, Duration),
}

impl Moment {
    /// A random moment of a run that takes about `life`. Half of the moments are near a piece or the end.
    fn random(rng: &mut SmallRng, life: Duration) -> Moment {
        if rng.random() {
            Moment::After(rng.random_range(Duration::ZERO..life))
        } else {
            Moment::Percent(
                rng.random_range(1..=10) * 10,
                rng.random_range(Duration::ZERO..Duration::from_millis(20)),
            )
        }
    }

    /// Waits for the moment. Returns false if the process has ended before it.
    fn comes_for(self, process: &Process) -> bool {
        match self {
            Moment::After(time) => !process.ends_within(time),
            Moment::Percent(wanted, time) => {
                let is_there = |line: &str| percent(line, NAME).is_some_and(|said| said >= wanted);
                process.find_line(Stream::Stderr, 0, DEADLINE, is_there).is_some()
                    && !process.ends_within(time)
            }
        }
    }
}

/// The results of all kills.
#[derive(Debug, Default)]
struct Results {
    kills: usize,
    files: usize,
    /// Kills after which the file was in place.
    placed: usize,
    /// Downloads that were resumed.
    resumed: usize,
    rounds_max: usize,
}

/// Downloads one file in as many runs as needed, of which at most `kills` end by SIGKILL.
fn kill_until_done(
    world: &World,
    bytes: &[u8],
    life: Duration,
    kills: usize,
    rng: &mut SmallRng,
    results: &mut Results,
) {
    let share = world.directory();
    let mut said_before = 0;
    for round in 0..=kills {
        let moment = Moment::random(rng, life);
        let mut process = start_download(world, &share);
        if round < kills && moment.comes_for(&process) {
            process.kill();
            results.kills += 1;
            let whole = is_whole(&share, bytes, &|| format!("{moment:?}: {}", process.transcript()));
            results.placed += usize::from(whole);
            let parts = left(&share);
            // The last file is a record that was being written.
            let known = |name: &String| [".part", ".resume", ".tmp"].iter().any(|end| name.ends_with(end));
            assert!(parts.iter().all(known), "{moment:?}: {parts:?}");
            said_before = said_before.max(percent_said(&process, NAME));
            continue;
        }
        let code = process.wait(DEADLINE * 2);
        let context = || format!("round {round}, {said_before} % were there: {}", process.transcript());
        assert_eq!(code, 0, "{}", context());
        assert!(is_whole(&share, bytes, &context), "nothing is there: {}", context());
        assert_only(&share, &[NAME]);
        assert_eq!(left(&share), [""; 0], "left behind: {}", context());
        let out = process.since(Stream::Stdout, 0);
        if out.iter().any(|line| line.starts_with("downloaded ")) {
            let found = found_mib(&process.since(Stream::Stderr, 0), NAME);
            results.resumed += usize::from(found.is_some());
            assert!(said_before < 30 || found > Some(0.0), "it began from zero: {}", context());
        }
        results.files += 1;
        results.rounds_max = results.rounds_max.max(round);
        return;
    }
}

#[test]
fn a_downloader_killed_at_any_moment_gets_the_right_file() {
    let kills = count("NEARPEER_KILLS", 50);
    let mut rng = SmallRng::seed_from_u64(seed(20_261_121));
    let bytes = noise(61, (5 << 20) + 12_345);
    let world = World::new().tracker();
    let slow = NodeSpec::new().headless().file(NAME, &bytes).flags(&["--max-upload", "16MiB"]);
    let _sources = [world.start(slow.clone()), world.start(slow)];
    let mut results = Results::default();
    let began = Instant::now();
    kill_until_done(&world, &bytes, Duration::ZERO, 0, &mut rng, &mut results);
    let life = began.elapsed();
    while results.kills < kills {
        // Few enough kills that most downloads end, and enough that resumed downloads are killed again.
        let at_most = 4.min(kills - results.kills);
        kill_until_done(&world, &bytes, life, at_most, &mut rng, &mut results);
    }
    let Results { kills, files, placed, resumed, rounds_max } = results;
    print_figures(&format!(
        "kills: {kills} kills of a downloader, {files} files right, {placed} in place when killed, \
         {resumed} went on, at most {rounds_max} kills a file"
    ));
}

/// The tracker and the sources of a download. Some of them are killed.
struct Swarm {
    world: World,
    sources: Vec<Node>,
    tracker_is_dead: bool,
    dead: Vec<bool>,
    kills: usize,
}

impl Swarm {
    /// Kills or restarts one of the sources or the tracker.
    fn shake(&mut self, rng: &mut SmallRng) {
        match rng.random_range(0..=self.sources.len()) {
            0 if self.tracker_is_dead => self.revive_tracker(),
            0 => {
                self.world.kill_tracker();
                self.tracker_is_dead = true;
                self.kills += 1;
            }
            number if self.dead[number - 1] => self.revive(number - 1),
            number => {
                self.sources[number - 1].process.kill();
                self.dead[number - 1] = true;
                self.kills += 1;
            }
        }
    }

    fn revive_tracker(&mut self) {
        self.world.restart_tracker();
        self.tracker_is_dead = false;
    }

    fn revive(&mut self, index: usize) {
        self.sources[index].launch_again();
        self.dead[index] = false;
    }

    fn revive_all(&mut self) {
        if self.tracker_is_dead {
            self.revive_tracker();
        }
        for index in 0..self.sources.len() {
            if self.dead[index] {
                self.revive(index);
            }
        }
    }

    /// Waits until the tracker lists one of the sources: a download ends if its first find is empty.
    fn expect_offered(&self) {
        let is_offered = |row: &NodeSummary| row.files == 1 && matches!(row.liveness, Liveness::Live);
        self.world.expect_listed("a source", |nodes| nodes.iter().any(is_offered));
    }
}

#[test]
fn sources_and_tracker_killed_at_random_leave_the_right_file() {
    let transfers = count("NEARPEER_TRANSFERS", 20);
    let mut rng = SmallRng::seed_from_u64(seed(20_261_122));
    let bytes = noise(62, (6 << 20) + 54_321);
    let world = World::new().tracker();
    let slow = NodeSpec::new().headless().file(NAME, &bytes);
    let slow = slow.flags(&["--max-upload", "8MiB", "--heartbeat", "200ms"]);
    let sources: Vec<_> = (0..3).map(|_| world.start(slow.clone())).collect();
    let dead = vec![false; sources.len()];
    let mut swarm = Swarm { world, sources, tracker_is_dead: false, dead, kills: 0 };
    let mut failed = 0;
    for transfer in 0..transfers {
        swarm.revive_all();
        swarm.expect_offered();
        let share = swarm.world.directory();
        let mut download = start_download(&swarm.world, &share);
        // From this line on the download must work without any of them.
        download.expect_stderr(&format!("{NAME}: chose "));
        for _ in 0..rng.random_range(1..=5) {
            if download.ends_within(rng.random_range(Duration::ZERO..Duration::from_millis(80))) {
                break;
            }
            swarm.shake(&mut rng);
        }
        let _done_meanwhile =
            download.ends_within(rng.random_range(Duration::ZERO..Duration::from_millis(200)));
        // Killed programs stay down for a moment, but not for all rounds.
        swarm.revive_all();
        let code = download.wait(DEADLINE * 2);
        let context = || format!("transfer {transfer}: {}", download.transcript());
        let whole = is_whole(&share, &bytes, &context);
        assert_eq!(code, if whole { 0 } else { 5 }, "{}", context());
        if whole {
            assert_only(&share, &[NAME]);
        }
        failed += usize::from(!whole);
        // Removes the share: hundreds of files of a few MiB would need much disk space.
        std::fs::remove_dir_all(&share).expect("removed");
    }
    // They come back at once, and five rounds take 15 s.
    assert!(failed * 20 <= transfers, "{failed} of {transfers} transfers found no source in all rounds");
    print_figures(&format!(
        "swarm_kills: {} kills of sources and tracker in {transfers} transfers: {} files right, {failed} gave up",
        swarm.kills,
        transfers - failed
    ));
}
