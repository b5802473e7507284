//! `World`: a tracker and nodes as real processes on loopback, started by one line.
//!
//! Directories are temporary. Addresses come from the output of the programs. Every node gets a latency file
//! explicitly.

use std::cell::Cell;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use nearpeer::proto::tracker::{ReplyBody, TrackerReply, TrackerRequest};
use nearpeer::types::NodeSummary;

use super::DEADLINE;
use super::process::{Process, Stream};
use super::proxy::Proxy;
use super::raw::Client;

const TRACKER: &str = env!("CARGO_BIN_EXE_tracker");
const NODE: &str = env!("CARGO_BIN_EXE_node");

/// Interval of polls.
pub const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A port that no other test of this run gets, now or later. So a program can be started on it again, or
/// known to be gone. It lies below the range from which the system gives out ports.
pub fn own_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        // Parallel test runs start at different ports.
        let number = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)) + std::process::id() * 512;
        let port = 10_000 + (number % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// All processes of one test. Fields are dropped in order: processes before their directories.
#[derive(Debug)]
pub struct World {
    nodes: Vec<Node>,
    tracker: Option<Process>,
    tracker_addr: SocketAddr,
    made: Cell<u32>,
    dir: TempDir,
}

/// The arguments and files of a node.
#[derive(Debug, Clone, Default)]
pub struct NodeSpec {
    files: Vec<(String, Vec<u8>)>,
    flags: Vec<String>,
    share: Option<PathBuf>,
    port: Option<u16>,
    headless: bool,
    latency: Option<PathBuf>,
}

impl NodeSpec {
    /// A node at a pipe, with an empty share and no latency file.
    pub fn new() -> NodeSpec {
        NodeSpec::default()
    }

    /// Writes a file into the share before the start.
    pub fn file(mut self, name: &str, bytes: &[u8]) -> NodeSpec {
        self.files.push((name.to_owned(), bytes.to_vec()));
        self
    }

    /// Adds flags.
    pub fn flags(mut self, flags: &[&str]) -> NodeSpec {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// Shares this directory instead of a new one.
    pub fn share(mut self, share: &Path) -> NodeSpec {
        self.share = Some(share.to_owned());
        self
    }

    /// Listens on this port. 0 means any port.
    pub fn port(mut self, port: u16) -> NodeSpec {
        self.port = Some(port);
        self
    }

    /// Runs without commands.
    pub fn headless(mut self) -> NodeSpec {
        self.headless = true;
        self
    }

    /// Uses this latency file.
    pub fn latency(mut self, file: &Path) -> NodeSpec {
        self.latency = Some(file.to_owned());
        self
    }
}

/// A node that listens.
#[derive(Debug)]
pub struct Node {
    pub process: Process,
    pub addr: SocketAddr,
    pub share: PathBuf,
    args: Vec<String>,
}

/// A node that ran its commands and ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    /// Lines of stdout, without the line `node listening on`.
    pub out: Vec<String>,
    pub err: String,
    pub share: PathBuf,
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Port 9 (discard) of loopback: no program listens there until a tracker is started.
        World {
            nodes: Vec::new(),
            tracker: None,
            tracker_addr: ([127, 0, 0, 1], 9).into(),
            made: Cell::new(0),
            dir,
        }
    }

    /// Starts a tracker.
    pub fn tracker(self) -> World {
        self.tracker_with(&[])
    }

    /// Starts a tracker with these flags.
    pub fn tracker_with(mut self, flags: &[&str]) -> World {
        self.start_tracker(([127, 0, 0, 1], own_port()).into(), flags);
        self
    }

    /// Starts `count` nodes at pipes with empty shares.
    pub fn nodes(mut self, count: usize) -> World {
        for _ in 0..count {
            let node = self.start(NodeSpec::new());
            self.nodes.push(node);
        }
        self
    }

    /// One of the nodes started by [`World::nodes`].
    pub fn node(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    pub fn tracker_addr(&self) -> SocketAddr {
        self.tracker_addr
    }

    /// Sets the tracker address of nodes that are started from now on.
    pub fn set_tracker_addr(&mut self, addr: SocketAddr) {
        self.tracker_addr = addr;
    }

    pub fn tracker_process(&mut self) -> &mut Process {
        self.tracker.as_mut().expect("the test has started a tracker")
    }

    pub fn kill_tracker(&mut self) {
        self.tracker_process().kill();
        self.tracker = None;
    }

    /// Starts a tracker at the address of the former one.
    pub fn restart_tracker(&mut self) {
        self.restart_tracker_with(&[]);
    }

    /// Like [`World::restart_tracker`], with these flags.
    pub fn restart_tracker_with(&mut self, flags: &[&str]) {
        assert!(self.tracker.is_none(), "the former tracker still runs");
        self.start_tracker(self.tracker_addr, flags);
    }

    /// Polls the nodes of the tracker, on one connection, until they are as wanted.
    ///
    /// # Panics
    /// If they are not by the deadline.
    pub fn expect_listed(&self, what: &str, is_wanted: impl Fn(&[NodeSummary]) -> bool) {
        let until = Instant::now() + DEADLINE;
        let mut client = Client::connect(self.tracker_addr);
        loop {
            let reply: TrackerReply = client.ask(&TrackerRequest::ListNodes { skip: 0 });
            let ReplyBody::Nodes { nodes, .. } = reply.body else { panic!("{reply:?}") };
            if is_wanted(&nodes) {
                return;
            }
            assert!(Instant::now() < until, "the tracker never lists {what}: {nodes:#?}");
            // The tracker sends no event of a change, so it is polled, unless it ends meanwhile.
            let has_ended = self.tracker.as_ref().is_none_or(|tracker| tracker.ends_within(POLL_INTERVAL));
            assert!(!has_ended, "the tracker has ended");
        }
    }

    /// Starts a tracker at an address.
    pub fn start_tracker_at(&mut self, listen: SocketAddr) {
        self.start_tracker(listen, &[]);
    }

    fn start_tracker(&mut self, listen: SocketAddr, flags: &[&str]) {
        let tracker = Process::start(TRACKER, [&["--listen", &listen.to_string()], flags].concat());
        self.tracker_addr = listening(&tracker, "tracker listening on ");
        self.tracker = Some(tracker);
    }

    /// A new path in the world's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        let number = self.made.get();
        self.made.set(number + 1);
        self.dir.path().join(format!("{number}-{name}"))
    }

    /// A new empty directory.
    pub fn directory(&self) -> PathBuf {
        let path = self.path("share");
        fs::create_dir(&path).expect("a directory");
        path
    }

    /// A new latency file without entries; see [`write_latency`].
    pub fn latency_file(&self) -> PathBuf {
        let path = self.path("latency.txt");
        write_latency(&path, &[]);
        path
    }

    fn arguments(&self, spec: &NodeSpec) -> (Vec<String>, PathBuf) {
        let share = spec.share.clone().unwrap_or_else(|| self.directory());
        for (name, bytes) in &spec.files {
            write_file(&share, name, bytes);
        }
        let port = spec.port.unwrap_or_else(own_port);
        let mut args = vec!["127.0.0.1".to_owned(), port.to_string(), share.display().to_string()];
        args.extend(["--tracker".to_owned(), self.tracker_addr.to_string()]);
        let latency = spec.latency.as_ref().map_or("none".to_owned(), |file| file.display().to_string());
        args.extend(["--latency-file".to_owned(), latency]);
        args.extend(spec.headless.then(|| "--headless".to_owned()));
        args.extend(spec.flags.iter().cloned());
        (args, share)
    }

    /// Starts a node without waiting.
    pub fn launch(&self, spec: &NodeSpec) -> (Process, PathBuf) {
        let (args, share) = self.arguments(spec);
        (Process::start(NODE, args), share)
    }

    /// Starts a node, and waits until it listens, is registered and has published its files.
    #[allow(clippy::needless_pass_by_value, reason = "a spec is written at the call and used once")]
    pub fn start(&self, spec: NodeSpec) -> Node {
        let (args, share) = self.arguments(&spec);
        let process = Process::start(NODE, &args);
        let addr = listening(&process, "node listening on ");
        Node { process, addr, share, args }
    }

    /// Starts a headless node with these files.
    pub fn holder(&self, files: &[(&str, &[u8])]) -> Node {
        self.start(
            files.iter().fold(NodeSpec::new().headless(), |spec, (name, bytes)| spec.file(name, bytes)),
        )
    }

    /// Starts a node that others can reach only through a proxy.
    pub fn start_behind_proxy(&self, spec: NodeSpec) -> (Node, Proxy) {
        let proxy = Proxy::to_be_connected();
        let port = own_port();
        proxy.connect_to(([127, 0, 0, 1], port).into());
        let advertised = proxy.addr().to_string();
        (self.start(spec.port(port).flags(&["--advertise", &advertised])), proxy)
    }

    /// Runs a fresh node over `commands`, lines at a pipe, until it ends.
    pub fn run(&self, spec: &NodeSpec, commands: &str) -> Ran {
        let (mut process, share) = self.launch(spec);
        process.send_raw(commands.as_bytes());
        process.close_stdin();
        let code = process.wait(DEADLINE * 2);
        let mut out = process.since(Stream::Stdout, 0);
        if out.first().is_some_and(|line| line.starts_with("node listening on ")) {
            out.remove(0);
        }
        Ran { code, out, err: process.since(Stream::Stderr, 0).join("\n"), share }
    }

    /// Starts `node` with only these words: a one-shot command.
    pub fn launch_one_shot(&self, words: &[&str]) -> Process {
        let mut args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let needs_tracker = !["completions"].contains(&words[0]);
        if needs_tracker && !words.contains(&"--tracker") {
            args.insert(1, format!("--tracker={}", self.tracker_addr));
        }
        if needs_tracker && !words.iter().any(|word| word.starts_with("--latency-file")) {
            args.insert(1, "--latency-file=none".to_owned());
        }
        Process::start(NODE, args)
    }

    /// Runs `node` with only these words until it ends.
    pub fn one_shot(&self, words: &[&str]) -> Ran {
        let mut process = self.launch_one_shot(words);
        process.close_stdin();
        let code = process.wait(DEADLINE * 2);
        let (out, err) = (process.since(Stream::Stdout, 0), process.since(Stream::Stderr, 0).join("\n"));
        Ran { code, out, err, share: PathBuf::new() }
    }

    /// Runs one command in a fresh node with an empty share, on any port.
    pub fn ask(&self, command: &str) -> Ran {
        self.run(&NodeSpec::new().port(0), &format!("{command}\n"))
    }

    /// Runs `command` in fresh nodes until `done`, at most until the deadline. Returns the last answer.
    pub fn ask_until(&self, command: &str, done: impl Fn(&Ran) -> bool) -> Ran {
        let until = Instant::now() + DEADLINE;
        loop {
            let ran = self.ask(command);
            if done(&ran) {
                return ran;
            }
            assert!(Instant::now() < until, "`{command}` never came out right: {ran:#?}");
        }
    }
}

impl Node {
    /// Runs a command at the pipe and returns its stdout. The answer to a following `getload` of the own node
    /// marks its end.
    pub fn command(&mut self, command: &str) -> Vec<String> {
        self.command_within(command, DEADLINE)
    }

    /// Like [`Node::command`], with another deadline.
    pub fn command_within(&mut self, command: &str, deadline: Duration) -> Vec<String> {
        let mark = self.process.mark(Stream::Stdout);
        self.process.send(command);
        let (ip, port) = (self.addr.ip(), self.addr.port());
        self.process.send(&format!("getload {ip} {port}"));
        let end = format!("{ip} {port} load ");
        let (_, behind) =
            self.process.expect_line(Stream::Stdout, mark, deadline, &end, |line| line.starts_with(&end));
        let mut lines = self.process.since(Stream::Stdout, mark);
        lines.truncate(behind - mark - 1);
        lines
    }

    /// Writes a file into the share.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        write_file(&self.share, name, bytes);
    }

    /// Content of a file in the share, if it exists.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.share.join(name)).ok()
    }

    /// Ends a node at a pipe by end of input, and returns its exit code.
    pub fn leave(mut self) -> i32 {
        self.process.close_stdin();
        self.process.wait(DEADLINE)
    }

    /// Ends the node by TERM, and returns its exit code.
    pub fn terminate(mut self) -> i32 {
        self.process.signal(Signal::TERM);
        self.process.wait(DEADLINE)
    }

    /// Starts a killed node again, on the same port with the same share, without waiting.
    pub fn launch_again(&mut self) {
        self.process.kill();
        self.process = Process::start(NODE, &self.args);
    }

    /// Kills the node and starts it again on the same port with the same share.
    pub fn restart(&mut self) {
        self.launch_again();
        self.addr = listening(&self.process, "node listening on ");
    }
}

/// Waits for the line with the listening address of a program.
fn listening(process: &Process, start: &str) -> SocketAddr {
    let line = process.expect_stdout(start);
    line[start.len()..].parse().unwrap_or_else(|_| panic!("no address: `{line}`"))
}

/// Runs the tracker with these arguments until it ends. Returns exit code and stderr.
pub fn run_tracker(args: &[&str]) -> (i32, String) {
    let mut process = Process::start(TRACKER, args);
    let code = process.wait(DEADLINE);
    (code, process.since(Stream::Stderr, 0).join("\n"))
}

/// Runs a node with exactly these arguments and an empty stdin until it ends. Returns exit code and stderr.
pub fn run_node(args: &[&str]) -> (i32, String) {
    let mut process = Process::start(NODE, args);
    process.close_stdin();
    let code = process.wait(DEADLINE);
    (code, process.since(Stream::Stderr, 0).join("\n"))
}

/// Writes a file below `share`, and creates its directories.
pub fn write_file(share: &Path, name: &str, bytes: &[u8]) {
    let path = share.join(name);
    fs::create_dir_all(path.parent().expect("it is below the share")).expect("its directory");
    fs::write(path, bytes).expect("a test file");
}

/// Replaces a latency file. Entries: requester, peer, milliseconds.
pub fn write_latency(file: &Path, entries: &[(SocketAddr, SocketAddr, f64)]) {
    nearpeer::eval::stage::write_latency(file, entries).expect("a latency file");
}

/// All paths below a directory: relative, sorted, directories with a `/` at the end.
pub fn tree(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, prefix: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).expect("a readable directory") {
            let entry = entry.expect("a readable entry");
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().expect("its type").is_dir() {
                found.push(format!("{name}/"));
                walk(&entry.path(), &format!("{name}/"), found);
            } else {
                found.push(name);
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, "", &mut found);
    // A running node has a socket there.
    found.retain(|path| !path.ends_with("node.sock"));
    found.sort();
    found
}

/// Asserts that a share holds exactly these files and nothing else, except an empty `.nearpeer/`.
pub fn assert_only(share: &Path, files: &[&str]) {
    let mut found = tree(share);
    found.retain(|path| path != ".nearpeer/");
    assert_eq!(found, files, "left behind in {}", share.display());
}
