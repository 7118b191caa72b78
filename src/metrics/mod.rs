//! Counters for the table of metrics (`metrics::table`): one set for the process; counting is an atomic addition.
//!
//! - `table`: names, labels and meaning.

pub mod table;

use std::sync::LazyLock;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric as Registered, Registry};

use self::table::{Metric, SECONDS, TABLE};

/// Labels and their values, none of which comes from outside.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];
/// A number that is not whole.
pub type Number = Gauge<f64, std::sync::atomic::AtomicU64>;
type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// What is counted.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

macro_rules! metrics {
    ($($field:ident: $kind:ty = $name:literal;)*) => {
        /// The metrics, by the names that the table has for them.
        pub struct Metrics {
            of_every_mount: Registry,
            of_writers: Registry,
            $(#[doc = $name] pub $field: $kind,)*
        }

        impl Metrics {
            fn new() -> Metrics {
                let (mut every, mut writers) = (Registry::default(), Registry::default());
                $(
                    let $field: $kind = Made::made();
                    register(&mut every, &mut writers, $name, $field.clone());
                )*
                Metrics { of_every_mount: every, of_writers: writers, $($field,)* }
            }
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

metrics! {
    live_files: Gauge = "logsinkfs_live_files";
    local_files: Gauge = "logsinkfs_local_files";
    local_bytes: Gauge = "logsinkfs_local_bytes";
    names_bytes: Gauge = "logsinkfs_names_bytes";
    open_handles: Gauge = "logsinkfs_open_handles";
    appended_bytes: Counter = "logsinkfs_appended_bytes_total";
    sealed_bytes: Counter = "logsinkfs_sealed_bytes_total";
    sealed_segments: Counter = "logsinkfs_sealed_segments_total";
    uploaded_bytes: Counter = "logsinkfs_uploaded_bytes_total";
    uploaded_segments: Counter = "logsinkfs_uploaded_segments_total";
    stored_bytes: Counter = "logsinkfs_stored_bytes_total";
    unuploaded_bytes: Gauge = "logsinkfs_unuploaded_bytes";
    oldest_unuploaded_seconds: Number = "logsinkfs_oldest_unuploaded_seconds";
    upload_retries: Family<Labels<1>, Counter> = "logsinkfs_upload_retries_total";
    dropped_bytes: Counter = "logsinkfs_dropped_bytes_total";
    set_aside_files: Gauge = "logsinkfs_set_aside_files";
    set_aside_bytes: Gauge = "logsinkfs_set_aside_bytes";
    given_up_bytes: Gauge = "logsinkfs_given_up_bytes";
    conflicts: Counter = "logsinkfs_conflicts_total";
    quarantined_segments: Counter = "logsinkfs_quarantined_segments_total";
    s3_up: Gauge = "logsinkfs_s3_up";
    s3_requests: Family<Labels<2>, Counter> = "logsinkfs_s3_requests_total";
    s3_attempts: Family<Labels<1>, Counter> = "logsinkfs_s3_attempts_total";
    s3_request_seconds: Histograms = "logsinkfs_s3_request_seconds";
    s3_first_byte_seconds: Histograms = "logsinkfs_s3_first_byte_seconds";
    s3_sent_bytes: Counter = "logsinkfs_s3_sent_bytes_total";
    s3_received_bytes: Counter = "logsinkfs_s3_received_bytes_total";
    cache_hits: Family<Labels<1>, Counter> = "logsinkfs_cache_hits_total";
    cache_misses: Family<Labels<1>, Counter> = "logsinkfs_cache_misses_total";
    spool_used_bytes: Gauge = "logsinkfs_spool_used_bytes";
    spool_free_bytes: Gauge = "logsinkfs_spool_free_bytes";
    write_path: Family<Labels<1>, Gauge> = "logsinkfs_write_path";
    worker_restarts: Counter = "logsinkfs_worker_restarts_total";
}

impl Metrics {
    /// All that a mount has, in the text form of [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/).
    pub fn text(&self, writes: bool) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        if writes {
            let _ = encode_registry(&mut text, &self.of_writers);
        }
        let _ = encode_registry(&mut text, &self.of_every_mount).and_then(|()| encode_eof(&mut text));
        text
    }

    /// Counts a look into a cache.
    pub fn looked_into(&self, cache: &'static str, found: bool) {
        let counted = if found { &self.cache_hits } else { &self.cache_misses };
        counted.get_or_create(&[("cache", cache)]).inc();
    }
}

/// Registers a metric as the table describes it. The registry adds what its form has at the ends of names and help.
fn register(every: &mut Registry, writers: &mut Registry, name: &str, metric: impl Registered) {
    let row = TABLE.iter().find(|row| row.name == name);
    let registry = if row.is_some_and(Metric::is_of_every_mount) { every } else { writers };
    let help = row.map_or("", |row| row.help);
    registry.register(name.trim_end_matches("_total"), help.trim_end_matches('.'), metric);
}

/// A metric that counts nothing yet.
trait Made {
    fn made() -> Self;
}

impl Made for Histograms {
    fn made() -> Self {
        Family::new_with_constructor(|| Histogram::new(SECONDS))
    }
}

macro_rules! made {
    ($($kind:ty),*) => { $(impl Made for $kind { fn made() -> Self { <$kind>::default() } })* };
}
made!(Counter, Gauge, Number, Family<Labels<1>, Counter>, Family<Labels<2>, Counter>, Family<Labels<1>, Gauge>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_the_table() {
        let table: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
        assert_eq!(NAMES, table);
    }
}
