//! The store of fetched pieces: which are there or under way, how much they take, which goes first when
//! there is no room. Owns the account; sends nothing.
//!
//! Invariants: pieces of one object do not overlap; `held` is the sum of all pieces, those under way
//! included, and never above the budget; a piece under way is never given up.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lru::LruCache;
use tokio::sync::watch;

use super::ahead::Wish;
use crate::values::time::Utc;

/// Bytes that a piece costs besides its own: so that a million empty ones are not free.
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
    Failed(String),
    /// What the bucket said, and will say again.
    Refused(String),
}

type Outcome = Option<Result<Bytes, Failure>>;

/// A piece of an object, there or under way.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Where it ends.
    pub end: u64,
    /// Its bytes, when they are there.
    pub done: watch::Receiver<Outcome>,
}

/// A piece that is to be fetched.
#[derive(Debug)]
pub struct Missing {
    /// Of what.
    pub object: Arc<Identity>,
    /// Which bytes.
    pub range: Range<u64>,
    /// Where they are waited for.
    pub done: watch::Sender<Outcome>,
}

type Place = (Arc<Identity>, u64);

/// The store.
#[derive(Debug)]
pub struct Kept {
    budget: u64,
    held: u64,
    pieces: BTreeMap<Place, Piece>,
    /// Pieces that are there and may be read on, and those that were read to their end: these go first,
    /// since what was read ahead and waits for its reader is of more use than what it has had.
    fresh: LruCache<Place, ()>,
    spent: LruCache<Place, ()>,
    readers: usize,
    reading_ahead: u64,
    /// Readers that there ever were.
    opened: u64,
    /// How many there were when the rest began, when somebody waits for its end.
    resting: Option<u64>,
}

impl Kept {
    /// An empty store.
    pub fn new(budget: u64) -> Kept {
        Kept {
            budget,
            held: 0,
            pieces: BTreeMap::new(),
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

    /// One reader less. Says whether somebody should wait for the time when [`Kept::rest`] is due.
    pub fn closed(&mut self, counted: bool) -> bool {
        self.readers -= 1;
        self.reading_ahead -= u64::from(counted);
        let rests = self.readers == 0 && !self.pieces.is_empty() && self.resting.is_none();
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
        let over = self.pieces.is_empty();
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

    /// Makes places for all that is missing of a wish, as far as there is room.
    pub fn fill(&mut self, object: &Arc<Identity>, wish: &Wish) -> Vec<Missing> {
        let mut missing = Vec::new();
        let mut at = wish.range.start;
        while at < wish.range.end {
            if let Some((_, piece)) = self.piece_at(object, at) {
                at = piece.end;
                continue;
            }
            let next = self.next_after(object, at).unwrap_or(u64::MAX);
            let end = (at - at % wish.unit + wish.unit).min(wish.range.end).min(next);
            if !self.make_room(end - at + OVERHEAD) {
                break;
            }
            let (done, receiver) = watch::channel(None);
            self.held += end - at + OVERHEAD;
            self.pieces.insert((object.clone(), at), Piece { end, done: receiver });
            missing.push(Missing { object: object.clone(), range: at..end, done });
            at = end;
        }
        missing
    }

    /// The pieces that have the bytes of `range`; `None` when some are neither there nor under way.
    pub fn over(&self, object: &Arc<Identity>, range: Range<u64>) -> Option<Vec<(u64, Piece)>> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let (start, piece) = self.piece_at(object, at)?;
            at = piece.end;
            pieces.push((start, piece.clone()));
        }
        Some(pieces)
    }

    /// A piece is there.
    pub fn arrived(&mut self, object: &Arc<Identity>, start: u64) {
        self.fresh.push((object.clone(), start), ());
    }

    /// A piece could not be had: the next reader asks again.
    pub fn failed(&mut self, object: &Arc<Identity>, start: u64) {
        self.remove(&(object.clone(), start));
    }

    /// A piece that is there was read.
    pub fn used(&mut self, object: &Arc<Identity>, start: u64, to_its_end: bool) {
        let place = (object.clone(), start);
        // One that was given up meanwhile, or is under way again, is on neither list.
        let was = self.fresh.pop(&place).or_else(|| self.spent.pop(&place));
        if was.is_some() {
            let list = if to_its_end { &mut self.spent } else { &mut self.fresh };
            list.push(place, ());
        }
    }

    fn piece_at(&self, object: &Arc<Identity>, at: u64) -> Option<(u64, &Piece)> {
        let up_to = (object.clone(), 0)..=(object.clone(), at);
        let ((_, start), piece) = self.pieces.range(up_to).next_back()?;
        (piece.end > at).then_some((*start, piece))
    }

    fn next_after(&self, object: &Arc<Identity>, at: u64) -> Option<u64> {
        let behind = (object.clone(), at)..=(object.clone(), u64::MAX);
        self.pieces.range(behind).next().map(|((_, start), _)| *start)
    }

    /// Makes room by giving up what was read to its end, then what nobody has read for longest: reading
    /// ahead gets half of the budget, so that this was left by a reader who jumped away.
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

    fn remove(&mut self, place: &Place) {
        if let Some(piece) = self.pieces.remove(place) {
            self.held -= piece.end - place.1 + OVERHEAD;
        }
        self.fresh.pop(place);
        self.spent.pop(place);
    }
}
