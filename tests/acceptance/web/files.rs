//! Files by HTTP: whole, in ranges, under conditions, while they change, and under every kind of name.

use std::fs::{self, File};
use std::io::Write;

use crate::support::content::{b3_hex, md5_hex, noise};
use crate::support::raw::{fresh_node_id, load_of};
use crate::web::client::{Answer, Client, ask, get};
use crate::web::swarm::{Swarm, get_until};

fn get_with(swarm: &Swarm, path: &str, headers: &str) -> Answer {
    ask(swarm.member(0).web(), &format!("GET {path}"), headers, "")
}

#[test]
fn a_file_is_served_whole_or_as_the_requested_range() {
    let bytes = noise(1, 3_000_000);
    let swarm = Swarm::new().node(&[("dir/a.bin", &bytes), ("empty", b"")]);
    let whole = get_with(&swarm, "/files/dir/a.bin", "");
    assert!(whole.status == 200 && whole.body == bytes);
    let tag = format!("\"{}\"", b3_hex(&bytes));
    assert_eq!(whole.header("etag"), Some(tag.as_str()));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(
        whole.header("content-disposition"),
        Some("attachment; filename=\"a.bin\"; filename*=UTF-8''a.bin")
    );
    assert!(whole.header("content-security-policy").is_some_and(|policy| policy.starts_with("sandbox")));
    assert!(get_with(&swarm, "/download/dir%2Fa.bin", "").body == bytes, "under its older path, and escaped");
    for (range, expected) in [
        ("bytes=0-0", Some(0..1)),
        ("bytes=1000-1999999", Some(1000..2_000_000)),
        ("bytes=2999999-", Some(2_999_999..3_000_000)),
        ("bytes=-5", Some(2_999_995..3_000_000)),
        ("bytes=0-1,5-6", None),
        ("bytes=9-5", None),
    ] {
        let part = get_with(&swarm, "/files/dir/a.bin", &format!("Range: {range}\r\n"));
        match expected {
            None => assert!(part.status == 200 && part.body == bytes, "{range}"),
            Some(expected) => {
                let content_range = format!("bytes {}-{}/3000000", expected.start, expected.end - 1);
                assert_eq!((part.status, part.header("content-range")), (206, Some(content_range.as_str())));
                assert!(part.body == bytes[expected], "{range}");
            }
        }
    }
    for (path, range, size) in
        [("/files/dir/a.bin", "bytes=3000000-", 3_000_000), ("/files/empty", "bytes=0-", 0)]
    {
        let none = get_with(&swarm, path, &format!("Range: {range}\r\n"));
        assert_eq!(
            (none.status, none.header("content-range")),
            (416, Some(format!("bytes */{size}").as_str()))
        );
    }
    assert_eq!(get_with(&swarm, "/files/empty", "").body, b"");
    let head = ask(swarm.member(0).web(), "HEAD /files/dir/a.bin", "", "");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("3000000"), 0));
    let modified = whole.header("last-modified").expect("a date");
    for (condition, status) in [
        (format!("If-None-Match: {tag}"), 304),
        (format!("If-Modified-Since: {modified}"), 304),
        ("If-None-Match: \"other\"".into(), 200),
        (format!("If-Match: {tag}"), 200),
        ("If-Match: \"other\"".into(), 412),
        (format!("Range: bytes=0-1\r\nIf-Range: {tag}"), 206),
        ("Range: bytes=0-1\r\nIf-Range: \"other\"".into(), 200),
    ] {
        assert_eq!(
            get_with(&swarm, "/files/dir/a.bin", &format!("{condition}\r\n")).status,
            status,
            "{condition}"
        );
    }
    for path in
        ["/files/", "/files/b", "/files/../a", "/files/.nearpeer/x", "/files//etc/passwd", "/files/dir"]
    {
        assert_eq!(get_with(&swarm, path, "").status, 404, "{path}");
    }
    swarm.stop();
}

#[test]
fn pages_and_files_come_in_order_on_one_connection() {
    let bytes = noise(2, 2_000_000);
    let swarm = Swarm::new().node(&[("a", &bytes), ("b", b"small")]);
    let mut client = Client::connect(swarm.member(0).web());
    for path in ["/files/a", "/files/b", "/api/v1/load", "/files/nobody", "/files/a", "/"] {
        client.request(&format!("GET {path}"), "", "");
    }
    let bodies: Vec<Answer> = (0..6).map(|_| client.answer(false).expect("an answer")).collect();
    assert!(bodies[0].body == bytes && bodies[1].body == b"small" && bodies[4].body == bytes);
    assert_eq!(bodies[2].json()["load"], 0);
    assert_eq!((bodies[3].status, bodies[5].status), (404, 200));
    swarm.stop();
}

/// A slow reader.
fn slow_reader(swarm: &Swarm, path: &str) -> Client {
    let mut client = Client::connect_small(swarm.member(0).web());
    client.request(&format!("GET {path}"), "", "");
    client.until(b"\r\n\r\n");
    client
}

#[test]
fn a_file_counts_as_load_while_it_is_sent() {
    let bytes = noise(3, 24 << 20);
    let swarm = Swarm::new().node(&[("a", &bytes)]);
    let (web, addr) = (swarm.member(0).web(), swarm.member(0).addr());
    let mut readers = [slow_reader(&swarm, "/files/a"), slow_reader(&swarm, "/files/a")];
    assert_eq!(load_of(addr, fresh_node_id(), None).0, 1, "two connections of one address are one transfer");
    assert_eq!(get(web, "/api/v1/load").json()["load"], 1);
    let [first, second] = &mut readers;
    assert!(first.take(bytes.len()) == bytes);
    assert_eq!(get(web, "/api/v1/load").json()["load"], 1);
    second.take(1000);
    drop(readers);
    get_until(web, "/api/v1/load", |answer| answer.json()["load"] == 0);
    let sent = get(web, "/api/v1/status").json()["uploaded_bytes"].as_u64().expect("a number");
    let whole = bytes.len() as u64;
    assert!((whole + 1000..2 * whole).contains(&sent), "{sent}: what was cut counts as far as it was sent");
    swarm.stop();
}

#[test]
fn a_short_file_that_changes_while_it_is_sent_ends_short_too() {
    let bytes = noise(8, 600_000);
    let swarm = Swarm::new().node(&[("a", &bytes)]);
    swarm.member(0).node().set_max_upload(Some(200_000));
    let client = slow_reader(&swarm, "/files/a");
    let mut file = File::options().write(true).open(swarm.member(0).share.join("a")).expect("the file");
    file.write_all(b"other").expect("a file");
    file.sync_all().expect("written");
    let got = client.rest();
    assert!(got.len() < bytes.len(), "{} bytes came", got.len());
    swarm.stop();
}

#[test]
fn a_file_that_changes_while_it_is_sent_ends_short_and_is_not_sent_again() {
    let bytes = noise(4, 24 << 20);
    type Change = fn(&File);
    let changes: [(&str, Change); 2] = [
        ("shrinks", |file| file.set_len(20 << 20).expect("a file")),
        ("is written to", |mut file| file.write_all(b"other").expect("a file")),
    ];
    for (what, change) in changes {
        let swarm = Swarm::new().node(&[("a", &bytes)]);
        let client = slow_reader(&swarm, "/files/a");
        let file = File::options().write(true).open(swarm.member(0).share.join("a")).expect("the file");
        change(&file);
        file.sync_all().expect("written");
        let got = client.rest();
        assert!(got.len() < bytes.len() && got.len() > 1000, "it {what}: {} bytes came", got.len());
        let after = get(swarm.member(0).web(), "/files/a");
        // Refused, or hashed again meanwhile and sent with its new content.
        let is_now = fs::read(swarm.member(0).share.join("a")).expect("the file");
        assert!(after.status == 409 || after.body == is_now, "it {what}: {}", after.status);
        swarm.stop();
    }
}

#[test]
fn files_share_the_upload_rate_of_the_node() {
    let bytes = noise(5, 400_000);
    let swarm = Swarm::new().node(&[("a", &bytes)]);
    swarm.member(0).node().set_max_upload(Some(500_000));
    let began = std::time::Instant::now();
    assert!(get(swarm.member(0).web(), "/files/a").body == bytes);
    // A burst of 64 KiB, then the rest at the rate.
    assert!(began.elapsed().as_millis() > 500, "{:?}", began.elapsed());
    swarm.stop();
}

#[test]
fn a_metalink_has_the_sources_in_order_and_the_pieces() {
    let bytes = noise(6, 2_500_000);
    let swarm =
        Swarm::new().node(&[("a.bin", &bytes)]).node(&[("a.bin", &bytes)]).node(&[("a.bin", b"another")]);
    let web = swarm.member(0).web();
    let other = format!("http://{}/files/a.bin", swarm.member(1).web());
    let metalink = get_until(web, "/metalink/a.bin.meta4", |answer| answer.text().contains(&other));
    let text = metalink.text();
    assert!(text.starts_with(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metalink xmlns=\"urn:ietf:params:xml:ns:metalink\">"
    ));
    assert!(text.contains(&format!(
        "<size>{}</size><hash type=\"md5\">{}</hash>",
        bytes.len(),
        md5_hex(&bytes)
    )));
    assert!(text.contains("<pieces length=\"1048576\" type=\"md5\">"));
    assert_eq!(text.matches("<hash>").count(), 3);
    assert!(text.contains(&md5_hex(&bytes[..1 << 20])) && text.contains(&md5_hex(&bytes[2 << 20..])));
    assert!(
        text.contains(&format!(
            "<url priority=\"1\">{other}</url><url priority=\"2\">http://{web}/files/a.bin</url>"
        )),
        "{text}"
    );
    let variant =
        get_until(web, &format!("/metalink/a.bin.meta4?hash=md5={}", md5_hex(b"another")), |answer| {
            answer.status == 200
        });
    assert!(variant.text().contains("<size>7</size>"));
    for (path, status) in [
        ("/metalink/nobody.meta4", 404),
        ("/metalink/a.bin", 404),
        ("/metalink/...meta4", 400),
        ("/metalink/a.bin.meta4?hash=x", 400),
    ] {
        assert_eq!(get(web, path).status, status, "{path}");
    }
    swarm.stop();
}
