//! Text of foreign origin, made safe for a terminal or a log.
//!
//! The escaped form has no control character, no bidirectional override and no invisible character. It can be
//! undone: a backslash is doubled, and a dangerous character becomes `\u{HEX}`.

use std::fmt::{self, Display, Write as _};
use std::path::Path;

use super::limits;

/// Shows a string with every character escaped that could control a terminal, fake a line or hide text.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                c if is_unsafe(c) => write!(f, "\\u{{{:x}}}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A path as messages show it: escaped, and with U+FFFD for what is not UTF-8.
pub fn path_text(path: &Path) -> String {
    Printable(&path.to_string_lossy()).to_string()
}

/// `text`, cut to the longest allowed reason ([`limits::REASON_MAX_BYTES`]) at the end of a character.
pub fn reason(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::REASON_MAX_BYTES)]
}

/// Returns true if and only if `c` is a control (C0, DEL, C1), a line or paragraph separator, a bidirectional
/// control, or an invisible format character.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        assert_eq!(Printable(input).to_string(), expected);
    }

    #[test]
    fn dangerous_characters_are_escaped_and_plain_text_is_unchanged() {
        check("plain name.txt", "plain name.txt");
        check("größe 文件", "größe 文件");
        check("a\nb", "a\\u{a}b");
        check("\u{1b}[2J", "\\u{1b}[2J");
        check("\u{9b}31m", "\\u{9b}31m");
        check("a\\u{a}", "a\\\\u{a}");
        check("abc\u{202e}txt.exe", "abc\\u{202e}txt.exe");
        check("zero\u{200b}width", "zero\\u{200b}width");
    }
}
