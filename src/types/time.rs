//! Time as a value: microseconds since 1970 UTC, and its form in names. The clock is in `types::clock`.

use std::ops::Add;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A UTC instant with microseconds, the precision of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Utc(i64);

/// How the start of a segment stands in its name: sorts as text by time.
const NAME_FORMAT: &str = "%Y%m%dT%H%M%S.%6fZ";
/// Length of a formatted start.
pub const NAME_TIME_LEN: usize = 23;

impl Utc {
    /// From microseconds since 1970.
    pub fn from_micros(micros: i64) -> Utc {
        Utc(micros.clamp(0, Utc::LAST.0))
    }

    /// The last instant of the year 9999. Names carry four digits of the year, so that they sort; a clock beyond is
    /// bent back.
    pub const LAST: Utc = Utc(253_402_300_799_999_999);

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// The instant `by` later.
    pub fn plus(self, by: Duration) -> Utc {
        Utc::from_micros(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The instant `by` earlier.
    pub fn minus(self, by: Duration) -> Utc {
        Utc::from_micros(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Time from `earlier` to here; zero when the clock went back.
    pub fn since(self, earlier: Utc) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As `20261123T081502.123456Z`.
    pub fn to_name(self) -> String {
        self.timestamp().strftime(NAME_FORMAT).to_string()
    }

    /// As `2026-11-23T08:15:02.123456Z`.
    pub fn to_rfc3339(self) -> String {
        format!("{:.6}", self.timestamp())
    }

    /// Reads [`Utc::to_name`]'s form; `None` for anything else.
    pub fn from_name(name: &str) -> Option<Utc> {
        let digits = |r: std::ops::Range<usize>| name.get(r)?.parse::<u32>().ok();
        let shape = name.len() == NAME_TIME_LEN
            && name.bytes().enumerate().all(|(i, b)| match i {
                8 => b == b'T',
                15 => b == b'.',
                22 => b == b'Z',
                _ => b.is_ascii_digit(),
            });
        if !shape {
            return None;
        }
        let date = jiff::civil::date(
            i16::try_from(digits(0..4)?).ok()?,
            i8::try_from(digits(4..6)?).ok().filter(|m| (1..=12).contains(m))?,
            1,
        );
        let day = i8::try_from(digits(6..8)?).ok()?;
        let date = jiff::civil::Date::new(date.year(), date.month(), day).ok()?;
        let time = jiff::civil::Time::new(
            i8::try_from(digits(9..11)?).ok()?,
            i8::try_from(digits(11..13)?).ok()?,
            i8::try_from(digits(13..15)?).ok()?,
            i32::try_from(digits(16..22)?).ok()? * 1000,
        )
        .ok()?;
        let zoned = date.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Utc::from_micros(zoned.timestamp().as_microsecond()))
    }

    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// A time of a file as stat(2) shows it, also before 1970, to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct FileTime {
    secs: i64,
    nanos: u32,
}

impl FileTime {
    /// Seconds since 1970, and nanoseconds to be added to them, as in `struct timespec`.
    pub fn new(secs: i64, nanos: u32) -> FileTime {
        FileTime { secs, nanos }
    }

    /// So many nanoseconds later, less than a second.
    pub fn plus(self, nanos: u32) -> FileTime {
        match self.nanos.saturating_add(nanos) {
            second @ 1_000_000_000.. => FileTime { secs: self.secs.saturating_add(1), nanos: second - 1_000_000_000 },
            nanos => FileTime { nanos, ..self },
        }
    }
}

/// How a file's time stands in a record.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    /// Seconds and nanoseconds.
    Exact(i64, u32),
    /// Microseconds since 1970, as earlier versions wrote it.
    Micros(i64),
}

impl From<Stored> for FileTime {
    fn from(stored: Stored) -> FileTime {
        match stored {
            Stored::Exact(secs, nanos) => FileTime { secs, nanos },
            Stored::Micros(micros) => Utc(micros).into(),
        }
    }
}

impl From<FileTime> for Stored {
    fn from(FileTime { secs, nanos }: FileTime) -> Stored {
        Stored::Exact(secs, nanos)
    }
}

impl From<Utc> for FileTime {
    fn from(Utc(micros): Utc) -> FileTime {
        // Less than a second in nanoseconds fits.
        let nanos = micros.rem_euclid(1_000_000) as u32 * 1000;
        FileTime { secs: micros.div_euclid(1_000_000), nanos }
    }
}

/// An instant of the monotonic clock, which never goes back. For waits and time-outs, within one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// When the clock began.
    pub const ZERO: Monotonic = Monotonic(Duration::ZERO);

    /// So long after the clock began.
    pub const fn after_start(time: Duration) -> Monotonic {
        Monotonic(time)
    }

    /// From [`Monotonic::micros`].
    pub fn from_micros(micros: u64) -> Monotonic {
        Monotonic(Duration::from_micros(micros))
    }

    /// Microseconds since the clock began.
    pub fn micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }

    /// The time since another instant; zero if that is later.
    pub fn since(self, earlier: Monotonic) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Monotonic {
    type Output = Monotonic;

    fn add(self, by: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(by))
    }
}

impl From<FileTime> for SystemTime {
    fn from(FileTime { secs, nanos }: FileTime) -> SystemTime {
        let whole = Duration::from_secs(secs.unsigned_abs());
        let second = if secs < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(whole)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(whole)
        };
        let time = second.and_then(|at| at.checked_add(Duration::from_nanos(nanos.into())));
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl From<SystemTime> for Utc {
    fn from(time: SystemTime) -> Utc {
        let micros = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(_) => 0,
        };
        Utc::from_micros(micros)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_start_stands_in_a_name_as_documented() {
        let start = Utc::from_name("20261123T081502.123456Z").expect("legal");
        assert_eq!(start.to_name(), "20261123T081502.123456Z");
        for bad in ["20261323T081502.123456Z", "20260230T081502.123456Z", "x", ""] {
            assert_eq!(Utc::from_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_files_time_is_read_as_any_version_wrote_it() {
        let read = |text: &str| serde_json::from_str::<FileTime>(text).expect("a time");
        assert_eq!(read("1500000"), FileTime::new(1, 500_000_000));
        for time in [FileTime::new(-5, 250_000_000), FileTime::new(i64::MAX, 999_999_999)] {
            assert_eq!(read(&serde_json::to_string(&time).expect("text")), time);
        }
        let quarter = SystemTime::UNIX_EPOCH - Duration::from_millis(4750);
        assert_eq!(SystemTime::from(FileTime::new(-5, 250_000_000)), quarter);
    }

    proptest! {
        #[test]
        fn every_instant_comes_back_from_its_name(micros in 0i64..253_402_300_799_999_999) {
            let t = Utc::from_micros(micros);
            prop_assert_eq!(Utc::from_name(&t.to_name()), Some(t));
        }
    }
}
