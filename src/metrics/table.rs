//! The table of metrics: names, labels and meaning. Counting is in `metrics`. No label holds a path, a key or a stream,
//! whose number is unbounded.

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

impl Metric {
    /// Whether a reader mount has it too, which writes nothing.
    pub fn is_of_every_mount(&self) -> bool {
        let of = |group: &str| self.name.starts_with(group);
        of("logsinkfs_cache_") || (of("logsinkfs_s3_") && self.name != "logsinkfs_s3_up")
    }
}

/// Bounds of the histograms' buckets in seconds: from a service on the same machine to the longest wait of a request.
pub const SECONDS: [f64; 14] = [0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.2, 0.4, 0.8, 1.6, 5.0, 15.0, 30.0];

macro_rules! table {
    ($($name:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        /// All metrics, in the order in which they are documented.
        pub const TABLE: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        }),*];
    };
}

table! {
    "logsinkfs_live_files", Gauge, [], "Files in the live view.";
    "logsinkfs_local_files", Gauge, [], "Files that stay local and are never uploaded (`--exclude`).";
    "logsinkfs_local_bytes", Gauge, [], "Their bytes.";
    "logsinkfs_names_bytes", Gauge, [], "Memory that names, links and extended attributes of the live view take, as they are counted for `--names-max`.";
    "logsinkfs_open_handles", Gauge, [], "Files and directories that programs have open.";
    "logsinkfs_appended_bytes_total", Counter, [], "Bytes that programs have written to logs.";
    "logsinkfs_sealed_bytes_total", Counter, [], "Bytes of logs that became segments.";
    "logsinkfs_sealed_segments_total", Counter, [], "Segments that were sealed.";
    "logsinkfs_uploaded_bytes_total", Counter, [], "Bytes of logs, before compression, that S3 has confirmed.";
    "logsinkfs_uploaded_segments_total", Counter, [], "Segments that S3 has confirmed.";
    "logsinkfs_stored_bytes_total", Counter, [], "Bytes of the objects that S3 has confirmed.";
    "logsinkfs_unuploaded_bytes", Gauge, [], "Bytes of logs that S3 has not confirmed.";
    "logsinkfs_oldest_unuploaded_seconds", Gauge, [], "Age of the oldest byte that S3 has not confirmed; 0 when it has all.";
    "logsinkfs_upload_retries_total", Counter, ["reason"], "Tries to upload a segment that failed and will be repeated: outage (S3 as a whole) or segment (this one).";
    "logsinkfs_dropped_bytes_total", Counter, [], "Bytes that were given up because the spool was full.";
    "logsinkfs_set_aside_files", Gauge, [], "Files in the spool's quarantine, counted from what is there.";
    "logsinkfs_set_aside_bytes", Gauge, [], "Their bytes.";
    "logsinkfs_given_up_bytes", Gauge, [], "Bytes on the spool's list of what was given up, also before this process began.";
    "logsinkfs_conflicts_total", Counter, [], "Segments whose key another object had.";
    "logsinkfs_quarantined_segments_total", Counter, [], "Segments that were set aside in the spool's quarantine.";
    "logsinkfs_s3_up", Gauge, [], "1 while S3 takes segments, 0 in an outage.";
    "logsinkfs_s3_requests_total", Counter, ["operation", "status"], "Requests to S3, tries of the SDK counted as one.";
    "logsinkfs_s3_attempts_total", Counter, ["operation"], "Tries of requests to S3: what is billed. Less the requests, they are the SDK's retries.";
    "logsinkfs_s3_request_seconds", Histogram, ["operation"], "Time of a request to S3, retries and body included.";
    "logsinkfs_s3_first_byte_seconds", Histogram, ["operation"], "Time of a try until S3 has answered.";
    "logsinkfs_s3_sent_bytes_total", Counter, [], "Bytes of objects sent to S3, repeated ones included.";
    "logsinkfs_s3_received_bytes_total", Counter, [], "Bytes of objects received from S3.";
    "logsinkfs_cache_hits_total", Counter, ["cache"], "Looks into a cache that needed no request: of names, of listings, of objects' bytes, of unpacked segments.";
    "logsinkfs_cache_misses_total", Counter, ["cache"], "Looks into a cache that needed a request.";
    "logsinkfs_spool_used_bytes", Gauge, [], "Bytes of logs in the spool.";
    "logsinkfs_spool_free_bytes", Gauge, [], "Bytes that logs can still grow by, before something is given up, or programs wait or get ENOSPC.";
    "logsinkfs_write_path", Gauge, ["path"], "1 for who writes what programs append: kernel or daemon.";
    "logsinkfs_worker_restarts_total", Counter, [], "Times that a worker was replaced, killed ones and upgrades.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_are() {
        for metric in TABLE {
            assert!(metric.name.starts_with("logsinkfs_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
        assert!(SECONDS.is_sorted());
    }
}
