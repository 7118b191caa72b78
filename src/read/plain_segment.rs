//! Uncompressed segments, read by range through the block cache. Owns which segments a reader has open: the current one
//! and those it will reach next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::objects::{FURTHEST, ObjectReader, Objects};
use super::range_fetcher::{Damage, Unreadable};
use crate::format::timeline::Segment;
use crate::types::bucket_error::Kind;
use crate::types::errors::FsError;
use crate::types::stored_object::{ObjectId, StoredObject};
use crate::types::time::Utc;

/// Segments that one reader has at hand at most.
const AT_HAND: usize = 16;

/// A plain segment that somebody reads.
pub struct PlainSegment {
    segment: Arc<Segment>,
    object: ObjectReader,
    /// Bytes from the first on that can be had, as far as is known.
    readable: AtomicU64,
}

impl PlainSegment {
    fn new(objects: &Arc<Objects>, folder: &str, segment: &Arc<Segment>) -> PlainSegment {
        let ObjectId { key, etag } = segment.object_in(folder);
        let (modified, etag) = (Utc::default(), etag.unwrap_or_default());
        let object = StoredObject { key, size: segment.stored, modified, etag };
        let readable = AtomicU64::new(segment.stored.min(segment.length));
        PlainSegment { segment: segment.clone(), object: objects.open(object), readable }
    }

    /// Bytes from the first on that can be had, as far as is known.
    pub fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// Bytes that are at hand, all that are asked for; `None` when they have to be waited for.
    pub fn read_kept(&self, offset: u64, size: u32) -> Option<Bytes> {
        let all = offset + u64::from(size) <= self.readable();
        all.then(|| self.object.read_kept(offset, size))??.ok()
    }

    /// Bytes of the segment, at most `size`; none behind the last that can be read.
    pub async fn read(&self, offset: u64, size: usize) -> Result<Bytes, Unreadable> {
        let left = self.readable().saturating_sub(offset);
        if left == 0 {
            let Segment { stored, length, .. } = *self.segment;
            Damage::of_missing(length.saturating_sub(stored), length)?;
            return Err(Unreadable::Damaged(Damage::Gone));
        }
        let size = u32::try_from(left.min(size as u64)).unwrap_or(u32::MAX);
        match self.object.read(offset, size).await {
            Ok(bytes) => Ok(bytes),
            Err(e) if is_gone(&e) => {
                self.readable.fetch_min(offset, Ordering::AcqRel);
                Err(Unreadable::Damaged(Damage::Gone))
            }
            Err(e) => Err(Unreadable::Object(e)),
        }
    }
}

/// Whether it cannot be had any more.
fn is_gone(e: &FsError) -> bool {
    match e {
        FsError::Stale => true,
        FsError::Bucket(e) => e.kind == Kind::Refused,
        _ => false,
    }
}

/// The plain segments that a reader has at hand.
#[derive(Default)]
pub struct AtHand(VecDeque<Arc<PlainSegment>>);

impl AtHand {
    /// A segment, to be read.
    pub fn get(&mut self, objects: &Arc<Objects>, folder: &str, segment: &Arc<Segment>) -> Arc<PlainSegment> {
        // What lies before it was read, and must not take part in the reading ahead any more.
        while let Some(first) = self.0.front() {
            if Arc::ptr_eq(&first.segment, segment) {
                return first.clone();
            }
            self.0.pop_front();
        }
        let new = Arc::new(PlainSegment::new(objects, folder, segment));
        self.0.push_back(new.clone());
        new
    }

    /// A segment that the reader will come to, at a speed that is worth so many bytes ahead.
    pub fn expect(&mut self, objects: &Arc<Objects>, folder: &str, segment: &Arc<Segment>, ahead: u64) {
        let known = self.0.iter().any(|known| Arc::ptr_eq(&known.segment, segment));
        if !known && self.0.len() < AT_HAND {
            let expected = PlainSegment::new(objects, folder, segment);
            expected.object.expect(ahead.min(FURTHEST));
            self.0.push_back(Arc::new(expected));
        }
    }
}
