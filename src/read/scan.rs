//! Sequential scan of a stream from an offset to its end, with several segments in flight. Gaps and failures are items
//! of their own, never filled in here. A whole file that cannot be read is an error: nothing can stand in its place.
//!
//! Invariant: bytes and segments in flight are bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::range_fetcher::{Damage, Unreadable};
use super::segment_stream::SegmentStream;
use super::stream_file::StreamFile;
use crate::format::timeline::{Content, Segment, TimelineSpan};

/// Segments under way at once.
const AHEAD_SEGMENTS: usize = 16;
/// Bytes of segments under way behind the first: one of the usual size.
const AHEAD_MAX: u64 = 64 << 20;

/// A item of the way.
#[derive(Debug)]
pub enum ScanItem {
    /// Bytes of the stream, and where the first of them is: in which segment, and in the segment's generation. What
    /// joins two segments is in none.
    Bytes(Bytes, Option<(Arc<Segment>, u64)>),
    /// A line that says which bytes are not there.
    Note(Arc<str>),
    /// The rest of a segment cannot be read.
    Damaged(Segment, String),
}

/// What is under way: a place, and what comes of it.
struct InFlight {
    place: TimelineSpan,
    stream: Option<SegmentStream>,
}

/// A way through a stream.
pub struct Scan<'a> {
    file: &'a StreamFile,
    under_way: VecDeque<InFlight>,
    /// The next place that is not under way.
    next: usize,
    /// The byte to go on with, in the stream.
    at: u64,
}

impl<'a> Scan<'a> {
    /// A way that begins at a byte.
    pub fn new(file: &'a StreamFile, at: u64) -> Scan<'a> {
        Scan { file, under_way: VecDeque::new(), next: file.place_of(at), at }
    }

    /// Where it has come to.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next item; `None` at what is the end by now. It can be asked again when the stream has grown.
    pub async fn next(&mut self) -> Result<Option<ScanItem>, Unreadable> {
        loop {
            self.look_ahead();
            let Some(InFlight { place, stream }) = self.under_way.front_mut() else {
                return Ok(None);
            };
            let left = place.at + place.content.len() - self.at;
            if left == 0 {
                self.under_way.pop_front();
                continue;
            }
            let item = match &place.content {
                Content::Bytes { segment, range } => {
                    let from = range.start + self.at - place.at;
                    let coming = stream.get_or_insert_with(|| self.file.segment_stream(segment, from));
                    match coming.next().await {
                        // What lies behind has a place elsewhere, or none.
                        Some(Ok(mut bytes)) => {
                            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                            ScanItem::Bytes(bytes, Some((segment.clone(), segment.offset + from)))
                        }
                        Some(Err(Unreadable::Damaged(why))) => ScanItem::Damaged((**segment).clone(), why.to_string()),
                        Some(Err(Unreadable::Local(_))) => {
                            // What cannot be unpacked is fetched.
                            *stream = None;
                            continue;
                        }
                        Some(Err(why)) => {
                            // Who asks again asks S3 again, and in order.
                            self.under_way.iter_mut().for_each(|under| under.stream = None);
                            return Err(why);
                        }
                        None => ScanItem::Damaged((**segment).clone(), "it was given up".to_owned()),
                    }
                }
                Content::Note(text) => ScanItem::Note(text.clone()),
                Content::Break => ScanItem::Bytes(Bytes::from_static(b"\n"), None),
            };
            if let ScanItem::Damaged(segment, why) = &item
                && segment.whole.is_some()
            {
                return Err(Unreadable::Damaged(Damage::Broken(why.clone())));
            }
            self.at += match &item {
                ScanItem::Bytes(bytes, _) => bytes.len() as u64,
                ScanItem::Note(_) | ScanItem::Damaged(..) => left,
            };
            return Ok(Some(item));
        }
    }

    fn look_ahead(&mut self) {
        if self.under_way.len() > AHEAD_SEGMENTS / 2 {
            return;
        }
        let ahead = self.under_way.iter().skip(1).map(|under| under.place.content.len());
        let mut left = AHEAD_MAX.saturating_sub(ahead.sum());
        for place in self.file.places_from(self.next, AHEAD_SEGMENTS - self.under_way.len()) {
            let len = place.content.len();
            if len > left && !self.under_way.is_empty() {
                return;
            }
            if !self.under_way.is_empty() {
                left -= len;
            }
            let stream = match &place.content {
                Content::Bytes { segment, range } => {
                    let from = range.start + self.at.saturating_sub(place.at);
                    Some(self.file.segment_stream(segment, from))
                }
                Content::Break | Content::Note(_) => None,
            };
            self.under_way.push_back(InFlight { place, stream });
            self.next += 1;
        }
    }
}
