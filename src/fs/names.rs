//! Name operations of a writer mount: lookup, create, link, rename, unlink.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::warn;

use super::handles::{Access, Mode};
use super::{Answer, Entry, Fs};
use crate::namespace::listing::{Listed, Stored};
use crate::namespace::{Attr, Change, NAME_MAX, NewFile, Open, Renamed, Spare};
use crate::types::errors::FsError;
use crate::types::ids::{HandleId, NodeId, Origin};

/// Who asks for a new node, and with which permission bits.
#[derive(Clone, Copy, Debug)]
pub struct Creator {
    /// Permission bits after the umask.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Fs {
    /// Looks a name up, in the live view first. By `.` and `..` the kernel finds a node again that it has forgotten,
    /// for open_by_handle_at(2) and NFS (`fuse_get_dentry` and `fuse_get_parent` in
    /// [fs/fuse/inode.c](https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/fs/fuse/inode.c)).
    pub fn lookup(self: &Arc<Self>, parent: NodeId, name: &[u8]) -> Answer<Entry> {
        let namespace = &self.parts.disk.namespace;
        let live = match name {
            b"." => namespace.lookup_node(parent),
            b".." => namespace.lookup_node(namespace.parent(parent)),
            _ if name.len() > NAME_MAX => Err(FsError::NameTooLong),
            _ => namespace.lookup(parent, name),
        };
        match live {
            Ok(attr) => Answer::Now(Ok(self.live_entry(attr))),
            Err(FsError::NotFound) => self.lookup_stored(parent, name),
            Err(e) => Answer::Now(Err(e)),
        }
    }

    /// The kernel forgets a node.
    pub fn forget(&self, id: NodeId, lookups: u64) {
        self.parts.disk.namespace.forget(id, lookups);
    }

    /// Makes a file and opens it; opens the one that is there unless asked to make one.
    pub fn create(
        &self,
        parent: NodeId,
        name: &[u8],
        by: Creator,
        access: Access,
        origin: Origin,
    ) -> Result<(Entry, HandleId, Mode), FsError> {
        // Its spool file stays open until the log is.
        let spare = self.spares.as_ref().and_then(|spares| spares.take());
        let made = self.make_file(parent, name, by, origin, spare.as_ref());
        if let (Some(spares), Some(spare)) = (&self.spares, &spare)
            && made.as_ref().map_or(true, |attr| attr.id != spare.id)
        {
            spares.put_back(spare.clone());
        }
        let node = made.as_ref().ok().and_then(|made| self.parts.disk.namespace.open(made.id).ok());
        if let Some(Open::Live(log)) = node {
            self.note_sources(&log, origin);
        }
        let attr = match made {
            Err(FsError::Exists) if !access.exclusive || self.made_before(origin, parent, name) => {
                self.parts.disk.namespace.lookup(parent, name)?
            }
            other => other?,
        };
        let (handle, mode) = self.open(attr.id, access, origin)?;
        Ok((self.live_entry(attr), handle, mode))
    }

    /// Makes a file without opening it (mknod).
    pub fn make_node(&self, parent: NodeId, name: &[u8], by: Creator, origin: Origin) -> Result<Entry, FsError> {
        self.once(origin, parent, name, || self.make_file(parent, name, by, origin, None))
    }

    /// Makes an entry, unless this very request made it before.
    fn once(
        &self,
        origin: Origin,
        parent: NodeId,
        name: &[u8],
        make: impl FnOnce() -> Result<Attr, FsError>,
    ) -> Result<Entry, FsError> {
        let attr = if self.made_before(origin, parent, name) {
            self.parts.disk.namespace.lookup(parent, name)?
        } else {
            make()?
        };
        Ok(self.live_entry(attr))
    }

    /// Makes a file; a log takes the spare spool file where there is one.
    pub(super) fn make_file(
        &self,
        parent: NodeId,
        name: &[u8],
        by: Creator,
        origin: Origin,
        spare: Option<&Spare>,
    ) -> Result<Attr, FsError> {
        // None is spare while inodes are short.
        if spare.is_none() {
            self.check_inodes(parent, name)?;
        }
        let by = self.change(by, origin);
        let mut file = self.new_file(parent, name)?;
        let known = self.known_stored(parent, name);
        if matches!(known, Listed::Present(Stored::Object(object)) if object.folder().is_none()) {
            self.parts.disk.namespace.hide(parent, name)?;
        }
        self.outdate_file(parent, name);
        if let NewFile::Live(.., taken) = &mut file {
            *taken = spare.cloned();
        }
        self.parts.disk.namespace.create(parent, name, file, by)
    }

    /// Makes a directory.
    pub fn mkdir(&self, parent: NodeId, name: &[u8], by: Creator, origin: Origin) -> Result<Entry, FsError> {
        let by = self.change(by, origin);
        self.once(origin, parent, name, || self.parts.disk.namespace.mkdir(parent, name, by))
    }

    /// Makes a symbolic link.
    pub fn symlink(
        &self,
        parent: NodeId,
        name: &[u8],
        target: &[u8],
        by: Creator,
        origin: Origin,
    ) -> Result<Entry, FsError> {
        let by = self.change(by, origin);
        self.once(origin, parent, name, || self.parts.disk.namespace.symlink(parent, name, target, by))
    }

    /// Where a symbolic link points.
    pub fn readlink(&self, id: NodeId) -> Result<Vec<u8>, FsError> {
        match self.parts.disk.namespace.open(id)? {
            Open::Symlink(target) => Ok(target),
            _ => Err(FsError::Invalid),
        }
    }

    /// Gives a file another name.
    pub fn link(&self, id: NodeId, parent: NodeId, name: &[u8], origin: Origin) -> Result<Entry, FsError> {
        let stamp = self.stamp(origin);
        let linked = self.once(origin, parent, name, || {
            let target = self.target_of_link(id, parent, name)?;
            let (attr, became) = self.parts.disk.namespace.link(id, parent, name, target, stamp)?;
            became.iter().for_each(|log| self.took_over(log));
            Ok(attr)
        });
        self.parts.tidy();
        linked
    }

    /// Takes a name away; nothing is deleted from S3.
    pub fn unlink(&self, parent: NodeId, name: &[u8], origin: Origin) -> Result<(), FsError> {
        if self.taken_before(origin, parent, name) {
            return Ok(());
        }
        // First, so that an unlink that comes again never finds the stored object in its place.
        if let Some(live) = self.parts.disk.namespace.live(parent, name) {
            self.hide_if_stored(parent, name, self.has_bytes(&live).then_some(&live))?;
        }
        let id = self
            .parts
            .disk
            .namespace
            .unlink(parent, name, self.parts.ports.clock.now())
            .map_err(|e| self.or_not_permitted(e, parent, name))?;
        self.after_unlink(id)
    }

    /// Removes a directory that shows no entry. What the bucket has below it (segments, hidden objects) is out of view
    /// then, until something live is made under that name.
    pub fn rmdir(self: &Arc<Self>, parent: NodeId, name: &[u8], origin: Origin) -> Answer<()> {
        if self.taken_before(origin, parent, name) {
            return Answer::Now(Ok(()));
        }
        let (fs, name) = (self.clone(), name.to_vec());
        let dir = self.parts.disk.namespace.child(parent, &name);
        let Some((dir, prefix)) = dir.and_then(|dir| Some((dir, self.prefix_of(dir)?))) else {
            return Answer::Now(self.remove_dir(parent, &name, false));
        };
        if self.is_absent(parent, &name) {
            return Answer::Now(self.remove_dir(parent, &name, self.will_store(&prefix)));
        }
        Answer::later(async move {
            let live = fs.parts.disk.namespace.has_entries(dir);
            if live || fs.shows_stored(dir, &prefix).await {
                return Err(FsError::NotEmpty);
            }
            let empty = fs.lister.known(&prefix).is_some_and(|known| known.is_empty());
            fs.remove_dir(parent, &name, !empty || fs.will_store(&prefix))
        })
    }

    fn remove_dir(&self, parent: NodeId, name: &[u8], hide: bool) -> Result<(), FsError> {
        self.remember_directory(parent, name)?;
        let removed = self.parts.disk.namespace.rmdir(parent, name, hide, self.parts.ports.clock.now());
        self.parts.tidy();
        removed.map_err(|e| self.or_not_permitted(e, parent, name))
    }

    /// Renames a live entry. What the bucket has of a directory stays where it is.
    pub fn rename(
        self: &Arc<Self>,
        (parent, name): (NodeId, &[u8]),
        (new_parent, new_name): (NodeId, &[u8]),
        replace: bool,
        origin: Origin,
    ) -> Answer<()> {
        if self.made_before(origin, new_parent, new_name) {
            return Answer::Now(self.hide_renamed((parent, name), (new_parent, new_name)));
        }
        let (from, to) = ((parent, name.to_vec()), (new_parent, new_name.to_vec()));
        let namespace = &self.parts.disk.namespace;
        let onto = match namespace.live(new_parent, new_name) {
            Some(Open::Directory) => namespace.child(new_parent, new_name),
            _ => None,
        };
        let Some((dir, prefix)) = onto.and_then(|dir| Some((dir, self.prefix_of(dir)?))) else {
            return Answer::Now(self.rename_live(&from, &to, replace, origin));
        };
        let fs = self.clone();
        Answer::later(async move {
            if fs.shows_stored(dir, &prefix).await {
                Err(FsError::NotEmpty)
            } else {
                fs.rename_live(&from, &to, replace, origin)
            }
        })
    }

    fn rename_live(
        &self,
        (parent, name): &(NodeId, Vec<u8>),
        (new_parent, new_name): &(NodeId, Vec<u8>),
        replace: bool,
        origin: Origin,
    ) -> Result<(), FsError> {
        let stored = self.shown_stored(*new_parent, new_name);
        if stored.is_some() && !self.parts.disk.namespace.has_live(*new_parent, new_name) {
            return Err(FsError::NotPermitted);
        }
        self.remember_directory(*parent, name)?;
        let stamp = self.stamp(origin);
        let (from, to) = ((*parent, name.as_slice()), (*new_parent, new_name.as_slice()));
        self.make_whole_by_name(from, to);
        let target = self.target_of_rename(from, to)?;
        let Renamed { replaced, became, outdated } = self
            .parts
            .disk
            .namespace
            .rename(from, to, replace, target, stamp)
            .map_err(|e| self.or_not_permitted(e, *parent, name))?;
        if let Some(log) = became {
            self.took_over(&log);
            self.make_whole_by_name(to, to);
        }
        self.forget_outdated(outdated);
        self.hide_renamed(from, to)?;
        match replaced {
            Some(id) => self.after_unlink(id),
            None => {
                self.parts.tidy();
                Ok(())
            }
        }
    }

    /// A stored object or log stays out of view when the live file that hid it is renamed; what a directory has in the
    /// bucket goes on showing.
    fn hide_renamed(
        &self,
        (parent, name): (NodeId, &[u8]),
        (new_parent, new_name): (NodeId, &[u8]),
    ) -> Result<(), FsError> {
        match self.parts.disk.namespace.live(new_parent, new_name) {
            Some(Open::Directory) => Ok(()),
            live => self.hide_if_stored(parent, name, live.as_ref()),
        }
    }

    /// A node lost a name: an ended log is sealed, an ended local file goes.
    fn after_unlink(&self, id: NodeId) -> Result<(), FsError> {
        match self.parts.disk.namespace.open(id) {
            Ok(Open::Live(log)) if self.parts.disk.namespace.is_kept(id) => self.parts.queues.touch(&log),
            Ok(Open::Local(_)) => self.drop_local(id)?,
            Ok(Open::Live(_) | Open::Stored(_) | Open::Directory | Open::Symlink(_)) | Err(_) => {}
        }
        self.parts.tidy();
        Ok(())
    }

    pub(super) fn drop_local(&self, id: NodeId) -> Result<(), FsError> {
        let account = self.parts.disk.local_account(id);
        let freed = self.parts.disk.namespace.drop_local(id)?;
        self.parts.tidy();
        self.parts.disk.budget.local.remove(&account, freed);
        Ok(())
    }

    /// A name that only the bucket has may not be changed.
    fn or_not_permitted(&self, error: FsError, parent: NodeId, name: &[u8]) -> FsError {
        match (&error, self.known_stored(parent, name)) {
            (FsError::NotFound, Listed::Present(_)) => FsError::NotPermitted,
            _ => error,
        }
    }

    /// Refuses a new file while the spool's file system has inodes only for what is there: its seals, its removal, and
    /// the next start.
    fn check_inodes(&self, parent: NodeId, name: &[u8]) -> Result<(), FsError> {
        let inodes = self.inodes();
        if inodes.have_room() || self.parts.disk.namespace.has_live(parent, name) {
            return Ok(());
        }
        if !self.warned_of_inodes.swap(true, Ordering::Relaxed) {
            let (spool, total) = (self.parts.disk.spool.dir().display(), inodes.total);
            warn!(%spool, total, "new logs are refused: the spool's file system has no inodes left but for those that are there; remove logs, or give the spool another file system (--spool-dir); this is said once");
        }
        Err(FsError::NoSpace)
    }

    fn change(&self, by: Creator, origin: Origin) -> Change {
        Change { mode: by.mode, uid: by.uid, gid: by.gid, stamp: self.stamp(origin) }
    }
}
