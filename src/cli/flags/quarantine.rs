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
    /// Name what was quarantined, why and since when, and what was dropped. Exit code 3: there is something.
    List {
        /// The spool.
        #[command(flatten)]
        place: PlaceArgs,
        /// A line of JSON for each file and each range.
        #[arg(long)]
        json: bool,
    },
    /// Send what was quarantined to S3 once more, through the mount that uses the spool. What S3 has then is counted no
    /// more; nothing is overwritten. Exit code 3: something stays quarantined, and is named with the reason.
    Retry {
        /// The spool.
        #[command(flatten)]
        place: PlaceArgs,
        /// Names of files, as `list` gives them. Default: all.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Copy all of it into a directory, as ordinary files.
    Export {
        /// The spool.
        #[command(flatten)]
        place: PlaceArgs,
        /// The directory, which is made when there is none.
        #[arg(value_name = "DIR")]
        to: PathBuf,
        /// Take out of the quarantine what was copied: it is not counted any more, and a stop exits with 0.
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
    /// The keeper's socket, when the mount was given one.
    #[arg(long, env = "LOGSINKFS_KEEPER_SOCKET", value_name = "PATH")]
    pub keeper_socket: Option<PathBuf>,
}
