//! Time as a value: microseconds since 1970 UTC, how it stands in names, and how partitions
//! are made from it. Where "now" comes from is not decided here (see `world::clock`).

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::fmt::strtime;
use serde::{Deserialize, Serialize};

/// A UTC instant with microseconds, the precision of names.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Utc(i64);

/// How the start of a segment stands in its name: sorts as text by time.
const NAME_FORMAT: &str = "%Y%m%dT%H%M%S.%6fZ";
/// Length of a formatted start.
pub const NAME_TIME_LEN: usize = 23;

impl Utc {
    /// From microseconds since 1970.
    pub fn from_micros(micros: i64) -> Utc {
        // Names carry four digits of the year, so that they sort; a clock beyond is bent back.
        const FIRST: i64 = 0;
        const LAST: i64 = 253_402_300_799_999_999;
        Utc(micros.clamp(FIRST, LAST))
    }

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

    fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
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

impl From<Utc> for SystemTime {
    fn from(time: Utc) -> SystemTime {
        SystemTime::UNIX_EPOCH + time.since(Utc(0))
    }
}

/// A partition template: strftime, in UTC, giving the folder between stream and segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionTemplate(String);

/// A partition template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPartition {
    /// strftime does not know a directive.
    #[error("`{template}` is not a strftime template ({cause}); try `dt=%Y-%m-%d/hour=%H`")]
    Directive {
        /// What was given.
        template: String,
        /// What strftime said.
        cause: String,
    },
    /// What it gives could not be told apart in a key.
    #[error(
        "`{template}` gives `{example}`; a partition has no `.segments`, no empty, `.` or `..` part, no `%` and only characters that are plain in a key"
    )]
    Shape {
        /// What was given.
        template: String,
        /// What it gives for an example instant.
        example: String,
    },
}

impl PartitionTemplate {
    /// Checks a template by formatting instants that differ in every field.
    pub fn parse(template: &str) -> Result<PartitionTemplate, BadPartition> {
        for micros in [0, 1_795_421_702_123_456, 951_827_696_000_000] {
            let stamp = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
            let zoned = stamp.to_zoned(jiff::tz::TimeZone::UTC);
            let example = strtime::format(template, &zoned).map_err(|e| {
                BadPartition::Directive { template: template.into(), cause: e.to_string() }
            })?;
            let plain = super::escape::escape_path(example.as_bytes()) == example;
            let parts = example.split('/').all(|p| !matches!(p, "" | "." | ".."));
            if !example.is_empty() && (!plain || !parts || example.contains(".segments")) {
                return Err(BadPartition::Shape { template: template.into(), example });
            }
        }
        Ok(PartitionTemplate(template.to_owned()))
    }

    /// The template as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition of a segment that starts at `start`; may be empty.
    pub fn of(&self, start: Utc) -> String {
        let zoned = start.timestamp().to_zoned(jiff::tz::TimeZone::UTC);
        // The template was tried at parse, so that formatting cannot fail here.
        strtime::format(&self.0, &zoned).unwrap_or_default()
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
        let hive = PartitionTemplate::parse("dt=%Y-%m-%d/hour=%H").expect("legal");
        assert_eq!(hive.of(start), "dt=2026-11-23/hour=08");
        for bad in ["20261323T081502.123456Z", "20260230T081502.123456Z", "x", ""] {
            assert_eq!(Utc::from_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn templates_that_would_break_a_key_are_refused() {
        for bad in ["x.segments", "a//b", "/a", "a/", "../%Y", "%J", "%Y %m", "%"] {
            assert!(PartitionTemplate::parse(bad).is_err(), "{bad}");
        }
        for good in ["", "%Y/%m/%d", "dt=%F"] {
            assert!(PartitionTemplate::parse(good).is_ok(), "{good}");
        }
    }

    proptest! {
        #[test]
        fn every_instant_comes_back_from_its_name(micros in 0i64..253_402_300_799_999_999) {
            let t = Utc::from_micros(micros);
            prop_assert_eq!(Utc::from_name(&t.to_name()), Some(t));
        }
    }
}
