//! The flags of a reader mount.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::settings::writer;
use crate::types::span::Moment;

/// What people look for in a log is mostly of today.
pub(super) const SINCE: Duration = Duration::from_secs(24 * 3600);
/// Sixteen segments of the usual size.
pub(super) const CACHE_MAX: u64 = 1 << 30;
/// What writers alone are told, and has no default that could be meant: beside `--read-only` it is a mistake. Not
/// `--keeper-socket`, which an image sets for whatever runs in it.
pub(super) const OF_WRITERS: [&str; 27] = [
    "spool_dir",
    "spool_max",
    "whole_max",
    "names_max",
    "writer_id",
    "record_start",
    "stream_map",
    "label",
    "guard_mountpoint",
    "strict_append",
    "sse",
    "sse_kms_key_id",
    "storage_class",
    "acl",
    "tag",
    "object_lock_mode",
    "object_lock_retain",
    "object_lock_legal_hold",
    "sse_kms_encryption_context",
    "checksum_algorithm",
    "no_overwrite_header",
    "gzip_level",
    "zstd_level",
    "require_bucket",
    "no_keeper",
    "hold",
    "attach",
];

/// What readers alone are told.
pub(super) const OF_READERS: [&str; 4] = ["since", "strict", "cache_dir", "cache_max"];

/// How a reader mount reads.
#[derive(Clone, Debug, Args)]
pub struct ReaderArgs {
    /// Mount for reading: each log is one file, with all segments of all writers joined in time order. Needs no spool
    /// and no permission to write to S3.
    #[arg(long, env = "LOGSINKFS_READ_ONLY", conflicts_with_all = OF_WRITERS, help_heading = "Reader mount")]
    pub read_only: bool,
    /// Show logs from this time on: a duration like `24h`, `all`, or a UTC time like `2026-11-23T08:15`. Older lines
    /// are found under `LOG@2026-11-23`. Default: 24h.
    #[arg(long, env = "LOGSINKFS_SINCE", value_name = "MOMENT", value_parser = Moment::parse, help_heading = "Reader mount")]
    pub since: Option<Moment>,
    /// Fail reads with EIO where bytes of a log are missing or damaged, instead of showing a line that says so.
    #[arg(long, env = "LOGSINKFS_STRICT", help_heading = "Reader mount")]
    pub strict: bool,
    /// Where segments are unpacked, as anonymous files (O_TMPFILE). Default: the system's temporary directory.
    #[arg(long, env = "LOGSINKFS_CACHE_DIR", value_name = "DIR", help_heading = "Reader mount")]
    pub cache_dir: Option<PathBuf>,
    /// Maximum size of unpacked segments, not counting those being read. Default: 1GiB.
    #[arg(long, env = "LOGSINKFS_CACHE_MAX", value_name = "SIZE", value_parser = writer::parse_size, help_heading = "Reader mount")]
    pub cache_max: Option<u64>,
}

impl ReaderArgs {
    /// The first option that was given, of those that a writer has no use for.
    pub(super) fn of_readers(&self) -> Option<&'static str> {
        let given = [
            (self.since.is_some(), "--since"),
            (self.strict, "--strict"),
            (self.cache_dir.is_some(), "--cache-dir"),
            (self.cache_max.is_some(), "--cache-max"),
        ];
        given.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag)
    }
}
