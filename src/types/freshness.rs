//! How long a listing stays fresh: a pure rule over ages.

use std::time::Duration;

use super::duration::{BadSetting, DURATION_MAX, parse_duration};

/// `minimal`: what programs that look twice in a row need. A listing that is stale is never shown after that either.
const MINIMAL: Duration = Duration::from_secs(1);
/// For how many times its TTL a listing is still shown while it is refreshed: a program that lists seldom gets an
/// answer at once that is at most this old, and the news at the next look.
const SHOWN_FOR: u32 = 10;

/// How long names of the bucket are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Names that are there.
    pub listed: Duration,
    /// That a name is not there.
    pub absent: Duration,
}

/// What an age means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It is used as it is.
    Fresh,
    /// It is shown, and refreshed in the background.
    Aging,
    /// It is shown only when nothing else can be had.
    Old,
}

impl Freshness {
    /// What the age of a listing means.
    pub fn of_listing(&self, age: Duration) -> Age {
        Freshness::of(self.listed, age)
    }

    /// What the age of one name means, which is there or not.
    pub fn of_name(&self, there: bool, age: Duration) -> Age {
        Freshness::of(if there { self.listed } else { self.absent }, age)
    }

    /// What the age of an absence means that a whole listing shows.
    pub fn of_absence(&self, age: Duration) -> Age {
        Freshness::of(self.absent.min(self.listed), age)
    }

    fn of(ttl: Duration, age: Duration) -> Age {
        match age {
            age if age < ttl => Age::Fresh,
            age if ttl > MINIMAL && age < ttl.saturating_mul(SHOWN_FOR) => Age::Aging,
            _ => Age::Old,
        }
    }
}

/// Reads `--metadata-ttl`: a time, `minimal` or `indefinite`.
pub fn parse_ttl(text: &str) -> Result<Duration, BadSetting> {
    match text {
        "minimal" => Ok(MINIMAL),
        "indefinite" => Ok(DURATION_MAX),
        _ => parse_duration(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimal_shows_nothing_old_and_indefinite_never_asks_again() {
        let ttl = |text: &str| {
            let listed = parse_ttl(text).expect("a time");
            Freshness { listed, absent: listed }
        };
        let seconds = Duration::from_secs;
        assert_eq!(ttl("minimal").of_listing(seconds(1)), Age::Old);
        assert_eq!(ttl("indefinite").of_listing(seconds(9 * 365 * 86_400)), Age::Fresh);
        assert_eq!(ttl("60s").of_listing(seconds(59)), Age::Fresh);
        assert_eq!(ttl("60s").of_listing(seconds(60)), Age::Aging);
        assert_eq!(ttl("60s").of_listing(seconds(600)), Age::Old);
    }
}
