//! The bucket's part of the view: which stored object or prefix a name stands for. Their bytes are read
//! through `tasks::objects`; objects are never changed from here.

use std::sync::Arc;

use super::{Answer, Entry, Fs};
use crate::local::listing::Stored;
use crate::values::errors::FsError;
use crate::values::ids::NodeId;
use crate::values::settings::View;
use crate::world::metrics::METRICS;

impl Fs {
    /// The prefix that a directory stands for; `None` when it cannot have stored content (live
    /// view, or a path that is no key).
    pub(super) fn prefix_of(&self, dir: NodeId) -> Option<String> {
        if self.policy.view == View::Live {
            return None;
        }
        let path = String::from_utf8(self.parts.namespace.path(dir).ok()?).ok()?;
        let slash = if path.is_empty() { "" } else { "/" };
        Some(format!("{}{path}{slash}", self.parts.prefix))
    }

    /// Forgets what is known of the bucket, and has the kernel forget it.
    pub fn forget_stored(&self) {
        self.parts.catalog.clear();
        let nodes = self.parts.namespace.outdate_all();
        if let Some(caches) = self.caches.get() {
            caches.forget(nodes);
        }
    }

    /// Looks a name up that is not in the live view.
    pub(super) fn lookup_stored(self: &Arc<Self>, parent: NodeId, name: &[u8]) -> Answer<Entry> {
        let hidden = self.parts.namespace.is_hidden(parent, name);
        let Some(prefix) = self.prefix_of(parent).filter(|_| !hidden) else {
            return Answer::Now(Err(FsError::NotFound));
        };
        let known = self.lister.known_name(&prefix, name);
        METRICS.looked_into("names", known.is_some());
        if let Some(found) = known {
            return Answer::Now(self.entry_from(parent, name, found));
        }
        let (fs, name) = (self.clone(), name.to_vec());
        Answer::later(async move {
            let found = fs.lister.name(&prefix, &name).await;
            fs.entry_from(parent, &name, found)
        })
    }

    fn entry_from(
        &self,
        parent: NodeId,
        name: &[u8],
        found: Option<Stored>,
    ) -> Result<Entry, FsError> {
        let object = match found.ok_or(FsError::NotFound)? {
            Stored::Object(object) => Some(object),
            Stored::Prefix => None,
        };
        let now = self.parts.clock.now();
        let attr = self.parts.namespace.lookup_stored(parent, name, object, now)?;
        Ok(self.live_entry(attr))
    }

    /// What is known of a name in the bucket without asking: `None` when nothing is.
    pub(super) fn known_stored(&self, parent: NodeId, name: &[u8]) -> Option<Option<Stored>> {
        let prefix = self.prefix_of(parent)?;
        let known = self.parts.catalog.name(&prefix, name, self.parts.clock.monotonic())?;
        Some(known.1)
    }

    /// A directory of the live view is about to leave its place. Where stored content may show it again, its owner
    /// and mode come back with it.
    pub(super) fn remember_directory(&self, parent: NodeId, name: &[u8]) -> Result<(), FsError> {
        match self.policy.view {
            View::Bucket if !matches!(self.known_stored(parent, name), Some(None)) => {
                self.parts.namespace.remember_directory(parent, name)
            }
            View::Bucket | View::Live => Ok(()),
        }
    }

    /// A live name goes away. A stored object of that name, known or possible, stays out of view.
    pub(super) fn hide_if_stored(&self, parent: NodeId, name: &[u8]) -> Result<(), FsError> {
        if self.policy.view == View::Live {
            return Ok(());
        }
        match self.known_stored(parent, name) {
            Some(None | Some(Stored::Prefix)) => Ok(()),
            Some(Some(Stored::Object(_))) | None => self.parts.namespace.hide(parent, name),
        }
    }
}
