//! How much of the disk the spool may take: the bytes of live files, of local-only files and a reserve
//! for bodies being sent. Owns the counters; who is to be reclaimed or refused is decided by others.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::values::errors::{AtPath, LocalError};
use crate::values::settings::SpoolLimits;

/// Default for `--spool-max`, unless 80 % of the file system are less.
const DEFAULT_MAX: u64 = 10 << 30;
/// The reserve for bodies being sent takes at most this part of the spool.
const RESERVE_PART: u64 = 4;
/// Local-only files take at most this part of the spool.
const LOCAL_PART: u64 = 4;
/// Appended bytes after which the file system is asked again how much is free.
const ASK_EVERY: u64 = 16 << 20;
/// What of the disk is left to seal markers and records, whatever is asked for: without them nothing could
/// be sealed any more, and so nothing sent or given up.
const FOR_RECORDS: u64 = 1 << 20;
/// Inodes of the spool's file system that are left for restarts, ...
const INODES: u64 = 32;
/// ... and for each node, to whose log seals add a marker for each range.
const INODES_PER_NODE: u64 = 4;
/// Reclaiming begins at this many parts of ten of the room for live files, ...
const HIGH_TENTHS: u64 = 8;
/// ... and ends at this many.
const LOW_TENTHS: u64 = 6;

/// The spool's room.
#[derive(Debug)]
pub struct Room {
    dir: PathBuf,
    max: u64,
    min_free: u64,
    reserve: u64,
    live: AtomicU64,
    local: AtomicU64,
    /// Bytes that may still be appended before the file system is asked again.
    unasked: AtomicU64,
}

/// There is no room for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What `df` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that can still be written.
    pub free: u64,
}

/// Files and folders that the spool's file system has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inodes {
    /// In all; 0 where there is no limit.
    pub total: u64,
    /// For new nodes: without what those that are there may still need.
    pub free: u64,
}

impl Inodes {
    /// Whether there are any for another node.
    pub fn have_room(self) -> bool {
        self.total == 0 || self.free > 0
    }
}

impl Room {
    /// Room in the file system of `dir`, for segments of up to `segment` bytes.
    pub fn new(dir: &Path, limits: &SpoolLimits, segment: u64) -> Result<Room, LocalError> {
        let fs = rustix::fs::statvfs(dir).at("statfs", dir)?;
        let size = fs.f_blocks * fs.f_frsize;
        let max = limits.max.unwrap_or_else(|| DEFAULT_MAX.min(size / 10 * 8));
        Ok(Room {
            dir: dir.to_owned(),
            max,
            min_free: (size / 100 * u64::from(limits.min_free_percent)).max(FOR_RECORDS),
            reserve: (4 * segment).min(max / RESERVE_PART),
            live: AtomicU64::new(0),
            local: AtomicU64::new(0),
            unasked: AtomicU64::new(0),
        })
    }

    /// Bytes set apart for bodies being sent.
    pub fn reserve(&self) -> u64 {
        self.reserve
    }

    /// Bytes that logs may take in all.
    pub fn budget(&self) -> u64 {
        self.max - self.reserve
    }

    /// Counts bytes that are about to be appended to a live file.
    pub fn take(&self, bytes: u64) -> Result<(), Full> {
        let used = self.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= self.budget() && self.disk_has_room(bytes) {
            return Ok(());
        }
        self.give(bytes);
        Err(Full)
    }

    /// Counts bytes of live files that are gone from the disk, or were not written after all.
    pub fn give(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Counts bytes that are there already: recovery found them, or the kernel wrote them.
    pub fn found(&self, bytes: u64) {
        self.live.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Has the file system asked again before anything more is appended: others have filled it.
    pub fn disk_is_full(&self) {
        self.unasked.store(0, Ordering::Relaxed);
    }

    /// Bytes above the limits.
    pub fn over(&self) -> u64 {
        let over = self.live.load(Ordering::Relaxed).saturating_sub(self.budget());
        over.max(self.disk_shortage())
    }

    /// Bytes of live files that are on the disk.
    pub fn used(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// Bytes that live files may still grow by.
    pub fn left(&self) -> u64 {
        let budget = self.budget().saturating_sub(self.live.load(Ordering::Relaxed));
        let disk = self.disk_free().map_or(budget, |free| free.saturating_sub(self.min_free));
        budget.min(disk)
    }

    /// Counts growth of local-only files.
    pub fn take_local(&self, bytes: u64) -> Result<(), Full> {
        let used = self.local.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= self.max / LOCAL_PART && self.disk_has_room(bytes) {
            return Ok(());
        }
        self.give_local(bytes);
        Err(Full)
    }

    /// Counts bytes of local-only files that are gone.
    pub fn give_local(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.local.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Bytes of confirmed segments that should be reclaimed now, to stay clear of the limits.
    pub fn to_reclaim(&self) -> u64 {
        let used = self.live.load(Ordering::Relaxed);
        let tenth = self.budget() / 10;
        let over = if used > tenth * HIGH_TENTHS { used - tenth * LOW_TENTHS } else { 0 };
        over.max(self.disk_shortage())
    }

    /// What `df` shows: the spool's budget, or what its disk leaves of it.
    pub fn capacity(&self) -> Capacity {
        let local = self.local.load(Ordering::Relaxed);
        Capacity { total: self.budget(), free: self.left().saturating_sub(local) }
    }

    /// What `df -i` shows, with so many nodes in the spool. Asks the file system.
    pub fn inodes(&self, nodes: u64) -> Inodes {
        let Ok(fs) = rustix::fs::statvfs(&self.dir) else { return Inodes::default() };
        let kept = INODES + INODES_PER_NODE * nodes;
        Inodes { total: fs.f_files, free: fs.f_favail.saturating_sub(kept) }
    }

    fn disk_has_room(&self, bytes: u64) -> bool {
        let spend = |left: u64| left.checked_sub(bytes);
        if self.unasked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok() {
            return true;
        }
        let spare = self.disk_free().map_or(ASK_EVERY, |free| free.saturating_sub(self.min_free));
        self.unasked.store(spare.min(ASK_EVERY), Ordering::Relaxed);
        spare > bytes
    }

    /// Bytes that the disk lacks of what has to stay free.
    pub fn disk_shortage(&self) -> u64 {
        self.disk_free().map_or(0, |free| self.min_free.saturating_sub(free))
    }

    fn disk_free(&self) -> Option<u64> {
        rustix::fs::statvfs(&self.dir).ok().map(|fs| fs.f_bavail * fs.f_frsize)
    }
}
