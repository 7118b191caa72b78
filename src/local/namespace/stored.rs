//! What the bucket has below a directory, when names change: which of it stays out of view, and which nodes of stored
//! objects and prefixes are stale.

use super::Namespace;
use super::tree::{Body, Tree};
use crate::local::hidden::Hidden;
use crate::values::errors::FsError;
use crate::values::ids::NodeId;

impl Namespace {
    /// Remembers that a stored object of that name stays out of view.
    pub fn hide(&self, parent: NodeId, name: &[u8]) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        self.adopt(&mut tree, parent)?;
        let dir = tree.directory_mut(parent)?;
        if !dir.hidden.hide(name) {
            return Ok(());
        }
        // The root's record begins with its first hidden name.
        self.record(&mut tree, parent)
    }

    /// A directory was renamed, and what the bucket has stays where it was: shown there, or hidden as before.
    pub(super) fn leave_stored(
        &self,
        tree: &mut Tree,
        id: NodeId,
        (parent, name): (NodeId, &[u8]),
        (new_parent, new_name): (NodeId, &[u8]),
    ) -> Result<Vec<NodeId>, FsError> {
        let mut changed = Vec::new();
        let below = tree.take_hidden(id, &mut changed);
        if tree.directory_mut(parent)?.hidden.leave(name, below, false) {
            changed.push(parent);
        }
        if let Some(hidden) = tree.directory_mut(new_parent)?.hidden.enter(new_name) {
            tree.directory_mut(id)?.hidden = hidden;
            changed.extend([new_parent, id]);
        }
        for id in changed {
            self.record(tree, id)?;
        }
        let outdated = tree.outdate_below(id);
        if !outdated.is_empty() {
            self.rewrite_stored(tree)?;
        }
        Ok(outdated)
    }
}

impl Tree {
    /// Takes the names of all stored nodes below a directory away; gives them.
    pub fn outdate_below(&mut self, id: NodeId) -> Vec<NodeId> {
        let Ok(dir) = self.directory_mut(id) else { return Vec::new() };
        let names: Vec<_> = dir.stored.iter().map(|(name, id)| (name.clone(), *id)).collect();
        let below: Vec<_> = dir.live.values().chain(dir.stored.values()).copied().collect();
        let below: Vec<_> = below.into_iter().flat_map(|id| self.outdate_below(id)).collect();
        names.iter().for_each(|(name, _)| self.outdate_stored(id, name));
        names.into_iter().map(|(_, id)| id).chain(below).collect()
    }

    /// Takes the name of a stored object or prefix away.
    pub fn outdate_stored(&mut self, parent: NodeId, name: &[u8]) {
        let Ok(dir) = self.directory_mut(parent) else { return };
        let Some(id) = dir.stored.remove(name) else { return };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.claims.clear();
            if let Body::Directory(dir) = &mut node.body {
                dir.outdated = true;
            }
        }
        self.drop_if_gone(id);
    }

    /// Takes what a directory and those below it hide; adds those that did to `changed`.
    pub fn take_hidden(&mut self, id: NodeId, changed: &mut Vec<NodeId>) -> Hidden {
        let Ok(dir) = self.directory_mut(id) else { return Hidden::default() };
        let mut hidden = std::mem::take(&mut dir.hidden);
        let children: Vec<_> = dir.live.iter().map(|(name, id)| (name.clone(), *id)).collect();
        if !hidden.is_empty() {
            changed.push(id);
        }
        for (name, child) in children {
            let below = self.take_hidden(child, changed);
            hidden.leave(&name, below, false);
        }
        hidden
    }
}
