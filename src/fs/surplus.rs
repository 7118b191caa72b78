//! Bounds the stored nodes that the kernel knows: which of them it is asked to forget. Pure.

use crate::types::ids::NodeId;

/// Most nodes of stored objects that the kernel is left to know: some 16 MB of the worker's memory. A directory of
/// 10,000 objects stays whole, since the first are forgotten at three quarters; a name that is looked up again costs
/// 33 us.
pub const NODES_MAX: usize = 16_000;

/// What was asked of it.
#[derive(Debug)]
pub struct Surplus {
    max: usize,
    /// The number of the node with which it is looked again.
    next: NodeId,
    /// The last one that was named.
    named: NodeId,
}

impl Surplus {
    /// For at most so many nodes, and a few more for as long as programs use them.
    pub fn new(max: usize) -> Surplus {
        Surplus { max, next: NodeId(0), named: NodeId(0) }
    }

    /// The nodes to be forgotten, once the kernel knows `newest`: of `known` those that it got to know longest ago,
    /// where there are too many. What is in a directory comes before it. The kernel keeps those in use, so that others
    /// are named the next time.
    pub fn after(&mut self, newest: NodeId, known: impl FnOnce() -> Vec<NodeId>) -> Vec<NodeId> {
        if newest < self.next {
            return Vec::new();
        }
        let mut nodes = known();
        // In steps, so that looking costs little for each node, whatever the kernel keeps.
        self.next = NodeId(newest.0 + (self.max.max(nodes.len()) / 8) as u64);
        if nodes.len() <= self.max / 4 * 3 {
            return Vec::new();
        }
        nodes.sort_unstable_by_key(|id| (*id <= self.named, *id));
        nodes.truncate(nodes.len() - self.max / 2);
        self.named = nodes.last().copied().unwrap_or_default();
        nodes.reverse();
        nodes
    }
}
