//! The latency file: latencies of pairs of endpoints.
//!
//! A file may mix two forms of lines. `<my_ip> <my_port> <peer_ip> <peer_port> <ms>` counts in one direction.
//! `<port1>,<port2>,<ms>` counts in both directions and for any address. Of the lines that match a pair, the
//! first one decides. The caller reads the file and passes its text.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::types::{Millis, Printable, limits};

/// Address and port. An IPv4 address mapped into IPv6 counts as the IPv4 address.
type Endpoint = (IpAddr, u16);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Number of its line in the file.
    line: usize,
    latency: Millis,
}

/// Latencies of pairs of endpoints. For each pair it has the first line of each form, and no more than
/// [`limits::LATENCY_LINES_MAX`] entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LatencyTable {
    /// From the first endpoint to the second.
    directed: HashMap<(Endpoint, Endpoint), Entry>,
    /// Between two ports, the lower one first.
    between_ports: HashMap<(u16, u16), Entry>,
}

/// Why a text is not a latency file. Quoted text is escaped, and cut to 120 bytes before that.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LatencyError {
    /// A line has a fault.
    #[error("line {line}: `{text}`: {fault}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
        /// Its fault.
        fault: LineFault,
    },
    /// The file has more than [`limits::LATENCY_LINES_MAX`] lines.
    #[error("more than {max} lines: leave pairs out", max = limits::LATENCY_LINES_MAX)]
    TooManyLines,
}

/// The fault of a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineFault {
    /// The number of fields is wrong.
    #[error("expected `<my_ip> <my_port> <peer_ip> <peer_port> <ms>` or `<port1>,<port2>,<ms>`")]
    Fields,
    /// A field is not an IP address.
    #[error("`{0}` is not an IP address")]
    Ip(String),
    /// A field is not a port.
    #[error("`{0}` is not a port between 1 and 65535")]
    Port(String),
    /// A field is not a latency.
    #[error("`{0}` is not a number of milliseconds between 0 and 3600000 (decimals allowed)")]
    Latency(String),
}

impl LatencyTable {
    /// Reads a whole latency file.
    ///
    /// Fields are separated by spaces and tabs, or by commas with or without them. Empty lines and comments
    /// are skipped. A comment goes from a `#` that begins a line, or follows a space or tab, to the end of
    /// the line. Lines may end in CR LF.
    ///
    /// # Errors
    /// The first line with a fault among the first [`limits::LATENCY_LINES_MAX`] lines, or
    /// [`LatencyError::TooManyLines`] if there are more lines.
    pub fn parse(text: &str) -> Result<LatencyTable, LatencyError> {
        let mut table = LatencyTable::default();
        for (index, line) in text.lines().enumerate() {
            if index == limits::LATENCY_LINES_MAX {
                return Err(LatencyError::TooManyLines);
            }
            let text = without_comment(line).trim_matches(SPACES);
            if !text.is_empty() {
                table.add(index + 1, text).map_err(|fault| LatencyError::Line {
                    line: index + 1,
                    text: printable(line.trim_matches(SPACES)),
                    fault,
                })?;
            }
        }
        Ok(table)
    }

    /// The latency from `me` to `peer` in the first line that matches; `None` if no line matches.
    pub fn lookup(&self, me: SocketAddr, peer: SocketAddr) -> Option<Millis> {
        let directed = self.directed.get(&(endpoint(me.ip(), me.port()), endpoint(peer.ip(), peer.port())));
        let between = self.between_ports.get(&port_pair(me.port(), peer.port()));
        directed.into_iter().chain(between).min_by_key(|entry| entry.line).map(|entry| entry.latency)
    }

    /// Adds a line without its comment, which is not empty. An earlier line for the same pair stays.
    fn add(&mut self, line: usize, text: &str) -> Result<(), LineFault> {
        if text.contains(',') {
            let fields: Vec<_> = text.split(',').map(|field| field.trim_matches(SPACES)).collect();
            let [one, other, ms] = fields[..] else { return Err(LineFault::Fields) };
            let pair = port_pair(port(one)?, port(other)?);
            self.between_ports.entry(pair).or_insert(Entry { line, latency: latency(ms)? });
        } else {
            let fields: Vec<_> = text.split(SPACES).filter(|field| !field.is_empty()).collect();
            let [my_ip, my_port, peer_ip, peer_port, ms] = fields[..] else { return Err(LineFault::Fields) };
            let me = endpoint(ip(my_ip)?, port(my_port)?);
            let peer = endpoint(ip(peer_ip)?, port(peer_port)?);
            self.directed.entry((me, peer)).or_insert(Entry { line, latency: latency(ms)? });
        }
        Ok(())
    }
}

/// The characters between and around fields. A carriage return can only be the end of a line.
const SPACES: [char; 3] = [' ', '\t', '\r'];

fn without_comment(line: &str) -> &str {
    let begins_comment =
        |at: usize| line[..at].chars().next_back().is_none_or(|before| SPACES.contains(&before));
    line.match_indices('#').find(|(at, _)| begins_comment(*at)).map_or(line, |(at, _)| &line[..at])
}

fn ip(field: &str) -> Result<IpAddr, LineFault> {
    field.parse().map_err(|_| LineFault::Ip(printable(field)))
}

fn port(field: &str) -> Result<u16, LineFault> {
    // `parse` alone would accept a sign.
    let digits = field.bytes().all(|byte| byte.is_ascii_digit());
    let port = field.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or_else(|| LineFault::Port(printable(field)))
}

fn latency(field: &str) -> Result<Millis, LineFault> {
    field.parse().map_err(|_| LineFault::Latency(printable(field)))
}

fn endpoint(ip: IpAddr, port: u16) -> Endpoint {
    (ip.to_canonical(), port)
}

fn port_pair(one: u16, other: u16) -> (u16, u16) {
    (one.min(other), one.max(other))
}

fn printable(text: &str) -> String {
    Printable(&text[..text.floor_char_boundary(120)]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect(text)
    }

    fn check(text: &str, me: &str, peer: &str, expected: Option<&str>) {
        let table = LatencyTable::parse(text).expect(text);
        let expected = expected.map(|ms| ms.parse::<Millis>().expect(ms));
        assert_eq!(table.lookup(addr(me), addr(peer)), expected, "{text:?}: {me} to {peer}");
    }

    #[test]
    fn a_directed_line_counts_in_one_direction_and_a_comma_line_in_both() {
        let (a, b) = ("10.0.0.1:5001", "10.0.0.2:5002");
        let directed = "10.0.0.1 5001 10.0.0.2 5002 12.5";
        check(directed, a, b, Some("12.5"));
        check(directed, b, a, None);
        check(directed, "10.0.0.3:5001", b, None);
        check(directed, a, "10.0.0.2:5003", None);
        check("5001,5002,7", a, b, Some("7"));
        check("5001,5002,7", b, a, Some("7"));
        check("5001,5002,7", "[::1]:5002", "9.9.9.9:5001", Some("7"));
        check("5001,5002,7", a, "10.0.0.2:5003", None);
        check("5001,5001,7", "1.1.1.1:5001", "2.2.2.2:5001", Some("7"));
        check("", a, b, None);
    }

    #[test]
    fn the_first_matching_line_of_either_form_decides() {
        let (a, b) = ("10.0.0.1:5001", "10.0.0.2:5002");
        check("5001,5002,1\n10.0.0.1 5001 10.0.0.2 5002 2", a, b, Some("1"));
        check("10.0.0.1 5001 10.0.0.2 5002 2\n5002,5001,1", a, b, Some("2"));
        check("10.0.0.1 5001 10.0.0.2 5002 2\n5002,5001,1", b, a, Some("1"));
        check("5001,5002,1\n5002,5001,3", a, b, Some("1"));
        check("10.0.0.1 5001 10.0.0.2 5002 4\n10.0.0.1 5001 10.0.0.2 5002 2", a, b, Some("4"));
    }

    #[test]
    fn spaces_comments_and_line_ends_do_not_matter() {
        let (a, b) = ("10.0.0.1:5001", "10.0.0.2:5002");
        for text in [
            "# latencies\n\n \t\n10.0.0.1 5001 10.0.0.2 5002 12",
            "10.0.0.1\t5001  10.0.0.2 \t5002\t12\t# measured in spring",
            "  10.0.0.1 5001 10.0.0.2 5002 12  \r\n#\r\n",
            "10.0.0.1 5001 10.0.0.2 5002 12\r",
            "\t# x\n5001 ,\t5002, 12 #5003,1,1",
            "::ffff:10.0.0.1 5001 10.0.0.2 5002 12.000",
        ] {
            check(text, a, b, Some("12"));
        }
        check(
            "10.0.0.1 5001 10.0.0.2 5002 12",
            "[::ffff:10.0.0.1]:5001",
            "[::ffff:10.0.0.2]:5002",
            Some("12"),
        );
        check("fe80::1 1 2001:db8::2 65535 0", "[fe80::1%7]:1", "[2001:db8::2]:65535", Some("0"));
        check("1,2,3600000", "1.1.1.1:1", "1.1.1.1:2", Some("3600000"));
    }

    #[test]
    fn a_line_with_a_fault_is_quoted_with_its_number_and_the_fault() {
        use LineFault::{Fields, Ip, Latency, Port};
        for (line, fault) in [
            ("10.0.0.1 5001 10.0.0.2 5002", Fields),
            ("10.0.0.1 5001 10.0.0.2 5002 12 13", Fields),
            ("10.0.0.1:5001 10.0.0.2:5002 12", Fields),
            ("5001,5002", Fields),
            ("5001,5002,1,2", Fields),
            ("hello", Fields),
            ("10.0.0 5001 10.0.0.2 5002 12", Ip("10.0.0".into())),
            ("10.0.0.1 5001 localhost 5002 12", Ip("localhost".into())),
            ("10.0.0.1 0 10.0.0.2 5002 12", Port("0".into())),
            ("10.0.0.1 5001 10.0.0.2 70000 12", Port("70000".into())),
            ("+1,2,3", Port("+1".into())),
            (",2,3", Port("".into())),
            ("1,2,", Latency("".into())),
            ("1,2,-3", Latency("-3".into())),
            ("1,2,3600000.5", Latency("3600000.5".into())),
            ("1,2,3#x", Latency("3#x".into())),
            ("10.0.0.1 5001 10.0.0.2 5002 12ms", Latency("12ms".into())),
            ("1,2,\u{1b}[2J", Latency("\\u{1b}[2J".into())),
        ] {
            let error = LatencyTable::parse(&format!("# first\n1,2,3\n{line} # why\n4,5,6")).expect_err(line);
            let text = format!("{} # why", Printable(line));
            assert_eq!(error, LatencyError::Line { line: 3, text, fault });
            assert!(error.to_string().starts_with("line 3: `"), "{error}");
            assert!(!error.to_string().contains(char::is_control));
        }
    }

    #[test]
    fn a_wrong_line_is_refused_even_if_it_could_not_decide() {
        assert!(LatencyTable::parse("1,2,3\n1,2,x").is_err());
        assert!(LatencyTable::parse("1.1.1.1 1 1.1.1.2 2 3\n1.1.1.1 1 1.1.1.2 2 x").is_err());
    }

    #[test]
    fn a_file_at_the_limit_is_accepted_and_a_longer_one_refused() {
        let full = "1,2,3\n".repeat(limits::LATENCY_LINES_MAX);
        assert!(LatencyTable::parse(&full).is_ok());
        assert_eq!(LatencyTable::parse(&(full + "1,2,3")), Err(LatencyError::TooManyLines));
    }

    proptest! {
        /// The oracle is a search through all lines for the first match.
        #[test]
        fn lookup_agrees_with_a_search_line_by_line(
            lines in prop::collection::vec((any::<bool>(), 1u8..4, 1u16..4, 1u8..4, 1u16..4, 0u64..9), 0..30),
        ) {
            let text: Vec<_> = lines
                .iter()
                .map(|(comma, my_ip, my_port, peer_ip, peer_port, ms)| {
                    if *comma {
                        format!("{my_port},{peer_port},{ms}")
                    } else {
                        format!("10.0.0.{my_ip} {my_port} 10.0.0.{peer_ip} {peer_port} {ms}")
                    }
                })
                .collect();
            let table = LatencyTable::parse(&text.join("\n")).expect("valid lines");
            for (a, p, b, q) in (1..4).flat_map(|a| (1..4).flat_map(move |p| {
                (1..4).flat_map(move |b| (1..4).map(move |q| (a, p, b, q)))
            })) {
                let expected = lines.iter().find(|(comma, my_ip, my_port, peer_ip, peer_port, _)| if *comma {
                    (p, q) == (*my_port, *peer_port) || (q, p) == (*my_port, *peer_port)
                } else {
                    (a, p, b, q) == (*my_ip, *my_port, *peer_ip, *peer_port)
                });
                let found = table.lookup(addr(&format!("10.0.0.{a}:{p}")), addr(&format!("10.0.0.{b}:{q}")));
                prop_assert_eq!(found, expected.map(|line| Millis::from_ms(line.5)));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "([0-9.,# \t\r\n:a-fé-]{0,60}\n){0,6}") {
            let _ = LatencyTable::parse(&text);
        }
    }
}
