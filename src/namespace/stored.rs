//! Stored content below a directory when names change: what is hidden and shown again, and which stored nodes become
//! stale.

use super::tree::{Body, Tree};
use super::{Name, Namespace};
use crate::format::naming::KEY_MAX;
use crate::spool::hidden::Hidden;
use crate::spool::record::Claim;
use crate::types::errors::FsError;
use crate::types::escape::escape_path;
use crate::types::ids::NodeId;

impl Namespace {
    /// Remembers that a stored object or log of that name stays out of view.
    pub fn hide(&self, parent: NodeId, name: &[u8]) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        self.adopt(&mut tree, parent)?;
        let dir = tree.directory_mut(parent)?;
        if !dir.hidden.hide(name) {
            return Ok(());
        }
        let node = tree.node_mut(parent)?;
        if node.recorded {
            let name = escape_path(name);
            self.append(node, || self.spool.records().hide(parent, &name))
        } else {
            // The root's record begins with its first hidden name.
            self.record(&mut tree, parent)
        }
    }

    /// A file is about to leave the view because the bucket has all of it, and shows from there: also where it was
    /// removed once, and made anew.
    pub(super) fn show_retired(&self, tree: &mut Tree, claims: &[Claim], stored: &[u8]) -> Result<(), FsError> {
        for Claim { parent, name, .. } in claims {
            let directory = tree.path(*parent)?;
            let slash = if directory.is_empty() { "".as_bytes() } else { b"/" };
            if [&directory, slash, name].concat() == stored && tree.directory_mut(*parent)?.hidden.show(name) {
                self.record(tree, *parent)?;
            }
        }
        Ok(())
    }

    /// A directory was renamed, and what the bucket has stays where it was: shown there, or hidden as before.
    pub(super) fn leave_stored(
        &self,
        tree: &mut Tree,
        id: NodeId,
        (parent, name): (NodeId, &[u8]),
        (new_parent, new_name): (NodeId, &[u8]),
    ) -> Result<Vec<NodeId>, FsError> {
        let (below, mut changed) = tree.take_hidden(id);
        if !below.is_empty() {
            tree.directory_mut(parent)?.hidden.leave(name, below);
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
        let (mut outdated, mut left) = (Vec::new(), vec![id]);
        while let Some(id) = left.pop() {
            let Ok(dir) = self.directory(id) else { continue };
            left.extend(dir.live.values().chain(dir.stored.values()));
            outdated.extend(dir.stored.iter().map(|(name, node)| (id, name.clone(), *node)));
        }
        // Those below others first: a node that the kernel has forgotten goes with its name.
        outdated.iter().rev().for_each(|(parent, name, _)| self.outdate_stored(*parent, name));
        outdated.into_iter().map(|(_, _, node)| node).collect()
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

    /// Takes what a directory and those below it hide, as paths below it. Gives also those that did.
    fn take_hidden(&mut self, id: NodeId) -> (Hidden, Vec<NodeId>) {
        let (mut all, mut changed) = (Hidden::default(), Vec::new());
        let mut left = vec![(id, Vec::new())];
        while let Some((id, path)) = left.pop() {
            let Ok(dir) = self.directory_mut(id) else { continue };
            if path.len() <= KEY_MAX {
                let below = |name: &Name| [path.as_slice(), name.as_slice()].join(&b'/');
                left.extend(dir.live.iter().map(|(name, id)| (*id, below(name))));
            }
            let hidden = std::mem::take(&mut dir.hidden);
            if !hidden.is_empty() {
                changed.push(id);
                match path.strip_prefix(b"/") {
                    Some(path) => all.leave(path, hidden),
                    None => all = hidden,
                }
            }
        }
        (all, changed)
    }
}
