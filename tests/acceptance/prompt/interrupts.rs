//! Ctrl-C at each moment: it cancels the running command at once, the prompt stays, the next command works,
//! and fetched pieces are used by the next download.
//!
//! Each moment lasts until the interrupt: any other end of the command prints something else than
//! `cancelled`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::prompt::terminal::{CTRL_C, CTRL_D, Running, World, at_terminal, source};
use crate::support::DEADLINE;
use crate::support::content::noise;
use crate::support::evil::{Behaviour, EvilPeer};

/// Stops a process by a signal. Its connections stay open.
fn freeze(process: &Running) {
    let pid = Pid::from_child(&process.0);
    kill_process(pid, Signal::STOP).expect("it runs");
    // All of its threads have stopped when the parent gets the notice.
    waitpid(Some(pid), WaitOptions::UNTRACED).expect("it is our child");
}

fn thaw(process: &Running) {
    kill_process(Pid::from_child(&process.0), Signal::CONT).expect("it is there");
}

/// A file of zeros that needs no disk space.
fn sparse(share: &Path, name: &str, len: u64) {
    File::create(share.join(name)).and_then(|file| file.set_len(len)).expect("a sparse file");
}

impl World {
    /// Ctrl-C ends the running command and nothing else.
    fn interrupt(&mut self) {
        self.keys(CTRL_C);
        self.expect_cancelled();
    }

    fn expect_cancelled(&mut self) {
        self.expect("cancelled");
        self.expect("> ");
        self.keys("limit\r");
        self.expect("max-upload off");
        self.expect("> ");
    }

    fn leave(mut self) {
        self.keys(CTRL_D);
        self.ends_with(0);
    }

    fn evil_source(&self, name: &str, behaviour: Behaviour) -> EvilPeer {
        let tracker: SocketAddr = self.tracker_addr.parse().expect("an address");
        EvilPeer::start(tracker, name, &noise(31, 5 << 20), behaviour)
    }

    /// Waits until a node has hashed and published a file.
    fn wait_published(&self, name: &str) {
        let until = Instant::now() + DEADLINE;
        let find = || {
            let mut find = Command::new(env!("CARGO_BIN_EXE_node"));
            find.args(["find", name, "--tracker", &self.tracker_addr, "--latency-file", "none"]);
            find.stdout(Stdio::null()).status().expect("a process")
        };
        while !find().success() {
            assert!(Instant::now() < until, "`{name}` is never published");
        }
    }

    /// A download resumes with that many MiB, and ends.
    fn resumes(&mut self, name: &str, left: &str) {
        self.keys(&format!("download {name}\r"));
        self.expect(&format!("{name}: resuming: {left}"));
        self.expect(&format!("downloaded {name} "));
        self.expect("> ");
    }
}

#[test]
fn in_a_find_that_waits_for_a_frozen_holder() {
    let mut world = World::new();
    let holder = world.slow_source("1MiB");
    freeze(&holder);
    for command in ["find large.bin", "sources large.bin", "download large.bin", "download large.bin --force"]
    {
        world.command(command);
        world.interrupt();
    }
    thaw(&holder);
    world.keys("find large.bin\r");
    world.expect("full large.bin");
    world.leave();
}

#[test]
fn while_the_tracker_does_not_answer() {
    let mut world = World::new();
    let tracker = world.tracker.take().expect("it runs");
    freeze(&tracker);
    for command in [
        "updatelist",
        "find a.bin",
        "nodes",
        "stats",
        "list swarm",
        "download a.bin",
        "replicate zebra.csv --copies 2",
    ] {
        world.command(command);
        world.interrupt();
    }
    thaw(&tracker);
    world.keys("nodes\r");
    world.expect(" live 2 ");
    world.expect("> ");
    world.leave();
}

#[test]
fn right_after_enter_by_key_or_by_signal() {
    let mut world = World::new();
    // The tracker never suspects it, so a find waits for it each time.
    let fill = |share: &Path| sparse(share, "frozen.bin", 1);
    let holder = source(&world.tracker_addr, world.dir.path(), fill, &["--heartbeat", "off"]);
    freeze(&holder);
    for round in 0..40 {
        world.command("find frozen.bin");
        match round % 2 {
            0 => world.keys(CTRL_C),
            _ => kill_process(world.pid, Signal::INT).expect("it runs"),
        }
        world.expect_cancelled();
    }
    // At the prompt Ctrl-C exits, as before the first command.
    kill_process(world.pid, Signal::INT).expect("it runs");
    world.ends_with(130);
}

#[test]
fn a_second_ctrl_c_exits() {
    let mut world = World::new();
    let _source = world.slow_source("512KiB");
    world.keys("download large.bin\r");
    world.expect_bar(r"1\d");
    world.keys(CTRL_C);
    world.expect("cancelled");
    world.expect("> ");
    world.keys(CTRL_C);
    world.ends_with(130);
}

#[test]
fn in_a_download_that_waits_for_its_turn() {
    let mut world = World::new();
    let _source = world.slow_source("2MiB");
    world.keys("download large.bin &\r");
    // The job is queued or runs already.
    world.expect(" -/- large.bin");
    world.wait_written(1 << 20);
    world.keys("download large.bin\r");
    world.expect("waiting for other downloads to end");
    world.interrupt();
    // The interrupt did not end the background download.
    world.expect("[1] downloaded large.bin 8388608 bytes ");
    world.leave();
}

#[test]
fn in_a_download_before_its_first_byte() {
    let mut world = World::new();
    let evil = world.evil_source("f.bin", Behaviour::Silent);
    world.keys("download f.bin\r");
    world.expect("f.bin: chose ");
    evil.wait_requested();
    world.interrupt();
    drop(evil);
    let honest = world.evil_source("f.bin", Behaviour::Honest);
    world.keys("download f.bin\r");
    world.expect("downloaded f.bin ");
    world.expect("> ");
    drop(honest);
    world.leave();
}

#[test]
fn between_pieces_which_are_not_fetched_again() {
    let mut world = World::new();
    let _source = world.slow_source("4MiB");
    world.keys("download large.bin\r");
    world.expect_bar(r"[3-6]\d");
    world.interrupt();
    assert!(!world.dir.path().join("share/large.bin").exists());
    world.resumes("large.bin", "");
    world.leave();
}

#[test]
fn while_the_whole_file_is_hashed() {
    const LEN: u64 = 512 << 20;
    let mut world = World::new();
    let fill = |share: &Path| sparse(share, "huge.bin", LEN);
    let _source = source(&world.tracker_addr, world.dir.path(), fill, &[]);
    world.wait_published("huge.bin");
    world.keys("download huge.bin --verify whole\r");
    world.expect("huge.bin: hashing the whole file");
    world.interrupt();
    assert!(!world.dir.path().join("share/huge.bin").exists());
    world.resumes("huge.bin", "512.0 MiB");
    world.leave();
}

#[test]
fn in_the_pause_before_the_next_round() {
    let mut world = World::new();
    let evil = world.evil_source("f.bin", Behaviour::ClosesEarly);
    world.keys("download f.bin\r");
    world.expect("all sources failed: round 3 of 4 begins in");
    world.interrupt();
    drop(evil);
    let _honest = world.evil_source("f.bin", Behaviour::Honest);
    world.keys("download f.bin\r");
    world.expect("downloaded f.bin ");
    world.expect("> ");
    world.leave();
}

#[test]
fn ctrl_c_does_not_cancel_background_downloads() {
    let mut world = World::new();
    let _source = world.slow_source("2MiB");
    let fill = |share: &Path| sparse(share, "frozen.bin", 1);
    let frozen = source(&world.tracker_addr, world.dir.path(), fill, &[]);
    freeze(&frozen);
    world.keys("download large.bin &\r");
    world.expect("[1] large.bin: chose ");
    world.wait_written(1 << 20);
    world.command("find frozen.bin");
    world.interrupt();
    world.keys("jobs\r");
    world.expect("1 running ");
    world.expect("[1] downloaded large.bin 8388608 bytes ");
    world.leave();
}

#[test]
fn ctrl_c_at_an_empty_prompt_exits_and_background_downloads_are_resumed_later() {
    let mut world = World::new();
    let _source = world.slow_source("4MiB");
    world.keys("download large.bin &\r");
    world.wait_written(2 << 20);
    world.keys("limit\r");
    world.expect("max-upload off");
    world.expect("> ");
    world.keys(CTRL_C);
    world.expect("code 130");
    let mut world = world.restarted();
    let file = world.dir.path().join("share/large.bin");
    let until = Instant::now() + DEADLINE;
    while !file.exists() {
        assert!(Instant::now() < until, "not resumed in time");
        world.keys("updatelist\r");
        world.expect("updated ");
        world.expect("> ");
    }
    world.leave();
}

#[test]
fn in_the_first_scan() {
    // So long that the file is not hashed yet when the prompt appears, 2 s after the start.
    let fill = |share: &Path| sparse(share, "huge.bin", 64 << 30);
    let mut world = World::starting(fill);
    world.expect_prompt();
    world.command("updatelist");
    world.interrupt();
    world.leave();
    // Without a prompt yet, Ctrl-C exits.
    let mut world = World::starting(fill);
    world.keys(CTRL_C);
    world.ends_with(130);
}

#[test]
fn at_a_trackers_prompt() {
    let dir = tempfile::tempdir().expect("a directory");
    let tracker = env!("CARGO_BIN_EXE_tracker");
    let (mut session, _) = at_terminal(&format!("{tracker} --listen 127.0.0.1:0"), dir.path());
    session.exp_string("tracker listening on ").expect("it serves");
    let addr = session.exp_string("\r\n").expect("a line");
    session.exp_string("> ").expect("a prompt");
    let holder = source(&addr, dir.path(), |share| sparse(share, "f.bin", 1), &[]);
    freeze(&holder);
    let mut expect = |keys: &str, text: &str| {
        session.send(keys).and_then(|_| session.flush()).expect("sent");
        session.exp_string(text).unwrap_or_else(|error| panic!("awaiting {text:?}: {error}"));
    };
    expect("find f.bin\r", "\n");
    expect(CTRL_C, "cancelled");
    expect("", "> ");
    expect("half a li", "half a li");
    expect(CTRL_C, "> ");
    expect("stats\r", "nodes_live 1");
    expect("", "> ");
    expect(CTRL_C, "code 0");
    expect("", "same terminal");
}
