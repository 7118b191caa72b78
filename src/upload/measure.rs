//! Measures the mount for status and metrics when somebody asks, so that the write path keeps no counters for it.
//! Blocking; reads one marker of each log that waits for S3.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::parts::{Disk, Parts};
use crate::format::naming::Phase;
use crate::log_file::LogFile;
use crate::namespace::local::WhyLocal;
use crate::settings::writer::WhenFull;
use crate::spool::Account;
use crate::spool::marker::Marker;
use crate::types::time::Utc;

/// A spool with less room takes a line here and there at most.
const ENOUGH: u64 = 64 * 1024;

/// Characters of an error that are told beside a log.
const ERROR_MAX: usize = 300;

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// Files in the live view.
    pub live_files: usize,
    /// Files that stay local.
    pub local_files: usize,
    /// Their bytes.
    pub local_bytes: u64,
    /// Whole files that programs have open for writing.
    pub open_whole: usize,
    /// Number and bytes of these, and of copies, in the order of [`WhyLocal::ALL`].
    pub local: [(usize, u64); 3],
    /// Memory of names and attributes, and how much it may be.
    pub names: (u64, u64),
    /// Bytes that programs have written since this process began.
    pub appended: u64,
    /// Bytes that S3 has not confirmed.
    pub unuploaded: u64,
    /// Logs that they belong to.
    pub unuploaded_logs: usize,
    /// Age of the oldest of them.
    pub oldest: Duration,
    /// What S3 does not have and will not get by itself.
    pub lost: Account,
    /// Bytes of logs in the spool.
    pub spool_used: u64,
    /// Bytes of logs that it may hold.
    pub spool_max: u64,
    /// Bytes that logs can still grow by.
    pub spool_free: u64,
    /// Inodes for new logs; `None` where the spool's file system has no limit.
    pub spool_free_inodes: Option<u64>,
}

/// Whether the spool takes what programs write. Costs next to nothing.
pub fn takes_writes(disk: &Disk) -> bool {
    // Under `drop-oldest` a full spool makes room.
    disk.when_full == WhenFull::DropOldest
        || disk.budget.available() >= ENOUGH
            && (disk.budget.live.lets_anybody_add(ENOUGH) || !disk.namespace.is_shared())
}

/// Number and bytes of the files that stay local, for each reason.
fn local(disk: &Disk) -> [(usize, u64); 3] {
    let files = disk.namespace.each_local_file();
    WhyLocal::ALL.map(|why| {
        let of_it = files.iter().filter(|file| file.why == why);
        of_it.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.bytes))
    })
}

/// Measures.
pub fn measure(parts: &Parts) -> Measures {
    let now = parts.ports.clock.now();
    let logs = parts.disk.namespace.logs();
    let local = local(&parts.disk);
    // S3 has the bytes of copies as those of the logs.
    let [excluded, whole, _copies] = local;
    let (local_files, local_bytes) = (excluded.0 + whole.0, excluded.1 + whole.1);
    let mut measures = Measures {
        live_files: logs.len(),
        local_files,
        local_bytes,
        local,
        names: parts.disk.namespace.names_used(),
        appended: parts.queues.sealed.load(Ordering::Relaxed),
        lost: parts.disk.spool.quarantine().account(),
        ..Measures::default()
    };
    for log in &logs {
        let len = log.len().unwrap_or_default();
        let (unsent, unsealed, held) = {
            let state = log.state();
            (state.unsent(len), state.unsealed(len), state.held(len))
        };
        measures.open_whole += usize::from(log.state().is_being_written());
        measures.spool_used += held;
        measures.appended += unsealed;
        measures.unuploaded += unsent;
        if unsent > 0 {
            measures.unuploaded_logs += 1;
            measures.oldest = measures.oldest.max(now.since(oldest(log)));
        }
    }
    // What the kernel has just written is not counted there yet.
    let uncounted = measures.spool_used.saturating_sub(parts.disk.budget.used());
    measures.spool_free = parts.disk.budget.available().saturating_sub(uncounted);
    measures.spool_max = parts.disk.budget.live.max();
    let inodes = parts.disk.budget.inodes(parts.disk.namespace.kept());
    measures.spool_free_inodes = (inodes.total > 0).then_some(inodes.free);
    measures
}

/// A log that S3 lacks something of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lacking {
    path: String,
    unuploaded_bytes: u64,
    /// How long ago the oldest of them was written.
    oldest_seconds: Option<f64>,
    quarantined_bytes: u64,
    dropped_bytes: u64,
    last_error: Option<String>,
}

/// The logs that S3 lacks something of, those with most unsent bytes first and at most so many, and how many there are.
pub fn lacking_logs(parts: &Parts, top: usize) -> (Vec<Lacking>, usize) {
    let lacks = |log: Arc<LogFile>| {
        let len = log.len().unwrap_or_default();
        let (unsent, lost) = {
            let state = log.state();
            (state.unsent(len), state.segments.bytes_in(|p| p == Phase::Quarantined || p.is_dropped()))
        };
        (unsent > 0 || lost > 0).then_some((unsent, lost, log))
    };
    let mut found: Vec<_> = parts.disk.namespace.logs().into_iter().filter_map(lacks).collect();
    found.sort_unstable_by_key(|(unsent, lost, _)| Reverse((*unsent, *lost)));
    let all = found.len();
    found.truncate(top);
    let now = parts.ports.clock.now();
    let facts = found.into_iter().map(|(unsent, _, log)| {
        let path = parts.disk.path_of(&log);
        let oldest = (unsent > 0).then(|| now.since(oldest(&log)).as_secs_f64());
        let state = log.state();
        let error = state.last_error();
        Lacking {
            path,
            unuploaded_bytes: unsent,
            oldest_seconds: oldest,
            quarantined_bytes: state.segments.bytes_in(|phase| phase == Phase::Quarantined),
            dropped_bytes: state.segments.bytes_in(Phase::is_dropped),
            last_error: error.map(|error| error.chars().take(ERROR_MAX).collect()),
        }
    });
    (facts.collect(), all)
}

/// When the oldest byte came that S3 has not confirmed.
fn oldest(log: &Arc<LogFile>) -> Utc {
    let (marker, first) = {
        let state = log.state();
        let unsent = state.segments.iter().find(|segment| segment.phase.is_unsent());
        (unsent, state.growth.first_byte().unwrap_or(state.growth.last()))
    };
    // One that was just confirmed, or cannot be read, is as old as what follows it.
    let marker = marker.and_then(|name| Marker::load(log.names(), &name).ok());
    marker.map_or(first, |marker| marker.first)
}
