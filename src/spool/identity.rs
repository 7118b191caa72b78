//! The identity of a spool (format, writer, source, epoch), and what happens when it cannot be read.

use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use tracing::error;

use super::disk::{Durable, load_json, overwrite, store};
use super::marker::Marker;
use super::{FORMAT, IDENTITY, NODES, NodeFile, Quarantine, SpoolError, ballast};
use crate::types::errors::{AtPath, LocalError};
use crate::types::escape::{for_terminal, unescape};
use crate::types::ids::{Epoch, WriterId};

/// Bytes that a disk writes all or none of.
const SECTOR: usize = 512;

/// Who a spool is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub(super) format: u32,
    /// The writer that its segments name.
    pub writer: WriterId,
    /// Bucket and prefix that it belongs to.
    pub source: String,
    /// How often it was started.
    pub epoch: Epoch,
    /// The inode of the spool's lock file: another one means that this is a copy.
    #[serde(default)]
    pub(super) inode: u64,
    /// The kernel's boot during which it was last recovered: another one means that power may have been lost.
    pub boot: String,
}

impl Identity {
    /// That of a new spool, or of one that has lost its own.
    pub(super) fn new(writer: WriterId, source: &str, inode: u64) -> Identity {
        // Of no boot: what a log ends with is looked at, as after a power cut.
        let (source, boot) = (source.to_owned(), String::new());
        Identity { format: FORMAT, writer, source, epoch: Epoch(0), inode, boot }
    }

    /// As it is stored: whole sectors, so that another identity can be written over it and a power cut leaves one of
    /// the two.
    fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        text.resize(text.len().next_multiple_of(SECTOR), b' ');
        Ok(text)
    }

    /// Stores the identity durably. On a disk without a free block it is written over, which takes none.
    pub(super) fn keep(&self, dir: &Path) -> Result<(), LocalError> {
        let path = dir.join(IDENTITY);
        let text = self.text().at("encode", &path)?;
        match ballast::with(dir, || store(&path, &text, Durable::Now)) {
            Err(e) if e.is_no_space() && path.exists() => overwrite(&path, &text),
            stored => stored,
        }
    }

    /// Whether this program, mounting `source`, may use the spool in `dir` that this is.
    pub(super) fn fits(&self, dir: &Path, source: &str) -> Result<(), SpoolError> {
        if !(1..=FORMAT).contains(&self.format) {
            return Err(SpoolError::TooNew(dir.to_owned(), self.format));
        }
        if self.source != source {
            return Err(SpoolError::OtherSource {
                dir: dir.to_owned(),
                owner: for_terminal(&self.source).into_owned(),
                asked: source.to_owned(),
            });
        }
        Ok(())
    }

    /// Reads the identity of the spool in a directory.
    pub(super) fn load(dir: &Path) -> Result<Identity, LocalError> {
        load_json(&dir.join(IDENTITY))
    }
}

/// Goes on without the identity that could not be read: a damaged one is quarantined.
pub(super) fn lose(dir: &Path, source: &str, error: LocalError) -> Result<(), SpoolError> {
    let (kind, told) = (error.source.kind(), error.to_string());
    fits_without(dir, source, error)?;
    if kind != io::ErrorKind::NotFound {
        let kept = Quarantine::of(dir).add(&dir.join(IDENTITY), IDENTITY)?;
        error!(kept = %kept.display(), "the spool's identity is damaged and quarantined: what is sealed keeps its keys, the rest gets a new writer id ({told})");
    }
    Ok(())
}

/// Whether a mount of `source` may use the spool in a directory, with its identity or without.
pub(super) fn belongs_to(dir: &Path, source: &str) -> Result<(), SpoolError> {
    match Identity::load(dir) {
        Ok(found) => found.fits(dir, source),
        Err(e) => fits_without(dir, source, e),
    }
}

/// Whether a spool whose identity could not be read, by this error, may be used: what waits for upload must lie below
/// the prefix of this mount, since nothing else says whose it is any more.
fn fits_without(dir: &Path, source: &str, error: LocalError) -> Result<(), SpoolError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let path = dir.join(IDENTITY);
    let kind = error.source.kind();
    if let Ok(Format { format }) = load_json(&path)
        && !(1..=FORMAT).contains(&format)
    {
        return Err(SpoolError::TooNew(dir.to_owned(), format));
    }
    if !matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::IsADirectory) {
        return Err(error.into());
    }
    let prefix = source.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    let prefix = unescape(prefix.map_or("", |(_, prefix)| prefix));
    let elsewhere = |key: &String| !key.as_bytes().starts_with(&prefix);
    if let Some(key) = keys_to_send(&dir.join(NODES)).find(elsewhere) {
        let (dir, asked) = (dir.to_owned(), source.to_owned());
        return Err(SpoolError::OtherSource { dir, owner: format!("the bucket of {key}"), asked });
    }
    Ok(())
}

/// The keys in the markers of what is not sent yet. In spools of earlier versions each node has a folder.
fn keys_to_send(nodes: &Path) -> impl Iterator<Item = String> {
    let list = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let below = move |entry: fs::DirEntry| {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path()).map(|entry| entry.path()).collect()
        } else {
            vec![entry.path()]
        }
    };
    list(nodes).flat_map(below).filter_map(|path| {
        let name = path.file_name()?.to_string_lossy();
        let marker = NodeFile::parse(&name).map(|(_, file)| file).or_else(|| NodeFile::of(&name));
        match marker {
            Some(NodeFile::Marker(marker)) if marker.phase.is_unsent() => {
                load_json(&path).ok().map(|marker: Marker| marker.key)
            }
            _ => None,
        }
    })
}

/// Names the kernel's boot; empty where it cannot be read, which then never differs.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
