//! Tests of the command language of the prompt: the command of a line, and the errors for mistakes.

use std::net::SocketAddr;

use super::super::command::{GetLoadArgs, ReplicateArgs, Whole};
use super::*;
use crate::types::{Checksum, FileName, FileOrigin, Query};

const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";
const B3: &str = "af1349b9f5f9a1a6";

fn parse(line: &str) -> Result<Option<PromptCommand>, ParseError> {
    Grammar::new(Language::Node).parse(line)
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a name")
}

fn named(text: &str) -> QueryArg {
    QueryArg(Query::Name(name(text)))
}

fn check(line: &str, expected: Command) {
    check_prompt(line, PromptCommand::Swarm(expected));
}

fn check_prompt(line: &str, expected: PromptCommand) {
    assert_eq!(parse(line), Ok(Some(expected)), "{line:?}");
}

fn check_error(line: &str, expected: &str) {
    let error = parse(line).expect_err(line).to_string();
    assert!(error.contains(expected), "{line:?}: {error:?}");
    assert!(!error.contains('\n') && error.len() < 500, "{line:?}: {error:?}");
}

fn download(text: &str) -> DownloadArgs {
    DownloadArgs { name: name(text), checksum: None, verify: None, force: false }
}

fn help_text(line: &str) -> String {
    match parse(line) {
        Ok(Some(PromptCommand::HelpText(text))) => text,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn lines_are_read_as_commands() {
    for empty in ["", "   ", "\t", "# a comment"] {
        assert_eq!(parse(empty), Ok(None), "{empty:?}");
    }
    let list = |listed| Command::List(ListArgs { listed });
    check("updatelist", Command::Updatelist);
    check("  list  ", list(None));
    check("list replicated", list(Some(ListScope::Own(Some(FileOrigin::Replicated)))));
    check("list local", list(Some(ListScope::Own(Some(FileOrigin::Local)))));
    check("list all", list(Some(ListScope::Own(None))));
    check("list swarm", list(Some(ListScope::Swarm)));
    check("replicate a --copies 2", Command::Replicate(ReplicateArgs { query: named("a"), copies: 2 }));
    check(
        "replicate --copies=0 -- -rf",
        Command::Replicate(ReplicateArgs { query: named("-rf"), copies: 0 }),
    );
    check("stats", Command::Stats);
    check("lookup a", Command::Find(named("a")));
    check("sources a", Command::Sources(named("a")));
    check("nodes # those known", Command::Nodes);
    for (line, addr) in [("getload 127.0.0.1 5001", "127.0.0.1:5001"), ("getload ::1 1", "[::1]:1")] {
        let addr: SocketAddr = addr.parse().expect("an address");
        check(line, Command::Getload(GetLoadArgs { ip: addr.ip(), port: addr.port() }));
    }
}

#[test]
fn lines_are_read_as_commands_of_the_prompt() {
    let job = JobArgs { id: JobId(3) };
    let limit = |limit| PromptCommand::Limit(LimitArgs { limit });
    check_prompt("download a &", PromptCommand::Background(download("a")));
    check_prompt("download -- -rf &", PromptCommand::Background(download("-rf")));
    check("download &", Command::Download(download("&")));
    check_prompt("jobs", PromptCommand::Jobs);
    check_prompt("cancel 3", PromptCommand::Cancel(job));
    check_prompt("pause 3", PromptCommand::Pause(job));
    check_prompt("resume 3", PromptCommand::Resume(job));
    check_prompt("wait 3", PromptCommand::Wait(WaitArgs { id: Some(JobId(3)) }));
    check_prompt("wait", PromptCommand::Wait(WaitArgs { id: None }));
    check_prompt("limit", limit(None));
    check_prompt("limit off", limit(Some(UploadLimit::Off)));
    check_prompt("limit 512k", limit(Some(UploadLimit::BytesPerS(512_000))));
    for word in ["exit", "quit"] {
        check_prompt(word, PromptCommand::Exit);
    }
}

#[test]
fn names_may_be_quoted_and_stand_after_two_dashes() {
    for (line, text) in [
        ("find a.bin", "a.bin"),
        ("find 'with space'", "with space"),
        ("find \"it's\"", "it's"),
        ("find with\\ space", "with space"),
        ("find dir/a.bin", "dir/a.bin"),
        ("find -- -rf", "-rf"),
        ("find -- -h", "-h"),
        ("find -- --", "--"),
        ("find -- md5=x", "md5=x"),
        ("find größe", "größe"),
    ] {
        check(line, Command::Find(named(text)));
    }
    check("download -- -rf", Command::Download(download("-rf")));
    check(
        "download --force -- --force",
        Command::Download(DownloadArgs { force: true, ..download("--force") }),
    );
}

#[test]
fn digests_and_options_are_read() {
    let md5 = crate::types::Md5Digest::from_hex(MD5).expect("hex");
    let b3 = crate::types::ContentPrefix::from_hex(B3).expect("hex");
    check(&format!("find md5={MD5}"), Command::Find(QueryArg(Query::Md5(md5))));
    check(&format!("find b3={B3}"), Command::Find(QueryArg(Query::Content(b3))));
    let all = DownloadArgs {
        checksum: Some(Checksum::Content(b3)),
        verify: Some(Whole::Whole),
        force: true,
        ..download("a")
    };
    check(&format!("download a --checksum b3={B3} --verify whole --force"), Command::Download(all.clone()));
    check(&format!("download --force --verify=whole --checksum=b3={B3} a"), Command::Download(all));
    let sum = DownloadArgs { checksum: Some(Checksum::Md5(md5)), ..download("a") };
    check(&format!("download --checksum md5={MD5} a"), Command::Download(sum));
}

#[test]
fn help_has_a_line_for_each_command_and_a_page_for_one() {
    for word in ["help", "?", "h", "help find", "help --x"] {
        let text = help_text(word);
        for name in
            command_names(Language::Node).iter().filter(|name| !["lookup", "quit"].contains(&name.as_str()))
        {
            assert!(text.lines().any(|line| line.split(' ').next() == Some(name)), "{name}: {text}");
        }
        assert!(text.lines().count() < 25 && text.lines().all(|line| line.len() < 110), "{text}");
    }
    for word in ["find", "download", "sources", "list", "nodes", "stats", "getload", "jobs", "limit"] {
        for flag in ["--help", "-h"] {
            let text = help_text(&format!("{word} {flag}"));
            assert!(text.contains(&format!("Usage: {word}")) && !text.contains("--tracker"), "{text}");
        }
    }
    assert!(help_text("download a --help").contains("--checksum"));
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    check_error("fnid a", "unknown command `fnid`: did you mean `find`?");
    check_error("FIND a", "unknown command `FIND`: did you mean `find`?");
    check_error("down a", "unknown command `down`: did you mean `download`?");
    check_error("frobnicate", "unknown command `frobnicate`: help lists them");
    check_error("frobnicate --help", "unknown command `frobnicate`: help lists them");
    check_error("\u{1b}[2J", "unknown command `\\u{1b}[2J`: help lists them");
    check_error("find", "not provided: <NAME|md5=HEX|b3=HEX>; Usage: find <NAME|md5=HEX|b3=HEX>");
    check_error("find a b", "unexpected argument 'b' found; Usage: find <NAME|md5=HEX|b3=HEX>");
    check_error("find -rf", "to pass '-r' as a value, use '-- -r'");
    check_error(
        "download a --forse",
        "unexpected argument '--forse' found; tip: a similar argument exists: '--force'",
    );
    check_error("download -x", "unexpected argument '-x' found");
    check_error("download --force=yes a", "unexpected value 'yes' for '--force'");
    check_error("download a --force --force", "cannot be used multiple times");
    check_error(
        "download a --verify half",
        "invalid value 'half' for '--verify <whole>'; [possible values: whole]",
    );
    check_error(
        "getload localhost 5001",
        "invalid value 'localhost' for '<IP>': give numbers, as in 127.0.0.1 or ::1",
    );
    for port in ["0", "70000", "abc"] {
        check_error(&format!("getload 127.0.0.1 {port}"), &format!("invalid value '{port}' for '<PORT>'"));
    }
    check_error("getload 127.0.0.1 -1", "unexpected argument '-1' found");
    check_error("list all b", "unexpected argument 'b' found");
    check_error("list swamr", "a similar value exists: 'swarm'");
    check_error("cancel", "not provided: <N>");
    check_error("cancel x", "`jobs` lists the numbers of downloads");
    check_error("limit fast", "give bytes per second, as in 512k, 10M or 1GiB, or off");
    for copies in ["101", "-1", "4294967296", "many"] {
        check_error(
            &format!("replicate a --copies {copies}"),
            &format!("invalid value '{copies}' for '--copies <N>'"),
        );
    }
    check_error("replicate a", "not provided: --copies <N>");
    check_error("nodes all", "unexpected argument 'all' found");
    check_error(
        "find md5=12",
        "`md5=12` is not a checksum: give md5= and 32 hex digits, or b3= and 16 to 64",
    );
    assert_eq!(parse("find 'a"), Err(ParseError::UnbalancedQuote));
    assert_eq!(parse("find a\\"), Err(ParseError::UnbalancedQuote));
}

#[test]
fn a_tracker_has_its_own_commands() {
    let files = || PromptCommand::Swarm(Command::List(ListArgs { listed: Some(ListScope::Swarm) }));
    let mut grammar = Grammar::new(Language::Tracker);
    for (line, expected) in [
        ("nodes", PromptCommand::Swarm(Command::Nodes)),
        ("list nodes", PromptCommand::Swarm(Command::Nodes)),
        ("files", files()),
        ("list files", files()),
        ("find a", PromptCommand::Swarm(Command::Find(named("a")))),
        ("lookup a", PromptCommand::Swarm(Command::Find(named("a")))),
        ("stats", PromptCommand::Swarm(Command::Stats)),
        ("stop", PromptCommand::Exit),
        ("quit", PromptCommand::Exit),
        ("exit", PromptCommand::Exit),
        ("help", PromptCommand::HelpText(Grammar::new(Language::Tracker).help())),
    ] {
        assert_eq!(grammar.parse(line), Ok(Some(expected)), "{line}");
    }
    assert_eq!(grammar.parse(" # nothing"), Ok(None));
    let error = grammar.parse("download a").expect_err("a tracker has no files").to_string();
    assert_eq!(error, "unknown command `download`: help lists them");
    let names = ["exit", "files", "find", "help", "list", "nodes", "quit", "stats", "stop"];
    assert_eq!(command_names(Language::Tracker), names);
}

#[test]
fn bad_names_are_refused_with_the_reason() {
    for (line, why) in [
        ("find ..", "`..`"),
        ("download ../x", "`..`"),
        ("download .ssh/id", ".ssh/id"),
        ("find /etc/passwd", "/etc/passwd"),
        ("find ''", "a file name may not be empty"),
        ("find a//b", "a//b"),
        ("download 'a\u{1b}[31m'", "file name `a\\u{1b}[31m` contains a control character"),
    ] {
        check_error(line, why);
    }
}

#[test]
fn a_long_unknown_word_is_cut() {
    check_error(&"x".repeat(60_000), "unknown command `xxx");
    check_error(&format!("find a {}", "x".repeat(60_000)), "unexpected argument 'xxx");
    check_error(
        &format!("find {}", "x".repeat(60_000)),
        "file name of 60000 bytes: at most 4096 are allowed",
    );
}

proptest::proptest! {
    #[test]
    fn no_line_panics_and_no_error_controls_a_terminal(line in "(find|download|getload|x)? ?.{0,40}") {
        if let Err(error) = parse(&line) {
            proptest::prop_assert!(!error.to_string().chars().any(crate::types::printable::is_unsafe));
        }
    }
}
