//! Memory of the live view: names, links and extended attributes of all files share one budget, accounted by the first
//! part of the path. A node stays with its creator, wherever it is moved.

use tracing::warn;

use super::Namespace;
use super::tree::{Body, Charge, Node, Tree};
use crate::types::errors::FsError;
use crate::types::escape::escape_path;
use crate::types::ids::NodeId;
use crate::types::shares::Part;

/// Bytes of memory that a node takes beside its names and attributes, as measured with empty logs (docs/BENCHMARKS.md).
const NODE: u64 = 1728;
/// Bytes of a name beside its text, which is there twice: in the node and in its directory.
const NAME: u64 = 128;
/// Bytes of an extended attribute beside its name and value.
pub(super) const ATTRIBUTE: u64 = 96;
/// Bytes of a path that a directory remembers or hides: these are bounded for each directory.
const PATH: u64 = 160;

impl Node {
    fn weight(&self) -> u64 {
        let names = self.claims.iter().map(|claim| name_weight(&claim.name));
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, value)| ATTRIBUTE + (name.len() + value.len()) as u64);
        let body = match &self.body {
            Body::Symlink(target) => target.len() as u64,
            Body::Directory(dir) => PATH * (dir.hidden.len() + dir.former.len()) as u64,
            Body::Live(_) | Body::Local(_) | Body::Object(_) => 0,
        };
        NODE + names.sum::<u64>() + attributes.sum::<u64>() + body
    }
}

fn name_weight(name: &[u8]) -> u64 {
    NAME + 2 * name.len() as u64
}

impl Tree {
    /// The first part of the paths of what is in a directory.
    pub fn part_in(&self, directory: NodeId) -> Part {
        let (mut at, mut part) = (directory, [].as_slice());
        while at != NodeId::ROOT {
            let Some((parent, name)) = self.node(at).ok().and_then(Node::place) else { break };
            (at, part) = (parent, name);
        }
        part.into()
    }

    /// The part that has a node.
    pub fn part(&self, id: NodeId) -> Part {
        match self.nodes.get(&id) {
            Some(Node { charge: Charge(Some((part, _))), .. }) => part.clone(),
            Some(node) => self.part_in(node.place().map_or(NodeId::ROOT, |(parent, _)| parent)),
            None => Part::default(),
        }
    }

    /// Refuses a new name in a directory, with a node where it gets one, when there is no room for it.
    pub fn check_name(&mut self, parent: NodeId, name: &[u8], with_node: bool) -> Result<(), FsError> {
        let part = self.part_in(parent);
        self.check(&part, name_weight(name) + if with_node { NODE } else { 0 })
    }

    /// Refuses an extended attribute when there is no room for it.
    pub fn check_attribute(&mut self, id: NodeId, bytes: usize) -> Result<(), FsError> {
        let part = self.part(id);
        self.check(&part, ATTRIBUTE + bytes as u64)
    }

    fn check(&mut self, part: &Part, bytes: u64) -> Result<(), FsError> {
        let Err(full) = self.names.check(part, bytes) else { return Ok(()) };
        if full.is_news {
            let part = escape_path(part);
            warn!(
                part,
                own = full.own,
                used = full.used,
                max = full.max,
                "no more names or attributes: the files of the mount, whatever is in them, take as much memory as they may; remove files below this folder, or raise --names-max"
            );
        }
        Err(FsError::NoSpace)
    }

    /// Counts a node with what it takes now.
    pub fn weigh(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else { return };
        let weight = if node.recorded { node.weight() } else { 0 };
        let part = self.part(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let counted = node.charge.0.take().map_or(0, |(_, counted)| counted);
        self.names.take(&part, weight);
        self.names.give(&part, counted);
        if weight > 0 {
            node.charge = Charge(Some((part, weight)));
        }
    }
}

impl Namespace {
    /// The first part of a node's path, as it was when the node was made.
    pub fn part(&self, id: NodeId) -> Part {
        self.tree.lock().part(id)
    }

    /// The first part of the paths of what is in a directory.
    pub fn part_in(&self, directory: NodeId) -> Part {
        self.tree.lock().part_in(directory)
    }

    /// Whether names of the live view begin with more than one first part.
    pub fn is_shared(&self) -> bool {
        let tree = self.tree.lock();
        let Ok(root) = tree.directory(NodeId::ROOT) else { return false };
        let mut parts = root.live.iter().map(|(name, id)| match tree.directory(*id) {
            Ok(_) => name.as_slice(),
            Err(_) => b"",
        });
        let first = parts.next();
        parts.any(|part| Some(part) != first)
    }

    /// What names and attributes take of memory, and may take.
    pub fn names_used(&self) -> (u64, u64) {
        let tree = self.tree.lock();
        (tree.names.used(), tree.names.max())
    }
}
