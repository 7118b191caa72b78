//! Flags of the commands that talk to a running mount: `status`, `flush`, `umount` and `upgrade`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::types::duration::parse_duration;

/// Which mount is meant.
#[derive(Debug, Args)]
pub struct MountedArgs {
    /// The mount's directory. Default: the only mount that there is.
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: Option<PathBuf>,
    /// The keeper's socket, when the mount was given one.
    #[arg(long, env = "LOGSINKFS_KEEPER_SOCKET", value_name = "PATH")]
    pub keeper_socket: Option<PathBuf>,
}

/// `logsinkfs status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The mount.
    #[command(flatten)]
    pub mounted: MountedArgs,
    /// Say it in JSON, as the admin endpoint does.
    #[arg(long)]
    pub json: bool,
    /// Name the logs that S3 lacks something of, those with most unsent bytes first, and the files that stay local.
    #[arg(long)]
    pub logs: bool,
    /// How many of each are named.
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
    /// How long to wait at most; exit code 3 then. Default: as long as it takes.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "no_wait")]
    pub timeout: Option<Duration>,
    /// Do not show on the terminal what is waited for.
    #[arg(long, short)]
    pub quiet: bool,
}

/// `logsinkfs umount`.
#[derive(Debug, Args)]
pub struct UmountArgs {
    /// The mount's directory.
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
    /// The keeper's socket, when the mount was given one.
    #[arg(long, env = "LOGSINKFS_KEEPER_SOCKET", value_name = "PATH")]
    pub keeper_socket: Option<PathBuf>,
    /// How long the upload may take at most; what S3 does not have by then stays in the spool, exit code 3. Default: as
    /// long as it takes. Ctrl-C ends the wait alone: the daemon goes on, and ends when S3 has everything.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Do not show on the terminal what is waited for.
    #[arg(long, short)]
    pub quiet: bool,
}
