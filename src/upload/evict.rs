//! Eviction from the disk and from the live view: confirmed bytes when the spool needs room, and logs that are gone or
//! finished. Blocking.
//!
//! Invariant: a byte leaves the disk only after its marker says durably that S3 has it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{error, info};

use super::copies;
use super::parts::{Disk, Parts};
use crate::format::naming::{MarkerName, Phase};
use crate::format::whole_name::WholeName;
use crate::log_file::LogFile;
use crate::spool::crash_point::crash_point;
use crate::spool::marker::{self, Marker};
use crate::spool::record::Content;
use crate::types::errors::{FsError, LocalError};

/// Gives a log file's folder back when it has no name, is not open and S3 has all of it; says whether.
pub fn finish_if_ended(parts: &Parts, log: &Arc<LogFile>) -> bool {
    let ended = log.state().has_ended();
    ended && remove(parts, log)
}

/// The path at which the bucket has a file: a whole file's is that which it had when its last version was sealed.
fn stored_at(parts: &Parts, log: &LogFile) -> Result<Vec<u8>, FsError> {
    let version = {
        let state = log.state();
        state.segments.iter().next_back().filter(|_| state.content().is_in_place())
    };
    let Some(version) = version else { return Ok(log.stream().path.clone()) };
    let key = Marker::load(log.names(), &version)?.key;
    Ok(WholeName::parse(&parts.ports.prefix, &key).map(|name| name.path).unwrap_or_default())
}

fn remove(parts: &Parts, log: &Arc<LogFile>) -> bool {
    let done = || -> Result<bool, FsError> {
        // Whoever reclaims must not meet the folder half gone, nor believe that it is there.
        let _committing = log.committing();
        if !parts.disk.namespace.is_kept(log.id) {
            // Two saw that it had ended, and this is the second.
            return Ok(false);
        }
        copies::settle(parts, log);
        let len = log.len()?;
        let account = parts.disk.account(log);
        let held = {
            let mut state = log.state();
            parts.disk.count(account, &mut state, len);
            state.held(len)
        };
        log.stream().remember()?;
        // All is sent and nothing removed: it is removed at the next start.
        crash_point("remove: the number is remembered");
        let gone = parts.disk.namespace.retire(log.id, &stored_at(parts, log)?)?;
        if gone {
            // Nothing is left to be reclaimed, nor, for a task that looks before the files are gone, to be sealed.
            log.state().segments.reclaim_all();
            parts.disk.give(log, held);
            parts.tidy();
            parts.queues.bump();
        }
        Ok(gone)
    };
    match done() {
        Ok(gone) => gone,
        Err(FsError::Stale) => false,
        // Its last name went when nothing was left to be done for it, and its files with that.
        Err(_) if !parts.disk.namespace.is_kept(log.id) => false,
        Err(e) => {
            error!(path = parts.disk.path_of(log), "a finished log could not be removed from the spool: {e}");
            false
        }
    }
}

/// Takes logs out of the live view that have been finished for `--retire-after`.
pub fn retire_finished(parts: &Parts) {
    let now = parts.ports.clock.now();
    for log in parts.disk.namespace.logs() {
        let finished = {
            let state = log.state();
            !state.handles.is_open() && now.since(state.growth.last()) >= parts.disk.retire_after
        };
        if finished && remove(parts, &log) {
            info!(stream = %crate::types::escape::escape_path(&log.stream().path),
                "a finished log left the live view");
        }
    }
    if let Err(e) = parts.disk.namespace.retire_directories(now.minus(parts.disk.retire_after), now) {
        error!("an empty directory could not be removed from the spool: {e}");
    }
    parts.tidy();
}

/// Gives back the room of confirmed bytes, those of the quietest logs first, until `need` bytes are free. They are read
/// from S3 from then on. Gives how many were freed.
pub fn reclaim(parts: &Parts, need: u64) -> Result<u64, LocalError> {
    if need == 0 {
        return Ok(0);
    }
    // A copy that is being made is compared best with bytes that are here.
    let mut freed = reclaim_of(parts, need, |log| !log.is_being_copied())?;
    if freed < need {
        freed += retire_copies(parts, need - freed);
    }
    if freed < need {
        freed += reclaim_of(parts, need - freed, |_| true)?;
    }
    if freed > 0 {
        // Not else: a writer that waits for room would be told of its own look for it, again and again.
        parts.queues.bump();
    }
    Ok(freed)
}

/// The same of whole files alone, which have a budget of their own.
pub fn reclaim_whole(parts: &Parts, need: u64) -> Result<u64, LocalError> {
    reclaim_of(parts, need, |log| log.whole_bytes.load(Ordering::Relaxed) > 0)
}

fn reclaim_of(parts: &Parts, need: u64, which: impl Fn(&LogFile) -> bool) -> Result<u64, LocalError> {
    let mut logs = parts.disk.namespace.logs();
    logs.retain(|log| which(log));
    logs.sort_by_cached_key(|log| log.state().growth.last());
    let mut freed = 0;
    'logs: for log in logs {
        let confirmed: Vec<MarkerName> = {
            let state = log.state();
            state.segments.iter().filter(|s| s.phase == Phase::Confirmed).collect()
        };
        for name in confirmed {
            if freed >= need {
                break 'logs;
            }
            freed += reclaim_one(&parts.disk, &log, &name)?;
        }
    }
    Ok(freed)
}

/// Takes copies of logs out of the live view, those first that nobody has written for longest: S3 has their bytes as
/// those of the logs.
fn retire_copies(parts: &Parts, need: u64) -> u64 {
    let mut copies = parts.disk.namespace.logs();
    copies.retain(|log| log.state().content() == Content::Copy && !log.state().handles.is_open());
    copies.sort_by_cached_key(|log| log.state().growth.last());
    let mut freed = 0;
    for log in copies {
        let held = {
            let state = log.state();
            state.held(state.counted())
        };
        if freed >= need {
            break;
        }
        freed += if remove(parts, &log) { held } else { 0 };
    }
    freed
}

fn reclaim_one(disk: &Disk, log: &LogFile, name: &MarkerName) -> Result<u64, LocalError> {
    let _committing = log.committing();
    let phase = log.state().segments.phase(name.range.start);
    if phase != Some(Phase::Confirmed) {
        return Ok(0);
    }
    marker::advance(log.names(), name, Phase::Reclaimed)?;
    // From here on the bytes come from S3, whether the hole is there or not.
    crash_point("reclaim: the marker says so");
    log.state().segments.set_phase(name.range.start, Phase::Reclaimed);
    log.punch(name.range)?;
    disk.give(log, name.range.len());
    Ok(name.range.len())
}
