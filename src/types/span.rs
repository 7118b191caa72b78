//! Time spans as people write them: `24h`, `yesterday`, `08:15`, `2026-11-23T08`, `all`. Owns the syntax; "now" and the
//! zone of times that name none are arguments.

use std::ops::Range;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span as Step, Timestamp};

use super::duration::parse_duration;
use super::time::Utc;

/// A span of time as it is told, in the two units that matter: `1 h 2 min`.
pub fn in_words(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds @ 3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        seconds => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A point in time that may depend on now and on the zone that times are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long before now.
    Ago(Duration),
    /// Now itself.
    Now,
    /// A day, counted from today, which is 0.
    Day(i64),
    /// A time of today, and how long it lasts: a minute or a second.
    Today(Time, Duration),
    /// A time that was written down without a zone: from one to behind the other.
    Civil(DateTime, DateTime),
    /// A time that was written down with its zone: all instants that begin like it.
    At(TimePrefix),
    /// The beginning of everything.
    All,
}

/// A year, month, day, hour, minute or second, in UTC: all the instants in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimePrefix {
    start: Utc,
    end: Utc,
}

/// A text is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no time: give one before now (`90m`, `24h`, `7d`, `1w`), `now`, `today`, `yesterday`, `08:15`, \
     `2026-11-23`, `2026-11-23T08:15`, `2026-11-23T08:15:02+01:00` or `all`"
)]
pub struct BadMoment(String);

impl Moment {
    /// Reads `24h`, `yesterday`, `08:15`, the beginning of a time, an instant of RFC 3339, or `all`.
    pub fn parse(text: &str) -> Result<Moment, BadMoment> {
        let moment = match text {
            "all" => Some(Moment::All),
            "now" => Some(Moment::Now),
            "today" => Some(Moment::Day(0)),
            "yesterday" => Some(Moment::Day(-1)),
            _ => {
                // `08:15:02` could be read as a duration too.
                let ago = || parse_duration(text).ok().map(Moment::Ago);
                time_of_day(text).or_else(ago).or_else(|| written(text)).or_else(|| instant_of(text))
            }
        };
        moment.ok_or_else(|| BadMoment(text.to_owned()))
    }

    /// The first instant that it means, where times without a zone are UTC.
    pub fn start(self, now: Utc) -> Utc {
        self.range_in(now, &TimeZone::UTC).start
    }

    /// The first instant that it means, and the one behind the last, where times without a zone are of `zone`.
    pub fn range_in(self, now: Utc, zone: &TimeZone) -> Range<Utc> {
        let of = |first: DateTime, last: DateTime| in_zone(first, zone)..in_zone(last, zone);
        let today = || zone.to_datetime(now.timestamp()).date();
        match self {
            Moment::Ago(by) => now.minus(by)..now.minus(by),
            Moment::Now => now..now,
            Moment::Day(days) => {
                let day = today().saturating_add(Step::new().days(days));
                let next = day.saturating_add(Step::new().days(1));
                of(day.to_datetime(Time::midnight()), next.to_datetime(Time::midnight()))
            }
            Moment::Today(time, lasts) => {
                let first = today().to_datetime(time);
                of(first, first.saturating_add(lasts))
            }
            Moment::Civil(first, last) => of(first, last),
            Moment::At(prefix) => prefix.range(),
            Moment::All => Utc::default()..Utc::LAST,
        }
    }
}

/// `08:15` or `08:15:02`.
fn time_of_day(text: &str) -> Option<Moment> {
    let (rest, lasts) = match shape(text).as_str() {
        "00:00" => (":00", 60),
        "00:00:00" => ("", 1),
        _ => return None,
    };
    let time: Time = format!("{text}{rest}").parse().ok()?;
    Some(Moment::Today(time, Duration::from_secs(lasts)))
}

/// The beginning of a time; with a `Z` it is UTC, whatever others are.
fn written(text: &str) -> Option<Moment> {
    let plain = text.strip_suffix('Z').unwrap_or(text);
    let (first, last) = beginning(plain)?;
    if plain == text { Some(Moment::Civil(first, last)) } else { TimePrefix::parse(text).map(Moment::At) }
}

/// An instant of RFC 3339 with its offset, or with a fraction of a second: a second lasts, a fraction does not.
fn instant_of(text: &str) -> Option<Moment> {
    if !shape(text).replacen(' ', "T", 1).starts_with("0000-00-00T00:00") {
        return None;
    }
    let lasts = if text.contains('.') { Duration::from_micros(1) } else { Duration::from_secs(1) };
    if let Ok(instant) = text.parse::<Timestamp>() {
        let start = Utc::from_micros(instant.as_microsecond());
        return Some(Moment::At(TimePrefix { start, end: start.plus(lasts) }));
    }
    let first: DateTime = text.parse().ok().filter(|_| !text.contains(['+', 'Z', '[']))?;
    Some(Moment::Civil(first, first.saturating_add(lasts)))
}

/// A text with 0 for every digit.
fn shape(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}

/// What `2026`, `2026-11`, ..., `2026-11-23T08:15:02` mean, with a space for the `T` too: the first and the one behind.
fn beginning(text: &str) -> Option<(DateTime, DateTime)> {
    let text = text.replacen(' ', "T", 1);
    // What is not written is the first that it can be.
    let (rest, step) = match shape(&text).as_str() {
        "0000" => ("-01-01T00:00:00", Step::new().years(1)),
        "0000-00" => ("-01T00:00:00", Step::new().months(1)),
        "0000-00-00" => ("T00:00:00", Step::new().days(1)),
        "0000-00-00T00" => (":00:00", Step::new().hours(1)),
        "0000-00-00T00:00" => (":00", Step::new().minutes(1)),
        "0000-00-00T00:00:00" => ("", Step::new().seconds(1)),
        _ => return None,
    };
    let first: DateTime = format!("{text}{rest}").parse().ok()?;
    Some((first, first.checked_add(step).unwrap_or(Date::MAX.to_datetime(first.time()))))
}

/// The instant of a time in a zone: of one that a clock skips or shows twice, what most calendars take.
fn in_zone(time: DateTime, zone: &TimeZone) -> Utc {
    zone.to_timestamp(time).map_or(Utc::LAST, |instant| Utc::from_micros(instant.as_microsecond()))
}

impl TimePrefix {
    /// Reads `2026`, `2026-11`, `2026-11-23`, `2026-11-23T08`, `2026-11-23T08:15` or `2026-11-23T08:15:02`, with or
    /// without a `Z`.
    pub fn parse(text: &str) -> Option<TimePrefix> {
        let plain = text.strip_suffix('Z').unwrap_or(text);
        let (first, last) = beginning(plain).filter(|_| !plain.contains(' '))?;
        Some(TimePrefix { start: in_zone(first, &TimeZone::UTC), end: in_zone(last, &TimeZone::UTC) })
    }

    /// All the instants in it.
    pub fn range(self) -> Range<Utc> {
        self.start..self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_as_people_say_it() {
        let told = |seconds| in_words(Duration::from_secs(seconds));
        let spans = [0, 59, 61, 3_725, 200_000].map(told);
        assert_eq!(spans, ["0 s", "59 s", "1 min 1 s", "1 h 2 min", "2 d 7 h"]);
    }

    fn range(text: &str) -> Option<(String, String)> {
        let Range { start, end } = TimePrefix::parse(text)?.range();
        Some((start.to_name(), end.to_name()))
    }

    #[test]
    fn the_beginning_of_a_time_means_all_that_begins_so() {
        for (text, start, end) in [
            ("2026", "20260101T000000", "20270101T000000"),
            ("2026-12", "20261201T000000", "20270101T000000"),
            ("2024-02-29", "20240229T000000", "20240301T000000"),
            ("2026-11-23T23", "20261123T230000", "20261124T000000"),
            ("2026-11-23T08:59Z", "20261123T085900", "20261123T090000"),
            ("2026-11-23T08:15:02", "20261123T081502", "20261123T081503"),
        ] {
            let expected = (format!("{start}.000000Z"), format!("{end}.000000Z"));
            assert_eq!(range(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_told() {
        for text in [
            "",
            "tomorrow",
            "2026-13",
            "2026-02-30",
            "26-11-23",
            "2026-11-23T24",
            "1d2",
            "25:00",
            "8:15",
            "2026-11-23T08:15+99:00",
            "2026-11-23T08:15:02[Europe/Berlin]",
        ] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
        assert_eq!(Moment::parse("all"), Ok(Moment::All));
        assert_eq!(Moment::parse("90m"), Ok(Moment::Ago(Duration::from_secs(5400))));
        let why = Moment::parse("tomorrow").expect_err("no time").to_string();
        assert!(why.contains("yesterday") && why.contains("08:15"), "{why}");
    }

    #[test]
    fn moments_are_of_the_zone_that_is_given_unless_they_name_one() {
        let now = Utc::from_name("20261123T003000.000000Z").expect("a time");
        let east = TimeZone::fixed(jiff::tz::offset(2));
        let west = TimeZone::fixed(jiff::tz::offset(-3));
        let started = |text: &str, zone: &TimeZone| {
            let Range { start, end } = Moment::parse(text).expect(text).range_in(now, zone);
            format!("{} {}", start.to_name(), end.since(start).as_secs())
        };
        for (text, zone, expected) in [
            ("now", &TimeZone::UTC, "20261123T003000.000000Z 0"),
            ("1w", &TimeZone::UTC, "20261116T003000.000000Z 0"),
            ("today", &TimeZone::UTC, "20261123T000000.000000Z 86400"),
            ("today", &east, "20261122T220000.000000Z 86400"),
            ("today", &west, "20261122T030000.000000Z 86400"),
            ("yesterday", &TimeZone::UTC, "20261122T000000.000000Z 86400"),
            ("08:15", &TimeZone::UTC, "20261123T081500.000000Z 60"),
            ("08:15:02", &east, "20261123T061502.000000Z 1"),
            ("2026-11-23 08:15", &east, "20261123T061500.000000Z 60"),
            ("2026-11-23T08:15Z", &east, "20261123T081500.000000Z 60"),
            ("2026-11-23T08:15:02+01:00", &west, "20261123T071502.000000Z 1"),
            ("2026-11-23 08:15:02.25+01:00", &west, "20261123T071502.250000Z 0"),
            ("2026-11-23T08:15:02.5", &east, "20261123T061502.500000Z 0"),
        ] {
            assert_eq!(started(text, zone), format!("{expected}"), "{text}");
        }
    }
}
