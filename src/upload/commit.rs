//! The outcome of an upload, made durable: a PUT has begun, S3 confirmed the segment, or the segment is quarantined.
//! Owns the phase changes of markers; what then leaves the disk is up to `evict`. Blocking.

use std::sync::Arc;

use tracing::error;

use super::copies;
use super::evict::finish_if_ended;
use super::parts::Parts;
use crate::format::naming::{MarkerName, Phase};
use crate::log_file::LogFile;
use crate::metrics::METRICS;
use crate::spool::crash_point::crash_point;
use crate::spool::marker::Marker;
use crate::spool::{Note, marker};
use crate::types::errors::{FsError, LocalError};
use crate::types::stored_object::StoredObject;

/// Notes that a PUT of a segment begins: from here on it is not dropped. Gives the phase that it is in then.
pub fn begin_sending(log: &LogFile, name: &MarkerName) -> Result<Phase, LocalError> {
    let _committing = log.committing();
    let phase = log.state().segments.phase(name.range.start).unwrap_or(Phase::Marked);
    if phase != Phase::Sealed || !log.state().segments.has(name) {
        return Ok(phase);
    }
    // Should a power cut take it back, a full spool may give up what has arrived: then S3 has the mark and the object,
    // and the object counts.
    marker::note(log.names(), &MarkerName { phase, ..*name }, Phase::Sending)?;
    log.state().segments.set_phase(name.range.start, Phase::Sending);
    Ok(Phase::Sending)
}

/// Takes that back: the PUT that was begun cannot have arrived. What an earlier one left open stays so.
pub fn sent_nothing(log: &LogFile, name: &MarkerName) -> Result<(), LocalError> {
    let _committing = log.committing();
    // Should a power cut take it back, the range counts as sent, which is the safe side.
    marker::note(log.names(), name, Phase::Sealed)?;
    log.state().segments.set_phase(name.range.start, Phase::Sealed);
    Ok(())
}

/// Notes that S3 has a segment, also one that was quarantined, or the mark of one that was dropped.
pub fn confirm(
    parts: &Parts,
    log: &Arc<LogFile>,
    name: &MarkerName,
    marker: &Marker,
    size: u64,
) -> Result<(), FsError> {
    let committing = log.committing();
    if !log.state().segments.has(name) {
        // A whole file has been written again: the object is the version before.
        return Ok(());
    }
    let phase = if name.phase.is_dropped() { Phase::Marked } else { Phase::Confirmed };
    // Should a power cut take it back, the range is sent again, and its object found to be there. What gives its bytes
    // back makes this durable first (`reclaim_one`).
    marker::note(log.names(), name, phase)?;
    // Nothing is sent again; what was to be forgotten is forgotten later.
    crash_point("confirm: the marker says so");
    log.state().confirm(name.range.start, phase, &marker.key);
    if name.phase.owes_object() {
        log.stream().take_unsent();
    }
    if phase == Phase::Confirmed {
        METRICS.uploaded_segments.inc();
        METRICS.uploaded_bytes.inc_by(name.range.len());
        METRICS.stored_bytes.inc_by(size);
    }
    parts.ports.catalog.add_own(
        &parts.ports.prefix,
        StoredObject { key: marker.key.clone(), size, modified: parts.ports.clock.now(), etag: String::new() },
    );
    forget_ended(parts, log)?;
    drop(committing);
    committed(parts, log);
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
    let committing = log.committing();
    if !log.state().segments.has(name) {
        return Ok(());
    }
    let sealed = MarkerName { phase: Phase::Sealed, ..*name };
    let copy = format!("{}.{sealed}", log.id);
    let note = Note { why: why.to_owned(), at: parts.ports.clock.now(), marker: marker.cloned() };
    let file = log.files.at(name.range.start)?;
    let target =
        parts.disk.spool.quarantine().keep_copy(|to, at| file.read_exact_at(to, at), name.range, &copy, &note)?;
    marker::advance(log.names(), name, Phase::Quarantined)?;
    log.state().lose(name.range.start, Phase::Quarantined);
    log.stream().take_unsent();
    METRICS.quarantined_segments.inc();
    let key = marker.map_or("unknown", |marker| marker.key.as_str());
    error!(key, why, kept = %target.display(), "a segment was quarantined");
    forget_ended(parts, log)?;
    drop(committing);
    committed(parts, log);
    Ok(())
}

fn committed(parts: &Parts, log: &Arc<LogFile>) {
    parts.queues.bump();
    if !finish_if_ended(parts, log) {
        // Its next segment may have waited for this one.
        parts.queues.touch(log);
    }
}

/// Drops the markers and bytes of generations that have ended and are settled, from the front only: so a hole between
/// markers is always damage, never our own doing.
fn forget_ended(parts: &Parts, log: &Arc<LogFile>) -> Result<(), FsError> {
    let disk = &parts.disk;
    let len = log.len()?;
    let settled: Vec<MarkerName> = {
        let mut state = log.state();
        // Leaves generations behind that are sealed to their ends.
        state.tail(len);
        let begin = state.first_base();
        state.segments.iter().take_while(|s| s.range.end <= begin && !s.phase.owes_object()).collect()
    };
    let Some(last) = settled.last() else { return Ok(()) };
    copies::settle(parts, log);
    // Without its old bases the record says that what lies before is done; and the number of a generation must outlive
    // its markers.
    disk.namespace.store_durably(log.id)?;
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
    log.state().segments.forget_before(end);
    let freed = settled.iter().filter(|m| m.phase.is_here()).map(|m| m.range.len()).sum();
    log.forget_before(end)?;
    disk.give(log, freed);
    Ok(())
}
