//! `World`: a tracker, and a node at the prompt of a pseudo-terminal; and `start` for other programs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) const TIMEOUT_MS: u64 = 20_000;
pub(crate) const CTRL_C: &str = "\u{3}";
pub(crate) const CTRL_D: &str = "\u{4}";
/// Waits only for the second half of `word`: the terminal echoes the first half key by key.
pub(crate) const UPDATED: &str = "updated 2 files";

/// A child that drop kills.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _has_ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Starts `program` and returns it with its listening address.
pub(crate) fn start(program: &str, arguments: &[&str], dir: &Path) -> (Running, String) {
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

/// A tracker, and a node at the prompt of a pseudo-terminal. A shell prints its exit code and the final state
/// of the terminal.
pub(crate) struct World {
    pub(crate) session: PtySession,
    pub(crate) pid: Pid,
    pub(crate) tracker_addr: String,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) tracker: Option<Running>,
}

impl World {
    pub(crate) fn new() -> World {
        let mut world = World::starting(|share| {
            fs::write(share.join("my notes.txt"), "notes").expect("written");
            fs::write(share.join("zebra.csv"), "a,b").expect("written");
        });
        world.expect_prompt();
        world
    }

    /// Starts a node over a share that `fill` has filled.
    pub(crate) fn starting(fill: impl FnOnce(&Path)) -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let (tracker, tracker_addr) =
            start(env!("CARGO_BIN_EXE_tracker"), &["--listen", "127.0.0.1:0"], dir.path());
        let share = dir.path().join("share");
        fs::create_dir(&share).expect("a directory");
        fill(&share);
        World::over_share(dir, Some(tracker), tracker_addr)
    }

    /// Starts a node over `share` in `dir`.
    fn over_share(dir: tempfile::TempDir, tracker: Option<Running>, tracker_addr: String) -> World {
        let node = env!("CARGO_BIN_EXE_node");
        let command = format!("{node} 127.0.0.1 0 share --tracker {tracker_addr} --latency-file none");
        let (session, pid) = at_terminal(&command, dir.path());
        World { session, pid, tracker_addr, dir, tracker }
    }

    pub(crate) fn expect_prompt(&mut self) {
        self.expect("node listening on 127.0.0.1:");
        self.expect("> ");
    }

    /// Kills the node and starts it again, at a prompt over the same share.
    pub(crate) fn killed_and_restarted(mut self) -> World {
        kill_process(self.pid, Signal::KILL).expect("it runs");
        self.expect("code 137");
        self.restarted()
    }

    /// Starts an ended node again, at a prompt over the same share.
    pub(crate) fn restarted(self) -> World {
        let World { dir, tracker, tracker_addr, .. } = self;
        let mut world = World::over_share(dir, tracker, tracker_addr);
        world.expect_prompt();
        world
    }

    /// Disk space of the partial files.
    pub(crate) fn written_bytes(&self) -> u64 {
        let parts = fs::read_dir(self.dir.path().join("share/.nearpeer")).into_iter().flatten().flatten();
        // A partial file is sparse.
        parts.filter_map(|part| Some(part.metadata().ok()?.blocks() * 512)).sum()
    }

    /// Waits until a download has written that many bytes to its partial file.
    pub(crate) fn wait_written(&self, bytes: u64) {
        let until = Instant::now() + Duration::from_millis(TIMEOUT_MS);
        while self.written_bytes() < bytes {
            assert!(Instant::now() < until, "{} bytes are written", self.written_bytes());
            std::thread::yield_now();
        }
    }

    pub(crate) fn expect(&mut self, text: &str) -> String {
        self.session.exp_string(text).unwrap_or_else(|error| panic!("awaiting {text:?}: {error}"))
    }

    /// Waits for the bar of `large.bin` with that percentage, a rate, a time left and its source.
    pub(crate) fn expect_bar(&mut self, percent: &str) {
        let bar =
            format!(r"large\.bin [#-]+ +{percent}% +\d\.\d/8\.0 MiB +[\d.]+ [KM]iB/s ETA \d+s +1 source");
        self.session.exp_regex(&bar).unwrap_or_else(|error| panic!("awaiting {bar:?}: {error}"));
    }

    /// Waits for `line`, which must come directly after cleared bars or after another line.
    pub(crate) fn expect_cleared(&mut self, line: &str) {
        let before = self.expect(line);
        assert!(before.ends_with(['\r', '\n']), "{before:?} before {line:?}");
        // The echo of a key shifts the bars.
        assert!(!before.contains("^C"), "{before:?} before {line:?}");
    }

    /// A source of `large.bin`, 8 MiB, that uploads at `rate`.
    pub(crate) fn slow_source(&self, rate: &str) -> Running {
        let fill = |share: &Path| fs::write(share.join("large.bin"), vec![7; 8 << 20]).expect("written");
        source(&self.tracker_addr, self.dir.path(), fill, &["--max-upload", rate])
    }

    pub(crate) fn keys(&mut self, keys: &str) {
        self.session.send(keys).expect("sent");
        self.session.flush().expect("sent");
    }

    /// Types a command, and waits until the node has read its line.
    pub(crate) fn command(&mut self, line: &str) {
        self.keys(&format!("{line}\r"));
        self.expect(line);
        self.expect("\n");
    }

    /// Checks that the node ends with `code` and that the terminal is restored.
    pub(crate) fn ends_with(mut self, code: i32) {
        self.expect("code ");
        let rest = self.expect("the end");
        assert_eq!(rest, format!("{code}\r\nsame terminal\r\n"));
    }
}

/// Runs `command` at a pseudo-terminal in `dir`. A shell prints its exit code and the final state of the
/// terminal.
pub(crate) fn at_terminal(command: &str, dir: &Path) -> (PtySession, Pid) {
    let script = format!(
        "trap : INT\nstty echo\nbefore=$(stty -g)\n\
         sh -c 'echo pid $$ is it; exec {command}'\n\
         echo code $?\n\
         if [ $before = $(stty -g) ]; then echo same terminal; else stty -a; fi\necho the end\n"
    );
    fs::write(dir.join("script"), script).expect("written");
    let mut shell = Command::new("sh");
    shell.arg("script").current_dir(dir).env("TERM", "xterm").env("NO_COLOR", "1");
    // Files of the user must not influence the test.
    shell.env("XDG_STATE_HOME", dir.join("state")).env("XDG_CONFIG_HOME", dir);
    let options = Options::new().timeout_ms(Some(TIMEOUT_MS)).strip_ansi_escape_codes(true);
    let mut session = spawn_with_options(shell, options).expect("a pseudo-terminal");
    session.exp_string("pid ").expect("the shell speaks");
    let pid = session.exp_string(" is it").expect("a process id");
    (session, Pid::from_raw(pid.trim().parse().expect("a number")).expect("positive"))
}

/// A headless node over a new share in `dir` that `fill` has filled.
pub(crate) fn source(tracker_addr: &str, dir: &Path, fill: impl FnOnce(&Path), flags: &[&str]) -> Running {
    let share = tempfile::Builder::new().prefix("source").tempdir_in(dir).expect("a directory").keep();
    fill(&share);
    let share = share.display().to_string();
    let arguments =
        ["127.0.0.1", "0", &share, "--tracker", tracker_addr, "--headless", "--latency-file", "none"];
    start(env!("CARGO_BIN_EXE_node"), &[&arguments[..], flags].concat(), dir).0
}
