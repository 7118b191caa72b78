//! Migration of spools of earlier versions, in which each node had a folder with a record of its own:
//! `nodes/ID/node.json`, `data`, seal markers. Runs at the first start; an interrupted migration is completed by the
//! next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;
use tracing::{info, warn};

use super::crash_point::crash_point;
use super::disk::{Durable, read_regular, store, sync_folder};
use super::quarantine::Quarantine;
use super::record::{Kind, Record};
use super::record_lines::{RECORDS, nodes_in, text_of};
use super::{NODES, ballast};
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::NodeId;

/// The record in a node's folder, and what it was called before it had its name.
const RECORD: &str = "node.json";
const NEW_RECORD: &str = "node.new";

/// A line of such a record.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Record(Box<Record>),
    Hide { hide: String },
}

/// Gives each node of an earlier spool its line in the records, and its files their names.
pub(super) fn take_over(dir: &Path) -> Result<(), LocalError> {
    let folders = folders(dir)?;
    if folders.is_empty() {
        return Ok(());
    }
    let path = dir.join(RECORDS);
    if !path.exists() {
        let loaded = folders.iter().filter_map(|(id, folder)| Some((*id, load(folder).ok()?)));
        let text = text_of(&loaded.collect())?;
        ballast::with(dir, || store(&path, text.as_bytes(), Durable::Now))?;
        // The records are there, and all files are where they were.
        crash_point("earlier: the records are taken over");
    }
    let known = nodes_in(&read_regular(&path, u64::MAX)?);
    for (id, folder) in &folders {
        if known.contains(id) {
            move_files(dir, *id, folder)?;
        } else if is_unborn(folder) {
            fs::remove_dir_all(folder).at("remove", folder)?;
        } else {
            quarantine(dir, *id, folder)?;
        }
        crash_point("earlier: a node is taken over");
    }
    sync_folder(&dir.join(NODES))?;
    info!(nodes = folders.len(), "the spool of an earlier version was taken over");
    Ok(())
}

/// The folders of nodes. Those that were being removed are removed.
fn folders(dir: &Path) -> Result<BTreeMap<NodeId, PathBuf>, LocalError> {
    let (nodes, mut found) = (dir.join(NODES), BTreeMap::new());
    for entry in fs::read_dir(&nodes).at("list", &nodes)? {
        let entry = entry.at("list", &nodes)?;
        if !entry.file_type().at("stat", &entry.path())?.is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_node = |name: &str| {
            let id = u64::from_str_radix(name, 16).map(NodeId).ok();
            id.filter(|id| id.to_string() == name)
        };
        if name.strip_suffix(".gone").and_then(is_node).is_some() {
            fs::remove_dir_all(entry.path()).at("remove", &entry.path())?;
        } else if let Some(id) = is_node(&name) {
            found.insert(id, entry.path());
        }
    }
    Ok(found)
}

/// The last change of a node's record that can be read.
fn load(folder: &Path) -> Result<Record, LocalError> {
    let path = folder.join(RECORD);
    let text = read_regular(&path, u64::MAX)?;
    let mut hide = Vec::new();
    for line in text.rsplit(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(Line::Hide { hide: name }) => hide.push(name),
            Ok(Line::Record(mut record)) => {
                if let Kind::Directory { hidden, .. } = &mut record.kind {
                    hide.into_iter().for_each(|name| hidden.add(name));
                }
                return Ok(*record);
            }
            // Of a write that a kill or a power cut ended.
            Err(_) => {}
        }
    }
    Err(io::Error::from(io::ErrorKind::InvalidData)).at("decode", &path)
}

fn entries(folder: &Path) -> Result<Vec<String>, LocalError> {
    let names = fs::read_dir(folder)
        .at("list", folder)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().at("list", folder)
}

fn move_files(dir: &Path, id: NodeId, folder: &Path) -> Result<(), LocalError> {
    for name in entries(folder)? {
        let from = folder.join(&name);
        if name != RECORD && name != NEW_RECORD {
            let to = dir.join(NODES).join(format!("{id}.{name}"));
            fs::rename(&from, &to).at("rename", &from)?;
        }
    }
    fs::remove_dir_all(folder).at("remove", folder)
}

/// Whether nobody was told of a node: it has no record, or an empty one, and no byte.
fn is_unborn(folder: &Path) -> bool {
    let is_empty = |name: &String| fs::metadata(folder.join(name)).is_ok_and(|m| m.len() == 0);
    entries(folder).is_ok_and(|names| {
        names.iter().all(|name| name == NEW_RECORD || ([RECORD, "data"].contains(&name.as_str()) && is_empty(name)))
    })
}

fn quarantine(dir: &Path, id: NodeId, folder: &Path) -> Result<(), LocalError> {
    let kept = Quarantine::of(dir).add(folder, &id.to_string())?;
    warn!(path = %folder.display(), kept = %kept.display(), "quarantined: its record cannot be read");
    Ok(())
}
