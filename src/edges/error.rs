//! Why a mount could not be made or kept, with a hint for the user.

use std::path::PathBuf;
use std::time::Duration;

use super::mountpoint::MountpointError;
use crate::local::spool::SpoolError;
use crate::tasks::registrar::RegistrationError;
use crate::values::errors::LocalError;
use crate::values::processes::RunAs;
use crate::world::bucket::{BucketError, Kind};

/// Longest wait for the bucket under `--require-bucket`.
pub const REQUIRE_PATIENCE: Duration = Duration::from_secs(20);

/// A mount could not be made, or not be kept.
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
    /// There is nothing to recover.
    #[error("{0} is no spool: {1}")]
    NoSpool(PathBuf, String),
    /// A spool that is not to be trusted with the rights of who would recover it.
    #[error("the spool {0} is left alone: {1}")]
    Foreign(PathBuf, String),
    /// A spool that does not say any more what it belongs to.
    #[error(
        "the spool {dir} is left alone: its spool.json names {named}, and the mount that used it was of {mounted}"
    )]
    Altered {
        /// The spool.
        dir: PathBuf,
        /// What it says.
        named: String,
        /// What the mount has kept.
        mounted: String,
    },
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
    /// The kernel refuses the mount.
    #[error("mounting on {0} failed: {1}")]
    Mount(PathBuf, #[source] std::io::Error),
    /// A descriptor was given that is no mount.
    #[error("{0} cannot be served: {1}")]
    Descriptor(PathBuf, #[source] std::io::Error),
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
    /// The keeper's socket.
    #[error("the keeper's socket {0} cannot be used: {1}")]
    Socket(PathBuf, #[source] std::io::Error),
    /// What keeper and worker say to each other.
    #[error("keeper and worker do not understand each other: {0}")]
    Talk(String),
    /// The keeper has no use for this worker.
    #[error("the keeper refuses this worker: {0}")]
    Refused(String),
    /// The first worker did not serve, and said nothing.
    #[error("the worker did not come to serve: {0}")]
    FirstWorker(String),
    /// No worker serves.
    #[error(
        "no worker has served the mount for {0:?}: it is ended, and programs that wait for it get errors"
    )]
    NoWorker(Duration),
    /// The worker died on a kernel that cannot send requests again.
    #[error(
        "the worker died ({0}), and this kernel cannot hand its requests to another: the mount is ended"
    )]
    NoResend(String),
    /// `--write-path passthrough`, and the kernel cannot.
    #[error("the kernel cannot write into the spool itself: {0}")]
    NoPassthrough(String),
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
            DaemonError::NoSpool(..) => {
                "name the directory that a mount was given with --spool-dir, or one above it"
            }
            DaemonError::Foreign(..) => {
                "name its bucket and prefix with --source if that is where it is to go, or recover it as its owner"
            }
            DaemonError::Altered { .. } => {
                "its owner can have changed it: set it right; or, where it is right as it is, remove what the mount kept (setfattr -x trusted.logsinkfs.source SPOOL)"
            }
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
            DaemonError::Mount(..) => {
                "FUSE is needed: /dev/fuse, and the package fuse3 for ordinary users; --allow-other needs user_allow_other in /etc/fuse.conf then"
            }
            DaemonError::Descriptor(..) => {
                "/dev/fd/N stands for an open /dev/fuse that is mounted and that nobody serves yet"
            }
            DaemonError::NotRoot(_) => "leave --run-as away, or start the program as that user",
            DaemonError::User { .. } => {
                "--run-as chooses another user; --run-as root stays root, without capabilities"
            }
            DaemonError::Directory(..) => {
                "choose a directory that the worker's user may own, or another user: --spool-dir, --run-as"
            }
            DaemonError::Cache(..) => {
                "choose a local directory that this user can write, outside of the mount: --cache-dir"
            }
            DaemonError::Unreachable { .. } => {
                "let others search that directory (chmod o+x), put the spool elsewhere with --spool-dir, or choose another user with --run-as"
            }
            DaemonError::OtherSpool(_) => {
                "--spool-dir must lead keeper and worker to the same directory"
            }
            DaemonError::Socket(..) => "choose another place: --keeper-socket",
            DaemonError::Talk(_) => "start it without the variable LOGSINKFS_KEEPER_FD",
            DaemonError::Refused(_) => "the keeper's log says more",
            DaemonError::FirstWorker(_) => "look at what it logged before",
            DaemonError::NoWorker(_) => {
                "look at what the worker logged before; the spool keeps everything, and the next mount uploads it"
            }
            DaemonError::NoResend(_) => {
                "mount again: the spool keeps everything; Linux 6.9 or later keeps the mount"
            }
            DaemonError::NoPassthrough(_) => {
                "leave --write-path away: the daemon writes where the kernel cannot"
            }
            DaemonError::System(_) => "look at the limits of this process",
        }
    }
}
