//! What of the tree a power cut leaves: records made durable, and what the order of two records decides.
//!
//! Records are appended to without a sync, so that a power cut may leave the newer change of one and take back the
//! older change of another. Where a name is concerned, the newer one keeps what it relies on: see [`Claim::moved`].

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;

use super::Namespace;
use super::tree::{Node, Tree};
use crate::local::crash_point::crash_point;
use crate::local::disk::sync_folder;
use crate::local::record::{Claim, Moved, RECORD, Record};
use crate::values::errors::{AtPath, FsError};
use crate::values::ids::NodeId;

/// Most claims of others that a claim keeps: more than a logrotate keeps files.
const MOVED_MAX: usize = 128;
/// Most names that are remembered as taken by a rename that is not durable. Beyond, a power cut may take the last
/// name of a log that was renamed, when another log got its name; its bytes are sent all the same.
const LEFT_MAX: usize = 20_000;

/// A node's record on the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OnDisk {
    /// Changes that were written.
    pub changes: u64,
    /// Those of them that a power cut leaves, name of the folder included.
    pub durable: u64,
    /// Bytes that were written since the record was replaced.
    pub len: u64,
    /// Whether it lacks what recovery found, for want of room: nothing that relies on it may be sealed.
    pub is_behind: bool,
    /// Whether somebody is just replacing it.
    pub is_replaced: bool,
}

impl Tree {
    /// Notes that a name was taken from a node.
    pub fn leave(&mut self, parent: NodeId, name: &[u8], id: NodeId) {
        if self.left.len() >= LEFT_MAX {
            let owes = |id: &NodeId| self.nodes.get(id).is_some_and(Node::is_not_durable);
            self.left.retain(|_, id| owes(id));
            if self.left.len() >= LEFT_MAX / 2 {
                self.left.clear();
            }
        }
        self.left.insert((parent, name.to_vec()), id);
    }

    /// The latest claims of who left a name, and of those whom they moved away for it, as far as a power cut may take
    /// them back.
    pub fn moved_from(&self, parent: NodeId, name: &[u8]) -> Vec<Moved> {
        let holder = self.left.get(&(parent, name.to_vec()));
        let Some((id, node)) = holder.and_then(|id| Some((*id, self.nodes.get(id)?))) else {
            return Vec::new();
        };
        let latest = node.claims.iter().max_by_key(|claim| claim.number);
        let own = latest.map(|Claim { parent, name, number, .. }| Moved {
            node: id,
            parent: *parent,
            name: name.clone(),
            number: *number,
        });
        let others = node.claims.iter().flat_map(|claim| claim.moved.clone());
        let owes = |moved: &Moved| self.nodes.get(&moved.node).is_some_and(Node::is_not_durable);
        own.into_iter().chain(others).filter(owes).take(MOVED_MAX).collect()
    }

    /// What has to be made durable with a node, each with the change up to which: the directories above it, and, of a
    /// directory that is itself asked for, what has got or lost a name in it.
    pub fn not_durable(&self, id: NodeId) -> Vec<(NodeId, u64)> {
        let (mut found, mut seen, mut next) = (Vec::new(), HashSet::new(), vec![id]);
        if let Ok(dir) = self.directory(id) {
            let left = self.left.iter().filter(|((parent, _), _)| *parent == id);
            next.extend(dir.live.values().chain(left.map(|(_, id)| id)));
        }
        while let Some(id) = next.pop() {
            let Some(node) = self.nodes.get(&id).filter(|_| seen.insert(id)) else { continue };
            if node.is_not_durable() {
                found.push((id, node.disk.changes));
            }
            next.extend(node.claims.iter().map(|claim| claim.parent));
        }
        found
    }
}

impl Namespace {
    /// Makes a node's name and folder durable, and those of the directories above it.
    pub fn make_durable(&self, id: NodeId) -> Result<(), FsError> {
        let owed = {
            let mut tree = self.tree.lock();
            if let Some(node) = tree.nodes.get_mut(&id).filter(|node| node.disk.is_behind) {
                self.store(node, id)?;
            }
            tree.not_durable(id)
        };
        for (id, _) in &owed {
            let folder = self.spool.node(*id);
            let record = folder.join(RECORD);
            let synced = File::open(&record).and_then(|file| file.sync_data()).at("sync", &record);
            if let Err(e) = synced.and_then(|()| sync_folder(&folder)) {
                match self.is_kept(*id) {
                    true => return Err(e.into()),
                    // It was removed meanwhile.
                    false => continue,
                }
            }
            // The name is durable; the folder and the directories above may not be.
            crash_point("durable: a record");
        }
        if owed.is_empty() {
            return Ok(());
        }
        sync_folder(&self.spool.nodes())?;
        let mut tree = self.tree.lock();
        for (id, changes) in owed {
            if let Some(node) = tree.nodes.get_mut(&id) {
                node.disk.durable = node.disk.durable.max(changes);
            }
        }
        Ok(())
    }

    /// Writes a node's record as the node is now, and makes it durable, with its name.
    pub fn store_durably(&self, id: NodeId) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        self.store(tree.node_mut(id)?, id)?;
        drop(tree);
        self.do_chores();
        self.make_durable(id)
    }

    /// Replaces a node's record by one that is as the node is now, durably: no earlier line can count any
    /// more.
    pub fn replace_record(&self, id: NodeId) -> Result<(), FsError> {
        let mut tree = self.tree.lock();
        // Of two one could bring a line back that the other one has replaced.
        while tree.node(id)?.disk.is_replaced {
            self.replaced.wait(&mut tree);
        }
        let node = tree.node_mut(id)?;
        let Some(record) = node.record().filter(|_| node.recorded) else { return Ok(()) };
        node.disk.is_replaced = true;
        let changes = node.disk.changes;
        drop(tree);
        let done = self.replace_by(id, record, changes);
        if let Some(node) = self.tree.lock().nodes.get_mut(&id) {
            node.disk.is_replaced = false;
        }
        self.replaced.notify_all();
        done
    }

    fn replace_by(&self, id: NodeId, record: Record, changes: u64) -> Result<(), FsError> {
        let folder = self.spool.node(id);
        let path = folder.join(RECORD);
        let fresh = path.with_extension("new");
        let mut file = File::create(&fresh).at("create", &fresh)?;
        file.write_all(&self.line(record)?).at("write", &fresh)?;
        file.sync_data().at("sync", &fresh)?;
        // The old one counts; the next start removes the new one.
        crash_point("record: written anew, not yet under its name");
        {
            let mut tree = self.tree.lock();
            let node = tree.node_mut(id)?;
            if let Some(record) = node.record().filter(|_| node.disk.changes != changes) {
                file.write_all(&self.line(record)?).at("write", &fresh)?;
            }
            std::fs::rename(&fresh, &path).at("rename", &fresh)?;
            node.disk.len = 0;
        }
        crash_point("record: written anew");
        Ok(sync_folder(&folder)?)
    }
}
