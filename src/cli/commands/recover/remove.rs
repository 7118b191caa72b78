//! Removal of a spool. Owns the identity of what is removed; the caller knows that S3 has everything.
//!
//! Invariant: the directory that was examined is removed, by its descriptor. Whatever takes its name meanwhile, or that
//! of a directory above, stays.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};

use crate::spool::disk::{SMALL_MAX, by_descriptor, read_regular};
use crate::spool::{IDENTITY, Spool};

/// A directory, and the start of the spool in it: its `spool.json`, which counts them.
#[derive(PartialEq, Eq)]
pub(super) struct Who {
    inode: Option<(u64, u64)>,
    start: Vec<u8>,
}

impl Who {
    pub(super) fn of(dir: &Path) -> Who {
        let inode = fs::metadata(dir).ok().map(|dir| (dir.dev(), dir.ino()));
        let start = read_regular(&dir.join(IDENTITY), SMALL_MAX).unwrap_or_default();
        Who { inode, start }
    }
}

/// Removes a spool unless somebody has started with it since; gives whether it is gone.
pub(super) fn remove(dir: &Path, who: &Who) -> io::Result<bool> {
    let name = dir.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let open = |at: BorrowedFd<'_>, path: &Path| -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(at, path, flags, Mode::empty())?)
    };
    let spool = open(rustix::fs::CWD, dir)?;
    let parent = open(spool.as_fd(), Path::new(".."))?;
    let path = by_descriptor(&spool);
    let is_it = |path: &Path| Spool::is_free(path) && Who::of(path) == *who;
    if !is_it(&path) {
        return Ok(false);
    }
    // Whoever comes now makes a new one.
    let mut gone = name.to_owned();
    gone.push(".gone");
    renameat(&parent, name, &parent, &gone)?;
    if !is_it(&by_descriptor(&parent).join(&gone)) {
        renameat(&parent, &gone, &parent, name)?;
        return Ok(false);
    }
    for entry in fs::read_dir(&path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    unlinkat(&parent, &gone, AtFlags::REMOVEDIR)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{LOCK, NODES, QUARANTINE};
    use crate::types::ids::WriterId;

    #[test]
    fn a_folder_that_has_taken_the_place_of_a_spool_stays() {
        let dir = tempfile::tempdir().expect("a dir");
        let [spool, moved, other] = ["spool", "moved", "other"].map(|name| dir.path().join(name));
        let writer = |name: &str| WriterId::compose(name, crate::types::random::below);
        drop(Spool::open(&spool, "s3://b/", "host", writer).expect("a spool"));
        let who = Who::of(&spool);
        // Another with the same start, as a copy has it.
        for name in [NODES, QUARANTINE] {
            fs::create_dir_all(other.join(name)).expect("made");
        }
        for name in [IDENTITY, LOCK] {
            fs::copy(spool.join(name), other.join(name)).expect("copied");
        }
        fs::rename(&spool, &moved).expect("moved");
        fs::rename(&other, &spool).expect("moved");
        assert!(!remove(&spool, &who).expect("an answer") && spool.exists());
        assert!(remove(&moved, &who).expect("an answer") && !moved.exists());
        let left: Vec<_> = fs::read_dir(dir.path()).expect("a dir").flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
