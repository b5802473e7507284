//! The test world: real processes on loopback, a fault proxy, hostile peers. Shared by the test targets through `#[path]`.
//!
//! Nothing here sleeps to synchronise: every wait is for an event and ends at [`DEADLINE`]. Everything started is ended and joined on
//! drop, and what is random comes from a seed that is printed.
#![allow(dead_code, unreachable_pub, reason = "several test targets include these modules; each uses a part")]

pub mod content;
pub mod evil;
pub mod evil_script;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod rows;
pub mod world;

use std::time::Duration;

/// The longest that any single event is waited for.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The seed of a test: `NEARPEER_SEED`, else `default`. Printed, so that a failure can be had again.
#[allow(clippy::print_stdout, reason = "shown by the test harness when the test fails")]
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("NEARPEER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    println!("NEARPEER_SEED={seed}");
    seed
}

/// Says on the real stderr, which the test harness does not capture, that a test could not be run here.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write;
    // A closed stderr leaves nobody to tell.
    let _nobody_reads = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}
