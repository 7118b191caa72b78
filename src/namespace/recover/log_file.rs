//! Recovery of one log: its segments, generations and numbers, made to agree with the bytes that are there.

use std::fs;

use tracing::{error, info};

use super::{Births, Circumstances};
use crate::format::naming::{MarkerName, Phase, SegmentName};
use crate::log_file::{LogFile, State};
use crate::spool::crash_point::crash_point;
use crate::spool::marker::Marker;
use crate::spool::record::{Generation, Kind, Numbered, Record};
use crate::spool::{Note, Spool};
use crate::types::errors::{AtPath, LocalError};
use crate::types::escape::escape_path;
use crate::types::ids::{SpoolOffset, SpoolRange};
use crate::types::time::Utc;

/// Why a range without a marker is kept.
const NO_MARKER: &str = "its seal marker is gone: whether S3 has it is not known";

/// Puts the segments into the log file and makes its generations, and their record, fit what is on disk. Gives `false`
/// when the disk is too full for that record.
pub(super) fn restore(
    spool: &Spool,
    log: &LogFile,
    record: &mut Record,
    markers: &[MarkerName],
    at: Circumstances<'_>,
    births: &Births,
) -> Result<bool, LocalError> {
    let mut state = log.state();
    for marker in markers {
        state.segments.adopt(*marker);
        if marker.phase.owes_object() {
            log.stream().add_unsent();
        }
    }
    fit_files(log, &mut state, at.now, births)?;
    let metadata = log.metadata()?.1;
    let len = fit_last(spool, log, &mut state, record, |end| births.begin(end, at.now))?;
    keep_holes(spool, log, &mut state, at.now)?;
    number_generations(log, &mut state);

    punch_again(log, &state)?;
    state.count(len);

    let in_place = state.content().is_in_place();
    let cut = spool.session().was_cut(log.id, len) || (spool.rebooted && ends_within_a_line(log, &state, len));
    if cut && !in_place && state.current().at < len {
        info!(stream = %escape_path(&log.stream().path), "machine or daemon went down in the middle of a line: a new generation begins");
        state.begin_generation(births.begin(len, at.now));
    }
    let written = LogFile::written_at(&metadata);
    state.found(at.now, len, written);
    follow(spool, log, &state, record)
}

/// Makes the spool files before the last one, and the generations in them, agree.
fn fit_files(log: &LogFile, state: &mut State, now: Utc, births: &Births) -> Result<(), LocalError> {
    let first = state.first_base().min(state.first_kept());
    log.files.complete(first, |start| state.generations().any(|g| g.at == start))?;
    let starts = log.files.starts();
    for start in starts.iter().skip(1).filter(|start| **start > first) {
        let generations = state.generations_mut();
        let after = generations.partition_point(|g| g.at < *start);
        if generations.get(after).is_none_or(|g| g.at != *start) {
            // A power cut took back what the record says of it; the name of the file says it too.
            let since = generations.get(after.max(1) - 1).map_or(now, |before| before.since);
            let begun = Generation { since, ..births.begin(*start, now) };
            generations.insert(after, begun);
        }
    }
    for (start, next) in starts.iter().zip(&starts[1..]) {
        let sealed =
            state.segments.iter().rfind(|s| (*start..*next).contains(&s.range.start)).map_or(*start, |s| s.range.end);
        let end = fit_file(log, *start, sealed)?;
        let within = state.generations_mut().iter_mut().filter(|g| (*start..*next).contains(&g.at));
        let mut last = None;
        for generation in within {
            generation.at = generation.at.min(end);
            last = Some(generation);
        }
        if let Some(generation) = last.filter(|_| end < *next) {
            generation.end = Some(end);
        }
    }
    Ok(())
}

/// Makes a spool file at least as long as what was sealed of it; gives where it ends then.
fn fit_file(log: &LogFile, start: SpoolOffset, sealed: SpoolOffset) -> Result<SpoolOffset, LocalError> {
    let file = log.files.at(start)?;
    let found = file.end().at("stat", &log.path())?;
    if found < sealed {
        error!(stream = %escape_path(&log.stream().path), sealed = sealed.0, found = found.0,
            "a spool file is shorter than what was sealed of it");
        file.extend(sealed).at("extend", &log.path())?;
        // That bytes are missing shows by their checksum, and in the record where the generation goes on.
        crash_point("recover: the spool file is extended");
    }
    Ok(found.max(sealed))
}

/// Makes the last spool file, the sealed end and the generations agree. Gives where the file ends then.
fn fit_last(
    spool: &Spool,
    log: &LogFile,
    state: &mut State,
    record: &mut Record,
    begin: impl FnOnce(SpoolOffset) -> Generation,
) -> Result<SpoolOffset, LocalError> {
    let len = log.len()?;
    let sealed = state.segments.iter().next_back().map_or(SpoolOffset(0), |s| s.range.end);
    let end = len.max(sealed);
    for generation in state.generations_mut() {
        // A base that lies beyond what reached the disk was never used for a key.
        generation.at = generation.at.min(end);
    }
    if len < sealed && state.current().at < sealed {
        // Another generation begins. Before the file is extended: the next start finds no sign then.
        state.begin_generation(begin(sealed));
        follow(spool, log, state, record)?;
    }
    let (start, _) = log.files.current();
    fit_file(log, start, sealed)
}

/// Sets ranges aside that lie before a sealed range and have no marker: whether S3 has them cannot be known, and what
/// is neither sealed nor unsealed would go with the log one day, unseen.
fn keep_holes(spool: &Spool, log: &LogFile, state: &mut State, now: Utc) -> Result<(), LocalError> {
    let base = state.generations().next().map(|g| g.at);
    let first = state.segments.iter().next().map(|s| s.range.start);
    let (Some(base), Some(first)) = (base, first) else { return Ok(()) };
    let mut covered = base.min(first);
    let mut holes = Vec::new();
    for segment in state.segments.iter() {
        // Between two spool files there may be nothing.
        let file = log.files.at(covered)?;
        let end = file.end().at("stat", &log.path())?.min(segment.range.start);
        if end > covered {
            let range = SpoolRange { start: covered, end };
            // The number of what follows, so that a generation whose first range this is keeps it.
            let (generation, phase) = (segment.generation, Phase::Quarantined);
            holes.push(MarkerName { range, generation, phase });
        }
        covered = covered.max(segment.range.end);
    }
    for hole in holes {
        let note = Note { why: NO_MARKER.to_owned(), at: now, marker: None };
        let file = log.files.at(hole.range.start)?;
        let kept = spool.quarantine().keep_copy(
            |to, at| file.read_exact_at(to, at),
            hole.range,
            &format!("{}.{hole}", log.id),
            &note,
        )?;
        error!(stream = %escape_path(&log.stream().path), range = ?hole.range, kept = %kept.display(),
            "a sealed range has lost its marker; a copy of its bytes is kept");
        // Kept twice is better than not at all.
        crash_point("recover: a range without marker is kept");
        let path = log.names().marker(&hole);
        fs::write(&path, "{}").at("write", &path)?;
        state.segments.adopt(hole);
    }
    Ok(())
}

/// Finds what the generations are called: by their markers, where they have any. The stream learns of it, and the log
/// file when it may have been written at the earliest what is not sealed.
fn number_generations(log: &LogFile, state: &mut State) {
    let stream = log.stream();
    let marked = |name: MarkerName| {
        let marker = Marker::load(log.names(), &name).ok()?;
        Some((SegmentName::parse("", &marker.key)?, marker.next))
    };
    // Versions of a whole file have numbers of their own.
    let is_version = |name: &MarkerName| Marker::load(log.names(), name).is_ok_and(|marker| marker.birth.is_some());
    let mut named = Vec::new();
    let mut before = None;
    for segment in state.segments.iter().filter(|segment| !is_version(segment)) {
        if before.replace(segment.generation) != Some(segment.generation) {
            let key = marked(segment).map(|(key, _)| key).filter(|key| key.offset == 0);
            let number = segment.generation;
            named.push((segment.range.start, Numbered { number, start: key.map(|key| key.start).unwrap_or_default() }));
        }
    }
    let last = state.segments.iter().next_back().and_then(marked);
    if let Some((key, next)) = last {
        state.resume_behind(key.start, next);
    }
    let ends: Vec<_> = state.generations().skip(1).map(|g| g.at).collect();
    for (i, generation) in state.generations_mut().iter_mut().enumerate() {
        let next = ends.get(i).copied().unwrap_or(SpoolOffset(u64::MAX));
        let found = named.iter().find(|(start, _)| (generation.at..next).contains(start));
        generation.numbered = found.map(|(_, numbered)| *numbered).or(generation.numbered);
    }
    let recorded = state.generations().filter(|g| !g.content.is_in_place()).filter_map(|g| g.numbered);
    named.into_iter().map(|(_, numbered)| numbered).chain(recorded).for_each(|numbered| stream.seen(numbered));
}

/// The daemon may have died between a marker's last step and the hole that follows it. What lies before the first base
/// is settled, since the record forgets a base only then; bytes behind it whose marker is missing are not.
fn punch_again(log: &LogFile, state: &State) -> Result<(), LocalError> {
    let settled = state.first_base().min(state.first_kept());
    log.files.forget_before(settled)?;
    for segment in state.segments.iter().filter(|s| !s.phase.is_here()) {
        log.files.punch(segment.range)?;
    }
    Ok(())
}

fn ends_within_a_line(log: &LogFile, state: &State, len: SpoolOffset) -> bool {
    let last = state.segments.iter().next_back();
    if let Some(name) = last.filter(|m| m.range.end == len && !m.phase.is_here()) {
        // The last byte is no longer here; the key says what it was.
        let key = Marker::load(log.names(), &name).map(|marker| marker.key);
        let name = key.ok().and_then(|key| SegmentName::parse("", &key));
        return name.is_some_and(|name| name.partial);
    }
    let mut last = [0];
    let at = SpoolOffset(len.0.saturating_sub(1));
    let Ok(file) = log.files.at(at) else { return false };
    matches!(file.read_at(&mut last, at), Ok(1)) && last != *b"\n"
}

/// Makes the record say where the generations begin. Gives `false` when the disk is too full for that.
fn follow(spool: &Spool, log: &LogFile, state: &State, record: &mut Record) -> Result<bool, LocalError> {
    let Kind::Live { bases, .. } = &mut record.kind else { return Ok(true) };
    let found = state.bases();
    // Numbers that the record does not have are in the markers, as long as it has the generation.
    let unnumbered =
        |bases: &[Generation]| -> Vec<_> { bases.iter().map(|base| Generation { numbered: None, ..*base }).collect() };
    if unnumbered(bases) == unnumbered(&found) {
        return Ok(true);
    }
    *bases = found;
    let records = spool.records();
    let kept = spool.has_room_for(|| records.sync(records.put(log.id, record)?))?;
    // A generation that began here begins no second time.
    crash_point("recover: the record follows");
    Ok(kept)
}
