//! How long to wait before the next try of what has failed.

use std::time::Duration;

/// First wait after a failure; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// Longest wait: how long an S3 that has come back can stay unnoticed.
pub const BACKOFF_MAX: Duration = Duration::from_secs(20);

/// Exponential; `fraction`, from 0 to 1, is the place in its upper half (jitter).
pub fn backoff(failures: u32, fraction: f64) -> Duration {
    let cap = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF_MAX);
    cap.mul_f64(0.5 + fraction / 2.0)
}
