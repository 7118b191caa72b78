//! A stream as one file: which segment stands where, and what stands between two. Pure: names go in, places
//! come out, and the size of all is known without a byte being read.
//!
//! Segments of one writer are in the order of (generation, offset); writers are merged by
//! the start of each segment. Bytes that are missing or were given up leave a line that
//! says which. A line that ends nowhere is closed before somebody else's begins.
//!
//! Invariants: what has a place keeps it; what arrives later comes behind. Each byte of a generation has at
//! most one place, however many objects hold it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::ids::{GenerationNo, WriterId};
use super::naming::{Form, SegmentName};
use super::time::Utc;

/// A segment with a place in the file, without what all segments of a stream share: there may be millions.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl Segment {
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

    fn is_mark(&self) -> bool {
        self.form == Form::Dropped
    }

    /// Order within a writer; of two with one beginning the longer first, and bytes before marks.
    fn order(&self) -> (GenerationNo, u64, bool, Reverse<u64>) {
        (self.generation, self.offset, self.is_mark(), Reverse(self.length))
    }
}

/// What stands at a place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes of a segment, from its byte `skip` on (what lies before has a place already).
    Bytes {
        /// The segment.
        segment: Arc<Segment>,
        /// So many of its bytes are left out at its front.
        skip: u64,
    },
    /// A newline that the writer did not write.
    Break,
    /// A line that says what is not there.
    Note(Arc<str>),
}

/// A place and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// First byte in the file.
    pub at: u64,
    /// What stands there.
    pub content: Content,
}

impl Content {
    /// Bytes that it takes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes { segment, skip } => segment.length - skip,
            Content::Break => 1,
            Content::Note(text) => text.len() as u64,
        }
    }

    /// Whether it takes none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is known of a generation.
#[derive(Debug, Default)]
struct Generation {
    /// Behind the last byte that has a place or a note.
    end: u64,
    /// Ranges before it that have no place; a late segment may fill one.
    holes: Vec<Range<u64>>,
}

/// Something on its way to its place: before the writers are merged.
enum Part {
    Bytes { segment: Arc<Segment>, skip: u64 },
    Note { text: Arc<str>, start: Utc },
}

/// What a writer has that has no place yet.
#[derive(Debug, Default)]
struct Writer {
    generations: BTreeMap<GenerationNo, Generation>,
    /// Held back, since what lies before it may just be on its way.
    waiting: Vec<Arc<Segment>>,
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
    places: Vec<Place>,
    len: u64,
    writers: BTreeMap<Arc<WriterId>, Writer>,
    open_line: Option<OpenLine>,
    latest: Option<Utc>,
}

impl Timeline {
    /// Length of the file in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All places, in order.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The latest time at which a segment with a place began.
    pub fn latest(&self) -> Option<Utc> {
        self.latest
    }

    /// The number of the place that holds a byte; the number of places behind the end.
    pub fn find(&self, offset: u64) -> usize {
        match offset < self.len {
            true => self.places.partition_point(|place| place.at <= offset) - 1,
            false => self.places.len(),
        }
    }

    /// Adds what was found in the bucket, in any order, also what was found before. Segments behind a
    /// gap, within a generation or between two, wait for what fills it as long as they began after `settled`: a writer sends several at
    /// once, and the later one may be there first.
    pub fn add(&mut self, found: impl IntoIterator<Item = Segment>, settled: Utc) {
        for segment in found {
            let writer = self.writers.entry(segment.writer.clone()).or_default();
            writer.waiting.push(Arc::new(segment));
        }
        let mut queues: Vec<(Arc<WriterId>, VecDeque<Part>)> = Vec::new();
        for (id, writer) in &mut self.writers {
            let parts = writer.take(id, settled);
            if !parts.is_empty() {
                queues.push((id.clone(), parts));
            }
        }
        self.merge(queues);
    }

    /// Places parts, the writer whose next began earliest first. A clock that jumps back does not change a
    /// writer's own order.
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
            (Part::Bytes { segment, skip }, Some(line)) => {
                line.writer == segment.writer
                    && (line.generation, line.end) == (segment.generation, segment.offset + skip)
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
            Part::Bytes { segment, skip } => {
                let (writer, generation) = (segment.writer.clone(), segment.generation);
                let line = OpenLine { writer, generation, end: segment.end() };
                self.open_line = segment.partial.then_some(line);
                self.latest = self.latest.max(Some(segment.start));
                self.push(Content::Bytes { segment, skip });
            }
        }
    }

    fn push(&mut self, content: Content) {
        let at = self.len;
        self.len = self.len.saturating_add(content.len());
        self.places.push(Place { at, content });
    }
}

impl Part {
    fn start(&self) -> Utc {
        match self {
            Part::Bytes { segment, .. } => segment.start,
            Part::Note { start, .. } => *start,
        }
    }
}

impl Writer {
    /// Takes what can have its place now, in the writer's order.
    fn take(&mut self, id: &WriterId, settled: Utc) -> VecDeque<Part> {
        let mut parts = VecDeque::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|segment| segment.order());
        let mut held = false;
        for generation in in_order(&waiting) {
            let first = &generation[0];
            held |= self.lacks_one_before(first.generation) && first.start > settled;
            match held {
                true => self.waiting.extend_from_slice(generation),
                false => self.take_generation(id, generation, settled, &mut parts),
            }
        }
        parts
    }

    /// Whether the generation that is numbered before this one is not there, and an older one is.
    fn lacks_one_before(&self, number: GenerationNo) -> bool {
        let before = self.generations.range(..number).next_back();
        before.is_some_and(|(before, _)| before.0 + 1 < number.0)
    }

    fn take_generation(
        &mut self,
        id: &WriterId,
        found: &[Arc<Segment>],
        settled: Utc,
        parts: &mut VecDeque<Part>,
    ) {
        let number = found[0].generation;
        let first = !self.generations.contains_key(&number);
        let known = self.generations.entry(number).or_default();
        if first {
            // What lies before the first that is there is older than what was asked for, or has expired.
            known.end = found[0].offset;
            known.holes.extend((known.end > 0).then_some(0..known.end));
        }
        let mut held = false;
        for (at, segment) in found.iter().enumerate() {
            if segment.end() <= known.end {
                known.fill(segment, parts);
                continue;
            }
            let gap = known.end..segment.offset.max(known.end);
            held |= !gap.is_empty() && segment.start > settled;
            if held {
                self.waiting.push(segment.clone());
                continue;
            }
            if !gap.is_empty() {
                parts.push_back(note(id, number, &gap, "missing", segment.start));
                known.holes.push(gap);
            }
            if segment.is_mark() {
                // Of a range that was given up, only what no segment holds.
                let next = found[at + 1..].iter().find(|next| !next.is_mark());
                let end = next.map_or(segment.end(), |next| next.offset.min(segment.end()));
                let range = known.end..end.max(known.end);
                if !range.is_empty() {
                    parts.push_back(note(id, number, &range, "given up", segment.start));
                    known.end = range.end;
                    known.holes.push(range);
                }
                continue;
            }
            let skip = known.end.saturating_sub(segment.offset);
            known.end = segment.end();
            parts.push_back(Part::Bytes { segment: segment.clone(), skip });
        }
    }
}

/// The generations of a writer in the order of reading. That is the order of their numbers, and of the starts of their
/// first segments; but in buckets of earlier versions numbers were given at the first seal, so that only the starts
/// tell. Where the first segment is not there, a generation stays behind the one that is numbered before it.
fn in_order(waiting: &[Arc<Segment>]) -> Vec<&[Arc<Segment>]> {
    let mut known = Utc::default();
    let mut generations = Vec::new();
    for segments in waiting.chunk_by(|a, b| a.generation == b.generation) {
        known = segments.iter().find(|first| first.offset == 0).map_or(known, |first| first.start);
        generations.push((known, segments));
    }
    generations.sort_by_key(|(start, _)| *start);
    generations.into_iter().map(|(_, segments)| segments).collect()
}

impl Generation {
    /// A segment that came late: what of it has no place yet gets one.
    fn fill(&mut self, segment: &Arc<Segment>, parts: &mut VecDeque<Part>) {
        if segment.is_mark() {
            return;
        }
        let at = self.holes.iter().position(|hole| {
            // A segment is never split by a hole: both are ranges between two seals.
            hole.start <= segment.offset && segment.end() <= hole.end
        });
        let Some(at) = at else { return };
        let hole = self.holes.swap_remove(at);
        let left = [hole.start..segment.offset, segment.end()..hole.end];
        self.holes.extend(left.into_iter().filter(|range| !range.is_empty()));
        parts.push_back(Part::Bytes { segment: segment.clone(), skip: 0 });
    }
}

/// The line that stands for bytes that are not there.
fn note(id: &WriterId, of: GenerationNo, range: &Range<u64>, what: &str, start: Utc) -> Part {
    let text = format!(
        "logsinkfs: {} bytes are {what} here: {}..{} of generation {} of {id}\n",
        range.end - range.start,
        range.start,
        range.end,
        of.0
    );
    Part::Note { text: text.into(), start }
}

#[cfg(test)]
mod tests;
