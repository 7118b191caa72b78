//! What the requests to S3 cost, from the attempts that were counted. Owns the prices; knows nothing of storage and
//! traffic, which are billed too.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// USD for 1,000 PUT, POST and LIST requests: S3 Standard in us-east-1, <https://aws.amazon.com/s3/pricing/>, as of
/// November 2026. Other regions, classes and services have other prices.
const USD_PUT: f64 = 0.005;
/// USD for 1,000 GET, HEAD and other requests, from the same page.
const USD_GET: f64 = 0.0004;
/// A day's costs are not told from less.
const TELLING: Duration = Duration::from_secs(10 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Attempts, and their price.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct RequestCosts {
    /// By operation.
    attempts: BTreeMap<&'static str, u64>,
    /// Since the worker started.
    counted_seconds: f64,
    usd: f64,
    /// At the same rate; unknown in the first minutes.
    usd_a_day: Option<f64>,
}

impl RequestCosts {
    /// What they cost within a time.
    pub(super) fn of(attempts: Vec<(&'static str, u64)>, within: Duration) -> RequestCosts {
        let usd: f64 = attempts.iter().map(|(operation, count)| price(operation) * *count as f64 / 1000.0).sum();
        let usd_a_day = (within >= TELLING).then(|| usd * DAY.as_secs_f64() / within.as_secs_f64());
        let counted_seconds = within.as_secs_f64().round();
        RequestCosts { attempts: attempts.into_iter().collect(), counted_seconds, usd, usd_a_day }
    }
}

/// USD for 1,000 of an operation.
fn price(operation: &str) -> f64 {
    match operation {
        "GetObject" | "HeadObject" => USD_GET,
        "AbortMultipartUpload" => 0.0,
        _ => USD_PUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_and_lists_cost_more_than_gets_and_an_abort_nothing() {
        let attempts = vec![("PutObject", 200), ("GetObject", 5_000), ("AbortMultipartUpload", 9)];
        let costs = RequestCosts::of(attempts.clone(), DAY / 2);
        assert!((costs.usd - 0.003).abs() < 1e-9, "{costs:?}");
        assert!(costs.usd_a_day.is_some_and(|usd| (usd - 0.006).abs() < 1e-9), "{costs:?}");
        assert_eq!(RequestCosts::of(attempts, TELLING / 2).usd_a_day, None, "too early to tell");
    }
}
