//! Conversions between fuser's types and ours: ids, attributes, flags, and the errno of each error.

use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileHandle, FileType, Generation, INodeNo, ReplyEntry, ReplyXattr, Request};
use tracing::{debug, warn};

use super::abi::UNIQUE_RESEND;
use crate::fs::names::Creator;
use crate::fs::{Access, Entry, FileKind, Fs};
use crate::namespace::Attr;
use crate::types::errors::FsError;
use crate::types::ids::{HandleId, NodeId, Origin};
use crate::types::time::FileTime;

pub(super) fn reply_entry(fs: &Fs, result: Result<Entry, Errno>, reply: ReplyEntry) {
    match result {
        Ok(Entry { attr, ttl }) => {
            reply.entry_with_ttls(&fs.attr_ttl(&attr), &ttl, &file_attr(&attr), SAME);
        }
        Err(e) => reply.error(e),
    }
}

/// The errno of each meaning. What is nobody's expectation is logged here, once.
pub(super) fn errno(operation: &'static str, error: &FsError) -> Errno {
    match error {
        FsError::Local(e) => {
            warn!(operation, "{e}");
            match e {
                e if e.is_no_space() => Errno::ENOSPC,
                e if e.is_no_descriptor() => Errno::ENFILE,
                _ => Errno::EIO,
            }
        }
        FsError::Bucket(_) | FsError::Damaged(_) | FsError::Lost | FsError::Unfinished(_) | FsError::TimedOut => {
            warn!(operation, "{error}");
            Errno::EIO
        }
        FsError::NoSpace => {
            debug!(operation, "{error}");
            Errno::ENOSPC
        }
        FsError::Dropped => {
            debug!(operation, "{error}");
            Errno::EIO
        }
        FsError::TooManyOpen => Errno::ENFILE,
        FsError::NotFound => Errno::ENOENT,
        FsError::Exists => Errno::EEXIST,
        FsError::NotEmpty => Errno::ENOTEMPTY,
        FsError::IsDirectory => Errno::EISDIR,
        FsError::NotDirectory => Errno::ENOTDIR,
        FsError::NameTooLong => Errno::ENAMETOOLONG,
        FsError::NotPermitted => Errno::EPERM,
        FsError::ReadOnly => Errno::EROFS,
        FsError::Invalid | FsError::Misplaced => Errno::EINVAL,
        FsError::TooLarge => Errno::EFBIG,
        FsError::Stale => Errno::ESTALE,
        FsError::NoAttribute => Errno::ENODATA,
        FsError::AttributeTooLarge => Errno::E2BIG,
        FsError::NotSupported => Errno::EOPNOTSUPP,
        FsError::BadHandle => Errno::EBADF,
        FsError::Stopping => Errno::ENOTCONN,
    }
}

pub(super) fn node(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

pub(super) fn origin(req: &Request) -> Origin {
    let unique = u64::from(req.unique());
    Origin { unique: unique & !UNIQUE_RESEND, resent: unique & UNIQUE_RESEND != 0, thread: req.pid() }
}

pub(super) fn handle(fh: FileHandle) -> HandleId {
    HandleId(fh.0)
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
    }
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.id.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.times.accessed.into(),
        mtime: attr.times.modified.into(),
        ctime: attr.times.changed.into(),
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK as u32,
        flags: 0,
    }
}

/// A time that utimensat(2) sets. fuser takes the nanoseconds of a time before 1970 away where they are to be added
/// (`system_time_from_time` in its `time.rs`).
pub(super) fn file_time(time: SystemTime) -> FileTime {
    let parts = |span: Duration| (span.as_secs() as i64, span.subsec_nanos());
    let (secs, nanos) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => parts(after),
        Err(before) => {
            let (secs, nanos) = parts(before.duration());
            (secs.wrapping_neg(), nanos)
        }
    };
    FileTime::new(secs, nanos)
}

pub(super) fn access(flags: i32) -> Access {
    Access {
        read: flags & libc::O_ACCMODE != libc::O_WRONLY,
        write: flags & libc::O_ACCMODE != libc::O_RDONLY,
        append: flags & libc::O_ACCMODE == libc::O_WRONLY
            && flags & (libc::O_APPEND | libc::O_DIRECT) == libc::O_APPEND,
        sync: flags & libc::O_DSYNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
        truncate: flags & libc::O_TRUNC != 0,
    }
}

pub(super) fn creator(req: &Request, mode: u32) -> Creator {
    Creator { mode: mode & 0o7777, uid: req.uid(), gid: req.gid() }
}

/// Extended attributes are asked twice: for the size, then for the bytes.
pub(super) fn reply_xattr(operation: &'static str, value: Result<Vec<u8>, FsError>, size: u32, reply: ReplyXattr) {
    match value {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(e) => reply.error(errno(operation, &e)),
    }
}

/// Unit of statfs.
pub(super) const BLOCK: u64 = 4096;

/// Node ids are never used twice, so that all have the same generation for the kernel.
pub(super) const SAME: Generation = Generation(0);
