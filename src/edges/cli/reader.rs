//! The flags of a reader mount, and what they mean.

use std::path::PathBuf;

use clap::Args;

use super::MountArgs;
use crate::values::reader::ReaderSettings;
use crate::values::settings::{self as values};
use crate::values::span::Moment;

/// What writers alone are told, and has no default that could be meant: beside `--read-only` it is a mistake.
const OF_WRITERS: [&str; 15] = [
    "spool_dir",
    "spool_max",
    "writer_id",
    "record_start",
    "stream_map",
    "strict_append",
    "sse",
    "sse_kms_key_id",
    "storage_class",
    "require_bucket",
    "run_as",
    "no_keeper",
    "keeper_socket",
    "hold",
    "attach",
];

/// How a reader mount reads.
#[derive(Clone, Debug, Args)]
pub struct ReaderArgs {
    /// Mount for reading: each log is one file, all segments of all writers joined in time order.
    /// Needs no spool, and no right to write.
    #[arg(long, env = "LOGSINKFS_READ_ONLY", conflicts_with_all = OF_WRITERS, help_heading = "Reader mount")]
    pub read_only: bool,
    /// From when on logs are shown: a time like `24h`, `all`, or UTC like `2026-11-23T08:15`. What is
    /// older is found under `LOG@2026-11-23`.
    #[arg(long, env = "LOGSINKFS_SINCE", value_name = "MOMENT", default_value = "24h", value_parser = Moment::parse, requires = "read_only", help_heading = "Reader mount")]
    pub since: Moment,
    /// Fail reads (EIO) where bytes of a log are missing or damaged, instead of showing a line that
    /// says so.
    #[arg(long, env = "LOGSINKFS_STRICT", requires = "read_only", help_heading = "Reader mount")]
    pub strict: bool,
    /// Where segments are unpacked, as files without names. Default: the system's temporary
    /// directory.
    #[arg(
        long,
        env = "LOGSINKFS_CACHE_DIR",
        value_name = "DIR",
        requires = "read_only",
        help_heading = "Reader mount"
    )]
    pub cache_dir: Option<PathBuf>,
    /// Most bytes of unpacked segments, beside those that are just being read.
    #[arg(long, env = "LOGSINKFS_CACHE_MAX", value_name = "SIZE", default_value = "1GiB", value_parser = values::parse_size, requires = "read_only", help_heading = "Reader mount")]
    pub cache_max: u64,
}

impl MountArgs {
    /// The settings that the flags mean for a reader mount; `None` when a writer mount is asked for.
    pub fn reader_settings(&self) -> Option<ReaderSettings> {
        let ReaderArgs { read_only, since, strict, cache_dir, cache_max } = self.reader.clone();
        read_only.then(|| ReaderSettings {
            source: self.source.clone(),
            mountpoint: self.mountpoint.clone(),
            since,
            strict,
            cache_dir: cache_dir.unwrap_or_else(std::env::temp_dir),
            cache_max,
            metadata_ttl: self.metadata_ttl,
            s3: self.storage.s3.clone().settings(),
            ownership: self.ownership(),
            allow_other: self.allow_other,
        })
    }
}
