//! Long outages of S3: since when, across workers and restarts, and how the spool fills. Owns the file in the spool
//! that records the beginning of an outage, and when a line about it is logged.
//!
//! Invariant: the last hour of the log shows that S3 is away, or that the spool fills.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use tracing::{debug, warn};

use super::parts::{Disk, Parts};
use crate::settings::writer::WhenFull;
use crate::spool::disk::{Durable, load_json, store_json};
use crate::types::span::in_words;
use crate::types::time::{Monotonic, Utc};

/// How often an outage is told of.
const EVERY: Duration = Duration::from_secs(3600);
/// At which part of the spool, in percent, it is told that it fills.
const LEVELS: [u64; 2] = [50, 80];
/// By so much less, in percent, it has to hold before that is told again.
const RELIEF: u64 = 10;

fn file(disk: &Disk) -> PathBuf {
    disk.spool.dir().join("outage.json")
}

/// An outage is noticed; gives since when there is one, which a worker before may have written down.
pub fn begin(parts: &Parts) -> Utc {
    let file = file(&parts.disk);
    load_json(&file).unwrap_or_else(|_| {
        let now = parts.ports.clock.now();
        // A full disk forgets it with the worker.
        if let Err(e) = store_json(&file, &now, Durable::Later) {
            debug!("when the outage began is not kept: {e}");
        }
        now
    })
}

/// S3 can be used.
pub fn end(disk: &Disk) {
    // Most often there is none.
    let _ = fs::remove_file(file(disk));
}

/// What is watched.
#[derive(Clone, Copy, Debug)]
struct OutageSnapshot {
    now: Monotonic,
    away: bool,
    /// Bytes that S3 does not have.
    unsent: u64,
    /// Bytes that the spool has room for, those included.
    capacity: u64,
}

/// What is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutageEvent {
    /// S3 has been away for another while.
    StillAway,
    /// So many percent of the spool are used by what S3 does not have.
    Filled(u64),
}

/// How the spool fills with what S3 does not have.
#[derive(Debug, Default)]
pub struct Backlog {
    /// What was seen when it was told of last, or began to be watched.
    before: Option<OutageSnapshot>,
    /// The highest level that was told.
    level: u64,
    /// How long the room lasts if the backlog grows as it did; `None` when it does not grow, or that is not known yet.
    pub lasts: Option<Duration>,
}

impl Backlog {
    /// Looks at it, and logs what a person should know. Blocking, briefly.
    pub fn look(&mut self, parts: &Parts) {
        let (unsent, room) = (parts.disk.unsent(), parts.disk.budget.used() + parts.disk.budget.available());
        let outage = parts.queues.s3.borrow().outage.clone();
        let (now, away) = (parts.ports.clock.monotonic(), outage.is_some());
        let seen = OutageSnapshot { now, away, unsent, capacity: room.max(unsent) };
        let is_first = self.before.is_none();
        let (news, lasts) = self.weigh(seen);
        self.lasts = lasts;
        let size = |bytes| ByteSize::b(bytes).display().iec().to_string();
        let (unsent, left) = (size(unsent), size(seen.capacity - seen.unsent));
        let lasts = match lasts {
            _ if is_first => "not known yet".to_owned(),
            None => "for ever: nothing is added".to_owned(),
            Some(lasts) => in_words(lasts),
        };
        let then = match parts.disk.when_full {
            WhenFull::DropOldest => "the oldest bytes are dropped",
            WhenFull::Block => "writers wait",
            WhenFull::Error => "writes fail (ENOSPC)",
        };
        for news in news {
            match (news, &outage) {
                (OutageEvent::StillAway, Some(outage)) => {
                    let away = in_words(parts.ports.clock.now().since(outage.since));
                    let hint = outage.error.kind.hint();
                    warn!(
                        unsent,
                        left,
                        lasts,
                        then,
                        hint,
                        "S3 has been away for {away}; writes go on into the spool: {}",
                        outage.error
                    );
                }
                (OutageEvent::StillAway, None) => {}
                (OutageEvent::Filled(percent), _) => {
                    warn!(
                        unsent,
                        left, lasts, then, away, "{percent} % of the spool is taken by bytes that S3 does not have yet"
                    );
                }
            }
        }
    }

    /// What is worth a line, and how long the room lasts if the backlog grows as it did; `None` when it does not grow.
    fn weigh(&mut self, seen: OutageSnapshot) -> (Vec<OutageEvent>, Option<Duration>) {
        let mut news = Vec::new();
        let before = *self.before.get_or_insert(seen);
        let (took, grown) = (seen.now.since(before.now), seen.unsent.saturating_sub(before.unsent));
        let lasts = (grown > 0).then(|| {
            let left = seen.capacity.saturating_sub(seen.unsent);
            took.mul_f64((left as f64 / grown as f64).min(1e6))
        });
        let filled = seen.unsent * 100 / seen.capacity.max(1);
        let level = LEVELS.into_iter().filter(|level| *level <= filled).max().unwrap_or(0);
        if level > self.level {
            news.push(OutageEvent::Filled(level));
        }
        if level > self.level || filled + RELIEF < self.level {
            self.level = level;
        }
        let is_due = took >= EVERY;
        if is_due && seen.away && before.away {
            news.push(OutageEvent::StillAway);
        }
        if is_due || seen.away != before.away {
            self.before = Some(seen);
        }
        (news, lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A spool of 1,000 bytes, looked at each minute; what is told, by the minute.
    fn told(unsent: impl Fn(u64) -> u64, away: impl Fn(u64) -> bool) -> Vec<(u64, OutageEvent)> {
        let mut backlog = Backlog::default();
        let look = |minute: u64| {
            let (unsent, away) = (unsent(minute), away(minute));
            let now = MINUTE * u32::try_from(minute).unwrap_or(u32::MAX);
            let seen = OutageSnapshot { now: Monotonic::after_start(now), away, unsent, capacity: 1_000 };
            backlog.weigh(seen).0.into_iter().map(move |news| (minute, news))
        };
        (0..600).flat_map(look).collect()
    }

    #[test]
    fn an_outage_is_told_of_each_hour_from_its_beginning() {
        let hours =
            |from: u64, to: u64| (from..=to).map(|hour| (hour * 60 + 30, OutageEvent::StillAway)).collect::<Vec<_>>();
        assert_eq!(told(|_| 0, |minute| (30..300).contains(&minute)), hours(1, 4));
        assert_eq!(told(|_| 0, |_| false), []);
    }

    #[test]
    fn a_spool_that_fills_is_told_of_once_at_each_level_and_again_after_relief() {
        let filled = |minute, level| (minute, OutageEvent::Filled(level));
        assert_eq!(told(|minute| minute * 2, |_| false), [filled(250, 50), filled(400, 80)]);
        // Around a level it is told once.
        assert_eq!(told(|minute| 495 + minute % 10, |_| false), [filled(5, 50)]);
        let twice = |minute| if (200..400).contains(&minute) { 100 } else { 900 };
        assert_eq!(told(twice, |_| false), [filled(0, 80), filled(400, 80)]);
    }

    #[test]
    fn the_room_lasts_as_long_as_the_backlog_grows_as_it_did() {
        let mut backlog = Backlog::default();
        let mut look = |minutes: u32, unsent| {
            let seen =
                OutageSnapshot { now: Monotonic::after_start(MINUTE * minutes), away: true, unsent, capacity: 1_000 };
            backlog.weigh(seen).1
        };
        assert_eq!(look(0, 100), None);
        assert_eq!(look(10, 200), Some(MINUTE * 80));
        assert_eq!(look(20, 100), None, "it does not grow");
    }
}
