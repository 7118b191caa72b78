//! A full spool under `--when-full drop-oldest`: in the first-level folder with the most unsent bytes the stream with
//! the most drops its oldest range, and an empty object in the bucket marks which. Blocking.
//!
//! Invariants: a range whose PUT has begun is never dropped. The marker says durably that a range is dropped before its
//! bytes go. Nothing is dropped of a smaller folder, or of a smaller stream in it, while a larger one has something to
//! drop.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tracing::warn;

use super::evict;
use super::parts::{Disk, Parts};
use crate::format::naming::{MarkerName, Phase};
use crate::log_file::LogFile;
use crate::settings::writer::WhenFull;
use crate::spool::crash_point::crash_point;
use crate::spool::marker::Marker;
use crate::spool::{DroppedRange, marker};
use crate::types::errors::LocalError;
use crate::types::escape::escape_path;
use crate::types::ids::SpoolOffset;

/// A stream with less than this part of what the largest one has is small.
const SMALL: u64 = 8;

/// Makes room for `bytes` more: takes back what S3 has and then, under `drop-oldest`, what is still missing from the
/// stream that waits with most. It may not be enough: what is under way stays, and what is not sealed has to be sealed
/// first, which is asked for.
pub fn make_room(parts: &Parts, bytes: u64) -> Result<(), LocalError> {
    match take_or_drop(parts, bytes) {
        Err(e) if e.is_no_space() => {
            // Others have filled the disk to its last block, and not even a marker can go on to its next phase.
            parts.disk.spool.drop_ballast();
            take_or_drop(parts, bytes)
        }
        made => made,
    }
}

fn take_or_drop(parts: &Parts, bytes: u64) -> Result<(), LocalError> {
    evict::reclaim(parts, parts.disk.budget.to_reclaim().max(bytes))?;
    let need = parts.disk.budget.over() + bytes;
    if parts.disk.when_full != WhenFull::DropOldest || need == 0 || parts.disk.budget.available() >= bytes.max(1) {
        return Ok(());
    }
    let disk_is_short = parts.disk.budget.disk_shortage() > 0;
    let (mut freed, mut lost) = (0, HashMap::new());
    let mut logs = waiting(&parts.disk);
    while freed < need {
        let Some(at) = choose(&logs.iter().map(|(waits, _)| *waits).collect::<Vec<_>>()) else {
            break;
        };
        let (waits, log) = &mut logs[at];
        match waits.oldest {
            Some(start) => {
                let bytes = drop_range(parts, log, start)?;
                *lost.entry(log.stream().path.clone()).or_insert(0) += bytes;
                freed += bytes;
                *waits = look(log, (waits.part, waits.stream))?;
            }
            None => {
                parts.queues.force(log);
                break;
            }
        }
    }
    if disk_is_short && freed > 0 {
        // Else the next write would find the disk as full as before, and more would be dropped.
        parts.disk.spool.free_now();
    }
    for (stream, bytes) in lost {
        let total = parts.queues.count_dropped(bytes);
        warn!(stream = %escape_path(&stream), bytes, total, "the spool is full: the oldest unsent bytes of this log were dropped");
    }
    if freed > 0 {
        parts.queues.bump();
    }
    Ok(())
}

/// What a log has that S3 does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waits {
    /// The first part of its path, by number.
    part: usize,
    /// Its stream, by number.
    stream: usize,
    /// Bytes.
    unsent: u64,
    /// Bytes of them that are not sealed.
    unsealed: u64,
    /// The oldest range that may be dropped, by its start.
    oldest: Option<SpoolOffset>,
}

/// The log that gives something up, or is to be sealed for it: of the first part of paths with most unsent bytes, and
/// of its stream with most, among those that have any such, the first log (they are in the order of age) that can give
/// up at once.
fn choose(logs: &[Waits]) -> Option<usize> {
    let able = |log: &&Waits| log.oldest.is_some() || log.unsealed > 0;
    let most = |of: fn(&Waits) -> (usize, usize), among: Option<(usize, usize)>| {
        let mut unsent: HashMap<(usize, usize), u64> = HashMap::new();
        for log in logs {
            *unsent.entry(of(log)).or_default() += log.unsent;
        }
        let within = |log: &&Waits| among.is_none_or(|(part, _)| log.part == part);
        let able = logs.iter().filter(able).filter(within).map(|log| (unsent[&of(log)], of(log)));
        able.max().map(|(_, most)| most)
    };
    let part = most(|log| (log.part, 0), None)?;
    let stream = most(|log| (log.part, log.stream), Some(part))?;
    // While all that a large stream has is under way, dropping a small one would cost it everything and make no room.
    let mut unsent: HashMap<(usize, usize), u64> = HashMap::new();
    for log in logs {
        *unsent.entry((log.part, log.stream)).or_default() += log.unsent;
    }
    if unsent[&stream] < unsent.values().max()? / SMALL {
        return None;
    }
    let of_most = |log: &Waits| (log.part, log.stream) == stream;
    let now = logs.iter().position(|log| of_most(log) && log.oldest.is_some());
    now.or_else(|| logs.iter().position(|log| of_most(log) && log.unsealed > 0))
}

/// All logs that have unsent bytes, the oldest first.
fn waiting(disk: &Disk) -> Vec<(Waits, Arc<LogFile>)> {
    let (mut firsts, mut streams) = (HashMap::new(), HashMap::new());
    let mut found = Vec::new();
    for log in disk.namespace.logs() {
        let next = (firsts.len(), streams.len());
        let part = *firsts.entry(disk.namespace.part(log.id)).or_insert(next.0);
        let stream = *streams.entry(log.stream().path.clone()).or_insert(next.1);
        // One that cannot be looked at gives nothing up.
        match look(&log, (part, stream)) {
            Ok(waits) if waits.unsent > 0 => found.push((waits, log)),
            Ok(_) | Err(_) => {}
        }
    }
    found.sort_by_key(|(_, log)| log.state().generations().next().map(|g| g.since));
    found
}

fn look(log: &LogFile, (part, stream): (usize, usize)) -> Result<Waits, LocalError> {
    let len = log.len()?;
    let state = log.state();
    let mut sealed = state.segments.iter().filter(|s| s.phase == Phase::Sealed);
    Ok(Waits {
        part,
        stream,
        unsent: state.unsent(len),
        unsealed: if state.content().is_in_place() { 0 } else { state.unsealed(len) },
        oldest: sealed.next().map(|s| s.range.start),
    })
}

/// Drops one sealed range, unless its PUT has begun meanwhile; gives the bytes.
fn drop_range(parts: &Parts, log: &LogFile, start: SpoolOffset) -> Result<u64, LocalError> {
    let _committing = log.committing();
    let Some(name) = log.state().segments.starting_at(start).filter(|m| m.phase == Phase::Sealed) else {
        return Ok(0);
    };
    marker::advance(log.names(), &name, Phase::Dropped)?;
    // The mark is owed, whether the bytes are gone or not.
    crash_point("drop: the marker says so");
    log.state().lose(start, Phase::Dropped);
    log.punch(name.range)?;
    parts.disk.give(log, name.range.len());
    note(parts, log, &name);
    Ok(name.range.len())
}

/// Puts a range that was dropped on the spool's account.
fn note(parts: &Parts, log: &LogFile, name: &MarkerName) {
    let name = log.state().segments.starting_at(name.range.start).unwrap_or(*name);
    let noted = Marker::load(log.names(), &name).and_then(|Marker { key, .. }| {
        let dropped = DroppedRange { key, bytes: name.range.len(), at: parts.ports.clock.now() };
        parts.disk.spool.quarantine().note_dropped(&dropped)
    });
    if let Err(e) = noted {
        // The marker says it, and so will the bucket.
        warn!("a dropped range could not be recorded in the spool: {e}");
    }
}

/// Does so with those that a daemon which was killed has not noted.
pub fn note_again(parts: &Parts) {
    let dropped = |log: Arc<LogFile>| {
        let markers: Vec<_> = log.state().segments.iter().collect();
        let dropped = markers.into_iter().filter(|marker| marker.phase.is_dropped());
        dropped.map(move |marker| (log.clone(), marker)).collect::<Vec<_>>()
    };
    let all: Vec<_> = parts.disk.namespace.logs().into_iter().flat_map(dropped).collect();
    if all.is_empty() {
        return;
    }
    let noted = parts.disk.spool.quarantine().dropped().unwrap_or_default();
    let noted: HashSet<_> = noted.into_iter().map(|range| range.key).collect();
    for (log, name) in all {
        let key = Marker::load(log.names(), &name).map(|marker| marker.key);
        if key.is_ok_and(|key| !noted.contains(&key)) {
            note(parts, &log, &name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(stream: usize, unsent: u64, unsealed: u64, oldest: Option<u64>) -> Waits {
        of(0, stream, unsent, unsealed, oldest)
    }

    fn of(part: usize, stream: usize, unsent: u64, unsealed: u64, oldest: Option<u64>) -> Waits {
        Waits { part, stream, unsent, unsealed, oldest: oldest.map(SpoolOffset) }
    }

    #[test]
    fn who_floods_through_many_streams_drops_before_a_neighbour_with_a_larger_one() {
        let mut logs = vec![of(0, 0, 900, 0, Some(0))];
        logs.extend((1..150).map(|n| of(1, n, 10 + n as u64, 0, Some(n as u64))));
        assert_eq!(choose(&logs), Some(149));
        // With nothing there that it could give up, it is the neighbour's turn.
        logs.iter_mut().skip(1).for_each(|log| log.oldest = None);
        assert_eq!(choose(&logs), Some(0));
    }

    #[test]
    fn the_stream_with_most_drops_its_oldest_and_a_quiet_one_nothing() {
        let audit = waits(0, 100, 0, Some(0));
        let dump = [waits(1, 60, 0, Some(7)), waits(1, 70, 10, Some(9))];
        assert_eq!(choose(&[audit, dump[0], dump[1]]), Some(1));
        assert_eq!(choose(&[audit, dump[0]]), Some(0));
    }

    #[test]
    fn what_is_under_way_is_not_dropped_and_what_is_not_sealed_is_sealed_first() {
        let under_way = waits(0, 900, 0, None);
        let unsealed = waits(1, 500, 500, None);
        assert_eq!(choose(&[under_way, unsealed, waits(2, 400, 0, Some(0))]), Some(1));
        assert_eq!(choose(&[under_way, waits(2, 400, 0, Some(0))]), Some(1));
        assert_eq!(choose(&[under_way, waits(2, 4, 0, Some(0))]), None, "a small one is spared");
        assert_eq!(choose(&[under_way]), None);
    }
}
