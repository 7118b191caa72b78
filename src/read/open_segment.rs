//! A segment being read, from whichever source has its bytes; and the placeholder for bytes that cannot be had.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::plain_segment::PlainSegment;
use super::range_fetcher::Unreadable;
use super::uncached_segment::UncachedSegment;
use super::unpack_cache::Unpacked;
use crate::format::timeline::Segment;

/// A segment that can be read.
pub enum Opened {
    /// Where it lies.
    Plain(Arc<PlainSegment>),
    /// From a file in the cache.
    Unpacked(Arc<Unpacked>),
    /// Without one.
    UncachedSegment(Arc<UncachedSegment>),
}

impl Opened {
    /// Bytes of the segment, at most `size`; none behind the last that can be read.
    pub async fn read(&self, offset: u64, size: usize) -> Result<Bytes, Unreadable> {
        match self {
            Opened::Plain(plain) => plain.read(offset, size).await,
            Opened::Unpacked(unpacked) => unpacked.read(offset, size).await,
            Opened::UncachedSegment(direct) => direct.read(offset, size).await,
        }
    }

    /// Bytes from the first on that can be had, as far as is known.
    pub fn readable(&self) -> u64 {
        match self {
            Opened::Plain(plain) => plain.readable(),
            Opened::Unpacked(unpacked) => unpacked.readable(),
            Opened::UncachedSegment(direct) => direct.readable(),
        }
    }
}

/// What stands in `range` of a segment that can be read up to `readable`: a line that says so, then lines of spaces,
/// which viewers and `grep` take better than zeros. What lies before the range costs nothing.
pub fn filling(segment: &Segment, readable: u64, why: &str, range: Range<u64>) -> Vec<u8> {
    const WIDTH: u64 = 1024;
    let text = format!(
        "\nlogsinkfs: bytes cannot be read here: {}..{} of generation {} of {}: {why}\n",
        segment.offset + readable,
        segment.offset + segment.length,
        segment.generation.0,
        segment.writer,
    );
    let said = readable + text.len() as u64;
    let byte = |at| match at {
        _ if at + 1 == segment.length => b'\n',
        _ if at < said => text.as_bytes().get((at - readable) as usize).copied().unwrap_or(b' '),
        _ if (at - said) % WIDTH == WIDTH - 1 => b'\n',
        _ => b' ',
    };
    range.map(byte).collect()
}
