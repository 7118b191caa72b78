//! Directory reads: the union of the live view and the bucket, returned while listing pages arrive.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::dir_snapshot::{DirEntry, DirSnapshot};
use super::handles::{Handle, Mode, Opened, Reading};
use super::{Answer, Entry, Fs};
use crate::listing::lister::PATIENCE;
use crate::listing::listing_pages::{ListingPages, PageEvent};
use crate::metrics::METRICS;
use crate::namespace::Open;
use crate::namespace::listing::{Listed, Row, Stored};
use crate::types::errors::FsError;
use crate::types::ids::{HandleId, NodeId, Origin};
use crate::types::stored_object::StoredObject;
use crate::types::time::Utc;

/// Entries of a directory, from where they were asked for.
pub struct Entries {
    id: NodeId,
    prefix: String,
    snapshot: Arc<DirSnapshot>,
    from: usize,
}

impl Entries {
    /// What the keys of what is in the directory begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The entries that are known, in their order; none when the directory has no more.
    pub fn iter(&self) -> impl Iterator<Item = DirEntry<'_>> {
        self.snapshot.entries(self.from)
    }
}

impl Fs {
    /// Opens a directory.
    pub fn opendir(&self, id: NodeId, origin: Origin) -> Result<HandleId, FsError> {
        if let Some((opened, _)) = self.handles.opened_by(origin) {
            return Ok(opened);
        }
        match self.parts.disk.namespace.open(id)? {
            Open::Directory => {
                let directory = Handle::Dir { id, reading: Default::default() };
                let part = self.parts.disk.namespace.part_in(id);
                self.handles.check(&part)?;
                let (at, opened) = ((id, part), (directory, Mode::Direct));
                self.handles.add(self.parts.disk.spool.session(), at, opened, origin)
            }
            _ => Err(FsError::NotDirectory),
        }
    }

    /// Entries of an open directory from a cursor on, `.` and `..` first. Read again from the start when it is 0
    /// (rewinddir). Waits only where nothing behind the cursor is known yet.
    pub fn readdir(self: &Arc<Self>, handle: HandleId, cursor: u64) -> Answer<Entries> {
        let handle = match self.handles.get(handle) {
            Ok(handle) => handle,
            Err(e) => return Answer::Now(Err(e)),
        };
        match self.read_known(&handle, cursor) {
            Ok(Some(entries)) => Answer::Now(Ok(entries)),
            Err(e) => Answer::Now(Err(e)),
            Ok(None) => {
                let fs = self.clone();
                Answer::later(async move { fs.read_on(&handle, cursor).await })
            }
        }
    }

    fn read_known(&self, handle: &Opened, cursor: u64) -> Result<Option<Entries>, FsError> {
        let Handle::Dir { id, reading } = &handle.what else { return Err(FsError::NotDirectory) };
        // The kernel reads one open directory by one request at a time; two threads of a program that it lets through
        // all the same wait for each other.
        let Ok(mut reading) = reading.try_lock() else { return Ok(None) };
        if cursor == 0 {
            *reading = None;
        }
        match &mut *reading {
            Some(reading) => Ok(self.entries(*id, reading, cursor)),
            // A worker that took the handle over has not read the directory yet.
            None => {
                let begun = reading.insert(self.begin(*id)?);
                Ok(self.entries(*id, begun, cursor))
            }
        }
    }

    async fn read_on(&self, handle: &Opened, cursor: u64) -> Result<Entries, FsError> {
        let Handle::Dir { id, reading } = &handle.what else { return Err(FsError::NotDirectory) };
        let mut reading = reading.lock().await;
        let reading = match &mut *reading {
            Some(reading) => reading,
            None => reading.insert(self.begin(*id)?),
        };
        let until = tokio::time::sleep(PATIENCE).deadline();
        loop {
            if let Some(entries) = self.entries(*id, reading, cursor) {
                return Ok(entries);
            }
            let Reading { snapshot, feed } = &mut *reading;
            let snapshot = Arc::make_mut(snapshot);
            let news = match feed {
                Some(feed) => feed.more(snapshot.pages()).await,
                None => PageEvent::End,
            };
            match news {
                PageEvent::Pages(pages, last) => {
                    let unknown = self.prefix_of(*id).map(|prefix| self.unknown_files(*id, &prefix, &pages));
                    self.find_files(unknown.unwrap_or_default(), until).await;
                    let hidden = |row: &Row| self.is_unlisted(*id, row);
                    pages.into_iter().for_each(|page| snapshot.add_page(page, hidden));
                    if last {
                        snapshot.finish();
                    }
                }
                PageEvent::End => snapshot.finish(),
                PageEvent::Failed if snapshot.pages() == 0 => {
                    *feed = None;
                    self.add_last_known(*id, snapshot);
                }
                // Cut short, it would look like a directory from which names are gone.
                PageEvent::Failed => return Err(FsError::TimedOut),
            }
        }
    }

    /// Begins to read a directory: with the listing that is known, else with one that comes in.
    fn begin(&self, id: NodeId) -> Result<Reading, FsError> {
        let namespace = &self.parts.disk.namespace;
        let mut snapshot = DirSnapshot::begin(id, namespace.parent(id), namespace.live_entries(id)?);
        let prefix = self.prefix_of(id);
        let known = prefix.as_ref().and_then(|prefix| self.lister.known(prefix));
        if prefix.is_some() {
            METRICS.looked_into("listings", known.is_some());
        }
        let feed = match (prefix, &known) {
            (None, _) => None,
            (Some(prefix), None) => self.lister.feed(&prefix),
            // Which of its whole files there are is to be found out first.
            (Some(prefix), Some(known)) if !self.unknown_files(id, &prefix, known.pages()).is_empty() => {
                Some(ListingPages::of(known.clone()))
            }
            (Some(_), Some(_)) => None,
        };
        match (&feed, known) {
            (Some(_), _) => {}
            (None, Some(known)) => self.add_whole(id, &mut snapshot, known.pages()),
            (None, None) => self.add_last_known(id, &mut snapshot),
        }
        Ok(Reading { snapshot: Arc::new(snapshot), feed })
    }

    fn add_last_known(&self, id: NodeId, snapshot: &mut DirSnapshot) {
        let known = self.prefix_of(id).and_then(|prefix| self.lister.last_known(&prefix));
        self.add_whole(id, snapshot, known.as_ref().map(|known| known.pages()).unwrap_or_default());
    }

    fn add_whole(&self, id: NodeId, snapshot: &mut DirSnapshot, pages: &[crate::namespace::listing::Page]) {
        let hidden = |row: &Row| self.is_unlisted(id, row);
        pages.iter().for_each(|page| snapshot.add_page(page.clone(), hidden));
        snapshot.finish();
    }

    /// Whether a name of the bucket is not listed.
    fn is_unlisted(&self, dir: NodeId, row: &Row) -> bool {
        let is_hidden = |(name, folder): (Cow<'_, [u8]>, bool)| self.parts.disk.namespace.is_hidden(dir, &name, folder);
        row.listed().is_none_or(is_hidden) || self.has_no_version(dir, row)
    }

    /// Whether a directory shows anything of the bucket. Waits for S3 as a look-up does.
    pub(super) async fn shows_stored(&self, dir: NodeId, prefix: &str) -> bool {
        let until = tokio::time::sleep(PATIENCE).deadline();
        let shows = |row: &Row| !self.is_unlisted(dir, row);
        if !self.lister.has(prefix, shows).await {
            return false;
        }
        let Some(known) = self.lister.last_known(prefix) else { return true };
        self.find_files(self.unknown_files(dir, prefix, known.pages()), until).await;
        known.rows().any(shows)
    }

    fn entries(&self, id: NodeId, reading: &Reading, cursor: u64) -> Option<Entries> {
        let from = reading.snapshot.place_of(cursor)?;
        let prefix = self.prefix_of(id).unwrap_or_default();
        Some(Entries { id, prefix, snapshot: reading.snapshot.clone(), from })
    }

    /// What a look-up of an entry would give, counted as one, but for `.` and `..`. `None` when it is gone by now.
    pub fn entry(&self, of: &Entries, entry: &DirEntry<'_>) -> Option<Entry> {
        let found = match (entry.row, entry.id) {
            (None, Some(id)) if Fs::is_dot(entry) => self.parts.disk.namespace.attr(id),
            (None, _) => self.parts.disk.namespace.lookup(of.id, &entry.name),
            (Some(row), _) => {
                let object = match row.listed_as(&of.prefix) {
                    Stored::Object(object) => Some(object),
                    Stored::Log(folder) => return self.log_entry(of.id, &entry.name, &folder),
                    Stored::Files { folder, .. } => return self.whole_entry(of, &entry.name, &folder),
                    Stored::Prefix => None,
                };
                self.know_stored(of.id, &entry.name, object)
            }
        };
        Some(self.live_entry(found.ok()?))
    }

    /// A whole file; where it turns out to have no version, what else has its name.
    fn whole_entry(&self, of: &Entries, name: &[u8], folder: &str) -> Option<Entry> {
        let known = self.known_file(folder);
        if known != Listed::Absent {
            return self.file_entry(of.id, name, folder, known.object());
        }
        let listed = self.settled(self.lister.known_name(&of.prefix, name), |_| Listed::Absent);
        self.known_entry(of.id, name, &listed)?.ok()
    }

    fn log_entry(&self, dir: NodeId, name: &[u8], folder: &str) -> Option<Entry> {
        self.file_entry(dir, name, folder, self.known_file(folder).object())
    }

    /// If the size of a log or whole file is unknown, its name has a zero TTL, so that the kernel asks again.
    fn file_entry(&self, dir: NodeId, name: &[u8], folder: &str, known: Option<StoredObject>) -> Option<Entry> {
        let known = known.or_else(|| self.noted_file(dir, name, folder));
        let unknown = known.is_none();
        let file = known.unwrap_or_else(|| StoredObject::log(folder, 0, Utc::default()));
        let entry = self.live_entry(self.know_stored(dir, name, Some(file)).ok()?);
        Some(if unknown { Entry { ttl: Duration::ZERO, ..entry } } else { entry })
    }

    /// Takes back that an entry was looked up: there was no room for it in the answer.
    pub fn take_back(&self, entry: &DirEntry<'_>, looked_up: &Entry) {
        if !Fs::is_dot(entry) {
            self.forget(looked_up.attr.id, 1);
        }
    }

    fn is_dot(entry: &DirEntry<'_>) -> bool {
        matches!(&*entry.name, b"." | b"..")
    }
}
