//! A local-only file: one that a glob of `--exclude` keeps from the bucket (lock and pid
//! files, editors' swap files). An ordinary POSIX file, within the room that local-only files have.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::record::DATA;
use super::room::Room;
use crate::values::errors::{AtPath, FsError, LocalError};

/// A local-only file.
#[derive(Debug)]
pub struct LocalFile {
    /// Open handles.
    pub handles: AtomicU32,
    path: PathBuf,
    file: Mutex<Weak<File>>,
}

impl LocalFile {
    /// The file in a node's folder.
    pub fn new(folder: &Path) -> LocalFile {
        LocalFile { handles: AtomicU32::new(0), path: folder.join(DATA), file: Mutex::default() }
    }

    /// The open file; one descriptor for all who have it open.
    pub fn file(&self) -> Result<Arc<File>, LocalError> {
        let mut slot = self.file.lock();
        if let Some(file) = slot.upgrade() {
            return Ok(file);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = Arc::new(options.open(&self.path).at("open", &self.path)?);
        *slot = Arc::downgrade(&file);
        Ok(file)
    }

    /// Length and times.
    pub fn metadata(&self) -> Result<std::fs::Metadata, LocalError> {
        std::fs::metadata(&self.path).at("stat", &self.path)
    }

    /// Writes all of `data` at a position.
    pub fn write(&self, room: &Room, offset: u64, data: &[u8]) -> Result<(), FsError> {
        let file = self.file()?;
        let len = file.metadata().at("stat", &self.path)?.len();
        let growth = (offset.saturating_add(data.len() as u64)).saturating_sub(len);
        room.take_local(growth).map_err(|_| FsError::NoSpace)?;
        Ok(file.write_all_at(data, offset).at("write", &self.path)?)
    }

    /// Makes the file as long as that.
    pub fn set_len(&self, room: &Room, to: u64) -> Result<(), FsError> {
        let file = self.file()?;
        let len = file.metadata().at("stat", &self.path)?.len();
        room.take_local(to.saturating_sub(len)).map_err(|_| FsError::NoSpace)?;
        file.set_len(to).at("truncate", &self.path)?;
        room.give_local(len.saturating_sub(to));
        Ok(())
    }
}
