//! Flags of the commands that talk to a running mount: `status`, `flush`, `umount` and `upgrade`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::types::duration::parse_duration;

/// Which mount is meant.
#[derive(Debug, Args)]
pub struct MountedArgs {
    /// The mount's directory. Default: the only mount, if there is just one.
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: Option<PathBuf>,
    /// The keeper's socket, if the mount was given one.
    #[arg(long, env = "LOGSINKFS_KEEPER_SOCKET", value_name = "PATH")]
    pub keeper_socket: Option<PathBuf>,
}

/// `logsinkfs status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The mount.
    #[command(flatten)]
    pub mounted: MountedArgs,
    /// Print JSON, as the admin endpoint does.
    #[arg(long)]
    pub json: bool,
    /// List the logs that are not fully in S3, those with the most unsent bytes first, and the files that stay local.
    #[arg(long)]
    pub logs: bool,
    /// How many of each to list.
    #[arg(long, value_name = "N", default_value_t = 20, requires = "logs")]
    pub top: usize,
}

/// `logsinkfs flush`.
#[derive(Debug, Args)]
pub struct FlushArgs {
    /// The mount.
    #[command(flatten)]
    pub mounted: MountedArgs,
    /// Do not wait until S3 has everything.
    #[arg(long)]
    pub no_wait: bool,
    /// Wait at most this long, then exit with code 3. Default: as long as it takes.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "no_wait")]
    pub timeout: Option<Duration>,
    /// Do not show progress on the terminal.
    #[arg(long, short)]
    pub quiet: bool,
}

/// `logsinkfs umount`.
#[derive(Debug, Args)]
pub struct UmountArgs {
    /// The mount's directory.
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
    /// The keeper's socket, if the mount was given one.
    #[arg(long, env = "LOGSINKFS_KEEPER_SOCKET", value_name = "PATH")]
    pub keeper_socket: Option<PathBuf>,
    /// Maximum time for the upload; what S3 lacks by then stays in the spool (exit code 3). Default: as long as it
    /// takes. Ctrl-C ends only the wait: the daemon goes on uploading, and exits when S3 has everything.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Do not show progress on the terminal.
    #[arg(long, short)]
    pub quiet: bool,
}
