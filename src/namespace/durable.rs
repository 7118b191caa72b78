//! Durability of the tree: a power cut leaves its changes in order, up to some moment after the last fsync. Records are
//! appended without a sync; a caller that asks for durability waits for everything before.

use super::Namespace;
use super::tree::{Body, Tree};
use crate::spool::Position;
use crate::spool::disk::sync_folder;
use crate::types::errors::FsError;
use crate::types::ids::NodeId;

/// Nodes that are copied under one lock of the tree when the records are written anew.
const COPIED_AT_ONCE: usize = 64;

impl Tree {
    /// The last change of a node, and of the directories above it.
    fn last_change(&self, id: NodeId) -> Position {
        let (mut last, mut at) = (Position::default(), id);
        while let Some(node) = self.nodes.get(&at) {
            last = last.max(node.disk.change);
            match node.place() {
                Some((parent, _)) if at != NodeId::ROOT => at = parent,
                _ => break,
            }
        }
        last
    }
}

impl Namespace {
    /// Makes a node, its names and those of the directories above it durable; of a directory also what has got or lost
    /// a name in it.
    pub fn make_durable(&self, id: NodeId) -> Result<(), FsError> {
        let (change, names_files) = {
            let mut tree = self.tree.lock();
            if let Some(node) = tree.nodes.get_mut(&id).filter(|node| node.disk.is_behind) {
                self.store(node, id)?;
            }
            let Ok(node) = tree.node(id) else { return Ok(()) };
            match &node.body {
                Body::Directory(_) => (self.spool.records().last(), true),
                Body::Live(_) | Body::Local(_) => (tree.last_change(id), !node.disk.has_files),
                Body::Symlink(_) | Body::Object(_) => (tree.last_change(id), false),
            }
        };
        if names_files {
            sync_folder(self.spool.nodes())?;
        }
        self.spool.records().sync(change)?;
        if let Some(node) = self.tree.lock().nodes.get_mut(&id) {
            node.disk.has_files = true;
        }
        Ok(())
    }

    /// Writes a node's record as the node is now, and makes it durable, with its name.
    pub fn store_durably(&self, id: NodeId) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        self.store(tree.node_mut(id)?, id)?;
        drop(tree);
        self.make_durable(id)
    }

    /// Writes the records anew, when most of what is in their file is out of date. Changes go on meanwhile.
    pub(super) fn rewrite_records(&self) -> Result<(), FsError> {
        let records = self.spool.records();
        let ids: Vec<NodeId> = {
            let tree = self.tree.lock();
            if !records.is_grown() {
                return Ok(());
            }
            records.begin()?;
            self.doomed.lock().iter().for_each(|doomed| records.copy_gone(doomed.files.id()));
            tree.nodes.iter().filter(|(_, node)| node.recorded).map(|(id, _)| *id).collect()
        };
        for some in ids.chunks(COPIED_AT_ONCE) {
            let tree = self.tree.lock();
            let kept = some.iter().filter_map(|id| Some((*id, tree.nodes.get(id)?)));
            for (id, node) in kept.filter(|(_, node)| node.recorded) {
                if let Some(record) = node.record() {
                    records.copy(id, &record)?;
                }
            }
        }
        Ok(records.finish()?)
    }
}
