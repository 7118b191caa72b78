//! Logs and whole files that are only in the bucket, by `read::streams` as in a reader mount: a log shows as one file
//! with the segments of all writers, of all time, joined; a whole file as its newest version, if it has one. Owns when
//! what is known of them is enough to be shown.
//!
//! Invariant: what waits for a size or version waits no longer than a look-up of a name, and not at all while S3 is
//! known to be down. A file of which that cannot be had in that time is not found: a program that opens its log for
//! appending makes a live file then, and never waits for S3.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::dirs::Entries;
use super::stored_file::{JoinedFile, StoredFile};
use super::{Answer, Fs};
use crate::format::folders::folders_of_file;
use crate::listing::lister::PATIENCE;
use crate::namespace::listing::{Listed, Page, Row, Stored};
use crate::namespace::{Attr, Open};
use crate::read::stream_file::StreamFile;
use crate::read::streams::StreamKey;
use crate::read::versions::Version;
use crate::spool::record::Times;
use crate::types::errors::FsError;
use crate::types::freshness::Age;
use crate::types::ids::{HandleId, NodeId};
use crate::types::stored_object::StoredObject;
use crate::types::time::Utc;

/// Files whose sizes are looked for at once when a directory is read: some more than the kernel takes in one answer.
const BATCH: usize = 256;

fn key(folder: &str) -> StreamKey {
    StreamKey { folder: folder.to_owned(), slice: None }
}

/// What a folder shows: nothing where a whole file has no version.
fn shown(folder: &str, file: &StreamFile) -> Listed {
    let log = || StoredObject::log(folder, file.len(), file.latest().unwrap_or_default());
    let version = |newest: &Arc<Version>| {
        StoredObject::version(folder, &newest.object.key, newest.name.length, newest.object.modified)
    };
    let shown = file.versions().map_or_else(|| Some(log()), |versions| versions.newest.as_ref().map(version));
    Listed::of(shown.map(Stored::Object))
}

impl Fs {
    /// Opens a stored object, log or whole file; `again` for the worker before.
    pub(super) fn open_stored(&self, object: StoredObject, again: bool) -> Result<StoredFile, FsError> {
        Ok(match object.folder().map(key) {
            None => StoredFile::Object(self.objects.open(object)),
            Some(_) if again => StoredFile::Lost,
            Some(key) => StoredFile::Joined(Box::new(JoinedFile::open(self.joined.clone(), key, object.etag)?)),
        })
    }

    /// A log or whole file as far as it is known, without waiting; absent where a whole file has no version. What is
    /// stale is shown and refreshed, as a listing is.
    pub(super) fn known_file(&self, folder: &str) -> Listed {
        let key = key(folder);
        let Some((age, file)) = self.joined.last(&key) else { return Listed::Unknown };
        match age {
            Age::Fresh => {}
            Age::Aging if self.lister.is_down() => {}
            Age::Aging => self.joined.refresh_soon(&key),
            Age::Old => return Listed::Unknown,
        }
        shown(folder, &file)
    }

    /// What a name that may be a whole file is known to stand for, without waiting. It stays what it is where that is
    /// not known.
    pub(super) fn settled(&self, listed: Listed, known: impl Fn(&str) -> Listed) -> Listed {
        match listed {
            Listed::Present(Stored::Files { folder, otherwise }) => match known(&folder) {
                Listed::Unknown => Listed::Present(Stored::Files { folder, otherwise }),
                Listed::Absent => Listed::of(otherwise.map(|stored| *stored)),
                version => version,
            },
            other => other,
        }
    }

    /// What was last known of a folder, however old that is.
    pub(super) fn last_file(&self, folder: &str) -> Listed {
        self.joined.last(&key(folder)).map_or(Listed::Unknown, |(_, file)| shown(folder, &file))
    }

    /// A log or whole file as it is found to be in time, or was last known to be; absent where a whole file has no
    /// version.
    pub(super) async fn find_file(&self, parent: NodeId, name: &[u8], folder: &str, until: Instant) -> Listed {
        match self.known_file(folder) {
            Listed::Unknown => {}
            known => return known,
        }
        let key = key(folder);
        if !self.lister.is_down() {
            match timeout_at(until, self.joined.current(&key)).await {
                Ok(Ok(file)) => return shown(folder, &file),
                Ok(Err(e)) => self.found(&e),
                Err(_) => {}
            }
        }
        match (self.last_file(folder), self.noted_file(parent, name, folder)) {
            (Listed::Unknown, Some(noted)) => Listed::Present(Stored::Object(noted)),
            (last, _) => last,
        }
    }

    /// A log or whole file as it was when the kernel was told of it last.
    pub(super) fn noted_file(&self, parent: NodeId, name: &[u8], folder: &str) -> Option<StoredObject> {
        let namespace = &self.parts.disk.namespace;
        match namespace.open(namespace.child(parent, name)?) {
            Ok(Open::Stored(file)) if file.key == folder && file.modified != Utc::default() => Some(file),
            _ => None,
        }
    }

    fn found(&self, error: &FsError) {
        if matches!(error, FsError::Bucket(e) if e.kind.is_outage()) {
            self.lister.found_down();
        }
    }

    /// Entries of an open directory as [`Fs::readdir`] gives them, with the sizes of files as far as they can be had in
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
        let files = folders.filter_map(|row| match row.listed_as(entries.prefix()) {
            Stored::Log(folder) | Stored::Files { folder, .. } => Some(folder),
            Stored::Object(_) | Stored::Prefix => None,
        });
        files.filter(|folder| self.known_file(folder) == Listed::Unknown).map(|folder| key(&folder))
    }

    /// The first folders on some pages of which it is not known whether they show whole files, where nothing else
    /// shows.
    pub(super) fn unknown_files(&self, dir: NodeId, prefix: &str, pages: &[Page]) -> Vec<StreamKey> {
        if self.lister.is_down() {
            return Vec::new();
        }
        let namespace = &self.parts.disk.namespace;
        let shows = |row: &&Row| {
            let name = row.listed().map(|(name, _)| name);
            name.is_some_and(|name| !namespace.has_live(dir, &name) && !namespace.is_hidden(dir, &name, false))
        };
        let rows = pages.iter().flat_map(|page| page.iter()).filter(|row| row.is_files()).filter(shows);
        let folders = rows.filter_map(|row| match row.listed_as(prefix) {
            Stored::Files { folder, .. } => Some(folder),
            Stored::Log(_) | Stored::Object(_) | Stored::Prefix => None,
        });
        // Those with a version are looked at when it is asked for.
        let is_unknown =
            |folder: &String| self.last_file(folder).present().is_none() && self.known_file(folder) == Listed::Unknown;
        folders.filter(is_unknown).take(BATCH).map(|folder| key(&folder)).collect()
    }

    /// Looks for what files are, until one cannot be had or time is up.
    pub(super) async fn find_files(&self, unknown: Vec<StreamKey>, until: Instant) {
        if !unknown.is_empty()
            && let Ok(Err(e)) = timeout_at(until, self.joined.refresh_all(unknown)).await
        {
            self.found(&e);
        }
    }

    /// Whether a folder is known to show no whole file: somebody else's, which has a name like ours.
    pub(super) fn has_no_version(&self, dir: NodeId, row: &Row) -> bool {
        let folder = row.is_files().then(|| self.prefix_of(dir).map(|prefix| row.listed_as(&prefix))).flatten();
        matches!(folder, Some(Stored::Files { folder, .. }) if self.last_file(&folder) == Listed::Absent)
    }

    fn has_unknown(&self, entries: &Entries) -> bool {
        !self.lister.is_down() && self.unknown(entries).next().is_some()
    }

    async fn find_sizes(&self, entries: Entries, until: Instant) -> Result<Entries, FsError> {
        if self.has_unknown(&entries) {
            self.find_files(self.unknown(&entries).collect(), until).await;
        }
        Ok(entries)
    }

    /// Attributes of a log as far as it has grown. A version stays what it is.
    pub(super) fn grown(&self, attr: Attr) -> Attr {
        let Ok(Open::Stored(log)) = self.parts.disk.namespace.open(attr.id) else { return attr };
        let key = key(&log.key);
        if key.is_whole() {
            return attr;
        }
        let last = self.joined.last(&key);
        if !matches!(last, Some((Age::Fresh, _))) && !self.lister.is_down() {
            self.joined.refresh_soon(&key);
        }
        let grown = last.and_then(|(_, file)| shown(&log.key, &file).object());
        let Some(StoredObject { size, modified, .. }) = grown else { return attr };
        Attr { size, blocks: size.div_ceil(512), times: Times::new(modified), ..attr }
    }

    /// A live file adds to a log or whole file from now on: what is known of that will not be all when it shows again.
    pub(super) fn outdate_file(&self, parent: NodeId, name: &[u8]) {
        let Some(prefix) = self.prefix_of(parent) else { return };
        for folder in folders_of_file(name) {
            self.joined.distrust_one(&key(&format!("{prefix}{folder}/")));
        }
    }
}
