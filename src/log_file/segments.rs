//! The sealed ranges of a log file and their phases. No I/O and no lock.

use std::collections::BTreeMap;

use crate::format::naming::{MarkerName, Phase};
use crate::types::ids::{GenerationNo, SpoolOffset, SpoolRange};

/// A sealed range, but for its start.
#[derive(Clone, Copy, Debug)]
struct Segment {
    end: SpoolOffset,
    generation: GenerationNo,
    phase: Phase,
}

impl Segment {
    fn named(&self, start: SpoolOffset) -> MarkerName {
        let range = SpoolRange { start, end: self.end };
        MarkerName { range, generation: self.generation, phase: self.phase }
    }
}

/// Sealed ranges by their start: those of the present generation, and of generations before it that are not settled.
#[derive(Debug, Default)]
pub struct Segments(BTreeMap<SpoolOffset, Segment>);

impl Segments {
    /// Adds a sealed range as its marker names it.
    pub fn adopt(&mut self, marker: MarkerName) {
        let MarkerName { range, generation, phase } = marker;
        self.0.insert(range.start, Segment { end: range.end, generation, phase });
    }

    /// Forgets the segments from a position on; gives them.
    pub fn take_from(&mut self, start: SpoolOffset) -> Vec<MarkerName> {
        self.0.split_off(&start).iter().map(|(start, segment)| segment.named(*start)).collect()
    }

    /// Whether this very segment is there, whatever its phase.
    pub fn has(&self, name: &MarkerName) -> bool {
        self.0.get(&name.range.start).is_some_and(|segment| segment.generation == name.generation)
    }

    /// The phase of the segment that begins at `start`.
    pub fn phase(&self, start: SpoolOffset) -> Option<Phase> {
        self.0.get(&start).map(|segment| segment.phase)
    }

    /// Moves the segment that begins at `start` on, if it is there.
    pub fn set_phase(&mut self, start: SpoolOffset, phase: Phase) {
        if let Some(segment) = self.0.get_mut(&start) {
            segment.phase = phase;
        }
    }

    /// Forgets the segments before a position.
    pub fn forget_before(&mut self, end: SpoolOffset) {
        self.0.retain(|start, _| *start >= end);
    }

    /// Nothing of any segment is here any more.
    pub fn reclaim_all(&mut self) {
        self.0.values_mut().for_each(|s| s.phase = Phase::Reclaimed);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The segments, by their start.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = MarkerName> {
        self.0.iter().map(|(start, segment)| segment.named(*start))
    }

    /// Whether bytes of a range are not here any more.
    pub fn is_reclaimed(&self, range: SpoolRange) -> bool {
        let before = self.0.range(..=range.start).next_back();
        let within = self.0.range(range.start..range.end);
        before.into_iter().chain(within).any(|(_, s)| !s.phase.is_here() && s.end > range.start)
    }

    /// Sealed bytes of the present generation, and of those before it that are not settled, in such a phase.
    pub fn bytes_in(&self, phase: impl Fn(Phase) -> bool) -> u64 {
        self.iter().filter(|segment| phase(segment.phase)).map(|segment| segment.range.len()).sum()
    }

    /// The segment that begins at `start`.
    pub fn starting_at(&self, start: SpoolOffset) -> Option<MarkerName> {
        self.0.get(&start).map(|segment| segment.named(start))
    }

    /// The segment that holds a position, when it is sealed.
    pub fn holding(&self, at: SpoolOffset) -> Option<MarkerName> {
        let (start, segment) = self.0.range(..=at).next_back()?;
        (at < segment.end).then(|| segment.named(*start))
    }
}
