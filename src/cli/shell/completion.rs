//! Completion at the prompt: candidates for commands, options, values such as `swarm`, and names.

use std::borrow::Cow;

use crate::cli::args::prompt::CommandWords;
use crate::cli::output::render;
use crate::types::FileName;
use crate::types::printable::is_unsafe;

/// Maximum number of names that one Tab shows.
const CANDIDATES_MAX: usize = 200;

/// The offset of the last word of `line`, and its candidates with the quotes that they need.
pub(super) fn candidates(line: &str, commands: &[CommandWords], names: &[FileName]) -> (usize, Vec<String>) {
    let (start, word) = last_word(line);
    let is_literal = line[..start].split_whitespace().any(|word| word == "--");
    let fits = |text: &str| text.starts_with(word.as_ref());
    let fitting = |words: &[String]| words.iter().filter(|text| fits(text)).cloned().collect();
    let Some(verb) = line[..start].split_whitespace().next() else {
        let mut verbs: Vec<String> = commands.iter().flat_map(|command| fitting(&command.names)).collect();
        verbs.sort();
        return (start, verbs);
    };
    let command = commands.iter().find(|command| command.names.iter().any(|name| name == verb));
    let Some(command) = command else { return (start, Vec::new()) };
    let candidates = if word.starts_with('-') && !is_literal && !command.options.is_empty() {
        fitting(&command.options)
    } else if command.takes_name {
        let quote = if is_literal { render::quote_word } else { render::quote };
        // A user cannot type a name with control characters, and it could change the terminal.
        names
            .iter()
            .filter(|name| fits(name.as_str()) && !name.as_str().chars().any(is_unsafe))
            .take(CANDIDATES_MAX)
            .map(quote)
            .collect()
    } else {
        fitting(&command.values)
    };
    (start, candidates)
}

/// The offset of the last word of `line` with its quote, and the text of the word without quotes.
fn last_word(line: &str) -> (usize, Cow<'_, str>) {
    let (mut start, mut quote, mut text) = (0, None, String::new());
    let mut chars = line.char_indices();
    while let Some((index, c)) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => text.extend(chars.next().map(|(_, escaped)| escaped)),
            (None, c) if c.is_whitespace() => {
                start = index + c.len_utf8();
                text.clear();
            }
            _ => text.push(c),
        }
    }
    (start, Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::prompt::{Grammar, Language};

    fn check(line: &str, start: usize, expected: &[&str]) {
        let names: Vec<_> = ["a.bin", "a.txt", "b c.txt", "dir/x", "-rf", "x\u{202e}y"]
            .iter()
            .map(|text| FileName::new(text).expect("a name"))
            .collect();
        let (at, found) = candidates(line, &Grammar::new(Language::Node).words(), &names);
        assert_eq!(
            (at, found.iter().map(String::as_str).collect::<Vec<_>>()),
            (start, expected.to_vec()),
            "{line:?}"
        );
    }

    #[test]
    fn commands_options_and_names_are_completed() {
        check("do", 0, &["download"]);
        check("  fi", 2, &["find"]);
        check("list s", 5, &["swarm"]);
        check("sources a.", 8, &["a.bin", "a.txt"]);
        check("find a", 5, &["a.bin", "a.txt"]);
        check("find a.b", 5, &["a.bin"]);
        check("replicate a.b", 10, &["a.bin"]);
        let tracker = Grammar::new(Language::Tracker).words();
        assert_eq!(candidates("list ", &tracker, &[]), (5, vec!["nodes".into(), "files".into()]));
        assert_eq!(candidates("s", &tracker, &[]), (0, vec!["stats".into(), "stop".into()]));
        check("replicate --c", 10, &["--copies"]);
        check("download b", 9, &["'b c.txt'"]);
        check("download 'b c", 9, &["'b c.txt'"]);
        check("download \"b ", 9, &["'b c.txt'"]);
        check("download b\\ ", 9, &["'b c.txt'"]);
        check("download --f", 9, &["--force"]);
        check("download a.bin --c", 15, &["--checksum"]);
        check("find -", 5, &["-- -rf"]);
        check("find -- -", 8, &["-rf"]);
        check("download -- -", 12, &["-rf"]);
        check("find x", 5, &[]);
        check("getload a", 8, &[]);
        check("zzz", 0, &[]);
    }
}
