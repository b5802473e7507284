//! Output forms as the README writes them, compared with printed lines.
//!
//! `<x>` is any text, `a|b` one of both, `[ x]` is optional, `[,...]` repeats. Some `<x>` have a known
//! format.

/// A part of a form.
#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Field(String),
}

/// True if the line has that form.
pub(crate) fn fits(form: &str, line: &str) -> bool {
    variants(form).iter().any(|parts| matches(parts, line))
}

/// The form with each choice resolved.
fn variants(form: &str) -> Vec<Vec<Part>> {
    let mut all: Vec<Vec<Part>> = vec![Vec::new()];
    for (number, word) in split(form, ' ').into_iter().enumerate() {
        let (base, option) = match word.strip_suffix(']').and_then(|word| word.rsplit_once('[')) {
            Some((base, option)) => (base, Some(option)),
            None => (word, None),
        };
        let space = if number == 0 { "" } else { " " };
        let mut next = Vec::new();
        for choice in split(base, '|') {
            for ending in [Some(""), option].into_iter().flatten() {
                // A repeated part has no form here: it is any text without a space.
                let ending = if ending == ",..." { ",<more>" } else { ending };
                let parts = parts(&format!("{space}{choice}{ending}"));
                next.extend(all.iter().map(|before| [&before[..], &parts].concat()));
            }
        }
        all = next;
    }
    all
}

/// Splits at each `at` outside of brackets.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0, 0, Vec::new());
    for (index, char) in text.char_indices() {
        match char {
            '<' | '[' => depth += 1,
            '>' | ']' => depth -= 1,
            _ if char == at && depth == 0 => {
                found.push(&text[from..index]);
                from = index + char.len_utf8();
            }
            _ => {}
        }
    }
    found.push(&text[from..]);
    found
}

fn parts(text: &str) -> Vec<Part> {
    let mut pieces = text.split('<');
    let mut parts = vec![Part::Text(pieces.next().unwrap_or_default().to_owned())];
    for piece in pieces {
        let (field, text) = piece.split_once('>').unwrap_or_else(|| panic!("`{text}` is no form"));
        parts.extend([Part::Field(field.to_owned()), Part::Text(text.to_owned())]);
    }
    parts
}

fn matches(parts: &[Part], line: &str) -> bool {
    match parts {
        [] => line.is_empty(),
        [Part::Text(text), rest @ ..] => {
            line.strip_prefix(text.as_str()).is_some_and(|line| matches(rest, line))
        }
        [Part::Field(field), rest @ ..] => {
            let ends = line.char_indices().map(|(index, char)| index + char.len_utf8());
            ends.filter(|end| is_value(field, &line[..*end])).any(|end| matches(rest, &line[end..]))
        }
    }
}

/// True if the text is valid for `<field>`.
fn is_value(field: &str, text: &str) -> bool {
    let is_hex = |digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match field {
        "name" => true,
        "md5" => is_hex(32) || text == "-",
        "hex" => is_hex(32) || is_hex(64),
        "hex16" | "first 16 hex of b3" => is_hex(16),
        "ip" => text.parse::<std::net::IpAddr>().is_ok(),
        "ms" | "score" | "latency_ms" | "weight" => text == "-" || text.parse::<f64>().is_ok(),
        "load" | "done" | "total bytes" => text == "-" || is_number,
        "n" | "size" | "port" | "added" | "removed" | "changed" | "number" | "place" | "have" | "total"
        | "files" | "bytes per second" => is_number,
        "figure" | "more" => !text.contains(' '),
        _ => panic!("<{field}>: say in tests/acceptance/documents/forms.rs what that looks like"),
    }
}

#[test]
fn a_line_fits_its_form_and_no_other() {
    let check = |form: &str, line: &str, expected: bool| {
        assert_eq!(fits(form, line), expected, "{form}\n{line}");
    };
    check("<ip> <port> load <n>", "127.0.0.1 5002 load 0", true);
    check("<ip> <port> load <n>", "127.0.0.1 5002 load 0 more", false);
    check("<ip> <port> load <n>", "127.0.0.1 load 0", false);
    check("<n>|-", "-", true);
    check("<n>|-", "7", true);
    check("<n>|-", "x", false);
    check("a[ chosen]", "a chosen", true);
    check("a[ chosen]", "a", true);
    check("a[ chosen]", "a chose", false);
    check("from <ip>:<port>[,...]", "from 1.1.1.1:1,[::1]:2", true);
    check("from <ip>:<port>[,...]", "from 1.1.1.1:1 x", false);
    check("<size> <md5> <name>", "4 - a name", true);
    check("<number> queued|running <done>/<total bytes> <name>", "1 running 5/- x", true);
    check("<number> queued|running <done>/<total bytes> <name>", "1 paused 5/- x", false);
    check("full|<have>/<total>[ chosen]", "3/9 chosen", true);
}
