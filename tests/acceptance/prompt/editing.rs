//! Keys at the prompt: lines, history, completion, messages above the line.

use std::fs;

use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use std::process::Command;

use crate::prompt::terminal::{CTRL_C, CTRL_D, TIMEOUT_MS, UPDATED, World, start};

#[test]
fn commands_run_and_ctrl_d_leaves() {
    let mut world = World::new();
    world.keys("updatelist\r");
    world.expect(UPDATED);
    world.expect("> ");
    world.keys("frobnicate\r");
    world.expect("unknown command `frobnicate`");
    world.expect("> ");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn ctrl_c_clears_a_line_with_text_and_leaves_at_an_empty_prompt() {
    let mut world = World::new();
    world.keys("fi");
    world.expect("fi");
    world.keys(CTRL_C);
    // The line ends now. A prompt alone could be the old one, which each key draws again.
    world.expect("\n");
    world.expect("> ");
    // If the text had stayed, this would be an unknown command.
    world.keys("updatelist\r");
    world.expect(UPDATED);
    world.expect("> ");
    world.keys(CTRL_C);
    world.ends_with(130);
}

#[test]
fn tab_completes_commands_and_names_and_history_comes_back() {
    let mut world = World::new();
    world.keys("upd\t\r");
    world.expect(UPDATED);
    world.expect("> ");
    // The answer proves the command line: only the completed and quoted name gives it.
    world.keys("find my\t\r");
    world.expect("'my notes.txt'");
    world.expect("Found nodes:");
    world.expect("full my notes.txt");
    world.expect("> ");
    world.keys("\u{1b}[A\u{1b}[A\r");
    world.expect(UPDATED);
    world.expect("> ");
    world.keys("exit\r");
    world.ends_with(0);
}

#[test]
fn tab_completes_names_of_other_nodes() {
    let mut world = World::new();
    let theirs = world.dir.path().join("theirs");
    fs::create_dir(&theirs).expect("a directory");
    fs::write(theirs.join("quokka.bin"), "q").expect("written");
    let args = ["127.0.0.1", "0", "theirs", "--headless", "--latency-file", "none", "--tracker"];
    let args: Vec<_> = args.into_iter().chain([world.tracker_addr.as_str()]).collect();
    let _other = start(env!("CARGO_BIN_EXE_node"), &args, world.dir.path());
    // The node requests the names whenever a prompt appears. They arrive before the second prompt after it.
    for _ in 0..2 {
        world.keys("updatelist\r");
        world.expect(UPDATED);
        world.expect("> ");
    }
    world.keys("find quo\t\r");
    world.expect("Found nodes:");
    world.expect("full quokka.bin");
    world.expect("> ");
    world.keys("exit\r");
    world.ends_with(0);
}

#[test]
fn messages_appear_above_the_prompt_and_keep_the_typed_line() {
    let mut world = World::new();
    world.keys("li");
    world.expect("li");
    drop(world.tracker.take());
    world.expect("warning: the tracker is lost");
    world.expect("> li");
    world.keys("st\r");
    world.expect(" zebra.csv\r\n");
    world.expect("> ");
    world.keys("updatelist\r");
    world.expect("no tracker at ");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn history_is_there_at_the_next_prompt() {
    let mut world = World::new();
    world.keys("updatelist\r");
    world.expect(UPDATED);
    world.expect("> ");
    let mut world = world.killed_and_restarted();
    world.keys("\u{1b}[A\r");
    world.expect(UPDATED);
    world.expect("> ");
    world.keys(CTRL_D);
    world.ends_with(0);
}

#[test]
fn a_tracker_has_a_prompt_at_its_terminal_and_only_serves_in_the_background() {
    let dir = tempfile::tempdir().expect("a directory");
    let tracker = env!("CARGO_BIN_EXE_tracker");
    let script = format!(
        "trap : INT\nset -m\n{tracker} --listen 127.0.0.1:0 &\nbehind=$!\n\
         {tracker} --listen 127.0.0.1:0\necho code $?\nkill -TERM $behind\nwait $behind\necho behind $?\n"
    );
    fs::write(dir.path().join("script"), script).expect("written");
    let mut shell = Command::new("sh");
    shell.arg("script").current_dir(dir.path()).env("TERM", "xterm").env("NO_COLOR", "1");
    shell.env("XDG_STATE_HOME", dir.path().join("state")).env("XDG_CONFIG_HOME", dir.path());
    let options = Options::new().timeout_ms(Some(TIMEOUT_MS)).strip_ansi_escape_codes(true);
    let mut session = spawn_with_options(shell, options).expect("a pseudo-terminal");
    let expect = |session: &mut PtySession, text: &str| {
        session.exp_string(text).unwrap_or_else(|error| panic!("awaiting {text:?}: {error}"));
    };
    expect(&mut session, "> ");
    for (keys, answer) in [("stats\r", "nodes_live 0"), ("help\r", "stop the tracker")] {
        session.send(keys).and_then(|_| session.flush()).expect("sent");
        expect(&mut session, answer);
        expect(&mut session, "> ");
    }
    session.send("stop\r").and_then(|_| session.flush()).expect("sent");
    expect(&mut session, "code 0");
    expect(&mut session, "behind 0");
}

#[test]
fn all_lines_of_one_paste_are_run() {
    let mut world = World::new();
    world.keys("updatelist\rlimit 1M\rlimit off\rlist\r");
    for answer in [UPDATED, "max-upload 1000000", "max-upload off", " zebra.csv\r\n"] {
        world.expect(answer);
        world.expect("> ");
    }
    world.keys(CTRL_D);
    world.ends_with(0);
}
