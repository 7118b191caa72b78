//! What the kernel remembers of stored objects: says what the file system needs of whoever can make it
//! forget. Decides itself which nodes these are.

use std::sync::{Arc, OnceLock};

use crate::tasks::lister::Outdated;
use crate::tasks::parts::Parts;
use crate::values::ids::NodeId;

/// Makes the kernel forget.
pub trait Caches: Send + Sync {
    /// The attributes of these nodes are to be asked for anew. Does not wait for it: the kernel may hold
    /// a lock until a request is answered.
    fn forget(&self, nodes: Vec<NodeId>);
}

/// The caches, once there is a session with a kernel.
pub(super) type CachesSlot = Arc<OnceLock<Arc<dyn Caches>>>;

/// Objects that are replaced or gone lose their nodes: who has one is told that it is stale, and looks
/// the name up again.
pub(super) fn forgetting(parts: Arc<Parts>, caches: CachesSlot) -> Outdated {
    Box::new(move |prefix, names| {
        let Some(below) = prefix.strip_prefix(parts.prefix.as_str()) else { return };
        let nodes = parts.namespace.outdate(below.as_bytes(), names);
        if let Some(caches) = caches.get().filter(|_| !nodes.is_empty()) {
            caches.forget(nodes);
        }
    })
}
