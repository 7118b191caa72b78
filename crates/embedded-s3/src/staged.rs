//! A file on its way to become an object.
//!
//! Owns: temporary files of the private folder, from creation to removal. Does NOT own: making an object of one
//! (`store`).
//!
//! Invariant: whatever is not kept is gone when dropped, its record included.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, OFlags, openat, renameat, unlinkat};

use super::record::Record;
use super::store::{Store, unique_name};

pub struct Staged {
    store: Arc<Store>,
    name: String,
    file: File,
    sidecar: Option<PathBuf>,
    kept: bool,
}

impl Staged {
    pub fn create(store: &Arc<Store>) -> io::Result<Self> {
        let name = unique_name();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = openat(store.staging(), &name, flags, store.file_mode())?;
        let store = Arc::clone(store);
        Ok(Self { store, name, file: file.into(), sidecar: None, kept: false })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives the complete file its record and brings both to the disk.
    pub fn seal(&mut self, record: Record) -> io::Result<()> {
        self.sidecar = record.attach(&self.file, &self.store.sidecars())?;
        self.file.sync_all()
    }

    /// Moves the sealed file to `path` on the same file system.
    pub fn rename(&self, path: &Path) -> io::Result<()> {
        Ok(renameat(self.store.staging(), &self.name, CWD, path)?)
    }

    /// The file has got its place under another name.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After rename(2) the name is gone already, after link(2) it is one too many. What cannot be removed now is
        // removed at a later start.
        let _ = unlinkat(self.store.staging(), &self.name, AtFlags::empty());
        if let Some(sidecar) = self.sidecar.take().filter(|_| !self.kept) {
            let _ = std::fs::remove_file(sidecar);
        }
    }
}
