//! State of a stream beyond its files: the highest generation number ever given, tokens for early seals, and the number
//! of unconfirmed segments. The number outlives the files of the stream (`spool::numbers`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::spool::numbers::Numbers;
use crate::spool::record::Numbered;
use crate::types::errors::LocalError;
use crate::types::ids::{GenerationNo, NodeId};
use crate::types::rotation::EarlySeals;
use crate::types::time::Utc;

/// One stream of this writer.
#[derive(Debug)]
pub struct StreamState {
    /// The stream's path, raw bytes.
    pub path: Vec<u8>,
    inner: Mutex<StreamCounters>,
    numbering: Mutex<()>,
    numbers: Arc<Numbers>,
}

#[derive(Debug)]
struct StreamCounters {
    /// Given or found.
    highest: GenerationNo,
    /// In a marker or a record, so that it is not given again after a crash.
    stored: GenerationNo,
    remembered: GenerationNo,
    /// The latest start that a generation's first segment has.
    last_start: Utc,
    /// The logs that add to it.
    logs: BTreeSet<NodeId>,
    early: EarlySeals,
    unsent: usize,
    /// Generations that ended before their turn, since the last warning.
    overdrawn: u64,
}

impl StreamState {
    /// Held from the moment in which a number is given until it is in a marker: a crash before that must not leave a
    /// number out, and the next one is not to be stored before it.
    pub fn numbering(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.numbering.lock()
    }

    /// Gives the next generation its number, and its first segment a start: `not_before`, or that of the generation
    /// before it where the clock was set back since.
    pub fn next_generation(&self, not_before: Utc) -> Numbered {
        let mut inner = self.inner.lock();
        inner.highest.0 += 1;
        inner.last_start = inner.last_start.max(not_before);
        Numbered { number: inner.highest, start: inner.last_start }
    }

    /// Notes what a generation is called by a marker or a durable record, so that the number is not given again.
    pub fn seen(&self, Numbered { number, start }: Numbered) {
        let mut inner = self.inner.lock();
        inner.highest = inner.highest.max(number);
        inner.stored = inner.stored.max(number);
        inner.last_start = inner.last_start.max(start);
    }

    /// Whether a number would be given again after a crash.
    pub fn is_stored(&self, number: GenerationNo) -> bool {
        number <= self.inner.lock().stored
    }

    /// A log adds to the stream from now on.
    pub fn add_log(&self, id: NodeId) {
        self.inner.lock().logs.insert(id);
    }

    /// A log adds to it no longer.
    pub fn remove_log(&self, id: NodeId) {
        self.inner.lock().logs.remove(&id);
    }

    /// The logs that add to it.
    pub fn logs(&self) -> Vec<NodeId> {
        self.inner.lock().logs.iter().copied().collect()
    }

    /// Makes the highest stored number outlive the markers that showed it. To be called before one is removed.
    pub fn remember(&self) -> Result<(), LocalError> {
        let kept = {
            let inner = self.inner.lock();
            if inner.remembered >= inner.stored {
                return Ok(());
            }
            Numbered { number: inner.stored, start: inner.last_start }
        };
        self.numbers.put(&self.path, kept)?;
        let mut inner = self.inner.lock();
        inner.remembered = inner.remembered.max(kept.number);
        Ok(())
    }

    /// Whether an early seal may be made now.
    pub fn has_token(&self, now: Utc, interval: std::time::Duration) -> bool {
        self.inner.lock().early.refill(now, interval)
    }

    /// Takes a token. When there was none, counts it, and gives the count when it is worth a warning (1, 2, 4, 8, ...).
    pub fn take_token(&self) -> Option<u64> {
        let mut inner = self.inner.lock();
        if inner.early.take() {
            return None;
        }
        inner.overdrawn += 1;
        Some(inner.overdrawn).filter(|n| n.is_power_of_two())
    }

    /// A segment was sealed.
    pub fn add_unsent(&self) {
        self.inner.lock().unsent += 1;
    }

    /// A segment was confirmed or quarantined.
    pub fn take_unsent(&self) {
        let mut inner = self.inner.lock();
        inner.unsent = inner.unsent.saturating_sub(1);
    }

    /// Whether a sealed segment is not confirmed yet.
    pub fn has_backlog(&self) -> bool {
        self.inner.lock().unsent > 0
    }
}

/// The streams that have a file at the moment.
#[derive(Debug)]
pub struct Streams {
    numbers: Arc<Numbers>,
    known: Mutex<KnownStreams>,
}

#[derive(Debug, Default)]
struct KnownStreams {
    streams: HashMap<Vec<u8>, Weak<StreamState>>,
    /// Size at which dead entries are looked for: what was alive last time, twice.
    sweep_at: usize,
}

impl Streams {
    /// Streams whose numbers are kept in `numbers`.
    pub fn new(numbers: Numbers) -> Streams {
        Streams { numbers: Arc::new(numbers), known: Mutex::default() }
    }

    /// Whether logs add to that stream, or have.
    pub fn is_known(&self, path: &[u8]) -> bool {
        let known = self.known.lock();
        let alive = known.streams.get(path).is_some_and(|stream| stream.strong_count() > 0);
        alive || self.numbers.knows(path)
    }

    /// The stream of that path.
    pub fn get(&self, path: &[u8], now: Utc) -> Result<Arc<StreamState>, LocalError> {
        let mut known = self.known.lock();
        if let Some(stream) = known.streams.get(path).and_then(Weak::upgrade) {
            return Ok(stream);
        }
        let Numbered { number: highest, start: last_start } = self.numbers.get(path)?;
        let inner = StreamCounters {
            highest,
            stored: highest,
            remembered: highest,
            last_start,
            logs: BTreeSet::new(),
            early: EarlySeals::new(now),
            unsent: 0,
            overdrawn: 0,
        };
        let stream = Arc::new(StreamState {
            path: path.to_vec(),
            inner: Mutex::new(inner),
            numbering: Mutex::default(),
            numbers: self.numbers.clone(),
        });
        if known.streams.len() >= known.sweep_at {
            known.streams.retain(|_, stream| stream.strong_count() > 0);
            known.sweep_at = 2 * known.streams.len() + 64;
        }
        known.streams.insert(path.to_vec(), Arc::downgrade(&stream));
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Spool;
    use crate::types::ids::WriterId;

    #[test]
    fn a_number_is_never_given_twice() {
        let dir = tempfile::tempdir().expect("a folder");
        let writer = |name: &str| WriterId::compose(name, crate::types::random::below);
        let spool = Spool::open(dir.path(), "s3://b/", "host", writer).expect("a spool");
        let now = Utc::from_micros(1_795_000_000_000_000);
        let streams = || Streams::new(Numbers::open(&spool, now).expect("a table"));
        let first = streams().get(b"web/app.log", now).expect("known");
        assert_eq!(first.next_generation(now).number, GenerationNo(1));
        first.seen(Numbered { number: GenerationNo(1), start: now });
        first.remember().expect("stored");
        // Given, and in no marker when the daemon died.
        assert_eq!(first.next_generation(now).number, GenerationNo(2));
        first.remember().expect("stored");
        let again = streams().get(b"web/app.log", now).expect("known");
        let earlier = Utc::from_micros(1);
        let next = Numbered { number: GenerationNo(2), start: now };
        assert_eq!(again.next_generation(earlier), next, "not before the one before it");
    }
}
