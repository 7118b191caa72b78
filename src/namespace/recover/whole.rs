//! Recovery of a file that is written in place: what was sealed of it before it was written again counts no more.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use crate::format::naming::MarkerName;
use crate::spool::crash_point::crash_point;
use crate::spool::marker::Marker;
use crate::spool::record::Generation;
use crate::spool::{NodeFiles, marker};
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::SpoolOffset;

/// Removes the markers of versions before the one that the record has; gives the others. A version that was about to be
/// changed when the daemon died, and has all its bytes, is still the last one.
pub(super) fn without_outdated(
    names: &NodeFiles,
    starts: &[SpoolOffset],
    generations: &mut [Generation],
    markers: Vec<MarkerName>,
) -> Result<Vec<MarkerName>, LocalError> {
    let Some(last) = generations.last_mut().filter(|last| last.content.is_in_place()) else { return Ok(markers) };
    let mut current = Vec::with_capacity(markers.len());
    for name in markers {
        // One that cannot be read is named when it is to be sent.
        let marker = Marker::load(names, &name).ok().filter(|_| name.range.start >= last.at);
        match marker.filter(|marker| marker.birth != Some(last.birth)) {
            None => current.push(name),
            Some(marker) if marker.birth.is_some() && is_unchanged(names, starts, &name, &marker)? => {
                last.birth = marker.birth.unwrap_or_default();
                current.push(name);
            }
            Some(_) => {
                marker::remove(names, &name)?;
                crash_point("recover: the marker of an earlier version is gone");
            }
        }
    }
    Ok(current)
}

/// Whether a file is what was sealed of it.
fn is_unchanged(
    names: &NodeFiles,
    starts: &[SpoolOffset],
    name: &MarkerName,
    marker: &Marker,
) -> Result<bool, LocalError> {
    let start = starts.iter().copied().filter(|start| *start <= name.range.start).max().unwrap_or_default();
    let path = names.data(start);
    let sum = || -> io::Result<Option<u64>> {
        let mut file = File::open(&path)?;
        if file.metadata()?.len() != name.range.end.since(start) {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(name.range.start.since(start)))?;
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        io::copy(&mut file, &mut digest)?;
        Ok(Some(digest.finalize()))
    };
    let sum = sum().at("read", &path)?;
    Ok(sum.is_some_and(|sum| format!("{sum:016x}") == marker.crc64))
}
