//! One life of a live file: its spool file, who writes to it, and (in `state`) where its generations
//! begin and what of them is sealed, with the arithmetic between the three coordinates (spool file,
//! generation, segment). Does not decide when to seal (`values::rotation`), and does not know names
//! (`local::namespace`).
//!
//! Invariants: the spool file only grows; segments cover it from the first base without gap or
//! overlap up to the sealed end; the last generation is the one that applications see.

mod state;

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

pub use self::state::{Looks, Segment, State};
use super::disk::{open_spool_file, punch};
use super::lease::has_writer;
use super::record::{DATA, Generation, LastWrite};
use super::stream::StreamState;
use crate::values::errors::{AtPath, LocalError};
use crate::values::ids::{BackingId, NodeId, SpoolOffset};
use crate::values::time::Utc;

/// Who writes into the spool file what applications append. Decided when the first of them opens it,
/// kept until the last has closed it, because the kernel takes one way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Route {
    /// Nobody has it open.
    #[default]
    Undecided,
    /// The daemon.
    Daemon,
    /// The kernel, where the open allows it, and the daemon beside it.
    Kernel(BackingId),
}

/// The stream that a log adds to, with the labels of the stream's rule.
#[derive(Clone, Debug)]
pub struct Target {
    /// The stream.
    pub stream: Arc<StreamState>,
    /// Labels of the stream's rule.
    pub labels: BTreeMap<String, String>,
}

/// One life of a live file.
#[derive(Debug)]
pub struct Life {
    /// The node that it belongs to.
    pub id: NodeId,
    /// Whether its mode may have a set-id bit, which a write takes away.
    pub set_id: AtomicBool,
    target: Mutex<Target>,
    folder: PathBuf,
    file: Mutex<Weak<File>>,
    route: Mutex<Route>,
    /// Whether it is on the sealer's list already.
    watched: AtomicBool,
    settling: Mutex<()>,
    /// The inode of the spool file, and the last write to it that was seen.
    last_write: Mutex<Option<(u64, LastWrite)>>,
    state: Mutex<State>,
}

impl Life {
    /// A life whose folder exists; `bases` as the record has them (at least one).
    pub fn new(
        id: NodeId,
        folder: PathBuf,
        stream: Arc<StreamState>,
        labels: BTreeMap<String, String>,
        bases: &[Generation],
    ) -> Life {
        stream.add_log(id);
        Life {
            id,
            set_id: AtomicBool::new(false),
            target: Mutex::new(Target { stream, labels }),
            folder,
            file: Mutex::default(),
            route: Mutex::default(),
            watched: AtomicBool::new(false),
            settling: Mutex::new(()),
            last_write: Mutex::default(),
            state: Mutex::new(State::new(bases)),
        }
    }

    /// The stream that it adds to.
    pub fn stream(&self) -> Arc<StreamState> {
        self.target.lock().stream.clone()
    }

    /// The stream that it adds to, and its labels.
    pub fn target(&self) -> Target {
        self.target.lock().clone()
    }

    /// The node's folder in the spool.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The state, locked. Never held over a wait for the disk's durability or for S3.
    pub fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Held by whoever moves markers from phase to phase; may wait for the disk, never for S3.
    pub fn settling(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.settling.lock()
    }

    /// Who writes, locked: held by whoever opens or closes.
    pub fn route(&self) -> parking_lot::MutexGuard<'_, Route> {
        self.route.lock()
    }

    /// The spool file: one descriptor for all who have it open, closed with the last of them, so
    /// that thousands of quiet logs hold none.
    pub fn file(&self) -> Result<Arc<File>, LocalError> {
        let mut slot = self.file.lock();
        if let Some(file) = slot.upgrade() {
            return Ok(file);
        }
        let file = Arc::new(open_spool_file(&self.folder.join(DATA))?);
        *slot = Arc::downgrade(&file);
        Ok(file)
    }

    /// The spool file's length: the only truth about how much was written.
    pub fn len(&self) -> Result<SpoolOffset, LocalError> {
        Ok(SpoolOffset(self.metadata()?.len()))
    }

    /// Length and times of the spool file.
    pub fn metadata(&self) -> Result<Metadata, LocalError> {
        let path = self.folder.join(DATA);
        match self.file.lock().upgrade() {
            Some(file) => file.metadata().at("stat", &path),
            None => std::fs::metadata(&path).at("stat", &path),
        }
    }

    /// The last write to the spool file, by its metadata. Its time is taken once for each length, since
    /// [`Life::punch`] changes the time of the file for a moment.
    pub fn last_write(&self, metadata: &Metadata) -> LastWrite {
        let mut known = self.last_write.lock();
        match *known {
            Some((file, last)) if file == metadata.ino() && last.len == metadata.len() => last,
            _ => known.insert((metadata.ino(), LastWrite::of(metadata))).1,
        }
    }

    /// Gives back the disk space of a range.
    pub fn punch(&self, start: u64, len: u64) -> Result<(), LocalError> {
        self.last_write(&self.metadata()?);
        punch(&*self.file()?, start, len, &self.folder.join(DATA))
    }

    /// When the spool file was last written.
    pub fn written_at(metadata: &Metadata) -> Utc {
        Utc::from_micros(metadata.mtime() * 1_000_000 + metadata.mtime_nsec() / 1000)
    }

    /// Reads at a spool offset; fewer bytes at the end.
    pub fn read_spool(file: &File, at: SpoolOffset, into: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match file.read_at(&mut into[filled..], at.0 + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    /// One handle less. Handles are counted by `Namespace::hold`.
    pub fn let_go(&self, write: bool) {
        let mut state = self.state.lock();
        state.handles = state.handles.saturating_sub(1);
        state.writers = state.writers.saturating_sub(u32::from(write));
    }

    /// Asks the kernel whether programs of a dead mount still write, and counts them as one that has
    /// the file open. To be asked while this process has it open nowhere.
    pub fn look_for_orphans(&self) {
        let orphaned = has_writer(&self.folder.join(DATA));
        let mut state = self.state.lock();
        if state.orphaned == orphaned {
            return;
        }
        state.orphaned = orphaned;
        let counts = &mut *state;
        for count in [&mut counts.handles, &mut counts.writers, &mut counts.unseen_writers] {
            *count = if orphaned { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// Puts the life on the sealer's list; `true` when it was not there.
    pub fn start_watch(&self) -> bool {
        !self.watched.swap(true, Ordering::AcqRel)
    }

    /// Takes the life off the sealer's list. Growth after this puts it there again.
    pub fn end_watch(&self) {
        self.watched.store(false, Ordering::Release);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.target.get_mut().stream.remove_log(self.id);
    }
}
