//! Keeps the house in order: floors, clocks, printing, pages, lengths, paths in documents.
//!
//! Reads the sources as text, with comments and the insides of strings blanked out, so that no rule fires on words.
//! Every rule is a function from one file to its faults, one test that applies it to the tree, and a test that it can fail.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors of the house, from the ground up; what is not named here is a fault.
const FLOORS: [(&[&str], u8); 6] = [
    (&["types"], 0),
    (&["proto"], 1),
    (&["logic"], 2),
    (&["rt", "net", "store", "sys"], 3),
    (&["discovery", "tracker", "node", "web", "bt", "sim", "eval"], 4),
    (&["cli"], 5),
];
const LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 140;
/// Words of mechanism, which the pure floors must not use.
const MECHANISM: [&str; 14] = [
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "Mutex",
    "RwLock",
    "Condvar",
    "OnceLock",
    "LazyLock",
    "mpsc",
    "crossbeam_channel",
    "parking_lot",
    "rustix",
    "thread_local",
];

/// One source file.
struct Source {
    /// From the root of the repository, as in `src/rt/clock.rs`.
    path: String,
    raw: Vec<String>,
    /// The same lines without comments and without what stands inside strings.
    code: Vec<String>,
    /// The line at which its tests begin, counted from 0; its length if it has none.
    tests_at: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let raw: Vec<String> = text.lines().map(str::to_owned).collect();
        let code: Vec<String> = blank(text).lines().map(str::to_owned).collect();
        let opens_tests =
            |pair: &[String]| pair[0].trim() == "#[cfg(test)]" && pair[1].trim_end().ends_with('{');
        let tests_at = code.windows(2).position(opens_tests).unwrap_or(raw.len());
        Source { path: path.to_owned(), raw, code, tests_at }
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// The modules from the crate's root to this file of `src/`, as in `["logic", "registry", "index"]`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        if path == "lib" { Vec::new() } else { path.split('/').collect() }
    }

    fn fault(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }

    /// A fault for each of `lines` whose code has one of `words`.
    fn forbid(&self, lines: std::ops::Range<usize>, words: &[&str], why: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for number in lines {
            for word in words.iter().filter(|word| has_word(&self.code[number], word)) {
                faults.push(self.fault(number, &format!("`{word}`: {why}")));
            }
        }
        faults
    }

    fn forbid_everywhere(&self, words: &[&str], why: &str) -> Vec<String> {
        self.forbid(0..self.code.len(), words, why)
    }
}

/// `text` with comments, strings and characters replaced by blanks, line by line as it was.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let mut at = 0;
    while at < chars.len() {
        let end = if starts(at, "//") {
            (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len())
        } else if starts(at, "/*") {
            (at + 2..chars.len()).find(|&i| starts(i, "*/")).map_or(chars.len(), |i| i + 2)
        } else if chars[at] == '"' {
            string_end(&chars, at)
        } else if chars[at] == 'r' && !(at > 0 && is_word(chars[at - 1]) && chars[at - 1] != 'b') {
            raw_string_end(&chars, at).unwrap_or(at)
        } else if chars[at] == '\'' {
            char_end(&chars, at).unwrap_or(at)
        } else {
            at
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            // A blank in place of what stood there keeps the words around it apart.
            out.push(' ');
            out.extend(chars[at..end].iter().filter(|c| **c == '\n'));
            at = end;
        }
    }
    out
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    chars.len().min(at + 1)
}

/// The end of `r"..."` or `r#"..."#`; `None` if no raw string begins at `start`.
fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(start + 1 + hashes) == Some(&'"')).then(|| {
        let closes = |i: &usize| {
            chars[*i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        };
        (start + 2 + hashes..chars.len()).find(closes).map_or(chars.len(), |i| i + 1 + hashes)
    })
}

/// The end of `'x'` or `'\n'`; `None` if it is a lifetime.
fn char_end(chars: &[char], start: usize) -> Option<usize> {
    match chars.get(start + 1)? {
        '\\' => (start + 3..chars.len()).find(|&i| chars[i] == '\'').map(|i| i + 1),
        _ => (chars.get(start + 2) == Some(&'\'')).then_some(start + 3),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `word` stands in `code` and is no part of a longer word.
fn has_word(code: &str, word: &str) -> bool {
    let (first, last) = (word.starts_with(is_word), word.ends_with(is_word));
    code.match_indices(word).any(|(at, _)| {
        let before = first && code[..at].ends_with(is_word);
        let after = last && code[at + word.len()..].starts_with(is_word);
        !before && !after
    })
}

/// Every path that follows `root` in `code` (several lines), as (line, path): `crate::a::b` and `crate::{a::b, c}` alike.
fn paths_after(code: &[String], root: &str) -> Vec<(usize, String)> {
    let text = code.join("\n");
    let mut paths = Vec::new();
    for (at, _) in
        text.match_indices(root).filter(|(at, _)| !text[..*at].ends_with(|c| is_word(c) || c == ':'))
    {
        let mut line = text[..at].matches('\n').count();
        let rest = &text[at + root.len()..];
        let path_of =
            |text: &str| -> String { text.chars().take_while(|c| is_word(*c) || *c == ':').collect() };
        let Some(group) = rest.strip_prefix('{') else {
            paths.push((line, path_of(rest)));
            continue;
        };
        let mut depth = 1;
        let mut at_start = true;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => at_start = true,
                '\n' => line += 1,
                _ if at_start && is_word(c) => {
                    paths.push((line, path_of(&group[i..])));
                    at_start = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    paths
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(modules, _)| modules.contains(&module)).map(|(_, floor)| *floor)
}

/// Imports point down. Tests may use the clock wherever they are.
fn imports_point_down(source: &Source) -> Vec<String> {
    let module = source.module();
    let Some(home) = module.first().filter(|home| **home != "bin" && source.is_in("src/")) else {
        return Vec::new();
    };
    let Some(floor) = floor_of(home) else { return vec![source.fault(0, &format!("`{home}` has no floor"))] };
    let mut paths = paths_after(&source.code, "crate::");
    // Up to the crate's root by `super`: the other way to write `crate::`.
    paths.extend(paths_after(&source.code[..source.tests_at], &"super::".repeat(module.len())));
    let mut faults = Vec::new();
    for (line, path) in paths {
        let target = path.split("::").next().unwrap_or_default();
        let Some(target_floor) = floor_of(target) else {
            // A macro or a function of the crate's root.
            continue;
        };
        let for_tests = (line >= source.tests_at || is_test_file(source)) && path.starts_with("rt::clock");
        if target_floor > floor && !for_tests {
            faults.push(source.fault(line, &format!("`{home}` is below `{target}` and must not import it")));
        }
        if floor == 3 && target == "logic" {
            faults.push(source.fault(line, &format!("`{home}` is mechanism and must not know `logic`")));
        }
        let translated = matches!(module.as_slice(), ["logic", "registry" | "select", ..]);
        if translated && target == "proto" {
            faults.push(source.fault(line, "registry and selection must not know the wire"));
        }
    }
    faults
}

/// `tests.rs` and `model.rs` beside a module are its tests.
fn is_test_file(source: &Source) -> bool {
    source.module().iter().any(|name| matches!(*name, "tests" | "model"))
}

fn pure_floors_hold_no_mechanism(source: &Source) -> Vec<String> {
    let pure = source.module().first().and_then(|home| floor_of(home)).is_some_and(|floor| floor <= 2);
    if !pure || is_test_file(source) {
        return Vec::new();
    }
    let why = "floors 0 to 2 hold no socket, file, thread, lock or channel";
    let mut faults = source.forbid(0..source.tests_at, &MECHANISM, why);
    for (line, path) in paths_after(&source.code[..source.tests_at], "std::") {
        let module = path.split("::").next().unwrap_or_default();
        if matches!(module, "fs" | "thread" | "process" | "env") {
            faults.push(source.fault(line, &format!("`std::{module}`: {why}")));
        }
    }
    faults
}

fn clock_is_asked_in_rt(source: &Source) -> Vec<String> {
    if source.is_in("src/rt/") || !source.is_in("src/") {
        return Vec::new();
    }
    source.forbid_everywhere(&["Instant::now", "SystemTime::now", ".elapsed("], "ask `rt::clock`")
}

fn threads_are_started_in_rt(source: &Source) -> Vec<String> {
    if source.is_in("src/rt/") || !source.is_in("src/") || is_test_file(source) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (line, path) in paths_after(&source.code[..source.tests_at], "std::") {
        if path.split("::").next() == Some("thread") {
            faults.push(
                source
                    .fault(line, "a thread that `rt::threads` does not start is one that no stop waits for"),
            );
        }
    }
    faults
}

fn files_are_short(source: &Source) -> Vec<String> {
    let over = source.is_in("src/") && source.tests_at > LINES_MAX;
    let what = format!("{} lines before its tests, at most {LINES_MAX} are allowed", source.tests_at);
    if over { vec![source.fault(LINES_MAX, &what)] } else { Vec::new() }
}

fn lines_are_short(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in source.raw.iter().enumerate() {
        let columns = line.chars().count();
        if source.is_in("src/") && columns > COLUMNS_MAX {
            faults
                .push(source.fault(number, &format!("{columns} columns, at most {COLUMNS_MAX} are allowed")));
        }
    }
    faults
}

fn files_open_with_their_page(source: &Source) -> Vec<String> {
    match source.raw.first() {
        Some(line) if line.starts_with("//! ") => Vec::new(),
        _ => vec![
            source.fault(0, "does not open with `//!`: say its job, what it must never do, its invariant"),
        ],
    }
}

fn unsafe_code_is_in_sys(source: &Source) -> Vec<String> {
    let may = source.is_in("src/sys/") || source.is_in("benches/");
    let explained = |number: usize| {
        source.raw[number.saturating_sub(5)..=number].iter().any(|l| l.contains("// SAFETY:"))
    };
    let mut faults = Vec::new();
    for number in (0..source.code.len()).filter(|number| has_word(&source.code[*number], "unsafe")) {
        if !may {
            faults.push(source.fault(number, "`unsafe`: only `src/sys` may, and a benchmark"));
        } else if !explained(number) {
            faults.push(source.fault(number, "`unsafe`: say in a SAFETY comment above why it is sound"));
        }
    }
    faults
}

fn unsafe_code_is_allowed_once(source: &Source) -> Vec<String> {
    if source.is_in("benches/") {
        return Vec::new();
    }
    let faults =
        source.forbid_everywhere(&["unsafe_code"], "one line of `src/sys/mod.rs` allows it, no other");
    faults.into_iter().skip(usize::from(source.path == "src/sys/mod.rs")).collect()
}

/// Whether the lints of `manifest` deny `unsafe` wherever the sources do not allow it.
fn denies_unsafe_code(manifest: &str) -> bool {
    let lints = manifest.split("[lints.rust]\n").nth(1).and_then(|rest| rest.split("\n[").next());
    lints.is_some_and(|lints| lints.lines().any(|line| line == "unsafe_code = \"deny\""))
}

fn printing_is_in_cli(source: &Source) -> Vec<String> {
    if !source.is_in("src/") || source.is_in("src/cli/") {
        return Vec::new();
    }
    let macros = ["print!", "println!", "eprint!", "eprintln!", "dbg!"];
    source.forbid_everywhere(&macros, "only `src/cli` talks to people")
}

fn signals_are_caught_in_bin(source: &Source) -> Vec<String> {
    if source.is_in("src/bin/") {
        return Vec::new();
    }
    source.forbid_everywhere(&["ctrlc::"], "a process has one handler, set in `src/bin`")
}

fn bytes_are_coded_in_codec(source: &Source) -> Vec<String> {
    if source.path == "src/proto/codec.rs" {
        return Vec::new();
    }
    source.forbid_everywhere(&["bincode::"], "only `src/proto/codec.rs` knows the encoding")
}

fn no_test_is_left_out(source: &Source) -> Vec<String> {
    let mut faults = source.forbid_everywhere(&["#[ignore"], "a test runs or is deleted");
    faults.extend(source.forbid_everywhere(&["cfg_attr(ignore"], "a test runs or is deleted"));
    faults
}

fn nothing_sleeps(source: &Source) -> Vec<String> {
    source.forbid_everywhere(&["thread::sleep", "sleep_until"], "wait for the event, with a deadline")
}

/// The test and benchmark roots of the tree that the manifest does not name: cargo would never run them.
fn unnamed_targets(manifest: &str, paths: &[&str]) -> Vec<String> {
    let stem = |path: &str| {
        path.trim_end_matches("/main.rs").trim_end_matches(".rs").rsplit('/').next().map(str::to_owned)
    };
    let is_named =
        |path: &str| stem(path).is_some_and(|stem| manifest.contains(&format!("name = \"{stem}\"")));
    let unnamed = paths.iter().filter(|path| is_root(path) && !is_named(path));
    unnamed.map(|path| format!("{path}:1: no target of Cargo.toml has its name, so it never runs")).collect()
}

fn is_root(path: &str) -> bool {
    let rest = path.strip_prefix("tests/").or_else(|| path.strip_prefix("benches/"));
    rest.is_some_and(|rest| {
        !rest.contains('/') || (rest.ends_with("/main.rs") && rest.matches('/').count() == 1)
    })
}

/// The criterion benchmarks of `manifest` that would be built with libtest's `main` and so measure nothing.
fn idle_benches(manifest: &str) -> Vec<String> {
    let tables =
        manifest.split("[[bench]]").skip(1).map(|table| table.split("\n[").next().unwrap_or_default());
    let idle = tables.filter(|table| !table.contains("harness = false"));
    idle.map(|table| format!("Cargo.toml: [[bench]] without `harness = false`: {}", table.trim())).collect()
}

/// The paths of the tree that a document names, as (line, path).
fn named_paths(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut paths = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let spans: Vec<&str> = match fenced {
            true => line.split_whitespace().collect(),
            false => line.split('`').skip(1).step_by(2).flat_map(str::split_whitespace).collect(),
        };
        for span in spans {
            let span = span.trim_start_matches("./").trim_end_matches(['.', ',', ';', ':', ')']);
            // `src/a.rs:12` names a line, `src/a.rs::x` an item.
            let path = span.split(':').next().unwrap_or_default();
            if is_tree_path(path) {
                paths.push((number, path.to_owned()));
            }
        }
    }
    paths
}

fn is_tree_path(path: &str) -> bool {
    let folders = ["src/", "tests/", "docs/", "scripts/", "benches/", "nodes/", "fuzz/", ".ci/"];
    let top = !path.contains('/')
        && [".md", ".toml", ".lock"].iter().any(|end| path.len() > end.len() && path.ends_with(end));
    top || folders.iter().any(|folder| path.starts_with(folder))
}

/// Whether `path` is there; of `tests/*.rs` and `src/<floor>/x.rs`, what stands before the open part.
fn is_there(path: &str, exists: impl Fn(&str) -> bool) -> bool {
    let fixed: Vec<&str> =
        path.split('/').take_while(|part| !part.contains(['*', '<', '{', '[', '$'])).collect();
    exists(&fixed.join("/"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` that end in `end`, as paths from the root, sorted.
fn files(folder: &str, end: &str) -> Vec<String> {
    fn visit(dir: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() { visit(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    visit(&root().join(folder), &mut found);
    let relative = |path: PathBuf| path.strip_prefix(root()).expect("below the root").display().to_string();
    let mut paths: Vec<_> = found.into_iter().map(relative).filter(|path| path.ends_with(end)).collect();
    paths.sort();
    paths
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn show(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Applies `rule` to every source of the tree.
fn keep(rule: fn(&Source) -> Vec<String>) {
    let paths: Vec<String> =
        ["src", "tests", "benches"].iter().flat_map(|folder| files(folder, ".rs")).collect();
    assert!(paths.len() > 20, "the sources are not where they were: {paths:?}");
    let faults: Vec<String> = paths.iter().flat_map(|path| rule(&Source::new(path, &read(path)))).collect();
    show(&faults);
}

/// Each rule applied to the tree.
macro_rules! kept {
    ($($test:ident: $rule:ident;)*) => { $(#[test] fn $test() { keep($rule); })* };
}

kept! {
    tree_imports_point_down: imports_point_down;
    tree_has_pure_lower_floors: pure_floors_hold_no_mechanism;
    tree_asks_the_clock_in_rt: clock_is_asked_in_rt;
    tree_starts_threads_in_rt: threads_are_started_in_rt;
    tree_has_short_files: files_are_short;
    tree_has_short_lines: lines_are_short;
    tree_has_a_page_in_every_file: files_open_with_their_page;
    tree_has_unsafe_code_in_sys_alone: unsafe_code_is_in_sys;
    tree_allows_unsafe_code_once: unsafe_code_is_allowed_once;
    tree_prints_in_cli_alone: printing_is_in_cli;
    tree_catches_signals_in_bin_alone: signals_are_caught_in_bin;
    tree_codes_bytes_in_codec_alone: bytes_are_coded_in_codec;
    tree_leaves_no_test_out: no_test_is_left_out;
    tree_never_sleeps: nothing_sleeps;
}

#[test]
fn tree_runs_every_test_and_benchmark() {
    let paths: Vec<String> = ["tests", "benches"].iter().flat_map(|folder| files(folder, ".rs")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let manifest = read("Cargo.toml");
    let mut faults = unnamed_targets(&manifest, &paths);
    faults.extend(idle_benches(&manifest));
    show(&faults);
}

#[test]
fn documents_name_paths_that_are_there() {
    let mut documents = files("docs", ".md");
    documents.extend(["README.md", "ARCHITECTURE.md"].map(str::to_owned));
    let mut faults = Vec::new();
    for document in documents.iter().filter(|document| root().join(document).exists()) {
        for (line, path) in named_paths(&read(document)) {
            let beside = Path::new(document).parent().expect("a file").join(&path);
            if !is_there(&path, |path| root().join(path).exists()) && !root().join(beside).exists() {
                faults.push(format!("{document}:{}: `{path}` is not there", line + 1));
            }
        }
    }
    show(&faults);
}

#[test]
fn unsafe_code_is_denied() {
    assert!(denies_unsafe_code(&read("Cargo.toml")));
    assert!(!denies_unsafe_code("[lints.rust]\nunsafe_code = \"warn\"\n"));
    assert!(!denies_unsafe_code("[lints.rust]\nunused = \"deny\"\n\n[other]\nunsafe_code = \"deny\"\n"));
}

/// Checks at which lines, counted from 1, `rule` finds fault with a file of that path and text.
fn check(rule: fn(&Source) -> Vec<String>, path: &str, text: &str, expected: &[usize]) {
    let faults = rule(&Source::new(path, text));
    let line = |fault: &String| fault.split(':').nth(1).and_then(|number| number.parse().ok());
    let lines: Vec<usize> = faults.iter().filter_map(line).collect();
    assert_eq!(lines, expected, "{path}: {text:?}: {faults:?}");
    assert!(faults.iter().all(|fault| fault.starts_with(&format!("{path}:"))), "{faults:?}");
}

const TESTS: &str = "#[cfg(test)]\nmod tests {\n";

#[test]
fn upward_imports_are_found() {
    let rule = imports_point_down;
    check(rule, "src/types/name.rs", "//! x\nuse crate::proto::frame;\n", &[2]);
    check(rule, "src/proto/mod.rs", "fn f() { crate::logic::select::rank() }", &[1]);
    check(rule, "src/logic/select.rs", "use crate::{\n    types::Millis,\n    net::front,\n};\n", &[3]);
    check(rule, "src/net/front.rs", "use crate::node::Node;", &[1]);
    check(rule, "src/node/core.rs", "pub use crate::cli::output;", &[1]);
    check(rule, "src/proto/frame.rs", "use super::super::net::front;", &[1]);
    check(rule, "src/proto/mod.rs", "use super::net::front;", &[1]);
    check(rule, "src/net/front.rs", "use crate::logic::select;", &[1]);
    check(rule, "src/logic/registry/index.rs", "use crate::proto::frame;", &[1]);
    check(rule, "src/logic/select.rs", "use crate::proto::frame;", &[1]);
    check(rule, "src/strange/mod.rs", "", &[1]);
    check(rule, "src/logic/select.rs", &format!("{TESTS}use crate::rt::Stop;"), &[3]);
    check(rule, "src/logic/select.rs", &format!("use crate::rt::clock;\n{TESTS}"), &[1]);
}

#[test]
fn downward_imports_are_allowed() {
    let rule = imports_point_down;
    check(rule, "src/logic/transfer.rs", "use crate::proto::frame;\nuse crate::logic::select;", &[]);
    check(rule, "src/net/front.rs", "use crate::rt::Stop;\nuse crate::store::Share;\nuse super::conn;", &[]);
    check(rule, "src/cli/node.rs", "use crate::node::Node;\n// crate::cli", &[]);
    check(rule, "src/bin/node.rs", "use nearpeer::cli;", &[]);
    check(
        rule,
        "src/types/name.rs",
        "// use crate::net\n/* crate::net */ const A: &str = \"crate::net\";",
        &[],
    );
    check(rule, "src/logic/select.rs", &format!("{TESTS}use crate::rt::clock;"), &[]);
    check(rule, "src/logic/registry/tests.rs", "use crate::rt::clock;", &[]);
}

#[test]
fn mechanism_on_pure_floors_is_found() {
    let rule = pure_floors_hold_no_mechanism;
    for line in [
        "use std::net::TcpStream;",
        "use std::net::{SocketAddr, TcpListener};",
        "std::net::UdpSocket::bind(a)",
        "use std::fs;",
        "use std::{fmt, fs::File};",
        "std::thread::spawn(f);",
        "use std::sync::Mutex;",
        "use std::sync::mpsc;",
        "use parking_lot::RwLock;",
        "use crossbeam_channel as channel;",
    ] {
        for path in ["src/types/name.rs", "src/proto/mod.rs", "src/logic/registry/index.rs"] {
            assert!(!rule(&Source::new(path, line)).is_empty(), "{line}");
        }
        check(rule, "src/net/front.rs", line, &[]);
        check(rule, "src/logic/select.rs", &format!("{TESTS}{line}"), &[]);
    }
    check(rule, "src/types/name.rs", "use std::net::SocketAddr;\nuse std::sync::Arc;\n// TcpStream", &[]);
}

#[test]
fn clocks_are_found() {
    let rule = clock_is_asked_in_rt;
    check(rule, "src/net/front.rs", "a\nlet t = Instant::now();\nSystemTime::now();", &[2, 3]);
    check(rule, "src/net/front.rs", &format!("{TESTS}std::time::Instant::now()"), &[3]);
    check(rule, "src/net/front.rs", "since.elapsed()", &[1]);
    check(rule, "src/rt/clock.rs", "Instant::now()", &[]);
    check(
        rule,
        "src/net/front.rs",
        "// Instant::now\n\"Instant::now\"; MyInstant::now(); Instant::nowhere()",
        &[],
    );
}

#[test]
fn threads_of_others_are_found() {
    let rule = threads_are_started_in_rt;
    check(rule, "src/net/front.rs", "x\nstd::thread::spawn(f);", &[2]);
    check(rule, "src/node/handle.rs", "use std::thread::Builder;\nuse std::{fmt, thread};", &[1, 2]);
    check(rule, "src/rt/threads.rs", "use std::thread::Builder;", &[]);
    check(rule, "src/net/front.rs", &format!("// std::thread\n{TESTS}std::thread::spawn(f)"), &[]);
}

#[test]
fn long_files_and_lines_are_found() {
    let lines = |count: usize| "x\n".repeat(count);
    check(files_are_short, "src/net/front.rs", &lines(501), &[501]);
    check(files_are_short, "src/net/front.rs", &lines(500), &[]);
    check(files_are_short, "src/net/front.rs", &format!("{}{TESTS}{}", lines(500), lines(900)), &[]);
    check(files_are_short, "src/net/front.rs", &format!("#[cfg(test)]\nmod model;\n{}", lines(499)), &[501]);
    check(lines_are_short, "src/net/front.rs", &format!("a\n{}\n{}", "ü".repeat(140), "ü".repeat(141)), &[3]);
    check(files_are_short, "src/logic/backoff/tests/rounds.rs", &lines(501), &[501]);
    check(lines_are_short, "tests/tidy.rs", &"x".repeat(141), &[]);
}

#[test]
fn missing_pages_are_found() {
    check(files_open_with_their_page, "src/net/front.rs", "//! Fronts.\n", &[]);
    for text in ["", "\n//! Late.\n", "// Not a page.\n", "use std::fmt;\n//! Late.\n", "//!\n"] {
        check(files_open_with_their_page, "src/net/front.rs", text, &[1]);
    }
}

#[test]
fn misplaced_code_is_found() {
    check(unsafe_code_is_in_sys, "src/net/front.rs", "x\nunsafe { f() }", &[2]);
    check(unsafe_code_is_in_sys, "tests/wire.rs", "// SAFETY: no\nunsafe { f() }", &[2]);
    check(unsafe_code_is_in_sys, "benches/codec.rs", "unsafe { f() }", &[1]);
    check(unsafe_code_is_in_sys, "benches/codec.rs", "// SAFETY: f takes anything.\nunsafe { f() }", &[]);
    check(
        unsafe_code_is_in_sys,
        "src/sys/mod.rs",
        "// SAFETY: no\nunsafe { f() }\na\nb\nc\nd\nunsafe { g() }",
        &[7],
    );
    check(unsafe_code_is_in_sys, "src/net/front.rs", "is_unsafe(c); unsafe_code // unsafe", &[]);
    let allow = "#[allow(unsafe_code, reason = \"lanes\")]\nmod a;\n";
    check(unsafe_code_is_allowed_once, "src/sys/mod.rs", allow, &[]);
    check(unsafe_code_is_allowed_once, "src/sys/mod.rs", &allow.repeat(2), &[3]);
    check(unsafe_code_is_allowed_once, "src/sys/md5_lanes.rs", allow, &[1]);
    check(unsafe_code_is_allowed_once, "src/lib.rs", allow, &[1]);
    check(unsafe_code_is_allowed_once, "benches/codec.rs", allow, &[]);
    check(printing_is_in_cli, "src/net/front.rs", "println!(\"a\");\neprint!();\ndbg!(x)", &[1, 2, 3]);
    check(printing_is_in_cli, "src/bin/node.rs", "print!()", &[1]);
    check(printing_is_in_cli, "src/cli/output.rs", "println!()", &[]);
    check(signals_are_caught_in_bin, "src/cli/signals.rs", "ctrlc::set_handler(f)", &[1]);
    check(signals_are_caught_in_bin, "src/bin/node.rs", "ctrlc::set_handler(f)", &[]);
    check(bytes_are_coded_in_codec, "src/proto/frame.rs", "use bincode::config;", &[1]);
    check(bytes_are_coded_in_codec, "tests/wire.rs", "bincode::config", &[1]);
    check(bytes_are_coded_in_codec, "src/proto/codec.rs", "use bincode::config;", &[]);
}

#[test]
fn lazy_tests_are_found() {
    check(no_test_is_left_out, "tests/wire.rs", "#[test]\n#[ignore]\nfn f() {}", &[2]);
    check(no_test_is_left_out, "src/net/front.rs", "#[ignore = \"slow\"]", &[1]);
    check(no_test_is_left_out, "tests/wire.rs", "// #[ignore]\nlet ignored = \"#[ignore]\";", &[]);
    check(
        nothing_sleeps,
        "tests/wire.rs",
        "std::thread::sleep(a);\nuse std::{fs, thread};\nthread::sleep(b)",
        &[1, 3],
    );
    check(nothing_sleeps, "tests/wire.rs", "// thread::sleep", &[]);
}

#[test]
fn forgotten_targets_are_found() {
    let manifest = "[[test]]\nname = \"wire\"\n[[test]]\nname = \"acceptance\"\n[[bench]]\nname = \"codec\"\nharness = false\n";
    let named =
        ["tests/wire.rs", "tests/acceptance/main.rs", "tests/acceptance/x.rs", "tests/support/mod.rs"];
    assert_eq!(unnamed_targets(manifest, &named), [""; 0]);
    assert_eq!(
        unnamed_targets(manifest, &["tests/lost.rs", "tests/lost/main.rs", "benches/lost.rs"]).len(),
        3
    );
    assert_eq!(idle_benches(manifest), [""; 0]);
    assert_eq!(
        idle_benches("[[bench]]\nname = \"a\"\n\n[[bench]]\nname = \"b\"\nharness = false\n").len(),
        1
    );
}

#[test]
fn paths_in_documents_are_found() {
    let text = "See `src/rt/clock.rs`, `docs/a.md:3` and src/not/quoted.\n```\nsrc/types/   names\ncargo test\n```\n`README.md` `x.md/y` `.ci/run`\n";
    let expected =
        [(0, "src/rt/clock.rs"), (0, "docs/a.md"), (2, "src/types/"), (5, "README.md"), (5, ".ci/run")];
    let found = named_paths(text);
    assert_eq!(found.iter().map(|(line, path)| (*line, path.as_str())).collect::<Vec<_>>(), expected);
    let exists = |path: &str| ["src", "src/types", "src/types/name.rs", "src/types/"].contains(&path);
    for (path, expected) in [
        ("src/types/name.rs", true),
        ("src/types/", true),
        ("src/types/*.rs", true),
        ("src/<floor>/x.rs", true),
        ("src/types/gone.rs", false),
        ("src/gone/*.rs", false),
    ] {
        assert_eq!(is_there(path, exists), expected, "{path}");
    }
}

#[test]
fn blanking_keeps_code_and_lines() {
    for (text, expected) in [
        ("a // b\nc", "a  \nc"),
        ("a /* b\n */ c", "a  \n c"),
        (r#"f("a // \" b"); g"#, "f( ); g"),
        ("r#\"a \" b\"# + c", "  + c"),
        ("bar\"x\"", "bar "),
        ("'\"' + '\\'' + f::<'a>(\"x\")", "  +   + f::<'a>( )"),
    ] {
        assert_eq!(blank(text), expected, "{text}");
    }
}
