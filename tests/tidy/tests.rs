//! Each rule can fail: small texts, and the lines at which it must find fault.

use crate::circles::Imports;
use crate::documents::*;
use crate::house::*;
use crate::rules::*;
use crate::source::*;
use crate::supply_chain;

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
    for (path, text) in [
        ("src/transfer/driver.rs", "use crate::node::Node;"),
        ("src/transfer/driver.rs", "use crate::bt::Swarm;"),
        ("src/discovery/mod.rs", "use crate::transfer::Driver;"),
        ("src/transfer/driver.rs", "use crate::discovery::Finder;"),
        ("src/bt/swarm.rs", "use crate::node::Node;"),
        ("src/node/node.rs", "use crate::tracker::Tracker;"),
        ("src/tracker/mod.rs", "use crate::node::Node;"),
        ("src/node/node.rs", "use crate::web::Server;"),
        ("src/web/server.rs", "use crate::eval::Stage;"),
        ("src/sim/swarm.rs", "use crate::eval::Stage;"),
        ("src/eval/stage.rs", "use crate::cli::exit;"),
    ] {
        check(rule, path, text, &[1]);
    }
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
    check(rule, "src/node/node.rs", &format!("{TESTS}use crate::tracker::Tracker;"), &[]);
    check(rule, "src/node/download/tests.rs", "use crate::tracker::Tracker;", &[]);
    for (path, text) in [
        ("src/bt/swarm.rs", "use crate::transfer::Driver;\nuse crate::discovery::Finder;"),
        ("src/node/node.rs", "use crate::bt::Swarm;\nuse crate::transfer::Driver;\nuse crate::node::start;"),
        ("src/web/server.rs", "use crate::node::Node;\nuse crate::tracker::Tracker;"),
        ("src/cli/demo.rs", "use crate::eval::Stage;\nuse crate::sim::Swarm;\nuse crate::web::Server;"),
    ] {
        check(rule, path, text, &[]);
    }
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
    let rule = clock_is_read_in_rt;
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
    let comments = format!("a\n//{}\n    //{}", "ü".repeat(108), "ü".repeat(105));
    check(lines_are_short, "src/net/front.rs", &comments, &[3]);
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
    for path in ["packaging/nearpeer.service", "examples/dataset.rs", "findings/README.md"] {
        assert!(is_tree_path(path), "{path}");
    }
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

#[test]
fn import_circles_are_found() {
    let circles = |files: &[(&str, &str)]| -> Vec<Vec<String>> {
        let sources: Vec<Source> =
            files.iter().map(|(name, text)| Source::new(&format!("src/{name}.rs"), text)).collect();
        Imports::of(&sources).circles().into_iter().map(|circle| circle.into_iter().collect()).collect()
    };
    let expected =
        |names: &[&str]| vec![names.iter().map(|name| format!("src/{name}.rs")).collect::<Vec<_>>()];
    let none: Vec<Vec<String>> = Vec::new();
    assert_eq!(
        circles(&[("a/x", "use super::y::Y;"), ("a/y", "use crate::a::x::X;")]),
        expected(&["a/x", "a/y"])
    );
    assert_eq!(
        circles(&[("a/x", "fn f() { super::y::g() }"), ("a/y", "use super::{x::{X, Z}};")]),
        expected(&["a/x", "a/y"])
    );
    // Through a re-export: the module that re-exports defines nothing that its child uses.
    let parent = ("a/mod", "mod x;\nmod y;\npub use x::X;\npub use y::Y;");
    assert_eq!(circles(&[parent, ("a/x", "use super::Y;"), ("a/y", "")]), none);
    assert_eq!(
        circles(&[parent, ("a/x", "use super::Y;"), ("a/y", "use crate::a::X;")]),
        expected(&["a/x", "a/y"])
    );
    assert_eq!(
        circles(&[("a/mod", "use x::X;\nstruct S;"), ("a/x", "use super::S;")]),
        expected(&["a/mod", "a/x"])
    );
    assert_eq!(
        circles(&[("a/x", "use super::y::Y;"), ("a/y", &format!("{TESTS}use crate::a::x::X;"))]),
        none
    );
}

#[test]
fn long_functions_are_found() {
    let function = |lines: usize| {
        format!(
            "impl X {{\n    pub(crate) fn f()\n    {{\n{}    }}\n}}\n",
            "        g();\n".repeat(lines - 3)
        )
    };
    check(functions_are_short, "src/a/x.rs", &function(FUNCTION_LINES_MAX), &[]);
    check(functions_are_short, "src/a/x.rs", &function(FUNCTION_LINES_MAX + 1), &[2]);
    check(functions_are_short, "src/a/x.rs", &format!("{TESTS}{}", function(200)), &[]);
    check(functions_are_short, "src/a/x.rs", "trait X {\n    fn f(&self);\n    fn g(&self);\n}\n", &[]);
}

#[test]
fn files_with_long_tests_are_found() {
    let lines = |count: usize| "// x\n".repeat(count);
    check(files_with_tests_are_short, "src/a/x.rs", &lines(FILE_LINES_MAX), &[]);
    check(files_with_tests_are_short, "src/a/x.rs", &lines(FILE_LINES_MAX + 1), &[1]);
}

#[test]
fn code_in_a_mod_file_is_found() {
    let declares = "//! x\nmod x;\npub use x::X;\npub type Y = X;\n";
    check(mod_files_declare, "src/a/mod.rs", declares, &[]);
    check(
        mod_files_declare,
        "src/a/mod.rs",
        "mod x;\npub(super) fn f() {}\nimpl X {}\nconst A: u8 = 1;\n",
        &[2, 3, 4],
    );
    check(mod_files_declare, "src/a/x.rs", "fn f() {}\n", &[]);
    check(mod_files_declare, "src/a/mod.rs", &format!("{TESTS}    fn f() {{}}\n"), &[]);
}

#[test]
fn words_that_are_not_the_fields_are_found() {
    let rule = identifiers_are_the_fields_words;
    for name in ["desk", "told_at", "is_asked", "TrackerDesk", "wishes", "unasked", "Wished", "shelf_of"] {
        check(rule, "src/a/x.rs", &format!("fn f() {{ let {name} = 1; }}\n"), &[1]);
    }
    check(rule, "src/a/x.rs", "// a desk\nlet tasked = \"told\"; let handset = desktop;\n", &[]);
}

#[test]
fn doubled_types_and_full_folders_are_found() {
    let sources = |files: &[(&str, &str)]| -> Vec<Source> {
        files.iter().map(|(path, text)| Source::new(path, text)).collect()
    };
    let twice = sources(&[("src/net/x.rs", "pub struct X;\n"), ("src/rt/y.rs", "pub enum X {}\n")]);
    assert_eq!(doubled_types(&twice).len(), 1);
    let floors = sources(&[
        ("src/net/x.rs", "pub struct X;\n"),
        ("src/node/y.rs", "pub struct X;\npub(super) struct Y;\n"),
    ]);
    assert_eq!(doubled_types(&floors), [""; 0]);
    let paths =
        |count: usize| -> Vec<String> { (0..count).map(|number| format!("src/a/{number}.rs")).collect() };
    assert_eq!(full_folders(&paths(FILES_IN_FOLDER_MAX)), [""; 0]);
    assert_eq!(full_folders(&paths(FILES_IN_FOLDER_MAX + 1)).len(), 1);
    let names = unnamed_folders("| `src/a/` |", &["src/a/x.rs".to_owned(), "src/b/x.rs".to_owned()]);
    assert_eq!(names, ["ARCHITECTURE.md does not name `src/b/`"]);
}

#[test]
fn dependencies_that_are_banned_or_have_no_allowed_licence_are_found() {
    let rules = r#"
        [advisories]
        ignore = ["RUSTSEC-1", { id = "RUSTSEC-2", reason = "unused" }]
        [licenses]
        allow = ["MIT", "Zlib"]
        [bans]
        deny = [{ crate = "tokio", reason = "threads" }, { crate = "bincode:>=3", reason = "no code" }, { crate = "x" }]
    "#;
    let lock = r#"
        [[package]]
        name = "tokio"
        version = "1.2.3"
        [[package]]
        name = "bincode"
        version = "2.0.1"
        [[package]]
        name = "bincode"
        version = "3.0.0"
        [[package]]
        name = "own"
        version = "0.1.0"
        source = "git+https://example.org/own"
    "#;
    let faults = supply_chain::banned(rules, &supply_chain::packages(lock));
    let expected = [
        "tokio 1.2.3: threads",
        "bincode 3.0.0: no code",
        "deny.toml: the ban of x has no reason",
        "deny.toml: the ignored advisory RUSTSEC-1 has no reason",
        "own: not from crates.io",
    ];
    assert_eq!(faults, expected);
    let metadata = serde_json::json!({ "packages": [
        { "name": "a", "license": "GPL-3.0 OR MIT" },
        { "name": "b", "license": "Zlib/GPL-3.0" },
        { "name": "c", "license": "(MIT OR GPL-3.0) AND Zlib" },
        { "name": "d", "license": "MIT AND GPL-3.0" },
        { "name": "e", "license": null },
    ]});
    assert_eq!(supply_chain::unlicensed(rules, &metadata), ["d: licence `MIT AND GPL-3.0`", "e: licence ``"]);
}
