//! How much of the disk the spool may take: bytes of live files, of local files, and a reserve for bodies being sent.
//! Owns the counters; others decide what is reclaimed or dropped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::shared_budget::{Account, SharedBudget};
use crate::settings::writer::{SpoolLimits, WhenFull};
use crate::types::errors::{AtPath, LocalError};

/// Default for `--spool-max`, unless 80 % of the file system are less.
const DEFAULT_MAX: u64 = 10 << 30;
/// The reserve for bodies being sent takes at most this part of the spool.
const RESERVE_PART: u64 = 4;
/// Local-only files take at most this part of the spool.
const LOCAL_PART: u64 = 4;
/// Whole files take at most this part of the spool, unless `--whole-max` says otherwise.
const WHOLE_PART: u64 = 2;
/// Appended bytes after which the file system is asked again how much is free.
const ASK_EVERY: u64 = 16 << 20;
/// What of the disk is left to seal markers and records, whatever is asked for: without them nothing could be sealed
/// any more, and so nothing sent or dropped.
const FOR_RECORDS: u64 = 1 << 20;
/// Inodes of the spool's file system that are left for restarts, ...
const INODES: u64 = 32;
/// ... and for each node, to whose log seals add a marker for each range.
const INODES_PER_NODE: u64 = 4;
/// Reclaiming begins at this many parts of ten of the room for live files, before a part of paths that has much is
/// refused more, ...
const HIGH_TENTHS: u64 = 7;
/// ... and ends at this many.
const LOW_TENTHS: u64 = 6;

/// How much of the disk the spool may take, and what it takes.
#[derive(Debug)]
pub struct DiskBudget {
    dir: PathBuf,
    min_free: u64,
    reserve: u64,
    when_full: WhenFull,
    /// Bytes of live files.
    pub live: SharedBudget,
    /// Bytes of local-only files.
    pub local: SharedBudget,
    /// Bytes of whole files, which count as those of live files too.
    pub whole: SharedBudget,
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

impl DiskBudget {
    /// DiskBudget in the file system of `dir`, for segments of up to `segment` bytes.
    pub fn new(dir: &Path, limits: &SpoolLimits, segment: u64) -> Result<DiskBudget, LocalError> {
        let fs = rustix::fs::statvfs(dir).at("statfs", dir)?;
        let size = fs.f_blocks * fs.f_frsize;
        let max = limits.max.unwrap_or_else(|| DEFAULT_MAX.min(size / 10 * 8));
        let reserve = (4 * segment).min(max / RESERVE_PART);
        Ok(DiskBudget {
            dir: dir.to_owned(),
            min_free: (size / 100 * u64::from(limits.min_free_percent)).max(FOR_RECORDS),
            reserve,
            when_full: limits.when_full,
            live: SharedBudget::new(max - reserve),
            local: SharedBudget::new(max / LOCAL_PART),
            whole: SharedBudget::new(limits.whole_max.unwrap_or(max / WHOLE_PART)),
            unasked: AtomicU64::new(0),
        })
    }

    /// Bytes set apart for bodies being sent.
    pub fn body_reserve(&self) -> u64 {
        self.reserve
    }

    /// Counts bytes that are about to be appended to a live file.
    pub fn reserve(&self, account: &Account, bytes: u64) -> Result<(), Full> {
        let then = self.live.add(account, bytes);
        let may = match self.when_full {
            // Who has little writes on: the sealer's next look has somebody else give up as much.
            WhenFull::DropOldest => then.is_within() || then.is_share(),
            WhenFull::Block | WhenFull::Error => then.is_fair(),
        };
        if may && self.disk_has_room(bytes) {
            return Ok(());
        }
        self.live.remove(account, bytes);
        Err(Full)
    }

    /// The same for a part that need not leave anything to others, since there are none.
    pub fn reserve_whole(&self, account: &Account, bytes: u64) -> Result<(), Full> {
        if self.live.add(account, bytes).is_within() && self.disk_has_room(bytes) {
            return Ok(());
        }
        self.live.remove(account, bytes);
        Err(Full)
    }

    /// Counts growth of local-only files.
    pub fn reserve_local(&self, account: &Account, bytes: u64) -> Result<(), Full> {
        if self.local.add(account, bytes).is_fair() && self.disk_has_room(bytes) {
            return Ok(());
        }
        self.local.remove(account, bytes);
        Err(Full)
    }

    /// Has the file system asked again before anything more is appended: others have filled it.
    pub fn disk_is_full(&self) {
        self.unasked.store(0, Ordering::Relaxed);
    }

    /// Bytes above the limits.
    pub fn over(&self) -> u64 {
        let over = self.used().saturating_sub(self.live.max());
        over.max(self.disk_shortage())
    }

    /// Bytes of live files that are on the disk.
    pub fn used(&self) -> u64 {
        self.live.used()
    }

    /// Bytes that live files may still grow by.
    pub fn available(&self) -> u64 {
        let budget = self.live.max().saturating_sub(self.used());
        let disk = self.disk_free().map_or(budget, |free| free.saturating_sub(self.min_free));
        budget.min(disk)
    }

    /// Bytes of confirmed segments that should be reclaimed now, to stay clear of the limits.
    pub fn to_reclaim(&self) -> u64 {
        let used = self.used();
        let tenth = self.live.max() / 10;
        let over = if used > tenth * HIGH_TENTHS { used - tenth * LOW_TENTHS } else { 0 };
        over.max(self.disk_shortage())
    }

    /// What `df` shows: the spool's budget, or what its disk leaves of it.
    pub fn capacity(&self) -> Capacity {
        let local = self.local.used();
        Capacity { total: self.live.max(), free: self.available().saturating_sub(local) }
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
