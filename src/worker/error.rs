//! Why a mount could not be made or kept, with a hint for the user.

use std::path::PathBuf;
use std::time::Duration;

use crate::spool::SpoolError;
use crate::supervisor::error::SupervisorError;
use crate::sys::error::SystemError;
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::errors::LocalError;
use crate::upload::registrar::RegistrationError;

/// Longest wait for the bucket under `--require-bucket`.
pub const REQUIRE_PATIENCE: Duration = Duration::from_secs(20);

/// A mount could not be made, or not be kept.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The mount, as the keeper finds it.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The user or the directory of the worker.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The spool's disk.
    #[error("the spool cannot be used: {0}")]
    Local(#[from] LocalError),
    /// The embedded bucket.
    #[error("the embedded bucket cannot be started (as uid {uid}): {0}", uid = rustix::process::getuid().as_raw())]
    Embedded(String),
    /// The admin endpoint.
    #[error("the admin endpoint cannot be served: {0}")]
    Admin(String),
    /// `--require-bucket` and no bucket.
    #[error("the bucket cannot be used: {0}")]
    Bucket(#[source] RegistrationError),
    /// `--require-bucket` and no answer.
    #[error("the bucket did not answer within {REQUIRE_PATIENCE:?}")]
    NoAnswer,
    /// A reader mount, and S3 does not let it read.
    #[error("the bucket cannot be read: {0}")]
    Unreadable(#[source] BucketError),
    /// A reader mount and no answer.
    #[error("S3 did not answer within {REQUIRE_PATIENCE:?}")]
    Silent,
    /// A reader mount has no place for what it unpacks.
    #[error("nothing can be unpacked in {0}: {1}")]
    Cache(PathBuf, #[source] std::io::Error),
    /// The worker's user cannot get to a directory.
    #[error("the worker (uid {uid}) cannot reach {path}: it may not search {barrier}")]
    Unreachable {
        /// Who it is.
        uid: u32,
        /// Where it has to go.
        path: PathBuf,
        /// What is in the way.
        barrier: PathBuf,
    },
    /// Another spool than the keeper's.
    #[error("{0} is not the spool of the mount that the keeper holds")]
    OtherSpool(PathBuf),
    /// What keeper and worker say to each other.
    #[error("keeper and worker do not understand each other: {0}")]
    Talk(String),
    /// The keeper has no use for this worker.
    #[error("the keeper refuses this worker: {0}")]
    Refused(String),
    /// `--write-path passthrough`, and the kernel cannot.
    #[error("the kernel cannot write into the spool itself: {0}")]
    NoPassthrough(String),
    /// The system refuses threads or signals.
    #[error("the daemon could not be started: {0}")]
    Io(#[from] std::io::Error),
}

impl DaemonError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            DaemonError::Supervisor(e) => e.hint(),
            DaemonError::System(e) => e.hint(),
            DaemonError::Spool(e) => e.hint(),
            DaemonError::Local(_) => "the spool needs a local disk with room: --spool-dir",
            DaemonError::Embedded(_) => {
                "choose a directory that this user can write, give it to this user (chown -R), or choose another user with --run-as"
            }
            DaemonError::Admin(_) => "choose another address with --admin",
            DaemonError::Bucket(RegistrationError::Bucket(e)) => e.kind.hint(),
            DaemonError::Bucket(RegistrationError::Local(_)) => "look at the local file system",
            DaemonError::Unreadable(e) => e.kind.hint_to_read(),
            DaemonError::Silent => Kind::Unreachable.hint_to_read(),
            DaemonError::NoAnswer => {
                "check --endpoint-url and the network, or leave --require-bucket away: the mount then serves and uploads later"
            }
            DaemonError::Cache(..) => {
                "choose a local directory that this user can write, outside of the mount: --cache-dir"
            }
            DaemonError::Unreachable { .. } => {
                "let others search that directory (chmod o+x), put the spool elsewhere with --spool-dir, or choose another user with --run-as"
            }
            DaemonError::OtherSpool(_) => "--spool-dir must lead keeper and worker to the same directory",
            DaemonError::Talk(_) => "start it without the variable LOGSINKFS_KEEPER_FD",
            DaemonError::Refused(_) => "the keeper's log says more",
            DaemonError::NoPassthrough(_) => "leave --write-path away: the daemon writes where the kernel cannot",
            DaemonError::Io(_) => "look at the limits of this process",
        }
    }
}
