//! Invalidates the kernel's caches of attributes and nodes by notifications on /dev/fuse.
//!
//! Invariant: only inodes are named, never a directory entry: for an entry the kernel takes the lock of the directory,
//! which may be held by a program that waits for us.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use fuser::{Filesystem, INodeNo, Notifier, Session};
use tracing::debug;

use super::session;
use crate::fs::caches::Caches;
use crate::types::ids::NodeId;

/// Nodes that are named in one message: as many as the kernel looks at in one go.
const PRUNED_AT_ONCE: usize = 512;

struct Kernel {
    notifier: Notifier,
    fuse: Arc<OwnedFd>,
    runtime: tokio::runtime::Handle,
}

/// The caches of the kernel on the other side of a session, also of one that was taken over.
pub fn caches_of<F: Filesystem>(session: &Session<F>, runtime: tokio::runtime::Handle) -> io::Result<Arc<dyn Caches>> {
    let fuse = Arc::new(session.as_fd().try_clone_to_owned()?);
    Ok(Arc::new(Kernel { notifier: session.notifier(), fuse, runtime }))
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

    fn prune(&self, nodes: Vec<NodeId>) {
        let fuse = self.fuse.clone();
        self.runtime.spawn_blocking(move || {
            for some in nodes.chunks(PRUNED_AT_ONCE) {
                if let Err(e) = session::prune(fuse.as_fd(), some) {
                    return debug!("the kernel keeps its nodes until it lacks memory: {e}");
                }
            }
        });
    }
}
