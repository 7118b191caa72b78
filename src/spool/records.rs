//! The records of all nodes in one append-only file: create, rename and unlink cost an append, and one fsync makes
//! everything before it durable, in order. Owns the file `records` and when it is written; `record_lines` owns its
//! format.
//!
//! Invariants: the last line of a node counts. A power cut leaves the file as it was at some moment, so that a younger
//! change never outlives an older one. The file is compacted when most of it is out of date, and at no moment is a
//! change in neither.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tracing::{error, warn};

use super::crash_point::crash_point;
use super::disk::{read_regular, sync_folder};
use super::quarantine::Quarantine;
use super::record::Record;
use super::record_lines::{Loaded, RECORDS, gone_line, hide_line, record_line, synced_line, text_of};
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::NodeId;

/// Bytes from which on the file is replaced when no more than a part of it counts ...
const GROWN: u64 = 1 << 20;
/// ... namely one in so many.
const OUT_OF_DATE: u64 = 4;

/// A place in the order of all changes; one is durable when all up to it are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

/// The file, open for appending.
#[derive(Debug)]
pub struct Records {
    dir: PathBuf,
    /// Held for an append, never over a wait for the disk.
    log: Mutex<Log>,
    /// Up to which change all have reached the disk.
    durable: AtomicU64,
    /// Held by the thread that waits for the disk, or puts a new file in the place of the old one.
    syncing: Mutex<()>,
}

#[derive(Debug)]
struct Log {
    file: Arc<File>,
    len: u64,
    /// All bytes that were ever appended, also to files before this one.
    position: u64,
    /// What of the file had reached the disk, until that is in it.
    synced: Option<u64>,
    /// Length of the file when nothing in it was out of date.
    fresh: u64,
    /// The file that is to take its place, with its length.
    next: Option<(File, u64)>,
    /// Whether a write that failed may have left a part of its line.
    torn: bool,
}

impl Records {
    /// Opens the file of a spool, making it when there is none, and reads it. `rebooted` says that a power cut may have
    /// taken what had not reached the disk.
    pub(super) fn open(dir: &Path, rebooted: bool) -> Result<(Records, Loaded), LocalError> {
        let path = dir.join(RECORDS);
        // Of a daemon that died while it wrote one.
        let _ = fs::remove_file(path.with_extension("new"));
        if let Ok(found) = fs::symlink_metadata(&path)
            && !found.is_file()
        {
            let kept = Quarantine::of(dir).add(&path, RECORDS)?;
            error!(kept = %kept.display(), "the spool's record file is not a regular file: quarantined, together with the contents of the spool");
        }
        let is_new = fs::symlink_metadata(&path).is_err();
        let file = open(&path, false)?;
        if is_new {
            // Its name, before anybody is told that what is in it is durable.
            sync_folder(dir)?;
        }
        let text = read_regular(&path, u64::MAX)?;
        let (mut loaded, damage) = Loaded::read(&text);
        let mut len = text.len() as u64;
        if let Some(damage) = damage {
            if damage.is_cut || (rebooted && !damage.was_synced) {
                // What comes behind it relies on it, and nobody was told that any of it is safe.
                loaded = Loaded::read(&text[..damage.at]).0;
                len = damage.at as u64;
                file.set_len(len).at("truncate", &path)?;
            } else {
                keep_copy(dir, &path);
            }
        }
        let log = Log { file: Arc::new(file), len, position: len, synced: None, fresh: 0, next: None, torn: false };
        let (log, durable, syncing) = (Mutex::new(log), AtomicU64::new(0), Mutex::new(()));
        let records = Records { dir: dir.to_owned(), log, durable, syncing };
        records.log.lock().fresh = text_of(&loaded.nodes)?.len() as u64;
        if damage.is_some_and(|damage| !damage.is_cut) && len > 0 {
            // So that it is found once. A full disk must not keep a daemon from starting that would make room.
            if let Err(e) = records.replace_by(&loaded) {
                warn!("the next start finds the damage again: {e}");
            }
        }
        Ok((records, loaded))
    }

    /// Writes what a node is from now on.
    pub fn put(&self, id: NodeId, record: &Record) -> Result<Position, LocalError> {
        self.append(&record_line(id, record)?)
    }

    /// Adds a name, escaped, to those that a directory hides.
    pub fn hide(&self, id: NodeId, name: &str) -> Result<Position, LocalError> {
        self.append(&hide_line(id, name)?)
    }

    /// Writes that a node is no more. Its files may be removed from then on.
    pub fn gone(&self, id: NodeId) -> Result<Position, LocalError> {
        self.append(&gone_line(id))
    }

    fn append(&self, line: &str) -> Result<Position, LocalError> {
        let mut log = self.log.lock();
        let mut text = String::new();
        if std::mem::take(&mut log.torn) {
            text.push('\n');
        }
        if let Some(len) = log.synced.take() {
            text.push_str(&synced_line(len));
        }
        text.push_str(line);
        log.write(text.as_bytes()).at("write", &self.dir.join(RECORDS))?;
        log.position += text.len() as u64;
        if let Some((next, len)) = &mut log.next {
            match next.write_all(line.as_bytes()) {
                Ok(()) => *len += line.len() as u64,
                Err(e) => self.give_up(&mut log, &e),
            }
        }
        // The change counts, and nobody was told so.
        crash_point("records: a change is appended");
        Ok(Position(log.position))
    }

    /// Waits until a change, and all before it, have reached the disk.
    pub fn sync(&self, upto: Position) -> Result<(), LocalError> {
        if self.is_durable(upto) {
            return Ok(());
        }
        let _syncing = self.syncing.lock();
        if self.is_durable(upto) {
            // With those that another one waited for.
            return Ok(());
        }
        let (file, len, position) = {
            let log = self.log.lock();
            (log.file.clone(), log.len, log.position)
        };
        file.sync_data().at("sync", &self.dir.join(RECORDS))?;
        crash_point("records: they have reached the disk");
        self.log.lock().synced = Some(len);
        self.durable.store(position, Ordering::Release);
        Ok(())
    }

    /// Whether a change has reached the disk.
    pub fn is_durable(&self, change: Position) -> bool {
        change.0 <= self.durable.load(Ordering::Acquire)
    }

    /// The last change.
    pub fn last(&self) -> Position {
        Position(self.log.lock().position)
    }

    /// Whether the file should be replaced.
    pub fn is_grown(&self) -> bool {
        let log = self.log.lock();
        log.next.is_none() && log.len > GROWN.max(OUT_OF_DATE * log.fresh)
    }

    /// Begins a new file. From here on each change goes into both; the caller copies what there is with
    /// [`Records::copy`] and [`Records::copy_gone`], while the changes go on, and then calls [`Records::finish`].
    pub fn begin(&self) -> Result<(), LocalError> {
        let file = open(&self.dir.join(RECORDS).with_extension("new"), true)?;
        self.log.lock().next = Some((file, 0));
        Ok(())
    }

    /// Copies a node as it is now. To be called under the lock under which it is changed.
    pub fn copy(&self, id: NodeId, record: &Record) -> Result<(), LocalError> {
        self.copy_line(&record_line(id, record)?);
        Ok(())
    }

    /// Copies that a node is no more, as long as its files are there.
    pub fn copy_gone(&self, id: NodeId) {
        self.copy_line(&gone_line(id));
    }

    fn copy_line(&self, line: &str) {
        let mut log = self.log.lock();
        if let Some((next, len)) = &mut log.next {
            match next.write_all(line.as_bytes()) {
                Ok(()) => *len += line.len() as u64,
                Err(e) => self.give_up(&mut log, &e),
            }
        }
    }

    /// The old file goes on alone.
    fn give_up(&self, log: &mut Log, why: &io::Error) {
        log.next = None;
        let _ = fs::remove_file(self.dir.join(RECORDS).with_extension("new"));
        // Not at once again.
        log.fresh = log.len / 2;
        warn!("the spool's records could not be compacted: {why}");
    }

    /// Puts the new file in the place of the old one, durably.
    pub fn finish(&self) -> Result<(), LocalError> {
        self.put_in_place().inspect_err(|e| self.give_up(&mut self.log.lock(), &e.source))
    }

    fn put_in_place(&self) -> Result<(), LocalError> {
        let path = self.dir.join(RECORDS);
        let fresh = path.with_extension("new");
        // Nobody is told meanwhile that a change is durable: it may be in the old file alone.
        let _syncing = self.syncing.lock();
        let (file, synced) = {
            let log = self.log.lock();
            let Some((next, len)) = &log.next else { return Ok(()) };
            (next.try_clone().at("open", &fresh)?, (*len, log.position))
        };
        file.sync_data().at("sync", &fresh)?;
        // The old one counts; the next start removes the new one.
        crash_point("records: written anew, not yet under their name");
        {
            let mut log = self.log.lock();
            let Some((next, len)) = log.next.take() else { return Ok(()) };
            fs::rename(&fresh, &path).at("rename", &fresh)?;
            *log = Log {
                file: Arc::new(next),
                len,
                position: log.position,
                synced: Some(synced.0),
                fresh: len,
                next: None,
                torn: false,
            };
        }
        crash_point("records: written anew");
        sync_folder(&self.dir)?;
        self.durable.fetch_max(synced.1, Ordering::AcqRel);
        Ok(())
    }

    /// Replaces the file by what was read of it.
    fn replace_by(&self, loaded: &Loaded) -> Result<(), LocalError> {
        self.begin()?;
        for (id, record) in &loaded.nodes {
            self.copy(*id, record)?;
        }
        loaded.gone.iter().for_each(|id| self.copy_gone(*id));
        self.finish()
    }
}

impl Log {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let written = (&*self.file).write_all(text);
        match written {
            Ok(()) => self.len += text.len() as u64,
            // Of a change that failed nothing stays.
            Err(_) => self.torn = self.file.set_len(self.len).is_err(),
        }
        written
    }
}

fn open(path: &Path, anew: bool) -> Result<File, LocalError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    if anew {
        let _ = fs::remove_file(path);
    }
    options.open(path).at("open", path)
}

/// Keeps what cannot be read, for a person to look into.
fn keep_copy(dir: &Path, path: &Path) {
    let kept = Quarantine::of(dir).free_name(RECORDS);
    match fs::copy(path, &kept) {
        Ok(_) => {
            warn!(kept = %kept.display(), "some of the spool's records are damaged; the last readable ones count, and a copy is kept")
        }
        Err(e) => {
            let _ = fs::remove_file(&kept);
            warn!(
                "some of the spool's records are damaged; the last readable ones count, and no copy could be kept: {e}"
            );
        }
    }
}
