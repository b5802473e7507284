//! What results look like: pure functions from reports to lines, without the last newline.
//!
//! These forms are documented and read by scripts: a change here is a change of interface. Names come last where they may hold
//! spaces, and always in their escaped form.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::node::{Downloaded, FindReport, FoundRow, Outcome, ScanSummary, Variant};
use crate::types::{FileEntry, FileName, Geometry, Holding, NodeSummary};

/// What `find` prints when nobody has it.
pub const NO_NODES: &str = "No nodes found";

/// `Found nodes:` and one line per source, or [`NO_NODES`].
pub fn found(report: &FindReport) -> String {
    if report.groups.iter().all(|group| group.rows.is_empty()) {
        return NO_NODES.to_owned();
    }
    let rows = report.groups.iter().flat_map(|group| &group.rows);
    rows.fold("Found nodes:".to_owned(), |text, row| text + "\n" + &found_row(row))
}

/// `<ip> <port> <size> <md5> <latency_ms> <load> <score> <b3> full|<have>/<total> <name>`; `-` for what an own file has not.
fn found_row(row: &FoundRow) -> String {
    let FileEntry { name, size_bytes, md5, content, .. } = &row.entry;
    let (ip, port, b3) = (row.endpoint.ip(), row.endpoint.port(), content.short());
    let rating = row.rating.map_or_else(
        || "- - -".to_owned(),
        |rating| format!("{} {} {}", rating.candidate.latency, rating.candidate.load, rating.score),
    );
    let holding = match row.entry.holding {
        Holding::Full => "full".to_owned(),
        Holding::Pieces(have) => format!("{have}/{}", Geometry::of(*size_bytes).count().unwrap_or(u32::MAX)),
    };
    format!("{ip} {port} {size_bytes} {md5} {rating} {b3} {holding} {name}")
}

/// `downloaded ...` or `already here ...`.
pub fn downloaded(done: &Downloaded) -> String {
    let (name, size_bytes, id) = (&done.name, done.key.size_bytes, done.key.id);
    match &done.outcome {
        Outcome::AlreadyHere => format!("already here {name} {size_bytes} bytes b3 {id}"),
        Outcome::Fetched { md5, pieces, sources } => {
            let digest = match md5 {
                Some(md5) => format!("md5 {md5}"),
                None => format!("b3 {id} (md5 of {pieces} pieces)"),
            };
            let sources: Vec<_> = sources.iter().map(SocketAddr::to_string).collect();
            format!("downloaded {name} {size_bytes} bytes {digest} from {}", sources.join(","))
        }
    }
}

/// `updated <n> files +<added> -<removed> ~<changed>`.
pub fn updated(scan: &ScanSummary) -> String {
    let ScanSummary { files, added, removed, changed } = scan;
    format!("updated {files} files +{added} -{removed} ~{changed}")
}

/// `<ip> <port> load <n>`.
pub fn load(endpoint: SocketAddr, load: u32) -> String {
    format!("{} {} load {load}", endpoint.ip(), endpoint.port())
}

/// `<size> <md5> <name>`, a line per file.
pub fn files(entries: &[FileEntry]) -> String {
    let lines: Vec<_> =
        entries.iter().map(|entry| format!("{} {} {}", entry.size_bytes, entry.md5, entry.name)).collect();
    lines.join("\n")
}

/// `<ip> <port> live|suspect|unproved <files> <load>|-`, a line per node.
pub fn nodes(nodes: &[NodeSummary]) -> String {
    let mut text = String::new();
    for node in nodes {
        let load = node.load.map_or_else(|| "-".to_owned(), |load| load.to_string());
        let (ip, port) = (node.endpoint.ip(), node.endpoint.port());
        let separator = if text.is_empty() { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{separator}{ip} {port} {} {} {load}", node.liveness, node.files);
    }
    text
}

/// `node listening on ADDR:PORT`.
pub fn listening(program: &str, addr: SocketAddr) -> String {
    format!("{program} listening on {addr}")
}

/// What an ambiguous name could mean, and what to type for each.
pub fn variants(name: &FileName, variants: &[Variant]) -> String {
    let quoted = quoted(name);
    let lines: Vec<_> = variants
        .iter()
        .map(|Variant { key, md5, live_full_holders }| {
            let (size_bytes, b3) = (key.size_bytes, key.id.short());
            format!(
                "  {size_bytes} bytes md5 {md5} b3 {b3}, {live_full_holders} live full: \
                 download {quoted} --checksum b3={b3}"
            )
        })
        .collect();
    lines.join("\n")
}

/// A name as it is typed, with `--` before one that would be taken for an option or a digest.
pub fn quoted(name: &FileName) -> String {
    let text = name.as_str();
    let word = quoted_word(name);
    let hides = text.starts_with('-') || text.starts_with("md5=") || text.starts_with("b3=");
    if hides { format!("-- {word}") } else { word }
}

/// A name as it is typed after `--`: quoted where splitting into words needs it.
pub fn quoted_word(name: &FileName) -> String {
    // Only a NUL cannot be quoted, and a name has none.
    shlex::try_quote(name.as_str()).map_or_else(|_| name.as_str().to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::select::{Candidate, LatencyOrigin, Rating};
    use crate::node::FoundGroup;
    use crate::types::{ContentId, ContentKey, Liveness, Md5Digest, Md5Origin, Millis, NodeId};

    const MD5: &str = "abababababababababababababababab";
    const B3: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn name(text: &str) -> FileName {
        FileName::new(text).expect("a name")
    }

    fn key(size_bytes: u64) -> ContentKey {
        ContentKey { size_bytes, id: ContentId([0xcd; 32]) }
    }

    fn entry(text: &str, size_bytes: u64, holding: Holding) -> FileEntry {
        FileEntry {
            name: name(text),
            size_bytes,
            mtime_ns: 0,
            content: ContentId([0xcd; 32]),
            md5: Md5Digest([0xab; 16]),
            md5_origin: Md5Origin::Computed,
            holding,
            attributes: vec![],
        }
    }

    fn rated(port: u16, latency: &str, load: u32, score: &str, entry: FileEntry) -> FoundRow {
        let candidate = Candidate {
            endpoint: addr(port),
            latency: latency.parse().expect("ms"),
            latency_origin: LatencyOrigin::Table,
            load,
            yours: 0,
        };
        let score: Millis = score.parse().expect("ms");
        FoundRow { endpoint: addr(port), http: None, entry, rating: Some(Rating { candidate, score }) }
    }

    #[test]
    fn find_prints_a_line_per_source() {
        assert_eq!(found(&FindReport::default()), "No nodes found");
        let rows = vec![
            rated(5002, "12.5", 3, "42.5", entry("a b.bin", 3_000_000, Holding::Full)),
            rated(5003, "100", 0, "100", entry("a b.bin", 3_000_000, Holding::Pieces(1))),
            FoundRow {
                http: None,
                endpoint: addr(5001),
                entry: entry("x\u{202e}y", 3_000_000, Holding::Full),
                rating: None,
            },
        ];
        let report = FindReport { groups: vec![FoundGroup { key: key(3_000_000), rows }], silent: vec![] };
        assert_eq!(
            found(&report),
            format!(
                "Found nodes:\n\
                 127.0.0.1 5002 3000000 {MD5} 12.5 3 42.5 cdcdcdcdcdcdcdcd full a b.bin\n\
                 127.0.0.1 5003 3000000 {MD5} 100 0 100 cdcdcdcdcdcdcdcd 1/3 a b.bin\n\
                 127.0.0.1 5001 3000000 {MD5} - - - cdcdcdcdcdcdcdcd full x\\u{{202e}}y"
            )
        );
    }

    #[test]
    fn a_download_says_which_digest_was_computed_and_where_the_bytes_came_from() {
        let done = |outcome| downloaded(&Downloaded { name: name("a.bin"), key: key(7), outcome });
        let sources = vec![addr(5002), "[::1]:5003".parse().expect("an address")];
        let md5 = Some(Md5Digest([0xab; 16]));
        assert_eq!(
            done(Outcome::Fetched { md5, pieces: 1, sources: sources.clone() }),
            format!("downloaded a.bin 7 bytes md5 {MD5} from 127.0.0.1:5002,[::1]:5003")
        );
        assert_eq!(
            done(Outcome::Fetched { md5: None, pieces: 24, sources }),
            format!("downloaded a.bin 7 bytes b3 {B3} (md5 of 24 pieces) from 127.0.0.1:5002,[::1]:5003")
        );
        assert_eq!(done(Outcome::AlreadyHere), format!("already here a.bin 7 bytes b3 {B3}"));
    }

    #[test]
    fn the_short_forms_are_exact() {
        assert_eq!(
            updated(&ScanSummary { files: 4, added: 1, removed: 2, changed: 3 }),
            "updated 4 files +1 -2 ~3"
        );
        assert_eq!(load(addr(5002), 12), "127.0.0.1 5002 load 12");
        assert_eq!(listening("node", addr(5002)), "node listening on 127.0.0.1:5002");
        let listed = [entry("a b", 0, Holding::Full), entry("c\\d", 5, Holding::Full)];
        assert_eq!(files(&listed), format!("0 {MD5} a b\n5 {MD5} c\\\\d"));
        assert_eq!(files(&[]), "");
    }

    #[test]
    fn nodes_prints_a_line_per_node() {
        let node = |port, liveness, load| NodeSummary {
            node: NodeId(1),
            endpoint: addr(port),
            liveness,
            files: 9,
            load,
            attributes: Vec::new(),
        };
        let all = [
            node(5001, Liveness::Live, Some(2)),
            node(5002, Liveness::Suspect, None),
            node(5003, Liveness::Unproved, Some(0)),
        ];
        assert_eq!(
            nodes(&all),
            "127.0.0.1 5001 live 9 2\n127.0.0.1 5002 suspect 9 -\n127.0.0.1 5003 unproved 9 0"
        );
    }

    #[test]
    fn variants_say_what_to_type() {
        let variant = Variant { key: key(7), md5: Md5Digest([0xab; 16]), live_full_holders: 1 };
        assert_eq!(
            variants(&name("a b"), &[variant]),
            format!(
                "  7 bytes md5 {MD5} b3 cdcdcdcdcdcdcdcd, 1 live full: \
                 download 'a b' --checksum b3=cdcdcdcdcdcdcdcd"
            )
        );
    }

    proptest::proptest! {
        #[test]
        fn a_quoted_name_is_read_back(text in "[ -~]{1,20}") {
            if let Ok(name) = FileName::new(&text) {
                let line = format!("find {}", quoted(&name));
                let expected = crate::cli::command::Command::Find(crate::types::Query::Name(name));
                proptest::prop_assert_eq!(crate::cli::command::parse(&line), Ok(Some(expected)));
            }
        }
    }
}
