//! The eleven test cases of the predecessor of this system, one test each.

use crate::support::content::{md5_hex, noise};
use crate::support::rows::{downloaded_row, find_rows, load_row};
use crate::support::world::{NodeSpec, World};

#[test]
fn case_01_tracker_then_node() {
    let world = World::new().tracker().nodes(1);
    let ran = world.ask("nodes");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(ran.out.len(), 2, "the node and the requester: {ran:#?}");
}

#[test]
fn case_02_node_before_tracker_fails_cleanly() {
    let world = World::new();
    let ran = world.run(&NodeSpec::new().file("a.txt", b"a"), "");
    assert_eq!(ran.code, 4, "{ran:#?}");
    assert!(ran.err.contains(&world.tracker_addr().to_string()), "the address is named: {}", ran.err);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
}

#[test]
fn case_03_tracker_and_two_nodes() {
    let mut world = World::new().tracker().nodes(2);
    let (first, second) = (world.node(0).addr, world.node(1).addr);
    for index in 0..2 {
        let listed = world.node(index).command("nodes");
        assert_eq!(listed.len(), 2, "{listed:?}");
        for addr in [first, second] {
            let start = format!("{} {} live ", addr.ip(), addr.port());
            assert!(listed.iter().any(|line| line.starts_with(&start)), "{addr} in {listed:?}");
        }
    }
}

#[test]
fn case_04_updatelist() {
    let mut world = World::new().tracker().nodes(1);
    world.node(0).write("a.txt", b"a");
    assert_eq!(world.node(0).command("updatelist"), ["updated 1 files +1 -0 ~0"]);
}

#[test]
fn case_05_getload_of_the_other_is_0() {
    let mut world = World::new().tracker().nodes(2);
    let other = world.node(1).addr;
    let lines = world.node(0).command(&format!("getload {} {}", other.ip(), other.port()));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(load_row(&lines[0]), (other, 0));
}

#[test]
fn case_06_find_lists_the_other() {
    let mut world = World::new().tracker().nodes(1);
    let holder = world.holder(&[("a.txt", b"content")]);
    let rows = find_rows(&world.node(0).command("find a.txt"));
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].endpoint, rows[0].md5.as_str()), (holder.addr, md5_hex(b"content").as_str()));
}

#[test]
fn case_07_download_puts_the_file_into_the_own_directory() {
    let bytes = noise(7, 100_000);
    let mut world = World::new().tracker().nodes(1);
    let holder = world.holder(&[("sub/a.bin", &bytes)]);
    let lines = world.node(0).command("download sub/a.bin");
    let row = downloaded_row(lines.last().expect("a result"), "sub/a.bin");
    assert_eq!((row.size, row.sources), (100_000, vec![holder.addr]));
    assert!(world.node(0).read("sub/a.bin") == Some(bytes), "the same bytes");
}

#[test]
fn case_08_tracker_restarted_and_nodes_silent() {
    let mut world = World::new().tracker();
    let _holder = world.start(NodeSpec::new().headless().file("a.txt", b"a").flags(&["--heartbeat", "off"]));
    assert_eq!(world.ask("find a.txt").code, 0);
    world.kill_tracker();
    world.restart_tracker();
    let ran = world.ask("find a.txt");
    assert_eq!((ran.code, ran.out), (3, vec!["No nodes found".to_owned()]));
}

#[test]
fn case_09_tracker_restarted_and_both_updatelist() {
    let mut world = World::new().tracker();
    let silent = &["--heartbeat", "off"];
    let mut first = world.start(NodeSpec::new().file("a.txt", b"a").flags(silent));
    let mut second = world.start(NodeSpec::new().file("b.txt", b"b").flags(silent));
    world.kill_tracker();
    world.restart_tracker();
    assert_eq!(first.command("updatelist"), ["updated 1 files +0 -0 ~0"]);
    // A request registers its own node again, and no other node.
    assert_eq!(first.command("find b.txt"), ["No nodes found"]);
    assert_eq!(second.command("updatelist"), ["updated 1 files +0 -0 ~0"]);
    assert_eq!(find_rows(&first.command("find b.txt"))[0].endpoint, second.addr);
    assert_eq!(find_rows(&second.command("find a.txt"))[0].endpoint, first.addr);
}

#[test]
fn case_10_holder_killed_and_the_second_find_lists_one_fewer() {
    let mut world = World::new().tracker().nodes(1);
    let mut doomed = world.holder(&[("a.txt", b"a")]);
    let left = world.holder(&[("a.txt", b"a")]);
    assert_eq!(find_rows(&world.node(0).command("find a.txt")).len(), 2);
    doomed.process.kill();
    let rows = find_rows(&world.node(0).command("find a.txt"));
    assert_eq!(rows.iter().map(|row| row.endpoint).collect::<Vec<_>>(), [left.addr]);
}

#[test]
fn case_11_file_added_and_updatelist_makes_it_found() {
    let mut world = World::new().tracker().nodes(2);
    assert_eq!(world.node(1).command("find new.txt"), ["No nodes found"]);
    world.node(0).write("new.txt", b"new");
    assert_eq!(world.node(0).command("updatelist"), ["updated 1 files +1 -0 ~0"]);
    let holder = world.node(0).addr;
    assert_eq!(find_rows(&world.node(1).command("find new.txt"))[0].endpoint, holder);
}
