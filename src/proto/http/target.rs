//! Reads the target of a request as a path and parameters, and a form as parameters.
//!
//! Escapes are replaced exactly once, after the text was cut at `?`, `&` and `=`. The result is UTF-8 without
//! control characters, or the target is refused. Dots and empty segments stay as they are: a path here is
//! not a path of the file system.

use std::borrow::Cow;

use thiserror::Error;

use crate::types::content::hex_value;

/// Why a target or a form is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadTarget {
    /// The target does not begin with `/`.
    #[error("it must begin with `/`")]
    Form,
    /// A character that must be escaped is not.
    #[error("it contains a character that must be escaped")]
    Unescaped,
    /// A `%` is not followed by two hex digits.
    #[error("`%` is not followed by two hex digits")]
    Escape,
    /// The bytes are not UTF-8 when the escapes are replaced.
    #[error("its escapes are not UTF-8")]
    Utf8,
    /// The text has a control character when the escapes are replaced.
    #[error("it contains a control character")]
    Control,
    /// A parameter occurs twice.
    #[error("a parameter is given twice")]
    Twice,
}

/// Names and values in the order given, no name twice.
pub type Parameters = Vec<(String, String)>;

/// Path and parameters of a target in origin form (RFC 9112, section 3.2.1).
///
/// # Errors
/// [`BadTarget`]; nothing is repaired.
pub(super) fn parse(target: &str) -> Result<(String, Parameters), BadTarget> {
    if !target.starts_with('/') {
        return Err(BadTarget::Form);
    }
    if target.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
        return Err(BadTarget::Unescaped);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok((unescape(path)?, parameters(query)?))
}

/// The parameters of a query or of a form (`application/x-www-form-urlencoded`). An empty part between two
/// `&` is none.
///
/// # Errors
/// [`BadTarget`]; a name that is given twice is refused, because programs read it differently.
pub fn parameters(text: &str) -> Result<Parameters, BadTarget> {
    let mut parameters = Parameters::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let [name, value] = [name, value].map(|text| unescape(&text.replace('+', " ")));
        let (name, value) = (name?, value?);
        if parameters.iter().any(|(known, _)| *known == name) {
            return Err(BadTarget::Twice);
        }
        parameters.push((name, value));
    }
    Ok(parameters)
}

fn unescape(text: &str) -> Result<String, BadTarget> {
    let bytes =
        if text.contains('%') { Cow::Owned(unescape_bytes(text)?) } else { Cow::Borrowed(text.as_bytes()) };
    let text = String::from_utf8(bytes.into_owned()).map_err(|_| BadTarget::Utf8)?;
    if text.chars().any(char::is_control) {
        return Err(BadTarget::Control);
    }
    Ok(text)
}

fn unescape_bytes(text: &str) -> Result<Vec<u8>, BadTarget> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(hex_value).ok_or(BadTarget::Escape);
        bytes.push(digit()? << 4 | digit()?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Expected<'a> = Result<(&'a str, &'a [(&'a str, &'a str)]), BadTarget>;

    fn check(target: &str, expected: Expected<'_>) {
        let owned = |pairs: &[(&str, &str)]| -> Parameters {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let expected = expected.map(|(path, pairs)| (path.to_owned(), owned(pairs)));
        assert_eq!(parse(target), expected, "{target}");
    }

    #[test]
    fn escapes_are_replaced_once_and_after_the_cuts() {
        check("/", Ok(("/", &[])));
        check("/a%20b", Ok(("/a b", &[])));
        check("/a+b", Ok(("/a+b", &[])));
        check("/a%2Fb%2fc", Ok(("/a/b/c", &[])));
        check("/%2525", Ok(("/%25", &[])));
        check("/a%3Fb?c=%3F", Ok(("/a?b", &[("c", "?")])));
        check("/../%2e%2e//x", Ok(("/../..//x", &[])));
        check("/gr%C3%B6%C3%9Fe", Ok(("/größe", &[])));
        check("/?q=a+b%2Bc", Ok(("/", &[("q", "a b+c")])));
        check("/?a=1&b=2=3&&c", Ok(("/", &[("a", "1"), ("b", "2=3"), ("c", "")])));
        check("/?a%26b=%3D", Ok(("/", &[("a&b", "=")])));
        check("/?x=?", Ok(("/", &[("x", "?")])));
        check("/a|b[c]", Ok(("/a|b[c]", &[])));
    }

    #[test]
    fn a_malformed_or_ambiguous_target_is_refused() {
        for (target, error) in [
            ("", BadTarget::Form),
            ("*", BadTarget::Form),
            ("http://x/", BadTarget::Form),
            ("a/b", BadTarget::Form),
            ("/a b", BadTarget::Unescaped),
            ("/a#b", BadTarget::Unescaped),
            ("/ö", BadTarget::Unescaped),
            ("/a\\\u{7f}", BadTarget::Unescaped),
            ("/%", BadTarget::Escape),
            ("/%4", BadTarget::Escape),
            ("/%4g", BadTarget::Escape),
            ("/%+41", BadTarget::Escape),
            ("/%u0041", BadTarget::Escape),
            ("/%ff", BadTarget::Utf8),
            ("/%c0%af", BadTarget::Utf8),
            ("/%ed%a0%80", BadTarget::Utf8),
            ("/%00", BadTarget::Control),
            ("/a%0d%0ab", BadTarget::Control),
            ("/?a=%1b", BadTarget::Control),
            ("/%c2%9b", BadTarget::Control),
            ("/?a=1&a=2", BadTarget::Twice),
            ("/?a=1&%61=2", BadTarget::Twice),
        ] {
            check(target, Err(error));
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_is_read_back_unchanged(path in "[^\\p{Cc}]{0,40}", value in "[^\\p{Cc}]{0,40}") {
            let target = format!("/{}?q={}", super::super::escape_path(&path), super::super::escape_value(&value));
            prop_assert_eq!(parse(&target), Ok((format!("/{path}"), vec![("q".to_owned(), value)])));
        }
    }
}
