//! One life of a live file: its spool file, where its generations begin and what of them is sealed.
//! Owns the arithmetic between the three coordinates (spool file, generation, segment). Does not
//! decide when to seal (`values::rotation`), and does not know names (`local::namespace`).
//!
//! Invariants: the spool file only grows; segments cover it from the first base without gap or
//! overlap up to the sealed end; the last generation is the one that applications see.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::disk::open_spool_file;
use super::lease::has_writer;
use super::record::{Base, DATA};
use super::stream::StreamState;
use crate::values::errors::{AtPath, LocalError};
use crate::values::ids::{BackingId, GenerationNo, NodeId, SpoolOffset, SpoolRange};
use crate::values::naming::{MarkerName, Phase};
use crate::values::time::Utc;

/// A generation that still has something to do, or the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Where it begins.
    pub base: Base,
    /// Its number, once something of it is sealed.
    pub number: Option<GenerationNo>,
}

/// A sealed range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// One past its last byte.
    pub end: SpoolOffset,
    /// Its generation.
    pub generation: GenerationNo,
    /// How far it has come.
    pub phase: Phase,
}

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

/// One life of a live file.
#[derive(Debug)]
pub struct Life {
    /// The node that it belongs to.
    pub id: NodeId,
    /// The stream that it adds to.
    pub stream: Arc<StreamState>,
    /// Labels of the stream's rule.
    pub labels: BTreeMap<String, String>,
    folder: PathBuf,
    file: Mutex<Weak<File>>,
    route: Mutex<Route>,
    /// Whether it is on the sealer's list already.
    watched: AtomicBool,
    settling: Mutex<()>,
    state: Mutex<State>,
}

/// What changes in a life.
#[derive(Debug)]
pub struct State {
    /// Generations from the first unsealed byte on; never empty.
    pub generations: VecDeque<Generation>,
    /// Sealed ranges by their start.
    pub segments: BTreeMap<SpoolOffset, Segment>,
    /// Open handles that may write.
    pub writers: u32,
    /// Up to where its bytes are counted as taking room.
    pub counted: SpoolOffset,
    /// Those of them for which the kernel writes: nobody is told of what they append.
    pub unseen_writers: u32,
    /// Whether one handle, writer and unseen writer stands for programs that write through a mount
    /// whose daemon is dead.
    pub orphaned: bool,
    /// Open handles.
    pub handles: u32,
    /// Whether a name is left.
    pub linked: bool,
    /// Everything before this is to be sealed at once.
    pub forced_to: SpoolOffset,
    /// When the first unsealed byte was written.
    pub first_byte: Option<Utc>,
    /// When growth was last seen, and the length then.
    pub last_growth: (Utc, SpoolOffset),
    /// Whether something was set aside that no fsync to S3 has reported yet.
    pub set_aside: bool,
    /// Key of the segment confirmed last.
    pub last_key: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

impl Life {
    /// A life whose folder exists; `bases` as the record has them (at least one).
    pub fn new(
        id: NodeId,
        folder: PathBuf,
        stream: Arc<StreamState>,
        labels: BTreeMap<String, String>,
        bases: &[Base],
    ) -> Life {
        let generations: VecDeque<_> =
            bases.iter().map(|base| Generation { base: *base, number: None }).collect();
        let begin = generations.back().map(|g| g.base).unwrap_or(Base::default());
        Life {
            id,
            stream,
            labels,
            folder,
            file: Mutex::default(),
            route: Mutex::default(),
            watched: AtomicBool::new(false),
            settling: Mutex::new(()),
            state: Mutex::new(State {
                generations,
                segments: BTreeMap::new(),
                writers: 0,
                counted: SpoolOffset(0),
                orphaned: false,
                unseen_writers: 0,
                handles: 0,
                linked: true,
                forced_to: SpoolOffset(0),
                first_byte: None,
                last_growth: (begin.since, begin.at),
                set_aside: false,
                last_key: None,
                last_error: None,
            }),
        }
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
    pub fn metadata(&self) -> Result<std::fs::Metadata, LocalError> {
        let path = self.folder.join(DATA);
        match self.file.lock().upgrade() {
            Some(file) => file.metadata().at("stat", &path),
            None => std::fs::metadata(&path).at("stat", &path),
        }
    }

    /// When the spool file was last written.
    pub fn written_at(metadata: &std::fs::Metadata) -> Utc {
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

impl State {
    /// The generation that applications see.
    pub fn current(&self) -> Generation {
        // `Life::new` gives at least one and nothing takes the last away; an empty list would be
        // a life from the file's beginning.
        self.generations
            .back()
            .copied()
            .unwrap_or(Generation { base: Base::default(), number: None })
    }

    /// Where the bytes begin that no seal covers.
    pub fn sealed_end(&self) -> SpoolOffset {
        let sealed = self.segments.last_key_value().map(|(_, s)| s.end);
        let base = self.generations.front().map_or(SpoolOffset(0), |g| g.base.at);
        sealed.map_or(base, |end| end.max(base))
    }

    /// The unsealed range that is next to be sealed, its generation, and whether that has ended.
    /// Generations that have nothing unsealed and will not grow are left behind on the way.
    pub fn tail(&mut self, len: SpoolOffset) -> (SpoolRange, Generation, bool) {
        loop {
            let start = self.sealed_end();
            let first = self.generations.front().copied().unwrap_or_else(|| self.current());
            match self.generations.get(1).map(|next| next.base.at) {
                Some(next) if start >= next => {
                    self.generations.pop_front();
                }
                Some(next) => return (SpoolRange { start, end: next }, first, true),
                None => {
                    let end = len.max(start);
                    return (SpoolRange { start, end }, first, !self.linked && self.handles == 0);
                }
            }
        }
    }

    /// Begins a new generation, at the file's present length; `false` when the current one is empty
    /// and stays.
    pub fn begin_generation(&mut self, base: Base) -> bool {
        if base.at <= self.current().base.at {
            return false;
        }
        self.generations.push_back(Generation { base, number: None });
        true
    }

    /// Where the generations begin, as the record keeps them.
    pub fn bases(&self) -> Vec<Base> {
        self.generations.iter().map(|g| g.base).collect()
    }

    /// Bytes that S3 has not confirmed.
    pub fn unsent(&self, len: SpoolOffset) -> u64 {
        let sealed = self.segments.iter().filter(|(_, s)| s.phase.is_unsent());
        let sealed: u64 = sealed.map(|(start, s)| s.end.since(*start)).sum();
        sealed + len.since(self.sealed_end())
    }

    /// Where the bytes begin that are still needed: before lie generations that are settled.
    pub fn first_kept(&self) -> SpoolOffset {
        self.segments.first_key_value().map_or(self.sealed_end(), |(start, _)| *start)
    }

    /// Bytes that take room on the disk.
    pub fn held(&self, len: SpoolOffset) -> u64 {
        let gone = self.segments.iter().filter(|(_, s)| !s.phase.is_here());
        let gone: u64 = gone.map(|(start, s)| s.end.since(*start)).sum();
        len.since(self.first_kept()).saturating_sub(gone)
    }

    /// Whether S3 has everything, marks of what was given up included.
    pub fn all_sent(&self, len: SpoolOffset) -> bool {
        self.unsent(len) == 0 && !self.segments.values().any(|s| s.phase.owes_object())
    }

    /// The marker of the segment at `start`.
    pub fn marker(&self, start: SpoolOffset) -> Option<MarkerName> {
        let segment = self.segments.get(&start)?;
        let range = SpoolRange { start, end: segment.end };
        Some(MarkerName { range, generation: segment.generation, phase: segment.phase })
    }

    /// The segment that holds a position, when it is sealed.
    pub fn segment_at(&self, at: SpoolOffset) -> Option<MarkerName> {
        let (start, segment) = self.segments.range(..=at).next_back()?;
        (at < segment.end).then(|| self.marker(*start))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(at: u64) -> Base {
        Base { at: SpoolOffset(at), ..Base::default() }
    }

    fn state(bases: &[u64]) -> State {
        let dir = tempfile::tempdir().expect("a folder");
        let streams = crate::local::stream::Streams::new(dir.path());
        let stream = streams.get(b"s", Utc::default());
        let bases: Vec<_> = bases.iter().map(|b| base(*b)).collect();
        Life::new(NodeId(2), dir.path().into(), stream, BTreeMap::new(), &bases).state.into_inner()
    }

    fn seal(state: &mut State, start: u64, end: u64) {
        let segment =
            Segment { end: SpoolOffset(end), generation: GenerationNo(1), phase: Phase::Sealed };
        state.segments.insert(SpoolOffset(start), segment);
    }

    #[test]
    fn a_truncated_generation_is_sealed_to_its_end_before_the_next() {
        let mut state = state(&[0]);
        assert!(state.begin_generation(base(100)));
        let (range, generation, ended) = state.tail(SpoolOffset(130));
        assert_eq!((range.start.0, range.end.0, ended), (0, 100, true));
        assert_eq!(generation.base, base(0));
        seal(&mut state, 0, 100);
        let (range, generation, ended) = state.tail(SpoolOffset(130));
        assert_eq!((range.start.0, range.end.0, ended), (100, 130, false));
        assert_eq!(generation.base, base(100));
        assert_eq!(state.unsent(SpoolOffset(130)), 130);
    }

    #[test]
    fn truncating_an_empty_generation_does_nothing() {
        let mut state = state(&[0]);
        assert!(!state.begin_generation(base(0)));
        assert!(state.begin_generation(base(5)));
        assert!(!state.begin_generation(base(5)));
        assert_eq!(state.generations.len(), 2);
    }

    #[test]
    fn an_unlinked_and_closed_life_has_ended() {
        let mut state = state(&[0]);
        state.linked = false;
        state.handles = 1;
        assert!(!state.tail(SpoolOffset(10)).2);
        state.handles = 0;
        assert!(state.tail(SpoolOffset(10)).2);
    }

    #[test]
    fn a_position_finds_its_segment() {
        let mut state = state(&[0]);
        seal(&mut state, 0, 10);
        seal(&mut state, 10, 30);
        let found = |at| state.segment_at(SpoolOffset(at)).map(|m| m.range.start.0);
        assert_eq!((found(0), found(9), found(10), found(30)), (Some(0), Some(0), Some(10), None));
    }
}
