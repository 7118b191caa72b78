//! Nodes and their records on disk: written, made durable, and removed when nobody needs the node.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use super::Namespace;
use super::tree::{Body, Durability, Node, Tree};
use crate::local::crash_point::crash_point;
use crate::local::disk::{Durable, sync_folder};
use crate::values::errors::{AtPath, FsError};
use crate::values::ids::NodeId;
use crate::values::time::Utc;

impl Namespace {
    /// Makes a node's name and folder durable, and those of the directories above it. Under the lock
    /// throughout, so that an older record never replaces a newer one.
    pub fn make_durable(&self, id: NodeId) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        let mut stored = Vec::new();
        let mut at = id;
        while let Ok(node) = tree.node(at) {
            if node.recorded && node.durability != Durability::Current {
                if let Some(record) = node.record() {
                    record.store(&self.spool.node(at), Durable::Now)?;
                    // The name is durable; the folder and the directories above may not be.
                    crash_point("durable: a record");
                }
                stored.push(at);
            }
            match node.place() {
                Some((parent, _)) if at != NodeId::ROOT => at = parent,
                _ => break,
            }
        }
        if stored.is_empty() {
            return Ok(());
        }
        sync_folder(&self.spool.nodes())?;
        for id in stored {
            tree.node_mut(id)?.durability = Durability::Current;
        }
        Ok(())
    }

    /// Makes a node's record durable as it is now.
    pub fn make_record_durable(&self, id: NodeId) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        let node = tree.node_mut(id)?;
        match node.record() {
            Some(record) => Ok(record.store(&self.spool.node(id), Durable::Now)?),
            None => Ok(()),
        }
    }

    /// Takes a finished live file out of the view and gives its folder back, unless it came to life
    /// again: it is open, or not all of it is confirmed.
    pub fn retire(&self, id: NodeId, now: Utc) -> Result<bool, FsError> {
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
        for claim in tree.node(id)?.claims.clone() {
            self.unclaim(&mut tree, id, claim.parent, &claim.name, now)?;
            tree.directory_mut(claim.parent)?.live.remove(&claim.name);
        }
        self.discard(&mut tree, id)?;
        Ok(true)
    }

    /// Removes directories of the live view that have been empty since `before` and that the kernel
    /// has forgotten: nobody is in them.
    pub fn retire_directories(&self, before: Utc, now: Utc) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        let empty = |(id, node): (&NodeId, &Node)| match &node.body {
            Body::Directory(dir)
                if node.recorded
                    && node.lookups == 0
                    && dir.live.is_empty()
                    && dir.hidden.is_empty()
                    && node.times.modified < before =>
            {
                node.claims.first().map(|claim| (*id, claim.parent, claim.name.clone()))
            }
            _ => None,
        };
        let found: Vec<_> = tree.nodes.iter().filter_map(empty).collect();
        for (id, parent, name) in found {
            self.unname(&mut tree, id, parent, &name, now)?;
        }
        Ok(())
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
        node.recorded = true;
        self.store(node, id)
    }

    pub(super) fn store(&self, node: &mut Node, id: NodeId) -> Result<(), FsError> {
        let Some(record) = node.record() else { return Ok(()) };
        let durable = match node.durability {
            Durability::Never => Durable::Later,
            Durability::Earlier | Durability::Current => Durable::OldOrNew,
        };
        if node.durability == Durability::Current {
            node.durability = Durability::Earlier;
        }
        Ok(record.store(&self.spool.node(id), durable)?)
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
        node.claims.retain(|c| !(c.parent == parent && c.name == name));
        node.times.changed = now;
        if !node.claims.is_empty() {
            return self.store(node, id);
        }
        set_linked(node, false);
        match &node.body {
            Body::Live(_) | Body::Local(_) => self.store(node, id),
            Body::Directory(_) | Body::Symlink(_) | Body::Object(_) => self.discard(tree, id),
        }
    }

    /// Gives a node's folder back, and the node when the kernel has forgotten it.
    pub(super) fn discard(&self, tree: &mut Tree, id: NodeId) -> Result<(), FsError> {
        let folder = self.spool.node(id);
        // Renamed first, so that recovery never sees a folder half removed.
        let doomed = folder.with_extension("gone");
        match std::fs::rename(&folder, &doomed) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            other => {
                other.at("rename", &folder)?;
                // Whatever is left of it goes at the next start.
                crash_point("discard: under its last name");
                std::fs::remove_dir_all(&doomed).at("remove", &doomed)?;
            }
        }
        tree.node_mut(id)?.recorded = false;
        tree.drop_if_gone(id);
        Ok(())
    }
}

pub(super) fn set_linked(node: &Node, linked: bool) {
    if let Body::Live(life) = &node.body {
        life.state().linked = linked;
    }
}
