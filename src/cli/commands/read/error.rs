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
    /// The zone of this machine is not known.
    #[error("the local time zone is not known: {0}")]
    Zone(String),
    /// A glob or an expression means nothing.
    #[error("{0}")]
    Pattern(String),
    /// More streams than can be merged.
    #[error("{0} streams cannot be merged, {1} can")]
    TooMany(usize, usize),
    /// A whole file has no lines with times.
    #[error("{0} is a whole file and cannot be merged")]
    WholeMerged(String),
    /// A directory stands where a stream is wanted.
    #[error("{0} is a directory")]
    IsDirectory(String),
    /// An object stands where a stream is wanted.
    #[error("{0} is an object that no mount has written")]
    IsObject(String),
    /// Nothing matches a path with globs.
    #[error("no stream matches {0}")]
    NoMatch(String),
    /// Nothing is stored under that name, but under others that are nearly the same.
    #[error("there is no object of the stream {0}; did you mean {1}?")]
    Misspelt(String, String),
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
        match self {
            ReadError::Backwards | ReadError::Pattern(_) | ReadError::TooMany(..) => 2,
            _ => 1,
        }
    }

    /// Whether others can be read all the same.
    pub fn is_of_one(&self) -> bool {
        match self {
            ReadError::IsDirectory(_)
            | ReadError::IsObject(_)
            | ReadError::NoMatch(_)
            | ReadError::Misspelt(..)
            | ReadError::NoStream(_)
            | ReadError::Nothing(_)
            | ReadError::Unreadable(_)
            | ReadError::File(_) => true,
            ReadError::Bucket(_)
            | ReadError::Embedded(_)
            | ReadError::Backwards
            | ReadError::Zone(_)
            | ReadError::Pattern(_)
            | ReadError::TooMany(..)
            | ReadError::WholeMerged(_)
            | ReadError::Gap(_)
            | ReadError::Output(_) => false,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            ReadError::Bucket(e) => e.kind.hint_to_read(),
            ReadError::Embedded(_) => "give a directory of an embedded bucket that this user can write",
            ReadError::Zone(_) => "set TZ to a name such as Europe/Berlin, or leave out --local for UTC",
            ReadError::Pattern(_) => "a `*`, `?`, `[` or `{` in a path is a glob; --grep takes a regular expression",
            ReadError::TooMany(..) => "give fewer, or leave out --merge and print them one after the other",
            ReadError::WholeMerged(_) => "leave it out, or leave out --merge",
            ReadError::IsDirectory(_) => "use -r for everything below it, or `logsinkfs ls` to see what is there",
            ReadError::IsObject(_) => "a mount with --read-only shows it as it is, and so does any S3 client",
            ReadError::NoMatch(_) => {
                "`*` stays within a directory and `**` does not; `logsinkfs ls -R` shows what is there"
            }
            ReadError::Misspelt(..) | ReadError::NoStream(_) => {
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
