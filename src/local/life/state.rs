//! What changes in a life, and the arithmetic on it: where generations begin, which ranges are sealed, how
//! far each has come. No I/O and no lock; lengths are arguments.

use std::collections::{BTreeMap, VecDeque};

use crate::local::record::Base;
use crate::values::ids::{GenerationNo, SpoolOffset, SpoolRange};
use crate::values::naming::{MarkerName, Phase};
use crate::values::time::Utc;

/// A generation that still has something to do, or the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Where it begins.
    pub base: Base,
    /// Its number, once something of it is sealed.
    pub number: Option<GenerationNo>,
}

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

/// What changes in a life.
#[derive(Debug)]
pub struct State {
    /// Generations from the first unsealed byte on; never empty.
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
    /// Whether one handle, writer and unseen writer stands for programs that write through a mount
    /// whose daemon is dead.
    pub orphaned: bool,
    /// Open handles.
    pub handles: u32,
    /// Whether a name is left.
    pub linked: bool,
    /// Everything before this is to be sealed at once.
    pub forced_to: SpoolOffset,
    /// When the first unsealed byte was written.
    pub first_byte: Option<Utc>,
    /// When growth was last seen, and the length then.
    pub last_growth: (Utc, SpoolOffset),
    /// Whether something was set aside that no fsync to S3 has reported yet.
    pub set_aside: bool,
    /// Key of the segment confirmed last.
    pub last_key: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

impl State {
    /// The state of a life that nobody has open; `bases` as the record has them.
    pub fn new(bases: &[Base]) -> State {
        let generations: VecDeque<_> =
            bases.iter().map(|base| Generation { base: *base, number: None }).collect();
        let begin = generations.back().map(|g| g.base).unwrap_or_default();
        State {
            generations,
            segments: BTreeMap::new(),
            writers: 0,
            end: None,
            counted: SpoolOffset(0),
            orphaned: false,
            unseen_writers: 0,
            handles: 0,
            linked: true,
            forced_to: SpoolOffset(0),
            first_byte: None,
            last_growth: (begin.since, begin.at),
            set_aside: false,
            last_key: None,
            last_error: None,
        }
    }

    /// The generation that applications see.
    pub fn current(&self) -> Generation {
        // `Life::new` gives at least one and nothing takes the last away; an empty list would be
        // a life from the file's beginning.
        self.generations
            .back()
            .copied()
            .unwrap_or(Generation { base: Base::default(), number: None })
    }

    /// Where the bytes begin that no seal covers.
    pub fn sealed_end(&self) -> SpoolOffset {
        let sealed = self.segments.last_key_value().map(|(_, s)| s.end);
        let base = self.generations.front().map_or(SpoolOffset(0), |g| g.base.at);
        sealed.map_or(base, |end| end.max(base))
    }

    /// The unsealed range that is next to be sealed, its generation, and whether that has ended.
    /// Generations that have nothing unsealed and will not grow are left behind on the way.
    pub fn tail(&mut self, len: SpoolOffset) -> (SpoolRange, Generation, bool) {
        loop {
            let start = self.sealed_end();
            let first = self.generations.front().copied().unwrap_or_else(|| self.current());
            match self.generations.get(1).map(|next| next.base.at) {
                Some(next) if start >= next => {
                    self.generations.pop_front();
                }
                Some(next) => return (SpoolRange { start, end: next }, first, true),
                None => {
                    let end = len.max(start);
                    return (SpoolRange { start, end }, first, !self.linked && self.handles == 0);
                }
            }
        }
    }

    /// Begins a new generation, at the file's present length; `false` when the current one is empty
    /// and stays.
    pub fn begin_generation(&mut self, base: Base) -> bool {
        if base.at <= self.current().base.at {
            return false;
        }
        self.generations.push_back(Generation { base, number: None });
        true
    }

    /// Where the generations begin, as the record keeps them.
    pub fn bases(&self) -> Vec<Base> {
        self.generations.iter().map(|g| g.base).collect()
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

    /// Whether S3 has everything, marks of what was given up included.
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

    /// The segment that holds a position, when it is sealed.
    pub fn segment_at(&self, at: SpoolOffset) -> Option<MarkerName> {
        let (start, segment) = self.segments.range(..=at).next_back()?;
        (at < segment.end).then(|| self.marker(*start))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(at: u64) -> Base {
        Base { at: SpoolOffset(at), ..Base::default() }
    }

    fn state(bases: &[u64]) -> State {
        State::new(&bases.iter().map(|at| base(*at)).collect::<Vec<_>>())
    }

    fn seal(state: &mut State, start: u64, end: u64) {
        let segment =
            Segment { end: SpoolOffset(end), generation: GenerationNo(1), phase: Phase::Sealed };
        state.segments.insert(SpoolOffset(start), segment);
    }

    #[test]
    fn a_truncated_generation_is_sealed_to_its_end_before_the_next() {
        let mut state = state(&[0]);
        assert!(state.begin_generation(base(100)));
        let (range, generation, ended) = state.tail(SpoolOffset(130));
        assert_eq!((range.start.0, range.end.0, ended), (0, 100, true));
        assert_eq!(generation.base, base(0));
        seal(&mut state, 0, 100);
        let (range, generation, ended) = state.tail(SpoolOffset(130));
        assert_eq!((range.start.0, range.end.0, ended), (100, 130, false));
        assert_eq!(generation.base, base(100));
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
