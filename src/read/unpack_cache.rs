//! Cache of decompressed segments: each is fetched and decompressed once into an anonymous file that can be read while
//! it is still being filled. Owns eviction. A damaged segment is readable up to the damage.
//!
//! Invariants: the cache is bounded in bytes and files. A segment that nobody waits for is not fetched further. An
//! outage of S3 is not damage, and is not cached.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::decode::decode;
use super::range_fetcher::{Damage, RangeFetcher, Unreadable};
use crate::format::timeline::Segment;
use crate::metrics::METRICS;
use crate::s3::bucket::Bucket;
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::errors::{AtPath, LocalError};
use crate::types::stored_object::ObjectId;
use crate::types::time::Monotonic;
use crate::types::weighted_lru::WeightedLru;

/// Segments kept at most: each is an open file.
const KEPT_MAX: usize = 256;

/// So long nothing is unpacked when the disk fails: what was unpacked in vain was fetched in vain.
const RESTS_FOR: Duration = Duration::from_secs(10);

/// How far a segment is unpacked.
#[derive(Clone, Debug, Default)]
struct Progress {
    ready: u64,
    end: Option<Result<(), Unreadable>>,
}

/// A segment that is unpacked, or on its way.
pub struct Unpacked {
    file: Arc<File>,
    progress: watch::Receiver<Progress>,
    task: AbortHandle,
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Unpacked {
    /// Bytes from the first on that are there.
    pub fn readable(&self) -> u64 {
        self.progress.borrow().ready
    }

    /// Bytes of the segment from `offset` on, at most `size`; waits until some are there, and gives none behind the
    /// last that can be read. With them, what is wrong with those that follow.
    pub async fn read(&self, offset: u64, size: usize) -> Result<Bytes, Unreadable> {
        let mut progress = self.progress.clone();
        let asked = offset.saturating_add(size as u64);
        let ready = {
            let enough = |p: &Progress| p.ready >= asked || p.end.is_some();
            let state = progress.wait_for(enough).await;
            let Ok(state) = state else {
                let why = BucketError::new(Kind::Unreachable, "GetObject", "", "it was given up");
                return Err(why.into());
            };
            match &state.end {
                Some(Err(why)) if state.ready <= offset => return Err(why.clone()),
                _ => state.ready,
            }
        };
        let len = usize::try_from(ready.min(asked).saturating_sub(offset)).unwrap_or(0);
        let mut bytes = vec![0; len];
        let read = self.file.read_exact_at(&mut bytes, offset);
        read.at("read", "an unpacked segment".as_ref()).map_err(|e| Unreadable::Local(e.into()))?;
        Ok(bytes.into())
    }
}

/// Segments by their objects, weighed by their lengths.
type Entries = WeightedLru<ObjectId, Arc<Unpacked>>;

/// What is known of a segment, unless it could not be had when it was asked for.
fn known(entries: &mut Entries, object: &ObjectId) -> Option<Arc<Unpacked>> {
    let known = entries.get(object)?;
    let failed = matches!(known.progress.borrow().end, Some(Err(Unreadable::Bucket(_) | Unreadable::Local(_))));
    if !failed {
        return Some(known.clone());
    }
    entries.remove(object);
    None
}

/// Unpacks segments.
pub struct UnpackCache {
    fetcher: RangeFetcher,
    /// Where the files without names are.
    dir: PathBuf,
    budget: u64,
    runtime: tokio::runtime::Handle,
    entries: Mutex<Entries>,
    /// Until when nothing is unpacked, since the disk fails, in monotonic microseconds.
    rests_until: AtomicU64,
}

impl UnpackCache {
    /// Nothing is unpacked yet. Files go to the file system of `dir`, at most `budget` bytes of them beside those that
    /// are being read.
    pub fn new(bucket: Arc<dyn Bucket>, dir: PathBuf, budget: u64, runtime: tokio::runtime::Handle) -> UnpackCache {
        let entries = Mutex::default();
        let (fetcher, rests_until) = (RangeFetcher::new(bucket), AtomicU64::default());
        UnpackCache { fetcher, dir, budget, runtime, entries, rests_until }
    }

    /// Who fetches for it.
    pub fn fetcher(&self) -> &RangeFetcher {
        &self.fetcher
    }

    /// Bytes that may be unpacked ahead of a reader without pushing out what others read.
    pub fn ahead_max(&self) -> u64 {
        self.budget / 4
    }

    /// Whether a segment may be unpacked now: one that is larger than all that is kept would fill the disk.
    pub fn takes(&self, segment: &Segment, now: Monotonic) -> bool {
        let rests_until = Monotonic::from_micros(self.rests_until.load(Ordering::Acquire));
        segment.length <= self.budget && now >= rests_until
    }

    /// The disk fails: nothing is unpacked for a while. Says whether that is news.
    pub fn rest(&self, now: Monotonic) -> bool {
        let before = self.rests_until.swap((now + RESTS_FOR).micros(), Ordering::AcqRel);
        now.micros() >= before
    }

    /// A segment that somebody had unpacked, or has on its way.
    pub fn cached(&self, folder: &str, segment: &Segment) -> Option<Arc<Unpacked>> {
        known(&mut self.entries.lock(), &segment.object_in(folder))
    }

    /// A segment, whose bytes may still be on their way. Asking for it begins that.
    pub fn get(&self, folder: &str, segment: &Segment) -> Result<Arc<Unpacked>, Unreadable> {
        let object = segment.object_in(folder);
        let mut entries = self.entries.lock();
        let known = known(&mut entries, &object);
        METRICS.looked_into("segments", known.is_some());
        if let Some(known) = known {
            return Ok(known);
        }
        let file = tempfile::tempfile_in(&self.dir).at("create a file in", &self.dir);
        let file = file.map_err(|e| Unreadable::Local(e.into()))?;
        let unpacked = Arc::new(self.begin(object.clone(), segment, Arc::new(file)));
        entries.put(object, unpacked.clone(), segment.length);
        while entries.count() > KEPT_MAX || entries.total() > self.budget && entries.count() > 1 {
            entries.evict(|_| true);
        }
        Ok(unpacked)
    }

    fn begin(&self, object: ObjectId, segment: &Segment, file: Arc<File>) -> Unpacked {
        let (sender, progress) = watch::channel(Progress::default());
        let sender = Arc::new(sender);
        let sink = Sink { file: file.clone(), at: 0, progress: sender.clone() };
        let chunks = self.fetcher.chunks(object, 0..segment.to_fetch());
        let (form, length) = (segment.form, segment.length);
        let task = self.runtime.spawn(async move {
            let end = decode(chunks, form, length, sink).await;
            let end = end.and_then(|decoded| decoded.map_err(damaged));
            let end = end.and_then(|(_, missing)| Damage::of_missing(missing, length));
            sender.send_modify(|progress| progress.end = Some(end));
        });
        Unpacked { file, progress, task: task.abort_handle() }
    }
}

/// What a failure to unpack means. Decompressors are no system calls: an error with a number is the disk's.
pub(super) fn damaged(e: io::Error) -> Unreadable {
    match e.raw_os_error() {
        Some(_) => Unreadable::Local(Arc::new(LocalError {
            action: "unpack into",
            path: "the cache (--cache-dir)".into(),
            source: e,
        })),
        None => Unreadable::Damaged(Damage::Broken(format!("its object cannot be unpacked: {e}"))),
    }
}

/// The file that a segment is unpacked into.
struct Sink {
    file: Arc<File>,
    at: u64,
    progress: Arc<watch::Sender<Progress>>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.progress.send_modify(|progress| progress.ready = self.at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
