//! `FileName`: the only way in which foreign text becomes a path.
//!
//! A name is relative, `/`-separated UTF-8 with visible and ordinary components. A path made of a share and a
//! name therefore neither leaves the share nor reaches a hidden file. File code accepts nothing else.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::limits;
use super::printable::Printable;

/// Name of a file in a share: relative, `/` between components, at most [`limits::NAME_MAX_BYTES`] bytes, at
/// most [`limits::NAME_MAX_DEPTH`] components of at most 255 bytes each. No component is empty or begins with
/// a dot. No character is a control character or a line separator. Cloning is cheap. `Display` shows the
/// escaped form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(Arc<str>);

/// Why a text is not a file name. The text in it is cut and escaped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// It is empty.
    #[error("a file name may not be empty")]
    Empty,
    /// It has too many bytes.
    #[error("file name of {0} bytes: at most {max} are allowed", max = limits::NAME_MAX_BYTES)]
    TooLong(usize),
    /// A component has too many bytes.
    #[error("file name `{0}`: a component has more than {max} bytes", max = limits::NAME_COMPONENT_MAX_BYTES)]
    ComponentTooLong(String),
    /// It has too many components.
    #[error("file name `{0}`: more than {max} components", max = limits::NAME_MAX_DEPTH)]
    TooDeep(String),
    /// It begins with `/`.
    #[error("file name `{0}` is absolute: give it relative to the share")]
    Absolute(String),
    /// It has an empty component.
    #[error("file name `{0}` has an empty component: use single `/` between components")]
    EmptyComponent(String),
    /// A component begins with a dot.
    #[error(
        "file name `{0}` has a component that begins with a dot: hidden files, `.` and `..` are not shared"
    )]
    Dot(String),
    /// It has a control character or a Unicode line separator, which some programs take for a line end.
    #[error("file name `{0}` contains a control character")]
    Control(String),
}

impl FileName {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// The first rule that `text` breaks. Nothing is repaired: a name is accepted unchanged or refused.
    pub fn new(text: &str) -> Result<FileName, NameError> {
        // A message has room for the beginning of a long text only.
        let escaped = || Printable(&text[..text.floor_char_boundary(120)]).to_string();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > limits::NAME_MAX_BYTES {
            return Err(NameError::TooLong(text.len()));
        }
        if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(NameError::Control(escaped()));
        }
        if text.starts_with('/') {
            return Err(NameError::Absolute(escaped()));
        }
        if text.split('/').count() > limits::NAME_MAX_DEPTH {
            return Err(NameError::TooDeep(escaped()));
        }
        for component in text.split('/') {
            if component.is_empty() {
                return Err(NameError::EmptyComponent(escaped()));
            }
            if component.starts_with('.') {
                return Err(NameError::Dot(escaped()));
            }
            if component.len() > limits::NAME_COMPONENT_MAX_BYTES {
                return Err(NameError::ComponentTooLong(escaped()));
            }
        }
        Ok(FileName(Arc::from(text)))
    }

    /// The raw text, for file calls and comparison. Use `Display` to show a name to a user.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FileName {
    type Error = NameError;

    fn try_from(text: String) -> Result<FileName, NameError> {
        FileName::new(&text)
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl std::str::FromStr for FileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<FileName, NameError> {
        FileName::new(text)
    }
}

impl std::borrow::Borrow<str> for FileName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&Printable(&self.0), f)
    }
}

impl Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_names_are_accepted() {
        for text in [
            "a",
            "a.bin",
            "dir/sub/file.txt",
            "with space",
            "-rf",
            "~",
            "$(x)",
            "%s%n",
            "*",
            "a\\b",
            "CON",
            "größe",
            "a..b",
            "a.",
        ] {
            assert_eq!(FileName::new(text).expect(text).as_str(), text);
        }
        assert!(FileName::new(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn names_that_leave_the_share_or_are_hidden_or_control_a_terminal_are_refused() {
        type IsExpected = fn(&NameError) -> bool;
        let cases: &[(&str, IsExpected)] = &[
            ("", |e| matches!(e, NameError::Empty)),
            (".", |e| matches!(e, NameError::Dot(_))),
            ("..", |e| matches!(e, NameError::Dot(_))),
            ("a/../../b", |e| matches!(e, NameError::Dot(_))),
            ("a/./b", |e| matches!(e, NameError::Dot(_))),
            (".ssh/authorized_keys", |e| matches!(e, NameError::Dot(_))),
            ("a/.git", |e| matches!(e, NameError::Dot(_))),
            ("/etc/passwd", |e| matches!(e, NameError::Absolute(_))),
            ("a//b", |e| matches!(e, NameError::EmptyComponent(_))),
            ("a/", |e| matches!(e, NameError::EmptyComponent(_))),
            ("a\0b", |e| matches!(e, NameError::Control(_))),
            ("a\nb", |e| matches!(e, NameError::Control(_))),
            ("\u{1b}[31m", |e| matches!(e, NameError::Control(_))),
            ("\u{9b}", |e| matches!(e, NameError::Control(_))),
        ];
        for (text, is_expected) in cases {
            let error = FileName::new(text).expect_err(text);
            assert!(is_expected(&error), "{text:?} gave {error:?}");
            assert!(!error.to_string().contains(|c: char| c.is_control()));
        }
        assert!(matches!(FileName::new(&"x".repeat(256)), Err(NameError::ComponentTooLong(_))));
        assert!(matches!(
            FileName::new(&vec!["a"; limits::NAME_MAX_DEPTH + 1].join("/")),
            Err(NameError::TooDeep(_))
        ));
        assert!(matches!(FileName::new(&"x".repeat(limits::NAME_MAX_BYTES + 1)), Err(NameError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_below_its_root_and_is_printed_escaped(text in ".{0,40}") {
            if let Ok(name) = FileName::new(&text) {
                let path = std::path::Path::new(name.as_str());
                prop_assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
                prop_assert!(!name.to_string().chars().any(super::super::printable::is_unsafe));
            }
        }
    }
}
