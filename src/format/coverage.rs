//! Coverage of a stream, from the names of its segments: which bytes of each writer are present, missing or duplicated.
//! Pure; lists nothing and reads no object.
//!
//! Invariant: within a generation each byte before the end of its last name is covered once or part of a finding. Names
//! cannot tell what is missing after the last one.

use std::collections::BTreeMap;
use std::ops::Range;

use super::naming::{Form, SegmentName};
use crate::types::ids::{GenerationNo, WriterId};
use crate::types::time::Utc;

/// What is the matter with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defect {
    /// It is missing, and something older of its writer is there.
    Lost,
    /// Two keys claim the same beginning, with other ends or times.
    Conflict,
    /// More than one object holds it.
    Overlap,
    /// Its bytes were dropped, and a mark says so.
    Dropped,
    /// It is missing, and so is all that is older: as a lifecycle rule leaves it.
    Expired,
}

impl Defect {
    /// Whether the stream is not what its writers sent.
    pub fn is_wrong(self) -> bool {
        matches!(self, Defect::Lost | Defect::Conflict | Defect::Overlap)
    }

    /// The one word for it.
    pub fn word(self) -> &'static str {
        match self {
            Defect::Lost => "lost",
            Defect::Conflict => "conflict",
            Defect::Overlap => "overlap",
            Defect::Dropped => "dropped",
            Defect::Expired => "expired",
        }
    }
}

/// A part of what a writer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes of a generation, uncompressed.
    Bytes(GenerationNo, Range<u64>),
    /// Whole generations, of a length that nobody knows: the first and the last.
    Generations(GenerationNo, GenerationNo),
}

/// Something that is to be said of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose bytes they are.
    pub writer: WriterId,
    /// What is the matter.
    pub what: Defect,
    /// With which of them.
    pub extent: Extent,
}

/// What a stream consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Writers that have something there.
    pub writers: u64,
    /// Generations of them all that have something there.
    pub generations: u64,
    /// Segments, marks not counted.
    pub segments: u64,
    /// Bytes that are there, uncompressed, each counted once.
    pub bytes: u64,
    /// Earliest and latest first byte of a segment or mark.
    pub times: Option<(Utc, Utc)>,
}

/// What a name says, without what all names of a writer and stream share: a stream may have millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NamedRange {
    generation: GenerationNo,
    offset: u64,
    length: u64,
    start: Utc,
    mark: bool,
}

impl NamedRange {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// Whether two pieces with one beginning cannot be the same bytes.
    fn is_other_than(&self, other: &NamedRange) -> bool {
        (self.length, self.start) != (other.length, other.start)
    }
}

/// The names of one stream, gathered in any order.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    writers: BTreeMap<WriterId, Vec<NamedRange>>,
}

impl Coverage {
    /// Adds a name. Of which stream it is does not matter here.
    pub fn add(&mut self, name: &SegmentName) {
        let piece = NamedRange {
            generation: name.generation,
            offset: name.offset,
            length: name.length,
            start: name.start,
            mark: name.form == Form::Dropped,
        };
        match self.writers.get_mut(&name.writer) {
            Some(pieces) => pieces.push(piece),
            None => drop(self.writers.insert(name.writer.clone(), vec![piece])),
        }
    }

    /// What the names prove, with the findings of each writer in the order of its bytes.
    pub fn judge(self) -> (Totals, Vec<Finding>) {
        let mut totals = Totals { writers: self.writers.len() as u64, ..Totals::default() };
        let mut findings = Vec::new();
        for (writer, mut pieces) in self.writers {
            pieces.sort_unstable();
            let mut of_writer = Findings { writer, list: Vec::new() };
            let mut before = None;
            for pieces in pieces.chunk_by(|a, b| a.generation == b.generation) {
                of_writer.between(before, pieces[0].generation);
                totals.generations += 1;
                let bytes = of_writer.generation(pieces, before.is_none());
                totals.bytes = totals.bytes.saturating_add(bytes);
                before = Some(pieces[0].generation);
            }
            for piece in &pieces {
                totals.segments += u64::from(!piece.mark);
                let (first, last) = totals.times.unwrap_or((piece.start, piece.start));
                totals.times = Some((first.min(piece.start), last.max(piece.start)));
            }
            findings.extend(of_writer.list);
        }
        (totals, findings)
    }
}

/// The findings of one writer.
struct Findings {
    writer: WriterId,
    list: Vec<Finding>,
}

impl Findings {
    fn push(&mut self, what: Defect, extent: Extent) {
        // What lies side by side is one range: a full spool drops many segments in a row.
        if let Some(Finding { what: before, extent: Extent::Bytes(of, range), .. }) = self.list.last_mut()
            && let Extent::Bytes(generation, next) = &extent
            && (*before, *of, range.end) == (what, *generation, next.start)
        {
            range.end = next.end;
            return;
        }
        self.list.push(Finding { writer: self.writer.clone(), what, extent });
    }

    fn bytes(&mut self, what: Defect, generation: GenerationNo, range: Range<u64>) {
        if !range.is_empty() {
            self.push(what, Extent::Bytes(generation, range));
        }
    }

    /// Generations are numbered from 1 without a gap.
    fn between(&mut self, before: Option<GenerationNo>, next: GenerationNo) {
        let first = GenerationNo(before.map_or(1, |before| before.0 + 1));
        if first < next {
            let what = if before.is_some() { Defect::Lost } else { Defect::Expired };
            self.push(what, Extent::Generations(first, GenerationNo(next.0 - 1)));
        }
    }

    /// Goes through the pieces of one generation in order; gives how many bytes are there. `oldest` says that nothing
    /// older of the writer is there.
    fn generation(&mut self, pieces: &[NamedRange], oldest: bool) -> u64 {
        let of = pieces[0].generation;
        let at_front = if oldest { Defect::Expired } else { Defect::Lost };
        let begin = pieces[0].offset;
        self.bytes(at_front, of, 0..begin);
        let mut marks = pieces.iter().filter(|piece| piece.mark).peekable();
        let (mut covered, mut end) = (0, begin);
        let mut last: Option<&NamedRange> = None;
        for log in pieces.iter().filter(|piece| !piece.mark) {
            self.hole(of, end..log.offset, &mut marks);
            match last {
                Some(other) if other.offset == log.offset && other.is_other_than(log) => {
                    self.bytes(Defect::Conflict, of, log.offset..log.end().max(other.end()));
                }
                _ => self.bytes(Defect::Overlap, of, log.offset..end.min(log.end())),
            }
            let from = end.max(log.offset);
            covered += log.end().saturating_sub(from);
            end = end.max(log.end());
            last = Some(log);
        }
        let marked = pieces.iter().filter(|piece| piece.mark).map(NamedRange::end).max();
        self.hole(of, end..marked.unwrap_or(end), &mut marks);
        covered
    }

    /// A range without a log: dropped as far as marks say so, else lost.
    fn hole<'a>(
        &mut self,
        of: GenerationNo,
        hole: Range<u64>,
        marks: &mut std::iter::Peekable<impl Iterator<Item = &'a NamedRange>>,
    ) {
        let mut at = hole.start;
        while let Some(mark) = marks.peek().filter(|mark| mark.offset < hole.end) {
            let marked = mark.offset.max(at)..mark.end().min(hole.end);
            if !marked.is_empty() {
                self.bytes(Defect::Lost, of, at..marked.start);
                at = marked.end;
                self.bytes(Defect::Dropped, of, marked);
            }
            if mark.end() > hole.end {
                // The rest of it is for a hole behind.
                break;
            }
            marks.next();
        }
        self.bytes(Defect::Lost, of, at..hole.end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Generation, offset, length and form of an object of the writer `w`.
    type Object = (u64, u64, u64, Form);

    fn name((generation, offset, length, form): Object) -> SegmentName {
        SegmentName {
            stream: b"app.log".to_vec(),
            partition: String::new(),
            start: Utc::from_micros(offset.cast_signed()),
            writer: "w".parse().expect("legal"),
            generation: GenerationNo(generation),
            offset,
            length,
            partial: false,
            form,
        }
    }

    fn judged(objects: &[Object]) -> (Totals, Vec<(Defect, Extent)>) {
        let mut coverage = Coverage::default();
        objects.iter().for_each(|object| coverage.add(&name(*object)));
        let (totals, findings) = coverage.judge();
        (totals, findings.into_iter().map(|f| (f.what, f.extent)).collect())
    }

    fn bytes(what: Defect, generation: u64, range: Range<u64>) -> Vec<(Defect, Extent)> {
        vec![(what, Extent::Bytes(GenerationNo(generation), range))]
    }

    fn whole(what: Defect, first: u64, last: u64) -> (Defect, Extent) {
        (what, Extent::Generations(GenerationNo(first), GenerationNo(last)))
    }

    fn cut(generations: &[Vec<u64>]) -> Vec<Object> {
        let mut objects = Vec::new();
        for (number, lengths) in (1..).zip(generations) {
            let mut offset = 0;
            for length in lengths {
                objects.push((number, offset, *length, Form::Gzip));
                offset += length;
            }
        }
        objects
    }

    fn range(object: Object) -> Range<u64> {
        object.1..object.1 + object.2
    }

    prop_compose! {
        /// A stream of whole generations, shuffled, and one of its objects that another one follows in its generation.
        fn any_stream()(generations in vec(vec(1..1_000u64, 2..6), 1..5))(
            objects in Just(cut(&generations)).prop_shuffle(),
            sorted in Just(cut(&generations)),
            at in any::<prop::sample::Index>(),
        ) -> (Vec<Object>, Object) {
            let followed: Vec<Object> =
                sorted.windows(2).filter(|w| w[0].0 == w[1].0).map(|w| w[0]).collect();
            (objects, *at.get(&followed))
        }
    }

    proptest! {
        #[test]
        fn a_stream_is_whole_however_it_was_cut((objects, _) in any_stream()) {
            let (totals, findings) = judged(&objects);
            prop_assert_eq!(findings, vec![]);
            prop_assert_eq!(totals.bytes, objects.iter().map(|o| o.2).sum::<u64>());
            prop_assert_eq!(totals.segments, objects.len() as u64);
            prop_assert_eq!(totals.generations, objects.iter().map(|o| o.0).max().unwrap_or(0));
        }

        #[test]
        fn an_object_that_is_gone_is_lost_unless_it_was_the_first((mut objects, gone) in any_stream()) {
            objects.retain(|object| *object != gone);
            let what = if (gone.0, gone.1) == (1, 0) { Defect::Expired } else { Defect::Lost };
            prop_assert_eq!(judged(&objects).1, bytes(what, gone.0, range(gone)));
        }

        #[test]
        fn what_a_lifecycle_rule_leaves_has_expired((mut objects, first) in any_stream()) {
            objects.retain(|object| (object.0, object.1) >= (first.0, first.1));
            let mut expected = Vec::new();
            if first.0 > 1 {
                expected.push(whole(Defect::Expired, 1, first.0 - 1));
            }
            if first.1 > 0 {
                expected.extend(bytes(Defect::Expired, first.0, 0..first.1));
            }
            prop_assert_eq!(judged(&objects).1, expected);
        }

        #[test]
        fn a_mark_stands_for_an_object_and_a_log_wins_over_it((mut objects, marked) in any_stream()) {
            objects.push((marked.0, marked.1, marked.2, Form::Dropped));
            prop_assert_eq!(judged(&objects).1, vec![]);
            objects.retain(|object| *object != marked);
            prop_assert_eq!(judged(&objects).1, bytes(Defect::Dropped, marked.0, range(marked)));
        }

        #[test]
        fn what_is_stored_twice_overlaps((mut objects, twice) in any_stream()) {
            objects.push((twice.0, twice.1, twice.2, Form::Zstd));
            prop_assert_eq!(judged(&objects).1, bytes(Defect::Overlap, twice.0, range(twice)));
        }

        #[test]
        fn each_byte_is_counted_once_whatever_the_names(
            objects in vec((1..4u64, 0..40u64, 1..40u64, 0..2usize), 1..30),
        ) {
            let form = |mark| if mark == 0 { Form::Gzip } else { Form::Dropped };
            let objects: Vec<Object> =
                objects.into_iter().map(|(g, at, len, mark)| (g, at, len, form(mark))).collect();
            let (totals, findings) = judged(&objects);
            let found = findings.iter().map(|(what, extent)| match extent {
                Extent::Bytes(_, range) if !matches!(what, Defect::Overlap | Defect::Conflict) => {
                    range.end - range.start
                }
                _ => 0,
            });
            let end = |g| objects.iter().filter(|o| o.0 == g).map(|o| o.1 + o.2).max();
            let all: u64 = (1..4).filter_map(end).sum();
            prop_assert_eq!(totals.bytes + found.sum::<u64>(), all);
        }
    }

    #[test]
    fn a_generation_that_is_missing_between_two_is_lost() {
        let objects = [(3, 0, 5, Form::Gzip), (6, 0, 5, Form::Gzip)];
        let expected = vec![whole(Defect::Expired, 1, 2), whole(Defect::Lost, 4, 5)];
        assert_eq!(judged(&objects).1, expected);
    }

    #[test]
    fn two_keys_with_one_beginning_and_other_ends_are_a_conflict() {
        let objects = [(1, 0, 5, Form::Gzip), (1, 0, 9, Form::Gzip), (1, 9, 1, Form::Gzip)];
        assert_eq!(judged(&objects).1, bytes(Defect::Conflict, 1, 0..9));
    }

    #[test]
    fn marks_side_by_side_are_one_range_and_stand_for_what_no_log_has() {
        let objects = [(1, 0, 4, Form::Gzip), (1, 4, 2, Form::Dropped), (1, 6, 2, Form::Dropped)];
        assert_eq!(judged(&objects).1, bytes(Defect::Dropped, 1, 4..8));
        let around = [(1, 0, 9, Form::Dropped), (1, 3, 3, Form::Gzip)];
        let both = [0..3, 6..9].map(|range| bytes(Defect::Dropped, 1, range));
        assert_eq!(judged(&around).1, both.concat());
    }

    #[test]
    fn numbers_that_nobody_forms_do_not_overflow() {
        let most = u64::MAX;
        let (totals, _) = judged(&[(most, most, most, Form::Gzip), (1, 1, most, Form::Plain)]);
        assert_eq!(totals.generations, 2);
    }
}
