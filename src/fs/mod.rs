//! The file system of a writer mount, without FUSE. Each operation is a method. What this machine can answer is
//! answered at once; what needs S3 or an fsync is answered later, within [`DEADLINE`].
//!
//! Invariant: an append never waits for S3.
//!
//! - `names`: lookup, create, link, rename, remove; `attributes` stat, chmod, times, xattrs; `routing` what a path
//!   makes of a file.
//! - `open`: open, close and takeover; `data` append, truncate, fsync; `whole` writes in place; `sources` what may be a
//!   copy; `read` read; `handles` what is open.
//! - `dirs`: directory reads; `dir_snapshot` the union that one of them shows; `stored` objects of the bucket; `joined`
//!   its logs; `stored_file` either of them when it is open.
//! - `spares`: spool files made in advance; `resent` requests that the kernel sends again.
//! - `caches`: what the kernel is to forget; `surplus` which nodes; `chores` work that no operation waits for.

mod attributes;
pub mod caches;
pub mod chores;
mod data;
mod dir_snapshot;
mod dirs;
mod handles;
mod joined;
pub mod names;
mod open;
mod read;
mod resent;
mod routing;
mod sources;
mod spares;
mod stored;
mod stored_file;
pub mod surplus;
mod whole;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use self::caches::Caches;
use self::handles::Handles;
use self::spares::Spares;
use self::surplus::Surplus;
use crate::listing::lister::Lister;
use crate::namespace::Attr;
use crate::read::objects;
use crate::read::objects::Objects;
use crate::read::streams::Streams;
use crate::settings::writer::{FsyncLevel, Routing, View};
use crate::spool::backing::Backings;
use crate::types::errors::FsError;
use crate::upload::parts::Parts;
use crate::upload::restorer::Restorer;

pub use self::data::Aim;
pub use self::dir_snapshot::DirEntry;
pub use self::dirs::Entries;
pub use self::handles::{Access, Mode};
pub use crate::namespace::{FileKind, SetAttr};

/// Longest time that a request may wait: a process that waits for a FUSE reply cannot be killed.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How long the kernel may believe names of the live view: all changes go through it, but for logs and directories that
/// leave the view when they are old. Of these it is told when it asks for the node (`FsError::Stale`), and looks again.
const LIVE_TTL: Duration = Duration::from_secs(60);
/// How long it may believe the attributes of what is not a file: the times of directories change without it, too.
const LIVE_ATTR_TTL: Duration = Duration::from_secs(1);

/// The answer to an operation: now, or when S3 or the disk has answered.
pub enum Answer<T> {
    /// Known already.
    Now(Result<T, FsError>),
    /// To be waited for; ends within [`DEADLINE`].
    Later(Pin<Box<dyn Future<Output = Result<T, FsError>> + Send>>),
}

impl<T: Send + 'static> Answer<T> {
    /// An answer to be waited for.
    pub(crate) fn later(wait: impl Future<Output = Result<T, FsError>> + Send + 'static) -> Answer<T> {
        Answer::Later(Box::pin(
            async move { tokio::time::timeout(DEADLINE, wait).await.unwrap_or(Err(FsError::TimedOut)) },
        ))
    }

    /// Replies now, or on `runtime` when it is known.
    pub fn reply(self, runtime: &tokio::runtime::Handle, reply: impl FnOnce(Result<T, FsError>) + Send + 'static) {
        match self {
            Answer::Now(result) => reply(result),
            Answer::Later(wait) => drop(runtime.spawn(async move { reply(wait.await) })),
        }
    }

    /// An answer that a blocking step on the local disk gives.
    fn blocking(step: impl FnOnce() -> Result<T, FsError> + Send + 'static) -> Answer<T> {
        Answer::later(async move {
            tokio::task::spawn_blocking(step)
                .await
                .unwrap_or_else(|e| Err(FsError::Unfinished(format!("a step did not end: {e}"))))
        })
    }
}

/// A name's node, and how long the kernel may believe it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its attributes.
    pub attr: Attr,
    /// How long the name stands for it.
    pub ttl: Duration,
}

/// What the file system is told.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What directories show.
    pub view: View,
    /// Which files go where.
    pub routing: Routing,
    /// Refuse writes that are not at the end.
    pub strict_append: bool,
    /// What fsync waits for.
    pub fsync: FsyncLevel,
    /// How long the kernel may believe what came from a listing.
    pub metadata_ttl: Duration,
    /// How many handles programs may have.
    pub handles_max: u64,
    /// How many nodes of stored objects the kernel may know before it is asked to forget some.
    pub nodes_max: usize,
}

/// The file system.
pub struct Fs {
    parts: Arc<Parts>,
    policy: Policy,
    lister: Lister,
    objects: Arc<Objects>,
    joined: Arc<Streams>,
    restorer: Restorer,
    handles: Handles,
    backings: Option<Arc<dyn Backings>>,
    /// Where the kernel may write, and a keeper has to be asked for it.
    spares: Option<Arc<Spares>>,
    caches: caches::CachesSlot,
    surplus: Mutex<Surplus>,
    serving: RwLock<bool>,
    warned_of_fallback: AtomicBool,
    warned_of_inodes: AtomicBool,
    warned_of_whole: AtomicBool,
    /// Globs of `--exclude` by which a file was named in the log.
    said_local: Mutex<BTreeSet<String>>,
}

impl Fs {
    /// A file system over its parts, with everything open that the worker before had open. What waits for S3 runs on
    /// `runtime`; with `backings` the kernel appends where it may.
    pub fn new(
        parts: Arc<Parts>,
        policy: Policy,
        runtime: tokio::runtime::Handle,
        backings: Option<Arc<dyn Backings>>,
    ) -> Fs {
        let (bucket, caches) = (parts.ports.bucket.clone(), caches::CachesSlot::default());
        let outdated = caches::forgetting(parts.clone(), caches.clone());
        let spares = backings
            .clone()
            .filter(|backings| backings.is_remote())
            .map(|backings| Spares::new(parts.clone(), backings, runtime.clone()));
        let objects = Arc::new(Objects::new(bucket.clone(), runtime.clone(), objects::BUDGET));
        let (clock, dir) = (parts.ports.clock.clone(), parts.disk.spool.dir().to_owned());
        let read = (bucket, objects.clone());
        let fs = Fs {
            lister: Lister::new((&*parts).into(), runtime.clone(), outdated),
            joined: Arc::new(Streams::of_writer(read, clock, dir, policy.metadata_ttl, runtime)),
            objects,
            restorer: Restorer::new(parts.clone()),
            parts,
            handles: Handles::new(policy.handles_max),
            surplus: Mutex::new(Surplus::new(policy.nodes_max)),
            policy,
            backings,
            spares,
            caches,
            serving: RwLock::new(true),
            warned_of_fallback: AtomicBool::new(false),
            warned_of_inodes: AtomicBool::new(false),
            warned_of_whole: AtomicBool::new(false),
            said_local: Mutex::default(),
        };
        fs.take_over();
        fs
    }

    /// Says who can make the kernel forget; once, when there is a session.
    pub fn set_caches(&self, caches: Arc<dyn Caches>) {
        let _ = self.caches.set(caches);
    }

    /// Refuses writes from now on. When this returns, no accepted byte is missing in the spool's files.
    pub fn stop_writes(&self) {
        *self.serving.write() = false;
        self.parts.queues.is_stopping.store(true, Ordering::Release);
        if let Some(spares) = &self.spares {
            spares.end();
        }
    }

    /// The parts that it works on.
    pub fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }

    fn live_entry(&self, attr: Attr) -> Entry {
        let ttl = match (attr.stored, attr.joined) {
            (false, _) => LIVE_TTL,
            (true, false) => self.policy.metadata_ttl,
            // Nothing tells the kernel that a log is gone from the bucket.
            (true, true) => self.policy.metadata_ttl.min(LIVE_TTL),
        };
        Entry { attr, ttl }
    }

    /// How long the kernel may believe a node's attributes: the size of a log is asked each time.
    pub fn attr_ttl(&self, attr: &Attr) -> Duration {
        match (attr.kind, attr.stored) {
            _ if attr.joined => Duration::ZERO,
            (FileKind::File, false) => Duration::ZERO,
            (_, true) => self.policy.metadata_ttl,
            (_, false) => LIVE_ATTR_TTL,
        }
    }
}
