//! Why a mount could not be made or held, with a hint for the user.

use std::path::PathBuf;
use std::time::Duration;

use crate::spool::SpoolError;
use crate::sys::error::SystemError;
use crate::sys::mountpoint::MountpointError;

/// A mount could not be made, or not be held. Nothing here is about S3: the supervisor does not know it.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The mount point.
    #[error(transparent)]
    Mountpoint(#[from] MountpointError),
    /// The spool does not belong to this mount.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The user or the directory of the worker.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The kernel refuses the mount.
    #[error("mounting on {0} failed: {1}")]
    Mount(PathBuf, #[source] std::io::Error),
    /// The keeper's socket.
    #[error("the keeper's socket {0} cannot be used: {1}")]
    Socket(PathBuf, #[source] std::io::Error),
    /// A descriptor was given that is no mount.
    #[error("{0} cannot be served: {1}")]
    Descriptor(PathBuf, #[source] std::io::Error),
    /// The first worker did not serve, and said nothing.
    #[error("the worker did not come to serve: {0}")]
    FirstWorker(String),
    /// No worker serves.
    #[error("no worker has served the mount for {0:?}: it is ended, and programs that wait for it get errors")]
    NoWorker(Duration),
    /// The worker died on a kernel that cannot send requests again.
    #[error("the worker died ({0}), and this kernel cannot hand its requests to another: the mount is ended")]
    NoResend(String),
    /// The system refuses threads or signals.
    #[error("the daemon could not be started: {0}")]
    Io(#[from] std::io::Error),
}

impl SupervisorError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            SupervisorError::Mountpoint(e) => e.hint(),
            SupervisorError::Spool(e) => e.hint(),
            SupervisorError::System(e) => e.hint(),
            SupervisorError::Mount(..) => {
                "FUSE is needed: /dev/fuse, and the package fuse3 for ordinary users; --allow-other needs user_allow_other in /etc/fuse.conf then"
            }
            SupervisorError::Socket(..) => "choose another place: --keeper-socket",
            SupervisorError::Descriptor(..) => {
                "/dev/fd/N stands for an open /dev/fuse that is mounted and that nobody serves yet"
            }
            SupervisorError::FirstWorker(_) => "look at what it logged before",
            SupervisorError::NoWorker(_) => {
                "look at what the worker logged before; the spool keeps everything, and the next mount uploads it"
            }
            SupervisorError::NoResend(_) => {
                "mount again: the spool keeps everything; Linux 6.9 or later keeps the mount"
            }
            SupervisorError::Io(_) => "look at the limits of this process",
        }
    }
}
