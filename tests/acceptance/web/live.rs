//! Live updates of pages and streams, and that they cause no changes.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nearpeer::node::{Node, NodeConfig};
use nearpeer::web::serve_node;

use crate::support::content::noise;
use crate::web::client::{Client, get, post};
use crate::web::swarm::{Swarm, loopback};

fn stream(web: SocketAddr) -> Client {
    let mut stream = Client::connect(web);
    stream.request("GET /api/v1/events", "", "");
    stream.until(b"\n\n");
    stream
}

/// Number of remembered finds.
fn finds(web: SocketAddr) -> usize {
    get(web, "/api/v1/stats").json()["recent"].as_array().expect("finds").len()
}

/// At each event, the script requests a page with a live region again. A search causes an event.
#[test]
fn a_page_that_shows_a_search_is_one_search() {
    let swarm = Swarm::new().node(&[("a", b"a")]);
    for (web, expected) in [
        (swarm.web(), &b"\"name\":\"finds\",\"value\":1"[..]),
        (swarm.member(0).web(), b"\"event\":\"searched\""),
    ] {
        let mut stream = stream(web);
        let page = get(web, "/?q=a");
        stream.until(expected);
        if page.text().contains("data-live") {
            get(web, "/?q=a");
        }
        assert_eq!(finds(web), 1);
        assert!(page.text().contains("data-stat=\"files\""), "figures come with the stream");
    }
    let script = get(swarm.web(), "/assets/live.js");
    assert!(script.text().contains("'main [data-live]'"), "{}", script.text());
    swarm.stop();
}

#[test]
fn a_stream_has_events_of_uploads_and_scans() {
    let bytes = noise(31, 24 << 20);
    let swarm = Swarm::new().node(&[("a", &bytes)]);
    let (web, share) = (swarm.member(0).web(), swarm.member(0).share.clone());
    let mut stream = stream(web);
    let mut reader = Client::connect_small(web);
    reader.request("GET /files/a", "", "");
    reader.until(b"\r\n\r\n");
    stream.until(b"\"name\":\"load\",\"value\":1");
    drop(reader);
    stream.until(b"\"name\":\"load\",\"value\":0");
    std::fs::write(share.join("b"), "new").expect("a file");
    assert_eq!(post(web, "/api/v1/updatelist", "").status, 200);
    stream.until(b"\"name\":\"files\",\"value\":2");
    swarm.stop();
}

#[test]
fn a_change_does_not_wait_for_a_find() {
    // A tracker that accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let share = tempfile::tempdir().expect("a directory");
    let config = NodeConfig::new([127, 0, 0, 1].into(), share.path(), silent.local_addr().expect("bound"));
    let node = Arc::new(Node::start(config).expect("a node"));
    let server = serve_node(Arc::clone(&node), &loopback()).expect("a server");
    let finds: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = Client::connect(server.addr());
            client.request("GET /api/v1/find?name=a", "", "");
            client
        })
        .collect();
    let began = Instant::now();
    assert_eq!(post(server.addr(), "/api/v1/downloads", "{\"name\":\"a\"}").status, 202);
    assert_eq!(post(server.addr(), "/api/v1/downloads/1/cancel", "").status, 200);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(finds);
    assert!(server.stop().is_clean() && node.stop().is_clean());
}
