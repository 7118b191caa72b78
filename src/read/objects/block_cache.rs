//! Cache of fetched blocks: which are present or in flight, their total size, and which is evicted first. Owns the
//! accounting; sends no request.
//!
//! Invariants: blocks of one object do not overlap. `held` is the total of all blocks, those in flight included, and
//! never exceeds the budget. A block in flight is never evicted.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lru::LruCache;
use tokio::sync::watch;

use super::readahead::Prefetch;
use crate::types::bucket_error::BucketError;
use crate::types::time::Utc;

/// Bytes that a block costs besides its own: so that a million empty ones are not free.
const OVERHEAD: u64 = 512;

/// An object with one content.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The key.
    pub key: String,
    /// What the content is told apart by; empty where the service gives none.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// When it was stored.
    pub modified: Utc,
}

/// Why there are no bytes.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The object is not the one that was opened, or is gone.
    Replaced,
    /// What the bucket said.
    Failed(BucketError),
}

type Fetched = Option<Result<Bytes, Failure>>;

/// A block of an object, there or under way.
#[derive(Clone, Debug)]
pub struct Block {
    /// Where it ends.
    pub end: u64,
    /// Its bytes, when they are there.
    pub done: watch::Receiver<Fetched>,
}

/// A block that is to be fetched.
#[derive(Debug)]
pub struct Missing {
    /// Of what.
    pub object: Arc<Identity>,
    /// Which bytes.
    pub range: Range<u64>,
    /// Where they are waited for.
    pub done: watch::Sender<Fetched>,
}

type BlockKey = (Arc<Identity>, u64);

/// Fetched blocks, least recently used first to go.
#[derive(Debug)]
pub struct BlockCache {
    budget: u64,
    held: u64,
    blocks: BTreeMap<BlockKey, Block>,
    /// blocks that are there and may be read on, and those that were read to their end: these go first, since what was
    /// read ahead and waits for its reader is of more use than what it has had.
    fresh: LruCache<BlockKey, ()>,
    spent: LruCache<BlockKey, ()>,
    readers: usize,
    reading_ahead: u64,
    /// Readers that there ever were.
    opened: u64,
    /// How many there were when the rest began, when somebody waits for its end.
    resting: Option<u64>,
}

impl BlockCache {
    /// An empty store.
    pub fn new(budget: u64) -> BlockCache {
        BlockCache {
            budget,
            held: 0,
            blocks: BTreeMap::new(),
            fresh: LruCache::unbounded(),
            spent: LruCache::unbounded(),
            readers: 0,
            reading_ahead: 0,
            opened: 0,
            resting: None,
        }
    }

    /// Bytes that are there or under way.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// One reader more.
    pub fn opened(&mut self) {
        self.readers += 1;
        self.opened += 1;
    }

    /// One reader less. Says whether somebody should wait for the time when [`BlockCache::rest`] is due.
    pub fn closed(&mut self, counted: bool) -> bool {
        self.readers -= 1;
        self.reading_ahead -= u64::from(counted);
        let rests = self.readers == 0 && !self.blocks.is_empty() && self.resting.is_none();
        if rests {
            self.resting = Some(self.opened);
        }
        rests
    }

    /// Gives all up when nobody has read since the rest began. Says whether the waiting is over.
    pub fn rest(&mut self) -> bool {
        if self.readers > 0 {
            self.resting = None;
            return true;
        }
        if self.resting.replace(self.opened) != Some(self.opened) {
            return false;
        }
        while self.give_one_up() {}
        let over = self.blocks.is_empty();
        if over {
            self.resting = None;
            (self.fresh, self.spent) = (LruCache::unbounded(), LruCache::unbounded());
        }
        over
    }

    /// How far a reader may read ahead: all who do share half of the budget.
    pub fn share(&mut self, counted: &mut bool, reads_ahead: bool) -> u64 {
        self.reading_ahead += u64::from(reads_ahead);
        self.reading_ahead -= u64::from(std::mem::replace(counted, reads_ahead));
        self.budget / 2 / self.reading_ahead.max(1)
    }

    /// Makes places for all that is missing of a prefetch, as far as there is room.
    pub fn fill(&mut self, object: &Arc<Identity>, prefetch: &Prefetch) -> Vec<Missing> {
        let mut missing = Vec::new();
        let mut at = prefetch.range.start;
        while at < prefetch.range.end {
            if let Some((_, block)) = self.piece_at(object, at) {
                at = block.end;
                continue;
            }
            let next = self.next_after(object, at).unwrap_or(u64::MAX);
            let end = (at - at % prefetch.unit + prefetch.unit).min(prefetch.range.end).min(next);
            if !self.make_room(end - at + OVERHEAD) {
                break;
            }
            let (done, receiver) = watch::channel(None);
            self.held += end - at + OVERHEAD;
            self.blocks.insert((object.clone(), at), Block { end, done: receiver });
            missing.push(Missing { object: object.clone(), range: at..end, done });
            at = end;
        }
        missing
    }

    /// The blocks that have the bytes of `range`; `None` when some are neither there nor under way.
    pub fn over(&self, object: &Arc<Identity>, range: Range<u64>) -> Option<Vec<(u64, Block)>> {
        let mut blocks = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let (start, block) = self.piece_at(object, at)?;
            at = block.end;
            blocks.push((start, block.clone()));
        }
        Some(blocks)
    }

    /// A block is there.
    pub fn arrived(&mut self, object: &Arc<Identity>, start: u64) {
        self.fresh.push((object.clone(), start), ());
    }

    /// A block could not be had: the next reader asks again.
    pub fn failed(&mut self, object: &Arc<Identity>, start: u64) {
        self.remove(&(object.clone(), start));
    }

    /// A block that is there was read.
    pub fn used(&mut self, object: &Arc<Identity>, start: u64, to_its_end: bool) {
        let place = (object.clone(), start);
        // One that was given up meanwhile, or is under way again, is on neither list.
        let was = self.fresh.pop(&place).or_else(|| self.spent.pop(&place));
        if was.is_some() {
            let list = if to_its_end { &mut self.spent } else { &mut self.fresh };
            list.push(place, ());
        }
    }

    fn piece_at(&self, object: &Arc<Identity>, at: u64) -> Option<(u64, &Block)> {
        let up_to = (object.clone(), 0)..=(object.clone(), at);
        let ((_, start), block) = self.blocks.range(up_to).next_back()?;
        (block.end > at).then_some((*start, block))
    }

    fn next_after(&self, object: &Arc<Identity>, at: u64) -> Option<u64> {
        let behind = (object.clone(), at)..=(object.clone(), u64::MAX);
        self.blocks.range(behind).next().map(|((_, start), _)| *start)
    }

    /// Makes room by giving up what was read to its end, then what nobody has read for longest: reading ahead gets half
    /// of the budget, so that this was left by a reader who jumped away.
    fn make_room(&mut self, bytes: u64) -> bool {
        while self.held + bytes > self.budget {
            if !self.give_one_up() {
                return false;
            }
        }
        true
    }

    fn give_one_up(&mut self) -> bool {
        match self.spent.pop_lru().or_else(|| self.fresh.pop_lru()) {
            Some((place, ())) => {
                self.remove(&place);
                true
            }
            None => false,
        }
    }

    fn remove(&mut self, place: &BlockKey) {
        if let Some(block) = self.blocks.remove(place) {
            self.held -= block.end - place.1 + OVERHEAD;
        }
        self.fresh.pop(place);
        self.spent.pop(place);
    }
}
