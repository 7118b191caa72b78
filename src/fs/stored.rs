//! Stored objects, logs, whole files and prefixes in the view of a writer mount. Bytes of objects are read through
//! `read::objects`, those of logs and whole files by `joined`; none is ever changed.

use std::sync::Arc;

use super::caches::prune_surplus;
use super::{Answer, Entry, Fs};
use crate::listing::lister::PATIENCE;
use crate::log_file::LogFile;
use crate::metrics::METRICS;
use crate::namespace::listing::{Listed, Stored};
use crate::namespace::{Attr, Open};
use crate::settings::writer::View;
use crate::types::errors::FsError;
use crate::types::ids::{NodeId, SpoolOffset};
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
        self.joined.distrust();
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
        let known = self.settled(self.lister.known_name(&prefix, name), |folder| self.known_file(folder));
        if known == Listed::Unknown && self.parts.disk.namespace.is_hidden(parent, name, false) {
            return Answer::Now(Err(FsError::NotFound));
        }
        METRICS.looked_into("names", known != Listed::Unknown);
        if let Some(entry) = self.known_entry(parent, name, &known) {
            return Answer::Now(entry);
        }
        let (fs, name) = (self.clone(), name.to_vec());
        Answer::later(async move {
            let until = tokio::time::sleep(PATIENCE).deadline();
            let found = fs.lister.name(&prefix, &name).await;
            let mut found = found.filter(|found| !fs.is_hidden(parent, &name, found)).ok_or(FsError::NotFound)?;
            if let Stored::Files { folder, otherwise } = found {
                found = match (fs.find_file(parent, &name, &folder, until).await, otherwise) {
                    (Listed::Present(version), _) => version,
                    (Listed::Absent, Some(otherwise)) => *otherwise,
                    (Listed::Absent | Listed::Unknown, _) => return Err(FsError::NotFound),
                };
            }
            let object = match found {
                Stored::Object(object) => Some(object),
                Stored::Log(folder) | Stored::Files { folder, .. } => {
                    let log = fs.find_file(parent, &name, &folder, until).await;
                    Some(log.object().ok_or(FsError::NotFound)?)
                }
                Stored::Prefix => None,
            };
            Ok(fs.live_entry(fs.know_stored(parent, &name, object)?))
        })
    }

    /// What is known of a name, also how long a log or whole file is; `None` when that has to be found out.
    pub(super) fn known_entry(&self, parent: NodeId, name: &[u8], known: &Listed) -> Option<Result<Entry, FsError>> {
        let object = match known {
            Listed::Unknown => return None,
            Listed::Absent => return Some(Err(FsError::NotFound)),
            Listed::Present(stored) if self.is_hidden(parent, name, stored) => return Some(Err(FsError::NotFound)),
            Listed::Present(Stored::Object(object)) => Some(object.clone()),
            Listed::Present(Stored::Log(folder)) => Some(self.known_file(folder).object()?),
            Listed::Present(Stored::Files { .. }) => return None,
            Listed::Present(Stored::Prefix) => None,
        };
        let known = self.know_stored(parent, name, object);
        Some(known.map(|attr| self.live_entry(attr)))
    }

    /// Gives a stored object, log or whole file, or a prefix (`None`), a node that the kernel is told of. Where that
    /// knows too many, it is asked to forget some.
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
        let known = known.map_or(Listed::Unknown, |(_, answer)| Listed::of(answer));
        self.settled(known, |folder| self.last_file(folder))
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

    /// A live name goes away. A stored object or log of that name, known or possible, stays out of view; also the one
    /// that a `live` log adds to.
    pub(super) fn hide_if_stored(&self, parent: NodeId, name: &[u8], live: Option<&Open>) -> Result<(), FsError> {
        if self.policy.view == View::Live {
            return Ok(());
        }
        match self.known_stored(parent, name) {
            Listed::Absent | Listed::Present(Stored::Prefix) if !self.is_own(parent, name, live) => Ok(()),
            _ => self.parts.disk.namespace.hide(parent, name),
        }
    }

    /// Whether a file is a log of that name.
    fn is_own(&self, parent: NodeId, name: &[u8], live: Option<&Open>) -> bool {
        let (Some(Open::Live(log)), Ok(mut path)) = (live, self.parts.disk.namespace.path(parent)) else {
            return false;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(name);
        log.stream().path == path
    }

    /// Whether the bucket has or will have bytes of a file, as far as can be known.
    pub(super) fn has_bytes(&self, live: &Open) -> bool {
        match live {
            Open::Live(log) => log.len().is_ok_and(|len| len > SpoolOffset(0)) || log.state().handles.is_open(),
            Open::Local(_) | Open::Stored(_) | Open::Directory | Open::Symlink(_) => false,
        }
    }
}
