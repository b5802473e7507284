//! Strict parsers of the stdout lines that scripts read. An extra, missing or moved field fails the test.

use std::net::{IpAddr, SocketAddr};

/// One line of `find`.
#[derive(Debug, Clone, PartialEq)]
pub struct FindRow {
    pub endpoint: SocketAddr,
    pub size: u64,
    pub md5: String,
    /// `None` for `-`: the own node.
    pub latency: Option<f64>,
    pub load: Option<u32>,
    pub score: Option<f64>,
    pub b3: String,
    /// `full`, or the number of pieces held and the number of all pieces.
    pub held: String,
    pub name: String,
}

/// One line of `nodes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    pub endpoint: SocketAddr,
    pub liveness: String,
    pub files: u32,
    pub load: Option<u32>,
}

/// The result line of `download`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadedRow {
    pub name: String,
    pub size: u64,
    /// `md5` or `b3`.
    pub algorithm: String,
    pub hex: String,
    /// Number of pieces with a known MD5, if the MD5 of the whole file was not computed.
    pub md5_pieces: Option<u32>,
    pub sources: Vec<SocketAddr>,
}

fn endpoint(ip: &str, port: &str) -> SocketAddr {
    let ip: IpAddr = ip.parse().unwrap_or_else(|_| panic!("`{ip}` is no address"));
    SocketAddr::new(ip, port.parse().unwrap_or_else(|_| panic!("`{port}` is no port")))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A number as it is documented: at most 3 decimals, no trailing zeros; or `-`.
fn millis(text: &str) -> Option<f64> {
    if text == "-" {
        return None;
    }
    if let Some((_, decimals)) = text.split_once('.') {
        assert!(
            (1..=3).contains(&decimals.len()) && !decimals.ends_with('0'),
            "`{text}` is not in the form of milliseconds"
        );
    }
    Some(text.parse().unwrap_or_else(|_| panic!("`{text}` is no number")))
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

/// Parses the output of a successful `find`.
pub fn find_rows(lines: &[String]) -> Vec<FindRow> {
    assert_eq!(lines.first().map(String::as_str), Some("Found nodes:"), "{lines:#?}");
    lines[1..].iter().map(|line| find_row(line)).collect()
}

fn find_row(line: &str) -> FindRow {
    let fields: Vec<_> = line.splitn(10, ' ').collect();
    let [ip, port, size, md5, latency, load, score, b3, held, name] = fields[..] else {
        panic!("not ten fields: `{line}`")
    };
    assert!(is_hex(md5, 32), "md5 in `{line}`");
    assert!(is_hex(b3, 16), "b3 in `{line}`");
    assert!(
        held == "full"
            || held.split_once('/').is_some_and(|(have, total)| number::<u32>(have) < number::<u32>(total)),
        "`{line}`"
    );
    let own = latency == "-";
    assert!(own == (load == "-") && own == (score == "-"), "all three or none are `-`: `{line}`");
    FindRow {
        endpoint: endpoint(ip, port),
        size: number(size),
        md5: md5.to_owned(),
        latency: millis(latency),
        load: (!own).then(|| number(load)),
        score: millis(score),
        b3: b3.to_owned(),
        held: held.to_owned(),
        name: name.to_owned(),
    }
}

/// Parses a line of `nodes`.
pub fn node_row(line: &str) -> NodeRow {
    let fields: Vec<_> = line.split(' ').collect();
    let [ip, port, liveness, files, load] = fields[..] else { panic!("not five fields: `{line}`") };
    assert!(["live", "suspect", "unproved"].contains(&liveness), "`{line}`");
    NodeRow {
        endpoint: endpoint(ip, port),
        liveness: liveness.to_owned(),
        files: number(files),
        load: (load != "-").then(|| number(load)),
    }
}

/// Parses a line of `list`: size, MD5, name.
pub fn list_row(line: &str) -> (u64, String, String) {
    let fields: Vec<_> = line.splitn(3, ' ').collect();
    let [size, md5, name] = fields[..] else { panic!("not three fields: `{line}`") };
    assert!(is_hex(md5, 32), "`{line}`");
    (number(size), md5.to_owned(), name.to_owned())
}

/// Parses the line of `getload`.
pub fn load_row(line: &str) -> (SocketAddr, u32) {
    let fields: Vec<_> = line.split(' ').collect();
    let [ip, port, "load", load] = fields[..] else { panic!("not a load: `{line}`") };
    (endpoint(ip, port), number(load))
}

/// Parses the `downloaded` line of a file called `name`.
pub fn downloaded_row(line: &str, name: &str) -> DownloadedRow {
    let rest = line
        .strip_prefix("downloaded ")
        .and_then(|rest| rest.strip_prefix(name))
        .and_then(|rest| rest.strip_prefix(' '))
        .unwrap_or_else(|| panic!("not the end of a download of `{name}`: `{line}`"));
    let (what, sources) = rest.split_once(" from ").unwrap_or_else(|| panic!("no source: `{line}`"));
    let fields: Vec<_> = what.split(' ').collect();
    let (size, algorithm, hex, md5_pieces) = match fields[..] {
        [size, "bytes", "md5", hex] if is_hex(hex, 32) => (size, "md5", hex, None),
        [size, "bytes", "b3", hex, "(md5", "of", pieces, "pieces)"] if is_hex(hex, 64) => {
            (size, "b3", hex, Some(number(pieces)))
        }
        _ => panic!("not in a known form: `{line}`"),
    };
    DownloadedRow {
        name: name.to_owned(),
        size: number(size),
        algorithm: algorithm.to_owned(),
        hex: hex.to_owned(),
        md5_pieces,
        sources: sources.split(',').map(number).collect(),
    }
}
