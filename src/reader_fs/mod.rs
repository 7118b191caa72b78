//! The file system of a reader mount: what a bucket holds, read-only, with each stream as one file, and of each whole
//! file the newest version. Owns which name
//! shows what, and how long the kernel may cache it. It has no spool, and no state outlives the mount.
//!
//! Invariants: nothing is written to the bucket. No reply takes longer than [`crate::fs::DEADLINE`], and none that
//! waits holds a thread.
//!
//! Map: `names` resolves names, `nodes` are inode numbers; `dirs` and `files` are directory and file reads, `handles`
//! what is open. The streams in use are in `read::streams`.

mod dirs;
mod files;
mod handles;
mod names;
mod nodes;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use self::handles::Handle;
use self::names::{Folder, Target, find};
use self::nodes::Nodes;
use crate::fs::Answer;
use crate::fs::caches::{Caches, CachesSlot, prune_surplus};
use crate::fs::surplus::{NODES_MAX, Surplus};
use crate::listing::catalog::Catalog;
use crate::listing::lister::{Lister, ListerConfig};
use crate::metrics::METRICS;
use crate::namespace::{Attr, FileKind, NAME_MAX};
use crate::read::objects::Objects;
use crate::read::stream_file::{Source, StreamFile};
use crate::read::streams::Streams;
use crate::settings::writer::Ownership;
use crate::spool::record::Times;
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::errors::FsError;
use crate::types::ids::{HandleId, NodeId};
use crate::types::span::Moment;
use crate::types::time::Utc;

pub use self::dirs::EntryWithMeta;
pub use self::handles::Entry;

/// Longest wait for one page of a listing: below the deadline, so that the caller is told why.
const PATIENCE: Duration = Duration::from_secs(25);
/// How long the kernel may believe names and sizes at most. Asking us costs no request, and what it does not ask it
/// goes on believing after SIGHUP.
const KERNEL_BELIEVES: Duration = Duration::from_secs(60);
/// How long the kernel may believe a size that came with the names of a directory, or which version a whole file shows:
/// as long as `ls -l` takes from the name to the stat.
const AT_A_GLANCE: Duration = Duration::from_secs(1);
/// Nobody writes here.
const WRITE_BITS: u32 = 0o222;

/// What a reader mount works with.
pub struct ReaderConfig {
    /// The streams' bytes.
    pub source: Source,
    /// What the bucket is known to hold.
    pub catalog: Arc<Catalog>,
    /// Empty, or ending in `/`.
    pub prefix: String,
    /// From when on streams are shown.
    pub since: Moment,
    /// How long what was found in the bucket is cached.
    pub ttl: Duration,
    /// Places of segments that are remembered of streams that nobody has open.
    pub remembered: usize,
    /// Owner and modes.
    pub ownership: Ownership,
}

/// The file system.
pub struct ReaderFs {
    lister: Lister,
    catalog: Arc<Catalog>,
    streams: Arc<Streams>,
    objects: Arc<Objects>,
    kernel_ttl: Duration,
    ownership: Ownership,
    /// The time of directories: a bucket has none for them.
    started: Utc,
    nodes: Mutex<Nodes>,
    caches: CachesSlot,
    surplus: Mutex<Surplus>,
    handles: RwLock<HashMap<HandleId, Arc<Handle>>>,
    last_handle: AtomicU64,
}

/// What was found under a name, and how long the kernel may believe it.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// Its attributes.
    pub attr: Attr,
    /// How long they are right.
    pub attr_ttl: Duration,
    /// How long the name stands for it.
    pub name_ttl: Duration,
}

/// What is told of a target that the bucket knows.
#[derive(Clone, Copy, Debug, Default)]
struct ObjectMeta {
    size: u64,
    modified: Utc,
}

impl ReaderFs {
    /// A file system over a bucket; what waits for S3 runs on `runtime`.
    pub fn new(config: ReaderConfig, runtime: tokio::runtime::Handle) -> ReaderFs {
        let ReaderConfig { source, catalog, prefix, since, ttl, remembered, ownership } = config;
        let root = Target::Directory(vec![prefix.clone()]);
        let means = ListerConfig {
            bucket: source.bucket.clone(),
            catalog: catalog.clone(),
            clock: source.clock.clone(),
            prefix,
            // Each stream lists its own partitions.
            partition: None,
            patience: PATIENCE,
        };
        ReaderFs {
            lister: Lister::new(means, runtime.clone(), Box::new(|_, _| ())),
            catalog,
            objects: source.objects.clone(),
            kernel_ttl: ttl.min(KERNEL_BELIEVES),
            ownership,
            started: source.clock.now(),
            streams: Arc::new(Streams::new(source, since, ttl, remembered, runtime)),
            nodes: Mutex::new(Nodes::new(root)),
            caches: CachesSlot::default(),
            surplus: Mutex::new(Surplus::new(NODES_MAX)),
            handles: Default::default(),
            last_handle: AtomicU64::new(0),
        }
    }

    /// Says who can make the kernel forget; once, when there is a session.
    pub fn set_caches(&self, caches: Arc<dyn Caches>) {
        let _ = self.caches.set(caches);
    }

    /// Looks a name up.
    pub fn lookup(self: &Arc<Self>, parent: NodeId, name: &[u8]) -> Answer<Lookup> {
        // The name of a slice may be longer than the log's.
        if name.split(|byte| *byte == b'@').next().is_some_and(|log| log.len() > NAME_MAX) {
            return Answer::Now(Err(FsError::NameTooLong));
        }
        let prefixes = match self.directory(parent) {
            Ok(prefixes) => prefixes,
            Err(e) => return Answer::Now(Err(e)),
        };
        if let Some(folders) = self.known_folders(&prefixes) {
            match find(&folders, name) {
                None => return Answer::Now(Err(FsError::NotFound)),
                Some(target) => {
                    if let Some(target) = self.known_target(target)
                        && let Some(meta) = self.known_meta(&target)
                    {
                        return Answer::Now(Ok(self.found(parent, name, &target, meta)));
                    }
                }
            }
        }
        let (fs, name) = (self.clone(), name.to_vec());
        Answer::later(async move {
            let folders = fs.folders(&prefixes).await?;
            let target = find(&folders, &name).ok_or(FsError::NotFound)?;
            let (target, meta) = fs.resolve(target).await?.ok_or(FsError::NotFound)?;
            Ok(fs.found(parent, &name, &target, meta))
        })
    }

    /// The kernel forgets a node.
    pub fn forget(&self, id: NodeId, lookups: u64) {
        self.nodes.lock().forget(id, lookups);
    }

    /// Attributes of a node.
    pub fn getattr(self: &Arc<Self>, id: NodeId) -> Answer<(Attr, Duration)> {
        let target = match self.target(id) {
            Ok(target) => target,
            Err(e) => return Answer::Now(Err(e)),
        };
        if let Some(meta) = self.known_meta(&target) {
            return Answer::Now(Ok((self.attr(id, &target, meta), self.attr_ttl(&target))));
        }
        let fs = self.clone();
        Answer::later(async move {
            let meta = fs.meta(&target).await?;
            Ok((fs.attr(id, &target, meta), fs.attr_ttl(&target)))
        })
    }

    /// Believes nothing of what is known any more, and asks the bucket again.
    pub fn distrust(&self) {
        self.catalog.clear();
        self.streams.distrust();
    }

    fn target(&self, id: NodeId) -> Result<Target, FsError> {
        Ok(self.nodes.lock().get(id)?.target.clone())
    }

    /// The prefixes that a directory shows.
    fn directory(&self, id: NodeId) -> Result<Vec<String>, FsError> {
        match self.target(id)? {
            Target::Directory(prefixes) => Ok(prefixes),
            _ => Err(FsError::NotDirectory),
        }
    }

    /// The listings of prefixes without asking anybody.
    fn known_folders(&self, prefixes: &[String]) -> Option<Vec<Folder>> {
        let known = |prefix: &String| {
            let known = self.lister.known(prefix);
            METRICS.looked_into("listings", known.is_some());
            Some((prefix.clone(), known?))
        };
        prefixes.iter().map(known).collect()
    }

    async fn folders(&self, prefixes: &[String]) -> Result<Vec<Folder>, FsError> {
        let mut folders = Vec::new();
        for prefix in prefixes {
            let listing = self.lister.listing(prefix).await;
            let why = || BucketError::new(Kind::Unreachable, "ListObjectsV2", prefix, "it cannot be listed now");
            folders.push((prefix.clone(), listing.ok_or_else(why)?));
        }
        Ok(folders)
    }

    /// What a name stands for without asking anybody: which version of a whole file, or what else.
    fn known_target(&self, target: Target) -> Option<Target> {
        match target {
            Target::Files(key, otherwise) => shown(&*self.streams.known(&key)?, otherwise),
            other => Some(other),
        }
    }

    /// What a name stands for, and what is told of it; `None` where a whole file has no version and nothing else has
    /// the name.
    async fn resolve(&self, target: Target) -> Result<Option<(Target, ObjectMeta)>, FsError> {
        let target = match target {
            Target::Files(key, otherwise) => shown(&*self.streams.current(&key).await?, otherwise),
            other => Some(other),
        };
        let Some(target) = target else { return Ok(None) };
        let meta = self.meta(&target).await?;
        Ok(Some((target, meta)))
    }

    /// What is told of a target without asking anybody.
    fn known_meta(&self, target: &Target) -> Option<ObjectMeta> {
        match target {
            Target::Directory(_) => Some(ObjectMeta { size: 0, modified: self.started }),
            Target::Object(object) => Some(ObjectMeta { size: object.size, modified: object.modified }),
            Target::Files(..) => None,
            Target::Version(version) => {
                Some(ObjectMeta { size: version.name.length, modified: version.object.modified })
            }
            Target::Stream(key) => {
                let file = self.streams.known(key)?;
                Some(ObjectMeta { size: file.len(), modified: file.latest().unwrap_or_default() })
            }
        }
    }

    async fn meta(&self, target: &Target) -> Result<ObjectMeta, FsError> {
        if let Target::Stream(key) = target {
            let file = self.streams.current(key).await?;
            return Ok(ObjectMeta { size: file.len(), modified: file.latest().unwrap_or_default() });
        }
        self.known_meta(target).ok_or(FsError::Stale)
    }

    /// Gives what was found a node, and counts the look-up.
    fn found(&self, parent: NodeId, name: &[u8], target: &Target, meta: ObjectMeta) -> Lookup {
        let id = self.nodes.lock().remember(parent, name, target);
        prune_surplus(&self.caches, &self.surplus, id, || self.nodes.lock().known());
        let (attr, attr_ttl) = (self.attr(id, target, meta), self.attr_ttl(target));
        let name_ttl = match target {
            // Of the next version we are told first.
            Target::Version(_) => AT_A_GLANCE.min(self.kernel_ttl),
            _ => self.kernel_ttl,
        };
        Lookup { attr, attr_ttl, name_ttl }
    }

    fn attr(&self, id: NodeId, target: &Target, ObjectMeta { size, modified }: ObjectMeta) -> Attr {
        let Ownership { uid, gid, file_mode, dir_mode } = self.ownership;
        let (kind, mode, links) = match target {
            Target::Directory(_) => (FileKind::Directory, dir_mode, 2),
            _ => (FileKind::File, file_mode, 1),
        };
        let times = Times::new(modified);
        let (blocks, mode) = (size.div_ceil(512), mode & !WRITE_BITS);
        let joined = matches!(target, Target::Stream(_));
        Attr { id, kind, size, blocks, mode, links, uid, gid, times, stored: true, joined }
    }

    /// How long the kernel may believe attributes: it asks each time for what grows, and is told from memory as long as
    /// that is cached here.
    fn attr_ttl(&self, target: &Target) -> Duration {
        match target {
            Target::Stream(key) if self.streams.may_grow(key) => Duration::ZERO,
            Target::Files(..) => Duration::ZERO,
            Target::Directory(_) | Target::Object(_) | Target::Version(_) | Target::Stream(_) => self.kernel_ttl,
        }
    }
}

/// The newest version of a whole file, or what else has its name.
fn shown(file: &StreamFile, otherwise: Option<Box<Target>>) -> Option<Target> {
    let newest = file.versions().and_then(|versions| versions.newest.clone());
    newest.map(Target::Version).or(otherwise.map(|target| *target))
}
