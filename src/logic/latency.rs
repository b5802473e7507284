//! The latency file: how far one endpoint is from another.
//!
//! Two dialects, mixed at will: `<my_ip> <my_port> <peer_ip> <peer_port> <ms>` is directed,
//! `<port1>,<port2>,<ms>` holds both ways and for any address. Whichever line comes first in the file and
//! fits a pair decides it. Opens no file: the text comes from above.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::types::{Millis, Printable, limits};

/// Address and port, an IPv4-mapped IPv6 address counting as the IPv4 one.
type Endpoint = (IpAddr, u16);

/// A latency and the number of the line that gives it.
type Entry = (usize, Millis);

/// Latencies of pairs of endpoints. Kept: the first line for each pair, so at most
/// [`limits::LATENCY_LINES_MAX`] entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LatencyTable {
    /// From the first endpoint to the second.
    directed: HashMap<(Endpoint, Endpoint), Entry>,
    /// Between two ports, the lower one first.
    between_ports: HashMap<(u16, u16), Entry>,
}

/// Why a text is no latency table: its author's fault. Text that is shown is escaped and cut to 120 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LatencyError {
    #[error("line {line}: `{text}`: {fault}")]
    Line {
        /// Counted from 1.
        line: usize,
        text: String,
        fault: LineFault,
    },
    #[error("more than {max} lines: leave pairs out", max = limits::LATENCY_LINES_MAX)]
    TooManyLines,
}

/// What is wrong with a line, and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineFault {
    #[error("expected `<my_ip> <my_port> <peer_ip> <peer_port> <ms>` or `<port1>,<port2>,<ms>`")]
    Fields,
    #[error("`{0}` is not an IP address")]
    Ip(String),
    #[error("`{0}` is not a port between 1 and 65535")]
    Port(String),
    #[error("`{0}` is not a number of milliseconds between 0 and 3600000 (decimals allowed)")]
    Latency(String),
}

impl LatencyTable {
    /// Reads a whole latency file.
    ///
    /// Fields are separated by blanks and tabs, or by commas with or without blanks around them. Blank lines
    /// are skipped, and comments: from a `#` that begins a line or follows a blank. Lines may end in CR LF.
    ///
    /// # Errors
    /// The first bad line, or [`LatencyError::TooManyLines`] as soon as there are more than
    /// [`limits::LATENCY_LINES_MAX`].
    pub fn parse(text: &str) -> Result<LatencyTable, LatencyError> {
        let mut table = LatencyTable::default();
        for (index, line) in text.lines().enumerate() {
            if index == limits::LATENCY_LINES_MAX {
                return Err(LatencyError::TooManyLines);
            }
            let content = without_comment(line).trim_matches(BLANKS);
            if !content.is_empty() {
                table.add(index + 1, content).map_err(|fault| LatencyError::Line {
                    line: index + 1,
                    text: shown(line.trim_matches(BLANKS)),
                    fault,
                })?;
            }
        }
        Ok(table)
    }

    /// Latency from `me` to `peer`, as the first fitting line gives it; `None` if no line fits.
    pub fn lookup(&self, me: SocketAddr, peer: SocketAddr) -> Option<Millis> {
        let directed = self.directed.get(&(endpoint(me.ip(), me.port()), endpoint(peer.ip(), peer.port())));
        let between = self.between_ports.get(&unordered(me.port(), peer.port()));
        directed.into_iter().chain(between).min_by_key(|(line, _)| *line).map(|(_, latency)| *latency)
    }

    /// Takes in one line that is neither blank nor a comment. An earlier line for the same pair stays.
    fn add(&mut self, line: usize, content: &str) -> Result<(), LineFault> {
        if content.contains(',') {
            let fields: Vec<_> = content.split(',').map(|field| field.trim_matches(BLANKS)).collect();
            let [one, other, ms] = fields[..] else { return Err(LineFault::Fields) };
            let pair = unordered(port(one)?, port(other)?);
            self.between_ports.entry(pair).or_insert((line, latency(ms)?));
        } else {
            let fields: Vec<_> = content.split(BLANKS).filter(|field| !field.is_empty()).collect();
            let [my_ip, my_port, peer_ip, peer_port, ms] = fields[..] else { return Err(LineFault::Fields) };
            let me = endpoint(ip(my_ip)?, port(my_port)?);
            let peer = endpoint(ip(peer_ip)?, port(peer_port)?);
            self.directed.entry((me, peer)).or_insert((line, latency(ms)?));
        }
        Ok(())
    }
}

/// What may stand between fields and around them; a carriage return only ever ends a line.
const BLANKS: [char; 3] = [' ', '\t', '\r'];

fn without_comment(line: &str) -> &str {
    let starts = |at: usize| line[..at].chars().next_back().is_none_or(|before| BLANKS.contains(&before));
    line.match_indices('#').find(|(at, _)| starts(*at)).map_or(line, |(at, _)| &line[..at])
}

fn ip(field: &str) -> Result<IpAddr, LineFault> {
    field.parse().map_err(|_| LineFault::Ip(shown(field)))
}

fn port(field: &str) -> Result<u16, LineFault> {
    // `parse` alone would take a sign.
    let digits = field.bytes().all(|byte| byte.is_ascii_digit());
    let port = field.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or_else(|| LineFault::Port(shown(field)))
}

fn latency(field: &str) -> Result<Millis, LineFault> {
    field.parse().map_err(|_| LineFault::Latency(shown(field)))
}

fn endpoint(ip: IpAddr, port: u16) -> Endpoint {
    (ip.to_canonical(), port)
}

fn unordered(one: u16, other: u16) -> (u16, u16) {
    (one.min(other), one.max(other))
}

fn shown(text: &str) -> String {
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
    fn a_directed_line_holds_one_way_and_a_comma_line_both() {
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
    fn the_first_fitting_line_wins_whatever_its_dialect() {
        let (a, b) = ("10.0.0.1:5001", "10.0.0.2:5002");
        check("5001,5002,1\n10.0.0.1 5001 10.0.0.2 5002 2", a, b, Some("1"));
        check("10.0.0.1 5001 10.0.0.2 5002 2\n5002,5001,1", a, b, Some("2"));
        check("10.0.0.1 5001 10.0.0.2 5002 2\n5002,5001,1", b, a, Some("1"));
        check("5001,5002,1\n5002,5001,3", a, b, Some("1"));
        check("10.0.0.1 5001 10.0.0.2 5002 4\n10.0.0.1 5001 10.0.0.2 5002 2", a, b, Some("4"));
    }

    #[test]
    fn layout_does_not_matter() {
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
    fn a_bad_line_is_named_with_its_fault() {
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
    fn a_repeated_bad_line_is_refused_although_it_could_not_win() {
        assert!(LatencyTable::parse("1,2,3\n1,2,x").is_err());
        assert!(LatencyTable::parse("1.1.1.1 1 1.1.1.2 2 3\n1.1.1.1 1 1.1.1.2 2 x").is_err());
    }

    #[test]
    fn a_table_at_the_limit_is_taken_and_above_it_refused() {
        let full = "1,2,3\n".repeat(limits::LATENCY_LINES_MAX);
        assert!(LatencyTable::parse(&full).is_ok());
        assert_eq!(LatencyTable::parse(&(full + "1,2,3")), Err(LatencyError::TooManyLines));
    }

    proptest! {
        /// The oracle walks the lines in order and takes the first that fits.
        #[test]
        fn lookup_finds_what_reading_line_by_line_finds(
            lines in prop::collection::vec((any::<bool>(), 1u8..4, 1u16..4, 1u8..4, 1u16..4, 0u64..9), 0..30),
        ) {
            let text: Vec<_> = lines
                .iter()
                .map(|(comma, my_ip, my_port, peer_ip, peer_port, ms)| match comma {
                    true => format!("{my_port},{peer_port},{ms}"),
                    false => format!("10.0.0.{my_ip} {my_port} 10.0.0.{peer_ip} {peer_port} {ms}"),
                })
                .collect();
            let table = LatencyTable::parse(&text.join("\n")).expect("valid lines");
            for (a, p, b, q) in (1..4).flat_map(|a| (1..4).flat_map(move |p| {
                (1..4).flat_map(move |b| (1..4).map(move |q| (a, p, b, q)))
            })) {
                let expected = lines.iter().find(|(comma, my_ip, my_port, peer_ip, peer_port, _)| match comma {
                    true => (p, q) == (*my_port, *peer_port) || (q, p) == (*my_port, *peer_port),
                    false => (a, p, b, q) == (*my_ip, *my_port, *peer_ip, *peer_port),
                });
                let found = table.lookup(addr(&format!("10.0.0.{a}:{p}")), addr(&format!("10.0.0.{b}:{q}")));
                prop_assert_eq!(found, expected.map(|line| Millis::from_ms(line.5)));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "([0-9.,# \t\r\n:a-fé-]{0,60}\n){0,6}") {
            let _ = LatencyTable::parse(&text);
        }
    }
}
