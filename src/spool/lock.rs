//! The lock of a spool, and how a process that only empties a spool is asked to give it up.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::FlockOperation;

use super::disk::read_regular;
use super::{LOCK, SpoolError};
use crate::types::errors::{AtPath, LocalError};
use crate::types::escape::for_terminal;

/// Longest content of a lock file: a process id and that the spool is lent.
const HOLDER_MAX: u64 = 64;
/// Stands in a lock file behind the process of one who gives the spool back when he is asked.
const LENT: &str = " recover";
/// The file by which he is asked.
const WANTED: &str = "wanted";

/// Takes the lock that tells two daemons apart; the holder's process id is in the file. It is the owner's alone: a
/// process that can open a file can lock it.
pub(super) fn take(dir: &Path) -> Result<File, SpoolError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&path)
        .at("open", &path)?;
    // An earlier version let others read it.
    file.set_permissions(Permissions::from_mode(0o600)).at("chmod", &path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let locked = file.metadata().at("stat", &path)?.ino();
            if fs::metadata(&path).map_or(true, |found| found.ino() != locked) {
                // It was removed in this moment; the next try makes another.
                return Err(SpoolError::Locked(dir.to_owned(), String::new()));
            }
            let pid = std::process::id().to_string();
            // Over what is there: a block that is given back may not be had again on a full disk.
            file.set_len(pid.len() as u64).at("write", &path)?;
            file.write_all_at(pid.as_bytes(), 0).at("write", &path)?;
            // Whoever asked for it comes again.
            let _ = fs::remove_file(dir.join(WANTED));
            Ok(file)
        }
        Err(e) if e == rustix::io::Errno::WOULDBLOCK => {
            let holder = read_regular(&path, HOLDER_MAX).unwrap_or_default();
            let holder = for_terminal(&String::from_utf8_lossy(&holder)).into_owned();
            if holder.ends_with(LENT) {
                let wanted = dir.join(WANTED);
                File::create(&wanted).at("create", &wanted)?;
            }
            let holder = if holder.is_empty() { holder } else { format!(" (process {holder})") };
            Err(SpoolError::Locked(dir.to_owned(), holder))
        }
        Err(e) => Err(SpoolError::Local(LocalError { action: "lock", path, source: e.into() })),
    }
}

/// Whether nobody has the lock.
pub(super) fn is_free(dir: &Path) -> bool {
    let careful = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let lock = OpenOptions::new().read(true).custom_flags(careful).open(dir.join(LOCK));
    lock.is_ok_and(|lock| rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_ok())
}

/// Says in the lock that it is given back to the next owner.
pub(super) fn lend(dir: &Path) -> Result<(), LocalError> {
    let path = dir.join(LOCK);
    fs::write(&path, format!("{}{LENT}", std::process::id())).at("write", &path)
}

/// Whether somebody has come for a lock that was lent.
pub(super) fn is_wanted(dir: &Path) -> bool {
    dir.join(WANTED).exists()
}
