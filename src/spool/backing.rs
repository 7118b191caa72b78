//! Backing files: spool files that the kernel writes to itself (FUSE passthrough). Defines what the file system needs
//! from what registers them with the kernel. Registering takes CAP_SYS_ADMIN, which the worker does not have.

use crate::types::ids::{BackingId, NodeId, SpoolOffset};

/// Why a spool file is not registered, in words: the kernel or the supervisor refuses.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BackingError(pub String);

impl From<String> for BackingError {
    fn from(why: String) -> BackingError {
        BackingError(why)
    }
}

/// Registers spool files with the kernel.
pub trait Backings: Send + Sync {
    /// Registers the spool file of a node that begins at a position, or gives the number that it has. A node has one
    /// file registered at a time. Waits a few seconds at most. The error says why not; the daemon's own path is taken
    /// then.
    fn register(&self, node: NodeId, start: SpoolOffset) -> Result<BackingId, BackingError>;

    /// Registers the first spool files of nodes that are not born yet: all, or the error says why not.
    fn register_ahead(&self, nodes: &[NodeId]) -> Result<(), BackingError> {
        nodes.iter().try_for_each(|node| self.register(*node, SpoolOffset(0)).map(drop))
    }

    /// Whether another process is asked, so that it pays to register spool files before they are needed.
    fn is_remote(&self) -> bool;

    /// The last handle of a node is closed.
    fn unregister(&self, node: NodeId);

    /// The nodes that are registered: also by a worker that died.
    fn registered(&self) -> Vec<NodeId>;
}
