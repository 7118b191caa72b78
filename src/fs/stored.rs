//! Stored objects and prefixes in the view of a writer mount. Their bytes are read through `read::objects`; objects are
//! never changed.

use std::sync::Arc;

use super::caches::prune_surplus;
use super::{Answer, Entry, Fs};
use crate::log_file::LogFile;
use crate::metrics::METRICS;
use crate::namespace::Attr;
use crate::namespace::listing::{Listed, Stored};
use crate::settings::writer::View;
use crate::types::errors::FsError;
use crate::types::ids::NodeId;
use crate::types::stored_object::StoredObject;

impl Fs {
    /// The prefix that a directory stands for; `None` when it cannot have stored content (live view, or a path that is
    /// no key).
    pub(super) fn prefix_of(&self, dir: NodeId) -> Option<String> {
        if self.policy.view == View::Live {
            return None;
        }
        let path = String::from_utf8(self.parts.disk.namespace.path(dir).ok()?).ok()?;
        let slash = if path.is_empty() { "" } else { "/" };
        Some(format!("{}{path}{slash}", self.parts.ports.prefix))
    }

    /// Forgets what is known of the bucket, and has the kernel forget it.
    pub fn forget_stored(&self) {
        self.parts.ports.catalog.clear();
        self.forget_outdated(self.parts.disk.namespace.outdate_all());
    }

    /// Has the kernel forget nodes that are stale.
    pub(super) fn forget_outdated(&self, nodes: Vec<NodeId>) {
        if let Some(caches) = self.caches.get().filter(|_| !nodes.is_empty()) {
            caches.forget(nodes);
        }
    }

    /// Looks a name up that is not in the live view.
    pub(super) fn lookup_stored(self: &Arc<Self>, parent: NodeId, name: &[u8]) -> Answer<Entry> {
        let Some(prefix) = self.prefix_of(parent) else {
            return Answer::Now(Err(FsError::NotFound));
        };
        let known = self.lister.known_name(&prefix, name);
        if known == Listed::Unknown && self.parts.disk.namespace.is_hidden(parent, name, false) {
            return Answer::Now(Err(FsError::NotFound));
        }
        METRICS.looked_into("names", known != Listed::Unknown);
        if known != Listed::Unknown {
            return Answer::Now(self.entry_from(parent, name, known.present()));
        }
        let (fs, name) = (self.clone(), name.to_vec());
        Answer::later(async move {
            let found = fs.lister.name(&prefix, &name).await;
            fs.entry_from(parent, &name, found)
        })
    }

    fn entry_from(&self, parent: NodeId, name: &[u8], found: Option<Stored>) -> Result<Entry, FsError> {
        let found = found.filter(|found| !self.is_hidden(parent, name, found));
        let object = match found.ok_or(FsError::NotFound)? {
            Stored::Object(object) => Some(object),
            Stored::Prefix => None,
        };
        Ok(self.live_entry(self.know_stored(parent, name, object)?))
    }

    /// Gives a stored object or prefix (`None`) a node that the kernel is told of. Where it knows too many it is asked
    /// to forget some.
    pub(super) fn know_stored(
        &self,
        parent: NodeId,
        name: &[u8],
        object: Option<StoredObject>,
    ) -> Result<Attr, FsError> {
        let now = self.parts.ports.clock.now();
        let attr = self.parts.disk.namespace.lookup_stored(parent, name, object, now)?;
        let known = || self.parts.disk.namespace.stored_nodes();
        prune_surplus(&self.caches, &self.surplus, attr.id, known);
        Ok(attr)
    }

    fn is_hidden(&self, parent: NodeId, name: &[u8], stored: &Stored) -> bool {
        self.parts.disk.namespace.is_hidden(parent, name, *stored == Stored::Prefix)
    }

    /// What a name is known to show of the bucket.
    pub(super) fn shown_stored(&self, parent: NodeId, name: &[u8]) -> Option<Stored> {
        let known = self.known_stored(parent, name).present();
        known.filter(|stored| !self.is_hidden(parent, name, stored))
    }

    /// What is known of a name in the bucket without asking.
    pub(super) fn known_stored(&self, parent: NodeId, name: &[u8]) -> Listed {
        let now = self.parts.ports.clock.monotonic();
        let known = self.prefix_of(parent).and_then(|prefix| self.parts.ports.catalog.name(&prefix, name, now));
        known.map_or(Listed::Unknown, |(_, answer)| Listed::of(answer))
    }

    /// A directory of the live view is about to leave its place. Where stored content may show it again, its owner and
    /// mode come back with it.
    pub(super) fn remember_directory(&self, parent: NodeId, name: &[u8]) -> Result<(), FsError> {
        match self.policy.view {
            View::Bucket if self.known_stored(parent, name) != Listed::Absent => {
                self.parts.disk.namespace.remember_directory(parent, name)
            }
            View::Bucket | View::Live => Ok(()),
        }
    }

    /// Whether the bucket is known to have nothing of that name, neither object nor prefix.
    pub(super) fn is_absent(&self, parent: NodeId, name: &[u8]) -> bool {
        let known = self.prefix_of(parent).map(|prefix| self.lister.known_name(&prefix, name));
        known == Some(Listed::Absent)
    }

    /// Whether this mount will store something below a prefix.
    pub(super) fn will_store(&self, prefix: &str) -> bool {
        let below = prefix.strip_prefix(&self.parts.ports.prefix).unwrap_or_default().as_bytes();
        let adds = |log: &Arc<LogFile>| log.stream().path.starts_with(below);
        self.parts.disk.namespace.logs().iter().any(adds)
    }

    /// A live name goes away. A stored object of that name, known or possible, stays out of view.
    pub(super) fn hide_if_stored(&self, parent: NodeId, name: &[u8]) -> Result<(), FsError> {
        if self.policy.view == View::Live {
            return Ok(());
        }
        match self.known_stored(parent, name) {
            Listed::Absent | Listed::Present(Stored::Prefix) => Ok(()),
            Listed::Present(Stored::Object(_)) | Listed::Unknown => self.parts.disk.namespace.hide(parent, name),
        }
    }
}
