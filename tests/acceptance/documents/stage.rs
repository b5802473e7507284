//! The environment in which a document is followed: the repository's samples in a separate directory,
//! terminals, and substitutes for the ports, addresses and directories in the text.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use tempfile::TempDir;

use crate::support::DEADLINE;
use crate::support::process::{Process, Stream};
use crate::support::rows::find_rows;
use crate::support::world::{POLL_INTERVAL, own_port};

const PROGRAMS: [(&str, &str); 3] = [
    ("tracker", env!("CARGO_BIN_EXE_tracker")),
    ("node", env!("CARGO_BIN_EXE_node")),
    ("demo", env!("CARGO_BIN_EXE_demo")),
];
pub(crate) const PROMPT: &str = "> ";
/// All files that a fresh clone has in `nodes/`. A used work tree may have more.
const SAMPLES: [&str; 4] = ["alpha/welcome.txt", "beta/planets.csv", "beta/ripples.png", "gamma/ripples.png"];
/// Time limit of a command. It ends with all its children, before the test's own deadline.
const LONGEST_S: &str = "25";
/// The repository.
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The file that the guide replicates. The guide shows its digest.
pub(crate) const DATA_TAR: &[u8] = b"the data of docs/guide.md, Replicas\n";

/// A terminal with a program at its prompt.
struct Terminal {
    session: PtySession,
    /// Its output before the first prompt.
    start: String,
}

/// Terminals end before the directory is removed.
pub(crate) struct Stage {
    terminals: BTreeMap<String, Terminal>,
    /// Nodes that the text assumes.
    others: Vec<Process>,
    tracker_port: u16,
    swaps: Vec<(&'static str, String)>,
    dir: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |path: &str| dir.path().join(path);
        let ports = [own_port(), own_port(), own_port(), own_port()];
        let swaps = vec![
            ("5025", ports[0].to_string()),
            ("5001", ports[1].to_string()),
            ("5002", ports[2].to_string()),
            ("5003", ports[3].to_string()),
            // Separate machines: all addresses of 127/8 belong to this machine.
            ("10.0.0.", "127.0.1.".to_owned()),
            ("/tmp/mine", at("mine").display().to_string()),
        ];
        for made in ["target/release", "home", "dir"] {
            fs::create_dir_all(at(made)).expect("a directory");
        }
        for (name, built) in PROGRAMS {
            std::os::unix::fs::symlink(built, at("target/release").join(name)).expect("a link");
        }
        for sample in SAMPLES {
            let path = at("nodes").join(sample);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a directory");
            fs::copy(Path::new(ROOT).join("nodes").join(sample), path).expect("copied");
        }
        let stage =
            Stage { terminals: BTreeMap::new(), others: Vec::new(), tracker_port: ports[0], swaps, dir };
        let latencies = fs::read_to_string(Path::new(ROOT).join("latency.txt")).expect("the samples'");
        fs::write(stage.path("latency.txt"), stage.swapped(&latencies)).expect("written");
        stage
    }

    /// A path in the work directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The text with the ports, addresses and directories of this test.
    pub(crate) fn swapped(&self, text: &str) -> String {
        self.swaps.iter().fold(text.to_owned(), |text, (said, here)| replace_word(&text, said, here))
    }

    /// Makes a command line for a shell here. Defaults of the text come from the environment.
    fn script(&self, line: &str) -> String {
        let (dir, port) = (self.dir.path().display(), self.tracker_port);
        let environment = [
            // The default is 127.0.0.1:5025.
            format!("NEARPEER_LISTEN=127.0.0.1:{port}"),
            format!("NEARPEER_TRACKER=127.0.0.1:{port}"),
            // Shortens the half minute of the text.
            "NEARPEER_REPLICA_GRACE=1s".to_owned(),
            "NEARPEER_HEARTBEAT=200ms".to_owned(),
            // Nothing of the user's is read or written.
            format!("HOME={dir}/home"),
            format!("XDG_STATE_HOME={dir}/home"),
            "XDG_CONFIG_HOME=/nonexistent".to_owned(),
            "TERM=xterm".to_owned(),
            "NO_COLOR=1".to_owned(),
        ];
        format!("cd '{dir}' && export {} && {}", environment.join(" "), self.swapped(line))
    }

    /// Runs a command line to its end; its exit code, standard output and standard error.
    pub(crate) fn run(&self, line: &str) -> (i32, Vec<String>, Vec<String>) {
        let mut process = Process::start("timeout", [LONGEST_S, "sh", "-c", &self.script(line)]);
        process.close_stdin();
        let code = process.wait(DEADLINE);
        (code, process.since(Stream::Stdout, 0), process.since(Stream::Stderr, 0))
    }

    /// Runs a program in the terminal of that name until it has a prompt. It replaces the program that ran
    /// there.
    pub(crate) fn open(&mut self, name: &str, line: &str) {
        drop(self.terminals.remove(name));
        let mut shell = Command::new("sh");
        shell.args(["-c", &self.script(line).replacen("&& target/", "&& exec target/", 1)]);
        let millis = u64::try_from(DEADLINE.as_millis()).expect("a short time");
        let options = Options::new().timeout_ms(Some(millis)).strip_ansi_escape_codes(true);
        let session = spawn_with_options(shell, options).expect("a pseudo-terminal");
        let _nothing_was_there =
            self.terminals.insert(name.to_owned(), Terminal { session, start: String::new() });
        let start = self.read(name, PROMPT);
        self.terminal(name).start = start;
    }

    fn terminal(&mut self, name: &str) -> &mut Terminal {
        self.terminals.get_mut(name).unwrap_or_else(|| panic!("no terminal {name} is open"))
    }

    /// What a terminal has shown before its first prompt.
    pub(crate) fn start_of(&mut self, terminal: &str) -> String {
        self.terminal(terminal).start.clone()
    }

    /// Reads in a terminal until `text` has come. Returns the output before it.
    pub(crate) fn read(&mut self, terminal: &str, text: &str) -> String {
        let read = self.terminal(terminal).session.exp_string(text);
        read.unwrap_or_else(|error| panic!("terminal {terminal}, awaiting {text:?}: {error}"))
    }

    /// The next line in a terminal.
    pub(crate) fn line(&mut self, terminal: &str) -> String {
        let line = self.read(terminal, "\n");
        line.trim_end().rsplit('\r').next().unwrap_or_default().to_owned()
    }

    /// Types a line in a terminal.
    pub(crate) fn type_line(&mut self, terminal: &str, line: &str) {
        let session = &mut self.terminal(terminal).session;
        session.send(&format!("{line}\r")).and_then(|_| session.flush()).expect("typed");
    }

    /// Puts `data.tar` on a third machine and has a fourth keep copies, beside the two of the guide; there
    /// when two have it.
    pub(crate) fn put_data_tar(&mut self) {
        let tracker = SocketAddr::from(([127, 0, 1, 1], self.tracker_port)).to_string();
        let start = |ip: &str, flags: &[&str]| {
            let share = self.path(ip);
            fs::create_dir(&share).expect("a directory");
            if flags.is_empty() {
                fs::write(share.join("data.tar"), DATA_TAR).expect("written");
            }
            let share = share.display().to_string();
            let heartbeat = ["--tracker", &tracker, "--headless", "--heartbeat", "200ms"];
            let process = Process::start(PROGRAMS[1].1, [&[ip, "0", &share][..], &heartbeat, flags].concat());
            process.expect_stdout("node listening on ");
            process
        };
        let keeper = start("127.0.1.4", &["--accept-replicas"]);
        let source = start("127.0.1.3", &[]);
        let until = Instant::now() + DEADLINE;
        let find = format!("target/release/node find data.tar --tracker {tracker} --latency-file none");
        while find_rows(&self.run(&find).1).len() < 2 {
            assert!(Instant::now() < until && !source.ends_within(POLL_INTERVAL), "{}", source.transcript());
        }
        self.others.extend([keeper, source]);
    }
}

/// Replaces `word` where no letter or digit follows it.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let (mut done, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(word) {
        let (before, behind) = (&rest[..at], &rest[at + word.len()..]);
        let begins = !before.ends_with(char::is_alphanumeric);
        let ends = !word.ends_with(char::is_alphanumeric) || !behind.starts_with(char::is_alphanumeric);
        done += before;
        done += if begins && ends { by } else { word };
        rest = behind;
    }
    done + rest
}

#[test]
fn a_word_is_replaced_where_it_stands_alone() {
    assert_eq!(replace_word("5001 a5001 50010 :5001,5001", "5001", "7"), "7 a5001 50010 :7,7");
    assert_eq!(replace_word("10.0.0.2 110.0.0.1", "10.0.0.", "127.0.1."), "127.0.1.2 110.0.0.1");
}
