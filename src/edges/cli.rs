//! The command line: flags and their environment twins, turned into `Settings`. Owns the words that users
//! type; what they mean is decided in `values::settings`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::bytes::Regex;

use super::telemetry::parse_level;
use crate::values::naming::Form;
use crate::values::rotation::Rules;
use crate::values::settings::{
    self, FsyncLevel, Ownership, Routing, S3Settings, Segmenting, Settings, Source, SpoolLimits,
    View, WhenFull,
};
use crate::values::stream_map::StreamRule;
use crate::values::time::PartitionTemplate;

/// Names that stay local unless `--exclude` says otherwise; the last two are the copies that
/// copytruncate makes.
const EXCLUDED: &str =
    "*.gz *.zst *.bz2 *.zip *.pid *.lock *.swp *.hprof core.* *.log.[0-9] *.log.[0-9][0-9]";

/// An S3 bucket as a log directory.
///
/// Appends become rotated, uniquely named objects that are never overwritten; what write(2)
/// accepted survives restarts of the application, kill -9 of this program and hours without S3.
#[derive(Debug, Parser)]
#[command(name = "logsinkfs", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mount a bucket, or a prefix of one, as a log directory.
    Mount(Box<MountArgs>),
    /// Serve an embedded bucket on loopback, for trying things out and for tests.
    #[cfg(feature = "embedded-bucket")]
    Bucket(BucketArgs),
}

/// `logsinkfs bucket`.
#[derive(Debug, Args)]
pub struct BucketArgs {
    /// Directory that holds the objects.
    pub dir: PathBuf,
    /// Loopback address to serve on; port 0 takes any.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Name of the bucket.
    #[arg(long, value_name = "BUCKET", default_value = "logs")]
    pub name: String,
}

/// `logsinkfs mount`.
#[derive(Debug, Args)]
pub struct MountArgs {
    /// s3://BUCKET[/PREFIX], or file:///DIR for the embedded bucket.
    #[arg(value_name = "SOURCE", value_parser = Source::parse)]
    pub source: Source,
    /// Directory to mount on.
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,

    /// Where bytes are kept until S3 has confirmed them; the only thing that must survive a crash.
    /// Default: below $XDG_STATE_HOME/logsinkfs (for root /var/lib/logsinkfs), one for each source
    /// and mount point.
    #[arg(long, env = "LOGSINKFS_SPOOL_DIR", value_name = "DIR", help_heading = "Spool")]
    pub spool_dir: Option<PathBuf>,
    /// Most bytes in the spool. Default: 10GiB, or 80 % of its file system if that is less.
    #[arg(long, env = "LOGSINKFS_SPOOL_MAX", value_name = "SIZE", value_parser = settings::parse_size, help_heading = "Spool")]
    pub spool_max: Option<u64>,
    /// Percent of the spool's file system that stay free.
    #[arg(long, env = "LOGSINKFS_SPOOL_MIN_FREE", value_name = "PERCENT", default_value = "15", value_parser = clap::value_parser!(u8).range(0..=90), help_heading = "Spool")]
    pub spool_min_free: u8,
    /// What a write gets when the spool is full of bytes that S3 does not have yet.
    #[arg(
        long,
        env = "LOGSINKFS_WHEN_FULL",
        value_enum,
        default_value = "error",
        help_heading = "Spool"
    )]
    pub when_full: WhenFullArg,
    /// Readable part of the writer id in object names. Default: the pod's or the host's name.
    #[arg(long, env = "LOGSINKFS_WRITER_ID", value_name = "NAME", value_parser = parse_writer, help_heading = "Spool")]
    pub writer_id: Option<String>,
    /// What fsync waits for: the spool's disk, or S3.
    #[arg(
        long,
        env = "LOGSINKFS_FSYNC",
        value_enum,
        default_value = "spool",
        help_heading = "Spool"
    )]
    pub fsync: FsyncArg,
    /// How long a stopping daemon uploads before it leaves the rest in the spool.
    #[arg(long, env = "LOGSINKFS_SHUTDOWN_TIMEOUT", value_name = "TIME", default_value = "25s", value_parser = settings::parse_duration, help_heading = "Spool")]
    pub shutdown_timeout: Duration,

    /// Seal a segment at this size.
    #[arg(long, env = "LOGSINKFS_ROTATE_SIZE", value_name = "SIZE", default_value = "64MiB", value_parser = settings::parse_rotate_size, help_heading = "Segments")]
    pub rotate_size: u64,
    /// Seal a segment this long after its first byte, at the latest.
    #[arg(long, env = "LOGSINKFS_ROTATE_INTERVAL", value_name = "TIME", default_value = "300s", value_parser = settings::parse_interval, help_heading = "Segments")]
    pub rotate_interval: Duration,
    /// Seal a segment when the file is closed and quiet for this long.
    #[arg(long, env = "LOGSINKFS_ROTATE_IDLE", value_name = "TIME", default_value = "5s", value_parser = settings::parse_duration, help_heading = "Segments")]
    pub rotate_idle: Duration,
    /// How a record begins, so that records of several lines stay in one segment.
    #[arg(long, env = "LOGSINKFS_RECORD_START", value_name = "REGEX", value_parser = parse_regex, help_heading = "Segments")]
    pub record_start: Option<Regex>,
    /// strftime template (UTC) of the folder between stream and segment; may be empty.
    #[arg(long, env = "LOGSINKFS_PARTITION", value_name = "STRFTIME", default_value = "dt=%Y-%m-%d/hour=%H", value_parser = PartitionTemplate::parse, help_heading = "Segments")]
    pub partition: PartitionTemplate,
    /// Which stream a path adds to; the first rule that matches the whole path decides, named
    /// groups become labels. May be given several times (in the environment: one a line).
    #[arg(long, env = "LOGSINKFS_STREAM_MAP", value_name = "REGEX=REPLACEMENT", value_parser = StreamRule::parse, value_delimiter = '\n', help_heading = "Segments")]
    pub stream_map: Vec<StreamRule>,
    /// How objects are compressed.
    #[arg(
        long,
        env = "LOGSINKFS_COMPRESSION",
        value_enum,
        default_value = "gzip",
        help_heading = "Segments"
    )]
    pub compression: CompressionArg,

    /// What directories show: live files only, or also what the bucket holds.
    #[arg(
        long,
        env = "LOGSINKFS_VIEW",
        value_enum,
        default_value = "bucket",
        help_heading = "View"
    )]
    pub view: ViewArg,
    /// Names of files that stay local and are never uploaded; several are separated by spaces.
    #[arg(long, env = "LOGSINKFS_EXCLUDE", value_name = "GLOB", default_value = EXCLUDED, value_delimiter = ' ', help_heading = "View")]
    pub exclude: Vec<String>,
    /// Refuse writes that are not at the end (EINVAL) instead of appending them.
    #[arg(long, env = "LOGSINKFS_STRICT_APPEND", help_heading = "View")]
    pub strict_append: bool,
    /// How long a log that was closed and uploaded stays in the live view.
    #[arg(long, env = "LOGSINKFS_RETIRE_AFTER", value_name = "TIME", default_value = "24h", value_parser = settings::parse_duration, help_heading = "View")]
    pub retire_after: Duration,
    /// How long a listing of the bucket is believed: a time, `minimal` or `indefinite`.
    #[arg(long, env = "LOGSINKFS_METADATA_TTL", value_name = "TTL", default_value = "60s", value_parser = settings::parse_ttl, help_heading = "View")]
    pub metadata_ttl: Duration,
    /// Owner shown for what nobody made in the mount. Default: who mounts.
    #[arg(long, env = "LOGSINKFS_UID", value_name = "UID", help_heading = "View")]
    pub uid: Option<u32>,
    /// Group shown for what nobody made in the mount. Default: that of who mounts.
    #[arg(long, env = "LOGSINKFS_GID", value_name = "GID", help_heading = "View")]
    pub gid: Option<u32>,
    /// Mode of stored objects.
    #[arg(long, env = "LOGSINKFS_FILE_MODE", value_name = "MODE", default_value = "0644", value_parser = settings::parse_mode, help_heading = "View")]
    pub file_mode: u32,
    /// Mode of the mount's root and of stored prefixes.
    #[arg(long, env = "LOGSINKFS_DIR_MODE", value_name = "MODE", default_value = "0755", value_parser = settings::parse_mode, help_heading = "View")]
    pub dir_mode: u32,
    /// Let other users than the one who mounts in.
    #[arg(long, env = "LOGSINKFS_ALLOW_OTHER", help_heading = "View")]
    pub allow_other: bool,

    /// Region of the bucket. Default: the SDK's chain.
    #[arg(long, env = "LOGSINKFS_REGION", help_heading = "S3")]
    pub region: Option<String>,
    /// Profile of the shared AWS configuration.
    #[arg(long, env = "LOGSINKFS_PROFILE", help_heading = "S3")]
    pub profile: Option<String>,
    /// Endpoint of another S3 service than Amazon's.
    #[arg(long, env = "LOGSINKFS_ENDPOINT_URL", value_name = "URL", value_parser = parse_url, help_heading = "S3")]
    pub endpoint_url: Option<String>,
    /// Address the bucket in the path instead of the host name.
    #[arg(long, env = "LOGSINKFS_FORCE_PATH_STYLE", help_heading = "S3")]
    pub force_path_style: bool,
    /// Role to assume with the chain's credentials.
    #[arg(long, env = "LOGSINKFS_ROLE_ARN", value_name = "ARN", help_heading = "S3")]
    pub role_arn: Option<String>,
    /// Server-side encryption: AES256, aws:kms or aws:kms:dsse.
    #[arg(long, env = "LOGSINKFS_SSE", value_name = "TYPE", value_parser = ["AES256", "aws:kms", "aws:kms:dsse"], help_heading = "S3")]
    pub sse: Option<String>,
    /// Key for aws:kms.
    #[arg(
        long,
        env = "LOGSINKFS_SSE_KMS_KEY_ID",
        value_name = "KEY",
        requires = "sse",
        help_heading = "S3"
    )]
    pub sse_kms_key_id: Option<String>,
    /// Storage class of new objects.
    #[arg(long, env = "LOGSINKFS_STORAGE_CLASS", value_name = "CLASS", help_heading = "S3")]
    pub storage_class: Option<String>,
    /// Account that must own the bucket.
    #[arg(
        long,
        env = "LOGSINKFS_EXPECTED_BUCKET_OWNER",
        value_name = "ACCOUNT",
        help_heading = "S3"
    )]
    pub expected_bucket_owner: Option<String>,
    /// Refuse to start when the bucket cannot be written to. Else the mount serves, spools and
    /// uploads when it can.
    #[arg(long, env = "LOGSINKFS_REQUIRE_BUCKET", help_heading = "S3")]
    pub require_bucket: bool,

    /// Stay in the foreground.
    #[arg(short, long, env = "LOGSINKFS_FOREGROUND")]
    pub foreground: bool,
    /// error, warn, info, debug, trace, or a filter such as logsinkfs::tasks=debug.
    #[arg(long, env = "LOGSINKFS_LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: String,
}

/// `--view`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ViewArg {
    /// Live files only; S3 is asked for nothing but PUTs.
    Live,
    /// Live files and what the bucket holds.
    Bucket,
}

/// `--fsync`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FsyncArg {
    /// The spool's disk.
    Spool,
    /// S3's confirmation.
    S3,
}

/// `--when-full`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum WhenFullArg {
    /// The writer waits, up to 30 s.
    Block,
    /// ENOSPC at once.
    Error,
}

/// `--compression`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CompressionArg {
    /// What every log tool reads.
    Gzip,
    /// Smaller and faster.
    Zstd,
    /// As appended.
    None,
}

/// A value that clap could not check alone is wrong.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// A glob is wrong.
    #[error("--exclude: {0}")]
    Exclude(#[from] globset::Error),
    /// There is no place for the spool.
    #[error("no --spool-dir is given, and neither XDG_STATE_HOME nor HOME says where to put one")]
    NoSpoolDir,
}

impl MountArgs {
    /// The settings that the flags mean.
    pub fn settings(self) -> Result<Settings, UsageError> {
        let spool_dir = match self.spool_dir {
            Some(dir) => dir,
            None => default_spool_dir(&self.source, &self.mountpoint)?,
        };
        let uid = self.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let gid = self.gid.unwrap_or_else(|| rustix::process::getegid().as_raw());
        Ok(Settings {
            source: self.source,
            mountpoint: self.mountpoint,
            spool_dir,
            writer_name: self.writer_id.unwrap_or_else(readable_name),
            view: match self.view {
                ViewArg::Live => View::Live,
                ViewArg::Bucket => View::Bucket,
            },
            segmenting: Segmenting {
                rules: Rules {
                    size: self.rotate_size,
                    interval: self.rotate_interval,
                    idle: self.rotate_idle,
                },
                record_start: self.record_start,
                partition: self.partition,
                form: match self.compression {
                    CompressionArg::Gzip => Form::Gzip,
                    CompressionArg::Zstd => Form::Zstd,
                    CompressionArg::None => Form::Plain,
                },
            },
            routing: Routing { stream_map: self.stream_map, exclude: globs(&self.exclude)? },
            limits: SpoolLimits {
                max: self.spool_max,
                min_free_percent: self.spool_min_free,
                when_full: match self.when_full {
                    WhenFullArg::Block => WhenFull::Block,
                    WhenFullArg::Error => WhenFull::Error,
                },
            },
            strict_append: self.strict_append,
            fsync: match self.fsync {
                FsyncArg::Spool => FsyncLevel::Spool,
                FsyncArg::S3 => FsyncLevel::S3,
            },
            retire_after: self.retire_after,
            shutdown_timeout: self.shutdown_timeout,
            metadata_ttl: self.metadata_ttl,
            require_bucket: self.require_bucket,
            s3: S3Settings {
                region: self.region,
                profile: self.profile,
                endpoint_url: self.endpoint_url,
                force_path_style: self.force_path_style,
                role_arn: self.role_arn,
                sse: self.sse,
                sse_kms_key_id: self.sse_kms_key_id,
                storage_class: self.storage_class,
                expected_bucket_owner: self.expected_bucket_owner,
            },
            ownership: Ownership { uid, gid, file_mode: self.file_mode, dir_mode: self.dir_mode },
            allow_other: self.allow_other,
        })
    }
}

/// One spool for each source and mount point, named so that a person finds it.
fn default_spool_dir(source: &Source, mountpoint: &Path) -> Result<PathBuf, UsageError> {
    let from = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let state = match rustix::process::geteuid().is_root() {
        true => PathBuf::from("/var/lib"),
        false => from("XDG_STATE_HOME")
            .or_else(|| from("HOME").map(|home| home.join(".local/state")))
            .ok_or(UsageError::NoSpoolDir)?,
    };
    let point = std::path::absolute(mountpoint).unwrap_or_else(|_| mountpoint.to_owned());
    let both = format!("{}\n{}", source.url(), point.display());
    let readable: String = match source {
        Source::S3 { bucket, .. } => bucket.clone(),
        Source::Embedded { .. } => "embedded".to_owned(),
    };
    let name = format!("{readable}-{:08x}", crc_fast::crc32_iso_hdlc(both.as_bytes()));
    Ok(state.join("logsinkfs").join(name))
}

/// The pod's name where Kubernetes gives one, else the host's (which is the pod's in a pod).
fn readable_name() -> String {
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    pod.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

fn globs(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns.iter().filter(|p| !p.is_empty()) {
        set.add(GlobBuilder::new(pattern).literal_separator(true).build()?);
    }
    set.build()
}

fn parse_regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|e| e.to_string())
}

fn parse_url(text: &str) -> Result<String, String> {
    match text.starts_with("http://") || text.starts_with("https://") {
        true => Ok(text.to_owned()),
        false => Err("an endpoint begins with http:// or https://".to_owned()),
    }
}

fn parse_writer(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match (1..=39).contains(&text.len()) && text.chars().all(legal) {
        true => Ok(text.to_owned()),
        false => {
            Err("a writer's name is 1 to 39 of a-z, 0-9 and `-`; a random suffix follows".into())
        }
    }
}
