//! The site of a node: search, download, pause, resume, cancel.

use serde_json::json;

use crate::support::content::{b3_hex, noise};
use crate::web::client::{Client, ask, get, post};
use crate::web::swarm::{Swarm, get_until};

/// The secret that the forms of a page carry.
fn form_token(page: &str) -> &str {
    let (_, rest) = page.split_once("name=\"form\" value=\"").expect("a form");
    &rest[..rest.find('"').expect("its end")]
}

#[test]
fn a_search_ranks_and_its_button_downloads_what_it_shows() {
    let bytes = noise(11, 3_000_000);
    let swarm = Swarm::new().node(&[("a & b.bin", &bytes)]).node(&[]);
    let web = swarm.member(1).web();
    let page = get(web, "/?q=a+%26+b.bin");
    let text = page.text();
    assert!(
        text.contains("<tr class=\"chosen\">") && text.contains(">chosen<") && text.contains(&b3_hex(&bytes)),
        "{text}"
    );
    assert!(text.contains(" ms</span>"), "a latency was measured: {text}");
    let form = format!("form={}&name=a+%26+b.bin&checksum=b3%3D{}", form_token(text), b3_hex(&bytes));
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    let begun = ask(web, "POST /downloads", kind, &form);
    assert_eq!((begun.status, begun.header("location")), (303, Some("/downloads")));
    let done = get_until(web, "/api/v1/downloads/1", |job| {
        job.json()["state"] != "queued" && job.json()["state"] != "running"
    });
    assert_eq!((&done.json()["state"], &done.json()["done_bytes"]), (&json!("done"), &json!(bytes.len())));
    let page = get(web, "/downloads");
    assert!(
        page.text().contains("a &amp; b.bin") && page.text().contains("<progress max=\"100\" value=\"100\"")
    );
    assert!(get(web, "/files/a%20%26%20b.bin").body == bytes, "it is served on");
    let stats = get(web, "/api/v1/stats").json();
    assert_eq!(stats["recent"][0]["query"], "a & b.bin");
    assert_eq!(stats["recent"][0]["addr"], swarm.member(0).addr().to_string());
    let fetched: u64 = stats["history"]["fetched_bytes"]
        .as_array()
        .expect("sums")
        .iter()
        .filter_map(|sum| sum.as_u64())
        .sum();
    assert_eq!(bytes.len() as u64, fetched);
    assert!(get(web, "/stats").text().contains("<svg"));
    let files = get(web, "/files");
    assert!(files.text().contains("href=\"/files/a%20%26%20b.bin\""));
    let mine = get(web, "/api/v1/find?name=a+%26+b.bin").json();
    let states: Vec<_> = mine["items"][0]["sources"]
        .as_array()
        .expect("sources")
        .iter()
        .map(|one| one["state"].clone())
        .collect();
    assert_eq!(states, [json!("full"), json!("own")]);
    assert!(!get(web, "/?q=a+%26+b.bin").text().contains("Download into this node"), "it is here");
    swarm.stop();
}

#[test]
fn a_download_is_watched_paused_resumed_and_cancelled() {
    let bytes = noise(12, 30 << 20);
    let swarm = Swarm::new().node(&[("big", &bytes), ("small", b"x")]).node(&[]);
    let web = swarm.member(1).web();
    swarm.member(0).node().set_max_upload(Some(4 << 20));
    let mut events = Client::connect(web);
    events.request("GET /api/v1/events", "", "");
    events.until(b"\"name\":\"downloads\",\"value\":0");
    let begun = post(web, "/api/v1/downloads", "{\"name\":\"big\"}");
    assert_eq!((begun.status, &begun.json()["id"]), (202, &json!(1)));
    assert_eq!(begun.header("location"), Some("/api/v1/downloads/1"));
    events.until(b"\"name\":\"downloads\",\"value\":1");
    get_until(web, "/api/v1/downloads/1", |job| job.json()["done_bytes"].as_u64() > Some(0));
    let page = get(web, "/downloads");
    assert!(page.text().contains("aria-label=\"Pause big\"") && page.text().contains("id=\"cancel-1\""));
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    let form = format!("form={}", form_token(page.text()));
    assert_eq!(ask(web, "POST /downloads/1/pause", kind, &form).status, 303);
    let paused = get_until(web, "/api/v1/downloads/1", |job| job.json()["state"] == "paused");
    assert!(paused.json()["done_bytes"].as_u64() < Some(bytes.len() as u64));
    assert!(get(web, "/downloads").text().contains("Resume"));
    assert_eq!(post(web, "/api/v1/downloads/1/resume", "").status, 200);
    get_until(web, "/api/v1/downloads/1", |job| job.json()["state"] == "running");
    assert_eq!(post(web, "/api/v1/downloads/1/cancel", "").status, 200);
    get_until(web, "/api/v1/downloads/1", |job| job.json()["state"] == "cancelled");
    assert_eq!(post(web, "/api/v1/downloads/1/pause", "").status, 409, "it has ended");
    assert_eq!(post(web, "/api/v1/downloads/9/pause", "").status, 404);
    events.until(b"\"name\":\"downloads\",\"value\":0");
    let metrics = get(web, "/metrics");
    assert!(
        metrics.text().contains("nearpeer_downloads_completed_total{result=\"cancelled\"} 1"),
        "{}",
        metrics.text()
    );
    swarm.stop();
}

#[test]
fn a_change_by_a_program_is_applied_and_answered_with_the_new_state() {
    let swarm = Swarm::new().node(&[("a", b"a")]);
    let (web, share) = (swarm.member(0).web(), swarm.member(0).share.clone());
    let put = |body: &str| ask(web, "PUT /api/v1/limits", "Content-Type: application/json\r\n", body);
    let limit = |rate: Option<u64>| json!({ "event": "limit", "max_upload_bytes_per_s": rate });
    assert_eq!(put("{\"max_upload_bytes_per_s\":1000}").json(), limit(Some(1000)));
    assert_eq!(get(web, "/api/v1/limits").json(), limit(Some(1000)));
    for body in [
        "{\"max_upload_bytes_per_s\":-1}",
        "{\"max_upload_bytes_per_s\":1,\"max_upload_bytes_per_s\":2}",
        "{\"other\":1}",
        "{}",
        "[]",
    ] {
        assert_eq!(put(body).status, 400, "{body}");
    }
    assert_eq!(get(web, "/api/v1/limits").json(), limit(Some(1000)), "what was refused has changed nothing");
    assert_eq!(put("{\"max_upload_bytes_per_s\":null}").json(), limit(None));
    for (line, status) in [
        ("POST /api/v1/nothing", 404),
        ("POST /nothing", 404),
        ("PUT /api/v1/downloads/1/stop", 404),
        ("POST /api/v1/status", 405),
        ("DELETE /files/a", 405),
        ("PUT /api/v1/downloads", 405),
    ] {
        assert_eq!(ask(web, line, "", "").status, status, "{line}");
    }
    std::fs::write(share.join("b"), "new").expect("a file");
    let summary = post(web, "/api/v1/updatelist", "").json();
    assert_eq!((&summary["files"], &summary["removed"]), (&json!(2), &json!(0)));
    let files = get(web, "/api/v1/files").json();
    assert_eq!(files["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(get(web, "/peers").status, 200);
    swarm.stop();
}

#[test]
fn without_a_tracker_a_node_reports_it_and_shows_its_own_files() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let share = tempfile::tempdir().expect("a directory");
    std::fs::write(share.path().join("a"), "mine").expect("a file");
    let config = nearpeer::node::NodeConfig::new([127, 0, 0, 1].into(), share.path(), nobody);
    let node = std::sync::Arc::new(nearpeer::node::Node::start(config).expect("a node"));
    let server = nearpeer::web::serve_node(std::sync::Arc::clone(&node), &crate::web::swarm::loopback())
        .expect("a server");
    for path in ["/api/v1/find?name=b", "/api/v1/peers", "/?q=b", "/peers"] {
        let answer = get(server.addr(), path);
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.text().contains("no tracker at"), "{path}: {}", answer.text());
    }
    get_until(server.addr(), "/files/a", |answer| answer.body == b"mine");
    let unready = get_until(server.addr(), "/readyz", |answer| answer.text().contains("no registration"));
    assert_eq!((unready.status, unready.header("retry-after")), (503, Some("1")));
    assert!(server.stop().is_clean() && node.stop().is_clean());
}

#[test]
fn a_node_is_ready_while_others_can_find_its_files() {
    let mut swarm = Swarm::new();
    let added = swarm.add(&[("a", b"a")], &crate::web::swarm::loopback());
    let web = swarm.member(added).web();
    get_until(web, "/readyz", |answer| answer.status == 200);
    swarm.stop_tracker();
    let unready = get_until(web, "/readyz", |answer| answer.status == 503);
    assert!(unready.text().contains("no registration is in effect"), "{}", unready.text());
    assert_eq!(get(web, "/healthz").status, 200);
    swarm.stop();
}

#[test]
fn the_pages_of_a_list_join_to_the_whole_list() {
    let swarm = Swarm::new().node(&[("a", b"a")]).node(&[("b", b"b")]).node(&[]);
    let web = swarm.member(2).web();
    for name in ["a", "b", "x"] {
        assert_eq!(post(web, "/api/v1/downloads", &format!("{{\"name\":\"{name}\"}}")).status, 202);
    }
    for (path, key) in [("peers", "addr"), ("downloads", "id")] {
        let keys = |page: &serde_json::Value| -> Vec<serde_json::Value> {
            page["items"].as_array().expect("items").iter().map(|item| item[key].clone()).collect()
        };
        let whole = keys(&get(web, &format!("/api/v1/{path}")).json());
        let first = get(web, &format!("/api/v1/{path}?limit=2")).json();
        assert_eq!((keys(&first), &first["next"]), (whole[..2].to_vec(), &json!("2")), "{path}");
        let second = get(web, &format!("/api/v1/{path}?limit=2&cursor=2")).json();
        assert_eq!((keys(&second), &second["next"]), (whole[2..].to_vec(), &json!(null)), "{path}");
        for query in ["limit=0", "limit=501", "cursor=x", "cursor=-1"] {
            assert_eq!(get(web, &format!("/api/v1/{path}?{query}")).status, 400, "{path}?{query}");
        }
    }
    swarm.stop();
}

#[test]
fn copies_are_requested_by_name_or_digest() {
    let swarm = Swarm::new().node(&[("a", b"a")]);
    let web = swarm.member(0).web();
    let b3 = b3_hex(b"a");
    for body in ["{\"name\":\"a\",\"copies\":2}".to_owned(), format!("{{\"hash\":\"{b3}\",\"copies\":2}}")] {
        let answer = post(web, "/api/v1/replicate", &body);
        let reply = answer.json();
        assert_eq!(
            (answer.status, &reply["event"], &reply["wanted"]),
            (200, &json!("replication"), &json!(2)),
            "{reply}"
        );
        assert_eq!((&reply["b3"], &reply["copies"]), (&json!(b3), &json!(1)));
    }
    let metrics = get(swarm.web(), "/metrics");
    assert!(metrics.text().contains("nearpeer_replica_wishes 1"), "{}", metrics.text());
    for (body, status) in [
        ("{\"name\":\"nobody\",\"copies\":2}", 404),
        ("{\"name\":\"a\"}", 400),
        ("{\"copies\":2}", 400),
        ("{\"name\":\"a\",\"hash\":\"md5=00\",\"copies\":2}", 400),
        ("{\"name\":\"a\",\"copies\":-1}", 400),
    ] {
        assert_eq!(post(web, "/api/v1/replicate", body).status, status, "{body}");
    }
    swarm.stop();
}
