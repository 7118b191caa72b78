//! The lines of the file `records`: read, and formed. Owns what they look like; the file is `records`' business.
//!
//! ```text
//! CRC NODE {record}        the node as it is from here on
//! CRC NODE hide "NAME"     one more name that a directory hides of the bucket
//! CRC NODE gone            the node is no more, nor are its files
//! CRC - synced LENGTH      so much of the file had reached the disk
//! ```

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use serde::Serialize;

use super::record::{Kind, Record};
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::NodeId;

/// The file's name in the spool.
pub(super) const RECORDS: &str = "records";

/// What the file holds at a start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The nodes that there are.
    pub nodes: BTreeMap<NodeId, Record>,
    /// Those that are no more, whose files may still be there.
    pub gone: HashSet<NodeId>,
}

/// A part of the file that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where the first begins.
    pub at: usize,
    /// Whether it is the beginning of a line at the end: of a write in which the daemon was killed.
    pub is_cut: bool,
    /// Whether it had reached the disk once.
    pub was_synced: bool,
}

impl Loaded {
    /// Reads a file; gives what of it cannot be read.
    pub(super) fn read(text: &[u8]) -> (Loaded, Option<Damage>) {
        let (mut loaded, mut damage) = (Loaded::default(), None::<Damage>);
        let mut at = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let (begin, whole) = (at, line.strip_suffix(b"\n"));
            at += line.len();
            let content = whole.unwrap_or(line);
            if content.is_empty() {
                continue;
            }
            match whole.and_then(unchecked) {
                Some(Line::Synced(len)) => {
                    if let Some(damage) = &mut damage {
                        damage.was_synced |= damage.at < len;
                    }
                }
                Some(Line::Node(id, change)) => loaded.apply(id, change),
                None => {
                    let found = Damage { at: begin, is_cut: whole.is_none(), was_synced: false };
                    damage.get_or_insert(found).is_cut &= whole.is_none();
                }
            }
        }
        (loaded, damage)
    }

    fn apply(&mut self, id: NodeId, change: Change) {
        match change {
            Change::Record(record) => {
                self.gone.remove(&id);
                self.nodes.insert(id, *record);
            }
            Change::Hide(name) => {
                if let Some(Record { kind: Kind::Directory { hidden, .. }, .. }) = self.nodes.get_mut(&id) {
                    hidden.add(name);
                }
            }
            Change::Gone => {
                self.nodes.remove(&id);
                self.gone.insert(id);
            }
        }
    }
}

enum Line {
    Node(NodeId, Change),
    Synced(usize),
}

enum Change {
    Record(Box<Record>),
    Hide(String),
    Gone,
}

/// Reads a line whose checksum is right.
fn unchecked(line: &[u8]) -> Option<Line> {
    let (sum, rest) = str::from_utf8(line).ok()?.split_once(' ')?;
    if sum != checksum(rest.as_bytes()) {
        return None;
    }
    let (node, change) = rest.split_once(' ')?;
    if node == "-" {
        return Some(Line::Synced(change.strip_prefix("synced ")?.parse().ok()?));
    }
    let change = match change.strip_prefix("hide ") {
        _ if change == "gone" => Change::Gone,
        Some(name) => Change::Hide(serde_json::from_str(name).ok()?),
        None => Change::Record(serde_json::from_str(change).ok()?),
    };
    Some(Line::Node(NodeId(u64::from_str_radix(node, 16).ok()?), change))
}

fn checksum(text: &[u8]) -> String {
    format!("{:016x}", crc_fast::crc64_nvme(text))
}

fn line(text: &str) -> String {
    format!("{} {text}\n", checksum(text.as_bytes()))
}

/// What a node is from here on.
pub(super) fn record_line(id: NodeId, record: &Record) -> Result<String, LocalError> {
    Ok(line(&format!("{id} {}", json(record)?)))
}

/// One more name that a directory hides.
pub(super) fn hide_line(id: NodeId, name: &str) -> Result<String, LocalError> {
    Ok(line(&format!("{id} hide {}", json(&name)?)))
}

/// A node is no more.
pub(super) fn gone_line(id: NodeId) -> String {
    line(&format!("{id} gone"))
}

/// So much of the file had reached the disk.
pub(super) fn synced_line(len: u64) -> String {
    line(&format!("- synced {len}"))
}

fn json<T: Serialize>(value: &T) -> Result<String, LocalError> {
    serde_json::to_string(value).map_err(io::Error::from).at("encode", Path::new(RECORDS))
}

/// A file of these nodes.
pub(super) fn text_of(nodes: &BTreeMap<NodeId, Record>) -> Result<String, LocalError> {
    nodes.iter().map(|(id, record)| record_line(*id, record)).collect()
}

/// The nodes of a file.
pub(super) fn nodes_in(text: &[u8]) -> HashSet<NodeId> {
    Loaded::read(text).0.nodes.into_keys().collect()
}
