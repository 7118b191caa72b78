//! The flags of what is logged, for every command that serves.

use clap::Args;

use crate::sys::telemetry::{LogFormat, Logging, parse_level};

/// What is logged, and how.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// error, warn, info, debug, trace, or a filter such as logsinkfs::upload=debug.
    #[arg(long, env = "LOGSINKFS_LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    log_level: String,
    /// Same as --log-level debug, which it takes precedence over.
    #[arg(short, long, env = "LOGSINKFS_DEBUG")]
    debug: bool,
    /// How lines are written.
    #[arg(long, env = "LOGSINKFS_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
}

impl LogArgs {
    /// What the flags mean.
    pub fn logging(&self) -> Logging {
        let level = if self.debug { "debug".to_owned() } else { self.log_level.clone() };
        Logging { level, format: self.log_format }
    }
}
