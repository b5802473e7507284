//! The test world: real processes on loopback, a fault proxy, hostile peers. The test programs share it
//! through `#[path]`.
//!
//! Nothing here sleeps to synchronise: every wait is for an event and ends at [`DEADLINE`]. Drop ends and
//! joins everything that was started. Random values come from a seed that is printed.
#![allow(dead_code, unreachable_pub, reason = "several test targets include these modules; each uses a part")]

pub mod content;
pub mod events;
pub mod evil;
pub mod evil_script;
pub mod hostile_text;
pub mod partial;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod rows;
pub mod world;

use std::time::Duration;

/// The longest wait for any single event.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The seed of a test: `NEARPEER_SEED`, else `default`. It is printed, so that a failure can be repeated.
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("NEARPEER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    print_figures(&format!("NEARPEER_SEED={seed}"));
    seed
}

/// Number of repetitions: the environment variable `variable`, which `scripts/prove` sets, else `default`.
///
/// # Panics
/// If the variable is not a number: otherwise a proof would silently be small.
pub fn count(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// Prints figures, visible with `--nocapture` and in failed tests.
#[allow(clippy::print_stdout, reason = "stdout is where the test harness and `scripts/prove` look")]
pub fn print_figures(text: &str) {
    println!("{text}");
}

/// Writes to the real stderr, which the test harness does not capture, that a test could not run here.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write;
    // A failed write to stderr cannot be reported anywhere.
    let _nobody_reads = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}
