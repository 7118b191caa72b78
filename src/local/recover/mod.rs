//! Recovery: from what the spool's folders hold to lives and records. The same arithmetic as in normal
//! work goes on from here; nothing is uploaded, sealed or deleted. What cannot be used is set aside
//! under `quarantine/`, named, and the rest goes on. Recovering twice gives the same as once.

mod life;

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::{error, warn};

use super::life::{Life, parse_data_name};
use super::namespace::Found;
use super::record::{self, DATA, GROWN, Generation, Kind, RECORD, Record, Tail};
use super::room::Room;
use super::spool::Spool;
use super::stream::Streams;
use crate::values::errors::{AtPath, LocalError};
use crate::values::ids::{NodeId, SpoolOffset};
use crate::values::naming::MarkerName;
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
}

/// Reads all nodes of a spool.
pub fn recover(spool: &Spool, at: Circumstances<'_>) -> Result<Vec<Found>, LocalError> {
    let nodes = spool.nodes();
    let mut records = Vec::new();
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
            Some(id) => records.extend(load_record(spool, id)?.map(|record| (id, record))),
            None => set_aside(spool, &entry.path(), &name, "it is no node of a spool"),
        }
    }
    let births = Births(records.iter().map(|(_, record)| record.last_number()).max().into());
    let mut found = Vec::new();
    for (id, record) in records {
        found.extend(recover_node(spool, id, record, at, &births)?);
    }
    spool.recovered()?;
    Ok(found)
}

/// The highest number of a claim or birth in the spool: what begins during recovery is younger.
struct Births(Cell<Option<u64>>);

impl Births {
    fn next(&self) -> u64 {
        let next = self.0.get().unwrap_or(0) + 1;
        self.0.set(Some(next));
        next
    }

    /// A generation that begins now.
    fn begin(&self, at: SpoolOffset, now: Utc) -> Generation {
        Generation { at, since: now, birth: self.next(), ..Generation::default() }
    }
}

/// Whether there is a file, and no link to one.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Reads a node's record; `None` when there is none that can be used.
fn load_record(spool: &Spool, id: NodeId) -> Result<Option<Record>, LocalError> {
    let folder = spool.node(id);
    match Record::load(&folder) {
        Ok(found) if found.tail != Tail::None => mend(spool, id, found).map(Some),
        Ok(found) => {
            if found.len as u64 > GROWN {
                spool.has_room_for(|| found.record.replace(&folder))?;
            }
            Ok(Some(found.record))
        }
        Err(_) if is_unborn(&folder) => {
            // The daemon died between making the folder and the record, so that nobody was told of the
            // node; or the power went before anybody synced it.
            fs::remove_dir_all(&folder).at("remove", &folder)?;
            Ok(None)
        }
        Err(e) => {
            set_aside(spool, &folder, &id.to_string(), &e.to_string());
            Ok(None)
        }
    }
}

/// Goes on with the last change of a record that can be read. What cannot be read behind it was being written when the
/// daemon was killed, or not synced when the power went, or is damage: then it is kept.
fn mend(spool: &Spool, id: NodeId, found: record::Found) -> Result<Record, LocalError> {
    let record::Found { record, tail, .. } = found;
    let folder = spool.node(id);
    let path = folder.join(RECORD);
    if tail == Tail::Damaged && !spool.rebooted {
        let kept = spool.free_name(&format!("{id}-{RECORD}"));
        if !spool.has_room_for(|| fs::copy(&path, &kept).map(drop).at("copy to", &kept))? {
            // What follows is appended, and what cannot be read stays in the record.
            let _ = fs::remove_file(&kept);
            return Ok(record);
        }
        warn!(node = %id, kept = %kept.display(), "the last change of a record cannot be read: the one before counts, a copy is kept");
    }
    spool.has_room_for(|| record.replace(&folder))?;
    Ok(record)
}

fn recover_node(
    spool: &Spool,
    id: NodeId,
    record: Record,
    at: Circumstances<'_>,
    births: &Births,
) -> Result<Option<Found>, LocalError> {
    let folder = spool.node(id);
    let data = folder.join(DATA);
    let Some(starts) = spool_files(&folder)? else {
        set_aside(spool, &folder, &id.to_string(), "its bytes are in no file");
        return Ok(None);
    };
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
        return Ok((!unlinked).then_some(Found { id, record, life: None, is_ahead: false }));
    };
    if bases.is_empty() {
        set_aside(spool, &folder, &id.to_string(), "its record has no generation");
        return Ok(None);
    }
    let stream = at.streams.get(stream, at.now)?;
    let life = Arc::new(Life::new(id, folder.clone(), stream, labels.clone(), bases, starts));
    let markers = read_markers(spool, &life)?;
    let mut record = record;
    let is_ahead = !life::restore(spool, &life, &mut record, &markers, at, births)?;
    if !at.open.contains(&id) {
        life.look_for_orphans();
    }
    Ok(Some(Found { id, record, life: Some(life), is_ahead }))
}

/// Where the spool files of a folder begin; `None` when something else has the name of one.
fn spool_files(folder: &Path) -> Result<Option<Vec<SpoolOffset>>, LocalError> {
    let mut starts = Vec::new();
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        if let Some(start) = parse_data_name(&entry.file_name().to_string_lossy()) {
            if !is_file(&entry.path()) {
                return Ok(None);
            }
            starts.push(start);
        }
    }
    Ok(Some(starts))
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
            _ if parse_data_name(&name).is_some() || name == RECORD => {}
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

/// Whether a name is that of a record, marker or spool file before it gets its own.
fn is_half_written(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".new") else { return false };
    let marker = MarkerName::parse(&format!("{stem}.sealed"));
    marker.is_some()
        || parse_data_name(stem).is_some()
        || RECORD.strip_suffix(".json") == Some(stem)
}

fn set_aside(spool: &Spool, path: &Path, name: &str, why: &str) {
    match spool.set_aside(path, name) {
        Ok(kept) => warn!(path = %path.display(), kept = %kept.display(), "set aside: {why}"),
        Err(e) => error!("cannot be used ({why}) nor set aside: {e}"),
    }
}
