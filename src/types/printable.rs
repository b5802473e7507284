//! Text of foreign origin, made safe for a terminal or a log.
//!
//! The escaped form has no control character, no bidirectional override and no invisible character. It can be
//! undone: a backslash is doubled, and a dangerous character becomes `\u{HEX}`.

use std::fmt::{self, Display, Write as _};
use std::path::Path;

use super::limits;

/// A string that `Display` shows with every character escaped that could control a terminal, fake a line or
/// hide text.
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

/// A path as messages show it: escaped, and with U+FFFD for bytes that are not UTF-8.
pub fn path_text(path: &Path) -> String {
    Printable(&path.to_string_lossy()).to_string()
}

/// The beginning of `text` that an error reply may carry as its reason: at most
/// [`limits::REASON_MAX_BYTES`], cut between two characters. It is not escaped.
pub fn reason(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::REASON_MAX_BYTES)]
}

/// Returns true if a reader cannot see `c`, or if `c` changes how other text is shown.
///
/// These are controls (C0, DEL, C1), line and paragraph separators, bidirectional controls, characters that
/// Unicode lets a program leave out (Default_Ignorable_Code_Point), format controls of other scripts, and the
/// blank Braille pattern.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Default_Ignorable_Code_Point, with reserved code points that do not show either.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
            // Line and paragraph separator, interlinear annotation, controls of hieroglyphs, blank Braille.
            | '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}' | '\u{13430}'..='\u{13455}' | '\u{2800}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex_syntax::hir::{Class, HirKind};

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
        check("blank\u{2800}", "blank\\u{2800}");
    }

    #[test]
    fn every_character_that_unicode_lets_a_program_leave_out_is_escaped() {
        let table = regex_syntax::parse(r"[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Zl}\p{Zp}]");
        let HirKind::Class(Class::Unicode(class)) = table.expect("a class").into_kind() else {
            panic!("no class")
        };
        let missed = class.iter().flat_map(|range| range.start()..=range.end()).filter(|c| !is_unsafe(*c));
        assert_eq!(missed.collect::<Vec<_>>(), []);
        let letters = "aß文 \u{a0}\u{3000}\u{301}\u{1f600}";
        assert!(!letters.chars().any(is_unsafe));
    }
}
