//! Durations as settings spell them: `250ms`, `5s`, `24h`, `7d`; and what is said of a value that is none.

use std::time::Duration;

/// A setting's value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no {what}: {why}")]
pub struct BadSetting {
    /// What it was meant to be.
    pub what: &'static str,
    /// What was given.
    pub given: String,
    /// What is asked.
    pub why: &'static str,
}

/// Longest time that a flag takes: ten years, far from every overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Reads a time: `250ms`, `5s`, `5m`, `24h`, `7d`, `1w`.
pub fn parse_duration(text: &str) -> Result<Duration, BadSetting> {
    let why = "a time is a number with a unit: 250ms, 5s, 5m, 24h";
    let bad = || BadSetting { what: "time", given: text.into(), why };
    // jiff's own durations stop at hours, because a civil day may have 23; here a day is 24 hours.
    let counted = |unit| text.strip_suffix(unit)?.parse::<u64>().ok();
    let days = counted('d').or_else(|| Some(counted('w')?.saturating_mul(7)));
    let hours = days.map(|days| days.saturating_mul(24));
    let parsed = match hours {
        Some(hours) => Duration::from_secs(hours.saturating_mul(3600)),
        None => text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok()).ok_or_else(bad)?,
    };
    if parsed > DURATION_MAX { Err(bad()) } else { Ok(parsed) }
}

/// Reads a time that may not be zero.
pub fn parse_interval(text: &str) -> Result<Duration, BadSetting> {
    let why = "it must be at least 1ms";
    match parse_duration(text)? {
        Duration::ZERO => Err(BadSetting { what: "interval", given: text.into(), why }),
        interval => Ok(interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_or_refused() {
        assert_eq!(parse_duration("300s"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_duration("1w"), parse_duration("7d"));
        for bad in ["", "-1s", "5", "abc", "99999999h", "18446744073709551615d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_interval("0s").is_err());
    }
}
