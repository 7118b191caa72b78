//! Errors of file operations, by meaning. The FUSE adapter maps each to an errno; the kind alone decides, and every
//! error that is not the caller's fault carries its cause.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bucket_error::BucketError;

/// A file operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FsError {
    /// There is no such name or node.
    #[error("no such file or directory")]
    NotFound,
    /// The name is taken.
    #[error("the name exists")]
    Exists,
    /// The directory has entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// A directory where a file is asked.
    #[error("it is a directory")]
    IsDirectory,
    /// A file where a directory is asked.
    #[error("it is not a directory")]
    NotDirectory,
    /// The name, or the keys that would be made from it, are too long.
    #[error("the name is too long for an S3 key")]
    NameTooLong,
    /// Logs are appended to and objects are never changed.
    #[error("not permitted here")]
    NotPermitted,
    /// The mount is for reading alone.
    #[error("the mount is read-only")]
    ReadOnly,
    /// The arguments mean nothing here.
    #[error("invalid argument")]
    Invalid,
    /// Programs have as many files open as there may be.
    #[error("too many files are open")]
    TooManyOpen,
    /// The write is neither at the end of the log nor where the last one of its handle ended.
    #[error("the write is not at the end of the log")]
    Misplaced,
    /// Files have no position like that.
    #[error("the file would be too large")]
    TooLarge,
    /// The spool has no room.
    #[error("the spool is full")]
    NoSpace,
    /// These bytes were dropped when the spool was full (`--when-full drop-oldest`).
    #[error("these bytes were dropped when the spool was full")]
    Dropped,
    /// The object was replaced, or the node stands for something else now.
    #[error("stale")]
    Stale,
    /// There is no such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// The extended attribute is too large.
    #[error("the attribute is too large")]
    AttributeTooLarge,
    /// Not supported by this file system.
    #[error("not supported")]
    NotSupported,
    /// The handle is not open for this.
    #[error("bad handle")]
    BadHandle,
    /// S3 did not answer in time.
    #[error("S3 did not answer in time")]
    TimedOut,
    /// The mount is being stopped.
    #[error("the mount is stopping")]
    Stopping,
    /// S3 failed.
    #[error("{0} ({hint})", hint = .0.kind.hint())]
    Bucket(#[from] BucketError),
    /// What S3 has is not what was stored.
    #[error("{0}")]
    Damaged(String),
    /// Something that was waited for was quarantined or dropped.
    #[error("a segment was quarantined or dropped")]
    Lost,
    /// A step of this program came to no end.
    #[error("{0}")]
    Unfinished(String),
    /// The local file system failed.
    #[error(transparent)]
    Local(Arc<LocalError>),
}

impl From<LocalError> for FsError {
    fn from(e: LocalError) -> FsError {
        FsError::Local(Arc::new(e))
    }
}

/// The local file system failed at a file of the spool.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {source}")]
pub struct LocalError {
    /// What was being done.
    pub action: &'static str,
    /// To what.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl LocalError {
    /// Whether the file was read and is not what it should be: trying again will not help.
    pub fn is_damage(&self) -> bool {
        self.source.kind() == io::ErrorKind::InvalidData
    }

    /// Whether no descriptor was left.
    pub fn is_no_descriptor(&self) -> bool {
        // EMFILE, of the process, and ENFILE, of the system: std has no kind for them.
        matches!(self.source.raw_os_error(), Some(23 | 24))
    }

    /// Whether the disk is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Adds what was done to what, to the result of a system call.
pub trait AtPath<T> {
    /// Names action and path.
    fn at(self, action: &'static str, path: &Path) -> Result<T, LocalError>;
}

impl<T, E: Into<io::Error>> AtPath<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, LocalError> {
        self.map_err(|e| LocalError { action, path: path.to_owned(), source: e.into() })
    }
}

/// The messages of an error and its causes, on one line.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut messages = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        messages.push(cause.to_string().replace('\n', "; "));
        next = cause.source();
    }
    messages.dedup();
    messages.join(": ")
}
