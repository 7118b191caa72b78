//! The mutable state of a log file and its arithmetic: where generations begin, which ranges are sealed, and their
//! phases. No I/O and no lock; lengths are arguments.

use std::collections::{BTreeMap, VecDeque};

use crate::format::naming::{MarkerName, Phase};
use crate::spool::record::Generation;
use crate::types::ids::{GenerationNo, SpoolOffset, SpoolRange};
use crate::types::time::Utc;

/// A sealed range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// One past its last byte.
    pub end: SpoolOffset,
    /// Its generation.
    pub generation: GenerationNo,
    /// How far it has come.
    pub phase: Phase,
}

/// Looks that are remembered.
const LOOKS: usize = 8;

/// When somebody looked how long a spool file was: the last look before the first unsealed byte, and the latest ones.
/// They bound from below when a byte was written of which the kernel told nobody.
#[derive(Clone, Debug, Default)]
pub struct Looks(VecDeque<(Utc, SpoolOffset)>);

impl Looks {
    /// Adds one. Those are forgotten that say no more of the bytes from `unsealed` on than a later one.
    fn add(&mut self, now: Utc, len: SpoolOffset, unsealed: SpoolOffset) {
        while self.0.get(1).is_some_and(|(_, seen)| *seen <= unsealed) {
            self.0.pop_front();
        }
        match self.0.back_mut() {
            Some(last) if last.1 == len => last.0 = now,
            _ => self.0.push_back((now, len)),
        }
        if self.0.len() > LOOKS {
            self.0.remove(1);
        }
    }

    /// None of them is later than now, however the clock was set.
    fn set_back(&mut self, now: Utc) {
        self.0.iter_mut().for_each(|(time, _)| *time = now.min(*time));
    }

    /// Begins with one.
    pub fn begin(at: Utc, len: SpoolOffset) -> Looks {
        Looks(VecDeque::from([(at, len)]))
    }

    /// The last look that did not see the byte at `at`.
    fn before(&self, at: SpoolOffset) -> Option<Utc> {
        self.0.iter().rfind(|(_, len)| *len <= at).map(|(time, _)| *time)
    }
}

/// What changes in a log file.
#[derive(Debug)]
pub struct State {
    /// Generations from the first unsealed byte on, the last of which applications see; never empty.
    pub generations: VecDeque<Generation>,
    /// Sealed ranges by their start.
    pub segments: BTreeMap<SpoolOffset, Segment>,
    /// Open handles that may write.
    pub writers: u32,
    /// Where the spool file ends, when the daemon made its last write and no other writes.
    pub end: Option<SpoolOffset>,
    /// Up to where its bytes are counted as taking room.
    pub counted: SpoolOffset,
    /// Those of them for which the kernel writes: nobody is told of what they append.
    pub unseen_writers: u32,
    /// Whether one handle, writer and unseen writer stands for programs that write through a mount whose daemon is
    /// dead.
    pub orphaned: bool,
    /// Open handles.
    pub handles: u32,
    /// Whether somebody had it open beside another for longer than a close takes.
    pub is_shared: bool,
    /// Whether a name is left.
    pub linked: bool,
    /// Whether a key is being formed in the log's stream, or was: it stays there.
    pub bound: bool,
    /// Everything before this is to be sealed at once.
    pub forced_to: SpoolOffset,
    /// Writes that were not at the end and were appended all the same.
    pub misplaced: u64,
    /// When the first unsealed byte was written, or a little before.
    pub first_byte: Option<Utc>,
    /// When growth was last seen, and the length then.
    pub last_growth: (Utc, SpoolOffset),
    /// What the length was when somebody looked.
    pub looks: Looks,
    /// The start of the segment that was sealed last.
    pub last_start: Utc,
    /// Whether something was quarantined or dropped that no fsync to S3 has reported yet.
    pub unreported_loss: bool,
    /// Key of the segment confirmed last.
    pub last_key: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

impl State {
    /// The state of a log file that nobody has open; `bases` as the record has them.
    pub fn new(bases: &[Generation]) -> State {
        let generations: VecDeque<_> = bases.iter().copied().collect();
        let begin = generations.back().copied().unwrap_or_default();
        State {
            generations,
            segments: BTreeMap::new(),
            writers: 0,
            end: None,
            counted: SpoolOffset(0),
            orphaned: false,
            unseen_writers: 0,
            handles: 0,
            is_shared: false,
            linked: true,
            bound: false,
            forced_to: SpoolOffset(0),
            misplaced: 0,
            first_byte: None,
            last_growth: (begin.since, begin.at),
            looks: Looks::default(),
            last_start: Utc::default(),
            unreported_loss: false,
            last_key: None,
            last_error: None,
        }
    }

    /// Whether the log stays in its stream: a number was given there or a key formed, or a generation has ended, which
    /// is about to get both. What is settled has left its markers, and the record begins behind it.
    pub fn is_bound(&self) -> bool {
        let first = self.current();
        let settled = first.at > SpoolOffset(0) || self.generations.len() > 1;
        self.bound || settled || first.numbered.is_some() || !self.segments.is_empty()
    }

    /// The generation that applications see.
    pub fn current(&self) -> Generation {
        // `LogFile::new` gives at least one and nothing takes the last away; an empty list would be a log file from the
        // file's beginning.
        self.generations.back().copied().unwrap_or_default()
    }

    /// Where the bytes begin that no seal covers.
    pub fn sealed_end(&self) -> SpoolOffset {
        let sealed = self.segments.last_key_value().map(|(_, s)| s.end);
        let base = self.generations.front().map_or(SpoolOffset(0), |g| g.at);
        sealed.map_or(base, |end| end.max(base))
    }

    /// The unsealed range that is next to be sealed, its generation, and whether that has ended. Generations that have
    /// nothing unsealed and will not grow are left behind on the way.
    pub fn tail(&mut self, len: SpoolOffset) -> (SpoolRange, Generation, bool) {
        loop {
            let start = self.sealed_end();
            let first = self.generations.front().copied().unwrap_or_else(|| self.current());
            match self.generations.get(1).map(|next| next.at) {
                Some(next) => match first.end.unwrap_or(next) {
                    end if start >= end => drop(self.generations.pop_front()),
                    end => return (SpoolRange { start, end }, first, true),
                },
                None => {
                    let end = len.max(start);
                    return (SpoolRange { start, end }, first, !self.linked && self.handles == 0);
                }
            }
        }
    }

    /// Begins a new generation, at the file's present length; `false` when the current one is empty, which stays and is
    /// as young as the new one would be.
    pub fn begin_generation(&mut self, generation: Generation) -> bool {
        if let Some(current) = self.generations.back_mut()
            && generation.at <= current.at
        {
            (current.since, current.birth) = (generation.since, generation.birth);
            return false;
        }
        self.generations.push_back(generation);
        true
    }

    /// The generations, as the record keeps them.
    pub fn bases(&self) -> Vec<Generation> {
        self.generations.iter().copied().collect()
    }

    /// The generation that begins at `at`, while something of it is to be sealed.
    pub fn generation_at(&mut self, at: SpoolOffset) -> Option<&mut Generation> {
        self.generations.iter_mut().find(|generation| generation.at == at)
    }

    /// The generations that have bytes, with a time before which none of these was written.
    pub fn with_bytes(&self, len: SpoolOffset) -> Vec<(Generation, Utc)> {
        let ends = self.generations.iter().skip(1).map(|next| next.at).chain([len]);
        let with_bytes = self.generations.iter().zip(ends).filter(|(g, end)| g.at < g.end.unwrap_or(*end));
        with_bytes.map(|(g, _)| (*g, self.not_before(g.at))).collect()
    }

    /// A time before which the byte at `at`, the first one that is not sealed or the first one of its generation, was
    /// not written: the best of what is known.
    pub fn not_before(&self, at: SpoolOffset) -> Utc {
        let born = self.generations.iter().rfind(|generation| generation.at <= at);
        let born = born.map_or(Utc::default(), |generation| generation.since);
        let seen = self.looks.before(at).unwrap_or_default();
        let first = self.first_byte.filter(|_| at == self.sealed_end()).unwrap_or_default();
        born.max(seen).max(first).max(self.last_start)
    }

    /// Notes, before it happens, that the daemon appends behind `len`.
    pub fn will_grow(&mut self, len: SpoolOffset, now: impl FnOnce() -> Utc) {
        if self.first_byte.is_none() {
            let (unsealed, now) = (self.sealed_end(), now());
            self.looks.set_back(now);
            self.first_byte = Some(if len > unsealed { self.not_before(unsealed) } else { now });
        }
    }

    /// Notes how long the file was at a time. The clock may have been set back since the look before.
    pub fn saw(&mut self, now: Utc, len: SpoolOffset) {
        // What was written in the clock's future would wait for it there.
        self.last_growth.0 = self.last_growth.0.min(now);
        self.first_byte = self.first_byte.map(|first| first.min(now));
        if len > self.last_growth.1 {
            self.last_growth = (now, len);
        }
        self.looks.set_back(now);
        let unsealed = self.sealed_end();
        if len > unsealed && self.first_byte.is_none() {
            self.first_byte = Some(self.not_before(unsealed).min(now));
        }
        self.looks.add(now, len, unsealed);
    }

    /// Notes that a range is sealed under a key whose start is `start`.
    pub fn sealed(&mut self, range: SpoolRange, generation: GenerationNo, start: Utc) {
        self.segments.insert(range.start, Segment { end: range.end, generation, phase: Phase::Sealed });
        self.last_start = start;
        // Whether anything is left, the next look finds out.
        self.first_byte = None;
        self.first_byte = Some(self.not_before(range.end));
    }

    /// Sealed bytes of the present generation, and of those before it that are not settled, in such a phase.
    pub fn bytes_in(&self, phase: impl Fn(Phase) -> bool) -> u64 {
        let found = self.segments.iter().filter(|(_, segment)| phase(segment.phase));
        found.map(|(start, segment)| segment.end.since(*start)).sum()
    }

    /// Bytes that S3 has not confirmed.
    pub fn unsent(&self, len: SpoolOffset) -> u64 {
        let sealed = self.segments.iter().filter(|(_, s)| s.phase.is_unsent());
        let sealed: u64 = sealed.map(|(start, s)| s.end.since(*start)).sum();
        sealed + len.since(self.sealed_end())
    }

    /// Where the bytes begin that are still needed: before lie generations that are settled.
    pub fn first_kept(&self) -> SpoolOffset {
        self.segments.first_key_value().map_or(self.sealed_end(), |(start, _)| *start)
    }

    /// Bytes that take room on the disk.
    pub fn held(&self, len: SpoolOffset) -> u64 {
        let gone = self.segments.iter().filter(|(_, s)| !s.phase.is_here());
        let gone: u64 = gone.map(|(start, s)| s.end.since(*start)).sum();
        len.since(self.first_kept()).saturating_sub(gone)
    }

    /// Whether S3 has everything, marks of what was dropped included.
    pub fn all_sent(&self, len: SpoolOffset) -> bool {
        self.unsent(len) == 0 && !self.segments.values().any(|s| s.phase.owes_object())
    }

    /// Whether every object is put that the bytes before `end` owe.
    pub fn sent_until(&self, end: SpoolOffset) -> bool {
        let mut sealed = self.segments.range(..end);
        self.sealed_end() >= end && !sealed.any(|(_, segment)| segment.phase.owes_object())
    }

    /// The marker of the segment at `start`.
    pub fn marker(&self, start: SpoolOffset) -> Option<MarkerName> {
        let segment = self.segments.get(&start)?;
        let range = SpoolRange { start, end: segment.end };
        Some(MarkerName { range, generation: segment.generation, phase: segment.phase })
    }

    /// The markers of all segments.
    pub fn markers(&self) -> Vec<MarkerName> {
        self.segments.keys().filter_map(|start| self.marker(*start)).collect()
    }

    /// The segment that holds a position, when it is sealed.
    pub fn segment_at(&self, at: SpoolOffset) -> Option<MarkerName> {
        let (start, segment) = self.segments.range(..=at).next_back()?;
        (at < segment.end).then(|| self.marker(*start))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(at: u64) -> Generation {
        Generation { at: SpoolOffset(at), ..Generation::default() }
    }

    fn state(bases: &[u64]) -> State {
        State::new(&bases.iter().map(|at| base(*at)).collect::<Vec<_>>())
    }

    fn seal(state: &mut State, start: u64, end: u64) {
        let segment = Segment { end: SpoolOffset(end), generation: GenerationNo(1), phase: Phase::Sealed };
        state.segments.insert(SpoolOffset(start), segment);
    }

    #[test]
    fn a_truncated_generation_is_sealed_to_its_end_before_the_next() {
        let mut state = state(&[0]);
        assert!(state.begin_generation(base(100)));
        let (range, generation, ended) = state.tail(SpoolOffset(130));
        assert_eq!((range.start.0, range.end.0, ended), (0, 100, true));
        assert_eq!(generation, base(0));
        seal(&mut state, 0, 100);
        let (range, generation, ended) = state.tail(SpoolOffset(130));
        assert_eq!((range.start.0, range.end.0, ended), (100, 130, false));
        assert_eq!(generation, base(100));
        assert_eq!(state.unsent(SpoolOffset(130)), 130);
    }

    #[test]
    fn truncating_an_empty_generation_does_nothing() {
        let mut state = state(&[0]);
        assert!(!state.begin_generation(base(0)));
        assert!(state.begin_generation(base(5)));
        assert!(!state.begin_generation(base(5)));
        assert_eq!(state.generations.len(), 2);
    }

    #[test]
    fn an_unlinked_and_closed_life_has_ended() {
        let mut state = state(&[0]);
        state.linked = false;
        state.handles = 1;
        assert!(!state.tail(SpoolOffset(10)).2);
        state.handles = 0;
        assert!(state.tail(SpoolOffset(10)).2);
    }

    #[test]
    fn a_position_finds_its_segment() {
        let mut state = state(&[0]);
        seal(&mut state, 0, 10);
        seal(&mut state, 10, 30);
        let found = |at| state.segment_at(SpoolOffset(at)).map(|m| m.range.start.0);
        assert_eq!((found(0), found(9), found(10), found(30)), (Some(0), Some(0), Some(10), None));
    }
}
