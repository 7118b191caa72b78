//! Open file and directory handles, and their copy in the session, from which the next worker restores them.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tracing::{debug, warn};

use super::dir_snapshot::DirSnapshot;
use super::stored_file::StoredFile;
use crate::listing::listing_pages::ListingPages;
use crate::log_file::local_file::LocalFile;
use crate::log_file::{LogFile, SpoolFile};
use crate::metrics::METRICS;
use crate::spool::session::{HandleSlot, OpenHandle, Session};
use crate::types::errors::FsError;
use crate::types::escape::escape_path;
use crate::types::ids::{BackingId, HandleId, NodeId, Origin};
use crate::types::shares::{Part, Shares};

/// It is not known where the last write ended: a worker of an earlier version had it open.
const UNKNOWN: u64 = u64::MAX;

/// A directory that somebody goes through.
pub(super) struct Reading {
    pub snapshot: Arc<DirSnapshot>,
    pub feed: Option<ListingPages>,
}

/// What an open(2) asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Access {
    /// O_RDONLY or O_RDWR.
    pub read: bool,
    /// O_WRONLY or O_RDWR.
    pub write: bool,
    /// O_WRONLY with O_APPEND: each write ends up behind the last byte.
    pub append: bool,
    /// O_SYNC or O_DSYNC: each write is durable when it returns.
    pub sync: bool,
    /// O_EXCL with O_CREAT.
    pub exclusive: bool,
    /// O_TRUNC: the kernel leaves it to the open (`FUSE_ATOMIC_O_TRUNC`).
    pub truncate: bool,
}

/// How the kernel is to treat an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every read and write comes here.
    Direct,
    /// Through the page cache, as any local file.
    Cached,
    /// The kernel writes into the spool file itself.
    Passthrough(BackingId),
    /// Every read and write comes here, beside others for whom the kernel writes.
    Beside(BackingId),
}

/// Something open.
pub(super) enum Handle {
    Live { log: Arc<LogFile>, file: SpoolFile, access: Access },
    Local { id: NodeId, local: Arc<LocalFile>, file: Arc<File>, access: Access },
    Stored(StoredFile),
    Dir { id: NodeId, reading: tokio::sync::Mutex<Option<Reading>> },
}

/// A log that is open: its spool file, and what the handle may do.
pub(super) type OpenLog = (Arc<LogFile>, SpoolFile, Access);

impl Handle {
    /// The log that it is a handle of, also of a local file that has become one.
    pub fn log(&self) -> Result<Option<OpenLog>, FsError> {
        match self {
            Handle::Live { log, file, access } => Ok(Some((log.clone(), file.clone(), *access))),
            Handle::Local { local, access, .. } => match local.log() {
                Some(log) => Ok(Some((log.clone(), log.file()?, *access))),
                None => Ok(None),
            },
            Handle::Stored(_) | Handle::Dir { .. } => Ok(None),
        }
    }
}

impl Handle {
    /// Where a log ends, for one who writes to it without O_APPEND.
    fn end_to_write_at(&self) -> Result<u64, FsError> {
        match self {
            Handle::Live { log, access, .. } if access.write && !access.append => {
                Ok(log.len()?.since(log.state().current().at))
            }
            _ => Ok(UNKNOWN),
        }
    }
}

/// How a file is open, as it is noted in the session: access, and whether the kernel writes.
pub(super) struct Flags(pub Access, pub bool);

impl Flags {
    fn of(what: &Handle, mode: Mode) -> Flags {
        let access = match what {
            Handle::Live { access, .. } | Handle::Local { access, .. } => *access,
            Handle::Stored(_) | Handle::Dir { .. } => Access::default(),
        };
        Flags(access, matches!(mode, Mode::Passthrough(_)))
    }

    fn bits(&self) -> u32 {
        let Flags(Access { write, append, sync, read, .. }, unseen) = *self;
        let bits = [write, append, sync, unseen, read];
        bits.iter().rev().fold(0, |sum, bit| sum << 1 | u32::from(*bit))
    }

    /// As it was noted; O_EXCL and O_TRUNC mean nothing once the file is open.
    pub fn from_bits(bits: u32) -> Flags {
        let bit = |n: u32| bits & (1 << n) != 0;
        let (write, append, sync, read) = (bit(0), bit(1), bit(2), bit(4));
        Flags(Access { read, write, append, sync, ..Access::default() }, bit(3))
    }
}

/// A handle, how the kernel treats it, and where it is noted.
pub(super) struct Opened {
    pub what: Handle,
    pub mode: Mode,
    pub place: HandleSlot,
    /// Whose it is.
    part: Part,
    /// Where its last write ended, as the program counts; before the first, where the file ended when it was opened.
    went_to: AtomicU64,
    by: u64,
}

pub(super) struct Handles {
    open: RwLock<HashMap<HandleId, Arc<Opened>>>,
    /// How many there are. Each may take a descriptor, of which the process has only so many.
    shares: Mutex<Shares>,
}

impl Handles {
    /// None yet, and at most so many.
    pub fn new(max: u64) -> Handles {
        let (open, shares) = (RwLock::default(), Mutex::new(Shares::new(max)));
        Handles { open, shares }
    }

    /// Whether there may be another, of a file below that first part.
    pub fn check(&self, part: &Part) -> Result<(), FsError> {
        let Err(full) = self.shares.lock().check(part, 1) else { return Ok(()) };
        if full.is_news {
            let part = escape_path(part);
            warn!(
                part,
                own = full.own,
                open = full.used,
                max = full.max,
                "no more open files: programs have as many open as the worker's limit on open files allows; those below this folder have to close some"
            );
        }
        Err(FsError::TooManyOpen)
    }

    /// Adds a handle, noted before the kernel learns of it.
    pub fn add(
        &self,
        session: &Session,
        (node, part): (NodeId, Part),
        (what, mode): (Handle, Mode),
        by: Origin,
    ) -> Result<HandleId, FsError> {
        let handle = session.new_handle()?;
        let flags = Flags::of(&what, mode).bits();
        let noted = OpenHandle { handle, node, flags, opened_by: by.unique, went_to: what.end_to_write_at()? };
        let place = session.opened(noted)?;
        self.restore(handle, Opened::noted(what, mode, (place, part), noted));
        Ok(handle)
    }

    /// Adds a handle that is noted already.
    pub fn restore(&self, id: HandleId, opened: Opened) {
        self.shares.lock().take(&opened.part, 1);
        METRICS.open_handles.inc();
        self.open.write().insert(id, Arc::new(opened));
    }

    /// The handle that a request got which comes again.
    pub fn opened_by(&self, origin: Origin) -> Option<(HandleId, Mode)> {
        if !origin.resent {
            return None;
        }
        let open = self.open.read();
        open.iter().find(|(_, o)| o.by == origin.unique).map(|(id, opened)| (*id, opened.mode))
    }

    pub fn get(&self, id: HandleId) -> Result<Arc<Opened>, FsError> {
        self.open.read().get(&id).cloned().ok_or(FsError::BadHandle)
    }

    pub fn remove(&self, id: HandleId) -> Option<Arc<Opened>> {
        let removed = self.open.write().remove(&id)?;
        self.shares.lock().give(&removed.part, 1);
        METRICS.open_handles.dec();
        Some(removed)
    }
}

impl Opened {
    /// Notes where a write ended, for the next worker too.
    pub fn went_to(&self, session: &Session, offset: u64) {
        self.went_to.store(offset, Ordering::Relaxed);
        if let Err(e) = session.went_to(self.place, offset) {
            debug!("where a write ended is not noted: {e}");
        }
    }

    /// Whether a write at that offset goes on where the last one ended.
    pub fn goes_on_at(&self, offset: u64) -> bool {
        let went_to = self.went_to.load(Ordering::Relaxed);
        went_to == offset || went_to == UNKNOWN
    }

    /// A handle as it is noted.
    pub fn noted(what: Handle, mode: Mode, at: (HandleSlot, Part), noted: OpenHandle) -> Opened {
        let (place, part) = at;
        Opened { what, mode, place, part, went_to: AtomicU64::new(noted.went_to), by: noted.opened_by }
    }
}
