//! A file of reserved disk space: when others have filled the disk, it makes room for the markers and records without
//! which nothing could be sent or dropped.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::FallocateFlags;

use crate::types::errors::LocalError;

/// The file that holds the room.
const BALLAST: &str = "ballast";
/// Enough for some hundred small files, and for what the file system itself takes of it: it counts blocks that it owes
/// to its own records against those who have no right to its reserve.
const BYTES: u64 = 1 << 20;

/// Gives the room.
pub(crate) fn drop(dir: &Path) {
    // There may be none; who asked finds that the disk is as full as before.
    if fs::remove_file(dir.join(BALLAST)).is_ok() {
        free_now(dir);
    }
}

/// Writes something small, with that room where there is no other.
pub(super) fn with(dir: &Path, write: impl Fn() -> Result<(), LocalError>) -> Result<(), LocalError> {
    match write() {
        Err(e) if e.is_no_space() => {
            drop(dir);
            write()
        }
        written => written,
    }
}

/// Has what was just freed be free: ext4 gives blocks out again when its journal has them as such.
pub(super) fn free_now(dir: &Path) {
    // Should that fail, the room is there some seconds later.
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
}

/// Sets it apart, unless it is or there is none.
pub(super) fn refill(dir: &Path) {
    let path = dir.join(BALLAST);
    let Ok(file) = File::create_new(&path) else { return };
    if rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BYTES).is_err() {
        let _ = fs::remove_file(&path);
    }
}
