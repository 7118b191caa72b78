//! A little of the disk that is set apart: when others have filled it, there still is room for the markers
//! and records without which nothing could be sent, nor given up.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::FallocateFlags;

/// The file that holds the room.
const BALLAST: &str = "ballast";
/// Enough for some sixty small files.
const BYTES: u64 = 256 << 10;

/// Gives the room.
pub(super) fn drop(dir: &Path) {
    // There may be none; who asked finds that the disk is as full as before.
    let _ = fs::remove_file(dir.join(BALLAST));
}

/// Sets it apart, unless it is or there is none.
pub(super) fn refill(dir: &Path) {
    let path = dir.join(BALLAST);
    let Ok(file) = File::create_new(&path) else { return };
    if rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BYTES).is_err() {
        let _ = fs::remove_file(&path);
    }
}
