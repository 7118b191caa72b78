//! The bytes of one segment as a stream, for sequential readers. Nothing is cached, and nothing is written to a file.
//!
//! Invariants: bytes ahead of the reader are bounded, and a stream without reader is not fetched further. A chunk holds
//! its permit until the reader has it, so streams have to be read in the order in which they were opened.

use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc::{self, Sender};
use tokio::task::AbortHandle;

use super::decode::decode;
use super::range_fetcher::{Chunk, Damage, RangeFetcher, Unreadable};
use super::unpack_cache::{Unpacked, damaged};
use crate::format::naming::Form;
use crate::format::timeline::Segment;

/// Chunks of a plain segment that wait for the reader, beside those that are under way.
const PLAIN_AHEAD: usize = 1;
/// What a decoder gives at once has 32 to 128 KiB; so much of it may wait that two segments are decompressed side by
/// side.
const DECODED_AHEAD: usize = 1024;
/// Bytes read at once of what is unpacked already.
const READ_AT_ONCE: usize = 256 * 1024;

trait ChunkStream: Stream<Item = Result<Chunk, Unreadable>> + Send {}
impl<S: Stream<Item = Result<Chunk, Unreadable>> + Send> ChunkStream for S {}

/// A segment on its way.
pub enum SegmentStream {
    /// From the bucket.
    Fetched {
        /// What has come, chunk by chunk.
        coming: mpsc::Receiver<Result<Chunk, Unreadable>>,
        /// Who fetches it.
        task: AbortOnDrop,
    },
    /// From where somebody had it unpacked.
    Cached {
        /// All of the segment.
        unpacked: Arc<Unpacked>,
        /// The next byte.
        at: u64,
    },
}

/// A task that ends when nobody waits for it.
pub struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SegmentStream {
    /// Begins to fetch a segment of a stream's folder, from its byte `from` on.
    pub fn fetched(fetcher: &RangeFetcher, folder: &str, segment: &Segment, from: u64) -> SegmentStream {
        let (form, length) = (segment.form, segment.length);
        let (range, ahead) = match form {
            // What goes on behind its length has no place.
            Form::Plain => (from..segment.stored.min(length), PLAIN_AHEAD),
            _ => (0..segment.to_fetch(), DECODED_AHEAD),
        };
        let first = range.start;
        let (out, coming) = mpsc::channel(ahead);
        let chunks = fetcher.chunks(segment.object_in(folder), range);
        let sink = Sink { at: first, from, length, out: out.clone() };
        let task = tokio::spawn(async move {
            let end = match form {
                Form::Plain => as_it_is(chunks, sink).await,
                _ => decoded(decode(chunks, form, length, sink).await, length),
            };
            if let Err(why) = end {
                // Nobody reads any more, otherwise.
                let _ = out.send(Err(why)).await;
            }
        });
        SegmentStream::Fetched { coming, task: AbortOnDrop(task.abort_handle()) }
    }

    /// The next bytes; `None` behind the last.
    pub async fn next(&mut self) -> Option<Result<Bytes, Unreadable>> {
        match self {
            SegmentStream::Fetched { coming, .. } => Some(coming.recv().await?.map(|(bytes, _place)| bytes)),
            SegmentStream::Cached { unpacked, at } => {
                let read = unpacked.read(*at, READ_AT_ONCE).await;
                *at += read.as_ref().map_or(0, |bytes| bytes.len() as u64);
                Some(read).filter(|read| read.as_ref().map_or(true, |bytes| !bytes.is_empty()))
            }
        }
    }
}

async fn as_it_is(chunks: impl ChunkStream, mut sink: Sink) -> Result<(), Unreadable> {
    let mut chunks = pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        let (bytes, place) = chunk?;
        if let Some(bytes) = sink.take(bytes).map_err(damaged)?
            && sink.out.send(Ok((bytes, place))).await.is_err()
        {
            return Ok(());
        }
    }
    sink.end()
}

fn decoded(end: Result<io::Result<(Sink, u64)>, Unreadable>, length: u64) -> Result<(), Unreadable> {
    let (_, missing) = end?.map_err(damaged)?;
    Damage::of_missing(missing, length)
}

/// What takes the bytes of a segment.
struct Sink {
    /// Bytes of the segment that have come.
    at: u64,
    /// The first that is wanted.
    from: u64,
    /// A small object may decompress to any length.
    length: u64,
    out: Sender<Result<Chunk, Unreadable>>,
}

impl Sink {
    /// What of these bytes is to be given.
    fn take(&mut self, mut bytes: Bytes) -> io::Result<Option<Bytes>> {
        let begins = self.at;
        self.at += bytes.len() as u64;
        if self.at > self.length {
            return Err(io::Error::other(format!("it goes on behind {} bytes", self.length)));
        }
        let left_out = self.from.saturating_sub(begins);
        let left_out = usize::try_from(left_out).unwrap_or(usize::MAX).min(bytes.len());
        Ok(Some(bytes.split_off(left_out)).filter(|bytes| !bytes.is_empty()))
    }

    /// All has come.
    fn end(self) -> Result<(), Unreadable> {
        Damage::of_missing(self.length.saturating_sub(self.at), self.length)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(bytes) = self.take(Bytes::copy_from_slice(bytes))? {
            self.out.blocking_send(Ok((bytes, None))).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
