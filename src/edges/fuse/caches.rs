//! Makes the kernel forget attributes, by a notification on the session's /dev/fuse.
//!
//! Invariant: only whole nodes are named, never a name in a directory: for that the kernel takes the
//! directory's lock, which a program may hold that waits for us.

use std::sync::Arc;

use fuser::{INodeNo, Notifier};
use tracing::debug;

use super::Session;
use crate::core::caches::Caches;
use crate::values::ids::NodeId;

struct Kernel {
    notifier: Notifier,
    runtime: tokio::runtime::Handle,
}

/// The caches of the kernel on the other side of a session, also of one that was taken over.
pub fn caches_of(session: &Session, runtime: tokio::runtime::Handle) -> Arc<dyn Caches> {
    Arc::new(Kernel { notifier: session.notifier(), runtime })
}

impl Caches for Kernel {
    fn forget(&self, nodes: Vec<NodeId>) {
        let notifier = self.notifier.clone();
        self.runtime.spawn_blocking(move || {
            for node in nodes {
                // A negative offset: attributes alone. Bytes are never kept by the kernel.
                if let Err(e) = notifier.inval_inode(INodeNo(node.0), -1, 0) {
                    debug!(%node, "the kernel goes on believing its attributes for a while: {e}");
                }
            }
        });
    }
}
