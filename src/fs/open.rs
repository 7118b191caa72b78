//! Open and release: who writes (the kernel or the daemon), what is recorded for the next worker, and how a worker
//! takes over the handles of the one before.

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use super::Fs;
use super::handles::{Access, Flags, Handle, Mode, Opened};
use super::names::Creator;
use crate::log_file::local_file::{IsLog, LocalFile};
use crate::log_file::{LogFile, Route, SpoolFile};
use crate::namespace::Open;
use crate::spool::backing::Backings;
use crate::spool::session::LeftHandle;
use crate::types::errors::FsError;
use crate::types::escape::escape_path;
use crate::types::ids::{BackingId, HandleId, NodeId, Origin};

/// Why a file is opened.
enum Opening<'a> {
    /// A program asked for it.
    Asked(Origin),
    /// The worker before had it open, and these nodes were registered with the kernel.
    Again(&'a HashSet<NodeId>),
}

/// Longest wait for a close that the kernel is about to tell of: much longer than that takes, and nothing beside what
/// else a program that truncates a log under another one does.
const CLOSING: Duration = Duration::from_millis(50);

impl Fs {
    /// Opens a file.
    pub fn open(&self, id: NodeId, access: Access, origin: Origin) -> Result<(HandleId, Mode), FsError> {
        if let Some(opened) = self.handles.opened_by(origin) {
            return Ok(opened);
        }
        let part = self.parts.disk.namespace.part(id);
        self.handles.check(&part)?;
        let (what, mode) = match self.hold(id, access, &Opening::Asked(origin))? {
            Some(held) => held,
            None => return self.open_over(id, origin),
        };
        let live = match &what {
            Handle::Live { log, .. } => Some(log.clone()),
            _ => None,
        };
        let added = self.handles.add(self.parts.disk.spool.session(), (id, part), (what, mode), origin);
        match (&added, live) {
            (Err(_), Some(log)) => self.let_go(&log, access, mode),
            (Ok(handle), Some(log)) if access.read => self.note_reader(&log, *handle, origin),
            _ => {}
        }
        Ok((added?, mode))
    }

    /// What a handle on a node is; `None` for a stored object that is to be written.
    fn hold(&self, id: NodeId, access: Access, opening: &Opening<'_>) -> Result<Option<(Handle, Mode)>, FsError> {
        match self.parts.disk.namespace.hold(id, access.write)? {
            Open::Live(log) => match self.open_live_alone(&log, access, opening) {
                Ok((file, mode)) => Ok(Some((Handle::Live { log, file, access }, mode))),
                Err(e) => {
                    log.let_go(access.write);
                    Err(e)
                }
            },
            Open::Local(local) => match self.open_local(id, &local, access) {
                Ok(file) => Ok(Some((Handle::Local { id, local, file, access }, Mode::Cached))),
                Err(e) => {
                    let _ = local.let_go();
                    Err(e)
                }
            },
            Open::Stored(_) if access.write || access.truncate => Ok(None),
            Open::Stored(object) => {
                let again = matches!(opening, Opening::Again(_));
                Ok(Some((Handle::Stored(self.open_stored(object, again)?), Mode::Direct)))
            }
            Open::Directory => Err(FsError::IsDirectory),
            Open::Symlink(_) => Err(FsError::Invalid),
        }
    }

    fn open_local(&self, id: NodeId, local: &LocalFile, access: Access) -> Result<Arc<File>, FsError> {
        let file = local.file()?;
        if access.truncate {
            local.set_len((&self.parts.disk.budget, &self.parts.disk.local_account(id)), 0)?;
        }
        Ok(file)
    }

    /// Opens a live file. Where it counts whether somebody else has it open, one that was closed just before is
    /// awaited: close(2) returns before the kernel has said so (`fuse_release_common` in
    /// [fs/fuse/file.c](https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/fs/fuse/file.c)).
    fn open_live_alone(
        &self,
        log: &Arc<LogFile>,
        access: Access,
        opening: &Opening<'_>,
    ) -> Result<(SpoolFile, Mode), FsError> {
        let is_asked = matches!(opening, Opening::Asked(_));
        if is_asked && self.backings.is_some() && (access.truncate || !log.is_aligned()) {
            log.wait_for_closes(CLOSING);
        }
        self.open_live(log, access, opening)
    }

    /// Opens a live file that counts the handle already. The first who has it open decides who writes: all opens of a
    /// file that the kernel writes to have its backing file, also those that come here.
    fn open_live(
        &self,
        log: &Arc<LogFile>,
        access: Access,
        opening: &Opening<'_>,
    ) -> Result<(SpoolFile, Mode), FsError> {
        let mut route = log.route();
        if matches!(opening, Opening::Asked(_)) && log.state().handles.is_alone() {
            // Whoever closed it last found this handle counted already.
            self.end_route(&mut route, log);
        }
        if let (Opening::Asked(origin), true) = (opening, access.truncate) {
            self.truncate_at_open(log, *origin)?;
        }
        let in_place = log.state().content().is_in_place();
        if in_place && *route == Route::Undecided {
            return Ok((log.file()?, Mode::Cached));
        }
        if *route == Route::Undecided {
            *route = match opening {
                Opening::Asked(_) => self.decide(log),
                Opening::Again(registered) => self.decided_before(log, registered),
            };
        }
        let file = log.file()?;
        let mode = match *route {
            // What O_SYNC promises also holds for the file's name, which the kernel does not sync.
            Route::Kernel(backing) if access.append && !access.sync && !in_place => {
                log.state().add_unseen_writer();
                self.parts.queues.touch(log);
                Mode::Passthrough(backing)
            }
            Route::Kernel(backing) => Mode::Beside(backing),
            Route::Daemon | Route::Undecided => Mode::Direct,
        };
        Ok((file, mode))
    }

    /// Who is to write into a file that nobody else has open. The kernel counts and maps from the beginning of the
    /// spool file, so that the generation has to begin there.
    fn decide(&self, log: &LogFile) -> Route {
        let alone = log.state().handles.is_alone();
        let aligned = if alone { log.align() } else { Ok(log.is_aligned()) };
        let aligned = aligned.unwrap_or_else(|e| {
            let path = self.parts.disk.path_of(log);
            warn!(%path, "this log continues in its old spool file, without passthrough: {e}");
            false
        });
        match &self.backings {
            Some(backings) if aligned => self.register(&**backings, log),
            Some(_) | None => Route::Daemon,
        }
    }

    fn register(&self, backings: &dyn Backings, log: &LogFile) -> Route {
        match backings.register(log.id, log.files.current().0) {
            Ok(backing) => Route::Kernel(backing),
            Err(why) => {
                if !self.warned_of_fallback.swap(true, Ordering::Relaxed) {
                    let path = self.parts.disk.path_of(log);
                    warn!(%path, %why, "no passthrough for this file: the daemon writes it; further ones are not named");
                }
                Route::Daemon
            }
        }
    }

    /// Who wrote into a file for the worker before.
    fn decided_before(&self, log: &LogFile, registered: &HashSet<NodeId>) -> Route {
        match &self.backings {
            Some(backings) if registered.contains(&log.id) => self.register(&**backings, log),
            Some(_) | None => Route::Daemon,
        }
    }

    /// One handle on a live file less.
    fn let_go(&self, log: &Arc<LogFile>, access: Access, mode: Mode) {
        let mut route = log.route();
        log.let_go(access.write);
        if matches!(mode, Mode::Passthrough(_)) {
            log.state().handles.remove_unseen();
        }
        if !log.state().handles.is_open() {
            self.end_route(&mut route, log);
        }
    }

    /// Nobody has it open any more: the next who does decides anew.
    fn end_route(&self, route: &mut Route, log: &LogFile) {
        if let Route::Kernel(_) = std::mem::take(route)
            && let Some(backings) = &self.backings
        {
            backings.unregister(log.id);
        }
    }

    /// Opening a stored object's name for writing makes a live file that hides it; that of a log or whole file, one
    /// that begins another generation or version of it. The kernel asked for the stored node, so it is told to look the
    /// name up again and finds the live one.
    fn open_over(&self, id: NodeId, origin: Origin) -> Result<(HandleId, Mode), FsError> {
        let Open::Stored(object) = self.parts.disk.namespace.open(id)? else {
            return Err(FsError::Stale);
        };
        let attr = self.parts.disk.namespace.attr(id)?;
        let path = self.parts.disk.namespace.path(id)?;
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let parent = self.parts.disk.namespace.parent(id);
        let by = Creator { mode: attr.mode, uid: attr.uid, gid: attr.gid };
        if object.folder().is_none() {
            info!(key = object.key, "a live file hides this object, which stays as it is");
            self.parts.disk.namespace.hide(parent, name)?;
        }
        match self.make_file(parent, name, by, origin, None) {
            Ok(made) => self.parts.disk.namespace.forget(made.id, 1),
            Err(FsError::Exists) => {}
            Err(e) => return Err(e),
        }
        Err(FsError::Stale)
    }

    /// The last descriptor of an open file is closed. A close that comes again finds nothing to do.
    pub fn release(&self, handle: HandleId, origin: Origin) -> Result<(), FsError> {
        let Some(opened) = self.handles.remove(handle) else {
            return if origin.resent { Ok(()) } else { Err(FsError::BadHandle) };
        };
        let struck = self.parts.disk.spool.session().closed(opened.place);
        self.parts.queues.readers.closed(handle, self.parts.ports.clock.monotonic());
        match &opened.what {
            Handle::Live { log, access, .. } => {
                self.let_go(log, *access, opened.mode);
                self.end_writing(log)?;
                self.parts.queues.touch(log);
            }
            Handle::Local { id, local, .. } => match (local.let_go(), local.log()) {
                (Err(IsLog), Some(log)) => {
                    // It was counted as a writer, whatever it was opened for.
                    self.let_go(log, Access { write: true, ..Access::default() }, opened.mode);
                    self.parts.queues.touch(log);
                }
                _ => self.drop_local(*id)?,
            },
            Handle::Stored(_) | Handle::Dir { .. } => {}
        }
        Ok(struck?)
    }

    /// Takes over what the worker before had open. What cannot be opened again is named; its handle answers EBADF.
    pub(super) fn take_over(&self) {
        let registered = self.backings.as_ref().map(|b| b.registered()).unwrap_or_default();
        let registered: HashSet<NodeId> = registered.into_iter().collect();
        let mut open = HashSet::new();
        for left in self.parts.disk.spool.session().take_left() {
            match self.reopen(&left, &registered) {
                Ok(()) => drop(open.insert(left.noted.node)),
                Err(e) => {
                    let node = left.noted.node;
                    let path = self.parts.disk.namespace.path(node).map(|path| escape_path(&path));
                    warn!(%node, ?path, "an open file is lost: {e}");
                    let _ = self.parts.disk.spool.session().closed(left.place);
                }
            }
        }
        for (node, backings) in registered.iter().zip(self.backings.iter().cycle()) {
            if !open.contains(node) {
                backings.unregister(*node);
            }
        }
    }

    fn reopen(&self, left: &LeftHandle, registered: &HashSet<NodeId>) -> Result<(), FsError> {
        let LeftHandle { place, noted } = *left;
        let Flags(access, unseen) = Flags::from_bits(noted.flags);
        let (what, mode) = match self.parts.disk.namespace.open(noted.node)? {
            Open::Directory => (Handle::Dir { id: noted.node, reading: Default::default() }, Mode::Direct),
            _ => self.hold(noted.node, access, &Opening::Again(registered))?.ok_or(FsError::Stale)?,
        };
        let mode = match &what {
            // The kernel goes on writing for it, whether or not we would let it today.
            Handle::Live { log, .. } if unseen && !matches!(mode, Mode::Passthrough(_)) => {
                log.state().add_unseen_writer();
                Mode::Passthrough(BackingId::default())
            }
            _ => mode,
        };
        if let Handle::Live { log, .. } = &what {
            // Nothing is known of who reads or writes, but that he may be about to copy.
            if access.read {
                self.note_reader(log, noted.handle, Origin::default());
            }
            if access.write {
                self.note_begun(log)?;
            }
        }
        let at = (place, self.parts.disk.namespace.part(noted.node));
        self.handles.restore(noted.handle, Opened::noted(what, mode, at, noted));
        Ok(())
    }
}
