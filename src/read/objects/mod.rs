//! Ranged reads of stored objects: one bounded cache for all readers of the process (`block_cache.rs`), and read-ahead
//! for each reader (`readahead.rs`). Owns the requests in flight; does not interpret what is in an object.
//!
//! Invariants: no byte is fetched twice while it is cached or in flight. Cached and in-flight bytes together stay
//! within the budget. Every byte returned belongs to the object that was opened, by its ETag.
//!
//! - `block_cache`: the cache; `readahead` the read-ahead.

mod block_cache;
mod readahead;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::block_cache::{Block, BlockCache, Failure, Identity, Missing};
use self::readahead::{Prefetch, Run};
use crate::metrics::METRICS;
use crate::s3::bucket::Bucket;
use crate::types::bucket_error::Kind;
use crate::types::errors::FsError;
use crate::types::stored_object::StoredObject;

pub use self::readahead::FURTHEST;

/// Bytes that a process that takes logs keeps of objects in all. Reading ahead gets half of it, so that one reader
/// leaves half to all the others: 320 MB/s at 50 ms a request.
pub const BUDGET: u64 = 32 << 20;
/// ... and one that is there for reading: two objects are read ahead as far as it goes, the one that a reader is in and
/// the one that it will come to.
pub const BUDGET_OF_READERS: u64 = 4 * FURTHEST;

/// How long bytes are kept when nobody reads: as long as a person takes for `less` after a `grep`. A mount that nobody
/// reads then holds nothing.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// The stored objects of a bucket, as they are read.
pub struct Objects {
    bucket: Arc<dyn Bucket>,
    runtime: tokio::runtime::Handle,
    cache: Mutex<BlockCache>,
    /// Told whenever a block has arrived or failed, so that there may be room for another.
    settled: Notify,
}

/// An object that somebody reads.
pub struct ObjectReader {
    objects: Arc<Objects>,
    object: Arc<Identity>,
    run: Mutex<Run>,
    replaced: AtomicBool,
}

impl Objects {
    /// Nothing fetched yet. Requests run on `runtime`; `budget` is in bytes, at least what two requests may take.
    pub fn new(bucket: Arc<dyn Bucket>, runtime: tokio::runtime::Handle, budget: u64) -> Objects {
        let cache = Mutex::new(BlockCache::new(budget.max(2 * readahead::PART)));
        Objects { bucket, runtime, cache, settled: Notify::new() }
    }

    /// Begins to read an object. Asks nothing yet.
    pub fn open(self: &Arc<Self>, object: StoredObject) -> ObjectReader {
        self.cache.lock().opened();
        let StoredObject { key, size, modified, etag } = object;
        ObjectReader {
            objects: self.clone(),
            object: Arc::new(Identity { key, etag, size, modified }),
            run: Mutex::default(),
            replaced: AtomicBool::new(false),
        }
    }

    /// Bytes that are kept or under way.
    pub fn held(&self) -> u64 {
        self.cache.lock().held()
    }

    /// The blocks that have the bytes of `range`, there or under way; begins to fetch those that are missing, and what
    /// is read ahead. `None` when all of the budget is under way for others.
    fn blocks(
        self: &Arc<Self>,
        object: &Arc<Identity>,
        range: &Range<u64>,
        prefetch: &Prefetch,
    ) -> Option<Vec<(u64, Block)>> {
        let (missing, blocks) = {
            let mut cache = self.cache.lock();
            let missing = cache.fill(object, prefetch);
            (missing, cache.over(object, range.clone()))
        };
        METRICS.looked_into("objects", missing.is_empty());
        for block in missing {
            self.runtime.spawn(self.clone().fetch(block));
        }
        blocks
    }

    async fn fetch(self: Arc<Self>, missing: Missing) {
        let Missing { object, range, done } = missing;
        let etag = Some(object.etag.as_str()).filter(|etag| !etag.is_empty());
        let got = self.bucket.get_range(&object.key, range.clone(), etag).await;
        let outcome = match got {
            Ok(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
            // Without an ETag, a replaced object may show by its length alone.
            Ok(_) => Err(Failure::Replaced),
            Err(e) if matches!(e.kind, Kind::Changed | Kind::NotFound) => Err(Failure::Replaced),
            Err(e) => Err(Failure::Failed(e)),
        };
        match &outcome {
            Ok(_) => self.cache.lock().arrived(&object, range.start),
            Err(_) => self.cache.lock().failed(&object, range.start),
        }
        done.send_replace(Some(outcome));
        self.settled.notify_waiters();
    }

    /// Gives up what is kept when nobody has read for a while.
    async fn rest(self: Arc<Self>) {
        loop {
            tokio::time::sleep(KEPT_FOR).await;
            if self.cache.lock().rest() {
                return;
            }
        }
    }
}

impl ObjectReader {
    /// Reads; fewer bytes than asked only at the object's end. [`FsError::Stale`] once the object was found to be
    /// replaced or removed.
    pub async fn read(&self, offset: u64, size: u32) -> Result<Bytes, FsError> {
        let range = self.range(offset, size)?;
        loop {
            // Before the look, so that no block settles unseen between the two.
            let settled = self.objects.settled.notified();
            match self.blocks(&range) {
                Some(blocks) => {
                    let mut parts = Vec::with_capacity(blocks.len());
                    for (start, block) in &blocks {
                        parts.push(self.wait(*start, block).await?);
                    }
                    return Ok(self.joined(&range, &blocks, parts));
                }
                None => settled.await,
            }
        }
    }

    /// Reads what is there already, without waiting; `None` when [`ObjectReader::read`] has to wait. What is missing,
    /// or read ahead, is on its way then.
    pub fn read_kept(&self, offset: u64, size: u32) -> Option<Result<Bytes, FsError>> {
        let range = match self.range(offset, size) {
            Ok(range) => range,
            Err(e) => return Some(Err(e)),
        };
        let blocks = self.blocks(&range)?;
        let there = |(_, block): &(u64, Block)| match &*block.done.borrow() {
            Some(Ok(bytes)) => Some(bytes.clone()),
            Some(Err(_)) | None => None,
        };
        let parts = blocks.iter().map(there).collect::<Option<Vec<_>>>()?;
        Some(Ok(self.joined(&range, &blocks, parts)))
    }

    /// Somebody will come to the object and read on from its beginning: fetches so many bytes of it, as far as there is
    /// room.
    pub fn expect(&self, bytes: u64) {
        let prefetch = {
            let mut run = self.run.lock();
            run.trust(bytes);
            self.prefetch(&mut run, &(0..0))
        };
        let _ = self.objects.blocks(&self.object, &(0..0), &prefetch);
    }

    fn prefetch(&self, run: &mut Run, range: &Range<u64>) -> Prefetch {
        let far = run.reads_ahead();
        let share = self.objects.cache.lock().share(&mut run.counted, far);
        run.prefetch(range, self.object.size, share)
    }

    fn range(&self, offset: u64, size: u32) -> Result<Range<u64>, FsError> {
        if self.replaced.load(Ordering::Acquire) {
            return Err(FsError::Stale);
        }
        let end = self.object.size.min(offset.saturating_add(u64::from(size)));
        Ok(offset.min(end)..end)
    }

    fn blocks(&self, range: &Range<u64>) -> Option<Vec<(u64, Block)>> {
        if range.is_empty() {
            return Some(Vec::new());
        }
        let prefetch = {
            let mut run = self.run.lock();
            run.went_over(range);
            self.prefetch(&mut run, range)
        };
        self.objects.blocks(&self.object, range, &prefetch)
    }

    /// The bytes of a range, from those of the blocks that it goes over.
    fn joined(&self, range: &Range<u64>, blocks: &[(u64, Block)], parts: Vec<Bytes>) -> Bytes {
        let mut cut = blocks.iter().zip(parts).map(|((start, block), bytes)| {
            let within = |at: u64| {
                let within = usize::try_from(at.saturating_sub(*start)).unwrap_or(usize::MAX);
                within.min(bytes.len())
            };
            self.objects.cache.lock().used(&self.object, *start, range.end >= block.end);
            bytes.slice(within(range.start)..within(range.end))
        });
        match (cut.next(), blocks.len()) {
            (None, _) => Bytes::new(),
            (Some(only), 1) => only,
            (Some(first), _) => {
                let mut whole = BytesMut::from(first);
                cut.for_each(|part| whole.extend_from_slice(&part));
                whole.freeze()
            }
        }
    }

    async fn wait(&self, start: u64, block: &Block) -> Result<Bytes, FsError> {
        let mut done = block.done.clone();
        let outcome = match done.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => {
                self.objects.cache.lock().failed(&self.object, start);
                None
            }
        };
        match outcome {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(Failure::Replaced)) => {
                self.replaced.store(true, Ordering::Release);
                Err(FsError::Stale)
            }
            Some(Err(Failure::Failed(why))) => Err(why.into()),
            None => Err(FsError::Unfinished(format!("the read of {} was cut off", self.object.key))),
        }
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        let rests = self.objects.cache.lock().closed(self.run.get_mut().counted);
        if rests {
            self.objects.runtime.spawn(self.objects.clone().rest());
        }
    }
}
