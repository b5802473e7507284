//! Signals: however a node at a prompt ends, the terminal is restored.

use rustix::process::{Signal, kill_process};

use crate::prompt::terminal::World;

#[test]
fn a_term_during_bars_restores_the_terminal() {
    let mut world = World::new();
    let _source = world.slow_source("512KiB");
    world.keys("download large.bin\r");
    world.expect_bar(r"1\d");
    kill_process(world.pid, Signal::TERM).expect("it runs");
    world.expect_cleared("cancelled");
    world.ends_with(143);
}

#[test]
fn a_term_at_the_prompt_restores_the_terminal() {
    let mut world = World::new();
    world.keys("half a li");
    world.expect("half a li");
    kill_process(world.pid, Signal::TERM).expect("it runs");
    world.ends_with(143);
}

#[test]
fn a_quit_at_the_prompt_restores_the_terminal() {
    let mut world = World::new();
    world.keys("half a li");
    world.expect("half a li");
    kill_process(world.pid, Signal::QUIT).expect("it runs");
    world.ends_with(131);
}

#[test]
fn an_int_signal_exits_too() {
    let world = World::new();
    kill_process(world.pid, Signal::INT).expect("it runs");
    world.ends_with(130);
}
