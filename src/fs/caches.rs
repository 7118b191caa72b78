//! Kernel caches of stored objects. Decides which nodes are stale or surplus, and defines what the file system needs
//! from what can notify the kernel.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::surplus::Surplus;
use crate::listing::lister::Outdated;
use crate::types::ids::NodeId;
use crate::upload::parts::Parts;

/// Makes the kernel forget.
pub trait Caches: Send + Sync {
    /// The kernel is to refresh the attributes of these nodes. Does not wait for it: the kernel may hold a lock until a
    /// request is answered.
    fn forget(&self, nodes: Vec<NodeId>);

    /// These nodes are to be forgotten altogether, in this order, but for those in use: files that are open, working
    /// directories, and what lies above either. Does not wait for it.
    fn prune(&self, nodes: Vec<NodeId>);
}

/// The caches, once there is a session with a kernel.
pub(crate) type CachesSlot = Arc<OnceLock<Arc<dyn Caches>>>;

/// Has the kernel, which has just been told of the node `newest`, forget nodes where it knows too many.
pub(crate) fn prune_surplus(
    caches: &CachesSlot,
    surplus: &Mutex<Surplus>,
    newest: NodeId,
    known: impl FnOnce() -> Vec<NodeId>,
) {
    let surplus = surplus.lock().after(newest, known);
    if let Some(caches) = caches.get().filter(|_| !surplus.is_empty()) {
        caches.prune(surplus);
    }
}

/// Objects that are replaced or gone lose their nodes: who has one is told that it is stale, and looks the name up
/// again.
pub(super) fn forgetting(parts: Arc<Parts>, caches: CachesSlot) -> Outdated {
    Box::new(move |prefix, names| {
        let Some(below) = prefix.strip_prefix(parts.ports.prefix.as_str()) else { return };
        let nodes = parts.disk.namespace.outdate(below.as_bytes(), names);
        if let Some(caches) = caches.get().filter(|_| !nodes.is_empty()) {
            caches.forget(nodes);
        }
    })
}
