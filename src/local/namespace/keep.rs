//! Nodes and their records on disk: written, and removed when nobody needs the node (`durable` makes them so).
//!
//! Invariant: the tree's lock is never held over a wait for the disk's durability, nor over the removal
//! of a file, which may be large. What is left to do is noted as a [`Chore`], for when the lock is free.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use tracing::warn;

use super::Namespace;
use super::tree::{Body, Directory, Node, Tree};
use crate::local::crash_point::crash_point;
use crate::local::record::{self, DATA, Former, GROWN, RECORD, Record};
use crate::values::errors::{AtPath, FsError};
use crate::values::escape::escape_path;
use crate::values::ids::NodeId;
use crate::values::time::Utc;

/// Most empty directories that are kept because somebody made them. Each takes 8 KiB and two inodes of the spool's disk, so that
/// all take 8 MiB. Who leaves more behind names them by date or number, and does not come back to the oldest.
pub const EMPTY_MAX: usize = 1024;
/// Most bytes of names of former directories that a directory remembers: its record is written as a whole.
const FORMER_MAX: usize = 64 * 1024;

impl Directory {
    /// The directory that once had a name, if it is remembered, and those that were in it.
    pub fn former_of(&self, name: &[u8]) -> (Option<Former>, BTreeMap<String, Former>) {
        let name = escape_path(name);
        let former = self.former.get(&name).copied();
        let inside = format!("{name}/");
        let below = self.former.range(inside.clone()..).map_while(|(path, former)| {
            path.strip_prefix(&inside).map(|path| (path.to_owned(), *former))
        });
        (former, below.collect())
    }

    /// Forgets both; says whether there was anything.
    pub fn forget_former(&mut self, name: &[u8]) -> bool {
        let (known, name) = (self.former.len(), escape_path(name));
        self.former.retain(|path, _| path.split('/').next() != Some(&name));
        self.former.len() < known
    }
}

/// What a change of the tree leaves to be done once its lock is free.
#[derive(Debug)]
pub(super) enum Chore {
    /// A record has grown.
    Replace(NodeId),
    /// A node's folder has its last name.
    Remove(PathBuf),
}

impl Namespace {
    /// Does what changes of the tree have left to be done. To be called by whoever made one.
    pub fn do_chores(&self) {
        loop {
            let Some(chore) = self.chores.lock().pop() else { return };
            let done = match &chore {
                Chore::Replace(id) => self.replace_record(*id),
                // Whatever is left of it goes at the next start.
                Chore::Remove(folder) => remove(folder).at("remove", folder).map_err(FsError::from),
            };
            if let Err(e) = done {
                warn!("the spool keeps more than it needs to: {e}");
            }
        }
    }

    /// Whether a node has its record in the spool.
    pub fn is_kept(&self, id: NodeId) -> bool {
        self.tree.lock().nodes.get(&id).is_some_and(|node| node.recorded)
    }

    /// Takes a finished live file out of the view and gives its folder back, unless it came to life
    /// again: it is open, or not all of it is confirmed.
    pub fn retire(&self, id: NodeId) -> Result<bool, FsError> {
        let mut tree = self.tree.lock();
        let Body::Live(life) = &tree.node(id)?.body else { return Ok(false) };
        let life = life.clone();
        let len = life.len()?;
        {
            let state = life.state();
            if state.handles > 0 || !state.all_sent(len) {
                return Ok(false);
            }
        }
        let claims = tree.node(id)?.claims.clone();
        self.discard(&mut tree, id)?;
        if let Ok(node) = tree.node_mut(id) {
            node.claims.clear();
        }
        for claim in claims {
            tree.directory_mut(claim.parent)?.live.remove(&claim.name);
        }
        life.state().linked = false;
        Ok(true)
    }

    /// Removes directories of the live view that have been empty since `before` and that the kernel
    /// has forgotten: nobody is in them. Those that somebody made, or set the owner or mode of, stay, but for the
    /// oldest of more than [`EMPTY_MAX`].
    pub fn retire_directories(&self, before: Utc, now: Utc) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        let empty = |(id, node): (&NodeId, &Node)| match &node.body {
            Body::Directory(dir)
                if node.recorded
                    && node.lookups == 0
                    && dir.live.is_empty()
                    && dir.hidden.is_empty()
                    && node.times.modified < before.into() =>
            {
                let (parent, name) = node.place()?;
                let listed = dir.listed && dir.former.is_empty();
                Some((listed, node.times.modified, *id, parent, name.to_vec()))
            }
            _ => None,
        };
        let found: Vec<_> = tree.nodes.iter().filter_map(empty).collect();
        let (mut gone, mut made): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.0);
        made.sort();
        made.truncate(made.len().saturating_sub(EMPTY_MAX));
        gone.append(&mut made);
        for (_, _, id, parent, name) in gone {
            self.unname(&mut tree, id, parent, &name, now)?;
        }
        Ok(())
    }

    /// Keeps owner and mode of a directory that is about to leave its place, for the time when stored content shows
    /// it there again.
    pub fn remember_directory(&self, parent: NodeId, name: &[u8]) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        let Some(id) = tree.directory(parent)?.live.get(name).copied() else { return Ok(()) };
        let Node { body: Body::Directory(dir), mode, uid, gid, .. } = tree.node(id)? else {
            return Ok(());
        };
        let escaped = escape_path(name);
        let own = (escaped.clone(), Former { mode: *mode, uid: *uid, gid: *gid });
        let below = dir.former.iter().map(|(path, former)| (format!("{escaped}/{path}"), *former));
        let left: Vec<_> = (!dir.listed).then_some(own).into_iter().chain(below).collect();
        let above = tree.directory_mut(parent)?;
        if !above.forget_former(name) && left.is_empty() {
            return Ok(());
        }
        let mut bytes: usize = above.former.keys().map(String::len).sum();
        for (path, former) in left {
            bytes += path.len();
            if bytes > FORMER_MAX {
                break;
            }
            above.former.insert(path, former);
        }
        self.record(&mut tree, parent)
    }

    /// Forgets the directory that once had a name, since the name is to stand for something else.
    pub(super) fn forget_former(
        &self,
        tree: &mut Tree,
        parent: NodeId,
        name: &[u8],
    ) -> Result<(), FsError> {
        match tree.directory_mut(parent)?.forget_former(name) {
            true => self.record(tree, parent),
            false => Ok(()),
        }
    }

    /// Gives the bytes of a local-only file back when it has no name and is not open; gives how many.
    pub fn drop_local(&self, id: NodeId) -> Result<u64, FsError> {
        let mut tree = self.tree.lock();
        let Some(Node { body: Body::Local(file), claims, recorded: true, .. }) =
            tree.nodes.get(&id)
        else {
            return Ok(0);
        };
        if !claims.is_empty() || file.handles() > 0 {
            return Ok(0);
        }
        let len = file.metadata()?.len();
        self.discard(&mut tree, id)?;
        Ok(len)
    }

    /// Gives a directory that was known from a listing only a record, since something live is to be in
    /// it; and those above it.
    pub(super) fn adopt(&self, tree: &mut Tree, id: NodeId) -> Result<(), FsError> {
        let node = tree.node(id)?;
        if node.recorded || id == NodeId::ROOT {
            return Ok(());
        }
        let (parent, name) = node.place().ok_or(FsError::NotFound)?;
        let name = name.to_vec();
        self.adopt(tree, parent)?;
        self.record(tree, id)?;
        let dir = tree.directory_mut(parent)?;
        dir.stored.remove(&name);
        // It hides that itself by now.
        dir.hidden.enter(&name);
        dir.live.insert(name, id);
        Ok(())
    }

    /// Writes a node's record, making its folder when it had none.
    pub(super) fn record(&self, tree: &mut Tree, id: NodeId) -> Result<(), FsError> {
        let folder = self.spool.node(id);
        DirBuilder::new().mode(0o700).recursive(true).create(&folder).at("create", &folder)?;
        let node = tree.node_mut(id)?;
        let before = std::mem::replace(&mut node.recorded, true);
        tree.kept += u64::from(!before);
        self.store(tree.node_mut(id)?, id)
    }

    /// Writes a node's record.
    pub(super) fn store(&self, node: &mut Node, id: NodeId) -> Result<(), FsError> {
        node.body.note_mode(node.mode);
        match node.record() {
            Some(record) => self.append(node, id, &self.line(record)?),
            None => Ok(()),
        }
    }

    /// The line for a record that is written now.
    pub(super) fn line(&self, record: Record) -> Result<Vec<u8>, FsError> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Record { number, ..record }.line()?)
    }

    /// Appends a line to a node's record.
    pub(super) fn append(&self, node: &mut Node, id: NodeId, line: &[u8]) -> Result<(), FsError> {
        let folder = self.spool.node(id);
        match record::append(&folder, line) {
            // What is there can be renamed and removed, however full the disk is.
            Err(e) if e.is_no_space() && node.disk.changes > 0 => {
                self.spool.drop_ballast();
                record::append(&folder, line)?;
            }
            appended => appended?,
        }
        // The change counts, and nobody was told so.
        crash_point("record: a change is appended");
        node.disk.is_behind = false;
        node.disk.changes += 1;
        node.disk.len += line.len() as u64;
        if node.disk.len > GROWN.max(8 * line.len() as u64) {
            node.disk.len = 0;
            self.chores.lock().push(Chore::Replace(id));
        }
        Ok(())
    }

    /// Takes one name from a node, and what is not needed without a name.
    pub(super) fn unclaim(
        &self,
        tree: &mut Tree,
        id: NodeId,
        parent: NodeId,
        name: &[u8],
        now: Utc,
    ) -> Result<(), FsError> {
        let node = tree.node_mut(id)?;
        let needed = match &node.body {
            // A log that nobody has open is needed for what is to be sealed, sent or forgotten of it.
            Body::Live(life) => !life.is_spent().unwrap_or(false),
            Body::Local(_) => true,
            Body::Directory(_) | Body::Symlink(_) | Body::Object(_) => false,
        };
        let before = node.claims.clone();
        node.claims.retain(|c| !(c.parent == parent && c.name == name));
        node.change(now);
        let done = match needed || !node.claims.is_empty() {
            true => self.store(node, id),
            false => self.discard(tree, id),
        };
        if let Some(node) = tree.nodes.get_mut(&id) {
            match done {
                Ok(()) => set_linked(node, !node.claims.is_empty()),
                Err(_) => node.claims = before,
            }
            tree.leave(parent, name, id);
        }
        done
    }

    /// Gives a node's folder back, and the node when the kernel has forgotten it.
    pub(super) fn discard(&self, tree: &mut Tree, id: NodeId) -> Result<(), FsError> {
        let folder = self.spool.node(id);
        // Renamed first, so that recovery never sees a folder half removed.
        let doomed = folder.with_extension("gone");
        match std::fs::rename(&folder, &doomed) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => {
                other.at("rename", &folder)?;
                // Whatever is left of it goes at the next start.
                crash_point("discard: under its last name");
                self.chores.lock().push(Chore::Remove(doomed));
            }
        }
        let before = std::mem::replace(&mut tree.node_mut(id)?.recorded, false);
        tree.kept -= u64::from(before);
        tree.drop_if_gone(id);
        Ok(())
    }
}

/// Removes a node's folder, which mostly has no markers any more.
fn remove(folder: &Path) -> std::io::Result<()> {
    for name in [RECORD, DATA] {
        // What stands in the way shows below.
        let _ = std::fs::remove_file(folder.join(name));
    }
    match std::fs::remove_dir(folder) {
        Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => std::fs::remove_dir_all(folder),
        removed => removed,
    }
}

pub(super) fn set_linked(node: &Node, linked: bool) {
    if let Body::Live(life) = &node.body {
        life.state().linked = linked;
    }
}
