//! When a dead worker is restarted, and when that is given up. Owns the back-off and the deadline; starts nothing and
//! reads no clock: times are arguments, counted from any fixed point.

use crate::types::time::Monotonic;
use std::time::Duration;

/// A worker that dies sooner after it began to serve has not ended the outage, in which the times without one add up.
/// Later it has answered what the kernel had sent again: one that dies of such a request dies in milliseconds.
const STEADY: Duration = Duration::from_millis(100);
/// The first pause, behind a restart at once; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: two seconds without a try are not noticed beside the deadline.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The outage of a mount: from the loss of its worker until another serves steadily.
#[derive(Debug)]
pub struct Restarts {
    /// How long a mount may be without a worker that serves.
    patience: Duration,
    /// Since when nobody serves.
    since: Option<Monotonic>,
    /// How long nobody served before that, in this outage.
    before: Duration,
    /// When a worker began to serve.
    served: Option<Monotonic>,
    /// Starts since the outage began.
    starts: u32,
}

impl Restarts {
    /// No outage, and how long one may last.
    pub fn new(patience: Duration) -> Restarts {
        Restarts { patience, since: None, before: Duration::ZERO, served: None, starts: 0 }
    }

    /// A worker serves.
    pub fn served(&mut self, now: Monotonic) {
        if let Some(since) = self.since.take() {
            self.before += now.since(since);
        }
        self.served = Some(now);
    }

    /// A worker that recovers the spool has been there for so long: that time does not count.
    pub fn recovers(&mut self, time: Duration) {
        self.since = self.since.map(|since| since + time);
    }

    /// The mount has no worker any more.
    pub fn lost(&mut self, now: Monotonic) {
        if self.served.take().is_some_and(|served| now.since(served) >= STEADY) {
            *self = Restarts::new(self.patience);
        }
        self.since.get_or_insert(now);
    }

    /// How long to wait before the next start, which is counted.
    pub fn pause(&mut self) -> Duration {
        let doublings = self.starts.checked_sub(1);
        self.starts = self.starts.saturating_add(1);
        doublings.map_or(Duration::ZERO, |n| FIRST_PAUSE.saturating_mul(1 << n.min(10)).min(LONGEST_PAUSE))
    }

    /// When the mount is given up; never while a worker serves.
    pub fn deadline(&self) -> Option<Monotonic> {
        Some(self.since? + self.patience.saturating_sub(self.before))
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
    fn a_worker_is_started_at_once_and_then_more_and_more_slowly() {
        let mut restarts = Restarts::new(s(30));
        restarts.lost(at(100));
        let pauses: Vec<u128> = (0..9).map(|_| restarts.pause().as_millis()).collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
    }

    #[test]
    fn the_deadline_runs_from_the_loss_and_only_while_nobody_serves() {
        let mut restarts = Restarts::new(s(30));
        assert_eq!(restarts.deadline(), None);
        restarts.lost(at(100));
        restarts.lost(at(110));
        assert_eq!(restarts.deadline(), Some(at(130)));
        restarts.served(at(120));
        assert_eq!(restarts.deadline(), None);
    }

    #[test]
    fn a_worker_that_recovers_has_the_time_that_it_takes() {
        let mut restarts = Restarts::new(s(30));
        restarts.lost(at(100));
        restarts.recovers(s(60));
        restarts.lost(at(165));
        assert_eq!(restarts.deadline(), Some(at(190)));
    }

    #[test]
    fn a_worker_that_dies_again_soon_has_not_ended_the_outage() {
        let mut restarts = Restarts::new(s(30));
        restarts.lost(at(100));
        restarts.pause();
        restarts.served(at(110));
        restarts.lost(at(110) + STEADY / 2);
        let deadline = at(130) + STEADY / 2;
        assert_eq!((restarts.deadline(), restarts.pause()), (Some(deadline), FIRST_PAUSE));
        restarts.served(at(116));
        restarts.lost(at(121));
        assert_eq!((restarts.deadline(), restarts.pause()), (Some(at(151)), Duration::ZERO));
    }
}
