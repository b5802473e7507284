//! Follows README.md and docs/guide.md as a new user does: from the first line to the last, each command run
//! by the real programs, each shown output compared.
//!
//! The fence of a block gives its kind. `sh` is run line by line, or in a terminal where a comment says so.
//! `console` is a transcript of a shell (`$`) or of a prompt in a terminal (`>`). The program that reads
//! `json`, `toml` and `latency` reads these blocks. `text` is not run. This file names every command that is
//! not run, with the reason: a new command in a document that is unknown here fails a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use super::forms;
use super::markdown::{Block, blocks, code, spans, table};
use super::stage::{self, ROOT, Stage};
use crate::support::content::{b3_hex, md5_hex, noise};
use crate::support::world::{Node, NodeSpec, World};
use crate::support::{self, events};
use nearpeer::cli::args::prompt::{Language, command_names};

const DOCUMENTS: [&str; 2] = ["README.md", "docs/guide.md"];

/// Commands that are not run, and the reasons.
const SKIPPED: &[(&str, &str)] = &[
    ("cargo build --release", "the programs have been built with this test"),
    ("cargo test", "this is it"),
    ("systemctl enable --now tracker node@alpha", "needs systemd: scripts/interop"),
    ("make docker-up", "needs containers: scripts/interop"),
    ("make docker-down", "needs containers: scripts/interop"),
    ("aria2c -M", "a foreign tool: scripts/interop"),
    (
        "curl -N http://127.0.0.1:8081/api/v1/events",
        "a foreign tool, and endless: tests/acceptance/web reads that stream",
    ),
    ("scripts/interop", "needs foreign tools; .ci/run knows what needs none"),
    ("scripts/browse", "needs a browser"),
    ("node IP PORT DIR", "a form: README's terminals"),
    ("node COMMAND", "a form: README's last block"),
    ("node find", "a form: the same"),
    ("tracker listening on 127.0.0.1:5025", "an output: awaited wherever a terminal is opened"),
    ("tracker listening on ADDR:PORT", "an output: the same"),
    ("node listening on ADDR:PORT", "an output: the same"),
];

/// Targets of the Makefile, which needs its own tool. This test looks them up; `scripts/interop` runs them.
const MAKE: &str = "make";

/// The command that runs instead of a build.
const INSTEAD: &[(&str, &str)] = &[("cargo run --release --bin demo", "target/release/demo")];

/// Parts of outputs whose numbers may differ.
const VARIES: &[(&str, &str)] = &[
    ("pages at http://127.0.0.1:8081/", "another port where that one is taken"),
    ("127.0.0.1:36987", "port 0 picks one"),
    ("0.039 0 0.039", "a latency that was measured"),
];

/// Files that must exist before a command, as its text says.
type Preparation = (&'static str, fn(&mut Stage));
const PREPARED: &[Preparation] = &[("target/release/node replicate data.tar", Stage::put_data_tar)];

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).expect("a document")
}

/// All code of a document: in running text, and the lines of blocks.
fn written(text: &str) -> Vec<String> {
    let lines = blocks(text).into_iter().flat_map(|block| block.lines);
    spans(text).into_iter().chain(lines).collect()
}

fn is_skipped(command: &str) -> bool {
    SKIPPED.iter().any(|(skipped, _)| *skipped == command)
}

/// Runs a line that must succeed.
fn run(stage: &mut Stage, line: &str) -> Vec<String> {
    for (_, prepare) in PREPARED.iter().filter(|(command, _)| line.contains(command)) {
        prepare(stage);
    }
    let (code, mut out, err) = stage.run(line);
    assert_eq!(code, 0, "`{line}`: {out:#?} {err:#?}");
    out.extend(err);
    out
}

/// Follows one block. Failures name the block.
fn follow(stage: &mut Stage, name: &str, block: &Block) {
    support::print_figures(&format!("{name}:{}: {}", block.at, block.info));
    let (language, place) = block.info.split_once(' ').unwrap_or((&block.info, ""));
    match (language, place.strip_prefix("terminal ")) {
        ("sh", None) => block.lines.iter().for_each(|line| follow_line(stage, line)),
        ("console", None) => follow_shell(stage, &block.lines),
        ("console", Some(terminal)) => follow_prompt(stage, terminal, &block.lines),
        ("json", None) => drop(events::parse_all(&block.lines)),
        ("toml", None) => {
            fs::write(stage.path("node.toml"), block.lines.join("\n")).expect("written");
            let printed = run(stage, "target/release/node -c node.toml --print-config");
            // The command prints all values quoted, with their origins.
            for line in block.lines.iter().map(|line| line.replace('"', "")) {
                let is_printed =
                    |printed: &String| printed.replace('"', "").starts_with(&format!("{line} # node.toml"));
                assert!(printed.iter().any(is_printed), "{line}: {printed:#?}");
            }
        }
        ("latency", None) => {
            fs::write(stage.path("pairs.txt"), stage.swapped(&block.lines.join("\n"))).expect("written");
            let command =
                "target/release/node sources ripples.png --latency-file pairs.txt --as 127.0.0.1:5001";
            let said = run(stage, command);
            assert!(said.iter().any(|line| line.contains("latency 40 file")), "{said:#?}");
        }
        ("text", None) => {
            let is_typed = |line: &&String| line.starts_with(['$', '>']) || line.starts_with("target/");
            assert_eq!(block.lines.iter().find(is_typed), None, "a command in a block that is only seen");
        }
        _ => panic!("{name}:{}: say in this test what is to be done with ```{}", block.at, block.info),
    }
}

/// Runs a line of a script, which may name its terminal.
fn follow_line(stage: &mut Stage, line: &str) {
    let (command, comment) = line.split_once('#').unwrap_or((line, ""));
    let command = command.trim_end();
    match comment.trim().strip_prefix("terminal ") {
        _ if command.is_empty() || is_skipped(command) => {}
        Some(terminal) => {
            stage.open(terminal, command);
            assert!(stage.start_of(terminal).contains(" listening on "), "{command}");
        }
        None => drop(run(stage, command)),
    }
}

/// Follows a transcript of a shell: each command, and its output on both streams.
fn follow_shell(stage: &mut Stage, lines: &[String]) {
    for (command, expected) in steps(lines, "$ ") {
        let command = command.expect("a transcript of a shell begins with a command");
        let printed = run(stage, &format!("{{ {command}; }} 2>&1"));
        let agree = printed.len() == expected.len()
            && expected
                .iter()
                .zip(&printed)
                .all(|(expected, printed)| agrees(&stage.swapped(expected), printed));
        assert!(agree, "`{command}` prints another thing than is shown:\n{printed:#?}\n{expected:#?}");
    }
}

/// Follows a transcript of a prompt: the first lines in any order, then each command and its output.
fn follow_prompt(stage: &mut Stage, terminal: &str, lines: &[String]) {
    for (command, expected) in steps(lines, stage::PROMPT) {
        let Some(command) = command else {
            let start = stage.start_of(terminal);
            for line in &expected {
                if !start.lines().any(|said| agrees(&stage.swapped(line), said.trim_end())) {
                    let line = stage.swapped(line);
                    stage.read(terminal, &line);
                }
            }
            continue;
        };
        let typed = stage.swapped(&command);
        stage.type_line(terminal, &typed);
        while !stage.line(terminal).ends_with(&typed) {}
        for expected in expected {
            let line = stage.line(terminal);
            assert!(agrees(&stage.swapped(&expected), &line), "`{command}`:\n{line}\n{expected}");
        }
        let rest = stage.read(terminal, stage::PROMPT);
        assert_eq!(rest.trim(), "", "`{command}` says more than is shown");
    }
}

/// The commands of a transcript, each with the lines after it. The first entry has no command and the lines
/// before all commands.
fn steps(lines: &[String], prompt: &str) -> Vec<(Option<String>, Vec<String>)> {
    let mut steps: Vec<(Option<String>, Vec<String>)> = Vec::new();
    for line in lines {
        match (line.strip_prefix(prompt), steps.last_mut()) {
            (Some(command), _) => steps.push((Some(command.to_owned()), Vec::new())),
            (None, Some((_, output))) => output.push(line.clone()),
            (None, None) => steps.push((None, vec![line.clone()])),
        }
    }
    steps
}

/// True if a line equals the shown line, except for numbers that vary.
fn agrees(shown: &str, line: &str) -> bool {
    let split = VARIES.iter().find_map(|(phrase, _)| Some((phrase, shown.split_once(phrase)?)));
    let Some((phrase, (before, behind))) = split else { return shown == line };
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|char: char| char.is_ascii_digit() || char == '.');
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let rest = line.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
    rest.is_some_and(|rest| words(rest) == words(phrase))
}

#[test]
fn the_documents_can_be_followed_from_the_first_line_to_the_last() {
    let mut stage = Stage::new();
    for name in DOCUMENTS {
        for block in blocks(&document(name)) {
            follow(&mut stage, name, &block);
        }
        // Statements of the text outside of blocks.
        if name == "README.md" {
            let original = fs::read(Path::new(ROOT).join("nodes/beta/ripples.png")).expect("a sample");
            for path in ["nodes/alpha/ripples.png", "mine/ripples.png"] {
                assert!(fs::read(stage.path(path)).expect(path) == original, "{path}");
            }
        }
    }
    let guide = document("docs/guide.md");
    assert!(guide.contains(&b3_hex(stage::DATA_TAR)[..16]), "data.tar is {}", b3_hex(stage::DATA_TAR));
}

/// True if code in running text is a shell command.
fn is_command(span: &str) -> bool {
    const OTHERS: [&str; 9] =
        ["cargo", "make", "systemctl", "docker", "aria2c", "curl", "wget", "sh", "sudo"];
    let (first, rest) = span.split_once(' ').unwrap_or((span, ""));
    let is_path = ["target/", "scripts/", "./"].iter().any(|folder| first.starts_with(folder));
    let is_ours = ["node", "tracker"].contains(&first) && !rest.is_empty();
    OTHERS.contains(&first) || is_ours || (is_path && !first.ends_with('/'))
}

#[test]
fn each_command_in_running_text_is_run_or_has_a_reason_not_to_be() {
    let makefile = document("Makefile");
    let mut stage = Stage::new();
    let texts = DOCUMENTS.map(document);
    let commands = texts.iter().flat_map(|text| spans(text)).filter(|span| is_command(span));
    for span in commands.filter(|span| !is_skipped(span)) {
        if let Some((_, instead)) = INSTEAD.iter().find(|(said, _)| *said == span) {
            run(&mut stage, instead);
        } else if let Some(target) = span.strip_prefix(MAKE) {
            let rule = format!("\n{}:", target.trim_start());
            assert!(target.is_empty() || makefile.contains(&rule), "`{span}`: no such target");
        } else {
            run(&mut stage, &span);
        }
    }
    for (skipped, why) in SKIPPED {
        let is_there = texts.iter().any(|text| written(text).iter().any(|text| text == skipped));
        assert!(is_there, "`{skipped}` ({why}) is in no document any more");
    }
}

/// The typed commands for the guide's table, in this order, with the row that has the forms of the answer.
/// `*` means no row.
const TYPED: &[(&str, &str, &str)] = &[
    ("find NAME", "find ripples.png", "find NAME"),
    ("find NAME", "find nothing", "find NAME"),
    ("find md5=HEX", "find md5={md5}", "find NAME"),
    ("find b3=HEX", "find b3={b3}", "find NAME"),
    ("lookup NAME", "lookup ripples.png", "find NAME"),
    ("getload IP PORT", "getload {ip} {port}", "getload IP PORT"),
    ("download NAME", "download ripples.png", "download NAME"),
    ("download NAME", "download survey.bin", "download NAME"),
    ("download NAME", "download ripples.png", "download NAME"),
    ("sources NAME", "sources ripples.png", "sources NAME"),
    ("sources NAME", "sources slow.bin", "sources NAME"),
    ("updatelist", "updatelist", "updatelist"),
    ("list [local|downloaded|replicated|all]", "list all", "list [local|downloaded|replicated|all]"),
    ("list [local|downloaded|replicated|all]", "list", "list [local|downloaded|replicated|all]"),
    ("list [local|downloaded|replicated|all]", "list downloaded", "list [local|downloaded|replicated|all]"),
    ("list swarm", "list swarm", "*"),
    ("stats", "stats", "stats"),
    ("limit [RATE|off]", "limit", "limit [RATE|off]"),
    ("limit [RATE|off]", "limit 10M", "limit [RATE|off]"),
    ("limit [RATE|off]", "limit off", "limit [RATE|off]"),
    ("replicate NAME --copies N", "replicate ripples.png --copies 2", "replicate NAME --copies N"),
    ("download NAME ... &", "download slow.bin &", "download NAME ... &"),
    ("pause N", "pause {job}", "download NAME ... &"),
    ("jobs", "jobs", "download NAME ... &"),
    ("resume N", "resume {job}", "download NAME ... &"),
    ("cancel N", "cancel {job}", "download NAME ... &"),
    ("nodes", "nodes", "nodes"),
    ("help", "help", "*"),
];

#[test]
fn each_command_answers_in_the_form_that_the_guide_gives() {
    let guide = document("docs/guide.md");
    let mut forms: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut commands: Vec<String> = Vec::new();
    for cells in table(&guide, "| Command | Standard output |") {
        let [command, output] = &cells[..] else { panic!("{cells:?}") };
        if !command.is_empty() {
            commands = code(command);
        }
        for command in &commands {
            let shown = code(output).into_iter().filter(|span| span.contains(' '));
            forms.entry(command.clone()).or_default().extend(shown);
        }
    }
    let source = blocks(&guide).into_iter().find(|block| block.info == "text").expect("a source in `find`");
    forms.get_mut("find NAME").expect("a row").extend(source.lines);
    let mut left: BTreeSet<&str> = forms.keys().map(String::as_str).collect();
    let names = command_names(Language::Node);
    let verbs: BTreeSet<&str> = left.iter().map(|form| form.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(
        verbs,
        names.iter().map(String::as_str).filter(|verb| *verb != "quit").collect(),
        "the commands that there are"
    );

    let picture = fs::read(Path::new(ROOT).join("nodes/beta/ripples.png")).expect("a sample");
    let world = World::new().tracker();
    let files: [(&str, &[u8]); 3] =
        [("ripples.png", &picture), ("survey.bin", &noise(81, 3 << 20)), ("planets.csv", b"a,b\n")];
    let holder = world.holder(&files);
    let slow = NodeSpec::new().headless().file("slow.bin", &noise(82, 8 << 20));
    let _slow = world.start(slow.flags(&["--max-upload", "200k"]));
    let mut node = world.start(NodeSpec::new());
    let mut job = String::new();
    let mut unseen: BTreeSet<(&str, &str)> = forms
        .iter()
        .flat_map(|(command, forms)| forms.iter().map(move |form| (command.as_str(), form.as_str())))
        .collect();
    for (command, typed, answered_as) in TYPED {
        assert!(forms.contains_key(*command), "`{command}` is not in the guide any more");
        left.remove(command);
        let typed = typed
            .replace("{md5}", &md5_hex(&picture))
            .replace("{b3}", &b3_hex(&picture))
            .replace("{job}", &job);
        let typed = typed
            .replace("{ip}", &holder.addr.ip().to_string())
            .replace("{port}", &holder.addr.port().to_string());
        let lines = node.command(&typed);
        if typed.ends_with('&') {
            job = lines.first().and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
        }
        assert!(!lines.is_empty(), "`{typed}` says nothing\n{}", node.process.transcript());
        for line in lines.iter().filter(|_| *answered_as != "*") {
            let form = forms[*answered_as].iter().find(|form| forms::fits(form, line));
            let form = form.unwrap_or_else(|| panic!("`{typed}`: in no form of the guide: {line}"));
            unseen.remove(&(answered_as, form));
        }
    }
    check_examples(&mut node, &forms);
    assert_eq!(node.command("wait"), [""; 0]);
    left.remove("wait [N]");
    node.process.send("exit");
    // The exit code at a pipe is that of the last failed command, `find nothing`.
    assert_eq!(node.process.wait(support::DEADLINE), 3);
    left.remove("exit");
    assert_eq!(left, BTreeSet::new(), "commands that this test does not type");
    unseen.retain(|(command, _)| TYPED.iter().any(|(_, _, answered_as)| answered_as == command));
    assert_eq!(unseen, BTreeSet::new(), "forms in which nothing was answered");
}

/// Each command of README's table is in the guide's table, and the answer to its example has a form of that
/// table.
fn check_examples(node: &mut Node, forms: &BTreeMap<String, Vec<String>>) {
    let examples = table(&document("README.md"), "| Command | Example | What it does |");
    assert_eq!(examples.len(), 10, "README shows ten commands");
    for cells in &examples {
        let [command, example] = [&cells[0], &cells[1]].map(|cell| code(cell).concat());
        let row = TYPED.iter().find(|(typed, _, _)| *typed == command);
        let (_, _, row) = row.unwrap_or_else(|| panic!("`{command}` is not in the guide's table"));
        let forms = &forms[*row];
        assert_eq!(command.split(' ').next(), example.split(' ').next(), "an example of another command");
        let lines = node.command(&example);
        assert!(!lines.is_empty(), "`{example}` says nothing\n{}", node.process.transcript());
        for line in &lines {
            let fits = forms.iter().any(|form| forms::fits(form, line));
            assert!(fits, "`{example}`: in no form of `{command}`: {line}");
        }
    }
    // Background jobs of an example end before the node stops.
    let until = Instant::now() + support::DEADLINE;
    while node.command("jobs").iter().any(|line| line.contains(" queued ") || line.contains(" running ")) {
        assert!(Instant::now() < until, "{}", node.process.transcript());
    }
}

#[test]
fn each_flag_is_documented_and_each_documented_flag_exists() {
    /// Flags of other programs.
    const FOREIGN: [&str; 3] = ["--release", "--bin", "--now"];
    let flags = |text: &str| -> BTreeSet<String> {
        let words = text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '-'));
        words.filter(|word| word.starts_with("--") && !word.ends_with('-')).map(str::to_owned).collect()
    };
    let stage = Stage::new();
    let helps = |command: &str| stage.run(&format!("target/release/{command} --help")).1.join("\n");
    let mut known = flags(&(helps("tracker") + &helps("node")));
    for verb in nearpeer::cli::args::node::command_names() {
        known.extend(flags(&helps(&format!("node {verb}"))));
    }
    let documented = DOCUMENTS.into_iter().flat_map(|name| flags(&written(&document(name)).join(" ")));
    let documented: BTreeSet<String> = documented.filter(|flag| !FOREIGN.contains(&flag.as_str())).collect();
    assert_eq!(known.difference(&documented).collect::<Vec<_>>(), [""; 0], "not documented");
    assert_eq!(documented.difference(&known).collect::<Vec<_>>(), [""; 0], "documented, but not there");
}

#[test]
fn links_and_references_have_targets() {
    let headings = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect()
    };
    let guide = headings(&document("docs/guide.md"));
    for name in DOCUMENTS {
        let text = document(name);
        let folder = Path::new(ROOT).join(name);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            match link.strip_prefix('#') {
                Some(anchor) => {
                    let is_it = |heading: &String| heading.to_lowercase().replace(' ', "-") == anchor;
                    assert!(headings(&text).iter().any(is_it), "{name}: no heading for #{anchor}");
                }
                None => assert!(folder.with_file_name(link).exists(), "{name}: nothing is at {link}"),
            }
        }
        // Pictures in HTML.
        for by in ["srcset=\"", " src=\""] {
            for picture in text.split(by).skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(folder.with_file_name(picture).exists(), "{name}: nothing is at {picture}");
            }
        }
        // For example: see docs/guide.md, "Events".
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for by in ["docs/guide.md, \"", "(docs/guide.md), \"", "(see \"", ": see \""] {
            for title in flat.split(by).skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(guide.iter().any(|heading| heading == title), "{name}: the guide has no {title}");
            }
        }
    }
}

#[test]
fn shown_output_is_compared() {
    let check = |shown: &str, line: &str, expected: bool| {
        assert_eq!(agrees(shown, line), expected, "{shown}\n{line}")
    };
    check("ready: 1 files", "ready: 1 files", true);
    check("ready: 1 files", "ready: 2 files", false);
    check("pages at http://127.0.0.1:8081/", "pages at http://127.0.0.1:4711/", true);
    check("pages at http://127.0.0.1:8081/", "pages at https://127.0.0.1:4711/", false);
    check("a 5002 0.039 0 0.039 6d", "a 5002 1 0 10.25 6d", true);
    check("a 5002 0.039 0 0.039 6d", "a 5003 1 0 10.25 6d", false);
    let lines = ["hi", "> a", "x", "y", "> b"].map(str::to_owned);
    let (hi, a) =
        ((None, vec!["hi".to_owned()]), (Some("a".to_owned()), vec!["x".to_owned(), "y".to_owned()]));
    assert_eq!(steps(&lines, "> "), [hi, a, (Some("b".to_owned()), vec![])]);
}
