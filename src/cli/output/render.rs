//! Events as lines of text, without the last newline. Pure.
//!
//! The forms of results are documented and scripts read them: a change here is a change of the interface.
//! Names are escaped. A name is the last word of a line, or the words after it have a fixed form.

use std::net::SocketAddr;

use crate::node::Variant;
use crate::proto::event::{DownloadEvent, Event, EventHolder, HolderState, Level, Outcome, Service};
use crate::types::{ContentId, FileName, Millis};

/// Text of an event, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendered {
    /// Text for standard output: one line; but a failed job has two lines, and the help many.
    Result(String),
    /// Text for standard error; it may have several lines.
    Message(String),
}

/// The text of an event; `None` for an event without text, and for the progress of a download, which the
/// module `progress` renders.
pub fn text(event: &Event) -> Option<Rendered> {
    message(event).map(Rendered::Message).or_else(|| result(event).map(Rendered::Result))
}

fn message(event: &Event) -> Option<String> {
    match event {
        Event::Notice { level, text } => Some(notice(*level, text)),
        Event::Error { why, .. } | Event::Download(DownloadEvent::Failed { why, .. }) => Some(why.clone()),
        Event::Silent { addr, why } => Some(silent_line(*addr, why)),
        Event::Listening { service: Service::Pages, addr } => Some(format!("pages at http://{addr}/")),
        Event::Missed { count } => Some(format!("warning: {count} events are not shown")),
        _ => None,
    }
}

fn result(event: &Event) -> Option<String> {
    Some(match event {
        Event::Listening { service, addr } => format!("{} listening on {addr}", service.as_str()),
        Event::Find { rows: 0, .. } => "No nodes found".to_owned(),
        Event::Find { .. } => "Found nodes:".to_owned(),
        Event::Found(holder) => found_row(holder),
        Event::Content { name, size_bytes, b3, full_holders, resolved, .. } => {
            let resolved = if *resolved { ", meant" } else { "" };
            format!("{name} {size_bytes} bytes b3 {}: {full_holders} full{resolved}", b3.short())
        }
        Event::Candidate { place, load_weight_ms, holder } => candidate_row(*place, *load_weight_ms, holder),
        Event::Load { addr, load } => format!("{} {} load {load}", addr.ip(), addr.port()),
        Event::File { name, size_bytes, md5, .. } => format!("{size_bytes} {} {name}", or_dash(*md5)),
        Event::Name { name } => name.to_string(),
        Event::Node { addr, state, files, load } => {
            format!("{} {} {state} {files} {}", addr.ip(), addr.port(), or_dash(*load))
        }
        Event::Updated { files, added, removed, changed } => {
            format!("updated {files} files +{added} -{removed} ~{changed}")
        }
        Event::Stat { name, value } => format!("{name} {}", or_dash(*value)),
        Event::Verified { name, state, size_bytes, b3, .. } => {
            let b3 = or_dash(b3.map(|b3| b3.short()));
            format!("{} {size_bytes} {b3} {name}", state.as_str())
        }
        Event::Limit { max_upload_bytes_per_s } => {
            let rate = max_upload_bytes_per_s.map_or_else(|| "off".to_owned(), |rate| rate.to_string());
            format!("max-upload {rate}")
        }
        Event::Job { id, name, state, done_bytes, total_bytes, why, .. } => {
            let (state, done, total) = (state.as_str(), or_dash(*done_bytes), or_dash(*total_bytes));
            let why = why.as_ref().map(|why| format!("\n  {why}")).unwrap_or_default();
            format!("{id} {state} {done}/{total} {name}{why}")
        }
        Event::Replication { name, b3, wanted, copies, awaited, under_way, .. } => {
            let b3 = b3.short();
            format!(
                "replicate {wanted} wanted {copies} there {awaited} awaited {under_way} under way \
                 b3 {b3} {name}"
            )
        }
        Event::Help { text } => text.clone(),
        Event::Download(DownloadEvent::Done { name, b3, size_bytes, outcome }) => {
            download_line(name, *size_bytes, b3, outcome)
        }
        Event::Notice { .. }
        | Event::Error { .. }
        | Event::Silent { .. }
        | Event::Missed { .. }
        | Event::Ready { .. }
        | Event::Searched { .. }
        | Event::End { .. }
        | Event::Download(_) => return None,
    })
}

/// A notice as one line.
fn notice(level: Level, text: &str) -> String {
    match level {
        Level::Info => text.to_owned(),
        Level::Warning => format!("warning: {text}"),
    }
}

/// The line for a holder at `addr` that did not answer.
pub fn silent_line(addr: SocketAddr, why: &str) -> String {
    format!("{addr} does not answer: {why}")
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `full`, or `<have>/<total>` in pieces.
fn holding_text(holder: &EventHolder) -> String {
    match holder.state {
        HolderState::Part => format!("{}/{}", holder.have_pieces, holder.total_pieces),
        HolderState::Full | HolderState::Own => "full".to_owned(),
    }
}

/// `<ip> <port> <size> <md5> <latency_ms> <load> <score> <b3> full|<have>/<total> <name>`. An own file has
/// `-` for latency, load and score.
fn found_row(holder: &EventHolder) -> String {
    let EventHolder { name, addr, size_bytes, md5, b3, latency_ms, load, score_ms, .. } = holder;
    let rating = format!("{} {} {}", or_dash(*latency_ms), or_dash(*load), or_dash(*score_ms));
    let (ip, port, b3, holding) = (addr.ip(), addr.port(), b3.short(), holding_text(holder));
    format!("{ip} {port} {size_bytes} {md5} {rating} {b3} {holding} {name}")
}

/// `<place> <ip> <port> score <score> = latency <ms> <file|default|measured> + <weight> * load <n>
/// full|<have>/<total>[ chosen]`. The own file has no place: `- <ip> <port> own`.
fn candidate_row(place: Option<u64>, load_weight: Millis, holder: &EventHolder) -> String {
    let (ip, port) = (holder.addr.ip(), holder.addr.port());
    let (Some(place), Some(latency), Some(from)) = (place, holder.latency_ms, holder.latency_from) else {
        return format!("- {ip} {port} own");
    };
    let from = from.as_str();
    let (score, load) = (or_dash(holder.score_ms), or_dash(holder.load));
    let chosen = if holder.chosen { " chosen" } else { "" };
    let holding = holding_text(holder);
    format!(
        "{place} {ip} {port} score {score} = latency {latency} {from} + {load_weight} * load {load} \
         {holding}{chosen}"
    )
}

/// `downloaded ...` or `already here ...`.
fn download_line(name: &FileName, size_bytes: u64, b3: &ContentId, outcome: &Outcome) -> String {
    match outcome {
        Outcome::AlreadyHere => format!("already here {name} {size_bytes} bytes b3 {b3}"),
        Outcome::Fetched { md5, pieces, sources } => {
            let digest = match md5 {
                Some(md5) => format!("md5 {md5}"),
                None => format!("b3 {b3} (md5 of {pieces} pieces)"),
            };
            let from: Vec<_> = sources.iter().map(SocketAddr::to_string).collect();
            format!("downloaded {name} {size_bytes} bytes {digest} from {}", from.join(","))
        }
    }
}

/// The contents of an ambiguous name, one per line, with the command that downloads each.
pub fn variants(name: &FileName, variants: &[Variant]) -> String {
    let word = quote(name);
    let lines: Vec<_> = variants
        .iter()
        .map(|Variant { key, md5, live_full_holders }| {
            let (size_bytes, b3) = (key.size_bytes, key.id.short());
            format!(
                "  {size_bytes} bytes md5 {md5} b3 {b3}, {live_full_holders} live full: \
                 download {word} --checksum b3={b3}"
            )
        })
        .collect();
    lines.join("\n")
}

/// A name as a word of a command line. `--` precedes a name that looks like an option or a digest.
pub fn quote(name: &FileName) -> String {
    let text = name.as_str();
    let word = quote_word(name);
    let needs_dashes = text.starts_with('-') || text.starts_with("md5=") || text.starts_with("b3=");
    if needs_dashes { format!("-- {word}") } else { word }
}

/// A name as a word of a command line after `--`: in quotes if it needs them.
pub fn quote_word(name: &FileName) -> String {
    // Only a NUL cannot be quoted, and a name has none.
    shlex::try_quote(name.as_str()).map_or_else(|_| name.as_str().to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::command::{Command, QueryArg};
    use crate::cli::args::prompt::{Grammar, Language, PromptCommand};
    use crate::proto::event::{ErrorCode, JobSource, JobState, NodeState, VerifyState};
    use crate::types::{ContentKey, LatencyOrigin, Liveness, Md5Digest};

    const MD5_DIGEST: Md5Digest = Md5Digest([0xab; 16]);
    const MD5: &str = "abababababababababababababababab";
    const B3_ID: ContentId = ContentId([0xcd; 32]);
    const B3: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn name(text: &str) -> FileName {
        FileName::new(text).expect("a name")
    }

    fn ms(text: &str) -> Option<Millis> {
        Some(text.parse().expect("ms"))
    }

    fn check(event: &Event, expected: &str) {
        assert_eq!(text(event), Some(Rendered::Result(expected.to_owned())), "{event:?}");
    }

    fn holder(port: u16, latency: &str, load: u32, score: &str, have_pieces: u32) -> EventHolder {
        EventHolder {
            name: name("a b.bin"),
            addr: addr(port),
            size_bytes: 3_000_000,
            md5: MD5_DIGEST,
            b3: B3_ID,
            state: if have_pieces == 3 { HolderState::Full } else { HolderState::Part },
            have_pieces,
            total_pieces: 3,
            latency_ms: ms(latency),
            latency_from: Some(LatencyOrigin::Table),
            load: Some(load),
            score_ms: ms(score),
            chosen: port == 5002,
        }
    }

    fn own() -> EventHolder {
        EventHolder {
            name: name("x\u{202e}y"),
            state: HolderState::Own,
            latency_ms: None,
            latency_from: None,
            load: None,
            score_ms: None,
            ..holder(5001, "1", 0, "1", 3)
        }
    }

    #[test]
    fn a_find_has_a_line_per_source() {
        check(&Event::Find { query: "a".into(), rows: 0 }, "No nodes found");
        check(&Event::Find { query: "a".into(), rows: 3 }, "Found nodes:");
        let of = |holder, rest: &str| check(&Event::Found(holder), rest);
        of(
            holder(5002, "12.5", 3, "42.5", 3),
            &format!("127.0.0.1 5002 3000000 {MD5} 12.5 3 42.5 cdcdcdcdcdcdcdcd full a b.bin"),
        );
        of(
            holder(5003, "100", 0, "100", 1),
            &format!("127.0.0.1 5003 3000000 {MD5} 100 0 100 cdcdcdcdcdcdcdcd 1/3 a b.bin"),
        );
        of(own(), &format!("127.0.0.1 5001 3000000 {MD5} - - - cdcdcdcdcdcdcdcd full x\\u{{202e}}y"));
    }

    #[test]
    fn the_place_of_each_source_is_explained() {
        let event = |place, holder| Event::Candidate { place, load_weight_ms: Millis::from_ms(10), holder };
        check(
            &event(Some(1), holder(5002, "12.5", 3, "42.5", 3)),
            "1 127.0.0.1 5002 score 42.5 = latency 12.5 file + 10 * load 3 full chosen",
        );
        check(
            &event(Some(2), holder(5003, "100", 0, "100", 1)),
            "2 127.0.0.1 5003 score 100 = latency 100 file + 10 * load 0 1/3",
        );
        check(&event(None, own()), "- 127.0.0.1 5001 own");
        let content = |resolved| Event::Content {
            name: name("a b"),
            size_bytes: 7,
            b3: B3_ID,
            full_holders: 2,
            rows: 3,
            resolved,
        };
        check(&content(true), "a b 7 bytes b3 cdcdcdcdcdcdcdcd: 2 full, meant");
        check(&content(false), "a b 7 bytes b3 cdcdcdcdcdcdcdcd: 2 full");
    }

    #[test]
    fn the_line_of_a_download_has_the_computed_digest_and_the_sources() {
        let key = ContentKey { size_bytes: 7, id: B3_ID };
        let done = |outcome| Event::Download(DownloadEvent::done(name("a.bin"), key, outcome));
        let sources = vec![addr(5002), "[::1]:5003".parse().expect("an address")];
        check(
            &done(Outcome::Fetched { md5: Some(MD5_DIGEST), pieces: 1, sources: sources.clone() }),
            &format!("downloaded a.bin 7 bytes md5 {MD5} from 127.0.0.1:5002,[::1]:5003"),
        );
        check(
            &done(Outcome::Fetched { md5: None, pieces: 24, sources }),
            &format!("downloaded a.bin 7 bytes b3 {B3} (md5 of 24 pieces) from 127.0.0.1:5002,[::1]:5003"),
        );
        check(&done(Outcome::AlreadyHere), &format!("already here a.bin 7 bytes b3 {B3}"));
    }

    #[test]
    fn short_results_have_their_exact_form() {
        check(&Event::Updated { files: 4, added: 1, removed: 2, changed: 3 }, "updated 4 files +1 -2 ~3");
        check(&Event::Load { addr: addr(5002), load: 12 }, "127.0.0.1 5002 load 12");
        check(
            &Event::Listening { service: Service::Node, addr: addr(5002) },
            "node listening on 127.0.0.1:5002",
        );
        let file = |text, md5| Event::File { name: name(text), size_bytes: 5, md5, b3: None, kind: None };
        check(&file("a b", Some(MD5_DIGEST)), &format!("5 {MD5} a b"));
        check(&file("c\\d", None), "5 - c\\\\d");
        check(&Event::Stat { name: "sent_bytes".into(), value: Some(3) }, "sent_bytes 3");
        check(&Event::Stat { name: "find_mean_us".into(), value: None }, "find_mean_us -");
        check(&Event::Limit { max_upload_bytes_per_s: Some(512_000) }, "max-upload 512000");
        check(&Event::Limit { max_upload_bytes_per_s: None }, "max-upload off");
        let verified = |state, b3| Event::Verified { name: name("a b"), state, size_bytes: 7, b3, why: None };
        check(&verified(VerifyState::Ok, Some(B3_ID)), "ok 7 cdcdcdcdcdcdcdcd a b");
        check(&verified(VerifyState::Unreadable, None), "unreadable 7 - a b");
        let replication = Event::Replication {
            name: name("a b"),
            size_bytes: 7,
            b3: B3_ID,
            wanted: 3,
            copies: 1,
            awaited: 0,
            under_way: 1,
            shortfall: None,
        };
        let expected = "replicate 3 wanted 1 there 0 awaited 1 under way b3 cdcdcdcdcdcdcdcd a b";
        check(&replication, expected);
        let job = Event::Job {
            id: 2,
            name: name("a b"),
            state: JobState::Running,
            source: JobSource::Background,
            done_bytes: Some(1),
            total_bytes: None,
            why: None,
        };
        check(&job, "2 running 1/- a b");
    }

    #[test]
    fn each_node_has_a_line() {
        let node = |port, liveness, load| {
            let state = NodeState::Listed(liveness);
            Event::Node { addr: addr(port), state, files: 9, load }
        };
        check(&node(5001, Liveness::Live, Some(2)), "127.0.0.1 5001 live 9 2");
        check(&node(5002, Liveness::Suspect, None), "127.0.0.1 5002 suspect 9 -");
        check(&node(5003, Liveness::Unproved, Some(0)), "127.0.0.1 5003 unproved 9 0");
    }

    #[test]
    fn messages_go_to_standard_error() {
        let check = |event: Event, expected: &str| {
            assert_eq!(text(&event), Some(Rendered::Message(expected.to_owned())));
        };
        check(Event::error("no tracker", ErrorCode::NoTracker), "no tracker");
        check(Event::Silent { addr: addr(1), why: "closed".into() }, "127.0.0.1:1 does not answer: closed");
        check(Event::Notice { level: Level::Warning, text: "x".into() }, "warning: x");
        check(Event::Notice { level: Level::Info, text: "x".into() }, "x");
        assert_eq!(text(&Event::Download(DownloadEvent::Hashing { name: name("a") })), None);
    }

    #[test]
    fn each_variant_has_the_command_that_downloads_it() {
        let key = ContentKey { size_bytes: 7, id: ContentId([0xcd; 32]) };
        let variant = Variant { key, md5: Md5Digest([0xab; 16]), live_full_holders: 1 };
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
                let line = format!("find {}", quote(&name));
                let query = QueryArg(crate::types::Query::Name(name));
                let expected = PromptCommand::Swarm(Command::Find(query));
                proptest::prop_assert_eq!(Grammar::new(Language::Node).parse(&line), Ok(Some(expected)));
            }
        }
    }
}
