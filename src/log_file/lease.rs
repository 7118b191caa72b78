//! Asks the kernel (F_SETLEASE) whether another process has a spool file open for writing: a program with a passthrough
//! descriptor goes on writing after the daemon is dead.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Whether any process has the file open for writing, this one included. A read lease is granted only when none has
/// ([fcntl(2), F_SETLEASE](https://man7.org/linux/man-pages/man2/F_SETLEASE.2const.html)); it is given back at once.
/// Where leases cannot be had, nobody can be found out, and the answer is no.
pub fn has_writer(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    // SAFETY: the descriptor is open for the whole call, and F_SETLEASE takes an int and keeps no pointer.
    let lease = |kind: i32| unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    let refused = lease(libc::F_RDLCK) == -1;
    let busy = refused && std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN);
    if !refused {
        lease(libc::F_UNLCK);
    }
    busy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_shows_and_a_reader_does_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("data");
        let writer = File::create(&path).expect("a file");
        assert!(has_writer(&path));
        drop(writer);
        let _reader = File::open(&path).expect("a file");
        assert!(!has_writer(&path));
        assert!(!has_writer(&dir.path().join("missing")));
    }
}
