//! The flag that names configuration files, for every command that reads them.

use std::path::PathBuf;

use clap::Args;

/// Which configuration files are read; `sources` does so, before the command line is complete.
#[derive(Clone, Debug, Args)]
pub struct FilesArgs {
    /// Configuration file, or directory of such (*.toml). May be repeated: later ones take precedence, and flags and
    /// environment variables over all. Default: /etc/logsinkfs.
    #[arg(long, env = "LOGSINKFS_CONFIG", value_name = "FILE")]
    pub config: Vec<PathBuf>,
}
