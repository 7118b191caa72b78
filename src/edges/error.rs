//! Why a mount could not be made, and what a person can do about it.

use std::path::PathBuf;
use std::time::Duration;

use super::mountpoint::MountpointError;
use crate::local::spool::SpoolError;
use crate::tasks::registrar::RegistrationError;
use crate::values::errors::LocalError;

/// Longest wait for the bucket under `--require-bucket`.
pub const REQUIRE_PATIENCE: Duration = Duration::from_secs(20);

/// A mount could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The mount point.
    #[error(transparent)]
    Mountpoint(#[from] MountpointError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The spool's disk.
    #[error("the spool cannot be used: {0}")]
    Local(#[from] LocalError),
    /// The embedded bucket.
    #[error("the embedded bucket cannot be started: {0}")]
    Embedded(String),
    /// `--require-bucket` and no bucket.
    #[error("the bucket cannot be used: {0}")]
    Bucket(#[source] RegistrationError),
    /// `--require-bucket` and no answer.
    #[error("the bucket did not answer within {REQUIRE_PATIENCE:?}")]
    NoAnswer,
    /// The kernel refuses the mount.
    #[error("mounting on {0} failed: {1}")]
    Mount(PathBuf, #[source] std::io::Error),
    /// The system refuses threads or signals.
    #[error("the daemon could not be started: {0}")]
    System(#[from] std::io::Error),
}

impl DaemonError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            DaemonError::Mountpoint(e) => e.hint(),
            DaemonError::Spool(e) => e.hint(),
            DaemonError::Local(_) => "the spool needs a local disk with room: --spool-dir",
            DaemonError::Embedded(_) => "choose a directory that this user can write",
            DaemonError::Bucket(RegistrationError::Bucket(e)) => e.kind.hint(),
            DaemonError::Bucket(RegistrationError::Local(_)) => "look at the local file system",
            DaemonError::NoAnswer => {
                "check --endpoint-url and the network, or leave --require-bucket away: the mount then serves and uploads later"
            }
            DaemonError::Mount(..) => {
                "FUSE is needed: /dev/fuse, and the package fuse3 for ordinary users; --allow-other needs user_allow_other in /etc/fuse.conf then"
            }
            DaemonError::System(_) => "look at the limits of this process",
        }
    }
}
