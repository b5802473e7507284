//! Downloads at a prompt: bars, messages above them, resumed downloads, background downloads.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::prompt::terminal::{CTRL_C, CTRL_D, Running, TIMEOUT_MS, UPDATED, World};

#[test]
fn ctrl_c_cancels_a_running_download_and_nothing_else() {
    let mut world = World::new();
    let _source = world.slow_source("512KiB");
    world.keys("download large.bin\r");
    world.expect_bar(r"1\d");
    world.keys(CTRL_C);
    world.expect_cleared("cancelled");
    world.expect("> ");
    assert!(!world.dir.path().join("share/large.bin").exists());
    world.keys("updatelist\r");
    world.expect(UPDATED);
    world.expect("> ");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn a_killed_download_is_resumed_at_the_next_prompt_unless_it_was_cancelled() {
    for is_cancelled in [false, true] {
        let mut world = World::new();
        let _source = world.slow_source("4MiB");
        world.keys("download large.bin\r");
        world.wait_written(2 << 20);
        if is_cancelled {
            world.keys(CTRL_C);
            world.expect("cancelled");
            world.expect("> ");
        }
        let mut world = world.killed_and_restarted();
        let file = world.dir.path().join("share/large.bin");
        let until = Instant::now() + Duration::from_millis(if is_cancelled { 3000 } else { TIMEOUT_MS });
        while !file.exists() && Instant::now() < until {
            world.keys("updatelist\r");
            world.expect("updated ");
            world.expect("> ");
        }
        assert_eq!(file.exists(), !is_cancelled, "resumed by itself, cancelled: {is_cancelled}");
        if is_cancelled {
            world.keys("download large.bin\r");
            world.expect("downloaded large.bin");
            world.expect("> ");
        }
        assert!(fs::read(&file).expect("in place") == vec![7; 8 << 20]);
        world.keys(CTRL_D);
        world.ends_with(0);
    }
}

#[test]
fn a_command_waits_for_a_resumed_download_and_ctrl_c_ends_both() {
    for is_cancelled in [false, true] {
        let mut world = World::new();
        let _source = world.slow_source("1MiB");
        world.keys("download large.bin\r");
        world.wait_written(4 << 20);
        let mut world = world.killed_and_restarted();
        // The resumed download is admitted once it writes.
        world.wait_written(world.written_bytes() + (1 << 19));
        let share = world.dir.path().join("share");
        let ends = |extension: &str| {
            let parts = fs::read_dir(share.join(".nearpeer")).into_iter().flatten().flatten();
            parts.filter(|part| part.path().extension().is_some_and(|found| found == extension)).count()
        };
        world.keys("download large.bin\r");
        world.expect("waiting for other downloads to end");
        assert_eq!((ends("resume"), ends("kept"), share.join("large.bin").exists()), (1, 0, false));
        if is_cancelled {
            world.keys(CTRL_C);
            world.expect("cancelled");
            world.expect("> ");
            // If the resumed download had not ended, its record would be marked as wanted again, or the file
            // would exist.
            let until = Instant::now() + Duration::from_secs(5);
            while Instant::now() < until && !share.join("large.bin").exists() {
                world.keys("updatelist\r");
                world.expect("updated ");
                world.expect("> ");
            }
            assert_eq!((ends("part"), ends("resume"), ends("kept")), (1, 0, 1));
            assert!(!share.join("large.bin").exists(), "resumed to the end");
        } else {
            world.expect("already here large.bin");
            world.expect("> ");
            assert!(fs::read(share.join("large.bin")).expect("in place") == vec![7; 8 << 20]);
            assert_eq!(ends("part") + ends("resume") + ends("kept"), 0);
        }
        world.keys(CTRL_D);
        world.ends_with(0);
    }
}

#[test]
fn a_download_has_a_bar_below_its_messages_and_leaves_a_clean_prompt() {
    let mut world = World::new();
    let _source = world.slow_source("2MiB");
    world.keys("download large.bin\r");
    world.expect_bar(r"\d\d");
    drop(world.tracker.take());
    world.expect_cleared("warning: the tracker is lost");
    world.expect_bar(r"\d\d");
    world.expect_cleared("downloaded large.bin 8388608 bytes ");
    let rest = world.expect("> ");
    assert!(!rest.contains('#') && !rest.contains('%'), "{rest:?}");
    // Typed keys are shown again.
    world.keys("lis");
    world.expect("lis");
    world.keys("t\r");
    world.expect(" large.bin\r\n");
    world.expect("> ");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn uploads_have_a_line_beneath_the_bar() {
    let mut world = World::new();
    let _source = world.slow_source("2MiB");
    let theirs = world.dir.path().join("theirs");
    fs::create_dir(&theirs).expect("a directory");
    fs::write(world.dir.path().join("share/other.bin"), vec![8; 4 << 20]).expect("written");
    world.keys("updatelist\r");
    world.expect("updated 3 files");
    world.expect("> ");
    world.keys("download large.bin\r");
    world.expect_bar(r"\d\d");
    let mut other = Command::new(env!("CARGO_BIN_EXE_node"))
        .args(["127.0.0.1", "0", "theirs", "--latency-file", "none", "--tracker", &world.tracker_addr])
        .current_dir(world.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process");
    let mut commands = other.stdin.take().expect("piped");
    let _other = Running(other);
    commands.write_all(b"download other.bin\n").expect("it reads");
    let line = r"1 source +up  4\.0 MiB  [\d.]+ [KM]iB/s  \d peers?";
    world.session.exp_regex(line).unwrap_or_else(|error| panic!("awaiting {line:?}: {error}"));
    world.expect_cleared("downloaded large.bin 8388608 bytes ");
    let rest = world.expect("> ");
    assert!(!rest.contains("up  "), "{rest:?}");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn a_background_download_prints_above_the_prompt_and_can_be_cancelled() {
    let mut world = World::new();
    let _source = world.slow_source("1MiB");
    world.keys("download large.bin &\r");
    // The job is queued or runs already.
    world.expect(" -/- large.bin");
    world.expect("[1] large.bin: chose 127.0.0.1:");
    world.wait_written(1 << 20);
    for (keys, answer) in [
        ("jobs\r", "1 running "),
        ("limit 1M\r", "max-upload 1000000"),
        ("cancel 1\r", "1 cancelled "),
        ("cancel 1\r", "download 1 has ended"),
        ("find --help\r", "Usage: find"),
    ] {
        world.keys(keys);
        world.expect(answer);
        world.expect("> ");
    }
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn the_end_of_a_background_download_is_printed() {
    let mut world = World::new();
    let _source = world.slow_source("20MiB");
    world.keys("download large.bin &\r");
    world.expect("[1] downloaded large.bin 8388608 bytes ");
}
