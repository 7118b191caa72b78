//! Inode numbers of a reader mount: what each stands for, the name under which it was looked up, and its lookup count.
//! In memory only.
//!
//! Invariants: a number is used once. A node exists until the kernel sends FORGET, whatever becomes of its name. A name
//! that stands for something else gets another node, so that an open file keeps its content.

use std::collections::HashMap;

use super::names::Target;
use crate::types::errors::FsError;
use crate::types::ids::NodeId;

/// What the kernel knows by a number.
#[derive(Clone, Debug)]
pub struct Node {
    /// The directory that it was found in; the root is in itself.
    pub parent: NodeId,
    /// What it stands for.
    pub target: Target,
    name: Vec<u8>,
    lookups: u64,
}

/// All nodes.
#[derive(Debug)]
pub struct Nodes {
    nodes: HashMap<NodeId, Node>,
    names: HashMap<NodeId, HashMap<Vec<u8>, NodeId>>,
    last: NodeId,
}

impl Nodes {
    /// The root alone.
    pub fn new(root: Target) -> Nodes {
        let node = Node { parent: NodeId::ROOT, target: root, name: Vec::new(), lookups: 1 };
        let nodes = HashMap::from([(NodeId::ROOT, node)]);
        Nodes { nodes, names: HashMap::new(), last: NodeId::ROOT }
    }

    /// The numbers of all but the root.
    pub fn known(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().filter(|id| *id != NodeId::ROOT).collect()
    }

    /// A node.
    pub fn get(&self, id: NodeId) -> Result<&Node, FsError> {
        self.nodes.get(&id).ok_or(FsError::Stale)
    }

    /// The node that a name has, if it has one.
    pub fn named(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.names.get(&parent)?.get(name).copied()
    }

    /// Gives what was found a node, or finds the one that it has, and counts the look-up.
    pub fn remember(&mut self, parent: NodeId, name: &[u8], target: &Target) -> NodeId {
        if let Some(id) = self.named(parent, name)
            && let Some(node) = self.nodes.get_mut(&id).filter(|node| node.target == *target)
        {
            node.lookups += 1;
            return id;
        }
        self.last = NodeId(self.last.0 + 1);
        let (name, target) = (name.to_vec(), target.clone());
        self.names.entry(parent).or_default().insert(name.clone(), self.last);
        self.nodes.insert(self.last, Node { parent, target, name, lookups: 1 });
        self.last
    }

    /// The kernel forgets look-ups of a node.
    pub fn forget(&mut self, id: NodeId, lookups: u64) {
        let Some(node) = self.nodes.get_mut(&id).filter(|_| id != NodeId::ROOT) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups > 0 {
            return;
        }
        let Some(Node { parent, name, .. }) = self.nodes.remove(&id) else { return };
        if let Some(names) = self.names.get_mut(&parent) {
            if names.get(&name) == Some(&id) {
                names.remove(&name);
            }
            if names.is_empty() {
                self.names.remove(&parent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(prefix: &str) -> Target {
        Target::Directory(vec![prefix.to_owned()])
    }

    #[test]
    fn a_node_lives_as_long_as_the_kernel_remembers_it() {
        let mut nodes = Nodes::new(directory(""));
        let first = nodes.remember(NodeId::ROOT, b"web", &directory("web/"));
        assert_eq!(nodes.remember(NodeId::ROOT, b"web", &directory("web/")), first);
        nodes.forget(first, 1);
        assert!(nodes.get(first).is_ok());
        nodes.forget(first, 1);
        assert!(nodes.get(first).is_err() && nodes.names.is_empty());
        nodes.forget(NodeId::ROOT, 9);
        assert!(nodes.get(NodeId::ROOT).is_ok());
        let again = nodes.remember(NodeId::ROOT, b"web", &directory("web/"));
        assert_ne!(again, first, "no number is used twice");
    }

    #[test]
    fn a_name_that_stands_for_something_else_gets_another_node() {
        let mut nodes = Nodes::new(directory(""));
        let old = nodes.remember(NodeId::ROOT, b"web", &directory("web/"));
        let new = nodes.remember(NodeId::ROOT, b"web", &directory("other/"));
        assert_ne!(old, new);
        assert_eq!(nodes.get(old).expect("kept").target, directory("web/"));
        nodes.forget(old, 1);
        assert_eq!(nodes.named(NodeId::ROOT, b"web"), Some(new));
    }
}
