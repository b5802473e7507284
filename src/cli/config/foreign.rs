//! Translates the configuration files of the systems that nearpeer descends from: which of their keys are
//! flags here, and which are not used. Pure.
//!
//! There are three shapes: JSON with `server`, `peer` and `replication` (an index server and its peers), JSON
//! with `peer.configuration` or `self` (peers that ask each other), and INI with `[main]` and `address`,
//! `port`, `sup-port`, `dir` (weak and strong peers). For one program a key has one meaning in all shapes, so
//! no flag names the shape.

use super::file::Entry;
use super::program::Program;

/// Keys of those systems that are not used here, with all keys below them.
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

/// Returns the entries under the names of flags, and the keys that are not used.
pub(super) fn translate(program: Program, entries: &[Entry]) -> (Vec<Entry>, Vec<String>) {
    let find = |key: &str| entries.iter().find(|entry| entry.key == key).cloned();
    let first_of = |keys: &[&str]| keys.iter().find_map(|key| find(key));
    // The host and the port of an address are two entries. A missing one has its default.
    let join_address = |host: Option<Entry>, port: Option<Entry>, key: &str, default_port: &str| {
        let line = host.as_ref().or(port.as_ref())?.line;
        let host = host.map_or_else(|| "127.0.0.1".to_owned(), |entry| numeric_host(&entry.value));
        let port = port.map_or_else(|| default_port.to_owned(), |entry| entry.value);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Some(Entry { key: key.to_owned(), value: format!("{host}:{port}"), line })
    };
    let rename = |entry: Option<Entry>, key: &str| entry.map(|entry| Entry { key: key.to_owned(), ..entry });
    let mut translated = Vec::new();
    let mut used: Vec<&str> = Vec::new();
    let mut add = |entry: Option<Entry>, keys: &[&'static str]| {
        used.extend(keys);
        translated.extend(entry);
    };
    let (server_host, server_port) = (find("server.host"), find("server.port"));
    let factor = first_of(&["replication.replication-factor", "replication-factor"]);
    match program {
        Program::Tracker => {
            let port = server_port.or_else(|| find("port"));
            add(join_address(server_host, port, "listen", "5025"), &["server.host", "server.port", "port"]);
            add(rename(factor, "replicas"), &["replication.replication-factor", "replication-factor"]);
        }
        Program::Node => {
            let host = server_host.or_else(|| find("address"));
            let port = server_port.or_else(|| find("sup-port"));
            let keys = ["server.host", "server.port", "address", "sup-port"];
            add(join_address(host, port, "tracker", "5025"), &keys);
            add(rename(find("peer.base-port"), "base-port"), &["peer.base-port"]);
            let own_host = ["peer.configuration.self.host", "self.host"];
            let ip = first_of(&own_host).map(|entry| Entry { value: numeric_host(&entry.value), ..entry });
            add(rename(ip, "ip"), &own_host);
            let own_port = ["peer.configuration.self.port", "self.port"];
            add(rename(first_of(&own_port), "port"), &own_port);
            let shared = ["shared-directory", "file.shared-directory", "--c.file.shared-directory"];
            add(rename(first_of(&shared), "dir"), &shared);
            let saved = ["save-directory", "file.save-directory", "--c.file.save-directory"];
            add(rename(first_of(&saved), "save-dir"), &saved);
        }
    }
    let is_unused = |key: &str| {
        UNUSED.iter().any(|prefix| {
            // `log` itself is a flag of the programs.
            let is_key = key == *prefix && key != "log";
            is_key || key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
        })
    };
    let rest = entries.iter().filter(|entry| !used.contains(&entry.key.as_str()));
    let (unused, own): (Vec<_>, Vec<_>) = rest.cloned().partition(|entry| is_unused(&entry.key));
    translated.extend(own);
    (translated, unused.into_iter().map(|entry| entry.key).collect())
}

/// Returns `host` as a flag accepts it: `localhost` becomes its address. Other names are not looked up.
fn numeric_host(host: &str) -> String {
    if host == "localhost" { "127.0.0.1".to_owned() } else { host.to_owned() }
}
