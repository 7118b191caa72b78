//! Streams that a mount has looked at: one file for each stream or slice, shared by everyone who has it open and
//! cached for a while. Owns how long cached state is valid and when a file is rebuilt. Of a whole file it knows the
//! newest version in the same way.
//!
//! Invariants: an open file only grows. Concurrent requests for one stream share one fetch. While S3 fails, cached
//! state is served.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tracing::warn;

use super::discover::DiscoveryScope;
use super::objects::Objects;
use super::stream_file::{SETTLING, Source, StreamFile};
use super::unpack_cache::UnpackCache;
use super::versions::{Version, Versions};
use crate::format::whole_name::FILES;
use crate::s3::bucket::Bucket;
use crate::s3::rate_limited::Capped;
use crate::types::bucket_error::BucketError;
use crate::types::clock::Clock;
use crate::types::errors::FsError;
use crate::types::freshness::{Age, Freshness};
use crate::types::span::{Moment, TimePrefix};
use crate::types::time::{Monotonic, Utc};
use crate::types::weighted_lru::WeightedLru;

/// Places of segments that are remembered, of all streams that nobody has open: of 200 bytes each, so that a scanner
/// that walks through a large bucket has us hold 100 MB. A stream of a day has some 300 of them.
pub const REMEMBERED_MAX: usize = 500_000;
/// A mount that writes has other things to remember: 20 MB.
const REMEMBERED_BY_WRITERS: usize = 100_000;
/// So many more a stream counts, however few it has: what else is remembered of it takes as much.
const WEIGHT_MIN: usize = 10;
/// Longest wait for news of a stream that is known already.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a failure nobody asks again for the same stream for this long.
const DOWN_FOR: Duration = Duration::from_secs(5);
/// So long after its end a slice may still get segments in the usual way: a writer's interval, several times.
const LATE: Duration = Duration::from_secs(3600);
/// LISTs that a whole mount sends in a minute for its streams, at most: enough for the sizes of 2,000 logs, and 3
/// cents.
pub const LISTS_A_MINUTE: u32 = 6_000;
/// Bytes of unpacked segments that a mount keeps in its spool's file system, which is there for logs: four segments of
/// the usual size.
const UNPACKED_BY_WRITERS: u64 = 256 << 20;
/// Streams that are looked at at once, each with one to three LISTs one after the other: 256 take some two seconds at
/// 50 ms a LIST.
const AT_ONCE: usize = 16;
/// A past slice is cached so many times longer than a stream that grows: only a writer that was away adds to it.
const PAST_TIMES: u32 = 10;

/// A stream, or a slice of one; or a whole file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// What all its keys begin with, ending in `.segments/`, or in `.files/`.
    pub folder: String,
    /// When its segments began; `None` for all that the mount shows.
    pub slice: Option<TimePrefix>,
}

impl StreamKey {
    /// Whether it is a whole file.
    pub fn is_whole(&self) -> bool {
        self.folder.ends_with(FILES)
    }
}

/// The streams.
pub struct Streams {
    source: Source,
    since: Moment,
    ttl: Duration,
    remembered: usize,
    runtime: tokio::runtime::Handle,
    /// The streams that are remembered, weighed by what they have in memory.
    table: Mutex<WeightedLru<StreamKey, Arc<Slot>>>,
}

/// What is known of one stream.
struct Slot {
    key: StreamKey,
    /// Held during a request to the bucket.
    asking: tokio::sync::Mutex<()>,
    distrusted: AtomicBool,
    known: Mutex<Opened>,
}

#[derive(Default)]
struct Opened {
    file: Option<Arc<StreamFile>>,
    opens: usize,
    /// Until when nobody asks again, and why.
    failed: Option<(Monotonic, BucketError)>,
}

/// A stream that somebody has open.
pub struct OpenStream {
    slot: Arc<Slot>,
    /// The file; it stays this one.
    pub file: Arc<StreamFile>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.slot.known.lock().opens -= 1;
    }
}

impl Slot {
    fn file(&self) -> Option<Arc<StreamFile>> {
        self.known.lock().file.clone()
    }

    fn is_open(&self) -> bool {
        self.known.lock().opens > 0
    }
}

impl Streams {
    /// Nothing is known yet. What is found is cached for `ttl`; requests run on `runtime`.
    pub fn new(
        source: Source,
        since: Moment,
        ttl: Duration,
        remembered: usize,
        runtime: tokio::runtime::Handle,
    ) -> Streams {
        Streams { source, since, ttl, remembered, runtime, table: Mutex::default() }
    }

    /// Those of a mount that writes, of all time. What is unpacked goes to the file system of `dir`.
    pub fn of_writer(
        (bucket, objects): (Arc<dyn Bucket>, Arc<Objects>),
        clock: Arc<dyn Clock>,
        dir: PathBuf,
        ttl: Duration,
        runtime: tokio::runtime::Handle,
    ) -> Streams {
        let bucket: Arc<dyn Bucket> = Arc::new(Capped::new(bucket, clock.clone(), LISTS_A_MINUTE));
        let unpack_cache = UnpackCache::new(bucket.clone(), dir, UNPACKED_BY_WRITERS, runtime.clone());
        let unpack_cache = Arc::new(unpack_cache);
        let source = Source { bucket, clock, unpack_cache, objects, strict: false, settling: SETTLING };
        Streams::new(source, Moment::All, ttl, REMEMBERED_BY_WRITERS, runtime)
    }

    /// Whether the stream may get segments in the usual way.
    pub fn may_grow(&self, key: &StreamKey) -> bool {
        let settled = self.source.clock.now().minus(LATE);
        key.slice.is_none_or(|slice| slice.range().end > settled)
    }

    /// How long what is known of a stream is cached.
    fn ttl_of(&self, key: &StreamKey) -> Duration {
        if self.may_grow(key) { self.ttl } else { self.ttl.saturating_mul(PAST_TIMES) }
    }

    /// The file of a stream without asking anybody.
    pub fn known(&self, key: &StreamKey) -> Option<Arc<StreamFile>> {
        let slot = self.table.lock().get(key).cloned()?;
        self.fresh(&slot)
    }

    /// The last file of a stream without asking anybody, and what its age means.
    pub fn last(&self, key: &StreamKey) -> Option<(Age, Arc<StreamFile>)> {
        let slot = self.table.lock().get(key).cloned()?;
        self.aged(&slot)
    }

    fn aged(&self, slot: &Slot) -> Option<(Age, Arc<StreamFile>)> {
        let file = slot.file()?;
        let ttl = self.ttl_of(&slot.key);
        let freshness = Freshness { listed: ttl, absent: ttl };
        let is_distrusted = slot.distrusted.load(Ordering::Acquire);
        let age = if is_distrusted { Age::Old } else { freshness.of_listing(file.age()) };
        Some((age, file))
    }

    /// Brings a stream up to date while nobody waits for it.
    pub fn refresh_soon(self: &Arc<Self>, key: &StreamKey) {
        let slot = self.slot(key);
        if slot.asking.try_lock().is_ok() {
            let streams = self.clone();
            self.runtime.spawn(async move { drop(streams.look(&slot).await) });
        }
    }

    /// Brings streams up to date, some at once, until one cannot be had. Goes on when nobody waits any more.
    pub async fn refresh_all(self: &Arc<Self>, keys: Vec<StreamKey>) -> Result<(), FsError> {
        let streams = self.clone();
        let looks = stream::iter(keys).map(Ok).try_for_each_concurrent(AT_ONCE, move |key| {
            let streams = streams.clone();
            async move { streams.current(&key).await.map(drop) }
        });
        self.runtime.spawn(looks).await.map_err(|e| FsError::Unfinished(e.to_string()))?
    }

    /// Opens a stream of which enough is known to begin to read it.
    pub fn open_known(&self, key: &StreamKey) -> Option<OpenStream> {
        let slot = self.table.lock().get(key).cloned()?;
        let (Age::Fresh | Age::Aging, _) = self.aged(&slot)? else { return None };
        let mut known = slot.known.lock();
        let file = known.file.clone()?;
        known.opens += 1;
        drop(known);
        Some(OpenStream { slot, file })
    }

    /// Believes nothing of what is known of one stream any more.
    pub fn distrust_one(&self, key: &StreamKey) {
        if let Some(slot) = self.table.lock().peek(key) {
            slot.distrusted.store(true, Ordering::Release);
        }
    }

    fn fresh(&self, slot: &Slot) -> Option<Arc<StreamFile>> {
        let distrusted = slot.distrusted.load(Ordering::Acquire);
        let is_fresh = |file: &Arc<StreamFile>| file.is_fresh(self.ttl_of(&slot.key));
        slot.file().filter(|file| !distrusted && is_fresh(file))
    }

    /// The file of a stream, refreshed if it is stale.
    pub async fn current(self: &Arc<Self>, key: &StreamKey) -> Result<Arc<StreamFile>, FsError> {
        let slot = self.slot(key);
        self.look(&slot).await
    }

    /// Opens a stream.
    pub async fn open(self: &Arc<Self>, key: &StreamKey) -> Result<OpenStream, FsError> {
        let slot = self.slot(key);
        let file = self.look(&slot).await?;
        let mut known = slot.known.lock();
        known.opens += 1;
        // It may have been formed anew in this moment.
        let file = known.file.clone().unwrap_or(file);
        drop(known);
        Ok(OpenStream { slot, file })
    }

    /// A version of a whole file, to be read.
    pub fn version(&self, version: Arc<Version>) -> StreamFile {
        let versions = Versions { count: 1, newest: Some(version) };
        StreamFile::of_versions(self.source.clone(), versions, Monotonic::default())
    }

    /// Looks for what is new in a stream that somebody has open.
    pub async fn refresh(self: &Arc<Self>, open: &OpenStream) -> Result<(), FsError> {
        self.look(&open.slot).await.map(drop)
    }

    /// Believes nothing of what is known any more.
    pub fn distrust(&self) {
        let table = self.table.lock();
        table.values().for_each(|slot| slot.distrusted.store(true, Ordering::Release));
    }

    /// What is known of a stream, which is the one used last from now on.
    fn slot(&self, key: &StreamKey) -> Arc<Slot> {
        let mut table = self.table.lock();
        if let Some(slot) = table.get(key) {
            return slot.clone();
        }
        let slot = Arc::new(Slot {
            key: key.clone(),
            asking: Default::default(),
            distrusted: AtomicBool::new(false),
            known: Mutex::default(),
        });
        table.put(key.clone(), slot.clone(), WEIGHT_MIN as u64);
        slot
    }

    /// Weighs a stream again, and forgets those that nobody has looked at for longest when all together weigh too much.
    fn weigh(&self, slot: &Arc<Slot>, file: &StreamFile) {
        let weight = WEIGHT_MIN + file.place_of(file.len());
        let mut table = self.table.lock();
        if !table.peek(&slot.key).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            return;
        }
        table.change(&slot.key, |_, _| weight as u64);
        // One that is too large for itself stays while others are not looked at: to look again costs all its LISTs.
        let may_go = |other: &Arc<Slot>| !other.is_open() && !Arc::ptr_eq(other, slot);
        while table.total() > self.remembered as u64 && table.evict(may_go).is_some() {}
    }

    /// Brings a stream up to date. Who waits no longer leaves the look to go on, so that the next finds what it found.
    async fn look(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<Arc<StreamFile>, FsError> {
        if let Some(file) = self.fresh(slot) {
            return Ok(file);
        }
        let (streams, asked) = (self.clone(), slot.clone());
        let look = self.runtime.spawn(async move {
            let file = streams.ask(&asked).await?;
            streams.weigh(&asked, &file);
            Ok::<_, BucketError>(file)
        });
        let Some(last) = slot.file() else {
            let looked = look.await.map_err(|e| FsError::Unfinished(e.to_string()))?;
            return Ok(looked?);
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(Ok(Ok(file))) => Ok(file),
            _ => Ok(last),
        }
    }

    async fn ask(&self, slot: &Slot) -> Result<Arc<StreamFile>, BucketError> {
        let _asking = slot.asking.lock().await;
        if let Some(file) = self.fresh(slot) {
            return Ok(file);
        }
        let now = self.source.clock.monotonic();
        if let Some((until, why)) = slot.known.lock().failed.clone()
            && now < until
        {
            return Err(why);
        }
        let looked = self.find(slot).await;
        let mut known = slot.known.lock();
        match looked {
            Ok(file) => {
                known.failed = None;
                slot.distrusted.store(false, Ordering::Release);
                // Who has opened it meanwhile keeps what it has; a version is opened by itself.
                let kept = known.file.clone().filter(|_| known.opens > 0 && !slot.key.is_whole());
                let file = kept.unwrap_or(file);
                known.file = Some(file.clone());
                Ok(file)
            }
            Err(e) => {
                warn!(folder = slot.key.folder, hint = e.kind.hint(), "a log cannot be listed: {e}");
                known.failed = Some((self.source.clock.monotonic() + DOWN_FOR, e.clone()));
                Err(e)
            }
        }
    }

    /// Asks the bucket: for what is new, or, where nobody has the file open and all would be asked for anyway, for a
    /// file formed anew, in which late segments have their place in time. A whole file is formed anew each time.
    async fn find(&self, slot: &Slot) -> Result<Arc<StreamFile>, BucketError> {
        let distrusted = slot.distrusted.load(Ordering::Acquire);
        if let Some(file) = slot.file().filter(|_| !slot.key.is_whole())
            && (slot.is_open() || !distrusted && !file.looks_at_all_next().await)
        {
            file.refresh(if distrusted { Duration::ZERO } else { self.ttl_of(&slot.key) }).await?;
            return Ok(file);
        }
        let span = match slot.key.slice {
            Some(slice) => slice.range(),
            None if slot.key.is_whole() => Utc::default()..Utc::LAST,
            None => self.since.start(self.source.clock.now())..Utc::LAST,
        };
        let wanted = DiscoveryScope { folder: slot.key.folder.clone(), span, writer: None, selection: None };
        Ok(Arc::new(StreamFile::open(self.source.clone(), wanted).await?))
    }
}
