//! Time spans as people write them: `24h`, `all`, `2026-11-23`, `2026-11-23T08`. Owns the syntax; "now" is an argument.

use std::ops::Range;
use std::time::Duration;

use jiff::Span as Step;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

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

/// A point in time that may depend on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long before now.
    Ago(Duration),
    /// A time that was written down: all instants that begin like it.
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
#[error("`{0}` is neither a time like `24h` or `30m`, nor `all`, nor UTC like `2026-11-23T08:15`")]
pub struct BadMoment(String);

impl Moment {
    /// Reads `24h`, `all` or the beginning of a time.
    pub fn parse(text: &str) -> Result<Moment, BadMoment> {
        if text == "all" {
            return Ok(Moment::All);
        }
        let ago = parse_duration(text).ok().map(Moment::Ago);
        let at = || TimePrefix::parse(text).map(Moment::At);
        ago.or_else(at).ok_or_else(|| BadMoment(text.to_owned()))
    }

    /// The first instant that it means.
    pub fn start(self, now: Utc) -> Utc {
        match self {
            Moment::Ago(by) => now.minus(by),
            Moment::At(prefix) => prefix.start,
            Moment::All => Utc::default(),
        }
    }

    /// The instant behind the last that it means.
    pub fn end(self, now: Utc) -> Utc {
        match self {
            Moment::Ago(by) => now.minus(by),
            Moment::At(prefix) => prefix.end,
            Moment::All => Utc::LAST,
        }
    }
}

impl TimePrefix {
    /// Reads `2026`, `2026-11`, `2026-11-23`, `2026-11-23T08`, `2026-11-23T08:15` or `2026-11-23T08:15:02`, with or
    /// without a `Z`.
    pub fn parse(text: &str) -> Option<TimePrefix> {
        let plain = text.strip_suffix('Z').unwrap_or(text);
        let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
        // What is not written is the first that it can be.
        let (rest, step) = match plain.chars().map(shape).collect::<String>().as_str() {
            "0000" => ("-01-01T00:00:00", Step::new().years(1)),
            "0000-00" => ("-01T00:00:00", Step::new().months(1)),
            "0000-00-00" => ("T00:00:00", Step::new().days(1)),
            "0000-00-00T00" => (":00:00", Step::new().hours(1)),
            "0000-00-00T00:00" => (":00", Step::new().minutes(1)),
            "0000-00-00T00:00:00" => ("", Step::new().seconds(1)),
            _ => return None,
        };
        let first: DateTime = format!("{plain}{rest}").parse().ok()?;
        let last = first.checked_add(step).unwrap_or(Date::MAX.to_datetime(first.time()));
        Some(TimePrefix { start: instant(first)?, end: instant(last)? })
    }

    /// All the instants in it.
    pub fn range(self) -> Range<Utc> {
        self.start..self.end
    }
}

fn instant(time: DateTime) -> Option<Utc> {
    let zoned = time.to_zoned(TimeZone::UTC).ok()?;
    Some(Utc::from_micros(zoned.timestamp().as_microsecond()))
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
        for text in ["", "yesterday", "2026-13", "2026-02-30", "26-11-23", "2026-11-23T24", "1d2"] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
        assert_eq!(Moment::parse("all"), Ok(Moment::All));
        assert_eq!(Moment::parse("90m"), Ok(Moment::Ago(Duration::from_secs(5400))));
    }
}
