//! Opening and closing files: what the kernel may do itself, what is noted for the worker that follows,
//! and what a worker finds open when it begins.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::Fs;
use super::handles::{Access, Flags, Handle, Mode, Opened};
use super::names::Creator;
use crate::local::life::{Life, Route};
use crate::local::namespace::Open;
use crate::local::session::Left;
use crate::values::errors::FsError;
use crate::values::ids::{BackingId, HandleId, NodeId, Origin};
use crate::world::bucket::StoredObject;

impl Fs {
    /// Opens a file.
    pub fn open(
        &self,
        id: NodeId,
        access: Access,
        origin: Origin,
    ) -> Result<(HandleId, Mode), FsError> {
        if let Some(opened) = self.handles.opened_by(origin) {
            return Ok(opened);
        }
        let (what, mode) = match self.hold(id, access)? {
            Some(held) => held,
            None => return self.open_over(id, origin),
        };
        let live = match &what {
            Handle::Live { life, .. } => Some(life.clone()),
            _ => None,
        };
        let added = self.handles.add(self.parts.spool.session(), (id, what, mode), origin);
        if let (Err(_), Some(life)) = (&added, live) {
            self.let_go(&life, access, mode);
        }
        Ok((added?, mode))
    }

    /// What a handle on a node is; `None` for a stored object that is to be written.
    fn hold(&self, id: NodeId, access: Access) -> Result<Option<(Handle, Mode)>, FsError> {
        match self.parts.namespace.hold(id, access.write)? {
            Open::Live(life) => match life.file() {
                Ok(file) => {
                    let mode = self.route(&life, access);
                    Ok(Some((Handle::Live { life, file, access }, mode)))
                }
                Err(e) => {
                    life.let_go(access.write);
                    Err(e.into())
                }
            },
            Open::Local(local) => match local.file() {
                Ok(file) => Ok(Some((Handle::Local { id, local, file }, Mode::Cached))),
                Err(e) => {
                    local.handles.fetch_sub(1, Ordering::AcqRel);
                    Err(e.into())
                }
            },
            Open::Stored(_) if access.write => Ok(None),
            Open::Stored(object) => {
                Ok(Some((Handle::Stored(self.objects.open(object)), Mode::Direct)))
            }
            Open::Directory => Err(FsError::IsDirectory),
            Open::Symlink(_) => Err(FsError::Invalid),
        }
    }

    /// Who writes for an open of a live file. The first open decides for the file: one that the kernel
    /// writes to has a backing file in all its opens, also those that come here.
    fn route(&self, life: &Arc<Life>, access: Access) -> Mode {
        let Some(backings) = &self.backings else { return Mode::Direct };
        let mut route = life.route();
        if *route == Route::Undecided {
            *route = match backings.register(life.id) {
                Ok(backing) => Route::Kernel(backing),
                Err(why) => {
                    if !self.warned_of_fallback.swap(true, Ordering::Relaxed) {
                        warn!(node = %life.id, why, "the daemon writes for a file for which the kernel could not; further ones are not named");
                    }
                    Route::Daemon
                }
            };
        }
        match *route {
            // What O_SYNC promises also holds for the file's name, which the kernel does not sync.
            Route::Kernel(backing) if access.append && !access.sync => {
                let mut state = life.state();
                state.unseen_writers += 1;
                state.end = None;
                drop(state);
                self.parts.touch(life);
                Mode::Passthrough(backing)
            }
            Route::Kernel(backing) => Mode::Beside(backing),
            Route::Daemon | Route::Undecided => Mode::Direct,
        }
    }

    /// One handle on a live file less.
    fn let_go(&self, life: &Arc<Life>, access: Access, mode: Mode) {
        let mut route = life.route();
        life.let_go(access.write);
        if matches!(mode, Mode::Passthrough(_)) {
            let mut state = life.state();
            state.unseen_writers = state.unseen_writers.saturating_sub(1);
        }
        if life.state().handles == 0
            && let Route::Kernel(_) = std::mem::take(&mut *route)
            && let Some(backings) = &self.backings
        {
            backings.unregister(life.id);
        }
    }

    /// Opening a stored object's name for writing makes a live file that hides it. The kernel asked
    /// for the object's node, so it is told to look the name up again and finds the live one.
    fn open_over(&self, id: NodeId, origin: Origin) -> Result<(HandleId, Mode), FsError> {
        let Open::Stored(StoredObject { key, .. }) = self.parts.namespace.open(id)? else {
            return Err(FsError::Stale);
        };
        let attr = self.parts.namespace.attr(id)?;
        let path = self.parts.namespace.path(id)?;
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let parent = self.parts.namespace.parent(id);
        let by = Creator { mode: attr.mode, uid: attr.uid, gid: attr.gid };
        info!(key, "a live file hides this object, which stays as it is");
        self.parts.namespace.hide(parent, name)?;
        match self.make_file(parent, name, by, origin) {
            Ok(made) => self.parts.namespace.forget(made.id, 1),
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
        let struck = self.parts.spool.session().closed(opened.place);
        match &opened.what {
            Handle::Live { life, access, .. } => {
                self.let_go(life, *access, opened.mode);
                self.parts.touch(life);
            }
            Handle::Local { id, local, .. } => {
                local.handles.fetch_sub(1, Ordering::AcqRel);
                self.drop_local(*id)?;
            }
            Handle::Stored(_) | Handle::Dir { .. } => {}
        }
        Ok(struck?)
    }

    /// Takes over what the worker before had open. What cannot be opened again is named; its handle
    /// answers EBADF.
    pub(super) fn take_over(&self) {
        let mut open = HashSet::new();
        for left in self.parts.spool.session().take_left() {
            match self.reopen(&left) {
                Ok(()) => drop(open.insert(left.noted.node)),
                Err(e) => {
                    warn!(node = %left.noted.node, "a file that was open is lost: {e}");
                    let _ = self.parts.spool.session().closed(left.place);
                }
            }
        }
        let registered = self.backings.as_ref().map(|b| b.registered()).unwrap_or_default();
        for (node, backings) in registered.iter().zip(self.backings.iter().cycle()) {
            if !open.contains(node) {
                backings.unregister(*node);
            }
        }
    }

    fn reopen(&self, left: &Left) -> Result<(), FsError> {
        let Left { place, noted } = *left;
        let Flags(access, unseen) = Flags::from_bits(noted.flags);
        let (what, mode) = match self.parts.namespace.open(noted.node)? {
            Open::Directory => {
                (Handle::Dir { id: noted.node, reading: Default::default() }, Mode::Direct)
            }
            _ => self.hold(noted.node, access)?.ok_or(FsError::Stale)?,
        };
        let mode = match &what {
            // The kernel goes on writing for it, whether or not we would let it today.
            Handle::Live { life, .. } if unseen && !matches!(mode, Mode::Passthrough(_)) => {
                let mut state = life.state();
                state.unseen_writers += 1;
                state.end = None;
                Mode::Passthrough(BackingId::default())
            }
            _ => mode,
        };
        self.handles.restore(noted.handle, Opened::noted(what, mode, place, noted));
        Ok(())
    }
}
