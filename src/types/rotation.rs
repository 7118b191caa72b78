//! When to seal, decided from plain numbers. Owns the rotation rules and the token bucket for early seals. Reads no
//! files and no clock, and does not know where a line ends: it says how far a seal may reach and whether a line may be
//! split there.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::time::Utc;

/// The three thresholds of rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Seal at this many unsealed bytes.
    pub size: u64,
    /// Seal this long after the first unsealed byte, at the latest.
    pub interval: Duration,
    /// Seal when closed and quiet for this long.
    pub idle: Duration,
}

/// What is known of a generation's unsealed end.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// Bytes that no seal covers.
    pub unsealed: u64,
    /// When the first of them was written.
    pub first_byte: Utc,
    /// When growth was last seen.
    pub last_growth: Utc,
    /// Whether somebody has it open for writing.
    pub open: bool,
    /// Whether the generation will never grow again (truncated, or unlinked and closed).
    pub ended: bool,
    /// Whether everything was asked to be sealed now (shutdown, flush, fsync to S3).
    pub forced: bool,
    /// Whether the last name is gone, though it may still be open.
    pub unlinked: bool,
    /// Whether an earlier segment of the stream is sealed and not yet confirmed.
    pub backlog: bool,
}

/// Why a range is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The size was reached.
    Size,
    /// The interval has passed.
    Interval,
    /// Closed and quiet.
    Idle,
    /// The generation has ended.
    Ended,
    /// Its last name is gone.
    Unlinked,
    /// Shutdown, flush or fsync.
    Forced,
}

/// Where a segment may end if there is no newline to end it at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Nowhere: wait for the newline.
    Never,
    /// At the target.
    Allowed,
}

/// What to do with a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing before this instant, unless it grows, is closed or ended.
    Wait(Utc),
    /// Seal at the last newline within `upto` bytes from the tail's start.
    Seal {
        /// Why.
        reason: Reason,
        /// Most bytes that the segment may have.
        upto: u64,
        /// What happens when no line ends there.
        split: Split,
        /// Whether the seal ends exactly at `upto`, newline or not.
        exact: bool,
    },
}

/// Intervals that a line without an end is waited for before it is split.
const PATIENCE_INTERVALS: u32 = 2;

/// Decides on one tail. `phase` is the stream's own offset within an interval (see [`phase`]); `token` says whether the
/// stream's bucket for early seals holds one.
pub fn decide(rules: &Rules, tail: &Tail, now: Utc, phase: Duration, token: bool) -> Decision {
    if tail.unsealed == 0 {
        return Decision::Wait(now.plus(rules.interval));
    }
    let impatient = now.since(tail.first_byte) >= rules.interval * PATIENCE_INTERVALS;
    let split = if impatient { Split::Allowed } else { Split::Never };
    let whole = |reason| Decision::Seal { reason, upto: tail.unsealed, split, exact: false };
    let exact = |reason| Decision::Seal { reason, upto: tail.unsealed, split: Split::Allowed, exact: true };

    if tail.unsealed >= rules.size {
        let last = tail.unsealed == rules.size && (tail.ended || tail.forced);
        let (upto, split) = (rules.size, Split::Allowed);
        return Decision::Seal { reason: Reason::Size, upto, split, exact: last };
    }
    if tail.ended {
        return exact(Reason::Ended);
    }
    if tail.forced {
        return exact(Reason::Forced);
    }
    if tail.backlog {
        return Decision::Wait(now.plus(rules.interval));
    }
    if tail.unlinked && token {
        return whole(Reason::Unlinked);
    }
    let due = next_phase(tail.first_byte, rules.interval, phase);
    if now >= due || impatient {
        return whole(Reason::Interval);
    }
    let quiet_at = tail.last_growth.plus(rules.idle);
    match (tail.open, token) {
        (false, true) if now >= quiet_at => whole(Reason::Idle),
        (false, true) => Decision::Wait(due.min(quiet_at)),
        _ => Decision::Wait(due),
    }
}

/// The first instant after `from` that lies at `phase` within the interval: never more than one interval away, and a
/// different one for each stream, so that thousands do not seal at once.
fn next_phase(from: Utc, interval: Duration, phase: Duration) -> Utc {
    let period = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
    let phase = i64::try_from(phase.as_micros()).unwrap_or(0) % period;
    let wait = period - (from.micros() - phase).rem_euclid(period);
    from.plus(Duration::from_micros(wait.unsigned_abs()))
}

/// A stream's place within the interval, the same at every start.
pub fn phase(stream: &[u8], interval: Duration) -> Duration {
    // DefaultHasher::new() has fixed keys, so that the phase outlives a restart.
    let mut hasher = DefaultHasher::new();
    stream.hash(&mut hasher);
    let micros = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(hasher.finish() % micros)
}

/// Early seals in one go before a stream has to wait.
const EARLY_SEALS: u32 = 3;

/// The token bucket for early seals of one stream: three, and one more each interval.
#[derive(Clone, Copy, Debug)]
pub struct EarlySeals {
    tokens: u32,
    refilled: Utc,
}

impl EarlySeals {
    /// A full bucket.
    pub fn new(now: Utc) -> EarlySeals {
        EarlySeals { tokens: EARLY_SEALS, refilled: now }
    }

    /// Adds what time has earned; says whether a token is there.
    pub fn refill(&mut self, now: Utc, interval: Duration) -> bool {
        // A clock that was set back must not keep the tokens until it has caught up.
        self.refilled = self.refilled.min(now);
        while self.tokens < EARLY_SEALS && now.since(self.refilled) >= interval {
            self.tokens += 1;
            self.refilled = self.refilled.plus(interval.max(Duration::from_millis(1)));
        }
        if self.tokens == EARLY_SEALS {
            self.refilled = now;
        }
        self.tokens > 0
    }

    /// Takes a token; `false` when there was none (a seal that could not wait overdrew it).
    pub fn take(&mut self) -> bool {
        let had = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        had
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { size: 1000, interval: Duration::from_secs(300), idle: Duration::from_secs(5) };

    fn at(secs: i64) -> Utc {
        Utc::from_micros(secs * 1_000_000)
    }

    fn tail() -> Tail {
        Tail {
            unsealed: 10,
            first_byte: at(1000),
            last_growth: at(1000),
            open: true,
            ended: false,
            forced: false,
            unlinked: false,
            backlog: false,
        }
    }

    fn reason(tail: &Tail, now: i64, token: bool) -> Option<Reason> {
        match decide(&RULES, tail, at(now), Duration::from_secs(50), token) {
            Decision::Seal { reason, .. } => Some(reason),
            Decision::Wait(_) => None,
        }
    }

    #[test]
    fn an_open_log_is_sealed_by_its_phase_within_one_interval() {
        // The phase instants are 950, 1250, 1550.
        assert_eq!(reason(&tail(), 1249, true), None);
        assert_eq!(reason(&tail(), 1250, true), Some(Reason::Interval));
    }

    #[test]
    fn a_closed_log_is_sealed_when_quiet_and_only_with_a_token() {
        let closed = Tail { open: false, ..tail() };
        assert_eq!(reason(&closed, 1004, true), None);
        assert_eq!(reason(&closed, 1005, true), Some(Reason::Idle));
        assert_eq!(reason(&closed, 1005, false), None);
        assert_eq!(reason(&closed, 1250, false), Some(Reason::Interval));
    }

    #[test]
    fn a_backlog_lets_the_next_segment_grow_up_to_the_size() {
        let behind = Tail { backlog: true, open: false, ..tail() };
        assert_eq!(reason(&behind, 9000, true), None);
        assert_eq!(reason(&Tail { unsealed: 1000, ..behind }, 1001, true), Some(Reason::Size));
        assert_eq!(reason(&Tail { ended: true, ..behind }, 1001, true), Some(Reason::Ended));
    }

    #[test]
    fn a_line_is_split_only_at_the_size_the_end_or_after_two_intervals() {
        let split = |tail: &Tail, now| match decide(&RULES, tail, at(now), Duration::ZERO, true) {
            Decision::Seal { split, .. } => split,
            Decision::Wait(_) => unreachable!("expected a seal"),
        };
        assert_eq!(split(&tail(), 1300), Split::Never);
        assert_eq!(split(&tail(), 1600), Split::Allowed);
        assert_eq!(split(&Tail { ended: true, ..tail() }, 1001), Split::Allowed);
        assert_eq!(split(&Tail { unsealed: 2000, ..tail() }, 1001), Split::Allowed);
    }

    #[test]
    fn three_early_seals_then_one_an_interval() {
        let mut bucket = EarlySeals::new(at(0));
        assert!(bucket.take() && bucket.take() && bucket.take() && !bucket.take());
        assert!(!bucket.refill(at(299), RULES.interval));
        assert!(bucket.refill(at(300), RULES.interval));
        assert!(bucket.take() && !bucket.take());
    }
}
