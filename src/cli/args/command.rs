//! The command language: what may be typed at the prompt or sent down a pipe.
//!
//! A line is split as a shell would (quotes, backslashes, `#` begins a comment) and becomes a [`Command`] or
//! an error that names the word. Foreign text is shown escaped; nothing here does anything.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::programs::rate;
use crate::node::{DownloadRequest, JobId};
use crate::types::{Checksum, ChecksumError, FileName, FileOrigin, NameError, Printable, Query, limits};

/// What can be asked of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    UpdateList,
    Find(Query),
    Download(DownloadRequest),
    GetLoad(SocketAddr),
    Sources(Query),
    List(Listed),
    Nodes,
    Stats,
    /// A download that nobody waits for.
    Background(DownloadRequest),
    Jobs,
    Job(Deed, JobId),
    Replicate {
        query: Query,
        copies: u32,
    },
    /// `None`: show it. `Some(None)`: no limit.
    Limit(Option<Option<u64>>),
    Help,
    /// What one command takes.
    HelpOn(&'static str),
    Exit,
}

/// What is done to a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Cancel,
    Pause,
    Resume,
}

/// Which files `list` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Those of the own share, of one kind or all.
    Own(Option<FileOrigin>),
    /// Those that the tracker knows.
    Swarm,
}

/// Every word that begins a command, for suggestions and completion.
pub const VERBS: [&str; 18] = [
    "cancel",
    "download",
    "exit",
    "find",
    "getload",
    "help",
    "jobs",
    "limit",
    "list",
    "lookup",
    "nodes",
    "pause",
    "quit",
    "replicate",
    "resume",
    "sources",
    "stats",
    "updatelist",
];

/// What `list` takes.
pub const KINDS: [&str; 5] = ["all", "downloaded", "local", "replicated", "swarm"];

/// The options of `download`.
pub const DOWNLOAD_OPTIONS: [&str; 3] = ["--checksum", "--force", "--verify"];

/// What `help` shows.
pub const HELP: &str = "\
updatelist                    read the own directory again and publish what has changed
find NAME|md5=HEX|b3=HEX      show who has it, best source first, parts last
lookup NAME                   the same as find
sources NAME                  why the sources rank as they do: score = latency + weight * load
download NAME [options]       fetch it from the best source, verified
  --checksum md5=HEX|b3=HEX     the content must have this digest
  --verify whole                hash the whole file before it is put in place
  --force                       replace a file of that name
  &                             at the end: in the background
replicate NAME --copies N     have nodes that allow it keep N copies; 0: no more than there are
jobs                          the downloads of this node
pause N, resume N, cancel N   what becomes of a download
limit [RATE|off]              how fast all uploads together may be, as in 512k, 10M or 1GiB
getload IP PORT               the load of a node
list [KIND]                   the own files: local, downloaded, replicated, all; or swarm: all names
nodes                         the nodes that the tracker knows
stats                         what has been shared, found and downloaded
help                          this text
exit                          leave
Quote a name that has spaces: download 'my file'. After -- a name may begin with a dash or with md5=.";

/// Why a line is no command. Foreign text in it is escaped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseError {
    #[error("a quote is not closed, or a backslash ends the line: close it, or put the name in other quotes")]
    UnbalancedQuote,
    #[error("unknown command `{word}`: {}", suggestion(.meant, "help lists them"))]
    UnknownCommand { word: String, meant: Option<&'static str> },
    #[error("`{verb}`: unknown option `{option}`: {}", suggestion(.meant, "a name that begins with a dash goes after --"))]
    UnknownOption { verb: &'static str, option: String, meant: Option<&'static str> },
    #[error("`{verb}`: {what} is missing: {usage}")]
    Missing { verb: &'static str, what: &'static str, usage: &'static str },
    #[error("`{verb}`: `{word}` is one word too many: {usage}")]
    Superfluous { verb: &'static str, word: String, usage: &'static str },
    #[error("`{option}` is given twice")]
    Twice { option: &'static str },
    #[error("`list`: unknown kind `{word}`: {}", suggestion(.meant, "give local, downloaded, replicated, all or swarm"))]
    Kind { word: String, meant: Option<&'static str> },
    #[error("`{0}` is not an IP address: give numbers, as in 127.0.0.1 or ::1")]
    Ip(String),
    #[error("`{0}` is not a port: give a number from 1 to 65535")]
    Port(String),
    #[error("`{0}` is not the number of a download: `jobs` lists them")]
    Number(String),
    #[error("`{0}` is not a number of copies: give 0 to {max}", max = limits::REPLICA_COPIES_MAX)]
    Copies(String),
    #[error("`{0}` is not a rate: give bytes per second, as in 512k, 10M or 1GiB, or off")]
    Rate(String),
    #[error("--verify `{0}`: only `whole` is known")]
    Verify(String),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
}

fn suggestion(meant: &Option<&'static str>, otherwise: &str) -> String {
    meant.map_or_else(|| otherwise.to_owned(), |word| format!("did you mean `{word}`?"))
}

/// Reads one line; `None` if it has no word.
///
/// # Errors
/// See [`ParseError`].
pub fn parse(line: &str) -> Result<Option<Command>, ParseError> {
    parse_words(&shlex::split(line).ok_or(ParseError::UnbalancedQuote)?)
}

/// The same for a line that was split already.
///
/// # Errors
/// See [`ParseError`].
pub fn parse_words(words: &[String]) -> Result<Option<Command>, ParseError> {
    let Some((verb, words)) = words.split_first() else { return Ok(None) };
    let asks_help =
        words.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h");
    if let (true, Some(verb)) = (asks_help, VERBS.iter().find(|known| *known == verb)) {
        return Ok(Some(Command::HelpOn(verb)));
    }
    let command = match verb.as_str() {
        "updatelist" => bare("updatelist", words, Command::UpdateList)?,
        "find" => Command::Find(query("find", "find NAME|md5=HEX|b3=HEX", words)?),
        "lookup" => Command::Find(query("lookup", "lookup NAME|md5=HEX|b3=HEX", words)?),
        "sources" => Command::Sources(query("sources", "sources NAME|md5=HEX|b3=HEX", words)?),
        "download" => match words {
            [rest @ .., last] if last == "&" && !rest.is_empty() => Command::Background(download(rest)?),
            words => Command::Download(download(words)?),
        },
        "replicate" => replicate(words)?,
        "jobs" => bare("jobs", words, Command::Jobs)?,
        "cancel" => Command::Job(Deed::Cancel, number("cancel", "cancel N", words)?),
        "pause" => Command::Job(Deed::Pause, number("pause", "pause N", words)?),
        "resume" => Command::Job(Deed::Resume, number("resume", "resume N", words)?),
        "limit" => Command::Limit(limit(words)?),
        "getload" => Command::GetLoad(getload(words)?),
        "list" => Command::List(list(words)?),
        "nodes" => bare("nodes", words, Command::Nodes)?,
        "stats" => bare("stats", words, Command::Stats)?,
        // What follows is what help is wanted for; the one page has it all.
        "help" | "?" | "h" => Command::Help,
        "exit" | "quit" => bare("exit", words, Command::Exit)?,
        word => return Err(ParseError::UnknownCommand { word: shown(word), meant: closest(word, &VERBS) }),
    };
    Ok(Some(command))
}

/// The words of a tracker's prompt.
pub const TRACKER_VERBS: [&str; 8] = ["exit", "files", "find", "help", "nodes", "quit", "stats", "stop"];

/// What `help` shows at a tracker's prompt.
pub const TRACKER_HELP: &str = "\
nodes                         the nodes that are known
files                         the names that have a live holder
find NAME|md5=HEX|b3=HEX      show who has it, best source first, as seen from here
stats                         how many nodes there are, and what was asked of the tracker
help                          this text
stop                          stop the tracker";

/// Reads one line of a tracker's prompt; `None` if it has no word.
///
/// # Errors
/// See [`ParseError`].
pub fn parse_tracker(line: &str) -> Result<Option<Command>, ParseError> {
    let words = shlex::split(line).ok_or(ParseError::UnbalancedQuote)?;
    let Some((verb, rest)) = words.split_first() else { return Ok(None) };
    Ok(Some(match (verb.as_str(), rest) {
        ("nodes", _) => bare("nodes", rest, Command::Nodes)?,
        ("files", _) => bare("files", rest, Command::List(Listed::Swarm))?,
        // As in the systems that this one descends from.
        ("list", [what]) if what == "nodes" => Command::Nodes,
        ("list", [what]) if what == "files" => Command::List(Listed::Swarm),
        ("find" | "lookup", _) => Command::Find(query("find", "find NAME|md5=HEX|b3=HEX", rest)?),
        ("stats", _) => bare("stats", rest, Command::Stats)?,
        ("help" | "?" | "h", _) => Command::Help,
        ("stop" | "exit" | "quit", _) => bare("stop", rest, Command::Exit)?,
        (word, _) => {
            return Err(ParseError::UnknownCommand {
                word: shown(word),
                meant: closest(word, &TRACKER_VERBS),
            });
        }
    }))
}

/// Foreign text, inert and short.
fn shown(text: &str) -> String {
    const MAX_BYTES: usize = 120;
    let kept = &text[..text.floor_char_boundary(MAX_BYTES)];
    let dots = if kept.len() < text.len() { "..." } else { "" };
    format!("{}{dots}", Printable(kept))
}

/// The word of `known` that `word` was likely meant to be.
fn closest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    const LIKELY: f64 = 0.6;
    // Nobody mistypes a short word by this much, and the comparison is quadratic.
    if word.len() > 32 {
        return None;
    }
    let word = word.to_lowercase();
    let likeness = |candidate: &str| match candidate.starts_with(&word) {
        true => 1.0,
        false => strsim::normalized_damerau_levenshtein(&word, candidate),
    };
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > LIKELY).then_some(best)
}

fn bare(verb: &'static str, words: &[String], command: Command) -> Result<Command, ParseError> {
    match words.first() {
        None => Ok(command),
        Some(word) => Err(ParseError::Superfluous { verb, word: shown(word), usage: verb }),
    }
}

fn query(verb: &'static str, usage: &'static str, words: &[String]) -> Result<Query, ParseError> {
    let (literal, words) = match words.split_first() {
        Some((dashes, rest)) if dashes == "--" => (true, rest),
        _ => (false, words),
    };
    let word = match words {
        [] => return Err(ParseError::Missing { verb, what: "a name or a digest", usage }),
        [word] => word,
        [_, word, ..] => {
            return Err(ParseError::Superfluous { verb, word: shown(word), usage });
        }
    };
    if !literal && word.starts_with('-') {
        return Err(ParseError::UnknownOption { verb, option: shown(word), meant: None });
    }
    query_of(word, literal)
}

/// What a word asks for; `literal`: it is a name, whatever it looks like.
///
/// # Errors
/// [`ParseError::Checksum`] and [`ParseError::Name`].
pub(crate) fn query_of(word: &str, literal: bool) -> Result<Query, ParseError> {
    if !literal && (word.starts_with("md5=") || word.starts_with("b3=")) {
        return Ok(match word.parse()? {
            Checksum::Md5(digest) => Query::Md5(digest),
            Checksum::Content(prefix) => Query::Content(prefix),
        });
    }
    Ok(Query::Name(FileName::new(word)?))
}

/// What `list` is to show.
///
/// # Errors
/// [`ParseError::Kind`] and [`ParseError::Superfluous`].
pub(crate) fn list(words: &[String]) -> Result<Listed, ParseError> {
    match words {
        [] => Ok(Listed::Own(None)),
        [kind] => match kind.as_str() {
            "all" => Ok(Listed::Own(None)),
            "swarm" => Ok(Listed::Swarm),
            word => match word.parse() {
                Ok(kind) => Ok(Listed::Own(Some(kind))),
                Err(_) => Err(ParseError::Kind { word: shown(word), meant: closest(word, &KINDS) }),
            },
        },
        [_, word, ..] => Err(ParseError::Superfluous {
            verb: "list",
            word: shown(word),
            usage: "list [local|downloaded|replicated|all|swarm]",
        }),
    }
}

fn download(words: &[String]) -> Result<DownloadRequest, ParseError> {
    const USAGE: &str = "download NAME [--checksum md5=HEX|b3=HEX] [--verify whole] [--force]";
    const VERB: &str = "download";
    let (mut name, mut checksum, mut verify, mut force) = (None, None, None, None);
    let (mut words, mut literal) = (words.iter(), false);
    while let Some(word) = words.next() {
        if literal || !word.starts_with('-') {
            if name.is_some() {
                return Err(ParseError::Superfluous { verb: VERB, word: shown(word), usage: USAGE });
            }
            name = Some(FileName::new(word)?);
            continue;
        }
        let (option, attached) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let mut value = |what| {
            let value = attached.clone().or_else(|| words.next().cloned());
            value.ok_or(ParseError::Missing { verb: VERB, what, usage: USAGE })
        };
        match option {
            "--" if attached.is_none() => literal = true,
            "--checksum" => set(&mut checksum, "--checksum", value("the digest of --checksum")?.parse()?)?,
            "--verify" => match value("`whole` of --verify")?.as_str() {
                "whole" => set(&mut verify, "--verify", ())?,
                other => return Err(ParseError::Verify(shown(other))),
            },
            "--force" if attached.is_none() => set(&mut force, "--force", ())?,
            _ => {
                let meant = closest(option, &DOWNLOAD_OPTIONS).filter(|_| option.starts_with("--"));
                return Err(ParseError::UnknownOption { verb: VERB, option: shown(word), meant });
            }
        }
    }
    let name = name.ok_or(ParseError::Missing { verb: VERB, what: "a name", usage: USAGE })?;
    Ok(DownloadRequest { name, checksum, verify_whole: verify.is_some(), force: force.is_some() })
}

fn set<T>(slot: &mut Option<T>, option: &'static str, value: T) -> Result<(), ParseError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ParseError::Twice { option }),
    }
}

fn replicate(words: &[String]) -> Result<Command, ParseError> {
    const USAGE: &str = "replicate NAME|md5=HEX|b3=HEX --copies N";
    let missing = |what| ParseError::Missing { verb: "replicate", what, usage: USAGE };
    let literal = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let is_option = |word: &String| word == "--copies" || word.starts_with("--copies=");
    let at = words[..literal].iter().position(is_option).ok_or_else(|| missing("--copies"))?;
    let (number, used) = match words[at].split_once('=') {
        Some((_, number)) => (number, 1),
        None => (words.get(at + 1).ok_or_else(|| missing("the number of --copies"))?.as_str(), 2),
    };
    let copies = number.parse().ok().filter(|copies| *copies <= limits::REPLICA_COPIES_MAX);
    let copies = copies.ok_or_else(|| ParseError::Copies(shown(number)))?;
    let rest = [&words[..at], &words[at + used..]].concat();
    Ok(Command::Replicate { query: query("replicate", USAGE, &rest)?, copies })
}

fn number(verb: &'static str, usage: &'static str, words: &[String]) -> Result<JobId, ParseError> {
    match words {
        [] => Err(ParseError::Missing { verb, what: "the number of a download", usage }),
        [word] => word.parse().map(JobId).map_err(|_| ParseError::Number(shown(word))),
        [_, word, ..] => Err(ParseError::Superfluous { verb, word: shown(word), usage }),
    }
}

fn limit(words: &[String]) -> Result<Option<Option<u64>>, ParseError> {
    match words {
        [] => Ok(None),
        [word] if word == "off" => Ok(Some(None)),
        [word] => rate(word).map(|rate| Some(Some(rate))).map_err(|_| ParseError::Rate(shown(word))),
        [_, word, ..] => {
            Err(ParseError::Superfluous { verb: "limit", word: shown(word), usage: "limit [RATE|off]" })
        }
    }
}

fn getload(words: &[String]) -> Result<SocketAddr, ParseError> {
    const USAGE: &str = "getload IP PORT";
    let missing = |what| ParseError::Missing { verb: "getload", what, usage: USAGE };
    let mut words = words.iter();
    let ip = words.next().ok_or_else(|| missing("an IP address"))?;
    let ip: IpAddr = ip.parse().map_err(|_| ParseError::Ip(shown(ip)))?;
    let port = words.next().ok_or_else(|| missing("a port"))?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| ParseError::Port(shown(port)))?;
    match words.next() {
        None => Ok(SocketAddr::new(ip, port)),
        Some(word) => Err(ParseError::Superfluous { verb: "getload", word: shown(word), usage: USAGE }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";
    const B3: &str = "af1349b9f5f9a1a6";

    fn name(text: &str) -> FileName {
        FileName::new(text).expect("a name")
    }

    fn check(line: &str, expected: Command) {
        assert_eq!(parse(line), Ok(Some(expected)), "{line:?}");
    }

    fn check_error(line: &str, expected: &str) {
        assert_eq!(parse(line).expect_err(line).to_string(), expected, "{line:?}");
    }

    fn request(text: &str) -> DownloadRequest {
        DownloadRequest { name: name(text), checksum: None, verify_whole: false, force: false }
    }

    #[test]
    fn lines_are_read_as_commands() {
        for empty in ["", "   ", "\t", "# a comment"] {
            assert_eq!(parse(empty), Ok(None), "{empty:?}");
        }
        check("updatelist", Command::UpdateList);
        check("  list  ", Command::List(Listed::Own(None)));
        check("list replicated", Command::List(Listed::Own(Some(FileOrigin::Replicated))));
        check("replicate a --copies 2", Command::Replicate { query: Query::Name(name("a")), copies: 2 });
        check(
            "replicate --copies=0 -- -rf",
            Command::Replicate { query: Query::Name(name("-rf")), copies: 0 },
        );
        check("list local", Command::List(Listed::Own(Some(FileOrigin::Local))));
        check("list all", Command::List(Listed::Own(None)));
        check("list swarm", Command::List(Listed::Swarm));
        check("stats", Command::Stats);
        check("download a &", Command::Background(request("a")));
        check("download -- -rf &", Command::Background(request("-rf")));
        check("download &", Command::Download(request("&")));
        check("jobs", Command::Jobs);
        check("cancel 3", Command::Job(Deed::Cancel, JobId(3)));
        check("pause 3", Command::Job(Deed::Pause, JobId(3)));
        check("limit", Command::Limit(None));
        check("limit off", Command::Limit(Some(None)));
        check("limit 512k", Command::Limit(Some(Some(512_000))));
        check("download --help", Command::HelpOn("download"));
        check("find a -h", Command::HelpOn("find"));
        check("find -- -h", Command::Find(Query::Name(name("-h"))));
        check("lookup a", Command::Find(Query::Name(name("a"))));
        check("sources a", Command::Sources(Query::Name(name("a"))));
        check("nodes # those known", Command::Nodes);
        for word in ["help", "?", "h", "help find"] {
            check(word, Command::Help);
        }
        for word in ["exit", "quit"] {
            check(word, Command::Exit);
        }
        check("getload 127.0.0.1 5001", Command::GetLoad(SocketAddr::from(([127, 0, 0, 1], 5001))));
        check("getload ::1 1", Command::GetLoad("[::1]:1".parse().expect("an address")));
    }

    #[test]
    fn names_may_be_quoted_and_hidden_from_the_option_reader() {
        for (line, text) in [
            ("find a.bin", "a.bin"),
            ("find 'with space'", "with space"),
            ("find \"it's\"", "it's"),
            ("find with\\ space", "with space"),
            ("find dir/a.bin", "dir/a.bin"),
            ("find -- -rf", "-rf"),
            ("find -- --", "--"),
            ("find -- md5=x", "md5=x"),
            ("find größe", "größe"),
        ] {
            check(line, Command::Find(Query::Name(name(text))));
        }
        check("download -- -rf", Command::Download(request("-rf")));
        check(
            "download --force -- --force",
            Command::Download(DownloadRequest { force: true, ..request("--force") }),
        );
    }

    #[test]
    fn digests_and_options_are_read() {
        let md5 = crate::types::Md5Digest::from_hex(MD5).expect("hex");
        let b3 = crate::types::ContentPrefix::from_hex(B3).expect("hex");
        check(&format!("find md5={MD5}"), Command::Find(Query::Md5(md5)));
        check(&format!("find b3={B3}"), Command::Find(Query::Content(b3)));
        let all = DownloadRequest {
            checksum: Some(Checksum::Content(b3)),
            verify_whole: true,
            force: true,
            ..request("a")
        };
        check(
            &format!("download a --checksum b3={B3} --verify whole --force"),
            Command::Download(all.clone()),
        );
        check(&format!("download --force --verify=whole --checksum=b3={B3} a"), Command::Download(all));
        let sum = DownloadRequest { checksum: Some(Checksum::Md5(md5)), ..request("a") };
        check(&format!("download --checksum md5={MD5} a"), Command::Download(sum));
    }

    #[test]
    fn mistakes_are_named_with_what_to_do() {
        check_error("fnid a", "unknown command `fnid`: did you mean `find`?");
        check_error("FIND a", "unknown command `FIND`: did you mean `find`?");
        check_error("down a", "unknown command `down`: did you mean `download`?");
        check_error("frobnicate", "unknown command `frobnicate`: help lists them");
        check_error("\u{1b}[2J", "unknown command `\\u{1b}[2J`: help lists them");
        check_error("find", "`find`: a name or a digest is missing: find NAME|md5=HEX|b3=HEX");
        check_error("find a b", "`find`: `b` is one word too many: find NAME|md5=HEX|b3=HEX");
        check_error("find -rf", "`find`: unknown option `-rf`: a name that begins with a dash goes after --");
        check_error("download a --forse", "`download`: unknown option `--forse`: did you mean `--force`?");
        check_error(
            "download -x",
            "`download`: unknown option `-x`: a name that begins with a dash goes after --",
        );
        check_error(
            "download --force=yes a",
            "`download`: unknown option `--force=yes`: did you mean `--force`?",
        );
        check_error("download a --force --force", "`--force` is given twice");
        check_error("download a --verify half", "--verify `half`: only `whole` is known");
        check_error(
            "getload localhost 5001",
            "`localhost` is not an IP address: give numbers, as in 127.0.0.1 or ::1",
        );
        for port in ["0", "70000", "abc", "-1"] {
            check_error(
                &format!("getload 127.0.0.1 {port}"),
                &format!("`{port}` is not a port: give a number from 1 to 65535"),
            );
        }
        check_error(
            "list all b",
            "`list`: `b` is one word too many: list [local|downloaded|replicated|all|swarm]",
        );
        check_error("cancel", "`cancel`: the number of a download is missing: cancel N");
        check_error("cancel x", "`x` is not the number of a download: `jobs` lists them");
        check_error(
            "limit fast",
            "`fast` is not a rate: give bytes per second, as in 512k, 10M or 1GiB, or off",
        );
        check_error("frobnicate --help", "unknown command `frobnicate`: help lists them");
        for copies in ["101", "-1", "4294967296", "many"] {
            check_error(
                &format!("replicate a --copies {copies}"),
                &format!("`{copies}` is not a number of copies: give 0 to 100"),
            );
        }
        check_error("list swamr", "`list`: unknown kind `swamr`: did you mean `swarm`?");
        check_error("nodes all", "`nodes`: `all` is one word too many: nodes");
        check_error(
            "find md5=12",
            "`md5=12` is not a checksum: give md5= and 32 hex digits, or b3= and 16 to 64",
        );
        assert_eq!(parse("find 'a"), Err(ParseError::UnbalancedQuote));
        assert_eq!(parse("find a\\"), Err(ParseError::UnbalancedQuote));
    }

    #[test]
    fn a_tracker_has_words_of_its_own() {
        for (line, expected) in [
            ("nodes", Command::Nodes),
            ("list nodes", Command::Nodes),
            ("files", Command::List(Listed::Swarm)),
            ("list files", Command::List(Listed::Swarm)),
            ("find a", Command::Find(Query::Name(name("a")))),
            ("stats", Command::Stats),
            ("stop", Command::Exit),
            ("help", Command::Help),
        ] {
            assert_eq!(parse_tracker(line), Ok(Some(expected)), "{line}");
        }
        assert_eq!(parse_tracker(" # nothing"), Ok(None));
        let error = parse_tracker("download a").expect_err("a tracker has no files").to_string();
        assert_eq!(error, "unknown command `download`: help lists them");
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        for line in
            ["find ..", "download ../x", "download .ssh/id", "find /etc/passwd", "find ''", "find a//b"]
        {
            assert!(matches!(parse(line), Err(ParseError::Name(_))), "{line:?}");
        }
        let error = parse("download 'a\u{1b}[31m'").expect_err("a control character").to_string();
        assert_eq!(error, "file name `a\\u{1b}[31m` contains a control character");
    }

    #[test]
    fn a_long_unknown_word_is_cut() {
        let error = parse(&"x".repeat(60_000)).expect_err("no such command").to_string();
        assert!(error.len() < 250, "{} bytes", error.len());
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics_and_no_error_steers_a_terminal(line in "(find|download|getload|x)? ?.{0,40}") {
            if let Err(error) = parse(&line) {
                proptest::prop_assert!(!error.to_string().chars().any(crate::types::printable::is_unsafe));
            }
        }
    }
}
