//! Directories: the union of the live view and the bucket, taken when a reader begins, so that offsets
//! mean the same until it ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::handles::{DirEntry, Handle, Mode};
use super::{Answer, Fs};
use crate::local::catalog::{Listing, Stored};
use crate::local::namespace::{FileKind, Open};
use crate::values::errors::FsError;
use crate::values::ids::{HandleId, NodeId, Origin};

impl Fs {
    /// Opens a directory.
    pub fn opendir(&self, id: NodeId, origin: Origin) -> Result<HandleId, FsError> {
        if let Some((opened, _)) = self.handles.opened_by(origin) {
            return Ok(opened);
        }
        match self.parts.namespace.open(id)? {
            Open::Directory => {
                let directory = Handle::Dir { id, entries: Default::default() };
                let opened = (id, directory, Mode::Direct);
                self.handles.add(self.parts.spool.session(), opened, origin)
            }
            _ => Err(FsError::NotDirectory),
        }
    }

    /// All entries of an open directory, `.` and `..` first. Read again from the start when `offset`
    /// is 0 (rewinddir), else as they were.
    pub fn readdir(self: &Arc<Self>, handle: HandleId, offset: u64) -> Answer<Arc<Vec<DirEntry>>> {
        let handle = match self.handles.get(handle) {
            Ok(handle) => handle,
            Err(e) => return Answer::Now(Err(e)),
        };
        let Handle::Dir { id, entries } = &handle.what else {
            return Answer::Now(Err(FsError::NotDirectory));
        };
        // A worker that took the handle over has not read the directory yet.
        if let Some(entries) = entries.lock().clone().filter(|_| offset > 0) {
            return Answer::Now(Ok(entries));
        }
        let listing = match self.prefix_of(*id) {
            None => None,
            Some(prefix) => match self.lister.known(&prefix) {
                Some(listing) => Some(listing),
                None => {
                    let (fs, handle, id) = (self.clone(), handle.clone(), *id);
                    return Answer::later(async move {
                        let listing = fs.lister.listing(&prefix).await;
                        fs.keep_entries(&handle.what, id, listing)
                    });
                }
            },
        };
        Answer::Now(self.keep_entries(&handle.what, *id, listing))
    }

    fn keep_entries(
        &self,
        handle: &Handle,
        id: NodeId,
        listing: Option<Listing>,
    ) -> Result<Arc<Vec<DirEntry>>, FsError> {
        let fresh = Arc::new(self.entries(id, listing)?);
        if let Handle::Dir { entries, .. } = handle {
            *entries.lock() = Some(fresh.clone());
        }
        Ok(fresh)
    }

    fn entries(&self, id: NodeId, listing: Option<Listing>) -> Result<Vec<DirEntry>, FsError> {
        let mut union = BTreeMap::new();
        for (name, stored) in listing.iter().flat_map(|listing| listing.iter()) {
            let kind = match stored {
                Stored::Object(_) if self.parts.namespace.is_hidden(id, name) => continue,
                Stored::Object(_) => FileKind::File,
                Stored::Prefix => FileKind::Directory,
            };
            union.insert(name.clone(), (None, kind));
        }
        for live in self.parts.namespace.live_entries(id)? {
            union.insert(live.name, (Some(live.id), live.kind));
        }
        let dot = |name: &[u8], id| DirEntry {
            name: name.to_vec(),
            id: Some(id),
            kind: FileKind::Directory,
        };
        let mut entries = vec![dot(b".", id), dot(b"..", self.parts.namespace.parent(id))];
        entries.extend(union.into_iter().map(|(name, (id, kind))| DirEntry { name, id, kind }));
        Ok(entries)
    }
}
