//! Replaces one file descriptor by another (dup3). fuser has no way to take over a mount: a session begins on a socket,
//! where it receives the FUSE_INIT that the kernel sends once for a mount, and continues with /dev/fuse under the same
//! number.

#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{DupFlags, dup3};

/// Makes the number `place` stand for what `fd` is; what it stood for is closed.
pub fn put_in_place(fd: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: `place` is open for the whole call, and its owner goes on owning the number: what is made here is never
    // dropped, so that nothing is closed twice.
    let mut slot = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(place.as_raw_fd()) });
    Ok(dup3(fd, &mut slot, DupFlags::CLOEXEC)?)
}
