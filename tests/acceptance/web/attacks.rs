//! Hostile input on an open HTTP port: trickles, floods, broken requests, hostile names. Good requests are
//! answered meanwhile.

use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nearpeer::net::Deadlines;
use nearpeer::types::limits;
use nearpeer::web::WebConfig;

use crate::support::content::noise;
use crate::support::{count, print_figures};
use crate::web::client::{Client, get};
use crate::web::swarm::{Swarm, loopback};

fn impatient(request: Duration, write_stall: Duration) -> WebConfig {
    let deadlines = Deadlines { request, write_stall, ..loopback().deadlines };
    WebConfig { deadlines, ..loopback() }
}

/// Sends requests until `done`. Returns the 99th percentile of their durations.
fn p99_while(web: SocketAddr, done: impl Fn() -> bool) -> Duration {
    let mut times = Vec::new();
    while !done() || times.len() < 100 {
        let began = Instant::now();
        assert_eq!(get(web, "/api/v1/status").status, 200);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[test]
fn a_thousand_trickling_clients_are_cut_and_delay_no_other() {
    let swarm = Swarm::with(&impatient(Duration::from_secs(3), Duration::from_secs(30)));
    let web = swarm.web();
    let crowd = count("NEARPEER_TRICKLING", 1000);
    // So many connections of one address are all accepted.
    let address = |number: usize| IpAddr::from([127, 0, 1, (number / 100) as u8]);
    let over = AtomicBool::new(false);
    let p99 = std::thread::scope(|scope| {
        let trickling = scope.spawn(|| {
            let mut clients: Vec<Client> =
                (0..crowd).map(|number| Client::connect_from(address(number), web)).collect();
            let line = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ";
            let until = Instant::now() + Duration::from_secs(20);
            // Sends one byte on each connection in turn, until all of them were cut.
            for number in 0.. {
                if number == 1 {
                    let open = clients.iter().filter(|client| client.is_open()).count();
                    assert!(open >= crowd.min(1000), "{open} at once");
                }
                let byte = line.get(number).copied().unwrap_or(b'x');
                clients.retain_mut(|client| client.say(&[byte]));
                if clients.is_empty() {
                    break;
                }
                assert!(Instant::now() < until, "{} trickle on", clients.len());
            }
            over.store(true, Ordering::Relaxed);
        });
        let p99 = p99_while(web, || over.load(Ordering::Relaxed));
        trickling.join().expect("no panic");
        p99
    });
    print_figures(&format!("p99 of good requests among {crowd} that trickle: {p99:?}"));
    assert!(p99 < Duration::from_millis(250), "{p99:?}");
    swarm.stop();
}

#[test]
fn a_request_with_a_slow_body_is_cut() {
    let swarm = Swarm::with(&impatient(Duration::from_millis(300), Duration::from_secs(30)));
    let mut client = Client::connect(swarm.web());
    client.say(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60000\r\n\r\n");
    let began = Instant::now();
    while client.say(b"x") {
        assert!(began.elapsed() < Duration::from_secs(20), "it is read for ever");
    }
    swarm.stop();
}

#[test]
fn a_client_that_does_not_read_is_closed_and_others_are_served() {
    let names: Vec<String> = (0..500).map(|number| format!("{}-{number}", "long-name".repeat(20))).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let mut swarm = Swarm::with(&impatient(Duration::from_secs(10), Duration::from_millis(300)));
    swarm.add(&files, &loopback());
    let mut client = Client::connect_small(swarm.web());
    // Far more than two sockets buffer.
    for _ in 0..200 {
        if !client.request("GET /api/v1/files", "", "") {
            break;
        }
    }
    assert!(p99_while(swarm.web(), || true) < Duration::from_millis(250));
    client.stream().set_read_timeout(None).expect("a socket");
    let began = Instant::now();
    // The connection is reset: the server keeps no unsent data for it.
    while client.request("GET /", "", "") {
        assert!(began.elapsed() < Duration::from_secs(20), "it is kept");
    }
    swarm.stop();
}

#[test]
fn a_malformed_request_is_refused_with_its_status_and_closed() {
    let swarm = Swarm::new();
    let long = |len: usize| "x".repeat(len);
    let lines = "X: y\r\n".repeat(limits::HTTP_HEADERS_MAX);
    for (bytes, status) in [
        ("GET /\r\n".to_owned(), 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("CONNECT example:443 HTTP/1.1\r\n\r\n".into(), 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405),
        ("GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".into(), 400),
        (" / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".into(), 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx".into(), 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n".into(), 417),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n".into(), 413),
        (format!("GET /{} HTTP/1.1\r\n", long(limits::HTTP_TARGET_MAX_BYTES)), 414),
        (format!("GET / HTTP/1.1\r\nX: {}", long(limits::HTTP_HEAD_MAX_BYTES)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), 431),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}".into(), 400),
        ("NPR\u{1}".into(), 400),
    ] {
        let mut client = Client::connect(swarm.web());
        client.say(bytes.as_bytes());
        // The server does not wait for the rest.
        let answer = client.answer(false).unwrap_or_else(|| panic!("no answer to {bytes:.60?}"));
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{bytes:.60?}");
        assert!(answer.json()["why"].is_string());
        assert!(client.rest().is_empty(), "closed after {bytes:.60?}");
    }
    assert_eq!(get(swarm.web(), "/").status, 200);
    swarm.stop();
}

#[test]
fn the_longest_name_fits_a_request_in_every_escaping() {
    let swarm = Swarm::new().node(&[("a", b"a")]);
    let name = vec!["x".repeat(limits::NAME_COMPONENT_MAX_BYTES); 16].join("/");
    assert!(name.len() + 1 == limits::NAME_MAX_BYTES);
    let escaped: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let b3 = "0".repeat(64);
    for path in [
        format!("/files/{escaped}"),
        format!("/metalink/{escaped}.meta4?hash=b3%3D{b3}"),
        format!("/api/v1/find?name={escaped}"),
    ] {
        let answer = get(swarm.member(0).web(), &path);
        assert_eq!(answer.status, 404, "{path:.30}: {}", answer.text());
    }
    swarm.stop();
}

#[test]
fn a_smuggled_request_is_not_served_as_a_second_request() {
    let swarm = Swarm::new();
    for bytes in [
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length : 40\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n X: y\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = Client::connect(swarm.web());
        client.say(bytes.as_bytes());
        let answers = String::from_utf8(client.rest()).expect("text");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    }
    // A body stays a body, whatever its bytes are.
    let mut client = Client::connect(swarm.web());
    client.request("POST /", "", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    client.request("GET /healthz", "", "");
    assert_eq!(
        [client.answer(false), client.answer(false)].map(|answer| answer.expect("two").status),
        [403, 200]
    );
    swarm.stop();
}

#[test]
fn pipelined_requests_are_answered_in_order_and_a_connection_serves_a_bounded_number() {
    let swarm = Swarm::new();
    let mut client = Client::connect(swarm.web());
    let requests: String =
        (0..500).map(|number| format!("GET /?q={number} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).collect();
    client.say(requests.as_bytes());
    client.stream().shutdown(Shutdown::Write).expect("connected");
    for number in 0..500 {
        let page = client.answer(false).expect("an answer");
        assert!(page.text().contains(&format!("value=\"{number}\"")), "{number}");
    }
    assert_eq!(client.answer(false), None);
    let mut client = Client::connect(swarm.web());
    for number in 1..=limits::HTTP_REQUESTS_MAX {
        client.request("GET /healthz", "", "");
        let is_last = client.answer(false).expect("an answer").header("connection") == Some("close");
        assert_eq!(is_last, number == limits::HTTP_REQUESTS_MAX, "{number}");
    }
    assert!(client.rest().is_empty());
    swarm.stop();
}

#[test]
fn idle_connections_are_bounded_and_the_longest_idle_goes_first() {
    let swarm = Swarm::new();
    let mut clients: Vec<Client> = (0..limits::HTTP_IDLE_MAX + 50)
        .map(|_| {
            let mut client = Client::connect(swarm.web());
            client.get("/healthz");
            client
        })
        .collect();
    let kept = clients.split_off(50);
    for client in clients {
        assert!(client.rest().is_empty(), "those idle for longest were closed");
    }
    let mut last = kept.into_iter().next_back().expect("some");
    assert_eq!(last.get("/healthz").status, 200);
    swarm.stop();
}

#[test]
fn hostile_names_are_inert_in_text_attributes_links_headers_json_and_xml() {
    let names = [
        "\"><script>alert(1)</script>&'x",
        "javascript:alert(1)",
        "a%2e%2e#b?c=d&e;f+g",
        "\u{202e}gpj.exe",
        "zero\u{200b}width ]]> -->",
        "größe 文件 \u{1f4a9}",
        "-rf",
        "a\\b\"c",
    ];
    let contents: Vec<Vec<u8>> = (0..names.len()).map(|number| noise(number as u64, 100)).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&contents).map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let swarm = Swarm::new().node(&files).node(&[]);
    for (name, bytes) in names.iter().zip(&contents) {
        let escaped: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for web in [swarm.web(), swarm.member(0).web(), swarm.member(1).web()] {
            for path in [
                "/",
                "/stats",
                "/files",
                "/downloads",
                &format!("/?q={escaped}"),
                &format!("/nothing/{escaped}"),
            ] {
                let page = get(web, path);
                let text = page.text();
                assert!(
                    !text.contains("<script>alert") && !text.contains("\"><script>"),
                    "{name:?} on {path}: {text}"
                );
                // Values of forms are exact. All shown text is escaped.
                assert!(!without_values(text).contains('\u{202e}'), "{name:?} on {path}: {text}");
                assert!(!text.contains("href=\"javascript:"), "{name:?} on {path}");
            }
            let found = get(web, &format!("/api/v1/find?name={escaped}"));
            assert_eq!(found.json()["items"][0]["name"], *name, "exact in JSON");
        }
        let file = get(swarm.member(0).web(), &format!("/files/{escaped}"));
        assert!(file.body == *bytes, "{name:?}");
        let disposition = file.header("content-disposition").expect("a name");
        assert!(
            disposition.starts_with("attachment; filename=\"") && disposition.matches('"').count() == 2,
            "{disposition}"
        );
        let metalink = get(swarm.member(0).web(), &format!("/metalink/{escaped}.meta4"));
        assert!(metalink.status == 200 && !metalink.text().contains("<script>"), "{}", metalink.text());
    }
    swarm.stop();
}

/// A page without the values of its fields.
fn without_values(page: &str) -> String {
    let mut parts = page.split("value=\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| kept + part.split_once('"').expect("its end").1)
}

#[test]
fn answers_to_hostile_requests_reveal_nothing_about_the_machine() {
    let swarm = Swarm::new().node(&[("a", b"a")]);
    for web in [swarm.web(), swarm.member(0).web()] {
        for path in [
            "/<script>alert(1)</script>",
            "/%3Cscript%3E",
            "/..%2f..%2fetc%2fpasswd",
            "/files/%2e%2e/x",
            "/api/v1/%22",
            "/?q=%22%3E%3Cb%3E",
        ] {
            let answer = get(web, path);
            assert!((400..500).contains(&answer.status) || answer.status == 200, "{path}: {}", answer.status);
            let text = answer.text();
            assert!(
                !text.contains("<script>")
                    && !text.contains("\"><b>")
                    && !text.contains("/tmp/")
                    && !text.contains("src/"),
                "{text}"
            );
            assert_eq!(answer.header("server"), None);
        }
    }
    swarm.stop();
}

#[test]
fn bodies_that_do_not_fit_the_api_are_refused() {
    let swarm = Swarm::new().node(&[("a", b"a")]);
    let web = swarm.member(0).web();
    let deep = format!("{{\"name\":{}", "[".repeat(60_000));
    for body in [
        deep.as_str(),
        "{\"name\":\"a\",\"name\":\"b\"}",
        "{\"name\":\"\\u0000\"}",
        "{\"name\":\"../a\"}",
        "\u{fffd}",
        "{}",
        "null",
    ] {
        let answer = crate::web::client::post(web, "/api/v1/downloads", body);
        assert_eq!((answer.status, &answer.json()["code"]), (400, &serde_json::json!("usage")), "{body:.40}");
    }
    let mut client = Client::connect(web);
    client.request(
        "POST /api/v1/downloads",
        "Content-Type: application/json\r\n",
        &format!("{{\"name\":\"{}\"}}", "x".repeat(10 << 20)),
    );
    assert_eq!(client.answer(false).expect("an answer").status, 413);
    assert_eq!(get(web, "/api/v1/downloads").json()["items"], serde_json::json!([]));
    swarm.stop();
}
