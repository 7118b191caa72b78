//! Liveness of a worker: when it is pinged and how long an answer may take. Sends nothing and reads no clock: times are
//! arguments, counted from any fixed point.
//!
//! Silence is counted in rounds, not in time: a keeper that was stopped together with its worker (a frozen container, a
//! debugger) must not blame the worker for its own absence.

use crate::types::time::Monotonic;
use std::time::Duration;

/// The longest silence of a worker; less where a mount may be without one for less.
const SILENCE: Duration = Duration::from_secs(30);
/// The shortest: a worker that is merely slow is not to be replaced, whatever patience was asked for.
const SHORTEST: Duration = Duration::from_secs(1);
/// Looks while an answer is awaited.
const LOOKS: u32 = 10;

/// How long a worker may be silent where a mount may be without one for `patience`.
pub fn silence(patience: Duration) -> Duration {
    patience.clamp(SHORTEST, SILENCE)
}

/// The questions to one worker whether it is there.
#[derive(Debug)]
pub struct Pulse {
    every: Duration,
    /// When to look next.
    pub next: Monotonic,
    /// Looks since it was asked; none while no answer is awaited.
    waited: Option<u32>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing yet.
    Wait,
    /// Ask the worker.
    Ask,
    /// The worker has not answered.
    Silent,
}

impl Pulse {
    /// A worker that is asked from now on.
    pub fn new(silence: Duration, now: Monotonic) -> Pulse {
        Pulse { every: silence / LOOKS, next: now, waited: None }
    }

    /// Looks.
    pub fn look(&mut self, now: Monotonic) -> Beat {
        if now < self.next {
            return Beat::Wait;
        }
        self.next = now + self.every;
        let waited = self.waited.map_or(0, |looks| looks + 1);
        self.waited = Some(waited);
        match waited {
            0 => Beat::Ask,
            LOOKS.. => Beat::Silent,
            _ => Beat::Wait,
        }
    }

    /// The worker has answered.
    pub fn answered(&mut self) {
        self.waited = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const fn at(seconds: u64) -> Monotonic {
        Monotonic::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_worker_that_answers_is_asked_again_and_one_that_does_not_is_silent() {
        let mut pulse = Pulse::new(silence(s(300)), at(100));
        assert_eq!((pulse.look(at(100)), pulse.look(at(101))), (Beat::Ask, Beat::Wait));
        pulse.answered();
        assert_eq!((pulse.next, pulse.look(at(103))), (at(103), Beat::Ask));
        let beats: Vec<Beat> = (1..=10).map(|n| pulse.look(at(103 + 3 * n))).collect();
        assert!(beats[..9].iter().all(|beat| *beat == Beat::Wait), "{beats:?}");
        assert_eq!(beats[9], Beat::Silent);
    }

    #[test]
    fn a_keeper_that_was_away_itself_blames_nobody() {
        let mut pulse = Pulse::new(silence(s(30)), at(100));
        assert_eq!((pulse.look(at(100)), pulse.look(at(10_000))), (Beat::Ask, Beat::Wait));
    }
}
