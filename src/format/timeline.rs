//! A stream as one file: the position of each segment, and what stands between two. Pure: names in, positions out; the
//! total size is known without reading a byte.
//!
//! Segments of one writer are ordered by (generation, offset); writers are merged by the start of each segment. Bytes
//! that are missing or were dropped are replaced by a line that says which. A line without a newline is completed
//! before a line of another writer begins.
//!
//! Invariants: a position never changes, and what arrives later is appended. Each byte of a generation has at most one
//! position, however many objects hold it.
//!
//! `writer`: what of one writer is in it.

#[cfg(test)]
mod tests;
mod writer;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use self::writer::{Part, Writer, ends_a_line};
use super::naming::{Form, SegmentName};
use crate::types::ids::{GenerationNo, WriterId};
use crate::types::stored_object::{ObjectId, StoredObject};
use crate::types::time::Utc;

/// A file has no further positions (off_t): the kernel refuses a longer one.
const LEN_MAX: u64 = i64::MAX.cast_unsigned();

/// A segment with a place in the file, without what all segments of a stream share: there may be millions. Equal to
/// what has the same name.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Who wrote it.
    pub writer: Arc<WriterId>,
    /// The folder that it is in, below the stream's.
    pub partition: Arc<str>,
    /// Its generation.
    pub generation: GenerationNo,
    /// Its first byte in the generation.
    pub offset: u64,
    /// Bytes, uncompressed.
    pub length: u64,
    /// When its first byte was written.
    pub start: Utc,
    /// Whether it ends within a line.
    pub partial: bool,
    /// How its object is stored.
    pub form: Form,
    /// Bytes of its object, as stored.
    pub stored: u64,
    /// When its object was stored.
    pub modified: Utc,
    /// The object of a whole file, which is read as one segment; `None` for a segment, whose key follows from its name.
    pub whole: Option<Arc<StoredObject>>,
}

impl Segment {
    /// Its object, in its stream's folder. A segment is put once and never changed, and needs no ETag.
    pub fn object_in(&self, folder: &str) -> ObjectId {
        match &self.whole {
            Some(object) => ObjectId { key: object.key.clone(), etag: Some(object.etag.clone()) },
            None => ObjectId { key: self.name(b"").key_in(folder), etag: None },
        }
    }

    /// Its whole name in a stream.
    pub fn name(&self, stream: &[u8]) -> SegmentName {
        SegmentName {
            stream: stream.to_vec(),
            partition: self.partition.to_string(),
            start: self.start,
            writer: (*self.writer).clone(),
            generation: self.generation,
            offset: self.offset,
            length: self.length,
            partial: self.partial,
            form: self.form,
        }
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// Behind the last byte that its object can hold.
    fn possible_end(&self) -> u64 {
        self.offset + self.length.min(self.form.holds_at_most(self.stored))
    }

    /// Bytes of its object that are read: behind them no object of its length goes on.
    pub fn to_fetch(&self) -> u64 {
        self.stored.min(self.form.stored_at_most(self.length))
    }

    fn is_mark(&self) -> bool {
        self.form == Form::Dropped
    }

    /// All that its name says, in the order within a writer.
    fn order(&self) -> impl Ord + '_ {
        let Segment { generation, offset, length, start, partial, form, .. } = self;
        (generation, offset, self.is_mark(), length, start, &*self.partition, partial, form)
    }
}

impl PartialEq for Segment {
    fn eq(&self, other: &Segment) -> bool {
        self.writer == other.writer && self.order() == other.order()
    }
}

impl Eq for Segment {}

/// What stands at a place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes of a segment: all, unless some have a place already.
    Bytes {
        /// The segment.
        segment: Arc<Segment>,
        /// Which of its bytes.
        range: Range<u64>,
    },
    /// A newline that the writer did not write.
    Break,
    /// A line that says what is not there.
    Note(Arc<str>),
}

/// A place and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineSpan {
    /// First byte in the file.
    pub at: u64,
    /// What stands there.
    pub content: Content,
}

impl Content {
    /// Bytes that it takes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes { range, .. } => range.end - range.start,
            Content::Break => 1,
            Content::Note(text) => text.len() as u64,
        }
    }

    /// Whether it takes none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where the last line ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OpenLine {
    writer: Arc<WriterId>,
    generation: GenerationNo,
    end: u64,
}

/// The file.
#[derive(Debug, Default)]
pub struct Timeline {
    places: Vec<TimelineSpan>,
    len: u64,
    writers: BTreeMap<Arc<WriterId>, Writer>,
    open_line: Option<OpenLine>,
    latest: Option<Utc>,
}

impl Timeline {
    /// A whole file: one segment and nothing else, whatever its object can hold.
    pub fn of_whole(segment: Segment) -> Timeline {
        let mut timeline = Timeline { latest: Some(segment.start), ..Timeline::default() };
        let range = 0..segment.length;
        if !range.is_empty() {
            timeline.push(Content::Bytes { segment: Arc::new(segment), range });
        }
        timeline
    }

    /// Length of the file in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All places, in order.
    pub fn places(&self) -> &[TimelineSpan] {
        &self.places
    }

    /// The latest time at which a segment with a place began.
    pub fn latest(&self) -> Option<Utc> {
        self.latest
    }

    /// The number of the place that holds a byte; the number of places behind the end.
    pub fn find(&self, offset: u64) -> usize {
        if offset < self.len { self.places.partition_point(|place| place.at <= offset) - 1 } else { self.places.len() }
    }

    /// Adds what was found in the bucket, in any order, also what was found before. Segments behind a gap, within a
    /// generation or between two, wait for what fills it as long as they began after `settled`: a writer sends several
    /// at once, and the later one may be there first.
    pub fn add(&mut self, found: impl IntoIterator<Item = Segment>, settled: Utc) {
        for segment in found {
            let writer = self.writers.entry(segment.writer.clone()).or_default();
            writer.found(segment);
        }
        let mut queues: Vec<(Arc<WriterId>, VecDeque<Part>)> = Vec::new();
        for (id, writer) in &mut self.writers {
            let parts = writer.take(settled);
            if !parts.is_empty() {
                queues.push((id.clone(), parts));
            }
        }
        self.merge(queues);
    }

    /// Places parts, the writer whose next began earliest first. A clock that jumps back does not change a writer's own
    /// order.
    fn merge(&mut self, mut queues: Vec<(Arc<WriterId>, VecDeque<Part>)>) {
        let mut next = BinaryHeap::new();
        for (number, (_, queue)) in queues.iter().enumerate() {
            next.extend(queue.front().map(|part| Reverse((part.start(), number))));
        }
        while let Some(Reverse((_, number))) = next.pop() {
            let (_, queue) = &mut queues[number];
            while let Some(part) = queue.pop_front() {
                self.place(part);
                // A line that goes on in the next segment is not torn by another writer's.
                if !queue.front().is_some_and(|part| self.continues(part)) {
                    break;
                }
            }
            next.extend(queue.front().map(|part| Reverse((part.start(), number))));
        }
    }

    fn continues(&self, part: &Part) -> bool {
        match (part, &self.open_line) {
            (Part::Bytes { segment, range }, Some(line)) => {
                let begin = segment.offset + range.start;
                line.writer == segment.writer && (line.generation, line.end) == (segment.generation, begin)
            }
            _ => false,
        }
    }

    fn place(&mut self, part: Part) {
        if self.open_line.is_some() && !self.continues(&part) {
            self.push(Content::Break);
        }
        match part {
            Part::Note { text, .. } => {
                self.open_line = None;
                self.push(Content::Note(text));
            }
            Part::Bytes { segment, range } => {
                let (writer, generation) = (segment.writer.clone(), segment.generation);
                let line = OpenLine { writer, generation, end: segment.offset + range.end };
                self.open_line = (!ends_a_line(&segment, &range)).then_some(line);
                self.latest = self.latest.max(Some(segment.start));
                self.push(Content::Bytes { segment, range });
            }
        }
    }

    fn push(&mut self, content: Content) {
        let at = self.len;
        // Nobody can read on behind that.
        if content.len() <= LEN_MAX - at {
            self.len += content.len();
            self.places.push(TimelineSpan { at, content });
        }
    }
}
