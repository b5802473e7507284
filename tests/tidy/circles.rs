//! No two files of `src` import each other, directly or through others.
//!
//! The rule follows every path that begins with `crate`, `super`, `self` or a child module, through
//! re-exports, to the file that defines the item. Tests are left out: they may use what they test.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::is_test_file;
use crate::source::{Source, is_word};

type Module = Vec<String>;

/// The modules of the crate, and what each of them imports under which name.
pub(crate) struct Imports {
    files: BTreeMap<Module, String>,
    /// In `[module][name]`: the absolute path that the name stands for there.
    names: BTreeMap<Module, BTreeMap<String, Module>>,
    /// Absolute paths that a module mentions.
    paths: BTreeMap<Module, Vec<Module>>,
}

impl Imports {
    pub(crate) fn of(sources: &[Source]) -> Imports {
        let in_library = |source: &&Source| !source.is_in("src/bin/") && !is_test_file(source);
        let module = |source: &Source| source.module().iter().map(|part| (*part).to_owned()).collect();
        let files: BTreeMap<Module, String> =
            sources.iter().filter(in_library).map(|source| (module(source), source.path.clone())).collect();
        let (mut names, mut paths) = (BTreeMap::new(), BTreeMap::new());
        for source in sources.iter().filter(in_library) {
            let here: Module = module(source);
            let code = source.code[..source.tests_at].join("\n");
            let mentioned = mentions(&code, &here, &files);
            let named = mentioned.iter().filter_map(|path| Some((path.last()?.clone(), path.clone())));
            names.insert(here.clone(), named.collect());
            paths.insert(here, mentioned);
        }
        Imports { files, names, paths }
    }

    /// The module that defines what `path` leads to, re-exports followed.
    fn home(&self, path: &[String], depth: usize) -> Option<Module> {
        let len = (0..=path.len()).rev().find(|len| self.files.contains_key(&path[..*len]))?;
        let module = path[..len].to_vec();
        let through = path.get(len).and_then(|item| self.names.get(&module)?.get(item));
        match through {
            // An item cannot be re-exported in a ring; an import of the same name elsewhere can look like
            // one.
            Some(target) if *target != path[..=len] && depth < 8 => {
                let whole: Module = target.iter().chain(&path[len + 1..]).cloned().collect();
                self.home(&whole, depth + 1)
            }
            _ => Some(module),
        }
    }

    /// The sets of files that import each other in a circle, largest first.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<String>> {
        let edges: BTreeMap<&Module, BTreeSet<Module>> = self
            .paths
            .iter()
            .map(|(module, paths)| {
                let homes = paths.iter().filter_map(|path| self.home(path, 0)).filter(|home| home != module);
                (module, homes.collect())
            })
            .collect();
        let reached = |from: &Module| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(module) = open.pop() {
                open.extend(edges[&module].iter().filter(|next| seen.insert((*next).clone())).cloned());
            }
            seen
        };
        let reach: BTreeMap<&Module, BTreeSet<Module>> =
            edges.keys().map(|module| (*module, reached(module))).collect();
        let circle = |from: &Module| -> BTreeSet<String> {
            let both = reach[from].iter().filter(|to| reach[*to].contains(from));
            both.map(|module| self.files[module].clone()).collect()
        };
        let circles: BTreeSet<_> = edges.keys().map(|module| circle(module)).collect();
        let mut circles: Vec<_> = circles.into_iter().filter(|circle| circle.len() > 1).collect();
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }
}

/// The absolute paths in `code`, the code of module `here`.
fn mentions(code: &str, here: &[String], files: &BTreeMap<Module, String>) -> Vec<Module> {
    let inline = inline_modules(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while let Some(found) = code[at..].find(is_word) {
        let start = at + found;
        let word: String = code[start..].chars().take_while(|c| is_word(*c)).collect();
        at = start + word.len();
        // Inside a module in braces `super` is this file.
        let is_inline = word == "super" && inline.iter().any(|lines| lines.contains(&start));
        // `pub(in crate::a)` says who may see an item, and imports nothing.
        let is_reach = code[..start].ends_with("pub(in ");
        let begins =
            !is_inline && !is_reach && !code[..start].ends_with("::") && code[at..].starts_with("::");
        let child: Module = here.iter().cloned().chain([word.clone()]).collect();
        let base = match word.as_str() {
            "crate" => Vec::new(),
            "self" => here.to_vec(),
            "super" => here[..here.len().saturating_sub(1)].to_vec(),
            _ if files.contains_key(&child) => child,
            _ => continue,
        };
        if begins {
            at += tree(&code[at + 2..], base, &mut paths) + 2;
        }
    }
    paths
}

/// Where the modules in braces of `code` stand.
fn inline_modules(code: &str) -> Vec<std::ops::Range<usize>> {
    let opens = |(at, _): (usize, &str)| {
        let line = code[at..].lines().next().unwrap_or_default();
        (line.ends_with('{') && !code[..at].ends_with(is_word)).then_some(at + line.len() - 1)
    };
    let closes = |open: usize| {
        let mut depth = 0;
        let end = code[open..].char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        });
        open..open + end.map_or(code.len() - open, |(len, _)| len)
    };
    code.match_indices("mod ").filter_map(opens).map(closes).collect()
}

/// Reads `a::b`, `a::{b, c::d}` or `super::a` behind `base`; returns the length.
fn tree(text: &str, mut base: Module, paths: &mut Vec<Module>) -> usize {
    let mut at = 0;
    loop {
        if text[at..].starts_with('{') {
            at += 1;
            loop {
                at += text[at..].find(|c: char| !c.is_whitespace() && c != ',').unwrap_or(text.len() - at);
                if at >= text.len() || text[at..].starts_with('}') {
                    return (at + 1).min(text.len());
                }
                at += tree(&text[at..], base.clone(), paths).max(1);
            }
        }
        let word: String = text[at..].chars().take_while(|c| is_word(*c)).collect();
        at += word.len();
        match word.as_str() {
            "super" => drop(base.pop()),
            "self" | "" => {}
            _ => base.push(word),
        }
        if !text[at..].starts_with("::") {
            break;
        }
        at += 2;
    }
    paths.push(base);
    at
}
