//! File names in URLs and in headers: escaped, so that no character of them has a meaning there.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::head::HeaderValue;

/// The characters that are escaped in the value of a parameter: all but the "unreserved" ones of RFC 3986.
const ESCAPED_IN_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The characters that are escaped in a path: the same without `/`.
const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED_IN_VALUE.remove(b'/');

/// `text` as part of a path: everything but unreserved characters and `/` is escaped.
pub fn escape_path(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED_IN_PATH).to_string()
}

/// `text` as the value of a parameter: everything but unreserved characters is escaped.
pub fn escape_value(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED_IN_VALUE).to_string()
}

/// The value of `Content-Disposition` for a download of the file `name`: only the last component is used.
/// First comes an ASCII form for old programs, then the exact name in the form of RFC 8187 (RFC 6266,
/// appendix D).
pub fn content_disposition(name: &str) -> HeaderValue {
    let last = name.rsplit('/').next().unwrap_or_default();
    let plain: String = last
        .chars()
        .map(|c| match c {
            // Some programs read these as a separator, a quote, an escape or a variable.
            '"' | '\\' | '%' | '/' | ':' | '*' | '?' | '<' | '>' | '|' | ';' | '$' | '`' => '_',
            ' '..='~' => c,
            _ => '_',
        })
        .collect();
    let exact = escape_value(last);
    HeaderValue::new(format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"))
        .expect("both forms are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_header_has_a_harmless_form_and_an_exact_one() {
        for (name, plain, exact) in [
            ("a.bin", "a.bin", "a.bin"),
            ("dir/a b.bin", "a b.bin", "a%20b.bin"),
            ("a\"; x=\"y", "a__ x=_y", "a%22%3B%20x%3D%22y"),
            ("a\r\nSet-Cookie: x", "a__Set-Cookie_ x", "a%0D%0ASet-Cookie%3A%20x"),
            ("größe.txt", "gr__e.txt", "gr%C3%B6%C3%9Fe.txt"),
            ("%41\\", "_41_", "%2541%5C"),
            ("\u{202e}gpj.exe", "_gpj.exe", "%E2%80%AEgpj.exe"),
        ] {
            let expected = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}");
            assert_eq!(content_disposition(name).as_str(), expected);
        }
    }

    #[test]
    fn characters_with_a_meaning_in_a_url_are_escaped() {
        assert_eq!(escape_path("a/b c?d#e&f\"<>'%"), "a/b%20c%3Fd%23e%26f%22%3C%3E%27%25");
        assert_eq!(escape_value("a/b+c"), "a%2Fb%2Bc");
    }
}
