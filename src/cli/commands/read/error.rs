//! Errors of the commands that read a bucket, with hints.

use std::io;

use crate::read::range_fetcher::Unreadable;
use crate::types::bucket_error::BucketError;
use crate::types::errors::FsError;

/// A command that reads a bucket did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// S3 cannot be asked, or does not let us.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The embedded bucket does not start.
    #[error("the embedded bucket cannot be started: {0}")]
    Embedded(String),
    /// The span ends before it begins.
    #[error("--since is not before --until")]
    Backwards,
    /// Nothing is stored under that name.
    #[error("there is no object of the stream {0}")]
    NoStream(String),
    /// No stream is stored below that path.
    #[error("there is no log below {}", if .0.is_empty() { "the bucket's root" } else { .0 })]
    Nothing(String),
    /// A stream cannot be read on.
    #[error(transparent)]
    Unreadable(Unreadable),
    /// A stream cannot be read on.
    #[error(transparent)]
    File(#[from] FsError),
    /// Under `--strict` a gap ends it.
    #[error("{0}")]
    Gap(String),
    /// What was found cannot be printed.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl From<Unreadable> for ReadError {
    fn from(why: Unreadable) -> ReadError {
        match why {
            Unreadable::Bucket(e) => ReadError::Bucket(e),
            other => ReadError::Unreadable(other),
        }
    }
}

impl ReadError {
    /// 2 for a command line that means nothing, else 1.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, ReadError::Backwards) { 2 } else { 1 }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            ReadError::Bucket(e) => e.kind.hint_to_read(),
            ReadError::Embedded(_) => "give a directory of an embedded bucket that this user can write",
            ReadError::NoStream(_) => {
                "give its path as it is below the mount; `logsinkfs ls` shows what is there, and `tail -F` waits for what is not"
            }
            ReadError::Backwards => "a time before now, like 24h, is the later the smaller it is",
            ReadError::Nothing(_) => "give what was mounted, or one log of it; `logsinkfs ls` shows what is there",
            ReadError::Unreadable(_) | ReadError::File(_) => {
                "`logsinkfs verify --deep` names each object that is not what it should be"
            }
            ReadError::Gap(_) => "without --strict the rest is read too",
            ReadError::Output(_) => "look at where standard output goes",
        }
    }
}
