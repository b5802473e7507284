//! How a command reaches the node that shares a directory: a socket in its `.nearpeer/`.
//!
//! One request a connection: a line of JSON with the words of a command, `{"words":["find","a.bin"]}`. The
//! answer is events, one a line; the last is `end`. Who closes the connection cancels the command. Only the
//! node's own user and root are served, and only they are asked.

pub mod client;
pub mod server;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::args::command::{Command, Listed};
use crate::types::{Checksum, Query};

const DIRECTORY: &str = ".nearpeer";
const SOCKET: &str = "node.sock";

/// What is asked of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// As they are typed at the prompt, already split.
    pub words: Vec<String>,
}

/// The socket's directory, and the path by which the socket in it is reached whatever the length of the
/// directory's own.
fn socket_in(share: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(share.join(DIRECTORY), flags, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()));
    Ok((dir, path))
}

/// Returns true if and only if the other end is of the same user, or root.
fn is_ours(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

/// A command as words; `None` for what is not handed over.
pub fn words(command: &Command) -> Option<Vec<String>> {
    let asked = |verb: &str, query: &Query| match query {
        Query::Name(name) => vec![verb.to_owned(), "--".to_owned(), name.as_str().to_owned()],
        Query::Md5(md5) => vec![verb.to_owned(), Checksum::Md5(*md5).to_string()],
        Query::Content(prefix) => vec![verb.to_owned(), Checksum::Content(*prefix).to_string()],
    };
    let plain = |verb: &str| vec![verb.to_owned()];
    Some(match command {
        Command::Find(query) => asked("find", query),
        Command::Sources(query) => asked("sources", query),
        Command::Download(request) => {
            let mut words = plain("download");
            words.extend(request.checksum.map(|checksum| format!("--checksum={checksum}")));
            words.extend(request.verify_whole.then(|| "--verify=whole".to_owned()));
            words.extend(request.force.then(|| "--force".to_owned()));
            words.extend(["--".to_owned(), request.name.as_str().to_owned()]);
            words
        }
        Command::GetLoad(SocketAddr::V4(addr)) => {
            vec!["getload".to_owned(), addr.ip().to_string(), addr.port().to_string()]
        }
        Command::GetLoad(SocketAddr::V6(addr)) => {
            vec!["getload".to_owned(), addr.ip().to_string(), addr.port().to_string()]
        }
        Command::List(Listed::Own(None)) => plain("list"),
        Command::List(Listed::Own(Some(kind))) => vec!["list".to_owned(), kind.to_string()],
        Command::Replicate { query, copies } => {
            let mut words = asked("replicate", query);
            words.insert(1, format!("--copies={copies}"));
            words
        }
        Command::List(Listed::Swarm) => vec!["list".to_owned(), "swarm".to_owned()],
        Command::Nodes => plain("nodes"),
        Command::Stats => plain("stats"),
        Command::UpdateList => plain("updatelist"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::command;

    #[test]
    fn words_are_read_back_as_the_command() {
        for line in [
            "find a.bin",
            "find -- -rf",
            "find -- md5=x",
            "find b3=af1349b9f5f9a1a6",
            "sources 'a b'",
            "download a",
            "download --checksum b3=af1349b9f5f9a1a6 --verify whole --force -- --force",
            "getload 127.0.0.1 5001",
            "getload ::1 1",
            "list",
            "list swarm",
            "list downloaded",
            "replicate 'a b' --copies 3",
            "nodes",
            "stats",
            "updatelist",
        ] {
            let command = command::parse(line).expect(line).expect(line);
            let words = words(&command).unwrap_or_else(|| panic!("{line} is handed over"));
            assert_eq!(command::parse_words(&words), Ok(Some(command)), "{line}");
        }
        assert_eq!(words(&Command::Exit), None);
    }
}
