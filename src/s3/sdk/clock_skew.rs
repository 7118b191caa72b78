//! Compares our clock with the date in each answer of S3. The SDK signs by S3's clock once it has seen it, so requests
//! work; but a wrong clock in keys and metadata stays for ever, so it is reported.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use tracing::{info, warn};

use crate::metrics::METRICS;

/// A difference to report. S3 refuses signatures from 15 minutes on; a slow answer takes less than this.
const LARGE: Duration = Duration::from_secs(5 * 60);

/// Reports a large difference once, and again only after it went away.
#[derive(Debug, Default)]
pub(super) struct SkewReport {
    reported: AtomicBool,
}

impl Intercept for SkewReport {
    fn name(&self) -> &'static str {
        "SkewReport"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let now = components.time_source().map(|source| source.now());
        let date = context.response().headers().get("date").and_then(parse);
        if let (Some(now), Some(date)) = (now, date) {
            self.compare(now, date);
        }
        Ok(())
    }
}

impl SkewReport {
    /// Says what changed; gives whether it did.
    fn compare(&self, now: SystemTime, date: SystemTime) -> bool {
        let (by, which) = match now.duration_since(date) {
            Ok(by) => (by, "ahead of"),
            Err(e) => (e.duration(), "behind"),
        };
        let ahead = if now < date { -by.as_secs_f64() } else { by.as_secs_f64() };
        METRICS.s3_clock_skew_seconds.set(ahead);
        let large = by > LARGE;
        let changed = self.reported.swap(large, Ordering::Relaxed) != large;
        if changed && large {
            let hint = "set this machine's clock (NTP): keys and metadata of segments carry its time";
            warn!(hint, "this machine's clock is {}s {which} that of S3", by.as_secs());
        } else if changed {
            info!("this machine's clock agrees with that of S3 again");
        }
        changed
    }
}

fn parse(date: &str) -> Option<SystemTime> {
    SystemTime::try_from(DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_difference_is_reported_once_and_again_after_it_went_away() {
        let (report, now) = (SkewReport::default(), SystemTime::UNIX_EPOCH + 9 * LARGE);
        let second = Duration::from_secs(1);
        assert!(!report.compare(now, now));
        assert!(!report.compare(now, now + LARGE));
        assert!(report.compare(now, now + LARGE + second), "behind");
        assert!(!report.compare(now, now - LARGE - second), "still large");
        assert!(report.compare(now, now - LARGE), "it went away");
        assert!(report.compare(now, now - LARGE - second), "ahead");
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let date = parse("Tue, 24 Nov 2026 08:15:02 GMT");
        assert_eq!(date, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_508_102)));
        assert_eq!(parse("soon"), None);
    }
}
