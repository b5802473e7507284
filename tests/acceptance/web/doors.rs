//! Access control: tokens, host names, origins, and the forms of a change.

use std::net::IpAddr;

use nearpeer::tracker::{Tracker, TrackerConfig};
use nearpeer::web::{WebConfig, WebError, serve_tracker};

use crate::web::client::{Client, ask, get};
use crate::web::swarm::{Swarm, loopback};

const TOKEN: &str = "correct-horse-battery-staple";
const BEARER: &str = "Authorization: Bearer correct-horse-battery-staple\r\n";

fn with_token() -> WebConfig {
    WebConfig { token: Some(TOKEN.into()), ..loopback() }
}

#[test]
fn beyond_loopback_a_server_starts_with_a_good_token_only() {
    let tracker = Tracker::start(&TrackerConfig::default()).expect("a tracker");
    let start = |listen: &str, token: Option<&str>| {
        let config = WebConfig {
            token: token.map(str::to_owned),
            ..WebConfig::on(listen.parse().expect("an address"))
        };
        serve_tracker(tracker.view(), &config).map(|_| ())
    };
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let error = start(listen, None).expect_err("no token");
        assert!(matches!(error, WebError::TokenNeeded { .. }), "{error}");
        assert!(
            error.to_string().contains("give a token") && error.to_string().contains("127.0.0.1"),
            "{error}"
        );
        assert!(matches!(start(listen, Some("short")), Err(WebError::BadToken)));
        start(listen, Some(TOKEN)).expect("with a token");
    }
    for token in ["", "has a blank in the middle", "größer-als-sechzehn"] {
        assert!(matches!(start("127.0.0.1:0", Some(token)), Err(WebError::BadToken)), "{token}");
    }
    start("127.0.0.1:0", None).expect("loopback");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("bound").to_string();
    assert!(matches!(start(&addr, None), Err(WebError::AddressInUse { .. })));
    drop(taken);
    assert!(tracker.stop().is_clean());
}

#[test]
fn everything_except_health_checks_requires_the_token() {
    let swarm = Swarm::with(&with_token());
    for path in [
        "/",
        "/peers",
        "/stats",
        "/metrics",
        "/api/v1/status",
        "/api/v1/events",
        "/assets/style.css",
        "/nothing",
    ] {
        let refused = get(swarm.web(), path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.header("www-authenticate").is_some_and(|kind| kind.starts_with("Basic ")));
        assert_eq!(refused.json()["code"], "usage");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(swarm.web(), path).status, 200, "{path}");
    }
    // anyone:correct-horse-battery-staple
    let basic = "Authorization: Basic YW55b25lOmNvcnJlY3QtaG9yc2UtYmF0dGVyeS1zdGFwbGU=\r\n";
    for header in [BEARER, basic] {
        assert_eq!(ask(swarm.web(), "GET /api/v1/status", header, "").status, 200);
    }
    swarm.stop();
}

#[test]
fn wrong_tokens_slow_down_only_the_address_that_sends_them() {
    let swarm = Swarm::with(&with_token());
    let other: IpAddr = [127, 0, 0, 2].into();
    let mut guesser = Client::connect(swarm.web());
    let mut statuses = Vec::new();
    for number in 0..200 {
        // The server uses the address of the peer, whatever a forwarding header claims.
        let headers = format!(
            "Authorization: Bearer wrong-token-{number}\r\nX-Forwarded-For: 192.0.2.{number}\r\nForwarded: for=192.0.2.{number}\r\n"
        );
        guesser.request("GET /api/v1/status", &headers, "");
        statuses.push(guesser.answer(false).expect("an answer").status);
    }
    assert_eq!(statuses[0], 401);
    // The answer to a waiting client has the number of seconds.
    assert!(statuses.iter().filter(|status| **status == 429).count() > 150, "{statuses:?}");
    guesser.request("GET /api/v1/status", BEARER, "");
    let late = guesser.answer(false).expect("an answer");
    let wait_s = late.header("retry-after").and_then(|text| text.parse::<u64>().ok());
    assert!(late.status == 429 && wait_s.is_some_and(|wait_s| (1..=200).contains(&wait_s)), "{late:?}");
    let mut honest = Client::connect_from(other, swarm.web());
    honest.request("GET /api/v1/status", BEARER, "");
    assert_eq!(honest.answer(false).expect("an answer").status, 200);
    swarm.stop();
}

#[test]
fn a_request_under_a_foreign_host_name_is_refused() {
    let swarm = Swarm::with(&WebConfig { hosts: vec!["files.example".into()], ..loopback() });
    for (host, status) in [
        ("127.0.0.1", 200),
        ("localhost:1234", 200),
        ("[::1]", 200),
        ("Files.Example:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.0.2.1", 403),
    ] {
        let mut client = Client::connect(swarm.web());
        client.say(format!("GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(client.answer(false).expect("an answer").status, status, "{host}");
    }
    swarm.stop();
}

#[test]
fn changes_by_foreign_pages_or_by_get_are_refused() {
    let swarm = Swarm::new().node(&[("a", b"a")]);
    let web = swarm.member(0).web();
    let json = "Content-Type: application/json\r\n";
    let own = format!("{json}Origin: http://127.0.0.1\r\nSec-Fetch-Site: same-origin\r\n");
    let urlencoded = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (headers, body, status) in [
        (json.to_owned(), "{\"name\":\"a\"}", 202),
        (own, "{\"name\":\"a\"}", 202),
        (format!("{json}Origin: http://evil.example\r\n"), "{\"name\":\"b\"}", 403),
        (format!("{json}Origin: null\r\n"), "{\"name\":\"b\"}", 403),
        (format!("{json}Sec-Fetch-Site: cross-site\r\n"), "{\"name\":\"b\"}", 403),
        ("Content-Type: text/plain\r\n".into(), "{\"name\":\"b\"}", 403),
        ("Content-Type: multipart/form-data; boundary=x\r\n".into(), "--x--", 403),
        (urlencoded.into(), "name=b", 403),
        (urlencoded.into(), "name=b&form=0123456789abcdef", 403),
    ] {
        assert_eq!(ask(web, "POST /api/v1/downloads", &headers, body).status, status, "{headers}");
        if status == 403 {
            assert_eq!(ask(web, "POST /downloads", &headers, body).status, 403, "{headers}");
        }
    }
    for path in ["/downloads/1/cancel", "/api/v1/downloads/1/cancel", "/api/v1/updatelist"] {
        assert_eq!(get(web, path).status, 404, "{path}");
    }
    let jobs = get(web, "/api/v1/downloads").json();
    let names: Vec<_> =
        jobs["items"].as_array().expect("jobs").iter().map(|job| job["name"].clone()).collect();
    assert_eq!(names, ["a", "a"]);
    swarm.stop();
}
