//! Nodes and their records on disk: written, and removed when the node is no longer needed (`durable` makes them
//! durable).
//!
//! Invariant: the lock of the tree is never held during an fsync or the removal of a file, which may be large. Deferred
//! work is done by [`Namespace::do_chores`].

use std::collections::BTreeMap;
use std::io;

use tracing::warn;

use super::tree::{Body, Directory, Node, Tree};
use super::{Doomed, Namespace};
use crate::spool::Position;
use crate::spool::crash_point::crash_point;
use crate::spool::record::Former;
use crate::types::errors::{AtPath, FsError, LocalError};
use crate::types::escape::escape_path;
use crate::types::ids::{NodeId, SpoolOffset};
use crate::types::time::Utc;

/// Most empty directories that are kept because somebody made them. Each takes some 300 bytes of the records, and 1 KiB
/// of memory. Who leaves more behind names them by date or number, and does not come back to the oldest.
pub const EMPTY_MAX: usize = 1024;
/// Most bytes of names of former directories that a directory remembers: its record is written as a whole.
const FORMER_MAX: usize = 64 * 1024;

impl Directory {
    /// The directory that once had a name, if it is remembered, and those that were in it.
    pub fn former_of(&self, name: &[u8]) -> (Option<Former>, BTreeMap<String, Former>) {
        let name = escape_path(name);
        let former = self.former.get(&name).copied();
        let inside = format!("{name}/");
        let below = self
            .former
            .range(inside.clone()..)
            .map_while(|(path, former)| path.strip_prefix(&inside).map(|path| (path.to_owned(), *former)));
        (former, below.collect())
    }

    /// Forgets both; says whether there was anything.
    pub fn forget_former(&mut self, name: &[u8]) -> bool {
        let (known, name) = (self.former.len(), escape_path(name));
        self.former.retain(|path, _| path.split('/').next() != Some(&name));
        self.former.len() < known
    }
}

impl Namespace {
    /// Whether changes of the tree have left something to be done.
    pub fn has_chores(&self) -> bool {
        !self.doomed.lock().is_empty() || self.spool.records().is_grown()
    }

    /// Does it: removes the files of nodes that are no more, and writes the records anew. No operation waits for this.
    pub fn do_chores(&self) {
        // One at a time, so that none is half done when this returns.
        let _doing = self.doing_chores.lock();
        let keeps_more = |e: FsError| warn!("spool space could not be given back: {e}");
        let doomed = self.doomed.lock().clone();
        // Whatever is left of them goes at the next start.
        doomed.iter().filter_map(|doomed| self.remove(doomed).err()).for_each(keeps_more);
        self.doomed.lock().drain(..doomed.len());
        self.rewrite_records().err().into_iter().for_each(keeps_more);
    }

    fn remove(&self, Doomed { files, starts, markers }: &Doomed) -> Result<(), FsError> {
        if starts.len() > 1 {
            // A power cut could bring the node back with a part of its bytes; one without any is not taken for one.
            self.spool.records().sync(self.spool.records().last())?;
        }
        let (data, markers) = (starts.iter().map(|start| files.data(*start)), markers.iter());
        for path in data.chain(markers.map(|marker| files.marker(marker))) {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                removed => removed.at("remove", &path)?,
            }
            crash_point("discard: a file is removed");
        }
        Ok(())
    }

    /// Whether a node has its record in the spool.
    pub fn is_kept(&self, id: NodeId) -> bool {
        self.tree.lock().nodes.get(&id).is_some_and(|node| node.recorded)
    }

    /// Takes a finished live file out of the view and gives its files back, unless it came to life again: it is open,
    /// or not all of it is confirmed. The bucket has it at `stored`.
    pub fn retire(&self, id: NodeId, stored: &[u8]) -> Result<bool, FsError> {
        let mut tree = self.tree.lock();
        let Body::Live(log) = &tree.node(id)?.body else { return Ok(false) };
        let log = log.clone();
        let len = log.len()?;
        {
            let state = log.state();
            if state.handles.is_open() || !state.all_sent(len) {
                return Ok(false);
            }
        }
        let claims = tree.node(id)?.claims.clone();
        if len > SpoolOffset(0) {
            self.show_retired(&mut tree, &claims, stored)?;
        }
        self.discard(&mut tree, id)?;
        if let Ok(node) = tree.node_mut(id) {
            node.claims.clear();
        }
        for claim in claims {
            tree.directory_mut(claim.parent)?.live.remove(&claim.name);
        }
        log.state().set_linked(false);
        Ok(true)
    }

    /// Removes directories of the live view that have been empty since `before` and that the kernel has forgotten:
    /// nobody is in them. Those that somebody made, or set the owner or mode of, stay, but for the oldest of more than
    /// [`EMPTY_MAX`].
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

    /// Keeps owner and mode of a directory that is about to leave its place, for the time when stored content shows it
    /// there again.
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
    pub(super) fn forget_former(&self, tree: &mut Tree, parent: NodeId, name: &[u8]) -> Result<(), FsError> {
        if tree.directory_mut(parent)?.forget_former(name) { self.record(tree, parent) } else { Ok(()) }
    }

    /// Gives the bytes of a local-only file back when it has no name and is not open; gives how many.
    pub fn drop_local(&self, id: NodeId) -> Result<u64, FsError> {
        let mut tree = self.tree.lock();
        let Some(Node { body: Body::Local(file), claims, recorded: true, .. }) = tree.nodes.get(&id) else {
            return Ok(0);
        };
        if !claims.is_empty() || file.handles() > 0 {
            return Ok(0);
        }
        let len = file.metadata()?.len();
        self.discard(&mut tree, id)?;
        Ok(len)
    }

    /// Gives a directory that was known from a listing only a record, since something live is to be in it; and those
    /// above it.
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

    /// Writes a node's record, also when it had none.
    pub(super) fn record(&self, tree: &mut Tree, id: NodeId) -> Result<(), FsError> {
        self.store(tree.node_mut(id)?, id)?;
        let node = tree.node_mut(id)?;
        if !std::mem::replace(&mut node.recorded, true) {
            tree.kept += u64::from(node.has_files());
        }
        tree.weigh(id);
        Ok(())
    }

    /// Writes a node's record.
    pub(super) fn store(&self, node: &mut Node, id: NodeId) -> Result<(), FsError> {
        node.body.note_mode(node.mode);
        match node.record() {
            Some(record) => self.append(node, || self.spool.records().put(id, &record)),
            None => Ok(()),
        }
    }

    /// Appends a change of a node to the records.
    pub(super) fn append(
        &self,
        node: &mut Node,
        change: impl Fn() -> Result<Position, LocalError>,
    ) -> Result<(), FsError> {
        node.disk.change = match change() {
            // What is there can be renamed and removed, however full the disk is.
            Err(e) if e.is_no_space() && node.recorded => {
                self.spool.drop_ballast();
                change()?
            }
            appended => appended?,
        };
        node.disk.is_behind = false;
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
            Body::Live(log) => !log.is_spent().unwrap_or(false),
            Body::Local(_) => true,
            Body::Directory(_) | Body::Symlink(_) | Body::Object(_) => false,
        };
        let before = node.claims.clone();
        node.claims.retain(|c| !(c.parent == parent && c.name == name));
        node.change(now);
        let done = if needed || !node.claims.is_empty() { self.store(node, id) } else { self.discard(tree, id) };
        if let Some(node) = tree.nodes.get_mut(&id) {
            match done {
                Ok(()) => set_linked(node, !node.claims.is_empty()),
                Err(_) => node.claims = before,
            }
        }
        tree.weigh(id);
        done
    }

    /// Gives a node's files back, and the node when the kernel has forgotten it.
    pub(super) fn discard(&self, tree: &mut Tree, id: NodeId) -> Result<(), FsError> {
        let node = tree.node_mut(id)?;
        if !node.recorded {
            return Ok(());
        }
        self.append(node, || self.spool.records().gone(id))?;
        // Its files go at the next start, if not before.
        crash_point("discard: the node is no more");
        let files = self.spool.node_files(id);
        match &node.body {
            Body::Live(log) => {
                let markers: Vec<_> = log.state().segments.iter().collect();
                let starts = log.files.starts();
                self.doomed.lock().push(Doomed { files, starts, markers });
            }
            Body::Local(_) => {
                let (starts, markers) = (vec![SpoolOffset(0)], Vec::new());
                self.doomed.lock().push(Doomed { files, starts, markers });
            }
            Body::Directory(_) | Body::Symlink(_) | Body::Object(_) => {}
        }
        tree.kept -= u64::from(node.has_files());
        tree.node_mut(id)?.recorded = false;
        tree.weigh(id);
        tree.drop_if_gone(id);
        Ok(())
    }
}

pub(super) fn set_linked(node: &Node, linked: bool) {
    if let Body::Live(log) = &node.body {
        log.state().set_linked(linked);
    }
}
