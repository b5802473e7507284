//! Makes the errors of clap inert: they have no characters that control a terminal.
//!
//! clap quotes typed words unchanged, and such words can come from file names of other users. This module
//! escapes and cuts the words, and changes nothing else.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::types::Printable;
use crate::types::printable::is_unsafe;

/// Maximum number of bytes of a word in an error.
const SHOWN_MAX_BYTES: usize = 120;

/// Returns `error` with its typed words escaped. `typed` is the whole command line with the program's name:
/// the error for a word that is not UTF-8 quotes the word, which the error of clap does not.
pub(crate) fn make_inert(mut error: clap::Error, typed: &[OsString]) -> clap::Error {
    if error.kind() == ErrorKind::InvalidUtf8
        && let Some(word) = typed.iter().skip(1).find(|word| word.to_str().is_none())
    {
        let why = format!("`{}` is not UTF-8\n", escape_and_cut(&word.to_string_lossy()));
        return clap::Error::raw(ErrorKind::InvalidUtf8, why);
    }
    let escaped: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) if !is_inert(text) => {
                Some((kind, ContextValue::String(escape_and_cut(text))))
            }
            ContextValue::Strings(texts) if !texts.iter().all(|text| is_inert(text)) => {
                Some((kind, ContextValue::Strings(texts.iter().map(|text| escape_and_cut(text)).collect())))
            }
            _ => None,
        })
        .collect();
    if !escaped.is_empty() {
        // The suggestion repeats the word.
        error.remove(ContextKind::Suggested);
    }
    for (kind, value) in escaped {
        error.insert(kind, value);
    }
    error
}

fn is_inert(text: &str) -> bool {
    text.len() <= SHOWN_MAX_BYTES && !text.chars().any(is_unsafe)
}

fn escape_and_cut(text: &str) -> String {
    let kept = &text[..text.floor_char_boundary(SHOWN_MAX_BYTES)];
    let dots = if kept.len() < text.len() { "..." } else { "" };
    format!("{}{dots}", Printable(kept))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::cli::args::node::node_command;

    fn check(words: &[&[u8]], expected: &str) {
        let typed: Vec<_> =
            [&b"node"[..]].iter().chain(words).map(|w| OsString::from_vec(w.to_vec())).collect();
        let error = node_command().try_get_matches_from(&typed).expect_err("no command line");
        let text = make_inert(error, &typed).render().ansi().to_string();
        // Remove the styles of clap.
        let plain = text.replace("\u{1b}[0m", "");
        let plain = ["\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[4m"]
            .iter()
            .fold(plain, |text, style| text.replace(style, ""));
        assert!(plain.contains(expected), "{plain:?}");
        assert!(!plain.chars().any(|c| is_unsafe(c) && c != '\n'), "{plain:?}");
    }

    #[test]
    fn typed_words_are_escaped_cut_and_named() {
        check(&[b"find", b"a\nerror: b"], "invalid value 'a\\u{a}error: b'");
        check(&[b"find", b"\x1b]52;c;x\x07"], "invalid value '\\u{1b}]52;c;x\\u{7}'");
        check(&[b"find", b"--\xc2\x9b31m"], "unexpected argument '--\\u{9b}31m' found");
        check(&[b"find", b"x", b"\xe2\x80\xaey"], "unexpected argument '\\u{202e}y' found");
        check(&[b"find", b"x", b"--timeout", b"\x08"], "invalid value '\\u{8}' for '--timeout <TIME>'");
        check(&[b"fro\rb", b"x", b"y"], "invalid value 'fro\\u{d}b' for '<IP>'");
        check(&[b"find", &[b'x'; 5000]], "xxx...' for '<NAME");
        check(&[b"find", b"\xff\x1b"], "`\u{fffd}\\u{1b}` is not UTF-8");
        // Harmless words stay unchanged, with the advice of clap.
        check(&[b"find", b"-rf"], "to pass '-r' as a value, use '-- -r'");
    }
}
