//! The flags of `logsinkfs recover`, and what they mean for one spool.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::files::FilesArgs;
use super::log::LogArgs;
use super::settings::readable_name;
use super::{SegmentArgs, StorageArgs};
use crate::settings::writer::{Ownership, Source, SpoolLimits, SpoolSettings, WhenFull};
use crate::types::duration::parse_duration;
use crate::types::freshness::Freshness;

/// `logsinkfs recover`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Each spool records its bucket and prefix. Spools that a daemon uses are left alone. Exit codes: 0 S3 \
                  has everything; 1 a spool could not be read or removed; 2 usage; 3 something is left in a spool."
)]
pub struct RecoverArgs {
    /// A spool, or a directory that contains spools.
    #[arg(value_name = "SPOOL", required_unless_present = "dead_mounts")]
    pub spools: Vec<PathBuf>,
    /// Recover only spools of this bucket, or under this prefix of it (may be repeated). Root needs it for spools of
    /// other users, since the owner of a spool can change the bucket recorded in it.
    #[arg(long = "source", env = "LOGSINKFS_SOURCE", value_name = "SOURCE", value_parser = Source::parse, value_delimiter = ',')]
    pub sources: Vec<Source>,
    /// Keep looking for unused spools until stopped by a signal.
    #[arg(long, env = "LOGSINKFS_WATCH")]
    pub watch: bool,
    /// Remove a spool once S3 has all of it and its quarantine is empty. Excluded files in it, which are never
    /// uploaded, are removed too.
    #[arg(long, env = "LOGSINKFS_REMOVE")]
    pub remove: bool,
    /// With --watch, how long a spool must have been unused, or a mount dead, before it is removed. Must be longer than
    /// a daemon takes to be restarted (kubelet: 5 minutes).
    #[arg(long, env = "LOGSINKFS_REMOVE_AFTER", value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    pub remove_after: Duration,
    /// As root, unmount dead mounts of root's daemons under this directory. kubelet cannot remove a pod with such a
    /// mount in its volume (/var/lib/kubelet/pods).
    #[arg(long, env = "LOGSINKFS_DEAD_MOUNTS", value_name = "DIR")]
    pub dead_mounts: Option<PathBuf>,

    /// How the bytes become segments that were not sealed yet.
    #[command(flatten)]
    pub segments: SegmentArgs,
    /// How S3 is reached, and how it stores.
    #[command(flatten)]
    pub storage: StorageArgs,

    /// Which configuration files are read.
    #[command(flatten)]
    pub files: FilesArgs,
    /// What is logged.
    #[command(flatten)]
    pub log: LogArgs,
}

impl RecoverArgs {
    /// How long what could be removed is left, in case that a daemon comes for it. Nobody waits for that who looks
    /// once.
    pub fn patience(&self) -> Duration {
        if self.watch { self.remove_after } else { Duration::ZERO }
    }

    /// How one spool comes to its bucket, when nothing is written to it.
    pub fn settings(&self, dir: &Path, source: Source) -> SpoolSettings {
        SpoolSettings {
            source,
            dir: dir.to_owned(),
            writer_name: readable_name(),
            segmenting: self.segments.clone().settings(),
            // Nothing comes in: what is there has room, and none of it is dropped.
            limits: SpoolLimits {
                max: None,
                whole_max: None,
                min_free_percent: 0,
                names_max: u64::MAX,
                when_full: WhenFull::Error,
            },
            retire_after: Duration::MAX,
            freshness: Freshness { listed: Duration::ZERO, absent: Duration::ZERO },
            s3: self.storage.clone().settings(),
            ownership: Ownership { uid: 0, gid: 0, file_mode: 0o644, dir_mode: 0o755 },
        }
    }
}
