//! Why the system refuses a process its user, or a directory its owner; with a hint for the user.

use std::path::PathBuf;

use crate::types::processes::RunAs;

/// A process cannot become its user, or a directory cannot be made ready for it.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// `--run-as` and not root.
    #[error("only root can run the worker as another user (uid {})", .0.uid)]
    NotRoot(RunAs),
    /// The worker cannot become its user.
    #[error("the worker cannot become uid {}, gid {}: {source}", user.uid, user.gid)]
    User {
        /// Who it was to be.
        user: RunAs,
        /// Why not.
        source: std::io::Error,
    },
    /// A directory cannot be made ready for the worker.
    #[error("the directory {0} cannot be made ready: {1}")]
    Directory(PathBuf, #[source] std::io::Error),
}

impl SystemError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            SystemError::NotRoot(_) => "leave --run-as away, or start the program as that user",
            SystemError::User { .. } => "--run-as chooses another user; --run-as root stays root, without capabilities",
            SystemError::Directory(..) => {
                "choose a directory that the worker's user may own, or another user: --spool-dir, --run-as"
            }
        }
    }
}
