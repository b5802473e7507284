//! Tests of the order of command line, environment, file and default, of the formats that are read, and of
//! errors that name the place of a value.

use std::fs;

use std::ffi::OsString;
use std::path::Path;

use clap::{Command, CommandFactory, FromArgMatches};

use super::*;
use crate::cli::args::command;
use crate::cli::args::node::{NodeArgs, NodeRun, node_command, run_of};
use crate::cli::args::tracker::TrackerArgs;

/// A directory with files, and an environment.
struct Case {
    dir: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Case {
    fn new() -> Case {
        Case { dir: tempfile::tempdir().expect("a directory"), environment: Vec::new() }
    }

    fn file(self, name: &str, text: &str) -> Case {
        fs::write(self.dir.path().join(name), text).expect("written");
        self
    }

    fn environment(mut self, name: &'static str, value: &str) -> Case {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// `@` stands for the directory of the file.
    fn read(&self, program: Program, command: &Command, line: &str) -> Result<CommandLine, Refusal> {
        let line = line.replace('@', &self.dir.path().display().to_string());
        let words = line.split_whitespace().map(OsString::from);
        let environment = |name: &str| {
            let (_, value) = self.environment.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(value.replace('@', &self.dir.path().display().to_string())))
        };
        read(program, command, words, &environment)
    }

    fn node(&self, line: &str) -> Result<NodeRun, Refusal> {
        run_of(&self.read(Program::Node, &node_command(), line)?)
    }

    fn share(&self, line: &str) -> NodeArgs {
        match self.node(line) {
            Ok(NodeRun::Node(args)) => *args,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn tracker(&self, line: &str) -> TrackerArgs {
        let matches = self.read(Program::Tracker, &TrackerArgs::command(), line).expect(line);
        TrackerArgs::from_arg_matches(&matches.matches).expect(line)
    }

    fn refusal(&self, line: &str) -> String {
        let dir = format!("{}/", self.dir.path().display());
        match self.node(line) {
            Err(Refusal::Config(error)) => error.to_string().replace(&dir, ""),
            Err(Refusal::Clap(error)) => error.to_string(),
            Err(Refusal::Show(text)) => text.replace(&dir, ""),
            Ok(run) => panic!("{line}: {run:?}"),
        }
    }
}

#[test]
fn a_flag_wins_over_environment_file_and_default_in_this_order() {
    let case = Case::new().file("n.toml", "retries = 1\nheadless = true\n");
    assert_eq!(case.share("node ::1 0 d").retries, 4);
    let args = case.share("node ::1 0 d -c @/n.toml");
    assert_eq!((args.retries, args.headless), (1, true));
    let case = case.environment("NEARPEER_RETRIES", "2").environment("NEARPEER_HEADLESS", "off");
    let args = case.share("node ::1 0 d -c @/n.toml");
    assert_eq!((args.retries, args.headless), (2, false));
    assert_eq!(case.share("node ::1 0 d -c @/n.toml --retries 3").retries, 3);
    assert_eq!(case.share("node ::1 0 d -c @/n.toml --retries 3 --config-wins").retries, 1);
    assert_eq!(case.share("node ::1 0 d --retries 3 --config-wins").retries, 3, "no file, nothing to win");
}

#[test]
fn an_empty_variable_is_unset() {
    let names = [
        "NEARPEER_RETRIES",
        "NEARPEER_HEADLESS",
        "NEARPEER_TRACKER",
        "NEARPEER_MAX_UPLOAD",
        "NEARPEER_LOG",
        "NEARPEER_LATENCY_FILE",
        "NEARPEER_SAVE_DIR",
        "NEARPEER_CONFIG",
        "NEARPEER_PORT",
    ];
    let case = Case::new().file("n.toml", "retries = 1\nheadless = true\n");
    let case = names.into_iter().fold(case, |case, name| case.environment(name, ""));
    let args = case.share("node ::1 0 d -c @/n.toml");
    assert_eq!((args.retries, args.headless, args.port), (1, true, 0));
    assert_eq!(case.share("node ::1 0 d").retries, 4);
}

#[test]
fn the_file_of_the_user_is_read_if_there_is_one() {
    let case = Case::new().environment("XDG_CONFIG_HOME", "@");
    assert_eq!(case.share("node ::1 0 d").retries, 4);
    fs::create_dir(case.dir.path().join("nearpeer")).expect("made");
    fs::write(case.dir.path().join("nearpeer/node.toml"), "retries = 7").expect("written");
    assert_eq!(case.share("node ::1 0 d").retries, 7);
    assert_eq!(case.tracker("tracker").fronts, 2);
    let case = case.environment("NEARPEER_CONFIG", "@/nearpeer/other.toml");
    assert!(case.refusal("node ::1 0 d").starts_with("nearpeer/other.toml: "));
}

#[test]
fn positional_arguments_can_be_configured_too() {
    let case = Case::new().file("n.toml", "ip = '127.0.0.1'\nport = 5001\ndir = '/srv/a'\n");
    let args = case.share("node -c @/n.toml");
    assert_eq!(
        (args.ip.to_string().as_str(), args.port, args.dir.as_path()),
        ("127.0.0.1", 5001, Path::new("/srv/a"))
    );
    let args = case.share("node ::1 0 -c @/n.toml");
    assert_eq!(
        (args.ip.to_string().as_str(), args.port, args.dir.as_path()),
        ("::1", 0, Path::new("/srv/a"))
    );
    assert_eq!(case.share("node ::1 0 b -c @/n.toml --config-wins").port, 5001);
    assert!(Case::new().refusal("node ::1").contains("<PORT>"));
}

#[test]
fn a_numbered_peer_has_its_own_port() {
    let case = Case::new();
    for (line, port) in [
        ("node ::1 dir --base-port 7100 --id peer1", 7100),
        ("node ::1 dir --base-port 7100 --id peer2", 7101),
        ("node ::1 dir --base-port 7100", 7100),
        ("node ::1 5 dir --base-port 7100 --id peer2", 5),
    ] {
        let args = case.share(line);
        assert_eq!((args.port, args.dir.as_path()), (port, Path::new("dir")), "{line}");
    }
    assert!(case.refusal("node ::1 dir --base-port 7100 --id peer").contains("number from 1"));
    assert!(case.refusal("node ::1 dir --base-port 65535 --id p2").contains("65536"));
}

#[test]
fn a_port_itself_wins_over_a_computed_port() {
    let case = Case::new()
        .file("base.toml", "base-port = 7100\n")
        .file("port.toml", "port = 6000\ndir = 'of-file'\n")
        .file("both.toml", "port = 6000\nbase-port = 7100\n");
    for (line, expected) in [
        ("node ::1 d -c @/base.toml", (7100, "d")),
        ("node ::1 5 d -c @/base.toml", (5, "d")),
        ("node ::1 d -c @/base.toml --id peer3", (7102, "d")),
        ("node ::1 d -c @/port.toml", (6000, "d")),
        ("node ::1 5 -c @/port.toml", (5, "of-file")),
        ("node ::1 d -c @/both.toml", (6000, "d")),
        // A typed value wins.
        ("node ::1 d -c @/port.toml --base-port 7100", (7100, "d")),
        ("node ::1 d -c @/both.toml --id peer2", (7101, "d")),
        ("node ::1 5 d -c @/both.toml --id peer2", (5, "d")),
        ("node ::1 d -c @/both.toml --id peer2 --config-wins", (6000, "d")),
    ] {
        let args = case.share(line);
        assert_eq!((args.port, args.dir.to_string_lossy().as_ref()), expected, "{line}");
    }
    let case = case.environment("NEARPEER_PORT", "6001");
    assert_eq!(case.share("node ::1 d -c @/both.toml").port, 6001);
    assert_eq!(case.share("node ::1 d --base-port 7100 --id p4").port, 7103);
    assert_eq!(case.share("node ::1 d -c @/base.toml").port, 6001);
}

#[test]
fn ports_that_are_too_large_are_errors() {
    let case = Case::new().file("n.toml", "base-port = 7100\n").file("big.toml", "base-port = 4294967295\n");
    for line in [
        "node ::1 d --base-port 4294967295 --id peer2",
        "node ::1 d --base-port 7100 --id peer4294967295",
        "node ::1 d --base-port 7100 --id peer99999999999999999999",
        "node ::1 d --base-port 65535 --id peer2",
        "node ::1 d -c @/n.toml --id peer65535",
        "node ::1 d -c @/big.toml --id peer2",
    ] {
        assert!(case.node(line).is_err(), "{line}");
    }
    let case = case.environment("NEARPEER_ID", "peer65000");
    let error = "base-port and id (environment NEARPEER_ID): invalid value '72099' for '<PORT>': \
                 72099 is not in 0..=65535";
    assert_eq!(case.refusal("node ::1 d -c @/n.toml"), error);
}

#[test]
fn the_files_of_other_systems_are_read() {
    let index = r#"{
        "server": {"host": "localhost", "port": 7000, "backlog": 128},
        "peer": {"base_port": 7100, "download_timeout": 30},
        "replication": {"replication_factor": 2}
    }"#;
    let case = Case::new().file("config.json", index);
    let args = case.share("node 127.0.0.1 d -c @/config.json --id peer3");
    assert_eq!((args.tracker.to_string().as_str(), args.port), ("127.0.0.1:7000", 7102));
    let gossip =
        r#"{"self": {"host": "127.0.0.1", "port": 8081}, "peers": [], "shared_directory": "/srv/s"}"#;
    let args = case.file("peer", gossip).share("node -c @/peer");
    assert_eq!((args.port, args.dir.as_path()), (8081, Path::new("/srv/s")));
    let tiered =
        "[main]\n# comment\naddress = 127.0.0.1\nsup-port = 8888\nport = 9989\ndir = files\nuser = me\n";
    let case = Case::new().file("weak", tiered).file("strong.ini", "[main]\nport = 8888\nmap = m.json\n");
    let args = case.share("node 127.0.0.1 -c @/weak");
    assert_eq!(
        (args.tracker.to_string().as_str(), args.port, args.dir.as_path()),
        ("127.0.0.1:8888", 9989, Path::new("files"))
    );
    assert_eq!(case.tracker("tracker -c @/strong.ini").listen.to_string(), "127.0.0.1:8888");
}

#[test]
fn the_key_log_of_a_json_file_is_the_flag_and_keys_below_it_are_not_used() {
    let case = Case::new()
        .file("own.json", r#"{"log": "/var/log/n", "retries": 1}"#)
        .file("other.json", r#"{"log": {"level": "debug"}, "retries": 1}"#);
    assert_eq!(case.share("node ::1 0 d -c @/own.json").log.log, Some("/var/log/n".into()));
    assert_eq!(case.share("node ::1 0 d -c @/other.json").log.log, None);
}

#[test]
fn an_error_names_the_place_of_the_value() {
    let case = Case::new()
        .file("unknown.toml", "retries = 1\nheart-beat = '1s'\n")
        .file("nonsense.toml", "\nfrobnicate = 1\n")
        .file("value.toml", "# all of them\n\nheartbeat = 'never'\n")
        .file("switch.toml", "headless = 'perhaps'\n")
        .file("list.toml", "retries = [1]\n")
        .file("syntax.toml", "retries = 1\nheartbeat = \n")
        .file("bad.json", "{\n  \"retries\": \n}")
        .file("value.ini", "[main]\nretries = x\n")
        .file("ip.toml", "ip = 'localhost'\n")
        .file("port.toml", "\nport = 70000\n")
        .file("foreign.toml", "[server]\nport = 7000\n");
    for (file, expected) in [
        ("unknown.toml", "unknown.toml:2: unknown key `heart-beat`: did you mean `heartbeat`?"),
        (
            "nonsense.toml",
            "nonsense.toml:2: unknown key `frobnicate`: keys are the long flags of `node --help`",
        ),
        ("value.toml", "value.toml:3: invalid value 'never' for '--heartbeat"),
        ("switch.toml", "switch.toml:1: headless: `perhaps` is neither true nor false"),
        ("list.toml", "list.toml:1: `retries` is neither a text nor a number nor true or false"),
        ("syntax.toml", "syntax.toml:2: "),
        ("bad.json", "bad.json:3: "),
        ("value.ini", "value.ini:2: invalid value 'x' for '--retries"),
        ("foreign.toml", "foreign.toml:2: unknown key `server.port`"),
        ("none.toml", "none.toml: No such file"),
    ] {
        let error = case.refusal(&format!("node ::1 0 d -c @/{file}"));
        assert!(error.starts_with(expected), "{error}");
    }
    for (line, expected) in [
        ("node -c @/ip.toml", "ip.toml:1: invalid value 'localhost' for '<IP>'"),
        ("node ::1 -c @/port.toml", "port.toml:2: invalid value '70000' for '<PORT>'"),
    ] {
        let error = case.refusal(line);
        assert!(error.starts_with(expected), "{error}");
    }
    let case = case.environment("NEARPEER_TRACKER", "nowhere");
    let error = case.refusal("node ::1 0 d");
    assert!(error.starts_with("environment NEARPEER_TRACKER: invalid value 'nowhere'"), "{error}");
}

#[test]
fn each_value_is_printed_with_its_origin_and_can_be_read_again() {
    let case = Case::new().file("n.toml", "retries = 1\nlatency-file = \"a 'b'.txt\"\n");
    let case = case.environment("NEARPEER_HEARTBEAT", "1s");
    let text = case.refusal("node ::1 0 d -c @/n.toml --load-weight 5 --print-config");
    for line in [
        "ip = \"::1\" # command line",
        "port = \"0\" # command line",
        "tracker = \"127.0.0.1:5025\" # default",
        "retries = \"1\" # n.toml:1",
        "latency-file = \"a 'b'.txt\" # n.toml:2",
        "heartbeat = \"1s\" # environment NEARPEER_HEARTBEAT",
        "load-weight = \"5\" # command line",
        "headless = false # default",
        "# advertise is not set",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line}\n{text}");
    }
    let args = Case::new().file("again.toml", &text).share("node -c @/again.toml");
    assert_eq!((args.retries, args.load_weight.to_string().as_str()), (1, "5"));
}

#[test]
fn a_flag_that_can_be_given_several_times_keeps_all_values() {
    let case = Case::new().file("n.toml", "http-host = 'a,b'\n");
    assert_eq!(case.share("node ::1 0 d -c @/n.toml").pages.http_host, ["a", "b"]);
    let args = case.share("node ::1 0 d --http-host x --http-host y");
    assert_eq!(args.pages.http_host, ["x", "y"]);
}

#[test]
fn commands_read_their_flags_from_the_same_file() {
    let case =
        Case::new().file("n.toml", "tracker = '127.0.0.1:7'\nheadless = true\ndir = '/srv/a'\njson = true\n");
    let Ok(NodeRun::OneShot(invocation)) = case.node("node find a.bin -c @/n.toml --timeout 5s") else {
        panic!("a command");
    };
    assert_eq!(
        (invocation.common.tracker.port(), invocation.common.json, &invocation.common.dir),
        (7, true, &None)
    );
    assert_eq!(invocation.typed_guest_flags, [""; 0], "it is not typed");
    let Ok(NodeRun::Completions(_)) = case.node("node completions bash") else { panic!("completions") };
    let Err(Refusal::Clap(error)) = case.node("node download -c @/n.toml") else { panic!("no name") };
    assert!(error.to_string().contains("<NAME>"), "{error}");
    let Ok(NodeRun::OneShot(invocation)) = case.node("node download -c @/n.toml -- -rf") else {
        panic!("a download");
    };
    let command::Command::Download(args) = invocation.command else { panic!("a download") };
    assert_eq!(args.name.as_str(), "-rf");
}

#[test]
fn typed_flags_that_only_a_guest_uses_are_known() {
    let Ok(NodeRun::OneShot(invocation)) =
        Case::new().node("node find --as [::1]:5 --load-weight=3 --json -- --tracker")
    else {
        panic!("a command");
    };
    assert_eq!(invocation.typed_guest_flags, ["as", "load-weight"]);
}

#[test]
fn a_query_is_read_as_at_the_prompt() {
    use crate::cli::args::prompt::{Grammar, Language, PromptCommand};
    let mut grammar = Grammar::new(Language::Node);
    for line in
        ["find a", "find b3=af1349b9f5f9a1a6", "find -- md5=x", "find -- -rf", "sources -- --", "stats"]
    {
        let Ok(NodeRun::OneShot(invocation)) = Case::new().node(&format!("node {line}")) else {
            panic!("{line}");
        };
        assert_eq!(Ok(Some(PromptCommand::Swarm(invocation.command))), grammar.parse(line), "{line}");
    }
    for line in ["find ../x", "find md5=12"] {
        assert!(Case::new().node(&format!("node {line}")).is_err() && grammar.parse(line).is_err(), "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn no_file_panics(text in "[ -~\n]{0,80}") {
        for format in [file::Format::Toml, file::Format::Ini, file::Format::Json] {
            if let Ok(entries) = file::entries(&text, format) {
                for program in [Program::Node, Program::Tracker] {
                    foreign::translate(program, &entries);
                }
            }
        }
    }
}
