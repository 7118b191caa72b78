//! The log file behind a live file: its spool files (`files`), who writes to them, and where its generations begin and
//! what is sealed (`state`), with the arithmetic between spool file, generation and segment. Does not decide when to
//! seal (`types::rotation`) and knows no names (`namespace`).
//!
//! Invariants: a spool file only grows. Segments cover the positions of the log from the first base to the sealed end
//! without gap or overlap, but for what a power cut took. The last generation is the one that applications see.
//!
//! - `handles`, `growth`, `segments`: who has it open, when it grew, what is sealed: the parts of `state`, each with
//!   verbs of its own; `versions` what `state` adds for files that are written in place.
//! - `readers`: who reads logs while other files begin.
//! - `stream`: a stream beyond its files; `local_file` files that stay local; `lease` whether a dead mount's program
//!   still writes.

mod files;
mod growth;
mod handles;
pub mod lease;
pub mod local_file;
pub mod readers;
mod segments;
mod state;
pub mod stream;
mod versions;

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

pub use self::files::{Files, SpoolFile};
use self::lease::has_writer;
pub use self::state::State;
use self::stream::StreamState;
use crate::spool::NodeFiles;
use crate::spool::record::{CopySource, Generation, LastWrite, Numbered};
use crate::spool::shared_budget::Account;
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::{BackingId, NodeId, SpoolOffset, SpoolRange};
use crate::types::time::{Monotonic, Utc};

/// Most bytes that are copied when a log is opened which was truncated while somebody had it open: a quarter of a
/// second of a slow disk, for which its first program waits once.
pub const COPY_MAX: u64 = 16 << 20;

/// Most logs that a file is compared with beside those of its record.
const SOURCES_MAX: usize = 256;

/// Who writes into the spool file what applications append. Decided when the first of them opens it, kept until the
/// last has closed it, because the kernel takes one way at a time.
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

/// What a live file has in the spool: its spool files, who writes to them, and what of them is sealed.
///
/// Its locks are taken in the order `route`, `committing`, the lock of the namespace's tree, `state`, `target`;
/// `last_write` alone.
#[derive(Debug)]
pub struct LogFile {
    /// The node that it belongs to.
    pub id: NodeId,
    /// Whether its mode may have a set-id bit, which a write takes away.
    pub set_id: AtomicBool,
    /// Whose its bytes are, once any are counted.
    pub account: OnceLock<Arc<Account>>,
    target: Mutex<Target>,
    /// Its bytes. DiskBudget is given back by [`LogFile::punch`] and [`LogFile::forget_before`].
    pub files: Files,
    route: Mutex<Route>,
    /// Whether it is on the sealer's list already.
    watched: AtomicBool,
    committing: Mutex<()>,
    /// The spool file that is written in place, and where it begins, while somebody has it open.
    in_place: Mutex<Option<(SpoolOffset, Arc<File>)>>,
    /// Bytes that count as those of whole files, and on which account.
    pub whole_bytes: AtomicU64,
    /// That account.
    pub whole_account: OnceLock<Arc<Account>>,
    /// When a program that wrote to it closed it last.
    last_close: Mutex<Monotonic>,
    /// What it may be a copy of, beside what its record says.
    more_sources: Mutex<Vec<CopySource>>,
    /// Files that may be copies of it.
    suspects: Mutex<Vec<Weak<LogFile>>>,
    /// A handle was closed.
    closed: Condvar,
    /// The inode of the spool file, and the last write to it that was seen.
    last_write: Mutex<Option<(u64, LastWrite)>>,
    state: Mutex<State>,
}

impl LogFile {
    /// A log file; `bases` as the record has them (at least one), `starts` where its spool files begin, if there are
    /// any yet.
    pub fn new(
        names: NodeFiles,
        stream: Arc<StreamState>,
        labels: BTreeMap<String, String>,
        bases: &[Generation],
        starts: Vec<SpoolOffset>,
    ) -> LogFile {
        stream.add_log(names.id());
        LogFile {
            id: names.id(),
            set_id: AtomicBool::new(false),
            account: OnceLock::new(),
            target: Mutex::new(Target { stream, labels }),
            files: Files::new(names, starts),
            route: Mutex::default(),
            watched: AtomicBool::new(false),
            committing: Mutex::new(()),
            in_place: Mutex::default(),
            whole_bytes: AtomicU64::new(0),
            whole_account: OnceLock::new(),
            last_close: Mutex::new(Monotonic::ZERO),
            more_sources: Mutex::default(),
            suspects: Mutex::default(),
            closed: Condvar::new(),
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

    /// Has the log add to another stream from now on, born there with `birth`, when `store` can store that; does
    /// nothing but `store` once it is bound to its own.
    pub fn assign_stream<E>(&self, target: Target, birth: u64, store: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let before = {
            let mut state = self.state.lock();
            (!state.is_bound()).then(|| self.join(&mut state, target, birth))
        };
        let stored = store();
        if let (Err(_), Some((target, birth))) = (&stored, before) {
            self.join(&mut self.state.lock(), target, birth);
        }
        stored
    }

    /// Gives what it was before.
    fn join(&self, state: &mut State, target: Target, birth: u64) -> (Target, u64) {
        target.stream.add_log(self.id);
        let before = std::mem::replace(&mut *self.target.lock(), target.clone());
        if !Arc::ptr_eq(&before.stream, &target.stream) {
            before.stream.remove_log(self.id);
        }
        (before, state.replace_birth(birth))
    }

    /// Gives a generation its number in `stream`, unless it has one. `None`: the log adds to another stream by now.
    pub fn number(&self, stream: &StreamState, of: SpoolOffset, not_before: Utc) -> Option<Numbered> {
        let mut state = self.state.lock();
        if !std::ptr::eq(&*self.target.lock().stream, stream) {
            return None;
        }
        let generation = state.generation_at(of)?;
        Some(*generation.numbered.get_or_insert_with(|| stream.next_generation(not_before)))
    }

    /// Keeps the log in its stream: a key is about to be formed. The record is to be stored after this, and the stream
    /// to be asked for after that.
    pub fn bind_stream(&self) {
        self.state.lock().bind();
    }

    /// The node's files in the spool.
    pub fn names(&self) -> &NodeFiles {
        self.files.names()
    }

    /// The spool file that grows, to name it in an error.
    pub fn path(&self) -> PathBuf {
        self.files.current().1
    }

    /// The state, locked. Never held over a wait for the disk's durability or for S3.
    pub fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Held by the task that moves markers from phase to phase; may wait for the disk, never for S3.
    pub fn committing(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.committing.lock()
    }

    /// Who writes, locked: held during open and close.
    pub fn route(&self) -> parking_lot::MutexGuard<'_, Route> {
        self.route.lock()
    }

    /// The spool file that grows.
    pub fn file(&self) -> Result<SpoolFile, LocalError> {
        self.files.last()
    }

    /// The spool file of a file that is written in place, and where it begins.
    pub fn in_place(&self) -> Result<(SpoolOffset, Arc<File>), LocalError> {
        let (start, path) = self.files.current();
        let mut open = self.in_place.lock();
        match &*open {
            Some((of, file)) if *of == start => Ok((start, file.clone())),
            _ => {
                let file = OpenOptions::new().read(true).write(true).open(&path).at("open", &path)?;
                Ok(open.insert((start, Arc::new(file))).clone())
            }
        }
    }

    /// Where the spool file that grows ends: the only truth about how much was written.
    pub fn len(&self) -> Result<SpoolOffset, LocalError> {
        Ok(self.metadata()?.0)
    }

    /// Where the spool file that grows ends, and no write is cut in two.
    pub fn end_between_writes(&self) -> Result<SpoolOffset, LocalError> {
        self.file()?.end_between_writes().at("seek", &self.path())
    }

    /// Where the spool file that grows ends, with what stat(2) says of it.
    pub fn metadata(&self) -> Result<(SpoolOffset, Metadata), LocalError> {
        let (start, metadata) = self.files.metadata()?;
        Ok((start.plus(metadata.len()), metadata))
    }

    /// Whether positions in the spool file that grows are those that applications see.
    pub fn is_aligned(&self) -> bool {
        self.files.current().0 == self.state.lock().current().at
    }

    /// Has the current generation begin a spool file, if it does not. It may have begun within one, because somebody
    /// had the log open when it was truncated; what there is of it is copied then, [`COPY_MAX`] at most. Says whether
    /// it does. To be called by the first who opens the log.
    pub fn align(&self) -> Result<bool, LocalError> {
        if self.is_aligned() {
            return Ok(true);
        }
        // Ranges are not given back while they are copied.
        let _committing = self.committing();
        let base = self.state().current().at;
        if self.len()?.since(base) > COPY_MAX {
            return Ok(false);
        }
        self.files.begin_at(base)?;
        if self.state().first_kept() >= base {
            self.forget_before(base)?;
        }
        Ok(true)
    }

    /// Whether nobody has it open, nothing of it is to be sealed, sent or forgotten, and no file is to be compared with
    /// it.
    pub fn is_spent(&self) -> Result<bool, LocalError> {
        let len = self.len()?;
        if !self.suspects.lock().is_empty() {
            return Ok(false);
        }
        let state = self.state.lock();
        Ok(!state.handles.is_open() && state.segments.is_empty() && state.unsent(len) == 0)
    }

    /// The last write to the spool file, by its metadata. Its time is taken once for each length, since
    /// [`LogFile::punch`] changes the time of the file briefly.
    pub fn last_write(&self, end: SpoolOffset, metadata: &Metadata) -> LastWrite {
        let mut known = self.last_write.lock();
        match *known {
            Some((file, last)) if file == metadata.ino() && last.len == end.0 => last,
            _ => known.insert((metadata.ino(), LastWrite::of_log(end, metadata))).1,
        }
    }

    /// Gives back the disk space of a range.
    pub fn punch(&self, range: SpoolRange) -> Result<(), LocalError> {
        self.note_last_write()?;
        self.files.punch(range)
    }

    /// Gives back the disk space of all that lies before a position.
    pub fn forget_before(&self, end: SpoolOffset) -> Result<(), LocalError> {
        self.note_last_write()?;
        self.files.forget_before(end)
    }

    fn note_last_write(&self) -> Result<(), LocalError> {
        let (end, metadata) = self.metadata()?;
        self.last_write(end, &metadata);
        Ok(())
    }

    /// When the spool file was last written.
    pub fn written_at(metadata: &Metadata) -> Utc {
        Utc::from_micros(metadata.mtime() * 1_000_000 + metadata.mtime_nsec() / 1000)
    }

    /// One handle less. Handles are counted by `Namespace::hold`.
    pub fn let_go(&self, write: bool) {
        let open = {
            let mut state = self.state.lock();
            state.handles.remove(write);
            state.handles.is_open()
        };
        if !open {
            *self.in_place.lock() = None;
        }
        self.closed.notify_all();
    }

    /// A program that wrote to it has closed it.
    pub fn note_close(&self, now: Monotonic) {
        *self.last_close.lock() = now;
    }

    /// When that was last.
    pub fn last_close(&self) -> Monotonic {
        *self.last_close.lock()
    }

    /// Remembers what the file may be a copy of, where its record has no room for it.
    pub fn add_sources(&self, sources: impl IntoIterator<Item = CopySource>) {
        let mut more = self.more_sources.lock();
        more.extend(sources);
        let surplus = more.len().saturating_sub(SOURCES_MAX);
        more.drain(..surplus);
    }

    /// What a generation of it may be a copy of.
    pub fn sources(&self, generation: &Generation) -> Vec<CopySource> {
        generation.sources.iter().flatten().chain(&*self.more_sources.lock()).copied().collect()
    }

    /// Whether a file is being written that may become a copy of this one.
    pub fn is_being_copied(&self) -> bool {
        let suspects: Vec<_> = self.suspects.lock().iter().filter_map(Weak::upgrade).collect();
        suspects.iter().any(|log| {
            let (current, writers) = {
                let state = log.state();
                (state.current(), state.handles.writers())
            };
            writers > 0 && log.sources(&current).iter().any(|source| source.node == self.id)
        })
    }

    /// Remembers a file that may be a copy of this one.
    pub fn suspect(&self, log: &Arc<LogFile>) {
        let mut suspects = self.suspects.lock();
        suspects.retain(|suspect| suspect.strong_count() > 0);
        suspects.push(Arc::downgrade(log));
    }

    /// Gives those, and forgets them.
    pub fn take_suspects(&self) -> Vec<Arc<LogFile>> {
        std::mem::take(&mut *self.suspects.lock()).iter().filter_map(Weak::upgrade).collect()
    }

    /// Waits until all handles but the caller's own are closed, once: who shares a log for long is not waited for again
    /// before it was closed by all.
    pub fn wait_for_closes(&self, longest: Duration) {
        let mut state = self.state.lock();
        if !state.handles.is_shared() {
            self.closed.wait_while_for(&mut state, |state| state.handles.open() > 1, longest);
            state.handles.waited_for();
        }
    }

    /// Asks the kernel whether programs of a dead mount still write, and counts them as one that has the file open. To
    /// be asked while this process has it open nowhere.
    pub fn look_for_orphans(&self) {
        let orphaned = has_writer(&self.files.current().1);
        self.state.lock().handles.set_orphaned(orphaned);
    }

    /// Puts the log file on the sealer's list; `true` when it was not there.
    pub fn start_watch(&self) -> bool {
        !self.watched.swap(true, Ordering::AcqRel)
    }

    /// Takes the log file off the sealer's list. Growth after this puts it there again.
    pub fn end_watch(&self) {
        self.watched.store(false, Ordering::Release);
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.target.get_mut().stream.remove_log(self.id);
    }
}
