//! Directory reads of a reader mount. A reader keeps the names that were there when it began, so that offsets stay
//! valid, and gets attributes along with the names.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::handles::{Entry, Handle};
use super::names::{Target, all};
use super::{AT_A_GLANCE, Answer, Lookup, ObjectMeta, ReaderFs};
use crate::namespace::FileKind;
use crate::read::streams::StreamKey;
use crate::types::errors::FsError;
use crate::types::ids::{HandleId, NodeId};

/// Names that are answered with their sizes at once: some more than the kernel takes in one answer.
const BATCH: usize = 256;
/// Streams of a directory that are looked up at once, each with one to three LISTs one after the other: 256 take some
/// two seconds at 50 ms a LIST.
const AT_ONCE: usize = 16;

/// Longest wait for all sizes of one answer; what has not come by then is asked for by name, so that a directory is
/// listed also while S3 is slow.
const PATIENCE: Duration = Duration::from_secs(10);

/// A name, and what stat would tell.
#[derive(Clone, Debug)]
pub struct EntryWithMeta {
    /// The name.
    pub entry: Entry,
    /// Where the next one begins.
    pub next: u64,
    parent: NodeId,
    meta: Option<ObjectMeta>,
}

type Entries = Arc<Vec<Entry>>;

impl ReaderFs {
    /// Opens a directory.
    pub fn opendir(&self, id: NodeId) -> Result<HandleId, FsError> {
        self.directory(id)?;
        Ok(self.add_handle(Handle::Dir { id, entries: Default::default() }))
    }

    /// All entries of an open directory, `.` and `..` first. Read again from the start when `offset` is 0 (rewinddir),
    /// else as they were.
    pub fn readdir(self: &Arc<Self>, handle: HandleId, offset: u64) -> Answer<Entries> {
        let fs = self.clone();
        match self.handle(handle) {
            Ok(handle) => Answer::later(async move { Ok(fs.entries(&handle, offset).await?.1) }),
            Err(e) => Answer::Now(Err(e)),
        }
    }

    /// Entries of an open directory from an offset on, some of them, with what stat would tell.
    pub fn readdirplus(self: &Arc<Self>, handle: HandleId, offset: u64) -> Answer<Vec<EntryWithMeta>> {
        let handle = match self.handle(handle) {
            Ok(handle) => handle,
            Err(e) => return Answer::Now(Err(e)),
        };
        let fs = self.clone();
        Answer::later(async move {
            let (parent, entries) = fs.entries(&handle, offset).await?;
            let end = tokio::time::sleep(PATIENCE).deadline();
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let mut left = entries.iter().cloned().zip(1..).skip(from).peekable();
            let mut batch = Vec::new();
            // None at all would be the end of the directory.
            while batch.is_empty() && left.peek().is_some() {
                let next: Vec<(Entry, u64)> = left.by_ref().take(BATCH).collect();
                let sized = next.into_iter().map(|(entry, next)| fs.sized(entry, next, parent, end));
                let sized = stream::iter(sized).buffered(AT_ONCE);
                batch = sized.filter_map(std::future::ready).collect().await;
            }
            Ok(batch)
        })
    }

    /// An entry with what stat would tell, as far as it comes until `end`: why it cannot be had is the error of a
    /// lookup by name. `None` for the folder `x.files` of somebody else, which makes no file `x`.
    async fn sized(&self, mut entry: Entry, next: u64, parent: NodeId, end: Instant) -> Option<EntryWithMeta> {
        let mut meta = None;
        if let Some(target) = entry.target.clone()
            && let Ok(Ok(resolved)) = tokio::time::timeout_at(end, self.resolve(target)).await
        {
            let (target, known) = resolved?;
            (entry.target, meta) = (Some(target), Some(known));
        }
        Some(EntryWithMeta { entry, next, parent, meta })
    }

    /// Gives an entry a node, and counts the look-up; `.` and `..` have theirs. If the size of a stream is unknown, the
    /// reply has a zero TTL, so that the kernel asks again.
    pub fn enter(&self, sized: &EntryWithMeta) -> Lookup {
        let EntryWithMeta { entry, parent, meta, .. } = sized;
        let Some(target) = &entry.target else {
            let target = Target::Directory(Vec::new());
            let attr = self.attr(entry.id.unwrap_or(NodeId::ROOT), &target, ObjectMeta::default());
            return Lookup { attr, attr_ttl: Duration::ZERO, name_ttl: Duration::ZERO };
        };
        let found = self.found(*parent, &entry.name, target, meta.unwrap_or_default());
        let glance = found.attr_ttl.max(AT_A_GLANCE.min(self.kernel_ttl));
        let name_ttl = if meta.is_some() { glance.min(found.name_ttl) } else { Duration::ZERO };
        Lookup { name_ttl, ..found }
    }

    /// Takes a look-up back of which the kernel is not told.
    pub fn take_back(&self, sized: &EntryWithMeta, found: &Lookup) {
        if sized.entry.target.is_some() {
            self.forget(found.attr.id, 1);
        }
    }

    /// Looks for what is not known to be a whole file, and may be nothing, for the first of a directory and as long as
    /// for sizes.
    async fn find_versions(&self, targets: impl Iterator<Item = &Target>) {
        let unknown = targets.filter_map(|target| match target {
            Target::Files(key, None) if !self.has_version(key) && self.streams.known(key).is_none() => {
                Some(key.clone())
            }
            _ => None,
        });
        let unknown: Vec<StreamKey> = unknown.take(BATCH).collect();
        if !unknown.is_empty() {
            let _ = tokio::time::timeout(PATIENCE, self.streams.refresh_all(unknown)).await;
        }
    }

    fn has_version(&self, key: &StreamKey) -> bool {
        let last = self.streams.last(key);
        last.is_some_and(|(_, file)| file.versions().is_some_and(|versions| versions.newest.is_some()))
    }

    /// Whether it is known to be the folder `x.files` of somebody else, which makes no file `x`.
    fn is_nothing(&self, target: &Target) -> bool {
        matches!(target, Target::Files(key, None) if self.streams.last(key).is_some() && !self.has_version(key))
    }

    async fn entries(&self, handle: &Handle, offset: u64) -> Result<(NodeId, Entries), FsError> {
        let Handle::Dir { id, entries } = handle else { return Err(FsError::NotDirectory) };
        if let Some(entries) = entries.lock().clone().filter(|_| offset > 0) {
            return Ok((*id, entries));
        }
        let folders = self.folders(&self.directory(*id)?).await?;
        let mut found = all(&folders);
        self.find_versions(found.values()).await;
        found.retain(|_, target| !self.is_nothing(target));
        let (parent, named) = {
            let nodes = self.nodes.lock();
            let named = found.into_iter().map(|(name, target)| Entry {
                id: nodes.named(*id, &name),
                kind: match target {
                    Target::Directory(_) => FileKind::Directory,
                    _ => FileKind::File,
                },
                name,
                target: Some(target),
            });
            (nodes.get(*id)?.parent, named.collect::<Vec<_>>())
        };
        let dot =
            |name: &[u8], id| Entry { name: name.to_vec(), id: Some(id), kind: FileKind::Directory, target: None };
        let dots = [dot(b".", *id), dot(b"..", parent)];
        let read: Entries = Arc::new(dots.into_iter().chain(named).collect());
        *entries.lock() = Some(read.clone());
        Ok((*id, read))
    }
}
