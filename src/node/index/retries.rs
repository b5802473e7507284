//! Names at which to look again, because the last look failed for a reason that can pass: the file was being
//! written, or another program had it locked.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::types::{FileName, limits};

/// Pause before the first retry. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause. A file is published at most so long after the reason has passed.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// The names with their times. Memory: at most [`limits::LOOK_RETRIES_MAX`] names.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// The pause before the retry of each name, whether or not the retry runs now.
    pauses: HashMap<FileName, Duration>,
    due: BTreeSet<(Instant, FileName)>,
}

/// What happens to a name that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It failed for the first time.
    First,
    /// It failed again.
    Again,
    /// There are too many names: only the next scan looks at it.
    Refused,
}

impl Retries {
    /// Schedules a look at a name whose look has failed now.
    pub(super) fn schedule(&mut self, name: &FileName, now: Instant) -> Retry {
        let before = self.pauses.get(name).copied();
        if before.is_none() && self.pauses.len() >= limits::LOOK_RETRIES_MAX {
            return Retry::Refused;
        }
        let pause = before.map_or(FIRST_PAUSE, |before| (before * 2).min(PAUSE_MAX));
        self.pauses.insert(name.clone(), pause);
        self.due.retain(|(_, due)| before.is_none() || due != name);
        self.due.insert((now + pause, name.clone()));
        if before.is_none() { Retry::First } else { Retry::Again }
    }

    /// Forgets a name whose look has succeeded, or at which there is no file any more.
    pub(super) fn forget(&mut self, name: &FileName) {
        if self.pauses.remove(name).is_some() {
            self.due.retain(|(_, due)| due != name);
        }
    }

    /// The time of the next retry.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The names whose time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<FileName> {
        let mut names = Vec::new();
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            names.extend(self.due.pop_first().map(|(_, name)| name));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::clock;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_a_success() {
        let (mut retries, mut now) = (Retries::default(), clock::now());
        let name = FileName::new("a").expect("a name");
        let mut pauses = Vec::new();
        for round in 0..6 {
            let expected = if round == 0 { Retry::First } else { Retry::Again };
            assert_eq!(retries.schedule(&name, now), expected);
            let at = retries.next_at().expect("scheduled");
            assert_eq!(retries.take_due(at - Duration::from_millis(1)), []);
            assert_eq!(retries.take_due(at), std::slice::from_ref(&name));
            pauses.push((at - now).as_secs());
            now = at;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15]);
        retries.schedule(&name, now);
        retries.forget(&name);
        assert_eq!(retries.next_at(), None);
        assert_eq!(retries.schedule(&name, now), Retry::First);
    }

    #[test]
    fn the_number_of_names_is_limited() {
        let (mut retries, now) = (Retries::default(), clock::now());
        let name = |number: usize| FileName::new(&format!("f{number}")).expect("a name");
        for number in 0..limits::LOOK_RETRIES_MAX {
            assert_eq!(retries.schedule(&name(number), now), Retry::First);
        }
        assert_eq!(retries.schedule(&name(limits::LOOK_RETRIES_MAX), now), Retry::Refused);
        assert_eq!(retries.schedule(&name(0), now), Retry::Again);
        retries.forget(&name(1));
        assert_eq!(retries.schedule(&name(limits::LOOK_RETRIES_MAX), now), Retry::First);
    }
}
