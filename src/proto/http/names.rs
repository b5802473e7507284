//! File names in URLs and in headers: escaped so that nothing in them steers whoever reads them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::head::HeaderValue;

/// What stands for itself everywhere (RFC 3986, "unreserved").
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, and the separator of names.
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// `text` as part of a path: everything but unreserved characters and `/` is escaped.
pub fn escape_path(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

/// `text` as the value of a parameter: everything but unreserved characters is escaped.
pub fn escape_value(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// `Content-Disposition` for a download of the file called `name`, of which the last component counts. An
/// ASCII form for old programs comes first, the exact one in the form of RFC 8187 behind it (RFC 6266,
/// appendix D).
pub fn content_disposition(name: &str) -> HeaderValue {
    let last = name.rsplit('/').next().unwrap_or_default();
    let plain: String = last
        .chars()
        .map(|c| match c {
            // What some programs take for a separator, a quote, an escape or a variable.
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
    fn names_are_inert_in_a_header_and_exact_in_its_second_form() {
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
    fn nothing_that_steers_is_left_in_a_url() {
        assert_eq!(escape_path("a/b c?d#e&f\"<>'%"), "a/b%20c%3Fd%23e%26f%22%3C%3E%27%25");
        assert_eq!(escape_value("a/b+c"), "a%2Fb%2Bc");
    }
}
