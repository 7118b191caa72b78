//! The segments of one writer in a stream, and which of them can be placed: generations in order, waiting for what may
//! still fill a gap, and which object is read where several claim the same bytes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::Segment;
use crate::types::ids::GenerationNo;
use crate::types::ranges::Ranges;
use crate::types::time::Utc;

/// What is known of a generation.
#[derive(Debug, Default)]
struct Generation {
    /// When its first segment began, if that is there.
    begun: Option<Utc>,
    /// Behind the last byte that has a place or a note.
    end: u64,
    /// The bytes that have a place.
    placed: Ranges,
    /// What has a place, or a note, in order: it is found again with each look.
    known: Vec<Arc<Segment>>,
}

/// Something on its way to its place: before the writers are merged.
pub(super) enum Part {
    Bytes { segment: Arc<Segment>, range: Range<u64> },
    Note { text: Arc<str>, start: Utc },
}

/// What a writer has that has no place yet.
#[derive(Debug, Default)]
pub(super) struct Writer {
    generations: BTreeMap<GenerationNo, Generation>,
    /// Held back, since what lies before it may just be on its way.
    waiting: Vec<Arc<Segment>>,
}

impl Part {
    pub fn start(&self) -> Utc {
        match self {
            Part::Bytes { segment, .. } => segment.start,
            Part::Note { start, .. } => *start,
        }
    }
}

impl Writer {
    /// Adds a segment that was found, unless it is known.
    pub fn found(&mut self, segment: Segment) {
        let generation = self.generations.get(&segment.generation);
        if !generation.is_some_and(|generation| generation.knows(&segment)) {
            self.waiting.push(Arc::new(segment));
        }
    }

    /// Takes what can have its place now, in the writer's order.
    pub fn take(&mut self, settled: Utc) -> VecDeque<Part> {
        let mut parts = VecDeque::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by(|a, b| a.order().cmp(&b.order()));
        waiting.dedup();
        let mut held = false;
        for found in self.in_order(&waiting) {
            held |= self.lacks_one_before(found[0].generation) && found[0].start > settled;
            let ready = if held { &[] } else { self.without_fresh_gap(found, settled) };
            self.waiting.extend(found[ready.len()..].iter().cloned());
            if !ready.is_empty() {
                let generation = self.generations.entry(found[0].generation).or_default();
                generation.take(ready, &mut parts);
            }
        }
        parts
    }

    /// Generations in the order of reading. That is the order of their numbers, and of the starts of their first
    /// segments; but in buckets of earlier versions numbers were given at the first seal, so that only the starts tell.
    /// Where the first segment is not there, a generation stays behind the one that is numbered before it.
    fn in_order<'a>(&self, waiting: &'a [Arc<Segment>]) -> Vec<&'a [Arc<Segment>]> {
        let mut known = Utc::default();
        let mut generations = Vec::new();
        for segments in waiting.chunk_by(|a, b| a.generation == b.generation) {
            let before = self.generations.get(&segments[0].generation);
            known = before.and_then(|before| before.begun).or_else(|| begun(segments)).unwrap_or(known);
            generations.push((known, segments));
        }
        generations.sort_by_key(|(start, _)| *start);
        generations.into_iter().map(|(_, segments)| segments).collect()
    }

    /// Whether the generation that is numbered before this one is not there, and an older one is.
    fn lacks_one_before(&self, number: GenerationNo) -> bool {
        let before = self.generations.range(..number).next_back();
        before.is_some_and(|(before, _)| before.0 + 1 < number.0)
    }

    /// Of segments of one generation, those that are before a gap which may still be filled.
    fn without_fresh_gap<'a>(&self, found: &'a [Arc<Segment>], settled: Utc) -> &'a [Arc<Segment>] {
        let known = self.generations.get(&found[0].generation);
        let mut end = known.map_or(found[0].offset, |known| known.end);
        let fresh = found.iter().position(|segment| {
            let gap = segment.offset > end;
            end = end.max(segment.end());
            gap && segment.start > settled
        });
        &found[..fresh.unwrap_or(found.len())]
    }
}

/// A range of a generation, whose it is, and whether it has the bytes.
type Claim<'a> = (Range<u64>, &'a Arc<Segment>, bool);

/// When a generation began, by the one of its first segments that was stored first.
fn begun(segments: &[Arc<Segment>]) -> Option<Utc> {
    let first = segments.iter().filter(|segment| segment.offset == 0);
    first.min_by_key(|segment| segment.modified).map(|segment| segment.start)
}

/// Whether what follows these bytes of a segment begins a line.
pub(super) fn ends_a_line(segment: &Segment, range: &Range<u64>) -> bool {
    range.end == segment.length && !segment.partial
}

impl Generation {
    fn knows(&self, segment: &Segment) -> bool {
        self.known.binary_search_by(|known| known.order().cmp(&segment.order())).is_ok()
    }

    /// Takes segments, in order, of which none is known.
    fn take(&mut self, found: &[Arc<Segment>], parts: &mut VecDeque<Part>) {
        if self.known.is_empty() {
            // What lies before the first that is there is older than what was asked for, or has expired.
            self.end = found[0].offset;
        }
        self.begun = self.begun.or_else(|| begun(found));
        self.known.extend_from_slice(found);
        self.known.sort_by(|a, b| a.order().cmp(&b.order()));
        let (mut claims, mut conflicts) = self.claims(found);
        // What was dropped, or cannot be in its object, and what no segment holds; each byte once, however many claim
        // it.
        let mut said = Ranges::default();
        for segment in found.iter().filter(|segment| segment.possible_end() < segment.end()) {
            for range in said.gaps(segment.offset.max(self.end)..segment.end()) {
                let gaps = self.placed.gaps(range).into_iter();
                claims.extend(gaps.map(|gap| (gap, segment, false)));
            }
            said.insert(segment.offset..segment.end());
        }
        claims.sort_by_key(|(range, _, holds)| (range.start, !holds));
        for (range, segment, holds) in claims {
            if range.start > self.end {
                let text = note(segment, &(self.end..range.start), "are missing", "");
                parts.push_back(Part::Note { text, start: segment.start });
            }
            self.end = self.end.max(range.end);
            if holds {
                let within = range.start - segment.offset..range.end - segment.offset;
                let whole = ends_a_line(segment, &within);
                parts.push_back(Part::Bytes { segment: segment.clone(), range: within });
                while whole && let Some((_, text)) = conflicts.pop_if(|(at, _)| *at < self.end) {
                    parts.push_back(Part::Note { text, start: segment.start });
                }
            } else {
                let what = if segment.is_mark() { "are dropped" } else { "are missing" };
                let text = note(segment, &range, what, "");
                parts.push_back(Part::Note { text, start: segment.start });
            }
        }
        let start = parts.back().map_or(found[0].start, Part::start);
        parts.extend(conflicts.into_iter().rev().map(|(_, text)| Part::Note { text, start }));
    }

    /// Gives each segment those of its bytes that no other one has which was stored before it; and for each that does
    /// not get all, where, and a line that says so, the last first. They are not known to be equal: two objects may
    /// hold anything.
    fn claims<'a>(&mut self, found: &'a [Arc<Segment>]) -> (Vec<Claim<'a>>, Vec<(u64, Arc<str>)>) {
        let mut segments: Vec<_> = found.iter().filter(|segment| !segment.is_mark()).collect();
        segments.sort_by_key(|segment| segment.modified);
        let (mut claims, mut conflicts) = (Vec::new(), Vec::new());
        for segment in segments {
            let range = segment.offset..segment.possible_end();
            let taken = self.placed.within(range.clone());
            if let [first, ..] = taken.as_slice() {
                let all = first.start..taken.last().map_or(first.end, |last| last.end);
                let name = segment.name(b"");
                let who = format!(": the object that was stored first is read, not {name}");
                conflicts.push((all.start, note(segment, &all, "are claimed twice", &who)));
            }
            claims.extend(self.placed.gaps(range.clone()).into_iter().map(|gap| (gap, segment, true)));
            self.placed.insert(range);
        }
        conflicts.sort_by_key(|(at, _)| Reverse(*at));
        (claims, conflicts)
    }
}

/// A line about bytes of a segment's generation.
fn note(segment: &Segment, range: &Range<u64>, what: &str, who: &str) -> Arc<str> {
    let (Segment { generation, writer, .. }, Range { start, end }) = (segment, range);
    let text = format!(
        "logsinkfs: {} bytes {what} here: {start}..{end} of generation {} of {writer}{who}\n",
        end - start,
        generation.0,
    );
    text.into()
}
