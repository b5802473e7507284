//! Keeps the house in order: floors, clocks, printing, pages, lengths, paths in documents.
//!
//! Reads the sources as text, with comments and the insides of strings blanked out, so that no rule fires on
//! words. Every rule is a function from one file to its faults, one test that applies it to the tree, and a
//! test that it can fail.

mod circles;
mod documents;
mod house;
mod rules;
mod source;
mod supply_chain;
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use circles::Imports;
use documents::*;
use rules::*;
use source::Source;

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
    tree_reads_the_clock_in_rt: clock_is_read_in_rt;
    tree_starts_threads_in_rt: threads_are_started_in_rt;
    tree_has_short_files: files_are_short;
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
fn tree_has_no_import_circle() {
    let sources: Vec<Source> =
        files("src", ".rs").iter().map(|path| Source::new(path, &read(path))).collect();
    let circles = Imports::of(&sources).circles();
    assert!(circles.is_empty(), "these files import each other: {circles:#?}");
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
    let others = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "findings/README.md"];
    documents.extend(others.map(str::to_owned));
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

#[test]
fn tree_is_built_as_a_house() {
    let sources = |folders: &[&str]| -> Vec<Source> {
        let paths = folders.iter().flat_map(|folder| files(folder, ".rs"));
        paths.map(|path| Source::new(&path, &read(&path))).collect()
    };
    let (library, all) = (sources(&["src"]), sources(&["src", "tests", "benches", "examples"]));
    let each = |sources: &[Source], rule: fn(&Source) -> Vec<String>| sources.iter().flat_map(rule).collect();
    let found: [(&str, Vec<String>); 8] = [
        ("functions", each(&library, house::functions_are_short)),
        ("files", each(&library, house::files_with_tests_are_short)),
        ("columns", each(&library, house::lines_are_short)),
        ("mod.rs", each(&library, house::mod_files_declare)),
        ("identifiers", each(&all, house::identifiers_are_the_fields_words)),
        ("types", house::doubled_types(&library)),
        ("folders", house::full_folders(&files("src", ".rs"))),
        ("ARCHITECTURE.md", house::unnamed_folders(&read("ARCHITECTURE.md"), &files("src", ".rs"))),
    ];
    for (rule, faults) in found {
        assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
    }
}

#[test]
fn dependencies_keep_to_the_bans_and_licences() {
    let (rules, lock) = (read("deny.toml"), read("Cargo.lock"));
    show(&supply_chain::banned(&rules, &supply_chain::packages(&lock)));
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["metadata", "--locked", "--format-version=1", "--filter-platform"]);
    let output = cargo.arg("x86_64-unknown-linux-gnu").output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata = serde_json::from_slice(&output.stdout).expect("JSON");
    show(&supply_chain::unlicensed(&rules, &metadata));
}
