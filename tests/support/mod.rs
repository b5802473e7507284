//! The test world: real processes on loopback, a fault proxy, hostile peers. Shared by the test targets
//! through `#[path]`.
//!
//! Nothing here sleeps to synchronise: every wait is for an event and ends at [`DEADLINE`]. Everything
//! started is ended and joined on drop, and what is random comes from a seed that is printed.
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

/// The longest that any single event is waited for.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The seed of a test: `NEARPEER_SEED`, else `default`. Printed, so that a failure can be had again.
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("NEARPEER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    tell(&format!("NEARPEER_SEED={seed}"));
    seed
}

/// How often something is tried: `variable` of the environment, as `scripts/prove` sets it, else `default`.
///
/// # Panics
/// If the variable is set and no number: a proof would silently be a small one.
pub fn count(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// Prints figures for those who ask with `--nocapture`; the test harness shows them when the test fails.
#[allow(clippy::print_stdout, reason = "stdout is where the test harness and `scripts/prove` look")]
pub fn tell(text: &str) {
    println!("{text}");
}

/// Says on the real stderr, which the test harness does not capture, that a test could not be run here.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write;
    // A closed stderr leaves nobody to tell.
    let _nobody_reads = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}
