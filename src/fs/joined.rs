//! Logs that are only in the bucket: each shows as one file with the segments of all writers, of all time, joined by
//! `read::streams` as in a reader mount. Owns when its size is known well enough to be shown.
//!
//! Invariant: what waits for a size waits no longer than a look-up of a name, and not at all while S3 is known to be
//! down. A log whose size cannot be had in that time is not found: a program that opens its log for appending makes a
//! live file then, and never waits for S3.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::dirs::Entries;
use super::stored_file::{JoinedLog, StoredFile};
use super::{Answer, Fs};
use crate::format::folders::folders_of_log;
use crate::listing::lister::PATIENCE;
use crate::namespace::listing::Stored;
use crate::namespace::{Attr, Open};
use crate::read::stream_file::StreamFile;
use crate::read::streams::StreamKey;
use crate::spool::record::Times;
use crate::types::errors::FsError;
use crate::types::freshness::Age;
use crate::types::ids::{HandleId, NodeId};
use crate::types::stored_object::StoredObject;
use crate::types::time::Utc;

/// Logs whose sizes are looked for at once when a directory is read: some more than the kernel takes in one answer.
const BATCH: usize = 256;

fn key(folder: &str) -> StreamKey {
    StreamKey { folder: folder.to_owned(), slice: None }
}

fn shown(folder: &str, file: &StreamFile) -> StoredObject {
    StoredObject::log(folder, file.len(), file.latest().unwrap_or_default())
}

impl Fs {
    /// Opens a stored object or log; `again` for the worker before.
    pub(super) fn open_stored(&self, object: StoredObject, again: bool) -> StoredFile {
        match object.as_log().map(key) {
            None => StoredFile::Object(self.objects.open(object)),
            Some(_) if again => StoredFile::Lost,
            Some(key) => StoredFile::Log(Box::new(JoinedLog::new(self.joined.clone(), key))),
        }
    }

    /// A log as far as it is known, without waiting. What is stale is shown and refreshed, as a listing is.
    pub(super) fn known_log(&self, folder: &str) -> Option<StoredObject> {
        let key = key(folder);
        let (age, file) = self.joined.last(&key)?;
        match age {
            Age::Fresh => {}
            Age::Aging if self.lister.is_down() => {}
            Age::Aging => self.joined.refresh_soon(&key),
            Age::Old => return None,
        }
        Some(shown(folder, &file))
    }

    /// A log as it is found to be in time, or was last known to be.
    pub(super) async fn find_log(
        &self,
        parent: NodeId,
        name: &[u8],
        folder: &str,
        until: Instant,
    ) -> Option<StoredObject> {
        if let Some(known) = self.known_log(folder) {
            return Some(known);
        }
        let key = key(folder);
        if !self.lister.is_down() {
            match timeout_at(until, self.joined.current(&key)).await {
                Ok(Ok(file)) => return Some(shown(folder, &file)),
                Ok(Err(e)) => self.found(&e),
                Err(_) => {}
            }
        }
        let last = self.joined.last(&key).map(|(_, file)| shown(folder, &file));
        last.or_else(|| self.noted_log(parent, name, folder))
    }

    /// A log as it was when the kernel was told of it last.
    pub(super) fn noted_log(&self, parent: NodeId, name: &[u8], folder: &str) -> Option<StoredObject> {
        let namespace = &self.parts.disk.namespace;
        match namespace.open(namespace.child(parent, name)?) {
            Ok(Open::Stored(log)) if log.key == folder && log.modified != Utc::default() => Some(log),
            _ => None,
        }
    }

    fn found(&self, error: &FsError) {
        if matches!(error, FsError::Bucket(e) if e.kind.is_outage()) {
            self.lister.found_down();
        }
    }

    /// Entries of an open directory as [`Fs::readdir`] gives them, with the sizes of logs as far as they can be had in
    /// time. They go on being looked for: who wants to know each asks for them one after the other.
    pub fn readdirplus(self: &Arc<Self>, handle: HandleId, cursor: u64) -> Answer<Entries> {
        let (fs, entries) = (self.clone(), self.readdir(handle, cursor));
        match entries {
            Answer::Now(Ok(entries)) if fs.has_unknown(&entries) => Answer::later(async move {
                let until = tokio::time::sleep(PATIENCE).deadline();
                fs.find_sizes(entries, until).await
            }),
            Answer::Now(entries) => Answer::Now(entries),
            Answer::Later(entries) => Answer::later(async move {
                let until = tokio::time::sleep(PATIENCE).deadline();
                fs.find_sizes(entries.await?, until).await
            }),
        }
    }

    fn unknown<'a>(&'a self, entries: &'a Entries) -> impl Iterator<Item = StreamKey> + 'a {
        let folders = entries.iter().take(BATCH).filter_map(|entry| entry.row.filter(|row| row.is_prefix()));
        let logs = folders.filter_map(|row| match row.listed_as(entries.prefix()) {
            Stored::Log(folder) => Some(folder),
            Stored::Object(_) | Stored::Prefix => None,
        });
        logs.filter(|folder| self.known_log(folder).is_none()).map(|folder| key(&folder))
    }

    fn has_unknown(&self, entries: &Entries) -> bool {
        !self.lister.is_down() && self.unknown(entries).next().is_some()
    }

    async fn find_sizes(&self, entries: Entries, until: Instant) -> Result<Entries, FsError> {
        if self.has_unknown(&entries) {
            let unknown = self.unknown(&entries).collect();
            if let Ok(Err(e)) = timeout_at(until, self.joined.refresh_all(unknown)).await {
                self.found(&e);
            }
        }
        Ok(entries)
    }

    /// Attributes of a log as far as it has grown.
    pub(super) fn grown(&self, attr: Attr) -> Attr {
        let Ok(Open::Stored(log)) = self.parts.disk.namespace.open(attr.id) else { return attr };
        let key = key(&log.key);
        let last = self.joined.last(&key);
        if !matches!(last, Some((Age::Fresh, _))) && !self.lister.is_down() {
            self.joined.refresh_soon(&key);
        }
        let Some((_, file)) = last else { return attr };
        let StoredObject { size, modified, .. } = shown(&log.key, &file);
        Attr { size, blocks: size.div_ceil(512), times: Times::new(modified), ..attr }
    }

    /// A live file adds to a log from now on: what is known of that will not be all when it shows again.
    pub(super) fn outdate_log(&self, parent: NodeId, name: &[u8]) {
        let Some(prefix) = self.prefix_of(parent) else { return };
        for folder in folders_of_log(name) {
            self.joined.distrust_one(&key(&format!("{prefix}{folder}/")));
        }
    }
}
