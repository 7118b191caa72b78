//! State for the next worker of the same mount: open handles, the write in progress on each, and the stored nodes that
//! the kernel may ask for by number. Lives in the folder `session/` of the spool, is never synced (a power cut ends the
//! mount), and means nothing after the mount has ended, except for a write that was cut in two.
//!
//! Invariants: a handle is recorded before the kernel learns of it and removed before its close is answered. A write is
//! recorded before it is made. Node and handle numbers are never reused within a session, whichever worker gives them.
//!
//! - `journal`: the journal of stored nodes.

mod journal;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tracing::error;

use self::journal::Journal;
pub use self::journal::StoredNode;
use super::ballast;
use super::disk::read_regular;
use super::mapped::Words;
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::{HandleId, NodeId, Origin, RequestId, SessionId, SpoolOffset};

/// The folder of the spool with what a worker leaves to the next.
pub const SESSION: &str = "session";
/// Bytes of a place in the table of handles.
const PLACE: u64 = 64;
/// Where in its place the write under way begins, after what is known from the open.
const INTENT: u64 = 32;
/// Where its last write ended, and one more; 0 where that is not known.
const WENT_TO: u64 = 56;
/// What the table begins with; the first place holds this and the reserved numbers.
const MAGIC: u64 = u64::from_le_bytes(*b"lsfhndl1");
/// Places whose writes are noted without a system call; what is beyond costs a microsecond more.
const MAPPED: usize = 4096;
/// Longest table that is read: a million open files.
const TABLE_MAX: u64 = PLACE << 20;
/// Numbers reserved at once.
const BLOCK: u64 = 4096;

/// A session, or nothing where no worker can follow.
#[derive(Debug, Default)]
pub struct Session {
    number: u64,
    /// Whether another worker served before.
    pub resumed: bool,
    files: Option<Files>,
    places: Mutex<Places>,
    intents: HashMap<u64, SpoolOffset>,
    /// The last writes on the files of a mount that is gone.
    last: Vec<Intent>,
    left: Mutex<Vec<LeftHandle>>,
    node: AtomicU64,
    handle: AtomicU64,
}

#[derive(Debug)]
struct Files {
    table: File,
    table_path: PathBuf,
    /// The first places, where the disk has room for them.
    words: Option<Words>,
    stored: Journal,
}

#[derive(Debug, Default)]
struct Places {
    free: Vec<u64>,
    /// The first place that was never used; place 0 is the table's head.
    next: u64,
    nodes_reserved: u64,
    handles_reserved: u64,
}

/// Where a handle is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HandleSlot(u64);

/// A write as it was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    node: NodeId,
    end: SpoolOffset,
    len: u64,
}

/// An open handle, as the next worker needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenHandle {
    /// The handle.
    pub handle: HandleId,
    /// What it is open on.
    pub node: NodeId,
    /// How, in the words of the worker that noted it.
    pub flags: u32,
    /// The request that opened it.
    pub opened_by: u64,
    /// Where its last write ended, as the program counts; `u64::MAX` where that is not known.
    pub went_to: u64,
}

/// A handle that a worker left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftHandle {
    /// Where it is noted.
    pub place: HandleSlot,
    /// What was noted.
    pub noted: OpenHandle,
}

impl Intent {
    fn noted_in(place: &[u8]) -> Intent {
        let at = INTENT as usize;
        let (node, end) = (NodeId(word(place, 8)), SpoolOffset(word(place, at + 8)));
        Intent { node, end, len: word(place, at + 16) }
    }
}

impl Session {
    /// Begins a session in a spool's folder, or goes on with what the worker before left of it.
    pub fn begin(spool: &Path, id: &SessionId, resumed: bool) -> Result<Session, LocalError> {
        let dir = spool.join(SESSION);
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&dir).at("create", &dir)?;
        let last = take_others(&dir, &id.0)?;
        let table_path = dir.join(format!("{}.handles", id.0));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(!resumed).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let table = options.open(&table_path).at("open", &table_path)?;
        let stored = Journal::open(dir.join(format!("{}.stored", id.0)), resumed)?;
        let map = || Words::map(&table, MAPPED * PLACE as usize / 8);
        let on_full_disk = |_| {
            ballast::drop(spool);
            map()
        };
        let words = map().or_else(on_full_disk).ok();
        let text = read_regular(&table_path, TABLE_MAX)?;
        let mut session = Session {
            number: id.number(),
            resumed,
            last,
            files: Some(Files { table, table_path, words, stored }),
            ..Session::default()
        };
        session.read(&text);
        Ok(session)
    }

    fn read(&mut self, text: &[u8]) {
        let places = self.places.get_mut();
        places.next = 1;
        let mut all = text.chunks(PLACE as usize);
        let head = all.next().unwrap_or_default();
        if word(head, 0) != MAGIC {
            // A worker that had nothing open yet has written nothing.
            if self.resumed && text.iter().any(|byte| *byte != 0) {
                error!("the previous worker's open files are not on record: they are lost");
            }
            return;
        }
        (places.nodes_reserved, places.handles_reserved) = (word(head, 8), word(head, 16));
        (*self.node.get_mut(), *self.handle.get_mut()) = (places.nodes_reserved, places.handles_reserved);
        for place in all {
            let at = places.next;
            places.next += 1;
            let (handle, intent) = (word(place, 0), word(place, INTENT as usize));
            if handle == 0 {
                places.free.push(at);
                continue;
            }
            let noted = OpenHandle {
                handle: HandleId(handle),
                node: NodeId(word(place, 8)),
                flags: word(place, 16) as u32,
                opened_by: word(place, 24),
                // Earlier versions left it out, as 0.
                went_to: word(place, WENT_TO as usize).wrapping_sub(1),
            };
            self.left.get_mut().push(LeftHandle { place: HandleSlot(at), noted });
            self.intents.insert(intent, SpoolOffset(word(place, INTENT as usize + 8)));
        }
    }

    /// The handles that the worker before left open; given once.
    pub fn take_left(&self) -> Vec<LeftHandle> {
        std::mem::take(&mut self.left.lock())
    }

    /// The nodes that the worker before had open.
    pub fn nodes_left(&self) -> std::collections::HashSet<NodeId> {
        self.left.lock().iter().map(|left| left.noted.node).collect()
    }

    /// How a request is named in records that outlive the worker; `None` when none can follow.
    pub fn request(&self, origin: Origin) -> Option<RequestId> {
        let number = self.files.as_ref().map(|_| self.number)?;
        Some(RequestId { session: number, unique: origin.unique })
    }

    /// A handle that this session has never had.
    pub fn new_handle(&self) -> Result<HandleId, LocalError> {
        let handle = self.handle.fetch_add(1, Ordering::Relaxed) + 1;
        self.reserve(handle, |places| &mut places.handles_reserved)?;
        Ok(HandleId(handle))
    }

    /// A number for a node that neither this session nor the spool (up to `known`) has had.
    pub fn new_node(&self, known: u64) -> Result<NodeId, LocalError> {
        self.node.fetch_max(known, Ordering::Relaxed);
        let node = self.node.fetch_add(1, Ordering::Relaxed) + 1;
        self.reserve(node, |places| &mut places.nodes_reserved)?;
        Ok(NodeId(node))
    }

    fn reserve(&self, number: u64, which: impl FnOnce(&mut Places) -> &mut u64) -> Result<(), LocalError> {
        let Some(files) = &self.files else { return Ok(()) };
        let mut places = self.places.lock();
        let reserved = which(&mut places);
        if number < *reserved {
            return Ok(());
        }
        *reserved = number + BLOCK;
        let head = words(&[MAGIC, places.nodes_reserved, places.handles_reserved]);
        files.table.write_all_at(&head, 0).at("write", &files.table_path)
    }

    /// Notes that a handle is open.
    pub fn opened(&self, noted: OpenHandle) -> Result<HandleSlot, LocalError> {
        let Some(files) = &self.files else { return Ok(HandleSlot::default()) };
        let place = {
            let mut places = self.places.lock();
            places.free.pop().unwrap_or_else(|| {
                places.next += 1;
                places.next - 1
            })
        };
        let OpenHandle { handle, node, flags, opened_by, went_to } = noted;
        let text = words(&[handle.0, node.0, u64::from(flags), opened_by, 0, 0, 0, went_to.wrapping_add(1)]);
        files.table.write_all_at(&text, place * PLACE).at("write", &files.table_path)?;
        Ok(HandleSlot(place))
    }

    /// Strikes a handle out.
    pub fn closed(&self, place: HandleSlot) -> Result<(), LocalError> {
        let Some(files) = &self.files else { return Ok(()) };
        let at = place.0 * PLACE;
        files.table.write_all_at(&words(&[0; 8]), at).at("write", &files.table_path)?;
        self.places.lock().free.push(place.0);
        Ok(())
    }

    /// Notes that a write of so many bytes is about to be made behind `end`. One at a time is under way on a file: the
    /// kernel holds its lock until the answer.
    pub fn intend(&self, place: HandleSlot, by: Origin, end: SpoolOffset, len: u64) -> Result<(), LocalError> {
        let Some(files) = &self.files else { return Ok(()) };
        // The end first: a kill between the two leaves the end without its request, which means nothing.
        let at = ((place.0 * PLACE + INTENT) / 8) as usize;
        let mapped = files.words.as_ref().is_some_and(|words| {
            words.store(at, 0) && words.store(at + 1, end.0) && words.store(at + 2, len) && words.store(at, by.unique)
        });
        if mapped {
            return Ok(());
        }
        let text = words(&[by.unique, end.0, len]);
        files.table.write_all_at(&text, place.0 * PLACE + INTENT).at("write", &files.table_path)
    }

    /// Notes where the last write of a handle ended.
    pub fn went_to(&self, place: HandleSlot, offset: u64) -> Result<(), LocalError> {
        let Some(files) = &self.files else { return Ok(()) };
        let (at, word) = (place.0 * PLACE + WENT_TO, offset.wrapping_add(1));
        if files.words.as_ref().is_some_and(|words| words.store((at / 8) as usize, word)) {
            return Ok(());
        }
        files.table.write_all_at(&words(&[word]), at).at("write", &files.table_path)
    }

    /// Where the file ended when the worker before was about to make a write that comes again now.
    pub fn intended(&self, by: Origin) -> Option<SpoolOffset> {
        self.intents.get(&by.unique).copied().filter(|_| by.resent)
    }

    /// Whether a file of this length ends within a write of a mount that is gone: its daemon was killed while the
    /// kernel copied it, which stops at the end of a page then.
    pub fn was_cut(&self, node: NodeId, len: SpoolOffset) -> bool {
        let within = |last: &Intent| last.end < len && len < last.end.plus(last.len);
        self.last.iter().any(|last| last.node == node && within(last))
    }

    /// Keeps a stored node for the next worker. Says whether the journal should be written anew.
    pub fn keep_stored(&self, node: &StoredNode) -> Result<bool, LocalError> {
        self.files.as_ref().map_or(Ok(false), |files| files.stored.keep(node))
    }

    /// Writes the journal of stored nodes anew, parents before what is in them.
    pub fn rewrite_stored(&self, nodes: &[StoredNode]) -> Result<(), LocalError> {
        self.files.as_ref().map_or(Ok(()), |files| files.stored.rewrite(nodes))
    }

    /// The stored nodes that were kept.
    pub fn stored(&self) -> Vec<StoredNode> {
        self.files.as_ref().map(|files| files.stored.read()).unwrap_or_default()
    }
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn word(place: &[u8], at: usize) -> u64 {
    let bytes = place.get(at..at + 8).and_then(|b| b.try_into().ok());
    u64::from_le_bytes(bytes.unwrap_or_default())
}

/// Removes what sessions that have ended left behind; gives the last writes that they noted.
fn take_others(dir: &Path, own: &str) -> Result<Vec<Intent>, LocalError> {
    let mut last = Vec::new();
    for entry in fs::read_dir(dir).at("list", dir)? {
        let path = entry.at("list", dir)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.split('.').next() != Some(own) {
            if name.ends_with(".handles") {
                // Of one that cannot be read nothing is known.
                let table = read_regular(&path, TABLE_MAX).unwrap_or_default();
                last.extend(table.chunks(PLACE as usize).skip(1).map(Intent::noted_in));
            }
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(dir: &Path, id: &str, resumed: bool) -> Session {
        Session::begin(dir, &SessionId(id.to_owned()), resumed).expect("a session")
    }

    fn noted(session: &Session, node: u64) -> OpenHandle {
        let handle = session.new_handle().expect("a handle");
        OpenHandle { handle, node: NodeId(node), flags: 5, opened_by: 40 + node, went_to: node }
    }

    #[test]
    fn the_next_worker_finds_what_was_open_and_what_was_under_way() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = begin(dir.path(), "a1", false);
        let (kept, closed) = (noted(&first, 7), noted(&first, 8));
        let place = first.opened(kept).expect("noted");
        first.closed(first.opened(closed).expect("noted")).expect("struck out");
        let write = Origin { unique: 99, ..Origin::default() };
        first.intend(place, write, SpoolOffset(500), 20).expect("noted");
        drop(first);

        let second = begin(dir.path(), "a1", true);
        assert_eq!(second.nodes_left(), [NodeId(7)].into());
        assert_eq!(second.take_left(), [LeftHandle { place, noted: kept }]);
        let again = Origin { unique: 99, resent: true, thread: 0 };
        assert_eq!(second.intended(again), Some(SpoolOffset(500)));
        assert_eq!(second.intended(write), None);
        assert_eq!(second.intended(Origin { unique: 98, resent: true, thread: 0 }), None);
        assert!(second.new_handle().expect("a handle").0 > closed.handle.0);
        let other = second.opened(noted(&second, 9)).expect("noted");
        assert_ne!(other, place);
        assert!(!second.was_cut(NodeId(7), SpoolOffset(510)), "the write comes again");
        drop(second);

        let next_mount = begin(dir.path(), "b2", false);
        let cut = [499, 500, 501, 519, 520].map(|len| next_mount.was_cut(NodeId(7), SpoolOffset(len)));
        assert_eq!(cut, [false, false, true, true, false]);
        assert!(!next_mount.was_cut(NodeId(9), SpoolOffset(510)));
    }

    #[test]
    fn numbers_are_not_given_twice_and_another_session_begins_empty() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = begin(dir.path(), "a1", false);
        first.opened(noted(&first, 7)).expect("noted");
        let node = first.new_node(10).expect("a number");
        assert_eq!(node, NodeId(11));
        drop(first);
        assert!(begin(dir.path(), "a1", true).new_node(3).expect("a number") > node);
        let other = begin(dir.path(), "b2", false);
        assert!(other.take_left().is_empty());
        assert_eq!(fs::read_dir(dir.path().join(SESSION)).expect("a folder").count(), 2);
    }
}
