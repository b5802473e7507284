//! The rules for how the house is built: short functions, files with one job, the field's words.
//!
//! Each function returns the faults of one file, or of the whole tree where a rule compares files.

use std::collections::BTreeMap;

use crate::rules::{floor_of, is_test_file};
use crate::source::{Source, is_word};

pub(crate) const FUNCTION_LINES_MAX: usize = 80;
pub(crate) const FILE_LINES_MAX: usize = 700;
pub(crate) const COMMENT_COLUMNS_MAX: usize = 110;
pub(crate) const COLUMNS_MAX: usize = 140;
/// Rust files side by side in one folder, `mod.rs` not counted.
pub(crate) const FILES_IN_FOLDER_MAX: usize = 12;
/// Words that are not the field's. No identifier has one of them as a part.
pub(crate) const BANNED: [&str; 9] =
    ["desk", "shelf", "obey", "hands", "meant", "wish", "asked", "told", "whoever"];

/// Functions are at most [`FUNCTION_LINES_MAX`] lines long, tests excepted.
pub(crate) fn functions_are_short(source: &Source) -> Vec<String> {
    if !source.is_in("src/") || is_test_file(source) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for start in (0..source.tests_at).filter(|line| is_function(&source.code[*line])) {
        let mut depth = 0i32;
        let mut is_open = false;
        let mut ends = |line: &&String| {
            for c in line.chars() {
                depth += i32::from(c == '{') - i32::from(c == '}');
                is_open |= c == '{';
            }
            (is_open && depth == 0) || (!is_open && line.trim_end().ends_with(';'))
        };
        let lines = source.code[start..].iter().position(|line| ends(&line)).map_or(0, |last| last + 1);
        if lines > FUNCTION_LINES_MAX {
            let what = format!("a function of {lines} lines, at most {FUNCTION_LINES_MAX} are allowed");
            faults.push(source.fault(start, &what));
        }
    }
    faults
}

fn is_function(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "fn");
    let before = ["pub", "const", "async", "unsafe", "extern"];
    at.is_some_and(|at| words[..at].iter().all(|word| before.contains(word) || word.starts_with("pub(")))
}

/// A file and its tests have at most [`FILE_LINES_MAX`] lines; longer tests stand beside the file.
pub(crate) fn files_with_tests_are_short(source: &Source) -> Vec<String> {
    let lines = source.raw.len();
    let what = format!("{lines} lines with its tests, at most {FILE_LINES_MAX} are allowed");
    if source.is_in("src/") && lines > FILE_LINES_MAX { vec![source.fault(0, &what)] } else { Vec::new() }
}

/// Comments have at most [`COMMENT_COLUMNS_MAX`] columns. The formatter keeps code to that width too, except
/// texts and templates, which have at most [`COLUMNS_MAX`].
pub(crate) fn lines_are_short(source: &Source) -> Vec<String> {
    if !source.is_in("src/") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (number, line) in source.raw.iter().enumerate() {
        let is_comment = line.trim_start().starts_with("//");
        let most = if is_comment { COMMENT_COLUMNS_MAX } else { COLUMNS_MAX };
        let columns = line.chars().count();
        if columns > most {
            faults.push(source.fault(number, &format!("{columns} columns, at most {most} are allowed")));
        }
    }
    faults
}

/// A `mod.rs` declares, re-exports and documents.
pub(crate) fn mod_files_declare(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") || !source.path.ends_with("/mod.rs") || is_test_file(source) {
        return Vec::new();
    }
    let defines =
        ["fn ", "struct ", "enum ", "trait ", "impl ", "impl<", "const ", "static ", "macro_rules!"];
    let is_definition = |line: &str| {
        let line = line.trim_start_matches("pub ").trim_start_matches("pub(super) ");
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("unsafe ");
        defines.iter().any(|word| line.starts_with(word))
    };
    let lines = (0..source.tests_at).filter(|line| is_definition(&source.code[*line]));
    lines
        .map(|line| source.fault(line, "a `mod.rs` declares and re-exports; code stands in a child"))
        .collect()
}

/// No identifier has a word of [`BANNED`] as a part.
pub(crate) fn identifiers_are_the_fields_words(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in source.code.iter().enumerate() {
        for identifier in line.split(|c| !is_word(c)).filter(|word| !word.is_empty()) {
            if let Some(word) = parts(identifier).iter().find(|part| is_banned(part)) {
                faults
                    .push(source.fault(number, &format!("`{identifier}`: `{word}` is no word of the field")));
            }
        }
    }
    faults
}

fn is_banned(part: &str) -> bool {
    BANNED.iter().any(|word| {
        part == *word || part.strip_suffix(['s', 'd']) == Some(word) || part == format!("{word}es")
    }) || part == "unasked"
        || part == "wished"
}

/// `told_at` and `ToldAt` alike are `told` and `at`.
fn parts(identifier: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_small = false;
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && was_small) {
            parts.push(String::new());
        }
        if c != '_' {
            parts.last_mut().expect("never empty").extend(c.to_lowercase());
        }
        was_small = c.is_lowercase() || c.is_ascii_digit();
    }
    parts
}

/// Two public types of one name on one floor, as `name: first file, second file`.
pub(crate) fn doubled_types(sources: &[Source]) -> Vec<String> {
    let mut seen: BTreeMap<(u8, String), Vec<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !is_test_file(source)) {
        let Some(floor) = source.module().first().and_then(|home| floor_of(home)) else { continue };
        for line in &source.code[..source.tests_at] {
            let Some(rest) = line.strip_prefix("pub ") else { continue };
            let name = ["struct ", "enum ", "trait "].iter().find_map(|kind| rest.strip_prefix(kind));
            let name: String = name.unwrap_or_default().chars().take_while(|c| is_word(*c)).collect();
            if !name.is_empty() {
                seen.entry((floor, name)).or_default().push(source.path.clone());
            }
        }
    }
    let doubled = seen.iter().filter(|(_, paths)| paths.len() > 1);
    doubled.map(|((_, name), paths)| format!("`{name}` is public in {}", paths.join(" and "))).collect()
}

/// Folders with more than [`FILES_IN_FOLDER_MAX`] files.
pub(crate) fn full_folders(paths: &[String]) -> Vec<String> {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for path in paths.iter().filter(|path| !path.ends_with("/mod.rs") && !path.ends_with("/lib.rs")) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            *folders.entry(folder).or_default() += 1;
        }
    }
    let full = folders.iter().filter(|(_, files)| **files > FILES_IN_FOLDER_MAX);
    full.map(|(folder, files)| format!("{folder}: {files} files, at most {FILES_IN_FOLDER_MAX} are allowed"))
        .collect()
}

/// Folders of `src` that the table of `architecture` does not name.
pub(crate) fn unnamed_folders(architecture: &str, paths: &[String]) -> Vec<String> {
    let folders: std::collections::BTreeSet<&str> = paths
        .iter()
        .filter(|path| !path.ends_with("/tests.rs") && !path.contains("/tests/"))
        .filter_map(|path| path.rsplit_once('/').map(|(folder, _)| folder))
        .filter(|folder| *folder != "src")
        .collect();
    let unnamed = folders.iter().filter(|folder| !architecture.contains(&format!("`{folder}/`")));
    unnamed.map(|folder| format!("ARCHITECTURE.md does not name `{folder}/`")).collect()
}
