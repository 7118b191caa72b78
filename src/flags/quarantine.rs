//! The flags of `logsinkfs quarantine`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `logsinkfs quarantine`.
#[derive(Debug, Args)]
pub struct QuarantineArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: QuarantineCommand,
}

/// What is done with what was quarantined.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List quarantined files, with reason and time, and dropped ranges. Exit code 3: there are some.
    List {
        /// The spool.
        #[command(flatten)]
        place: PlaceArgs,
        /// Print a line of JSON for each file and each range.
        #[arg(long)]
        json: bool,
    },
    /// Retry the upload of quarantined files, through the mount that uses the spool. Uploaded files are no longer
    /// counted; nothing is overwritten. Exit code 3: files stay quarantined, and are listed with the reason.
    Retry {
        /// The spool.
        #[command(flatten)]
        place: PlaceArgs,
        /// Names of files, as `list` prints them. Default: all.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Copy the whole quarantine into a directory, as ordinary files.
    Export {
        /// The spool.
        #[command(flatten)]
        place: PlaceArgs,
        /// The directory; created if missing.
        #[arg(value_name = "DIR")]
        to: PathBuf,
        /// Remove the copied files from the quarantine: they are no longer counted, and a stop exits with 0.
        #[arg(long)]
        remove: bool,
    },
}

/// Which spool is meant.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// A spool, or the directory of a mount.
    #[arg(value_name = "SPOOL")]
    pub place: PathBuf,
    /// The keeper's socket, if the mount was given one.
    #[arg(long, env = "LOGSINKFS_KEEPER_SOCKET", value_name = "PATH")]
    pub keeper_socket: Option<PathBuf>,
}
