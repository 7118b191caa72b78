//! Going through a stream from some byte to its end, several segments under way at once, each piece given as soon
//! as it is there. What cannot be read is told apart from bytes, so that nothing has to be filled in.
//!
//! Invariant: what is unpacked ahead is bounded, in bytes and in segments.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::streamed::StreamFile;
use super::unpack::{Unpacked, Unreadable};
use crate::values::timeline::{Content, Place, Segment};

/// Segments under way at once.
const AHEAD_SEGMENTS: usize = 16;
/// Bytes given at once.
const PIECE: usize = 256 * 1024;

/// A piece of the way.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of the stream.
    Bytes(Bytes),
    /// A line that says which bytes are not there.
    Note(Arc<str>),
    /// The rest of a segment cannot be read.
    Damaged(Segment, String),
}

/// What is under way: a place, and who unpacks it.
struct Under {
    place: Place,
    unpacked: Option<Result<Arc<Unpacked>, Unreadable>>,
}

/// A way through a stream.
pub struct Walk<'a> {
    file: &'a StreamFile,
    under_way: VecDeque<Under>,
    /// The next place that is not under way.
    next: usize,
    /// The byte to go on with, in the stream.
    at: u64,
}

impl<'a> Walk<'a> {
    /// A way that begins at a byte.
    pub fn new(file: &'a StreamFile, at: u64) -> Walk<'a> {
        Walk { file, under_way: VecDeque::new(), next: file.place_of(at), at }
    }

    /// Where it has come to.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next piece; `None` at what is the end by now. It can be asked again when the stream has grown.
    pub async fn next(&mut self) -> Result<Option<Piece>, Unreadable> {
        loop {
            self.look_ahead();
            let Some(Under { place, unpacked }) = self.under_way.front() else { return Ok(None) };
            let within = self.at - place.at;
            let left = place.content.len() - within;
            if left == 0 {
                self.under_way.pop_front();
                continue;
            }
            let piece = match (&place.content, unpacked) {
                (Content::Bytes { segment, skip }, Some(Ok(unpacked))) => {
                    let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                    match unpacked.read(within + skip, size).await {
                        Ok(bytes) => Piece::Bytes(bytes),
                        Err(Unreadable::Damaged(why)) => {
                            Piece::Damaged((**segment).clone(), why.to_string())
                        }
                        Err(why) => return Err(why),
                    }
                }
                (Content::Bytes { .. }, Some(Err(why))) => return Err(why.clone()),
                (Content::Note(text), _) => Piece::Note(text.clone()),
                (Content::Break | Content::Bytes { .. }, _) => {
                    Piece::Bytes(Bytes::from_static(b"\n"))
                }
            };
            self.at += match &piece {
                Piece::Bytes(bytes) => bytes.len() as u64,
                Piece::Note(_) | Piece::Damaged(..) => left,
            };
            return Ok(Some(piece));
        }
    }

    fn look_ahead(&mut self) {
        if self.under_way.len() > AHEAD_SEGMENTS / 2 {
            return;
        }
        let ahead: u64 = self.under_way.iter().map(|under| under.place.content.len()).sum();
        let mut left = self.file.ahead_max().saturating_sub(ahead);
        for place in self.file.places_from(self.next, AHEAD_SEGMENTS - self.under_way.len()) {
            let len = place.content.len();
            if len > left && !self.under_way.is_empty() {
                return;
            }
            left = left.saturating_sub(len);
            let unpacked = match &place.content {
                Content::Bytes { segment, .. } => Some(self.file.unpack(segment)),
                Content::Break | Content::Note(_) => None,
            };
            self.under_way.push_back(Under { place, unpacked });
            self.next += 1;
        }
    }
}
