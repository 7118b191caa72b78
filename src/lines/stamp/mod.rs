//! The time at, or near, the beginning of a line, as programs write it. Pure: "around" says when the line was written
//! roughly, for times that leave out the year or the day. A time without a zone is of the zone that is given.
//!
//! - `forms`: the forms that are recognised without being told.

#[cfg(test)]
mod tests;

mod forms;

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Span as Step, Timestamp};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::types::time::Utc;

/// How far into a line its time may begin, behind a level, a thread or an address.
const NEAR: usize = 96;
/// The fields of a JSON object that are its time.
const FIELDS: [&str; 4] = ["time", "ts", "timestamp", "@timestamp"];
/// Longest line of JSON that is looked into.
const JSON_MAX: usize = 1 << 20;

/// A time as it was written: with its zone, without, without the year, or without the day.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Written {
    Instant(Timestamp),
    Civil(DateTime),
    /// The date is of any leap year.
    Yearless(DateTime),
    TimeOfDay(Time),
}

/// Recognises times.
#[derive(Clone, Debug)]
pub struct Stamps {
    format: Option<StampFormat>,
    zone: TimeZone,
}

/// A strftime format that gives a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampFormat(String);

/// A format that gives no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` gives no time: {1}; examples: `%d.%m.%Y %H:%M:%S`, `%Y%m%d %H%M%S.%f`, `%s`")]
pub struct BadFormat(String, String);

impl StampFormat {
    /// Reads a strftime format, which has to give a time that can be read back.
    pub fn parse(text: &str) -> Result<StampFormat, BadFormat> {
        let bad = |why: String| BadFormat(text.to_owned(), why);
        let sample = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let written = jiff::fmt::strtime::format(text, &sample).map_err(|e| bad(e.to_string()))?;
        let format = StampFormat(text.to_owned());
        match format.read(written.as_bytes()) {
            Some(_) => Ok(format),
            None => Err(bad("it lacks the time of day".to_owned())),
        }
    }

    fn read(&self, text: &[u8]) -> Option<Written> {
        let (mut read, _) = BrokenDownTime::parse_prefix(&self.0, text).ok()?;
        if let Ok(instant) = read.to_timestamp() {
            return Some(Written::Instant(instant));
        }
        // Without any, it would be midnight.
        let time = read.hour().and(read.to_time().ok())?;
        if let Ok(date) = read.to_date() {
            return Some(Written::Civil(date.to_datetime(time)));
        }
        if read.month().is_some() {
            read.set_year(Some(2000)).ok()?;
            return Some(Written::Yearless(read.to_date().ok()?.to_datetime(time)));
        }
        Some(Written::TimeOfDay(time))
    }
}

impl Stamps {
    /// Recognises one format, or all that are common; times without a zone are of `zone`.
    pub fn new(format: Option<StampFormat>, zone: TimeZone) -> Stamps {
        Stamps { format, zone }
    }

    /// The time of a line that was written around a time.
    pub fn of(&self, line: &[u8], around: Utc) -> Option<Utc> {
        let written = match &self.format {
            Some(format) => begins(line).find_map(|at| format.read(&line[at..])),
            None if line.first() == Some(&b'{') => of_json(line),
            None => near(line),
        };
        self.instant(written?, around)
    }

    fn instant(&self, written: Written, around: Utc) -> Option<Utc> {
        let of = |time: DateTime| -> Option<Utc> {
            let instant = self.zone.to_timestamp(time).ok()?;
            Some(Utc::from_micros(instant.as_microsecond()))
        };
        let nearest = |times: [Option<DateTime>; 3]| {
            let instants = times.into_iter().flatten().filter_map(of);
            instants.min_by_key(|instant| instant.micros().abs_diff(around.micros()))
        };
        let here = || self.zone.to_datetime(Timestamp::from_microsecond(around.micros()).unwrap_or_default()).date();
        match written {
            Written::Instant(instant) => Some(Utc::from_micros(instant.as_microsecond())),
            Written::Civil(time) => of(time),
            Written::Yearless(time) => {
                let year = here().year();
                let in_year = |year| Some(Date::new(year, time.month(), time.day()).ok()?.to_datetime(time.time()));
                nearest([year - 1, year, year + 1].map(in_year))
            }
            Written::TimeOfDay(time) => {
                let on = |days: i64| Some(here().checked_add(Step::new().days(days)).ok()?.to_datetime(time));
                nearest([-1, 0, 1].map(on))
            }
        }
    }
}

/// Where a time may begin in a line: at its beginning, and near it behind what sets words apart. A line that begins
/// with a space goes on from the one before.
fn begins(line: &[u8]) -> impl Iterator<Item = usize> {
    let apart = |byte: u8| matches!(byte, b' ' | b'\t' | b'[' | b'(' | b'=' | b'"' | b'|' | b'>' | b'<' | b',' | b';');
    let goes_on = line.first().is_none_or(|byte| matches!(byte, b' ' | b'\t'));
    let near = &line[..line.len().min(NEAR)];
    let behind = near.iter().enumerate().filter(move |(_, byte)| apart(**byte)).map(|(at, _)| at + 1);
    [0].into_iter().chain(behind).take_while(move |_| !goes_on)
}

fn near(line: &[u8]) -> Option<Written> {
    begins(line).find_map(|at| {
        let rest = &line[at..];
        match rest.first()? {
            b'0'..=b'9' => forms::digits(rest, at == 0 || (at == 1 && line[0] == b'[')),
            b'A'..=b'Z' => forms::letters(rest),
            _ => None,
        }
    })
}

/// What a field of JSON says of time.
fn of_text(text: &str) -> Option<Written> {
    forms::digits(text.as_bytes(), true).or_else(|| forms::letters(text.as_bytes()))
}

fn of_json(line: &[u8]) -> Option<Written> {
    let mut found = None;
    if line.len() <= JSON_MAX {
        // It ends with an error as soon as something was found.
        let _ = serde_json::Deserializer::from_slice(line).deserialize_map(Fields(&mut found));
    }
    found
}

/// Looks for a field that is a time, and goes no further.
struct Fields<'a>(&'a mut Option<Written>);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(is_time) = fields.next_key_seed(IsTime)? {
            if is_time {
                fields.next_value_seed(Value(&mut *self.0))?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
            if self.0.is_some() {
                return Err(A::Error::custom("found"));
            }
        }
        Ok(())
    }
}

/// Whether the name of a field is one of a time.
struct IsTime;

impl<'de> DeserializeSeed<'de> for IsTime {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for IsTime {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(FIELDS.contains(&name))
    }
}

/// The value of such a field, if it is one.
struct Value<'a>(&'a mut Option<Written>);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        *self.0 = of_text(text);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        *self.0 = forms::epoch(number as f64);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        *self.0 = forms::epoch(number);
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// An offset that a time was written with.
fn with_offset(time: DateTime, offset: Option<Offset>) -> Option<Written> {
    match offset {
        Some(offset) => Some(Written::Instant(offset.to_timestamp(time).ok()?)),
        None => Some(Written::Civil(time)),
    }
}
