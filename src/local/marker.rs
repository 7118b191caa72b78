//! Seal markers: one small file for each sealed range, holding what the range will be called for ever.
//! Its name says range, generation and phase; going on to the next phase is one rename.
//!
//! Invariant: data is durable before its marker, a marker before its PUT, a confirmation before
//! the bytes are given up.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::crash_point::crash_point;
use super::disk::{Durable, load_json, store_json, sync_folder};
use crate::values::errors::{AtPath, LocalError};
use crate::values::ids::SpoolOffset;
use crate::values::naming::{MarkerName, Phase, SegmentName};
use crate::values::time::Utc;

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
    /// Labels for the object's metadata.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Marker {
    /// Stores a new marker durably: from here on the range has its key, whatever happens.
    pub fn store(&self, folder: &Path, name: &MarkerName) -> Result<(), LocalError> {
        store_json(&folder.join(name.to_string()), self, Durable::Now)
    }

    /// Reads a marker.
    pub fn load(folder: &Path, name: &MarkerName) -> Result<Marker, LocalError> {
        load_json(&folder.join(name.to_string()))
    }

    /// Whether its key is that of the range that it stands for. What is sent under another key would
    /// be missing from the log, and nobody would see it.
    pub fn fits(&self, name: &MarkerName, stream: &[u8], prefix: &str) -> bool {
        SegmentName::parse(prefix, &self.key).is_some_and(|key| {
            (key.generation, key.length) == (name.generation, name.range.len())
                && self.base.plus(key.offset) == name.range.start
                && key.stream == stream
                && key.key(prefix) == self.key
        })
    }
}

/// Moves a marker to another phase, durably.
pub fn advance(folder: &Path, name: &MarkerName, to: Phase) -> Result<MarkerName, LocalError> {
    let next = note(folder, name, to)?;
    sync_folder(folder)?;
    Ok(next)
}

/// Moves a marker to another phase. The next durable step in the folder makes it durable too; before, a power cut may
/// take it back.
pub fn note(folder: &Path, name: &MarkerName, to: Phase) -> Result<MarkerName, LocalError> {
    let next = MarkerName { phase: to, ..*name };
    let from = folder.join(name.to_string());
    let target = folder.join(next.to_string());
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
pub fn remove(folder: &Path, name: &MarkerName) -> Result<(), LocalError> {
    let path = folder.join(name.to_string());
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
    use crate::values::ids::{GenerationNo, SpoolRange};

    #[test]
    fn a_step_that_was_made_but_not_synced_is_made_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let range = SpoolRange { start: SpoolOffset(0), end: SpoolOffset(5) };
        let name = MarkerName { range, generation: GenerationNo(1), phase: Phase::Sealed };
        fs::write(dir.path().join(name.to_string()), b"{}").expect("written");
        let first = advance(dir.path(), &name, Phase::Confirmed).expect("made");
        let again = advance(dir.path(), &name, Phase::Confirmed).expect("made again");
        assert_eq!(first, again);
        assert!(advance(dir.path(), &name, Phase::Reclaimed).is_err(), "it was never there");
        remove(dir.path(), &first).expect("removed");
        remove(dir.path(), &first).expect("removed already");
    }
}
