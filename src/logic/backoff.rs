//! The lengths of pauses before a retry.
//!
//! The pauses of a download grow, so that a source in trouble gets fewer requests. Nodes
//! wait a random time before they connect again, so that they do not all return to a restarted tracker at
//! once.

use std::time::Duration;

use rand::Rng;

/// Logarithm to base 2 of the maximum pause in seconds.
const PAUSE_MAX_LOG2_S: u32 = 3;

/// The pause of a download after `round` earlier rounds in a row without progress: 1, 2, 4, 8 s, and 8 s
/// after all later rounds.
pub fn retry_pause(round: u32) -> Duration {
    Duration::from_secs(1 << round.min(PAUSE_MAX_LOG2_S))
}

/// A random duration of at most `max`, uniformly distributed.
pub fn jitter(rng: &mut impl Rng, max: Duration) -> Duration {
    rng.random_range(Duration::ZERO..=max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn pauses_double_up_to_eight_seconds() {
        for (round, seconds) in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 8), (31, 8), (32, 8), (u32::MAX, 8)] {
            assert_eq!(retry_pause(round), Duration::from_secs(seconds), "round {round}");
        }
    }

    #[test]
    fn jitter_covers_its_range_and_stays_within_it() {
        let mut rng = SmallRng::seed_from_u64(7);
        let max = Duration::from_secs(1);
        let drawn: Vec<_> = (0..1000).map(|_| jitter(&mut rng, max)).collect();
        assert!(drawn.iter().all(|one| *one <= max));
        assert!(drawn.iter().min() < Some(&(max / 10)));
        assert!(drawn.iter().max() > Some(&(max / 10 * 9)));
        assert_eq!(jitter(&mut rng, Duration::ZERO), Duration::ZERO);
    }
}
