//! Flags for segments and objects: the same flags and environment variables for every command that seals.

use std::time::Duration;

use clap::Args;
use regex::bytes::Regex;

use super::words::parse_regex;
use crate::format::naming::Form;
use crate::format::partition::PartitionTemplate;
use crate::settings::writer;
use crate::settings::writer::{Levels, Segmenting};
use crate::types::duration::{parse_duration, parse_interval};
use crate::types::rotation::Rules;

/// How appends become segments.
#[derive(Clone, Debug, Args)]
pub struct SegmentArgs {
    /// Seal a segment when it reaches this size.
    #[arg(long, env = "LOGSINKFS_ROTATE_SIZE", value_name = "SIZE", default_value = "64MiB", value_parser = writer::parse_rotate_size, help_heading = "Segments")]
    pub rotate_size: u64,
    /// Seal a segment at the latest this long after its first byte.
    #[arg(long, env = "LOGSINKFS_ROTATE_INTERVAL", value_name = "TIME", default_value = "300s", value_parser = parse_interval, help_heading = "Segments")]
    pub rotate_interval: Duration,
    /// Seal a segment when the file has been closed and idle for this long.
    #[arg(long, env = "LOGSINKFS_ROTATE_IDLE", value_name = "TIME", default_value = "5s", value_parser = parse_duration, help_heading = "Segments")]
    pub rotate_idle: Duration,
    /// Matches the first line of a record, so that multi-line records stay in one segment.
    #[arg(long, env = "LOGSINKFS_RECORD_START", value_name = "REGEX", value_parser = parse_regex, help_heading = "Segments")]
    pub record_start: Option<Regex>,
    /// strftime template (UTC) of the folders between stream and segment; may be empty.
    #[arg(long, env = "LOGSINKFS_PARTITION", value_name = "STRFTIME", default_value = "dt=%Y-%m-%d/hour=%H", value_parser = PartitionTemplate::parse, help_heading = "Segments")]
    pub partition: PartitionTemplate,
    /// How objects are compressed.
    #[arg(long, env = "LOGSINKFS_COMPRESSION", value_enum, default_value = "gzip", help_heading = "Segments")]
    pub compression: Form,
    /// Level of gzip, 0 (none) to 9 (smallest). Default: 6.
    #[arg(long, env = "LOGSINKFS_GZIP_LEVEL", value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(0..=9), help_heading = "Segments")]
    pub gzip_level: Option<u32>,
    /// Level of zstd, 1 to 19 (smallest, and slow). Default: 3.
    #[arg(long, env = "LOGSINKFS_ZSTD_LEVEL", value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=19), help_heading = "Segments")]
    pub zstd_level: Option<i32>,
}

impl SegmentArgs {
    /// The settings that the flags mean.
    pub fn settings(self) -> Segmenting {
        let usual = Levels::default();
        Segmenting {
            rules: Rules { size: self.rotate_size, interval: self.rotate_interval, idle: self.rotate_idle },
            record_start: self.record_start,
            partition: self.partition,
            form: self.compression,
            levels: Levels { gzip: self.gzip_level.unwrap_or(usual.gzip), zstd: self.zstd_level.unwrap_or(usual.zstd) },
            keep_whole: false,
        }
    }
}
