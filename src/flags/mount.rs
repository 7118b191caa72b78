//! The flags of `mount`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::files::FilesArgs;
use super::log::LogArgs;
use super::s3::LAST;
use super::words::{parse_label, parse_user, parse_writer};
use super::{ReaderArgs, SegmentArgs, StorageArgs};
use crate::format::stream_map::StreamRule;
use crate::settings::writer::{self, FsyncLevel, Source, View, WhenFull, WritePath};
use crate::types::duration::parse_duration;
use crate::types::freshness::parse_ttl;
use crate::types::globs;
use crate::types::processes::{Guard, RunAs};

/// `logsinkfs mount`.
#[derive(Debug, Args)]
pub struct MountArgs {
    /// s3://BUCKET[/PREFIX], or file:///DIR for the embedded bucket.
    #[arg(value_name = "SOURCE", value_parser = Source::parse)]
    pub source: Source,
    /// Directory to mount on, or /dev/fd/N: the /dev/fuse descriptor of a mount that another program has made.
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
    /// Prefix in the bucket, for a SOURCE without one: `--prefix logs s3://BUCKET` is s3://BUCKET/logs.
    #[arg(long, env = "LOGSINKFS_PREFIX", value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// The same flags as mount(8) options: without dashes, separated by commas.
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub options: Vec<String>,

    /// Where bytes are kept until S3 has confirmed them; the only thing that must survive a crash. Default: a directory
    /// per source and mount point under $XDG_STATE_HOME/logsinkfs (for root, /var/lib/logsinkfs).
    #[arg(long, env = "LOGSINKFS_SPOOL_DIR", value_name = "DIR", help_heading = "Spool")]
    pub spool_dir: Option<PathBuf>,
    /// Maximum size of the spool. Default: 10GiB, or 80 % of its file system if that is less.
    #[arg(long, env = "LOGSINKFS_SPOOL_MAX", value_name = "SIZE", value_parser = writer::parse_size, help_heading = "Spool")]
    pub spool_max: Option<u64>,
    /// Most bytes of whole files in the spool, within --spool-max; a write beyond that gets ENOSPC. Default: half of
    /// it.
    #[arg(long, env = "LOGSINKFS_WHOLE_MAX", value_name = "SIZE", value_parser = writer::parse_size, help_heading = "Spool")]
    pub whole_max: Option<u64>,
    /// Percentage of the spool's file system to keep free.
    #[arg(long, env = "LOGSINKFS_SPOOL_MIN_FREE", value_name = "PERCENT", default_value = "15", value_parser = clap::value_parser!(u8).range(0..=90), help_heading = "Spool")]
    pub spool_min_free: u8,
    /// Maximum memory for names, links and extended attributes of the live view; creating more fails with ENOSPC. The
    /// last quarter is reserved for first-level folders that use less than an equal share.
    #[arg(long, env = "LOGSINKFS_NAMES_MAX", value_name = "SIZE", default_value = "64MiB", value_parser = writer::parse_size, help_heading = "Spool")]
    pub names_max: u64,
    /// What happens to a write when the spool is full of bytes that S3 does not have yet.
    #[arg(long, env = "LOGSINKFS_WHEN_FULL", value_enum, default_value = "drop-oldest", help_heading = "Spool")]
    pub when_full: WhenFull,
    /// Who writes appended bytes to the spool: the kernel directly, or the daemon. `auto` uses the kernel where
    /// possible; `passthrough` refuses to start where it is not.
    #[arg(long, env = "LOGSINKFS_WRITE_PATH", value_enum, default_value = "auto", help_heading = "Spool")]
    pub write_path: WritePath,
    /// Readable part of the writer id in object names. Default: the name of the pod or host.
    #[arg(long, env = "LOGSINKFS_WRITER_ID", value_name = "NAME", value_parser = parse_writer, help_heading = "Spool")]
    pub writer_id: Option<String>,
    /// What fsync waits for: the spool's disk, or S3.
    #[arg(long, env = "LOGSINKFS_FSYNC", value_enum, default_value = "spool", help_heading = "Spool")]
    pub fsync: FsyncLevel,
    /// How long the daemon goes on uploading at shutdown before it leaves the rest in the spool.
    #[arg(long, env = "LOGSINKFS_SHUTDOWN_TIMEOUT", value_name = "TIME", default_value = "25s", value_parser = parse_duration, help_heading = "Spool")]
    pub shutdown_timeout: Duration,

    /// How appends become segments.
    #[command(flatten)]
    pub segments: SegmentArgs,
    /// Which stream a path adds to. The first rule that matches the whole path applies; named groups become labels. May
    /// be repeated (in the environment: one per line).
    #[arg(long, env = "LOGSINKFS_STREAM_MAP", value_name = "REGEX=REPLACEMENT", value_parser = StreamRule::parse, value_delimiter = '\n', help_heading = "Segments")]
    pub stream_map: Vec<StreamRule>,
    /// Label added to the metadata of objects, such as cluster=blue. May be repeated (in the environment: one per
    /// line).
    #[arg(long, env = "LOGSINKFS_LABEL", value_name = "NAME=VALUE", value_parser = parse_label, value_delimiter = '\n', help_heading = "Segments")]
    pub label: Vec<(String, String)>,
    /// What directories show: only live files, or also what the bucket holds.
    #[arg(long, env = "LOGSINKFS_VIEW", value_enum, default_value = "bucket", help_heading = "View")]
    pub view: View,
    /// Files that stay local and are never uploaded, as globs separated by spaces. `+GLOB` adds to the default.
    #[arg(long, env = "LOGSINKFS_EXCLUDE", value_name = "GLOB", default_value = globs::EXCLUDE, value_delimiter = ' ', help_heading = "View")]
    pub exclude: Vec<String>,
    /// Files that are uploaded whole when they are closed and quiet (heap dumps, recordings, cores), as globs separated
    /// by spaces; so is every file that is written elsewhere than at its end. `+GLOB` adds to the default; `none` keeps
    /// all of these local.
    #[arg(long, env = "LOGSINKFS_WHOLE", value_name = "GLOB", default_value = globs::WHOLE, value_delimiter = ' ', help_heading = "View")]
    pub whole: Vec<String>,
    /// Refuse writes that are not at the end of the file (EINVAL) instead of making it a whole file.
    #[arg(long, env = "LOGSINKFS_STRICT_APPEND", help_heading = "View")]
    pub strict_append: bool,
    /// How long a closed and fully uploaded log stays in the live view.
    #[arg(long, env = "LOGSINKFS_RETIRE_AFTER", value_name = "TIME", default_value = "24h", value_parser = parse_duration, help_heading = "View")]
    pub retire_after: Duration,
    /// How long a listing of the bucket is cached: a time, `minimal` or `indefinite`.
    #[arg(long, env = "LOGSINKFS_METADATA_TTL", value_name = "TTL", default_value = "60s", value_parser = parse_ttl, help_heading = "View")]
    pub metadata_ttl: Duration,
    /// How long the absence of a name in the bucket is cached. Default: same as --metadata-ttl.
    #[arg(long, env = "LOGSINKFS_NEGATIVE_METADATA_TTL", value_name = "TTL", value_parser = parse_ttl, help_heading = "View")]
    pub negative_metadata_ttl: Option<Duration>,
    /// Owner of everything that was not created in the mount. Default: the user who mounts.
    #[arg(long, env = "LOGSINKFS_UID", value_name = "UID", help_heading = "View")]
    pub uid: Option<u32>,
    /// Group of everything that was not created in the mount. Default: the group of the user who mounts.
    #[arg(long, env = "LOGSINKFS_GID", value_name = "GID", help_heading = "View")]
    pub gid: Option<u32>,
    /// Mode of stored objects.
    #[arg(long, env = "LOGSINKFS_FILE_MODE", value_name = "MODE", default_value = "0640", value_parser = writer::parse_mode, help_heading = "View")]
    pub file_mode: u32,
    /// Mode of the mount's root and of stored prefixes.
    #[arg(long, env = "LOGSINKFS_DIR_MODE", value_name = "MODE", default_value = "0750", value_parser = writer::parse_mode, help_heading = "View")]
    pub dir_mode: u32,
    /// Allow access by users other than the one who mounts.
    #[arg(long, env = "LOGSINKFS_ALLOW_OTHER", help_heading = "View")]
    pub allow_other: bool,

    /// How a reader mount reads.
    #[command(flatten)]
    pub reader: ReaderArgs,
    /// How S3 is reached, and how it stores.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// Refuse to start if the bucket cannot be written to. Otherwise the mount serves, spools and uploads once it can.
    #[arg(long, env = "LOGSINKFS_REQUIRE_BUCKET", display_order = LAST, help_heading = "S3")]
    pub require_bucket: bool,

    /// User (and group) that the worker runs as when root starts it: names or numbers, `USER[:GROUP]`. Default: the
    /// owner of the spool, unless that is root; else the user logsinkfs, or uid 65532.
    #[arg(long, env = "LOGSINKFS_RUN_AS", value_name = "USER", value_parser = parse_user, help_heading = "Processes")]
    pub run_as: Option<RunAs>,
    /// Address of the HTTP admin endpoint: /healthz, /readyz, /metrics (Prometheus) and /status (JSON). Default: none.
    #[arg(long, env = "LOGSINKFS_ADMIN", value_name = "IP:PORT", help_heading = "Processes")]
    pub admin: Option<SocketAddr>,
    /// Create the mount point if it is missing, and guard it: writes to it while nothing is mounted are refused. `mode`
    /// removes write permission; `immutable` stops root too (chattr +i). Needs root.
    #[arg(long, env = "LOGSINKFS_GUARD_MOUNTPOINT", value_enum, help_heading = "Processes")]
    pub guard_mountpoint: Option<Guard>,
    /// Serve from a single process, for debugging: when it exits, the mount ends.
    #[arg(long, env = "LOGSINKFS_NO_KEEPER", help_heading = "Processes")]
    pub no_keeper: bool,
    /// The keeper's control socket, for status, flush, umount, upgrade and --attach. Default: one per mount, for root
    /// under /run/logsinkfs.
    #[arg(long, env = "LOGSINKFS_KEEPER_SOCKET", value_name = "PATH", help_heading = "Processes")]
    pub keeper_socket: Option<PathBuf>,
    /// How long a mount may be without a serving worker. After that the keeper ends the mount, and waiting programs get
    /// errors; until then they cannot be killed.
    #[arg(long, env = "LOGSINKFS_WORKER_PATIENCE", value_name = "TIME", default_value = "30s", value_parser = parse_duration, help_heading = "Processes")]
    pub worker_patience: Duration,
    /// Run only the keeper: make the mount and hold it for a worker started separately with --attach.
    #[arg(long, env = "LOGSINKFS_HOLD", conflicts_with_all = ["no_keeper", "attach"], requires = "keeper_socket", help_heading = "Processes")]
    pub hold: bool,
    /// Run only the worker: serve the mount held by the keeper at --keeper-socket.
    #[arg(
        long,
        env = "LOGSINKFS_ATTACH",
        conflicts_with = "no_keeper",
        requires = "keeper_socket",
        help_heading = "Processes"
    )]
    pub attach: bool,

    /// Which configuration files are read.
    #[command(flatten)]
    pub files: FilesArgs,
    /// Stay in the foreground.
    #[arg(short, long, env = "LOGSINKFS_FOREGROUND")]
    pub foreground: bool,
    /// What is logged.
    #[command(flatten)]
    pub log: LogArgs,
}
