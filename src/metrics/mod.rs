//! The table of metrics: names, labels and meaning, and the counters, one set for the process; counting is an atomic
//! addition. No label holds a path, a key or a stream, whose number is unbounded.

use std::sync::LazyLock;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric as Registered, Registry};

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises; begins at zero with each worker.
    Counter,
    /// It is as it is now.
    Gauge,
    /// Seconds, by how many took at most so long.
    Histogram,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// As Prometheus knows it.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

/// Whether a reader mount has a metric too, which writes nothing.
fn is_of_every_mount(name: &str) -> bool {
    const OF_ALL: [&str; 2] = ["logsinkfs_build_info", "logsinkfs_ready"];
    const OF_WRITERS: [&str; 2] = ["logsinkfs_s3_up", "logsinkfs_s3_conditional_writes"];
    let is_shared = ["logsinkfs_cache_", "logsinkfs_s3_"].iter().any(|start| name.starts_with(start));
    OF_ALL.contains(&name) || (is_shared && !OF_WRITERS.contains(&name))
}

/// Bounds of the histograms' buckets in seconds: from a service on the same machine to the longest wait of a request.
pub const SECONDS: [f64; 14] = [0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.2, 0.4, 0.8, 1.6, 5.0, 15.0, 30.0];

/// Operations of S3 that requests and attempts are counted by. Anything else is `other`.
pub const OPERATIONS: [&str; 10] = [
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "ListMultipartUploads",
    "GetObject",
    "HeadObject",
    "ListObjectsV2",
    "other",
];

/// Labels and their values, none of which comes from outside.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];
/// A number that is not whole.
pub type Number = Gauge<f64, std::sync::atomic::AtomicU64>;
type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// What is counted.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

macro_rules! metrics {
    ($($field:ident: $kind:ty = $name:literal, [$($label:literal),*], $help:literal;)*) => {
        /// All metrics, in the order in which they are documented.
        pub const TABLE: &[Metric] = &[$(Metric {
            name: $name,
            kind: <$kind>::KIND,
            labels: &[$($label),*],
            help: $help,
        }),*];

        /// The metrics.
        pub struct Metrics {
            of_every_mount: Registry,
            of_writers: Registry,
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Metrics {
            fn new() -> Metrics {
                let (mut every, mut writers) = (Registry::default(), Registry::default());
                $(
                    let $field: $kind = Made::made();
                    register(&mut every, &mut writers, $name, $help, $field.clone());
                )*
                Metrics { of_every_mount: every, of_writers: writers, $($field,)* }
            }
        }
    };
}

metrics! {
    build_info: Family<Labels<2>, Gauge> = "logsinkfs_build_info", ["version", "commit"], "1, with the version of the program and the commit that it was built from, if that is known.";
    ready: Gauge = "logsinkfs_ready", [], "1 while the mount serves and the spool accepts writes, as /readyz says; else 0.";
    live_files: Gauge = "logsinkfs_live_files", [], "Files in the live view.";
    local_files: Family<Labels<1>, Gauge> = "logsinkfs_local_files", ["why"], "Files that stay local and are never uploaded: excluded, whole (with `--whole none`), or a copy of a log.";
    local_bytes: Family<Labels<1>, Gauge> = "logsinkfs_local_bytes", ["why"], "Bytes of files that stay local.";
    names_bytes: Gauge = "logsinkfs_names_bytes", [], "Memory used by names, links and extended attributes of the live view, as accounted for `--names-max`.";
    open_handles: Gauge = "logsinkfs_open_handles", [], "Files and directories that programs have open.";
    appended_bytes: Counter = "logsinkfs_appended_bytes_total", [], "Bytes that programs have written to logs.";
    sealed_bytes: Counter = "logsinkfs_sealed_bytes_total", [], "Bytes of logs that were sealed into segments.";
    sealed_segments: Counter = "logsinkfs_sealed_segments_total", [], "Segments that were sealed.";
    uploaded_bytes: Counter = "logsinkfs_uploaded_bytes_total", [], "Bytes of logs, before compression, that S3 has confirmed.";
    uploaded_segments: Counter = "logsinkfs_uploaded_segments_total", [], "Segments that S3 has confirmed.";
    stored_bytes: Counter = "logsinkfs_stored_bytes_total", [], "Bytes of the objects that S3 has confirmed.";
    unuploaded_bytes: Gauge = "logsinkfs_unuploaded_bytes", [], "Bytes of logs that S3 has not confirmed.";
    oldest_unuploaded_seconds: Number = "logsinkfs_oldest_unuploaded_seconds", [], "Age of the oldest byte that S3 has not confirmed; 0 when it has all.";
    upload_retries: Family<Labels<1>, Counter> = "logsinkfs_upload_retries_total", ["reason"], "Failed attempts to upload a segment that will be retried: outage (S3 is unavailable) or segment (only this one).";
    dropped_bytes: Counter = "logsinkfs_dropped_bytes_total", [], "Bytes that were dropped because the spool was full.";
    quarantined_files: Gauge = "logsinkfs_quarantined_files", [], "Files in the spool's quarantine, counted on disk.";
    quarantined_bytes: Gauge = "logsinkfs_quarantined_bytes", [], "Bytes in the spool's quarantine.";
    dropped_listed_bytes: Gauge = "logsinkfs_dropped_listed_bytes", [], "Bytes on the spool's list of dropped ranges, including those from before this process started.";
    conflicts: Counter = "logsinkfs_conflicts_total", [], "Segments whose key was taken by another object.";
    quarantined_segments: Counter = "logsinkfs_quarantined_segments_total", [], "Segments that were quarantined in the spool.";
    s3_up: Gauge = "logsinkfs_s3_up", [], "1 while S3 takes segments, 0 in an outage.";
    s3_conditional_writes: Family<Labels<1>, Gauge> = "logsinkfs_s3_conditional_writes", ["condition"], "1 for what S3 does with `If-None-Match: *` on PUT: enforced or ignored; absent before the first registration.";
    s3_clock_skew_seconds: Number = "logsinkfs_s3_clock_skew_seconds", [], "Seconds by which this machine's clock is ahead of the date in S3's last answer; negative if it is behind.";
    s3_requests: Family<Labels<2>, Counter> = "logsinkfs_s3_requests_total", ["operation", "status"], "Requests to S3, each counted once whatever the SDK retries.";
    s3_attempts: Family<Labels<1>, Counter> = "logsinkfs_s3_attempts_total", ["operation"], "Attempts of requests to S3, which are billed. Attempts minus requests are the SDK's retries.";
    s3_request_seconds: Histograms = "logsinkfs_s3_request_seconds", ["operation"], "Time of a request to S3, retries and body included.";
    s3_first_byte_seconds: Histograms = "logsinkfs_s3_first_byte_seconds", ["operation"], "Time until S3 answers, for each attempt.";
    s3_sent_bytes: Counter = "logsinkfs_s3_sent_bytes_total", [], "Bytes of objects sent to S3, repeated ones included.";
    s3_received_bytes: Counter = "logsinkfs_s3_received_bytes_total", [], "Bytes of objects received from S3.";
    cache_hits: Family<Labels<1>, Counter> = "logsinkfs_cache_hits_total", ["cache"], "Cache lookups that needed no request: names, listings, objects' bytes, unpacked segments.";
    cache_misses: Family<Labels<1>, Counter> = "logsinkfs_cache_misses_total", ["cache"], "Cache lookups that needed a request.";
    spool_used_bytes: Gauge = "logsinkfs_spool_used_bytes", [], "Bytes of logs in the spool.";
    spool_free_bytes: Gauge = "logsinkfs_spool_free_bytes", [], "Bytes by which logs can still grow before bytes are dropped, or programs wait or get ENOSPC.";
    spool_max_bytes: Gauge = "logsinkfs_spool_max_bytes", [], "Bytes of logs that the spool may hold: `--spool-max` without the reserve for objects being sent.";
    spool_lasts_seconds: Number = "logsinkfs_spool_lasts_seconds", [], "Seconds until the spool is full if the bytes that S3 lacks keep growing as they did; `+Inf` if they do not grow.";
    write_path: Family<Labels<1>, Gauge> = "logsinkfs_write_path", ["path"], "1 for the path by which appended bytes are written: kernel or daemon.";
    worker_restarts: Counter = "logsinkfs_worker_restarts_total", [], "Number of times a worker was replaced, whether killed or upgraded.";
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

    /// Attempts of requests to S3 so far, by operation; those that there were none of are left out.
    pub fn attempts(&self) -> Vec<(&'static str, u64)> {
        let of = |operation| Some((operation, self.s3_attempts.get(&[("operation", operation)])?.get()));
        OPERATIONS.into_iter().filter_map(of).collect()
    }

    /// Counts a look into a cache.
    pub fn looked_into(&self, cache: &'static str, found: bool) {
        let counted = if found { &self.cache_hits } else { &self.cache_misses };
        counted.get_or_create(&[("cache", cache)]).inc();
    }
}

/// Registers a metric. The registry adds what its form has at the ends of names and help.
fn register(every: &mut Registry, writers: &mut Registry, name: &str, help: &str, metric: impl Registered) {
    let registry = if is_of_every_mount(name) { every } else { writers };
    registry.register(name.trim_end_matches("_total"), help.trim_end_matches('.'), metric);
}

/// A metric that counts nothing yet.
trait Made {
    /// How it behaves.
    const KIND: Kind;

    fn made() -> Self;
}

impl Made for Histograms {
    const KIND: Kind = Kind::Histogram;

    fn made() -> Self {
        Family::new_with_constructor(|| Histogram::new(SECONDS))
    }
}

macro_rules! made {
    ($($type:ty: $kind:ident;)*) => {
        $(impl Made for $type {
            const KIND: Kind = Kind::$kind;

            fn made() -> Self {
                <$type>::default()
            }
        })*
    };
}
made! {
    Counter: Counter;
    Gauge: Gauge;
    Number: Gauge;
    Family<Labels<1>, Counter>: Counter;
    Family<Labels<2>, Counter>: Counter;
    Family<Labels<1>, Gauge>: Gauge;
    Family<Labels<2>, Gauge>: Gauge;
}
