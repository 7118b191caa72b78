//! A local file: one that a glob of `--exclude` keeps from the bucket (lock and pid files, swap files of editors). An
//! ordinary POSIX file within the budget of local files.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, RwLock};

use super::handles::Handles;
use super::{LogFile, Route};
use crate::spool::NodeFiles;
use crate::spool::disk_budget::DiskBudget;
use crate::spool::shared_budget::Account;
use crate::types::errors::{AtPath, FsError, LocalError};
use crate::types::ids::SpoolOffset;
use crate::types::time::FileTime;

/// A local-only file.
#[derive(Debug)]
pub struct LocalFile {
    /// Whether its mode may have a set-id bit, which a write takes away.
    pub set_id: AtomicBool,
    handles: AtomicU32,
    path: PathBuf,
    file: Mutex<Weak<File>>,
    /// The log that it has become, by another name.
    log: OnceLock<Arc<LogFile>>,
    /// Held by all who change the file or its handles, alone by the one that makes it a log.
    changing: RwLock<()>,
}

/// The file is a log by now: its bytes are appended, and no longer changed in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsLog;

impl LocalFile {
    /// The file of a node.
    pub fn new(names: &NodeFiles) -> LocalFile {
        LocalFile {
            handles: AtomicU32::new(0),
            set_id: AtomicBool::new(false),
            path: names.data(SpoolOffset(0)),
            file: Mutex::default(),
            log: OnceLock::new(),
            changing: RwLock::new(()),
        }
    }

    /// The log that it has become.
    pub fn log(&self) -> Option<&Arc<LogFile>> {
        self.log.get()
    }

    /// Makes it a log, when `store` can store that: all that is there is the log's, and so is what comes by handles
    /// that are open.
    pub fn become_log<E>(&self, log: Arc<LogFile>, store: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let _alone = self.changing.write();
        store()?;
        let handles = self.handles();
        if handles > 0 {
            // They go through the page cache, beside which the kernel takes no backing file.
            *log.route() = Route::Daemon;
            log.state().handles = Handles::of_local_file(handles);
        }
        let _ = self.log.set(log);
        Ok(())
    }

    /// Open handles.
    pub fn handles(&self) -> u32 {
        self.handles.load(Ordering::Acquire)
    }

    /// One handle more.
    pub fn hold(&self) {
        self.handles.fetch_add(1, Ordering::AcqRel);
    }

    /// One handle less. Those of a log are its own.
    pub fn let_go(&self) -> Result<(), IsLog> {
        self.while_local(|| {
            self.handles.fetch_sub(1, Ordering::AcqRel);
        })
    }

    fn while_local<T>(&self, step: impl FnOnce() -> T) -> Result<T, IsLog> {
        let _changing = self.changing.read();
        if self.log.get().is_some() { Err(IsLog) } else { Ok(step()) }
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

    /// Sets the time of its last write.
    pub fn set_modified(&self, at: FileTime) -> Result<(), LocalError> {
        self.file()?.set_modified(at.into()).at("set the times of", &self.path)
    }

    /// Writes all of `data` at a position; what the file grows by is counted on an account.
    pub fn write(
        &self,
        (budget, account): (&DiskBudget, &Account),
        offset: u64,
        data: &[u8],
    ) -> Result<Result<(), FsError>, IsLog> {
        self.while_local(|| self.write_now((budget, account), offset, data))
    }

    fn write_now(&self, (budget, account): (&DiskBudget, &Account), offset: u64, data: &[u8]) -> Result<(), FsError> {
        let file = self.file()?;
        let len = file.metadata().at("stat", &self.path)?.len();
        let growth = (offset.saturating_add(data.len() as u64)).saturating_sub(len);
        budget.reserve_local(account, growth).map_err(|_| FsError::NoSpace)?;
        let written = file.write_all_at(data, offset).at("write", &self.path);
        if written.is_err() {
            let grown = file.metadata().map_or(growth, |now| now.len().saturating_sub(len));
            budget.local.remove(account, growth.saturating_sub(grown));
        }
        Ok(written?)
    }

    /// Makes the file as long as that. Stale is one that has just become a log.
    pub fn set_len(&self, (budget, account): (&DiskBudget, &Account), to: u64) -> Result<(), FsError> {
        let step = || self.set_len_now((budget, account), to);
        self.while_local(step).unwrap_or(Err(FsError::Stale))
    }

    fn set_len_now(&self, (budget, account): (&DiskBudget, &Account), to: u64) -> Result<(), FsError> {
        let file = self.file()?;
        let len = file.metadata().at("stat", &self.path)?.len();
        budget.reserve_local(account, to.saturating_sub(len)).map_err(|_| FsError::NoSpace)?;
        file.set_len(to).at("truncate", &self.path)?;
        budget.local.remove(account, len.saturating_sub(to));
        Ok(())
    }
}
