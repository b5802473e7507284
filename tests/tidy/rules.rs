//! The rules for one source file. Each returns its faults, with the place; none looks at any other file.

use crate::source::{Source, has_word, paths_after};

/// The rows of the house from the ground up: floor, row of that floor, modules. Modules of one row do not know
/// each other, except on floor 3.
pub(crate) const FLOORS: [(u8, char, &[&str]); 10] = [
    (0, 'a', &["types"]),
    (1, 'a', &["proto"]),
    (2, 'a', &["logic"]),
    (3, 'a', &["rt", "net", "store", "sys"]),
    (4, 'a', &["discovery", "transfer"]),
    (4, 'b', &["bt"]),
    (4, 'c', &["tracker", "node"]),
    (4, 'd', &["web"]),
    (5, 'a', &["sim", "eval"]),
    (5, 'b', &["cli"]),
];
pub(crate) const LINES_MAX: usize = 500;
/// Words of mechanism, which the pure floors must not use.
pub(crate) const MECHANISM: [&str; 14] = [
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

pub(crate) fn floor_of(module: &str) -> Option<u8> {
    row_of(module).map(|(floor, _)| floor)
}

/// The floor of a module and its row there.
fn row_of(module: &str) -> Option<(u8, char)> {
    FLOORS.iter().find(|(.., modules)| modules.contains(&module)).map(|(floor, row, _)| (*floor, *row))
}

/// Imports point down. Tests may use the clock wherever they are, and the modules of their floor.
pub(crate) fn imports_point_down(source: &Source) -> Vec<String> {
    let module = source.module();
    let Some(home) = module.first().filter(|home| **home != "bin" && source.is_in("src/")) else {
        return Vec::new();
    };
    let Some(row) = row_of(home) else { return vec![source.fault(0, &format!("`{home}` has no floor"))] };
    let floor = row.0;
    let mut paths = paths_after(&source.code, "crate::");
    // Up to the crate's root by `super`: the other way to write `crate::`.
    paths.extend(paths_after(&source.code[..source.tests_at], &"super::".repeat(module.len())));
    let mut faults = Vec::new();
    for (line, path) in paths {
        let target = path.split("::").next().unwrap_or_default();
        let Some(target_row) = row_of(target) else {
            // A macro or a function of the crate's root.
            continue;
        };
        let is_test = line >= source.tests_at || is_test_file(source);
        let for_tests = is_test && (path.starts_with("rt::clock") || target_row.0 == floor);
        if target_row > row && !for_tests {
            faults.push(source.fault(line, &format!("`{home}` is below `{target}` and must not import it")));
        }
        if target_row == row && target != *home && floor != 3 && !for_tests {
            faults.push(source.fault(line, &format!("`{home}` is beside `{target}` and must not import it")));
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
pub(crate) fn is_test_file(source: &Source) -> bool {
    source.module().iter().any(|name| matches!(*name, "tests" | "model"))
}

pub(crate) fn pure_floors_hold_no_mechanism(source: &Source) -> Vec<String> {
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

pub(crate) fn clock_is_read_in_rt(source: &Source) -> Vec<String> {
    if source.is_in("src/rt/") || !source.is_in("src/") {
        return Vec::new();
    }
    source.forbid_everywhere(&["Instant::now", "SystemTime::now", ".elapsed("], "ask `rt::clock`")
}

pub(crate) fn threads_are_started_in_rt(source: &Source) -> Vec<String> {
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

pub(crate) fn files_are_short(source: &Source) -> Vec<String> {
    let over = source.is_in("src/") && source.tests_at > LINES_MAX;
    let what = format!("{} lines before its tests, at most {LINES_MAX} are allowed", source.tests_at);
    if over { vec![source.fault(LINES_MAX, &what)] } else { Vec::new() }
}

pub(crate) fn files_open_with_their_page(source: &Source) -> Vec<String> {
    match source.raw.first() {
        Some(line) if line.starts_with("//! ") => Vec::new(),
        _ => vec![
            source.fault(0, "does not open with `//!`: say its job, what it must never do, its invariant"),
        ],
    }
}

pub(crate) fn unsafe_code_is_in_sys(source: &Source) -> Vec<String> {
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

pub(crate) fn unsafe_code_is_allowed_once(source: &Source) -> Vec<String> {
    if source.is_in("benches/") {
        return Vec::new();
    }
    let faults =
        source.forbid_everywhere(&["unsafe_code"], "one line of `src/sys/mod.rs` allows it, no other");
    faults.into_iter().skip(usize::from(source.path == "src/sys/mod.rs")).collect()
}

/// Whether the lints of `manifest` deny `unsafe` wherever the sources do not allow it.
pub(crate) fn denies_unsafe_code(manifest: &str) -> bool {
    let lints = manifest.split("[lints.rust]\n").nth(1).and_then(|rest| rest.split("\n[").next());
    lints.is_some_and(|lints| lints.lines().any(|line| line == "unsafe_code = \"deny\""))
}

pub(crate) fn printing_is_in_cli(source: &Source) -> Vec<String> {
    if !source.is_in("src/") || source.is_in("src/cli/") {
        return Vec::new();
    }
    let macros = ["print!", "println!", "eprint!", "eprintln!", "dbg!"];
    source.forbid_everywhere(&macros, "only `src/cli` talks to people")
}

pub(crate) fn signals_are_caught_in_bin(source: &Source) -> Vec<String> {
    if source.is_in("src/bin/") {
        return Vec::new();
    }
    source.forbid_everywhere(&["ctrlc::"], "a process has one handler, set in `src/bin`")
}

pub(crate) fn bytes_are_coded_in_codec(source: &Source) -> Vec<String> {
    if source.path == "src/proto/codec.rs" {
        return Vec::new();
    }
    source.forbid_everywhere(&["bincode::"], "only `src/proto/codec.rs` knows the encoding")
}

pub(crate) fn no_test_is_left_out(source: &Source) -> Vec<String> {
    let mut faults = source.forbid_everywhere(&["#[ignore"], "a test runs or is deleted");
    faults.extend(source.forbid_everywhere(&["cfg_attr(ignore"], "a test runs or is deleted"));
    faults
}

pub(crate) fn nothing_sleeps(source: &Source) -> Vec<String> {
    source.forbid_everywhere(&["thread::sleep", "sleep_until"], "wait for the event, with a deadline")
}
