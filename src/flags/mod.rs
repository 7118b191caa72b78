//! The command line: flags, their environment variables, and the words that users type. `settings` here turns them into
//! `Settings`; what they mean is decided in `settings::writer`.
//!
//! Map: `s3`, `endpoints`, `objects`, `segments` and `read` hold flags that commands share; `mount`, `reader`,
//! `recover`, `ask` and this file those of single commands; `options` translates the options of mount(8) into flags;
//! `words` parses values that clap cannot, `settings` makes settings of them.
//!
//! - `quarantine`, `estimate`: their flags; `generated` makes man pages and completions of all; `files` names
//!   configuration files, `log` says what is logged, `show` is `logsinkfs config`.
//! - `sources`: the order of flags, environment variables, configuration files and defaults.

mod ask;
mod endpoints;
mod estimate;
mod files;
mod generated;
mod log;
mod mount;
mod objects;
mod options;
mod quarantine;
mod read;
mod reader;
mod recover;
mod s3;
mod segments;
mod settings;
mod show;
mod sources;
mod words;

use std::ffi::OsString;
#[cfg(feature = "embedded-bucket")]
use std::net::SocketAddr;
#[cfg(feature = "embedded-bucket")]
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::ask::{FlushArgs, MountedArgs, StatusArgs, UmountArgs};
pub use self::endpoints::EndpointArgs;
pub use self::estimate::EstimateArgs;
pub use self::generated::{CompletionsArgs, ManArgs, write_man_pages};
pub use self::mount::MountArgs;
pub use self::objects::ObjectArgs;
pub use self::options::{Helper, OptionError};
pub use self::quarantine::{PlaceArgs, QuarantineArgs, QuarantineCommand};
pub use self::read::{CatArgs, LineArgs, Lines, LocationArgs, LocationsArgs, LsArgs, SpanArgs, TailArgs};
pub use self::reader::ReaderArgs;
pub use self::recover::RecoverArgs;
pub use self::s3::{S3Args, StorageArgs};
pub use self::segments::SegmentArgs;
pub use self::settings::UsageError;
pub use self::show::{ShowArgs, Shown};
pub use self::sources::{ConfigError, Origin, Origins};
use crate::types::build;

/// An S3 bucket as a log directory.
///
/// Appended data is rotated into uniquely named objects that are never overwritten. Whatever write(2) has accepted
/// survives restarts of the application, kill -9 of this program and hours without S3.
#[derive(Debug, Parser)]
#[command(name = "logsinkfs", version = build::VERSION_AND_COMMIT, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The command that was given: flags and `mount -o` options first, then environment variables, then configuration
    /// files. Ends the process where it is wrong in a way that is told by itself, or asks for help.
    pub fn read() -> Result<(Cli, Origins), ConfigError> {
        let words: Vec<OsString> = std::env::args_os().collect();
        let Some((matches, origins)) = sources::read(&Cli::command(), words.clone())? else {
            return Ok((Cli::parse_from(words), Origins::default()));
        };
        let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.format(&mut Cli::command()).exit());
        Ok((cli, origins))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mount a bucket, or a prefix of one, as a log directory.
    Mount(Box<MountArgs>),
    /// Unmount, and return when S3 has everything and the daemon has exited. Exit code 3: something is left in the
    /// spool.
    ///
    /// The mount is detached at once, even if programs still have it open; those are listed. A dead mount is unmounted
    /// too (exit code 1: what S3 has is unknown). A mount with --no-keeper cannot be asked, and stays mounted.
    Umount(UmountArgs),
    /// Show the options of a mount that are in force, and where each comes from: a flag, an environment variable, a
    /// line of a configuration file, or the default. Takes the flags of mount.
    Config(ShowArgs),
    /// Show the state of a mount. Exit code 0: programs can write to it.
    Status(StatusArgs),
    /// Seal and upload everything now, and return when S3 has it.
    Flush(FlushArgs),
    /// Replace a mount's worker with the program now on disk; no write fails or is lost.
    Upgrade(MountedArgs),
    /// Upload what is left in spools that no mount uses any more.
    Recover(Box<RecoverArgs>),
    /// List, retry or copy what a spool has quarantined: files that could not be used, or not uploaded as sealed.
    Quarantine(QuarantineArgs),
    /// Check that all segments of the streams, and the whole files, in a bucket are there and intact.
    ///
    /// Reports ranges that are missing between two segments of a writer, missing before its first segment (expired),
    /// dropped and marked (dropped) or stored twice, versions of whole files that are half written (partial), and
    /// objects that are neither. Exit code 0: complete, as far as the bucket can tell; 1: something is lost,
    /// overlapping or damaged, there is no log or whole file at all, or the check failed. A bucket cannot tell whether
    /// the end of a generation is missing: it may still be in a spool.
    Verify(Box<VerifyArgs>),
    /// Print streams: the lines of all their writers and restarts, joined in time order; or the newest version of a
    /// whole file.
    Cat(Box<CatArgs>),
    /// Print the last lines of streams and whole files; with -f, also new ones as they arrive.
    Tail(Box<TailArgs>),
    /// List streams, whole files, directories and other objects under a path.
    Ls(Box<LsArgs>),
    /// Estimate the objects, requests and cost of logs that are written steadily.
    Estimate(EstimateArgs),
    /// Write the man pages into a directory.
    Man(ManArgs),
    /// Print the completions for a shell.
    Completions(CompletionsArgs),
    /// Serve an embedded bucket on loopback, for trials and tests.
    #[cfg(feature = "embedded-bucket")]
    Bucket(BucketArgs),
}

/// `logsinkfs bucket`.
#[cfg(feature = "embedded-bucket")]
#[derive(Debug, Args)]
pub struct BucketArgs {
    /// Directory that holds the objects.
    pub dir: PathBuf,
    /// Loopback address to serve on; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Name of the bucket.
    #[arg(long, value_name = "BUCKET", default_value = "logs")]
    pub name: String,
}

/// `logsinkfs verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The source that was mounted, or one stream or whole file of it.
    #[command(flatten)]
    pub location: LocationArgs,
    /// The only stream or whole file to check, by its path in the mount. Default: all.
    #[arg(value_name = "STREAM")]
    pub stream: Option<OsString>,
    /// Also read every object: decompress it, and compare length, checksum and metadata.
    #[arg(long)]
    pub deep: bool,
    /// Exit with 1 for dropped bytes too (`--when-full`).
    #[arg(long)]
    pub strict: bool,
    /// Report in JSON: one line for each stream, each whole file, each finding, and the total.
    #[arg(long)]
    pub json: bool,
}
