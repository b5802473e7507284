//! The configurations of the systems that nearpeer descends from: which of their keys are flags here, and
//! which are not used.
//!
//! There are three shapes: JSON with `server`, `peer` and `replication` (an index server and its peers), JSON
//! with `peer.configuration` or `self` (peers that ask each other), and INI with `[main]` and `address`,
//! `port`, `sup-port`, `dir` (weak and strong peers). None of these keys is a flag here, so that no flag has
//! to name the shape. Pure.

use super::file::Entry;
use super::program::Program;

/// Prefixes of keys of those systems that are not used here.
const UNUSED: [&str; 20] = [
    "chunk-size",
    "client",
    "dataset",
    "docker",
    "file",
    "log",
    "logging",
    "map",
    "metrics",
    "network",
    "paths",
    "peer",
    "peers",
    "query",
    "replication",
    "server",
    "transfer",
    "user",
    "verbosity",
    "--c",
];

/// The entries under the names of flags, and the keys that are not used.
pub(super) fn translated(program: Program, entries: &[Entry]) -> (Vec<Entry>, Vec<String>) {
    let find = |key: &str| entries.iter().find(|entry| entry.key == key).cloned();
    let any = |keys: &[&str]| keys.iter().find_map(|key| find(key));
    // An address is in two entries. If one is missing, it has its default.
    let joined = |host: Option<Entry>, port: Option<Entry>, key: &str, default_port: &str| {
        let line = host.as_ref().or(port.as_ref())?.line;
        let host = host.map_or_else(|| "127.0.0.1".to_owned(), |entry| numeric(&entry.value));
        let port = port.map_or_else(|| default_port.to_owned(), |entry| entry.value);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Some(Entry { key: key.to_owned(), value: format!("{host}:{port}"), line })
    };
    let renamed = |entry: Option<Entry>, key: &str| entry.map(|entry| Entry { key: key.to_owned(), ..entry });
    let mut translated = Vec::new();
    let mut used: Vec<&str> = Vec::new();
    let mut add = |entry: Option<Entry>, keys: &[&'static str]| {
        used.extend(keys);
        translated.extend(entry);
    };
    let server = (find("server.host"), find("server.port"));
    let factor = any(&["replication.replication-factor", "replication-factor"]);
    match program {
        Program::Tracker => {
            let port = server.1.or_else(|| find("port"));
            add(joined(server.0, port, "listen", "5025"), &["server.host", "server.port", "port"]);
            add(renamed(factor, "replicas"), &["replication.replication-factor", "replication-factor"]);
        }
        Program::Node => {
            let (host, port) = (server.0.or_else(|| find("address")), server.1.or_else(|| find("sup-port")));
            let keys = ["server.host", "server.port", "address", "sup-port"];
            add(joined(host, port, "tracker", "5025"), &keys);
            add(renamed(find("peer.base-port"), "base-port"), &["peer.base-port"]);
            let of_self = ["peer.configuration.self.host", "self.host"];
            let ip = any(&of_self).map(|entry| Entry { value: numeric(&entry.value), ..entry });
            add(renamed(ip, "ip"), &of_self);
            let of_self = ["peer.configuration.self.port", "self.port"];
            add(renamed(any(&of_self), "port"), &of_self);
            let shared = ["shared-directory", "file.shared-directory", "--c.file.shared-directory"];
            add(renamed(any(&shared), "dir"), &shared);
            let saved = ["save-directory", "file.save-directory", "--c.file.save-directory"];
            add(renamed(any(&saved), "save-dir"), &saved);
        }
    }
    let is_unused = |key: &str| {
        UNUSED.iter().any(|prefix| {
            key == *prefix || key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
        })
    };
    let rest = entries.iter().filter(|entry| !used.contains(&entry.key.as_str()));
    let (unused, own): (Vec<_>, Vec<_>) = rest.cloned().partition(|entry| is_unused(&entry.key));
    translated.extend(own);
    (translated, unused.into_iter().map(|entry| entry.key).collect())
}

/// Host names are not looked up. Only `localhost` is translated.
fn numeric(host: &str) -> String {
    if host == "localhost" { "127.0.0.1".to_owned() } else { host.to_owned() }
}
