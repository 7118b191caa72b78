//! Partitions: the folders between a stream and its segments, formed from the time of a segment's first byte. Owns the
//! template: the partition of an instant, and the partitions that a time span covers.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::strtime;

use super::naming::SEGMENTS_ENDING;
use super::whole_name::FILES_ENDING;
use crate::types::time::Utc;

/// More partitions than that are not counted one by one: for so long a span all are listed.
const COVERING_MAX: usize = 2_000;

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
        "`{template}` gives `{example}`; a partition has no `.segments` or `.files`, no empty, `.` or `..` part, no `%` and only characters that are plain in a key"
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
            let example = strtime::format(template, &zoned)
                .map_err(|e| BadPartition::Directive { template: template.into(), cause: e.to_string() })?;
            let plain = crate::types::escape::escape_path(example.as_bytes()) == example;
            let parts = example.split('/').all(|p| !matches!(p, "" | "." | ".."));
            let folder = [SEGMENTS_ENDING, FILES_ENDING].iter().any(|ending| example.contains(ending));
            if !example.is_empty() && (!plain || !parts || folder) {
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

    /// The partitions that segments can be in which start in `span`, in the order of time; `None` when they are too
    /// many to be named one by one.
    pub fn covering(&self, span: Range<Utc>) -> Option<Vec<String>> {
        let unit = self.unit();
        let micros = i64::try_from(unit.as_micros()).unwrap_or(i64::MAX);
        let mut partitions: Vec<String> = Vec::new();
        let mut at = Utc::from_micros(span.start.micros() / micros * micros);
        while at < span.end {
            let partition = self.of(at);
            // A template that repeats itself (`hour=%H` alone) has few, each of many times.
            if !partitions.contains(&partition) {
                partitions.push(partition);
            }
            if partitions.len() > COVERING_MAX {
                return None;
            }
            let next = at.plus(unit);
            if next == at {
                break;
            }
            at = next;
        }
        Some(partitions)
    }

    /// The partition before that of an instant.
    pub fn before(&self, at: Utc) -> String {
        let own = self.of(at);
        let unit = self.unit();
        // A month has 31 days, a year 366; no template that sorts changes more slowly than that.
        let earlier = (1..=366).map(|n| self.of(at.minus(unit * n)));
        earlier.into_iter().find(|partition| *partition != own).unwrap_or(own)
    }

    /// Whether a folder directly below a stream can be the first part of one of its partitions.
    pub fn may_begin_with(&self, folder: &str) -> bool {
        let first = self.0.split('/').next().unwrap_or_default();
        strtime::parse(first, folder).is_ok()
    }

    /// The shortest of the usual units within which a partition does not change.
    fn unit(&self) -> Duration {
        let day = 24 * 3600;
        let constant = |seconds: u64| {
            // Looked at where all fields are about to change.
            [951_782_400_u64, 951_868_800, 1_795_392_000].into_iter().all(|begin| {
                let at = |second: u64| {
                    let micros = i64::try_from((begin + second) * 1_000_000).unwrap_or(0);
                    self.of(Utc::from_micros(micros))
                };
                let whole = (0..day / seconds).map(|n| n * seconds);
                whole
                    .step_by(((day / seconds) / 24).max(1) as usize)
                    .all(|from| at(from) == at(from + seconds - 1) && at(from) == at(from + seconds / 2))
            })
        };
        let units = [day, 3600, 60];
        Duration::from_secs(units.into_iter().find(|unit| constant(*unit)).unwrap_or(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> PartitionTemplate {
        PartitionTemplate::parse(text).expect("legal")
    }

    fn at(name: &str) -> Utc {
        Utc::from_name(name).expect("legal")
    }

    #[test]
    fn a_start_gives_its_partition() {
        let start = at("20261123T081502.123456Z");
        assert_eq!(template("dt=%Y-%m-%d/hour=%H").of(start), "dt=2026-11-23/hour=08");
        assert_eq!(template("").of(start), "");
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

    #[test]
    fn a_span_has_the_partitions_of_all_its_instants_and_no_other() {
        let span = at("20261123T225959.000000Z")..at("20261124T010000.000001Z");
        let hours = template("dt=%Y-%m-%d/hour=%H").covering(span.clone()).expect("few");
        let days = ["2026-11-23/hour=22", "2026-11-23/hour=23", "2026-11-24/hour=00"];
        let expected: Vec<String> = days.into_iter().chain(["2026-11-24/hour=01"]).map(|d| format!("dt={d}")).collect();
        assert_eq!(hours, expected);
        assert_eq!(template("%Y/%m").covering(span.clone()), Some(vec!["2026/11".into()]));
        assert_eq!(template("").covering(span.clone()), Some(vec![String::new()]));
        assert_eq!(template("%Y%m%d/%H%M").covering(span).map(|p| p.len()), Some(122));
        let long = at("20200101T000000.000000Z")..at("20261124T000000.000000Z");
        assert_eq!(template("dt=%Y-%m-%d/hour=%H").covering(long), None);
    }

    #[test]
    fn the_partition_before_is_the_one_that_ended_last() {
        let hive = template("dt=%Y-%m-%d/hour=%H");
        assert_eq!(hive.before(at("20261123T001502.000000Z")), "dt=2026-11-22/hour=23");
        assert_eq!(template("%Y").before(at("20261123T001502.000000Z")), "2025");
        assert_eq!(template("").before(at("20261123T001502.000000Z")), "");
    }

    #[test]
    fn a_folder_of_another_template_is_told() {
        let hive = template("dt=%Y-%m-%d/hour=%H");
        assert!(hive.may_begin_with("dt=2025-01-31"));
        for other in ["2025", "dt=2025-13-01", "hour=08", "dt=2025-01-31x", ""] {
            assert!(!hive.may_begin_with(other), "{other}");
        }
    }
}
