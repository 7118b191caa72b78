//! Recovery: rebuilds log files from the records and files in a spool, with the arithmetic of normal work. Nothing is
//! uploaded, sealed or deleted. What cannot be used is moved to `quarantine/` and named, and the rest goes on.
//! Recovering twice gives the same as once.
//!
//! - `log_file`: one log; `whole` one that is written in place.

mod log_file;
mod whole;

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tracing::{error, warn};

use crate::format::naming::MarkerName;
use crate::log_file::LogFile;
use crate::log_file::stream::Streams;
use crate::spool::disk::{Durable, store_json};
use crate::spool::record::{Generation, Kind, Record};
use crate::spool::{NodeFile, NodeFiles, Spool};
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::{NodeId, SpoolOffset};
use crate::types::time::Utc;

/// A node as recovery found it.
#[derive(Debug)]
pub struct RecoveredNode {
    /// Its id.
    pub id: NodeId,
    /// Its record.
    pub record: Record,
    /// Its log file, when it is a live file.
    pub log: Option<Arc<LogFile>>,
    /// Whether it has what the disk was too full to record.
    pub is_ahead: bool,
}

/// What recovery needs beside the spool.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The streams' numbers.
    pub streams: &'a Streams,
    /// The wall clock.
    pub now: Utc,
    /// Nodes that the worker before had open.
    pub open: &'a HashSet<NodeId>,
}

/// The files of a node.
#[derive(Default)]
struct FilesFound {
    /// Where its spool files begin.
    starts: Vec<SpoolOffset>,
    markers: Vec<MarkerName>,
    /// Something else has the name of a spool file.
    is_misplaced: bool,
}

/// Reads all nodes of a spool.
pub fn recover(spool: &Spool, at: Circumstances<'_>) -> Result<Vec<RecoveredNode>, LocalError> {
    let mut files = find_files(spool)?;
    let loaded = spool.take_loaded();
    let births = Births(loaded.nodes.values().map(Record::last_number).max().into());
    let mut found = Vec::new();
    for (id, record) in loaded.nodes {
        let files = files.remove(&id).unwrap_or_default();
        found.extend(recover_node(spool, id, record, files, at, &births)?);
    }
    for (id, found) in files {
        let names = spool.node_files(id);
        if loaded.gone.contains(&id) || is_unborn(&names, &found) {
            remove(&names, &found)?;
        } else {
            let record = None::<&Record>;
            quarantine_node(spool, &names, &found, record, "the spool has no record of it");
        }
    }
    spool.recovered()?;
    Ok(found)
}

fn find_files(spool: &Spool) -> Result<BTreeMap<NodeId, FilesFound>, LocalError> {
    let nodes = spool.nodes();
    let mut files = BTreeMap::<NodeId, FilesFound>::new();
    for entry in fs::read_dir(nodes).at("list", nodes)? {
        let entry = entry.at("list", nodes)?;
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        // Not what a link leads to: nothing outside of the spool is touched.
        let is_file = entry.file_type().at("stat", &path)?.is_file();
        let Some((id, file)) = NodeFile::parse(&name) else {
            quarantine(spool, &path, "it is no file of a node");
            continue;
        };
        match file {
            NodeFile::Data(start) => {
                let node = files.entry(id).or_default();
                node.starts.push(start);
                node.is_misplaced |= !is_file;
            }
            NodeFile::Marker(marker) if is_file => {
                files.entry(id).or_default().markers.push(marker);
            }
            // Half written by a daemon that died: its range has no key yet, its bytes are elsewhere.
            NodeFile::HalfWritten if is_file => fs::remove_file(&path).at("remove", &path)?,
            NodeFile::Marker(_) | NodeFile::HalfWritten => {
                quarantine(spool, &path, "it is no seal marker");
            }
        }
    }
    Ok(files)
}

/// Whether the daemon died between making a spool file and the record, so that nobody was told of the node; or the
/// power went before anybody synced it.
fn is_unborn(names: &NodeFiles, found: &FilesFound) -> bool {
    let is_empty = |path| fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() == 0);
    found.markers.is_empty() && found.starts.iter().all(|start| is_empty(names.data(*start)))
}

/// Removes the files of a node that has nothing to keep.
fn remove(names: &NodeFiles, found: &FilesFound) -> Result<(), LocalError> {
    let data = found.starts.iter().map(|start| names.data(*start));
    for path in data.chain(found.markers.iter().map(|marker| names.marker(marker))) {
        fs::remove_file(&path).at("remove", &path)?;
    }
    Ok(())
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

fn recover_node(
    spool: &Spool,
    id: NodeId,
    record: Record,
    files: FilesFound,
    at: Circumstances<'_>,
    births: &Births,
) -> Result<Option<RecoveredNode>, LocalError> {
    let names = spool.node_files(id);
    let why = match &record.kind {
        _ if files.is_misplaced => Some("its bytes are in no file"),
        Kind::Live { bases, .. } if bases.is_empty() => Some("its record has no generation"),
        _ => None,
    };
    if let Some(why) = why {
        quarantine_node(spool, &names, &files, Some(&record), why);
        forget(spool, id)?;
        return Ok(None);
    }
    let mut record = record;
    let Kind::Live { stream, labels, bases } = &mut record.kind else {
        let kept = id == NodeId::ROOT || at.open.contains(&id);
        let unlinked = record.claims.is_empty() && !kept;
        if unlinked {
            forget(spool, id)?;
            remove(&names, &files)?;
        }
        return Ok((!unlinked).then_some(RecoveredNode { id, record, log: None, is_ahead: false }));
    };
    let is_unsent = |marker: &MarkerName| marker.phase.owes_object();
    if spool.rebooted && files.starts.is_empty() && !files.markers.iter().any(is_unsent) {
        // Its removal had reached the disk, or its spool file had not: the record alone is no log.
        forget(spool, id)?;
        remove(&names, &files)?;
        return Ok(None);
    }
    let markers = whole::without_outdated(&names, &files.starts, bases, files.markers)?;
    let stream = at.streams.get(stream, at.now)?;
    let log = LogFile::new(names.clone(), stream, labels.clone(), bases, files.starts);
    let log = Arc::new(log);
    let markers = sound(spool, &names, markers);
    let is_ahead = !log_file::restore(spool, &log, &mut record, &markers, at, births)?;
    if !at.open.contains(&id) {
        log.look_for_orphans();
    }
    Ok(Some(RecoveredNode { id, record, log: Some(log), is_ahead }))
}

/// Takes a node out of the records.
fn forget(spool: &Spool, id: NodeId) -> Result<(), LocalError> {
    spool.has_room_for(|| spool.records().gone(id).map(drop)).map(drop)
}

/// Markers in the order of their ranges; what overlaps goes into quarantine.
fn sound(spool: &Spool, names: &NodeFiles, mut markers: Vec<MarkerName>) -> Vec<MarkerName> {
    markers.sort_by_key(|m| (m.range.start, std::cmp::Reverse(m.range.end)));
    let mut sound: Vec<MarkerName> = Vec::with_capacity(markers.len());
    for marker in markers {
        match sound.last() {
            Some(before) if marker.range.start < before.range.end => {
                let why = "its range overlaps another's";
                quarantine(spool, &names.marker(&marker), why);
            }
            _ => sound.push(marker),
        }
    }
    sound
}

/// Moves all files of a node out of the way, with its record.
fn quarantine_node(spool: &Spool, names: &NodeFiles, files: &FilesFound, record: Option<&Record>, why: &str) {
    if let Some(record) = record {
        let path = spool.quarantine().free_name(&format!("{}.json", names.id()));
        if let Err(e) = store_json(&path, record, Durable::Later) {
            error!(node = %names.id(), "its record could not be written: {e}");
        }
    }
    let data = files.starts.iter().map(|start| names.data(*start));
    for path in data.chain(files.markers.iter().map(|marker| names.marker(marker))) {
        quarantine(spool, &path, why);
    }
}

fn quarantine(spool: &Spool, path: &Path, why: &str) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match spool.quarantine().add(path, &name) {
        Ok(kept) => warn!(path = %path.display(), kept = %kept.display(), "quarantined: {why}"),
        Err(e) => error!("cannot be used ({why}) nor quarantined: {e}"),
    }
}
