//! What follows once S3 has a segment: the marker says so, room is given back, and log files that
//! nobody needs any more go. Blocking. Invariant: a byte leaves the disk only after its marker
//! says, durably, that S3 has it.

use std::sync::Arc;

use tracing::{error, info};

use super::parts::Parts;
use crate::local::crash_point::crash_point;
use crate::local::log_file::LogFile;
use crate::local::marker::{self, Marker};
use crate::local::spool::Note;
use crate::values::errors::{FsError, LocalError};
use crate::values::ids::SpoolOffset;
use crate::values::naming::{MarkerName, Phase};
use crate::world::bucket::StoredObject;
use crate::world::metrics::METRICS;

/// Notes that a PUT of a segment begins: from here on it is not given up. Gives the phase that it is in
/// then.
pub fn begin_sending(log: &LogFile, name: &MarkerName) -> Result<Phase, LocalError> {
    let _settling = log.settling();
    let phase = log.state().segments.get(&name.range.start).map_or(Phase::Marked, |s| s.phase);
    if phase != Phase::Sealed {
        return Ok(phase);
    }
    // Should a power cut take it back, a full spool may give up what has arrived: then S3 has the mark and the
    // object, and the object counts.
    marker::note(log.names(), &MarkerName { phase, ..*name }, Phase::Sending)?;
    if let Some(segment) = log.state().segments.get_mut(&name.range.start) {
        segment.phase = Phase::Sending;
    }
    Ok(Phase::Sending)
}

/// Takes that back: the PUT that was begun cannot have arrived. What an earlier one left open stays so.
pub fn sent_nothing(log: &LogFile, name: &MarkerName) -> Result<(), LocalError> {
    let _settling = log.settling();
    // Should a power cut take it back, the range counts as sent, which is the safe side.
    marker::note(log.names(), name, Phase::Sealed)?;
    if let Some(segment) = log.state().segments.get_mut(&name.range.start) {
        segment.phase = Phase::Sealed;
    }
    Ok(())
}

/// Notes that S3 has a segment, also one that was set aside, or the mark of one that was given up.
pub fn confirm(
    parts: &Parts,
    log: &Arc<LogFile>,
    name: &MarkerName,
    marker: &Marker,
    size: u64,
) -> Result<(), FsError> {
    let settling = log.settling();
    let phase = if name.phase.is_given_up() { Phase::Marked } else { Phase::Confirmed };
    // Should a power cut take it back, the range is sent again, and its object found to be there. What gives
    // its bytes back makes this durable first (`reclaim_one`).
    marker::note(log.names(), name, phase)?;
    // Nothing is sent again; what was to be forgotten is forgotten later.
    crash_point("confirm: the marker says so");
    {
        let mut state = log.state();
        if let Some(segment) = state.segments.get_mut(&name.range.start) {
            segment.phase = phase;
        }
        state.last_key = Some(marker.key.clone());
        state.last_error = None;
    }
    if name.phase.owes_object() {
        log.stream().take_unsent();
    }
    if phase == Phase::Confirmed {
        METRICS.uploaded_segments.inc();
        METRICS.uploaded_bytes.inc_by(name.range.len());
        METRICS.stored_bytes.inc_by(size);
    }
    parts.catalog.add_own(
        &parts.prefix,
        StoredObject {
            key: marker.key.clone(),
            size,
            modified: parts.clock.now(),
            etag: String::new(),
        },
    );
    forget_ended(parts, log)?;
    drop(settling);
    settled(parts, log);
    Ok(())
}

/// Sets a segment aside that cannot be uploaded as what was sealed, and says why: a copy of its bytes and its marker
/// (where it can be read) go into the quarantine, and the rest of the log goes on.
pub fn quarantine(
    parts: &Parts,
    log: &Arc<LogFile>,
    name: &MarkerName,
    marker: Option<&Marker>,
    why: &str,
) -> Result<(), FsError> {
    let settling = log.settling();
    let sealed = MarkerName { phase: Phase::Sealed, ..*name };
    let copy = format!("{}.{sealed}", log.id);
    let note = Note { why: why.to_owned(), at: parts.clock.now(), marker: marker.cloned() };
    let file = log.files.at(name.range.start)?;
    let target = parts.spool.quarantine().keep_copy(&file, name.range, &copy, &note)?;
    marker::advance(log.names(), name, Phase::Quarantined)?;
    {
        let mut state = log.state();
        state.set_aside = true;
        if let Some(segment) = state.segments.get_mut(&name.range.start) {
            segment.phase = Phase::Quarantined;
        }
    }
    log.stream().take_unsent();
    METRICS.quarantined_segments.inc();
    let key = marker.map_or("unknown", |marker| marker.key.as_str());
    error!(key, why, kept = %target.display(), "a segment was set aside");
    forget_ended(parts, log)?;
    drop(settling);
    settled(parts, log);
    Ok(())
}

fn settled(parts: &Parts, log: &Arc<LogFile>) {
    parts.bump();
    if !finish_if_ended(parts, log) {
        // Its next segment may have waited for this one.
        parts.touch(log);
    }
}

/// Drops the markers and bytes of generations that have ended and are settled, from the front only:
/// so a hole between markers is always damage, never our own doing.
fn forget_ended(parts: &Parts, log: &Arc<LogFile>) -> Result<(), FsError> {
    let len = log.len()?;
    let settled: Vec<MarkerName> = {
        let mut state = log.state();
        // Leaves generations behind that are sealed to their ends.
        state.tail(len);
        let begin = state.generations.front().map_or(SpoolOffset(0), |g| g.at);
        let front = state
            .segments
            .iter()
            .take_while(|(_, segment)| segment.end <= begin && !segment.phase.owes_object());
        front.filter_map(|(start, _)| state.marker(*start)).collect()
    };
    let Some(last) = settled.last() else { return Ok(()) };
    // Without its old bases the record says that what lies before is done; and the number of a
    // generation must outlive its markers.
    parts.namespace.store_durably(log.id)?;
    // What lies before the record's first base needs no marker.
    crash_point("forget: the record has no old base");
    log.stream().remember()?;
    crash_point("forget: the number is remembered");
    for name in &settled {
        marker::remove(log.names(), name)?;
    }
    // The hole is punched again at the next start.
    crash_point("forget: the markers are gone");
    let end = last.range.end;
    log.state().segments.retain(|start, _| *start >= end);
    let freed = settled.iter().filter(|m| m.phase.is_here()).map(|m| m.range.len()).sum();
    log.forget_before(end)?;
    parts.give(log, freed);
    Ok(())
}

/// Gives a log file's folder back when it has no name, is not open and S3 has all of it; says whether.
pub fn finish_if_ended(parts: &Parts, log: &Arc<LogFile>) -> bool {
    let ended = {
        let state = log.state();
        !state.linked && state.handles == 0
    };
    ended && remove(parts, log)
}

fn remove(parts: &Parts, log: &Arc<LogFile>) -> bool {
    let done = || -> Result<bool, FsError> {
        // Whoever reclaims must not meet the folder half gone, nor believe that it is there.
        let _settling = log.settling();
        if !parts.namespace.is_kept(log.id) {
            // Two saw that it had ended, and this is the second.
            return Ok(false);
        }
        let len = log.len()?;
        let account = parts.account(log);
        let held = {
            let mut state = log.state();
            parts.count(account, &mut state, len);
            state.held(len)
        };
        log.stream().remember()?;
        // All is sent and nothing removed: it is removed at the next start.
        crash_point("remove: the number is remembered");
        let gone = parts.namespace.retire(log.id)?;
        if gone {
            // Nothing is left to be reclaimed, nor, for whoever looks before the files are gone, to be sealed.
            log.state().segments.values_mut().for_each(|s| s.phase = Phase::Reclaimed);
            parts.give(log, held);
            parts.tidy();
            parts.bump();
        }
        Ok(gone)
    };
    match done() {
        Ok(gone) => gone,
        Err(FsError::Stale) => false,
        Err(e) => {
            error!(
                path = parts.path_of(log),
                "a finished log could not be removed from the spool: {e}"
            );
            false
        }
    }
}

/// Takes logs out of the live view that have been finished for `--retire-after`.
pub fn retire_finished(parts: &Parts) {
    let now = parts.clock.now();
    for log in parts.namespace.logs() {
        let finished = {
            let state = log.state();
            state.handles == 0 && now.since(state.last_growth.0) >= parts.retire_after
        };
        if finished && remove(parts, &log) {
            info!(stream = %crate::values::escape::escape_path(&log.stream().path),
                "a finished log left the live view");
        }
    }
    if let Err(e) = parts.namespace.retire_directories(now.minus(parts.retire_after), now) {
        error!("an empty directory could not be removed from the spool: {e}");
    }
    parts.tidy();
}

/// Gives back the room of confirmed bytes, those of the quietest logs first, until `need` bytes are
/// free. They are read from S3 from then on. Gives how many were freed.
pub fn reclaim(parts: &Parts, need: u64) -> Result<u64, LocalError> {
    if need == 0 {
        return Ok(0);
    }
    let mut logs = parts.namespace.logs();
    logs.sort_by_cached_key(|log| log.state().last_growth.0);
    let mut freed = 0;
    'logs: for log in logs {
        let confirmed: Vec<MarkerName> = {
            let state = log.state();
            let starts = state.segments.iter().filter(|(_, s)| s.phase == Phase::Confirmed);
            starts.filter_map(|(start, _)| state.marker(*start)).collect()
        };
        for name in confirmed {
            if freed >= need {
                break 'logs;
            }
            freed += reclaim_one(parts, &log, &name)?;
        }
    }
    if freed > 0 {
        // Not else: a writer that waits for room would be told of its own look for it, again and again.
        parts.bump();
    }
    Ok(freed)
}

fn reclaim_one(parts: &Parts, log: &LogFile, name: &MarkerName) -> Result<u64, LocalError> {
    let _settling = log.settling();
    let phase = log.state().segments.get(&name.range.start).map(|segment| segment.phase);
    if phase != Some(Phase::Confirmed) {
        return Ok(0);
    }
    marker::advance(log.names(), name, Phase::Reclaimed)?;
    // From here on the bytes come from S3, whether the hole is there or not.
    crash_point("reclaim: the marker says so");
    if let Some(segment) = log.state().segments.get_mut(&name.range.start) {
        segment.phase = Phase::Reclaimed;
    }
    log.punch(name.range)?;
    parts.give(log, name.range.len());
    Ok(name.range.len())
}
