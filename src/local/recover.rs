//! Recovery: from what the spool's folders hold to lives and records. The same arithmetic as in normal
//! work goes on from here; nothing is uploaded, sealed or deleted. What cannot be used is set aside
//! under `quarantine/`, named, and the rest goes on. Recovering twice gives the same as once.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::crash_point::crash_point;
use super::disk::{Durable, punch};
use super::life::{Life, Segment, State};
use super::marker::Marker;
use super::namespace::Found;
use super::record::{Base, DATA, Kind, RECORD, Record};
use super::room::Room;
use super::spool::Spool;
use super::stream::Streams;
use crate::values::errors::{AtPath, LocalError};
use crate::values::ids::{NodeId, SpoolOffset, SpoolRange};
use crate::values::naming::{MarkerName, Phase, SegmentName};
use crate::values::time::Utc;

/// What recovery needs beside the spool.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The streams' numbers.
    pub streams: &'a Streams,
    /// Where found bytes are counted.
    pub room: &'a Room,
    /// The wall clock.
    pub now: Utc,
    /// Nodes that the worker before had open.
    pub open: &'a HashSet<NodeId>,
    /// `--rotate-interval`: no unsealed byte is older than that before the last write.
    pub interval: Duration,
}

/// Reads all nodes of a spool.
pub fn recover(spool: &Spool, at: Circumstances<'_>) -> Result<Vec<Found>, LocalError> {
    clear_streams(spool)?;
    let nodes = spool.nodes();
    let mut found = Vec::new();
    for entry in fs::read_dir(&nodes).at("list", &nodes)? {
        let entry = entry.at("list", &nodes)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Not what a link leads to: nothing outside of the spool is touched.
        let is_folder = entry.file_type().at("stat", &entry.path())?.is_dir();
        let is_node = |name: &str| {
            let id = u64::from_str_radix(name, 16).map(NodeId).ok();
            id.filter(|id| id.to_string() == name)
        };
        if is_folder && name.strip_suffix(".gone").and_then(is_node).is_some() {
            // A removal that was under way: the folder had nothing left to keep.
            fs::remove_dir_all(entry.path()).at("remove", &entry.path())?;
            continue;
        }
        match is_node(&name).filter(|_| is_folder) {
            Some(id) => found.extend(recover_node(spool, id, at)?),
            None => set_aside(spool, &entry.path(), &name, "it is no node of a spool"),
        }
    }
    spool.recovered()?;
    Ok(found)
}

/// Sets aside what stands where a stream's number is to be stored, and is no file.
fn clear_streams(spool: &Spool) -> Result<(), LocalError> {
    let streams = spool.streams();
    for entry in fs::read_dir(&streams).at("list", &streams)? {
        let path = entry.at("list", &streams)?.path();
        if !is_file(&path) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            set_aside(spool, &path, &name, "it is no stream's number");
        }
    }
    Ok(())
}

/// Whether there is a file, and no link to one.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn recover_node(
    spool: &Spool,
    id: NodeId,
    at: Circumstances<'_>,
) -> Result<Option<Found>, LocalError> {
    let folder = spool.node(id);
    let record = match Record::load(&folder) {
        Ok(record) => record,
        Err(_) if is_unborn(&folder) => {
            // The daemon died between making the folder and the record, so that nobody was told of the
            // node; or the power went before anybody synced it.
            fs::remove_dir_all(&folder).at("remove", &folder)?;
            return Ok(None);
        }
        Err(e) => {
            set_aside(spool, &folder, &id.to_string(), &e.to_string());
            return Ok(None);
        }
    };
    let data = folder.join(DATA);
    if fs::symlink_metadata(&data).is_ok() && !is_file(&data) {
        set_aside(spool, &folder, &id.to_string(), "its bytes are in no file");
        return Ok(None);
    }
    let Kind::Live { stream, labels, bases } = &record.kind else {
        if record.kind == Kind::Local {
            let len = fs::metadata(data).map_or(0, |m| m.len());
            // Over the limit or not, the files are there.
            let _ = at.room.take_local(len);
        }
        let kept = id == NodeId::ROOT || at.open.contains(&id);
        let unlinked = record.claims.is_empty() && !kept;
        if unlinked {
            fs::remove_dir_all(&folder).at("remove", &folder)?;
        }
        return Ok((!unlinked).then_some(Found { id, record, life: None }));
    };
    if bases.is_empty() {
        set_aside(spool, &folder, &id.to_string(), "its record has no generation");
        return Ok(None);
    }
    let stream = at.streams.get(stream, at.now)?;
    let life = Arc::new(Life::new(id, folder.clone(), stream, labels.clone(), bases));
    let markers = read_markers(spool, &life)?;
    let mut record = record;
    restore(spool, &life, &mut record, &markers, at)?;
    if !at.open.contains(&id) {
        life.look_for_orphans();
    }
    Ok(Some(Found { id, record, life: Some(life) }))
}

/// Makes the record say where the generations begin.
fn follow(life: &Life, state: &State, record: &mut Record) -> Result<(), LocalError> {
    let Kind::Live { bases, .. } = &mut record.kind else { return Ok(()) };
    let found = state.bases();
    if *bases != found {
        *bases = found;
        record.store(life.folder(), Durable::OldOrNew)?;
        // A generation that began here begins no second time.
        crash_point("recover: the record follows");
    }
    Ok(())
}

/// Whether a folder has no record, or an empty one, because it was just being made: it holds nothing
/// else then, and no byte.
fn is_unborn(folder: &Path) -> bool {
    let empty = |name: &str| fs::metadata(folder.join(name)).map_or(true, |m| m.len() == 0);
    let of_the_birth = |name: &str| name == DATA || name == RECORD || is_half_written(name);
    let expected = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| of_the_birth(&entry.file_name().to_string_lossy()))
    };
    empty(RECORD)
        && empty(DATA)
        && fs::read_dir(folder).is_ok_and(|mut entries| entries.all(expected))
}

/// The markers of a folder in the order of their ranges; what is no marker and what overlaps goes
/// into quarantine.
fn read_markers(spool: &Spool, life: &Life) -> Result<Vec<MarkerName>, LocalError> {
    let folder = life.folder();
    let mut markers = Vec::new();
    for entry in fs::read_dir(folder).at("list", folder)? {
        let path = entry.at("list", folder)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match MarkerName::parse(&name) {
            Some(marker) if is_file(&path) => markers.push(marker),
            _ if name == DATA || name == RECORD => {}
            // Half-written by a daemon that died: its range has no key yet.
            _ if is_half_written(&name) && is_file(&path) => {
                fs::remove_file(&path).at("remove", &path)?;
            }
            _ => set_aside(spool, &path, &format!("{}-{name}", life.id), "it is no seal marker"),
        }
    }
    markers.sort_by_key(|m| (m.range.start, std::cmp::Reverse(m.range.end)));
    let mut sound: Vec<MarkerName> = Vec::with_capacity(markers.len());
    for marker in markers {
        match sound.last() {
            Some(before) if marker.range.start < before.range.end => {
                let name = format!("{}-{marker}", life.id);
                let why = "its range overlaps another's";
                set_aside(spool, &folder.join(marker.to_string()), &name, why);
            }
            _ => sound.push(marker),
        }
    }
    Ok(sound)
}

/// Whether a name is that of a record or marker before it gets its own.
fn is_half_written(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".new") else { return false };
    let marker = MarkerName::parse(&format!("{stem}.sealed"));
    marker.is_some() || RECORD.strip_suffix(".json") == Some(stem)
}

/// Puts the segments into the life and makes its generations, and their record, fit what is on disk.
fn restore(
    spool: &Spool,
    life: &Life,
    record: &mut Record,
    markers: &[MarkerName],
    at: Circumstances<'_>,
) -> Result<(), LocalError> {
    let file = life.file()?;
    let metadata = life.metadata()?;
    let mut state = life.state();
    for marker in markers {
        let MarkerName { range, generation, phase } = *marker;
        state.segments.insert(range.start, Segment { end: range.end, generation, phase });
        life.stream().seen(generation);
        if phase.owes_object() {
            life.stream().add_unsent();
        }
    }
    let len = fit(life, &mut state, record, SpoolOffset(metadata.len()), at.now)?;
    if len.0 > metadata.len() {
        file.set_len(len.0).at("extend", &life.folder().join(DATA))?;
        // That bytes are missing shows in the record, and by their checksum.
        crash_point("recover: the spool file is extended");
    }
    keep_holes(spool, life, &mut state, &file)?;
    number_generations(&mut state);

    punch_again(life, &state, &file)?;
    at.room.found(state.held(len));
    state.counted = len;

    let cut = spool.session().was_cut(life.id, len) && state.current().base.at < len;
    if cut || (spool.rebooted && ends_within_a_line(life, &state, &file, len)) {
        info!(node = %life.id, "machine or daemon went down in the middle of a line: a new generation begins");
        state.begin_generation(Base { at: len, since: at.now, made_by: None });
    }
    let written = Life::written_at(&metadata);
    if len > state.sealed_end() {
        let since = state.generations.front().map_or(written, |g| g.base.since);
        state.first_byte = Some(written.minus(at.interval).max(since).min(written.max(since)));
    }
    state.last_growth = (written, len);
    follow(life, &state, record)
}

/// Makes length, sealed end and bases agree. Gives the length that the file is to have.
fn fit(
    life: &Life,
    state: &mut State,
    record: &mut Record,
    len: SpoolOffset,
    now: Utc,
) -> Result<SpoolOffset, LocalError> {
    let sealed = state.segments.last_key_value().map_or(SpoolOffset(0), |(_, s)| s.end);
    let end = len.max(sealed);
    for generation in &mut state.generations {
        // A base that lies beyond what reached the disk was never used for a key.
        generation.base.at = generation.base.at.min(end);
    }
    if len < sealed {
        error!(node = %life.id, sealed = sealed.0, found = len.0,
            "the spool file is shorter than what was sealed of it: a new generation begins");
        state.begin_generation(Base { at: sealed, since: now, made_by: None });
        // Before the file is extended: the next start finds no sign then.
        follow(life, state, record)?;
    }
    Ok(end)
}

/// Sets ranges aside that lie before a sealed range and have no marker: whether S3 has them cannot be
/// known, and what is neither sealed nor unsealed would go with the log one day, unseen.
fn keep_holes(
    spool: &Spool,
    life: &Life,
    state: &mut State,
    file: &fs::File,
) -> Result<(), LocalError> {
    let base = state.generations.front().map(|g| g.base.at);
    let first = state.segments.first_key_value().map(|(start, _)| *start);
    let (Some(base), Some(first)) = (base, first) else { return Ok(()) };
    let mut covered = base.min(first);
    let mut holes = Vec::new();
    for (start, segment) in &state.segments {
        if *start > covered {
            let range = SpoolRange { start: covered, end: *start };
            // The number of what follows, so that a generation whose first range this is keeps it.
            let (generation, phase) = (segment.generation, Phase::Quarantined);
            holes.push(MarkerName { range, generation, phase });
        }
        covered = covered.max(segment.end);
    }
    for hole in holes {
        let kept = spool.keep_copy(file, hole.range, &format!("{}-{hole}", life.id))?;
        error!(node = %life.id, range = ?hole.range, kept = %kept.display(),
            "a sealed range has lost its marker; a copy of its bytes is kept");
        // Kept twice is better than not at all.
        crash_point("recover: a range without marker is kept");
        let path = life.folder().join(hole.to_string());
        fs::write(&path, "{}").at("write", &path)?;
        let MarkerName { range, generation, phase } = hole;
        state.segments.insert(range.start, Segment { end: range.end, generation, phase });
    }
    Ok(())
}

/// Finds the numbers that the markers gave to the generations.
fn number_generations(state: &mut State) {
    let starts: Vec<_> = state.generations.iter().map(|g| g.base.at).collect();
    for (i, generation) in state.generations.iter_mut().enumerate() {
        let next = starts.get(i + 1).copied().unwrap_or(SpoolOffset(u64::MAX));
        let mut within = state.segments.range(starts[i].min(next)..next);
        generation.number = within.next().map(|(_, segment)| segment.generation);
    }
}

/// The daemon may have died between a marker's last step and the hole that follows it. What lies before
/// the first base is settled, since the record forgets a base only then; bytes behind it whose
/// marker is missing are not.
fn punch_again(life: &Life, state: &State, file: &fs::File) -> Result<(), LocalError> {
    let path = life.folder().join(DATA);
    let settled =
        state.generations.front().map_or(SpoolOffset(0), |g| g.base.at).min(state.first_kept());
    if settled > SpoolOffset(0) {
        punch(file, 0, settled.0, &path)?;
    }
    for (start, segment) in state.segments.iter().filter(|(_, s)| !s.phase.is_here()) {
        punch(file, start.0, segment.end.since(*start), &path)?;
    }
    Ok(())
}

fn ends_within_a_line(life: &Life, state: &State, file: &fs::File, len: SpoolOffset) -> bool {
    let last = state.segments.keys().next_back().and_then(|start| state.marker(*start));
    if let Some(name) = last.filter(|m| m.range.end == len && !m.phase.is_here()) {
        // The last byte is no longer here; the key says what it was.
        let key = Marker::load(life.folder(), &name).map(|marker| marker.key);
        let name = key.ok().and_then(|key| SegmentName::parse("", &key));
        return name.is_some_and(|name| name.partial);
    }
    let mut last = [0];
    let at = SpoolOffset(len.0.saturating_sub(1));
    matches!(Life::read_spool(file, at, &mut last), Ok(1)) && last != *b"\n"
}

fn set_aside(spool: &Spool, path: &Path, name: &str, why: &str) {
    match spool.set_aside(path, name) {
        Ok(kept) => warn!(path = %path.display(), kept = %kept.display(), "set aside: {why}"),
        Err(e) => error!("cannot be used ({why}) nor set aside: {e}"),
    }
}
