//! Seal markers: one small file for each sealed range, with the key that the range keeps for ever. Its name has range,
//! generation and phase; the next phase is one rename.
//!
//! Invariant: data is durable before its marker, a marker before its PUT, a confirmation before the bytes are evicted.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use super::NodeFiles;
use super::crash_point::crash_point;
use super::disk::{Durable, load_json, store_json};
use crate::format::naming::{MarkerName, Phase, SegmentName};
use crate::format::whole_name::WholeName;
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::SpoolOffset;
use crate::types::time::Utc;

/// What a marker holds beside its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The whole object key, prefix included.
    pub key: String,
    /// CRC-64/NVME of the uncompressed bytes, 16 hex digits.
    pub crc64: String,
    /// Where the generation begins in the spool file.
    pub base: SpoolOffset,
    /// When the first byte was written, or a little before: the start in the key.
    pub first: Utc,
    /// When the last byte was written, as far as it was watched.
    pub last: Utc,
    /// A time before which what follows the range was not written.
    #[serde(default)]
    pub next: Utc,
    /// Of a whole file: the version's place in the order of birth. The record has another one when the file was
    /// written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth: Option<u64>,
    /// Labels for the object's metadata.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Marker {
    /// Stores a new marker durably: from here on the range has its key, whatever happens.
    pub fn store(&self, files: &NodeFiles, name: &MarkerName) -> Result<(), LocalError> {
        store_json(&files.marker(name), self, Durable::Now)
    }

    /// Reads a marker.
    pub fn load(files: &NodeFiles, name: &MarkerName) -> Result<Marker, LocalError> {
        load_json(&files.marker(name))
    }

    /// Whether its key is that of the range that it stands for. What is sent under another key would be missing from
    /// the log, and nobody would see it.
    pub fn fits(&self, name: &MarkerName, stream: &[u8], prefix: &str) -> bool {
        if let Some(key) = WholeName::parse(prefix, &self.key) {
            // Its path is the one that the file had when it was sealed.
            return (key.number, key.length) == (name.generation, name.range.len()) && self.base == name.range.start;
        }
        SegmentName::parse(prefix, &self.key).is_some_and(|key| {
            (key.generation, key.length) == (name.generation, name.range.len())
                && self.base.plus(key.offset) == name.range.start
                && key.stream == stream
                && key.key(prefix) == self.key
        })
    }
}

/// Moves a marker to another phase, durably.
pub fn advance(files: &NodeFiles, name: &MarkerName, to: Phase) -> Result<MarkerName, LocalError> {
    let next = note(files, name, to)?;
    files.sync()?;
    Ok(next)
}

/// Moves a marker to another phase. The next durable step in the spool makes it durable too; before, a power cut may
/// take it back.
pub fn note(files: &NodeFiles, name: &MarkerName, to: Phase) -> Result<MarkerName, LocalError> {
    let next = MarkerName { phase: to, ..*name };
    let (from, target) = (files.marker(name), files.marker(&next));
    match fs::rename(&from, &target) {
        // An earlier try got this far, and its sync failed.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && target.exists() => {}
        renamed => renamed.at("rename", &from)?,
    }
    // On the disk the range has come further than in memory.
    crash_point("marker: in its next phase");
    Ok(next)
}

/// Removes a marker that nothing needs any more, unless an earlier try did.
pub fn remove(files: &NodeFiles, name: &MarkerName) -> Result<(), LocalError> {
    let path = files.marker(name);
    match fs::remove_file(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed.at("remove", &path)?;
            // Markers go from the front, so that what is left has no hole in it.
            crash_point("marker: removed");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ids::{GenerationNo, NodeId, SpoolRange};

    #[test]
    fn a_step_that_was_made_but_not_synced_is_made_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let range = SpoolRange { start: SpoolOffset(0), end: SpoolOffset(5) };
        let name = MarkerName { range, generation: GenerationNo(1), phase: Phase::Sealed };
        let files = NodeFiles::new(dir.path().into(), NodeId(7));
        fs::write(files.marker(&name), b"{}").expect("written");
        let first = advance(&files, &name, Phase::Confirmed).expect("made");
        let again = advance(&files, &name, Phase::Confirmed).expect("made again");
        assert_eq!(first, again);
        assert!(advance(&files, &name, Phase::Reclaimed).is_err(), "it was never there");
        remove(&files, &first).expect("removed");
        remove(&files, &first).expect("removed already");
    }
}
