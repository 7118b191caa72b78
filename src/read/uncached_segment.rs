//! Reads a compressed segment without unpacking it into a file, for when the cache has no room: decompresses from the
//! beginning up to the requested offset and goes on from there. A seek backwards starts again from the beginning.
//!
//! Invariant: memory holds the last requested range, a little before it, and the output of one chunk of the object,
//! whatever the object decompresses to.

use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::decode::Decoder;
use super::range_fetcher::{Damage, RangeFetcher, Unreadable};
use super::unpack_cache::damaged;
use crate::format::timeline::Segment;
use crate::types::stored_object::ObjectId;

/// Bytes kept before the last that were asked for: the kernel sends reads of one program side by side.
const BEHIND: u64 = 1 << 20;
/// Bytes of the object that are fetched at once.
const PIECE: u64 = 1 << 20;
/// Bytes of the object that are decompressed at once: no format makes more than 32 MiB of them.
const SLICE: usize = 1 << 10;

/// A segment that one reader goes through.
pub struct UncachedSegment {
    fetcher: RangeFetcher,
    object: ObjectId,
    segment: Arc<Segment>,
    /// Bytes from the first on that could be read.
    readable: AtomicU64,
    /// `None` before the first read, and when one was given up: the next begins anew.
    state: AsyncMutex<Option<State>>,
}

/// The segments that one reader goes through: the kernel may read the end of one and the beginning of the next at once.
#[derive(Default)]
pub struct UncachedSegments([Option<Arc<UncachedSegment>>; 2]);

impl UncachedSegments {
    /// A segment that the reader goes through already.
    pub fn known(&self, segment: &Arc<Segment>) -> Option<Arc<UncachedSegment>> {
        let known = |direct: &&Arc<UncachedSegment>| Arc::ptr_eq(&direct.segment, segment);
        self.0.iter().flatten().find(known).cloned()
    }

    /// A segment, to be read; in the place of the one before the last.
    pub fn get(&mut self, fetcher: &RangeFetcher, folder: &str, segment: &Arc<Segment>) -> Arc<UncachedSegment> {
        self.known(segment).unwrap_or_else(|| {
            let direct = Arc::new(UncachedSegment::new(fetcher, folder, segment));
            self.0.swap(0, 1);
            self.0[0] = Some(direct.clone());
            direct
        })
    }
}

/// How far the object is decompressed.
struct State {
    window: Window,
    /// `None` when all of it is.
    decoder: Option<Decoder<Window>>,
    /// The next byte of the object to be fetched.
    next: u64,
    /// What was fetched and is not decompressed.
    piece: Bytes,
    end: Result<(), Unreadable>,
}

impl UncachedSegment {
    /// Asks nobody anything yet.
    fn new(fetcher: &RangeFetcher, folder: &str, segment: &Arc<Segment>) -> UncachedSegment {
        let (object, segment) = (segment.object_in(folder), segment.clone());
        let (readable, state) = Default::default();
        UncachedSegment { fetcher: fetcher.clone(), object, segment, readable, state }
    }

    /// Bytes from the first on that could be read, as far as is known.
    pub fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// Bytes of the segment from `offset` on, at most `size`; none behind the last that can be read. With them, what is
    /// wrong with those that follow.
    pub async fn read(&self, offset: u64, size: usize) -> Result<Bytes, Unreadable> {
        let mut slot = self.state.lock().await;
        let asked = offset.saturating_add(size as u64);
        let from = offset.saturating_sub(BEHIND);
        let going = slot.take().filter(|state| state.window.0.lock().start <= offset);
        let mut state = match going {
            Some(state) => state,
            None => State::begin(&self.segment, from)?,
        };
        state.window.0.lock().forget_before(from);
        while state.decoder.is_some() && state.window.end() < asked {
            state = self.go_on(state, asked).await?;
        }
        // Who looks back begins anew, and finds the same.
        self.readable.fetch_max(state.window.end(), Ordering::AcqRel);
        let bytes = state.window.0.lock().get(offset, size);
        let end = state.end.clone();
        *slot = Some(state);
        if bytes.is_empty() { end.map(|()| bytes) } else { Ok(bytes) }
    }

    /// Fetches and decompresses the next piece, at most up to `asked`.
    async fn go_on(&self, mut state: State, asked: u64) -> Result<State, Unreadable> {
        if state.piece.is_empty() {
            let range = state.next..self.segment.to_fetch().min(state.next + PIECE);
            let fetched = self.fetcher.chunks(self.object.clone(), range);
            match pin!(fetched).next().await {
                Some(Ok((piece, _))) if !piece.is_empty() => {
                    state.next += piece.len() as u64;
                    state.piece = piece;
                }
                Some(Err(Unreadable::Damaged(why))) => {
                    state.decoder = None;
                    state.end = Err(Unreadable::Damaged(why));
                    return Ok(state);
                }
                Some(Err(why)) => return Err(why),
                Some(Ok(_)) | None => {}
            }
        }
        let length = self.segment.length;
        let decoded = tokio::task::spawn_blocking(move || {
            state.end = state.decode(length, asked);
            state
        });
        let gone = |e| Unreadable::Damaged(Damage::Broken(format!("its object cannot be unpacked: {e}")));
        decoded.await.map_err(gone)
    }
}

impl State {
    /// Nothing is decompressed yet; what lies before `from` is not kept.
    fn begin(segment: &Segment, from: u64) -> Result<State, Unreadable> {
        let kept = Decoded { start: from, ..Decoded::default() };
        let window = Window(Arc::new(Mutex::new(kept)));
        let decoder = Decoder::new(segment.form, window.clone(), segment.length);
        let decoder = Some(decoder.map_err(damaged)?);
        Ok(State { window, decoder, next: 0, piece: Bytes::new(), end: Ok(()) })
    }

    fn decode(&mut self, length: u64, asked: u64) -> Result<(), Unreadable> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(()) };
        if self.piece.is_empty() {
            let (_, missing) = decoder.finish().map_err(damaged)?;
            return Damage::of_missing(missing, length);
        }
        while !self.piece.is_empty() && self.window.end() < asked {
            let slice = self.piece.split_to(SLICE.min(self.piece.len()));
            decoder.feed(&slice).map_err(damaged)?;
        }
        self.decoder = Some(decoder);
        Ok(())
    }
}

/// Where the bytes of a segment go.
#[derive(Clone)]
struct Window(Arc<Mutex<Decoded>>);

#[derive(Default)]
struct Decoded {
    /// Nothing before it is kept.
    start: u64,
    /// Where in the segment `bytes` begins.
    passed: u64,
    bytes: BytesMut,
}

impl Window {
    /// Behind the last byte that has come.
    fn end(&self) -> u64 {
        self.0.lock().end()
    }
}

impl Decoded {
    fn end(&self) -> u64 {
        self.passed + self.bytes.len() as u64
    }

    fn forget_before(&mut self, start: u64) {
        let gone = usize::try_from(start.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        let gone = gone.min(self.bytes.len());
        self.passed += self.bytes.split_to(gone).len() as u64;
        self.start = self.start.max(start);
    }

    fn get(&self, offset: u64, size: usize) -> Bytes {
        let at = usize::try_from(offset.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        let from = at.min(self.bytes.len());
        let to = from.saturating_add(size).min(self.bytes.len());
        Bytes::copy_from_slice(&self.bytes[from..to])
    }
}

impl Write for Window {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock();
        kept.bytes.extend_from_slice(bytes);
        let start = kept.start;
        kept.forget_before(start);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
