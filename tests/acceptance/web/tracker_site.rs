//! The site of a tracker: pages for people, JSON for programs, metrics for Prometheus, events for both.

use serde_json::{Value, json};

use crate::support::content::{b3_hex, md5_hex};
use crate::web::client::{Client, ask, get};
use crate::web::swarm::{Swarm, get_until};
use nearpeer::proto::event::{Event, Record};

#[test]
fn a_search_has_a_row_for_each_source_with_links_to_those_that_serve_http() {
    let swarm = Swarm::new().node(&[("a b.bin", b"same")]).node(&[("a b.bin", b"same"), ("other", b"x")]);
    let (web, first) = (swarm.web(), swarm.member(0));
    // The nodes publish their HTTP ports some time after registration.
    let links = [0, 1].map(|index| format!("http://{}/files/a%20b.bin", swarm.member(index).web()));
    let page = get_until(web, "/?q=a%20b.bin", |page| {
        links.iter().all(|link| page.text().contains(&format!("href=\"{link}\"")))
    });
    assert_eq!(page.status, 200);
    for part in
        [first.addr().to_string(), swarm.member(1).addr().to_string(), md5_hex(b"same"), b3_hex(b"same")]
    {
        assert!(page.text().contains(&part), "{part} is not on {}", page.text());
    }
    let found = get(web, "/api/v1/find?name=a+b.bin").json();
    let content = &found["items"][0];
    assert_eq!((&content["size_bytes"], &content["b3"]), (&json!(4), &json!(b3_hex(b"same"))));
    assert_eq!(content["sources"].as_array().map(Vec::len), Some(2));
    assert_eq!(content["sources"][0]["latency_ms"], Value::Null);
    for hash in [
        format!("md5={}", md5_hex(b"same")),
        md5_hex(b"same"),
        b3_hex(b"same"),
        format!("b3={}", &b3_hex(b"same")[..16]),
    ] {
        let again = get(web, &format!("/api/v1/find?hash={hash}")).json();
        // All fields except the load, which a heartbeat may have changed in between.
        assert_eq!(again["items"][0]["b3"], content["b3"], "{hash}");
        assert_eq!(again["items"][0]["sources"].as_array().map(Vec::len), Some(2), "{hash}");
    }
    for (query, status) in
        [("name=nobody", 404), ("hash=xyz", 400), ("name=..", 400), ("", 400), ("name=a&hash=b", 400)]
    {
        let answer = get(web, &format!("/api/v1/find?{query}"));
        assert_eq!(answer.status, status, "{query}");
        let reply = answer.json();
        let code = if status == 404 { "not_found" } else { "usage" };
        assert!(reply["event"] == "error" && reply["code"] == code && reply["hint"].is_string(), "{reply}");
    }
    let metalink = get(web, "/metalink/a%20b.bin.meta4");
    assert_eq!(metalink.header("content-type"), Some("application/metalink4+xml"));
    assert!(
        links.iter().all(|link| metalink.text().contains(link)) && metalink.text().contains("priority=\"2\"")
    );
    swarm.stop();
}

#[test]
fn the_pages_of_a_list_join_to_the_whole_list() {
    let names: Vec<String> = (0..25).map(|number| format!("d/{number:02}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    let swarm = Swarm::new().node(&files).node(&[("d", b"no directory here"), ("e", b"")]);
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(swarm.web(), &format!("/api/v1/files?prefix=d/&limit=10&cursor={cursor}")).json();
        seen.extend(
            page["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(|item| item["name"].as_str().expect("a name").to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = next.replace('/', "%2F"),
            None => break,
        }
    }
    assert_eq!(seen, names);
    let all = |prefix: &str| {
        get(swarm.web(), &format!("/api/v1/files?prefix={prefix}")).json()["items"].as_array().map(Vec::len)
    };
    assert_eq!(
        [all(""), all("d"), all("e"), all("d/2"), all("%2F"), all("x"), all("d/."), all("d//")],
        [Some(27), Some(26), Some(1), Some(5), Some(0), Some(0), Some(0), Some(0)]
    );
    for query in ["limit=0", "limit=501", "limit=x", "cursor=..%2Fx"] {
        assert_eq!(get(swarm.web(), &format!("/api/v1/files?{query}")).status, 400, "{query}");
    }
    let first = get(swarm.web(), "/api/v1/peers?limit=1").json();
    let second = get(
        swarm.web(),
        &format!("/api/v1/peers?limit=1&cursor={}", first["next"].as_str().expect("a next")),
    )
    .json();
    assert_ne!(first["items"], second["items"]);
    assert_eq!(second["next"], Value::Null);
    swarm.stop();
}

#[test]
fn a_browser_gets_a_page_and_a_program_the_list_of_endpoints() {
    let swarm = Swarm::new();
    let json = ask(swarm.web(), "GET /", "Accept: application/json\r\n", "").json();
    assert!(json["api"].as_array().is_some_and(|paths| paths.contains(&json!("/api/v1/find"))));
    let browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";
    assert!(ask(swarm.web(), "GET /", browser, "").text().starts_with("<!DOCTYPE html>"));
    let head = ask(swarm.web(), "HEAD /", "", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(get(swarm.web(), "/").body.len().to_string().as_str()));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(swarm.web(), path).status, 200);
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = ask(swarm.web(), &format!("{method} /api/v1/status"), "", "");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    swarm.stop();
}

#[test]
fn finds_are_remembered_with_their_answers_and_counted() {
    let swarm = Swarm::new().node(&[("a", b"a")]);
    get(swarm.web(), "/?q=a");
    get(swarm.web(), "/?q=b");
    let stats = get(swarm.web(), "/api/v1/stats").json();
    assert_eq!(stats["finds"]["http"], json!({ "found": 1, "none": 1 }));
    let [b, a] = [0, 1].map(|index| &stats["recent"][index]);
    assert_eq!((&a["query"], &a["rows"], &a["via"]), (&json!("a"), &json!(1), &json!("http")));
    assert_eq!(a["sources"], json!([swarm.member(0).addr().to_string()]));
    assert_eq!((&b["query"], &b["rows"], &b["asker"]), (&json!("b"), &json!(0), &json!("127.0.0.1")));
    let page = get(swarm.web(), "/stats");
    assert!(page.text().contains("<svg") && page.text().contains("href=\"/?q=b\""));
    swarm.stop();
}

#[test]
fn the_event_stream_reports_changes_and_ends_with_the_server() {
    let mut swarm = Swarm::new();
    let mut stream = Client::connect(swarm.web());
    stream.request("GET /api/v1/events", "Accept: text/event-stream\r\n", "");
    let head = stream.answer(false).expect("a head");
    assert_eq!((head.status, head.header("transfer-encoding")), (200, Some("chunked")));
    assert_eq!(event(&mut stream), (None, Event::stat("nodes_live", 0)));
    // HTTP/1.0 has no chunks: the events come unchanged.
    let mut old = Client::connect(swarm.web());
    old.say(b"GET /api/v1/events HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer(false).expect("a head").header("transfer-encoding"), None);
    assert!(old.until(b"\n\n").starts_with(b"data: {\"event\":\"stat\""));
    let added = swarm.add(&[("a", b"a")], &crate::web::swarm::loopback());
    let node = swarm.member(added).addr();
    let is_node = |streamed: &Event, expected: &str| matches!(streamed, Event::Node { addr, state, .. } if *addr == node && state.to_string() == expected);
    let (mut before_last, mut last) = (String::new(), String::new());
    for expected in ["live", "gone"] {
        loop {
            let (id, streamed) = event(&mut stream);
            if let Some(id) = id {
                before_last = std::mem::replace(&mut last, id);
            }
            if is_node(&streamed, expected) {
                break;
            }
        }
        if expected == "live" {
            old.until(b"\"state\":\"live\"");
            swarm.stop_last();
        }
    }
    // A client that was cut off continues after its last event.
    let first_after = |id: &str| {
        let mut again = Client::connect(swarm.web());
        again.request("GET /api/v1/events", &format!("Last-Event-ID: {id}\r\n"), "");
        assert_eq!(again.answer(false).expect("a head").status, 200);
        event(&mut again)
    };
    let (id, streamed) = first_after(&before_last);
    assert!(id.as_deref() == Some(&last) && is_node(&streamed, "gone"), "{streamed:?}");
    // An event of a former run, which counted further, came before all events of this run.
    let (run, _) = last.split_once('-').expect("a run and a number");
    for former in ["1f-1000", "1f-1", "1000"] {
        assert_eq!(first_after(former).0, Some(format!("{run}-1")), "{former}");
    }
    assert_eq!(get(swarm.web(), "/api/v1/events?after=x").status, 400);
    swarm.stop();
    stream.rest();
}

/// The next event of a stream, and its id.
fn event(stream: &mut Client) -> (Option<String>, Event) {
    let text = stream.until(b"\n\n");
    let text = std::str::from_utf8(&text).expect("text");
    // The lines before it are the frame of a chunk, or a line without an event.
    let id = text.split_once("id: ").map(|(_, rest)| rest.lines().next().expect("a line").to_owned());
    let Some((_, data)) = text.split_once("data: ") else { return event(stream) };
    let record = Record::from_line(data.trim_end()).expect("an event");
    (id, record.event)
}

/// Parses both text formats strictly: every sample belongs to the family described before it.
#[test]
fn figures_are_valid_in_both_text_formats() {
    let swarm = Swarm::new().node(&[("a", b"a")]);
    for (web, family) in [(swarm.web(), "nearpeer_peers"), (swarm.member(0).web(), "nearpeer_load")] {
        let open = ask(web, "GET /metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n", "");
        assert!(
            open.header("content-type")
                .is_some_and(|kind| kind.starts_with("application/openmetrics-text; version=1.0.0"))
        );
        assert!(
            open.text().ends_with("# EOF\n") && open.text().contains(&format!("# TYPE {family} gauge\n"))
        );
        check_figures(open.text().trim_end_matches("# EOF\n"), |name, kind| {
            if kind == "counter" { format!("{name}_total") } else { name.into() }
        });
        let older = get(web, "/metrics");
        assert!(
            older.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4"))
        );
        check_figures(older.text(), |name, kind| {
            assert!(kind != "counter" || name.ends_with("_total"), "{name}");
            name.into()
        });
    }
    swarm.stop();
}

fn check_figures(text: &str, sample_name: impl Fn(&str, &str) -> String) {
    let (mut family, mut seen) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
            family = sample_name(name, kind);
            assert!(!seen.contains(&family), "{family} is described twice");
            seen.push(family.clone());
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').expect("a sample");
            let name = sample.split('{').next().unwrap_or_default();
            let suffix =
                name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("`{line}` is not of {family}"));
            assert!(["", "_sum", "_count", "_bucket"].contains(&suffix), "{line}");
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            assert!(!sample.contains("{}"), "{line}");
        }
    }
    assert!(seen.len() > 8);
}
