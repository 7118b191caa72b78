//! The common forms of times in logs, by their bytes. A line is tried for each of them, so nothing here allocates.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::Offset;

use super::{Written, with_offset};

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
/// Seconds from here on, 2001, are taken for a time; in less than ten digits they are some number.
const EPOCH_MIN: f64 = 1e9;
/// Seconds have eleven digits at most, then milliseconds, microseconds and nanoseconds begin.
const SECONDS_MAX: f64 = 1e11;

/// `2026-11-23T08:15:02`, `2026/11/23 08:15:02,123`, `23/Nov/2026:08:15:02 +0000`, `20261123T081502Z`; and seconds or
/// milliseconds since 1970, where a number at that place is one.
pub(super) fn digits(text: &[u8], is_first: bool) -> Option<Written> {
    match text.get(..11)? {
        [_, _, _, _, b'-' | b'/' | b'.', _, _, b'-' | b'/' | b'.', ..] => iso(text),
        [_, _, b'/' | b'-' | b' ', _, _, _, b'/' | b'-' | b' ', ..] => by_name_of_month(text),
        [_, _, _, _, _, _, _, _, b'T', ..] => compact(text),
        _ if is_first => since_1970(text),
        _ => None,
    }
}

/// `Nov 23 08:15:02`, `Mon Nov 23 08:15:02.123 2026`, and `I1123 08:15:02.123` of klog.
pub(super) fn letters(text: &[u8]) -> Option<Written> {
    if let [b'I' | b'W' | b'E' | b'F', b'0'..=b'9', ..] = text {
        let (month, day) = (two(text, 1)?, two(text, 3)?);
        let (time, _) = clock(text.get(6..)?).filter(|_| text[5] == b' ')?;
        return DateTime::new(2000, month, day, 0, 0, 0, 0).ok().map(|d| Written::Yearless(d.date().to_datetime(time)));
    }
    let text = match text.get(..3) {
        Some(day) if DAYS.contains(&day) => text.get(4..)?,
        _ => text,
    };
    let month = month(text)?;
    let (tens, ones) = (*text.get(4)?, *text.get(5)?);
    let day = if tens == b' ' { digit(ones)? } else { two(text, 4)? };
    let (time, len) = clock(text.get(7..)?).filter(|_| text[3] == b' ' && text[6] == b' ')?;
    let year = text.get(7 + len..).filter(|rest| rest.len() >= 5 && rest[0] == b' ').and_then(|rest| four(rest, 1));
    match year {
        Some(year) => Some(Written::Civil(date_time(year, month, day, time)?)),
        None => Some(Written::Yearless(date_time(2000, month, day, time)?)),
    }
}

/// Seconds since 1970, or milliseconds, microseconds, nanoseconds, as their size says.
pub(super) fn epoch(number: f64) -> Option<Written> {
    if !(EPOCH_MIN..1e20).contains(&number) {
        return None;
    }
    let mut seconds = number;
    while seconds >= SECONDS_MAX {
        seconds /= 1000.0;
    }
    let micros = (seconds * 1e6).round();
    Timestamp::from_microsecond(micros as i64).ok().map(Written::Instant)
}

fn since_1970(text: &[u8]) -> Option<Written> {
    let whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !matches!(whole, 10 | 13 | 16 | 19) {
        return None;
    }
    let fraction = match text.get(whole) {
        Some(b'.') if whole == 10 => text[whole + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count() + 1,
        _ => 0,
    };
    let number = &text[..whole + fraction];
    if text.get(number.len()).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    if fraction > 0 {
        return epoch(str::from_utf8(number).ok()?.parse().ok()?);
    }
    // Of nanoseconds, a floating point number loses some.
    let number: i64 = str::from_utf8(number).ok()?.parse().ok()?;
    let micros = match whole {
        10 => number.checked_mul(1_000_000)?,
        13 => number.checked_mul(1000)?,
        16 => number,
        _ => number / 1000,
    };
    Timestamp::from_microsecond(micros).ok().filter(|_| number >= EPOCH_MIN as i64).map(Written::Instant)
}

fn iso(text: &[u8]) -> Option<Written> {
    let (year, month, day) = (four(text, 0)?, two(text, 5)?, two(text, 8)?);
    let (time, len) = clock(text.get(11..)?).filter(|_| matches!(text[10], b'T' | b't' | b' ' | b'_' | b'-'))?;
    with_offset(date_time(year, month, day, time)?, offset(&text[11 + len..]))
}

fn by_name_of_month(text: &[u8]) -> Option<Written> {
    let (day, month, year) = (two(text, 0)?, month(&text[3..])?, four(text, 7)?);
    let (time, len) = clock(text.get(12..)?).filter(|_| matches!(text[11], b':' | b' '))?;
    with_offset(date_time(year, month, day, time)?, offset(&text[12 + len..]))
}

fn compact(text: &[u8]) -> Option<Written> {
    let (year, month, day) = (four(text, 0)?, two(text, 4)?, two(text, 6)?);
    let time = Time::new(two(text, 9)?, two(text, 11)?, two(text, 13)?, 0).ok()?;
    let (nanos, len) = fraction(&text[15..]);
    let time = Time::new(time.hour(), time.minute(), time.second(), nanos).ok()?;
    with_offset(date_time(year, month, day, time)?, offset(&text[15 + len..]))
}

/// `08:15:02`, with a fraction behind a point or a comma; and its length.
fn clock(text: &[u8]) -> Option<(Time, usize)> {
    if text.len() < 8 || text[2] != b':' || text[5] != b':' {
        return None;
    }
    let (nanos, len) = fraction(&text[8..]);
    // A leap second counts as the one before.
    let time = Time::new(two(text, 0)?, two(text, 3)?, two(text, 6)?.min(59), nanos).ok()?;
    Some((time, 8 + len))
}

/// A fraction of a second in nanoseconds, and its length; none is 0.
fn fraction(text: &[u8]) -> (i32, usize) {
    let digits = match text {
        [b'.' | b',', rest @ ..] => rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    if digits == 0 {
        return (0, 0);
    }
    let value = |at: usize| if at < digits { i32::from(text[1 + at] - b'0') } else { 0 };
    ((0..9).fold(0, |nanos, at| nanos * 10 + value(at)), 1 + digits)
}

/// `Z`, `+01:00`, `+0100`, `+01`, ` +0100` or ` UTC`.
fn offset(text: &[u8]) -> Option<Offset> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    if matches!(text, [b'Z' | b'z', ..]) || text.starts_with(b"UTC") || text.starts_with(b"GMT") {
        return Some(Offset::UTC);
    }
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = i32::from(two(text, 1)?);
    let minutes = two(text, if text.get(3) == Some(&b':') { 4 } else { 3 }).map_or(0, i32::from);
    // `2026-11-23 08:15:02 -1` and the like are no offsets.
    let seconds = sign * (hours * 3600 + minutes * 60);
    Offset::from_seconds(seconds).ok().filter(|_| hours <= 14 && minutes < 60)
}

fn date_time(year: i16, month: i8, day: i8, time: Time) -> Option<DateTime> {
    Some(jiff::civil::Date::new(year, month, day).ok()?.to_datetime(time))
}

fn month(text: &[u8]) -> Option<i8> {
    let name = text.get(..3)?;
    let at = MONTHS.iter().position(|month| *month == name)?;
    i8::try_from(at + 1).ok()
}

fn digit(byte: u8) -> Option<i8> {
    byte.is_ascii_digit().then(|| (byte - b'0').cast_signed())
}

fn two(text: &[u8], at: usize) -> Option<i8> {
    Some(digit(*text.get(at)?)? * 10 + digit(*text.get(at + 1)?)?)
}

fn four(text: &[u8], at: usize) -> Option<i16> {
    Some(i16::from(two(text, at)?) * 100 + i16::from(two(text, at + 2)?))
}
