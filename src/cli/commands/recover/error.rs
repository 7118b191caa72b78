//! Why a spool is not recovered, with a hint for the user.

use std::path::PathBuf;

use crate::worker::error::DaemonError;

/// A spool is not recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// It cannot be worked on, as a mount could not.
    #[error(transparent)]
    Daemon(DaemonError),
    /// There is nothing to recover.
    #[error("{0} is no spool: {1}")]
    NoSpool(PathBuf, String),
    /// A spool that is not to be trusted with the rights of who would recover it.
    #[error("the spool {0} is left alone: {1}")]
    Foreign(PathBuf, String),
    /// A spool that does not say any more what it belongs to.
    #[error("the spool {dir} is left alone: its spool.json names {named}, and the mount that used it was of {mounted}")]
    Altered {
        /// The spool.
        dir: PathBuf,
        /// What it says.
        named: String,
        /// What the mount has kept.
        mounted: String,
    },
}

impl<E> From<E> for RecoverError
where
    DaemonError: From<E>,
{
    fn from(e: E) -> RecoverError {
        RecoverError::Daemon(e.into())
    }
}

impl RecoverError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            RecoverError::Daemon(e) => e.hint(),
            RecoverError::NoSpool(..) => "name the directory that a mount was given with --spool-dir, or one above it",
            RecoverError::Foreign(..) => {
                "name its bucket and prefix with --source if that is where it is to go, or recover it as its owner"
            }
            RecoverError::Altered { .. } => {
                "its owner can have changed it: set it right; or, where it is right as it is, remove what the mount kept (setfattr -x trusted.logsinkfs.source SPOOL)"
            }
        }
    }
}
