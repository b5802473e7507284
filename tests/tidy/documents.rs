//! The rules for manifests and documents: what they name is there, and what is there is named.

/// The test and benchmark roots of the tree that the manifest does not name: cargo would never run them.
pub(crate) fn unnamed_targets(manifest: &str, paths: &[&str]) -> Vec<String> {
    let stem = |path: &str| {
        path.trim_end_matches("/main.rs").trim_end_matches(".rs").rsplit('/').next().map(str::to_owned)
    };
    let is_named =
        |path: &str| stem(path).is_some_and(|stem| manifest.contains(&format!("name = \"{stem}\"")));
    let unnamed = paths.iter().filter(|path| is_root(path) && !is_named(path));
    unnamed.map(|path| format!("{path}:1: no target of Cargo.toml has its name, so it never runs")).collect()
}

pub(crate) fn is_root(path: &str) -> bool {
    let rest = path.strip_prefix("tests/").or_else(|| path.strip_prefix("benches/"));
    rest.is_some_and(|rest| {
        !rest.contains('/') || (rest.ends_with("/main.rs") && rest.matches('/').count() == 1)
    })
}

/// The criterion benchmarks of `manifest` that would be built with libtest's `main` and so measure nothing.
pub(crate) fn idle_benches(manifest: &str) -> Vec<String> {
    let tables =
        manifest.split("[[bench]]").skip(1).map(|table| table.split("\n[").next().unwrap_or_default());
    let idle = tables.filter(|table| !table.contains("harness = false"));
    idle.map(|table| format!("Cargo.toml: [[bench]] without `harness = false`: {}", table.trim())).collect()
}

/// The paths of the tree that a document names, as (line, path).
pub(crate) fn named_paths(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut paths = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let spans: Vec<&str> = if fenced {
            line.split_whitespace().collect()
        } else {
            line.split('`').skip(1).step_by(2).flat_map(str::split_whitespace).collect()
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

pub(crate) fn is_tree_path(path: &str) -> bool {
    let folders = [
        "src/",
        "tests/",
        "docs/",
        "scripts/",
        "benches/",
        "nodes/",
        "fuzz/",
        ".ci/",
        "packaging/",
        "examples/",
        "findings/",
    ];
    let top = !path.contains('/')
        && [".md", ".toml", ".lock"].iter().any(|end| path.len() > end.len() && path.ends_with(end));
    top || folders.iter().any(|folder| path.starts_with(folder))
}

/// Whether `path` is there; of `tests/*.rs` and `src/<floor>/x.rs`, what stands before the open part.
pub(crate) fn is_there(path: &str, exists: impl Fn(&str) -> bool) -> bool {
    let fixed: Vec<&str> =
        path.split('/').take_while(|part| !part.contains(['*', '<', '{', '[', '$'])).collect();
    exists(&fixed.join("/"))
}
