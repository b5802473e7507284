//! (arrives with the registry)
use std::time::Duration;
pub fn retry_pause(round: u32) -> Duration {
    Duration::from_secs(1 << round.clamp(1, 4).saturating_sub(1))
}
