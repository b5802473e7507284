//! Pages of both programs: rules for all of them, and their size with much data.

use std::net::SocketAddr;

use nearpeer::node::DownloadRequest;
use nearpeer::types::{FileName, limits};

use crate::support::print_figures;
use crate::web::client::{ask, get};
use crate::web::swarm::Swarm;

const OF_TRACKERS: [&str; 4] = ["/", "/?q=a", "/peers", "/stats"];
const OF_NODES: [&str; 6] = ["/", "/?q=a", "/files", "/downloads", "/peers", "/stats"];
const ASSETS: [&str; 3] = ["/assets/style.css", "/assets/live.js", "/assets/icon.svg"];

/// Upper limit of a page with everything that it loads, in bytes.
const PAGE_MAX_BYTES: usize = 100_000;

fn check_page(web: SocketAddr, path: &str) {
    let page = get(web, path);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{path}");
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));
    let text = page.text();
    assert!(
        text.contains("<html lang=\"en\">") && text.contains("name=\"viewport\"") && text.contains("<h1>")
    );
    assert!(
        !text.contains("style=") && !text.contains("onclick") && !text.contains("src=\"http"),
        "{path}: {text}"
    );
    assert_eq!(text.matches("<script").count(), 1, "{path}");
    assert_eq!(text.matches("<table").count(), text.matches("<caption>").count(), "{path}");
    assert!(!text.contains("<th>"), "every header has a scope: {path}");
}

#[test]
fn pages_work_without_script_and_load_nothing_from_other_servers() {
    let swarm = Swarm::new().node(&[("a", b"a")]);
    for (web, pages) in [(swarm.web(), &OF_TRACKERS[..]), (swarm.member(0).web(), &OF_NODES)] {
        for path in pages {
            check_page(web, path);
        }
        for asset in ASSETS {
            let first = get(web, asset);
            assert_eq!(first.status, 200, "{asset}");
            let tag = first.header("etag").expect("a tag");
            let again = ask(web, &format!("GET {asset}"), &format!("If-None-Match: {tag}\r\n"), "");
            assert_eq!((again.status, again.body.len()), (304, 0), "{asset}");
        }
        for path in [
            "/assets/",
            "/assets/../Cargo.toml",
            "/assets/style.css/",
            "/assets/%2e%2e/style.css",
            "/style.css",
        ] {
            assert_eq!(get(web, path).status, 404, "{path}");
        }
    }
    swarm.stop();
}

/// More data of each kind than a page shows: files, sources under many names, downloads, searches. The unit
/// tests of the tracker make up nodes.
#[test]
fn pages_stay_small_with_very_much_data() {
    let names: Vec<String> =
        (0..2 * limits::HTTP_PAGE_ROWS).map(|number| format!("measurements/run-{number:04}.csv")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), &b"the same in all"[..])).collect();
    let mut swarm = Swarm::new();
    for _ in 0..8 {
        swarm = swarm.node(&files);
    }
    let (tracker, node) = (swarm.web(), swarm.member(0).web());
    let b3 = crate::support::content::b3_hex(b"the same in all");
    for number in 0..limits::RECENT_FINDS_MAX {
        get(tracker, &format!("/?q=measurements/nobody-has-{number:04}.csv"));
        let name = FileName::new(&format!("measurements/nobody-has-{number:04}.csv")).expect("a name");
        let request = DownloadRequest { name, checksum: None, verify_whole: false, force: false };
        swarm.member(0).node().start_download(request).expect("there is room");
    }
    get(node, "/?q=measurements/run-0000.csv");
    let assets: usize = ASSETS.iter().map(|asset| get(node, asset).body.len()).sum();
    let search = format!("/?q=b3={b3}");
    let of_trackers = ["/", &search, "/peers", "/stats"];
    let of_nodes = ["/", &search, "/files", "/downloads", "/peers", "/stats"];
    for (web, pages) in [(tracker, &of_trackers[..]), (node, &of_nodes)] {
        for path in pages {
            let page = get(web, path);
            assert_eq!(page.status, 200, "{path}");
            let (rows, len) = (page.text().matches("<tr").count(), page.body.len() + assets);
            print_figures(&format!("{path:.20}: {rows} rows, {len} bytes with what it loads"));
            assert!(
                len < PAGE_MAX_BYTES && rows <= limits::HTTP_PAGE_ROWS + 2,
                "{path}: {rows} rows, {len} bytes"
            );
            if path.starts_with("/?q=b3") || *path == "/files" {
                assert!(rows > limits::HTTP_PAGE_ROWS, "{path} is full: {rows}");
            }
        }
    }
    let first = get(node, "/files");
    let (_, next) = first.text().split_once("href=\"/files?after=").expect("a next page");
    let second = get(node, &format!("/files?after={}", &next[..next.find('"').expect("its end")]));
    assert!(second.text().contains("run-0150.csv") && !second.text().contains("run-0050.csv"));
    swarm.stop();
}
