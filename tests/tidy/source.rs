//! A source file as the rules see it: its lines, and the same lines without comments and without what stands
//! inside strings.

/// One source file.
pub(crate) struct Source {
    /// From the root of the repository, as in `src/rt/clock.rs`.
    pub(crate) path: String,
    pub(crate) raw: Vec<String>,
    /// The same lines without comments and without what stands inside strings.
    pub(crate) code: Vec<String>,
    /// The line at which its tests begin, counted from 0; its length if it has none.
    pub(crate) tests_at: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let raw: Vec<String> = text.lines().map(str::to_owned).collect();
        let code: Vec<String> = blank(text).lines().map(str::to_owned).collect();
        let opens_tests =
            |pair: &[String]| pair[0].trim() == "#[cfg(test)]" && pair[1].trim_end().ends_with('{');
        let tests_at = code.windows(2).position(opens_tests).unwrap_or(raw.len());
        Source { path: path.to_owned(), raw, code, tests_at }
    }

    pub(crate) fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// The modules from the crate's root to this file of `src/`, as in `["logic", "registry", "index"]`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        if path == "lib" { Vec::new() } else { path.split('/').collect() }
    }

    pub(crate) fn fault(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }

    /// A fault for each of `lines` whose code has one of `words`.
    pub(crate) fn forbid(&self, lines: std::ops::Range<usize>, words: &[&str], why: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for number in lines {
            for word in words.iter().filter(|word| has_word(&self.code[number], word)) {
                faults.push(self.fault(number, &format!("`{word}`: {why}")));
            }
        }
        faults
    }

    pub(crate) fn forbid_everywhere(&self, words: &[&str], why: &str) -> Vec<String> {
        self.forbid(0..self.code.len(), words, why)
    }
}

/// `text` with comments, strings and characters replaced by blanks, line by line as it was.
pub(crate) fn blank(text: &str) -> String {
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

pub(crate) fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    chars.len().min(at + 1)
}

/// The end of `r"..."` or `r#"..."#`; `None` if no raw string begins at `start`.
pub(crate) fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(start + 1 + hashes) == Some(&'"')).then(|| {
        let closes = |i: &usize| {
            chars[*i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        };
        (start + 2 + hashes..chars.len()).find(closes).map_or(chars.len(), |i| i + 1 + hashes)
    })
}

/// The end of `'x'` or `'\n'`; `None` if it is a lifetime.
pub(crate) fn char_end(chars: &[char], start: usize) -> Option<usize> {
    match chars.get(start + 1)? {
        '\\' => (start + 3..chars.len()).find(|&i| chars[i] == '\'').map(|i| i + 1),
        _ => (chars.get(start + 2) == Some(&'\'')).then_some(start + 3),
    }
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `word` stands in `code` and is no part of a longer word.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    let (first, last) = (word.starts_with(is_word), word.ends_with(is_word));
    code.match_indices(word).any(|(at, _)| {
        let before = first && code[..at].ends_with(is_word);
        let after = last && code[at + word.len()..].starts_with(is_word);
        !before && !after
    })
}

/// Every path that follows `root` in `code` (several lines), as (line, path): `crate::a::b` and
/// `crate::{a::b, c}` alike.
pub(crate) fn paths_after(code: &[String], root: &str) -> Vec<(usize, String)> {
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
