//! What is wrong with configuration files and environment variables.

use std::path::PathBuf;

use crate::flags::options::OptionError;

/// A configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory cannot be read.
    #[error("the configuration {0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// A file is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// File and line.
        place: String,
        /// What the parser says.
        message: String,
    },
    /// A key that no flag has.
    #[error("{place}: there is no key `{key}`{}", hinted(nearest.as_deref()))]
    UnknownKey {
        /// File and line.
        place: String,
        /// The key.
        key: String,
        /// One that is like it.
        nearest: Option<String>,
    },
    /// A value of a file or variable.
    #[error("{place}: {reason}")]
    Value {
        /// The variable, or file, line and key.
        place: String,
        /// What is expected.
        reason: String,
    },
    /// The options of `mount -o`.
    #[error(transparent)]
    Options(#[from] OptionError),
}

impl ConfigError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            ConfigError::Unreadable(..) => {
                "make it readable for the user who starts this, or name another with --config"
            }
            ConfigError::Syntax { .. } => "a configuration is TOML: lines of the form key = \"value\"",
            ConfigError::UnknownKey { .. } => {
                "keys are the flags of `logsinkfs mount --help` and `logsinkfs recover --help` without their dashes: \
                 spool-max = \"2GiB\""
            }
            ConfigError::Value { .. } => "`logsinkfs config` shows each value and where it comes from",
            ConfigError::Options(e) => e.hint(),
        }
    }
}

fn hinted(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}
