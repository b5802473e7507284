//! The prompt and the bars at a real pseudo-terminal: what is shown, what the keys do, and that the terminal is left as it was.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use rustix::process::{Pid, Signal, kill_process};

const TIMEOUT_MS: u64 = 20_000;
const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";
/// Waits for the second half of `word` alone: the first is echoed key by key as it is typed.
const UPDATED: &str = "updated 2 files";

/// A child that is killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _has_ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Starts `program` and returns it with the address that it listens on.
fn start(program: &str, arguments: &[&str], dir: &Path) -> (Running, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process");
    let out = child.stdout.take().expect("piped");
    let running = Running(child);
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).expect("readable");
    let addr = line.trim_end().rsplit(' ').next().expect("an address").to_owned();
    assert!(line.contains(" listening on "), "{line:?}");
    (running, addr)
}

/// A tracker, and a node at the prompt of a pseudo-terminal; a shell says its exit code and how it left the terminal.
struct World {
    session: PtySession,
    pid: Pid,
    tracker_addr: String,
    dir: tempfile::TempDir,
    tracker: Option<Running>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let (tracker, tracker_addr) =
            start(env!("CARGO_BIN_EXE_tracker"), &["--listen", "127.0.0.1:0"], dir.path());
        let share = dir.path().join("share");
        fs::create_dir(&share).expect("a directory");
        fs::write(share.join("my notes.txt"), "notes").expect("written");
        fs::write(share.join("zebra.csv"), "a,b").expect("written");
        World::at_prompt(dir, Some(tracker), tracker_addr)
    }

    /// A node at a prompt over `share` in `dir`.
    fn at_prompt(dir: tempfile::TempDir, tracker: Option<Running>, tracker_addr: String) -> World {
        let node = env!("CARGO_BIN_EXE_node");
        let script = format!(
            "trap : INT\nstty echo\nbefore=$(stty -g)\n\
             sh -c 'echo pid $$ is it; exec {node} 127.0.0.1 0 share --tracker {tracker_addr} --latency-file none'\n\
             echo code $?\n\
             if [ $before = $(stty -g) ]; then echo same terminal; else stty -a; fi\necho the end\n"
        );
        fs::write(dir.path().join("script"), script).expect("written");
        let mut shell = Command::new("sh");
        shell.arg("script").current_dir(dir.path()).env("TERM", "xterm").env("NO_COLOR", "1");
        // What the user has there is nobody's business here.
        shell.env("XDG_STATE_HOME", dir.path().join("state")).env("XDG_CONFIG_HOME", dir.path());
        let options = Options::new().timeout_ms(Some(TIMEOUT_MS)).strip_ansi_escape_codes(true);
        let mut session = spawn_with_options(shell, options).expect("a pseudo-terminal");
        session.exp_string("pid ").expect("the shell speaks");
        let pid = session.exp_string(" is it").expect("a process id");
        let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("positive");
        let mut world = World { session, pid, tracker_addr, dir, tracker };
        world.expect("node listening on 127.0.0.1:");
        world.expect("> ");
        world
    }

    /// Kills the node and starts it again, at a prompt over the same share.
    fn killed_and_restarted(mut self) -> World {
        kill_process(self.pid, Signal::KILL).expect("it runs");
        self.expect("code 137");
        let World { dir, tracker, tracker_addr, .. } = self;
        World::at_prompt(dir, tracker, tracker_addr)
    }

    /// What the files among the parts take on the disk.
    fn written_bytes(&self) -> u64 {
        let parts = fs::read_dir(self.dir.path().join("share/.nearpeer")).into_iter().flatten().flatten();
        // A part is sparse.
        parts.filter_map(|part| Some(part.metadata().ok()?.blocks() * 512)).sum()
    }

    /// Waits until a download has written so much to its part.
    fn wait_written(&self, bytes: u64) {
        let until = Instant::now() + Duration::from_millis(TIMEOUT_MS);
        while self.written_bytes() < bytes {
            assert!(Instant::now() < until, "{} bytes are written", self.written_bytes());
            std::thread::yield_now();
        }
    }

    fn expect(&mut self, text: &str) -> String {
        self.session.exp_string(text).unwrap_or_else(|error| panic!("awaiting {text:?}: {error}"))
    }

    /// Waits for the bar of `large.bin` with that percentage, a rate, a time left and its source.
    fn expect_bar(&mut self, percent: &str) {
        let bar =
            format!(r"large\.bin [#-]+ +{percent}% +\d\.\d/8\.0 MiB +[\d.]+ [KM]iB/s ETA \d+s +1 source");
        self.session.exp_regex(&bar).unwrap_or_else(|error| panic!("awaiting {bar:?}: {error}"));
    }

    /// Waits for `line`, which must begin where bars were cleared or after another line.
    fn expect_cleared(&mut self, line: &str) {
        let before = self.expect(line);
        assert!(before.ends_with(['\r', '\n']), "{before:?} before {line:?}");
        // A key that the terminal shows puts the bars out of place.
        assert!(!before.contains("^C"), "{before:?} before {line:?}");
    }

    /// A source of `large.bin`, 8 MiB, that uploads at `rate`.
    fn slow_source(&self, rate: &str) -> Running {
        let slow = self.dir.path().join("slow");
        fs::create_dir(&slow).expect("a directory");
        fs::write(slow.join("large.bin"), vec![7; 8 << 20]).expect("written");
        let arguments = ["127.0.0.1", "0", "slow", "--tracker", &self.tracker_addr];
        let flags = ["--headless", "--latency-file", "none", "--max-upload", rate];
        let arguments = [&arguments[..], &flags].concat();
        start(env!("CARGO_BIN_EXE_node"), &arguments, self.dir.path()).0
    }

    fn keys(&mut self, keys: &str) {
        self.session.send(keys).expect("sent");
        self.session.flush().expect("sent");
    }

    /// The node ends with `code` and the terminal is as it was.
    fn ends_with(mut self, code: i32) {
        self.expect("code ");
        let rest = self.expect("the end");
        assert_eq!(rest, format!("{code}\r\nsame terminal\r\n"));
    }
}

#[test]
fn commands_run_and_ctrl_d_leaves() {
    let mut world = World::new();
    world.keys("updatelist\r");
    world.expect(UPDATED);
    world.expect("> ");
    world.keys("frobnicate\r");
    world.expect("unknown command `frobnicate`");
    world.expect("> ");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn ctrl_c_clears_a_line_with_text_and_leaves_at_an_empty_prompt() {
    let mut world = World::new();
    world.keys("fi");
    world.expect("fi");
    world.keys(CTRL_C);
    world.expect("> ");
    // Had the text stayed, this would be no command.
    world.keys("updatelist\r");
    world.expect(UPDATED);
    world.expect("> ");
    world.keys(CTRL_C);
    world.ends_with(130);
}

#[test]
fn tab_completes_commands_and_names_and_history_comes_back() {
    let mut world = World::new();
    world.keys("upd\t\r");
    world.expect(UPDATED);
    world.expect("> ");
    // Only the completed and quoted name is the whole command line that the answer proves.
    world.keys("find my\t\r");
    world.expect("'my notes.txt'");
    world.expect("Found nodes:");
    world.expect("full my notes.txt");
    world.expect("> ");
    world.keys("\u{1b}[A\u{1b}[A\r");
    world.expect(UPDATED);
    world.expect("> ");
    world.keys("exit\r");
    world.ends_with(0);
}

#[test]
fn tab_completes_names_that_others_have() {
    let mut world = World::new();
    let theirs = world.dir.path().join("theirs");
    fs::create_dir(&theirs).expect("a directory");
    fs::write(theirs.join("quokka.bin"), "q").expect("written");
    let args = ["127.0.0.1", "0", "theirs", "--headless", "--latency-file", "none", "--tracker"];
    let args: Vec<_> = args.into_iter().chain([world.tracker_addr.as_str()]).collect();
    let _other = start(env!("CARGO_BIN_EXE_node"), &args, world.dir.path());
    // The names are asked for whenever a prompt appears, and are there by the next but one.
    for _ in 0..2 {
        world.keys("updatelist\r");
        world.expect(UPDATED);
        world.expect("> ");
    }
    world.keys("find quo\t\r");
    world.expect("Found nodes:");
    world.expect("full quokka.bin");
    world.expect("> ");
    world.keys("exit\r");
    world.ends_with(0);
}

#[test]
fn ctrl_c_cancels_a_running_download_and_nothing_else() {
    let mut world = World::new();
    let _source = world.slow_source("512KiB");
    world.keys("download large.bin\r");
    world.expect_bar(r"1\d");
    world.keys(CTRL_C);
    world.expect_cleared("cancelled");
    world.expect("> ");
    assert!(!world.dir.path().join("share/large.bin").exists());
    world.keys("updatelist\r");
    world.expect(UPDATED);
    world.expect("> ");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn a_killed_download_is_gone_on_with_at_the_next_prompt_unless_it_was_cancelled() {
    for is_cancelled in [false, true] {
        let mut world = World::new();
        let _source = world.slow_source("4MiB");
        world.keys("download large.bin\r");
        world.wait_written(2 << 20);
        if is_cancelled {
            world.keys(CTRL_C);
            world.expect("cancelled");
            world.expect("> ");
        }
        let mut world = world.killed_and_restarted();
        let file = world.dir.path().join("share/large.bin");
        let until = Instant::now() + Duration::from_millis(if is_cancelled { 3000 } else { TIMEOUT_MS });
        while !file.exists() && Instant::now() < until {
            world.keys("updatelist\r");
            world.expect("updated ");
            world.expect("> ");
        }
        assert_eq!(file.exists(), !is_cancelled, "gone on by itself, cancelled: {is_cancelled}");
        if is_cancelled {
            world.keys("download large.bin\r");
            world.expect("downloaded large.bin");
            world.expect("> ");
        }
        assert!(fs::read(&file).expect("in place") == vec![7; 8 << 20]);
        world.keys(CTRL_D);
        world.ends_with(0);
    }
}

#[test]
fn a_download_that_is_gone_on_with_already_is_waited_for_and_a_ctrl_c_ends_both() {
    for is_cancelled in [false, true] {
        let mut world = World::new();
        let _source = world.slow_source("1MiB");
        world.keys("download large.bin\r");
        world.wait_written(4 << 20);
        let mut world = world.killed_and_restarted();
        // It holds the turn once it writes.
        world.wait_written(world.written_bytes() + (1 << 19));
        let share = world.dir.path().join("share");
        let ends = |extension: &str| {
            let parts = fs::read_dir(share.join(".nearpeer")).into_iter().flatten().flatten();
            parts.filter(|part| part.path().extension().is_some_and(|found| found == extension)).count()
        };
        world.keys("download large.bin\r");
        world.expect("waiting for other downloads to end");
        assert_eq!((ends("resume"), ends("kept"), share.join("large.bin").exists()), (1, 0, false));
        if is_cancelled {
            world.keys(CTRL_C);
            world.expect("cancelled");
            world.expect("> ");
            // Had the going on not ended, its record would come to be wanted again or the file be there.
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until && !share.join("large.bin").exists() {
                world.keys("updatelist\r");
                world.expect("updated ");
                world.expect("> ");
            }
            assert_eq!((ends("part"), ends("resume"), ends("kept")), (1, 0, 1));
            assert!(!share.join("large.bin").exists(), "gone on with to the end");
        } else {
            world.expect("already here large.bin");
            world.expect("> ");
            assert!(fs::read(share.join("large.bin")).expect("in place") == vec![7; 8 << 20]);
            assert_eq!(ends("part") + ends("resume") + ends("kept"), 0);
        }
        world.keys(CTRL_D);
        world.ends_with(0);
    }
}

#[test]
fn a_download_has_a_bar_with_news_above_it_and_leaves_a_clean_prompt() {
    let mut world = World::new();
    let _source = world.slow_source("2MiB");
    world.keys("download large.bin\r");
    world.expect_bar(r"\d\d");
    drop(world.tracker.take());
    world.expect_cleared("warning: the tracker is lost");
    world.expect_bar(r"\d\d");
    world.expect_cleared("downloaded large.bin 8388608 bytes ");
    let rest = world.expect("> ");
    assert!(!rest.contains('#') && !rest.contains('%'), "{rest:?}");
    // Keys are shown again.
    world.keys("lis");
    world.expect("lis");
    world.keys("t\r");
    world.expect(" large.bin\r\n");
    world.expect("> ");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn uploads_have_a_line_beneath_the_bar() {
    let mut world = World::new();
    let _source = world.slow_source("2MiB");
    let theirs = world.dir.path().join("theirs");
    fs::create_dir(&theirs).expect("a directory");
    fs::write(world.dir.path().join("share/other.bin"), vec![8; 4 << 20]).expect("written");
    world.keys("updatelist\r");
    world.expect("updated 3 files");
    world.expect("> ");
    world.keys("download large.bin\r");
    world.expect_bar(r"\d\d");
    let mut other = Command::new(env!("CARGO_BIN_EXE_node"))
        .args(["127.0.0.1", "0", "theirs", "--latency-file", "none", "--tracker", &world.tracker_addr])
        .current_dir(world.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process");
    let mut commands = other.stdin.take().expect("piped");
    let _other = Running(other);
    commands.write_all(b"download other.bin\n").expect("it reads");
    let line = r"1 source +up  4\.0 MiB  [\d.]+ [KM]iB/s  \d peers?";
    world.session.exp_regex(line).unwrap_or_else(|error| panic!("awaiting {line:?}: {error}"));
    world.expect_cleared("downloaded large.bin 8388608 bytes ");
    let rest = world.expect("> ");
    assert!(!rest.contains("up  "), "{rest:?}");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn a_term_amid_bars_leaves_the_terminal_as_it_was() {
    let mut world = World::new();
    let _source = world.slow_source("512KiB");
    world.keys("download large.bin\r");
    world.expect_bar(r"1\d");
    kill_process(world.pid, Signal::TERM).expect("it runs");
    world.expect_cleared("cancelled");
    world.ends_with(143);
}

#[test]
fn news_comes_above_the_prompt_and_spares_the_line_being_typed() {
    let mut world = World::new();
    world.keys("li");
    world.expect("li");
    drop(world.tracker.take());
    world.expect("warning: the tracker is lost");
    world.expect("> li");
    world.keys("st\r");
    world.expect(" zebra.csv\r\n");
    world.expect("> ");
    world.keys("updatelist\r");
    world.expect("no tracker at ");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn a_term_at_the_prompt_leaves_the_terminal_as_it_was() {
    let mut world = World::new();
    world.keys("half a li");
    world.expect("half a li");
    kill_process(world.pid, Signal::TERM).expect("it runs");
    world.ends_with(143);
}

#[test]
fn a_quit_at_the_prompt_leaves_the_terminal_as_it_was() {
    let mut world = World::new();
    world.keys("half a li");
    world.expect("half a li");
    kill_process(world.pid, Signal::QUIT).expect("it runs");
    world.ends_with(131);
}

#[test]
fn an_int_from_elsewhere_leaves_too() {
    let world = World::new();
    kill_process(world.pid, Signal::INT).expect("it runs");
    world.ends_with(130);
}

#[test]
fn a_background_download_tells_above_the_prompt_and_can_be_cancelled() {
    let mut world = World::new();
    let _source = world.slow_source("1MiB");
    world.keys("download large.bin &\r");
    world.expect("1 queued -/- large.bin");
    world.expect("[1] large.bin: chose 127.0.0.1:");
    world.wait_written(1 << 20);
    for (keys, answer) in [
        ("jobs\r", "1 running "),
        ("limit 1M\r", "max-upload 1000000"),
        ("cancel 1\r", "1 cancelled "),
        ("cancel 1\r", "download 1 has ended"),
        ("find --help\r", "Usage: find"),
    ] {
        world.keys(keys);
        world.expect(answer);
        world.expect("> ");
    }
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn a_background_download_that_ends_is_told_of() {
    let mut world = World::new();
    let _source = world.slow_source("20MiB");
    world.keys("download large.bin &\r");
    world.expect("[1] downloaded large.bin 8388608 bytes ");
}

#[test]
fn history_is_there_at_the_next_prompt() {
    let mut world = World::new();
    world.keys("updatelist\r");
    world.expect(UPDATED);
    world.expect("> ");
    let mut world = world.killed_and_restarted();
    world.keys("\u{1b}[A\r");
    world.expect(UPDATED);
    world.expect("> ");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn a_tracker_has_a_prompt_at_its_terminal_and_just_serves_in_the_background() {
    let dir = tempfile::tempdir().expect("a directory");
    let tracker = env!("CARGO_BIN_EXE_tracker");
    let script = format!(
        "trap : INT\nset -m\n{tracker} --listen 127.0.0.1:0 &\nbehind=$!\n\
         {tracker} --listen 127.0.0.1:0\necho code $?\nkill -TERM $behind\nwait $behind\necho behind $?\n"
    );
    fs::write(dir.path().join("script"), script).expect("written");
    let mut shell = Command::new("sh");
    shell.arg("script").current_dir(dir.path()).env("TERM", "xterm").env("NO_COLOR", "1");
    shell.env("XDG_STATE_HOME", dir.path().join("state")).env("XDG_CONFIG_HOME", dir.path());
    let options = Options::new().timeout_ms(Some(TIMEOUT_MS)).strip_ansi_escape_codes(true);
    let mut session = spawn_with_options(shell, options).expect("a pseudo-terminal");
    let expect = |session: &mut PtySession, text: &str| {
        session.exp_string(text).unwrap_or_else(|error| panic!("awaiting {text:?}: {error}"));
    };
    expect(&mut session, "> ");
    for (keys, answer) in [("stats\r", "nodes_live 0"), ("help\r", "stop the tracker")] {
        session.send(keys).and_then(|_| session.flush()).expect("sent");
        expect(&mut session, answer);
        expect(&mut session, "> ");
    }
    session.send("stop\r").and_then(|_| session.flush()).expect("sent");
    expect(&mut session, "code 0");
    expect(&mut session, "behind 0");
}
