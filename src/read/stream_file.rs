//! A stream as one readable file: its timeline, refreshed from the bucket, and its bytes. Owns when the bucket is asked
//! again, and what is returned where a segment cannot be read.
//!
//! Invariant: while the file is open, bytes keep their offset, and it only grows.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Mutex as AsyncMutex;
use tracing::warn;

use super::discover::{Discovery, DiscoveryScope};
use super::objects::{FURTHEST, Objects};
use super::open_segment::{Opened, filling};
use super::plain_segment::AtHand;
use super::range_fetcher::{Damage, Unreadable};
use super::segment_stream::SegmentStream;
use super::uncached_segment::UncachedSegments;
use super::unpack_cache::UnpackCache;
use super::versions::Versions;
use crate::format::naming::Form;
use crate::format::timeline::{Content, Segment, Timeline, TimelineSpan};
use crate::format::whole_name::FILES;
use crate::s3::bucket::Bucket;
use crate::types::bucket_error::BucketError;
use crate::types::clock::Clock;
use crate::types::errors::FsError;
use crate::types::time::{Monotonic, Utc};

/// So long what lies behind a gap waits for what fills it, for who reads on. A writer sends eight segments at once and
/// tries each again for ever; what is not there after this is in an outage, or lost.
pub const SETTLING: Duration = Duration::from_secs(60);
/// Of so many looks one is for all partitions, also those in which nothing should happen any more: a writer that was
/// away sends late.
const LOOK_AT_ALL_EVERY: u32 = 10;
/// Bytes unpacked ahead when a reader begins to read on; twice what it reads is added each time.
const AHEAD_FIRST: u64 = 1 << 20;
/// Bytes read at once by who looks for lines from the end.
const BACKWARDS: u64 = 64 * 1024;
/// Segments unpacked ahead at most: more than there are connections only wait.
const AHEAD_SEGMENTS: usize = 16;

/// What readers of streams share.
#[derive(Clone)]
pub struct Source {
    /// The bucket.
    pub bucket: Arc<dyn Bucket>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who unpacks.
    pub unpack_cache: Arc<UnpackCache>,
    /// What is read as it lies.
    pub objects: Arc<Objects>,
    /// Whether a gap is an error where it is read.
    pub strict: bool,
    /// How long what lies behind a gap waits for what fills it: [`SETTLING`], or nothing for who looks once.
    pub settling: Duration,
}

/// When the bucket was asked.
struct Looks {
    discovery: Discovery,
    count: u32,
}

/// A stream as one file; or a version of a whole file, which stays as it is.
pub struct StreamFile {
    source: Source,
    folder: String,
    until: Utc,
    timeline: RwLock<Timeline>,
    /// `None` for a whole file.
    looks: AsyncMutex<Option<Looks>>,
    versions: Option<Versions>,
    /// When the bucket was asked last, in monotonic microseconds.
    looked: AtomicU64,
}

/// Where a reader is, for reading ahead of it.
#[derive(Default)]
pub struct Reader {
    next: u64,
    ahead: u64,
    plain: AtHand,
    direct: UncachedSegments,
}

/// Where the last lines of a stream begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastLines {
    /// The first byte of the first of them.
    pub begin: u64,
    /// Whether there are as many as were asked for.
    pub all: bool,
}

/// Bytes; or a gap that is read under `--strict`, or bytes that cannot be had.
type Read = Result<Bytes, FsError>;

impl StreamFile {
    /// Looks for all segments of the span; in the folder of a whole file, for its newest version.
    pub async fn open(source: Source, wanted: DiscoveryScope) -> Result<StreamFile, BucketError> {
        if wanted.folder.ends_with(FILES) {
            let began = source.clock.monotonic();
            let versions = Versions::find(&*source.bucket, &wanted).await?;
            return Ok(StreamFile::of_versions(source, versions, began));
        }
        let (folder, until) = (wanted.folder.clone(), wanted.span.end);
        let mut discovery = Discovery::new(source.bucket.clone(), wanted);
        let (began, now) = (source.clock.monotonic(), source.clock.now());
        let found = discovery.find(now).await?;
        let mut timeline = Timeline::default();
        timeline.add(found, now.minus(source.settling));
        let looks = AsyncMutex::new(Some(Looks { discovery, count: 0 }));
        let (timeline, looked) = (RwLock::new(timeline), AtomicU64::new(began.micros()));
        Ok(StreamFile { source, folder, until, timeline, looks, versions: None, looked })
    }

    /// The newest version of a whole file, of which all is known already; an empty file where there is none. Where it
    /// cannot be read, nothing is put in its place: it may be of any kind.
    pub fn of_versions(source: Source, versions: Versions, looked: Monotonic) -> StreamFile {
        let (source, looked) = (Source { strict: true, ..source }, AtomicU64::new(looked.micros()));
        let timeline = versions.newest.as_ref().map(|newest| Timeline::of_whole(newest.segment()));
        let (timeline, looks) = (RwLock::new(timeline.unwrap_or_default()), AsyncMutex::default());
        // Its object has its key with it.
        let folder = String::new();
        StreamFile { source, folder, until: Utc::LAST, timeline, looks, versions: Some(versions), looked }
    }

    /// What there is of a whole file; `None` of a stream.
    pub fn versions(&self) -> Option<&Versions> {
        self.versions.as_ref()
    }

    /// Its length in bytes, as far as it is known.
    pub fn len(&self) -> u64 {
        self.timeline.read().len()
    }

    /// Whether nothing is known of it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Behind the last instant at which a segment of it may have begun.
    pub fn until(&self) -> Utc {
        self.until
    }

    /// How many segments are in it, and of how many writers.
    pub fn counts(&self) -> (u64, u64) {
        let timeline = self.timeline.read();
        let (mut segments, mut writers) = (HashSet::new(), HashSet::new());
        for place in timeline.places() {
            if let Content::Bytes { segment, .. } = &place.content {
                segments.insert(Arc::as_ptr(segment));
                writers.insert(segment.writer.clone());
            }
        }
        (segments.len() as u64, writers.len() as u64)
    }

    /// When its latest segment began.
    pub fn latest(&self) -> Option<Utc> {
        self.timeline.read().latest()
    }

    /// Some of its places from that one on, for who goes through it.
    pub fn places_from(&self, number: usize, most: usize) -> Vec<TimelineSpan> {
        let timeline = self.timeline.read();
        timeline.places().iter().skip(number).take(most).cloned().collect()
    }

    /// The number of the place that holds a byte; the number of places behind the end.
    pub fn place_of(&self, offset: u64) -> usize {
        self.timeline.read().find(offset)
    }

    /// Has a segment of it come, from its byte `from` on.
    pub fn segment_stream(&self, segment: &Segment, from: u64) -> SegmentStream {
        let unpack_cache = &self.source.unpack_cache;
        match unpack_cache.cached(&self.folder, segment) {
            Some(unpacked) => SegmentStream::Cached { unpacked, at: from },
            None => SegmentStream::fetched(unpack_cache.fetcher(), &self.folder, segment, from),
        }
    }

    /// Where its last `lines` lines begin. Reads from the end, only as far as it has to.
    pub async fn last_lines(&self, lines: u64) -> Result<LastLines, FsError> {
        let len = self.len();
        let (mut begin, mut left) = (len, lines);
        let reader = Mutex::default();
        while left > 0 && begin > 0 {
            let from = begin.saturating_sub(BACKWARDS);
            let size = u32::try_from(begin - from).unwrap_or(u32::MAX);
            let bytes = self.read(&reader, from, size).await?;
            for at in memchr::memrchr_iter(b'\n', &bytes) {
                let behind = from + at as u64 + 1;
                // The newline at the end belongs to the last line.
                left -= u64::from(behind < len);
                if left == 0 {
                    return Ok(LastLines { begin: behind, all: true });
                }
            }
            begin = from;
        }
        Ok(LastLines { begin, all: left == 0 })
    }

    /// Whether the bucket was asked within the last `age`.
    pub fn is_fresh(&self, age: Duration) -> bool {
        self.age() < age
    }

    /// How long ago the bucket was asked.
    pub fn age(&self) -> Duration {
        let looked = Monotonic::from_micros(self.looked.load(Ordering::Acquire));
        self.source.clock.monotonic().since(looked)
    }

    /// Whether the next look is for all partitions: it costs what forming the file anew costs.
    pub async fn looks_at_all_next(&self) -> bool {
        self.looks.lock().await.as_ref().is_none_or(|looks| (looks.count + 1).is_multiple_of(LOOK_AT_ALL_EVERY))
    }

    /// Looks for what is new, unless somebody did within the last `age`. A whole file has nothing new.
    pub async fn refresh(&self, age: Duration) -> Result<(), BucketError> {
        if self.is_fresh(age) {
            return Ok(());
        }
        let mut looks = self.looks.lock().await;
        let Some(looks) = looks.as_mut().filter(|_| !self.is_fresh(age)) else { return Ok(()) };
        let (began, now) = (self.source.clock.monotonic(), self.source.clock.now());
        looks.count += 1;
        let found = match looks.count % LOOK_AT_ALL_EVERY {
            0 => looks.discovery.find(now).await?,
            _ => looks.discovery.find_new(now).await?,
        };
        self.timeline.write().add(found, now.minus(self.source.settling));
        self.looked.store(began.micros(), Ordering::Release);
        Ok(())
    }

    /// Bytes at an offset; fewer than asked only at the end.
    pub async fn read(&self, reader: &Mutex<Reader>, offset: u64, size: u32) -> Read {
        let places = self.places(offset, u64::from(size));
        self.read_ahead(&mut reader.lock(), &places, offset, size);
        let end = offset.saturating_add(u64::from(size));
        let mut bytes = BytesMut::new();
        for place in &places {
            let from = offset.max(place.at) - place.at;
            let to = (end - place.at).min(place.content.len());
            match self.read_place(reader, &place.content, from..to).await {
                Ok(chunk) if places.len() == 1 => return Ok(chunk),
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                // What is before the gap is read; a read that begins in it fails.
                Err(e) if bytes.is_empty() => return Err(e),
                Err(_) => break,
            }
        }
        Ok(bytes.freeze())
    }

    /// Bytes that are at hand, without waiting; `None` when [`StreamFile::read`] has to be asked.
    pub fn read_kept(&self, reader: &Mutex<Reader>, offset: u64, size: u32) -> Option<Read> {
        let places = self.places(offset, u64::from(size));
        let [TimelineSpan { at, content: Content::Bytes { segment, range } }] = places.as_slice() else {
            return None;
        };
        if segment.form != Form::Plain || offset - at + u64::from(size) > range.end - range.start {
            return None;
        }
        let mut reader = reader.lock();
        let plain = reader.plain.get(&self.source.objects, &self.folder, segment);
        let bytes = plain.read_kept(range.start + offset - at, size)?;
        self.read_ahead(&mut reader, &places, offset, size);
        Some(Ok(bytes))
    }

    /// The places that hold a range.
    fn places(&self, offset: u64, size: u64) -> Vec<TimelineSpan> {
        let timeline = self.timeline.read();
        let from = timeline.find(offset);
        let end = offset.saturating_add(size);
        let within = timeline.places()[from..].iter().take_while(|place| place.at < end);
        within.cloned().collect()
    }

    async fn read_place(&self, reader: &Mutex<Reader>, content: &Content, range: Range<u64>) -> Read {
        let within = || {
            let at = |position| usize::try_from(position).unwrap_or(usize::MAX);
            at(range.start)..at(range.end)
        };
        match content {
            Content::Break => Ok(Bytes::from_static(b"\n")),
            Content::Note(_) if self.source.strict => Err(FsError::Dropped),
            Content::Note(text) => Ok(Bytes::copy_from_slice(&text.as_bytes()[within()])),
            Content::Bytes { segment, range: part } => {
                let range = part.start + range.start..part.start + range.end;
                self.read_segment(reader, segment, range).await
            }
        }
    }

    /// Bytes of a segment. From where it cannot be read on, a line says so, and the rest is filled: the length was told
    /// when the segment was listed.
    async fn read_segment(&self, reader: &Mutex<Reader>, segment: &Arc<Segment>, range: Range<u64>) -> Read {
        let mut opened = self.opened(&mut reader.lock(), segment);
        let mut bytes = BytesMut::new();
        let mut at = range.start;
        while at < range.end {
            let size = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            match opened.read(at, size).await {
                Ok(chunk) if chunk.len() == size && bytes.is_empty() => return Ok(chunk),
                Ok(chunk) => {
                    at += chunk.len() as u64;
                    bytes.extend_from_slice(&chunk);
                }
                Err(Unreadable::Damaged(damage)) if !self.source.strict => {
                    let readable = opened.readable();
                    if range.start <= readable {
                        // Who reads on is not told again.
                        let key = segment.object_in(&self.folder).key;
                        warn!(%key, "a segment cannot be read from its byte {readable} on: {damage}");
                    }
                    bytes.extend(filling(segment, readable, &damage.to_string(), at..range.end));
                    break;
                }
                Err(Unreadable::Damaged(Damage::Gone)) if segment.whole.is_some() => return Err(FsError::Stale),
                Err(why @ Unreadable::Local(_)) => {
                    self.cache_fails(&why);
                    opened = self.without_cache(&mut reader.lock(), segment);
                }
                Err(why) => return Err(why.into()),
            }
        }
        Ok(bytes.freeze())
    }

    fn opened(&self, reader: &mut Reader, segment: &Arc<Segment>) -> Opened {
        let Source { objects, unpack_cache, clock, .. } = &self.source;
        if segment.form == Form::Plain {
            return Opened::Plain(reader.plain.get(objects, &self.folder, segment));
        }
        if let Some(direct) = reader.direct.known(segment) {
            return Opened::UncachedSegment(direct);
        }
        if unpack_cache.takes(segment, clock.monotonic()) {
            match unpack_cache.get(&self.folder, segment) {
                Ok(unpacked) => return Opened::Unpacked(unpacked),
                Err(why) => self.cache_fails(&why),
            }
        }
        self.without_cache(reader, segment)
    }

    fn without_cache(&self, reader: &mut Reader, segment: &Arc<Segment>) -> Opened {
        let fetcher = self.source.unpack_cache.fetcher();
        Opened::UncachedSegment(reader.direct.get(fetcher, &self.folder, segment))
    }

    fn cache_fails(&self, why: &Unreadable) {
        if self.source.unpack_cache.rest(self.source.clock.monotonic()) {
            warn!("compressed segments are read without the cache for a while: {why}");
        }
    }

    /// Has segments unpacked that a sequential reader will come to.
    fn read_ahead(&self, reader: &mut Reader, read: &[TimelineSpan], offset: u64, size: u32) {
        let Some(last) = read.last() else { return };
        let end = offset + u64::from(size);
        let sequential = reader.next == offset && offset > 0;
        reader.next = end.min(last.at + last.content.len());
        if !sequential {
            reader.ahead = AHEAD_FIRST;
            return;
        }
        let grown = reader.ahead.saturating_add(2 * u64::from(size));
        reader.ahead = grown.min(self.source.unpack_cache.ahead_max());
        let horizon = end.saturating_add(reader.ahead);
        let ahead: Vec<TimelineSpan> = {
            let timeline = self.timeline.read();
            let from = timeline.find(end);
            let within = timeline.places()[from..].iter().take_while(|place| place.at < horizon);
            within.take(AHEAD_SEGMENTS).cloned().collect()
        };
        let Source { objects, unpack_cache, clock, .. } = &self.source;
        for place in ahead {
            match place.content {
                Content::Bytes { segment, .. } if segment.form == Form::Plain => {
                    if place.at < end.saturating_add(reader.ahead.min(FURTHEST)) {
                        let ahead = reader.ahead;
                        reader.plain.expect(objects, &self.folder, &segment, ahead);
                    }
                }
                Content::Bytes { segment, .. } if unpack_cache.takes(&segment, clock.monotonic()) => {
                    // What cannot be had is told to who reads it.
                    let _ = unpack_cache.get(&self.folder, &segment);
                }
                Content::Bytes { .. } | Content::Break | Content::Note(_) => {}
            }
        }
    }
}
