//! Background downloads of a script: none is lost without a word, and none is told as a success that is not.

use crate::support::content::noise;
use crate::support::world::{NodeSpec, World};

#[test]
fn the_end_of_the_input_waits_for_background_downloads() {
    let bytes = noise(71, 3 << 20);
    let world = World::new().tracker();
    let _holder = world.start(NodeSpec::new().headless().file("a", &bytes).flags(&["--max-upload", "8MiB"]));
    let ran = world.run(&NodeSpec::new(), "download a &\ndownload a &\n");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(std::fs::read(ran.share.join("a")).is_ok_and(|read| read == bytes), "{ran:#?}");
}

#[test]
fn a_background_download_that_fails_is_the_exit_of_the_script() {
    let world = World::new().tracker();
    let _holder = world.holder(&[("a", b"content")]);
    for script in ["download none &\n", "download none &\nwait\nfind a\n", "download none &\ndownload a\n"] {
        let ran = world.run(&NodeSpec::new(), script);
        assert_eq!(ran.code, 3, "{script}: {ran:#?}");
        assert!(ran.err.contains("no node has `none`"), "{ran:#?}");
    }
    // A wait for one download tells of that download alone.
    let ran = world.run(&NodeSpec::new(), "download a &\nwait 1\nwait 2\n");
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.err.contains("no download has number 2"), "{ran:#?}");
}

#[test]
fn downloads_that_do_not_end_are_named_when_the_script_leaves() {
    let bytes = noise(72, 8 << 20);
    let world = World::new().tracker();
    let _holder = world.start(NodeSpec::new().headless().file("a", &bytes).flags(&["--max-upload", "1MiB"]));
    let ran = world.run(&NodeSpec::new(), "download a &\nexit\n");
    assert_eq!(ran.code, 7, "{ran:#?}");
    assert!(ran.err.contains("1 download is not finished"), "{ran:#?}");
    // A paused download never ends by itself.
    let ran = world.run(&NodeSpec::new(), "download a &\npause 1\n");
    assert_eq!(ran.code, 7, "{ran:#?}");
    assert!(ran.err.contains("paused") && ran.err.contains("1 download is not finished"), "{ran:#?}");
    // A download that the script cancels is not lost.
    let ran = world.run(&NodeSpec::new(), "download a &\ncancel 1\n");
    assert_eq!(ran.code, 0, "{ran:#?}");
}

#[test]
fn a_script_may_start_more_downloads_than_a_node_keeps() {
    let world = World::new().tracker();
    let _holder = world.holder(&[("a", b"content")]);
    let ran = world.run(&NodeSpec::new(), &"download a &\n".repeat(1100));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(std::fs::read(ran.share.join("a")).expect("in place"), b"content");
    assert!(!ran.err.contains("downloads are not finished"), "{}", ran.err);
}
