//! The two ioctls on /dev/fuse that register and close a backing file; no safe wrapper exists.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::fuse::abi::{BACKING_CLOSE, BACKING_OPEN, BackingMap};
use crate::types::ids::BackingId;

/// Registers a file with the mount behind `fuse`, with the credentials of the calling thread.
pub fn backing_open(fuse: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<BackingId> {
    let map = BackingMap { fd: file.as_raw_fd(), flags: 0, padding: 0 };
    // SAFETY: the request reads one `struct fuse_backing_map`, which `map` is, and keeps no pointer.
    let id = unsafe { libc::ioctl(fuse.as_raw_fd(), BACKING_OPEN, &raw const map) };
    u32::try_from(id).map(BackingId).map_err(|_| io::Error::last_os_error())
}

/// Lets a registered file go; open files of the mount that use it keep it.
pub fn backing_close(fuse: BorrowedFd<'_>, id: BackingId) -> io::Result<()> {
    // SAFETY: the request reads one 32-bit number, which `id` is, and keeps no pointer.
    match unsafe { libc::ioctl(fuse.as_raw_fd(), BACKING_CLOSE, &raw const id.0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
