//! The part of the state that files have which are written in place: each time that one is changed after it was sealed,
//! another version begins.

use super::State;
use crate::format::naming::{MarkerName, Phase};
use crate::spool::record::{Content, Generation};
use crate::types::ids::{SpoolOffset, SpoolRange};
use crate::types::time::Utc;

impl State {
    /// Has the current generation, if nothing of it is gone from the disk, begin another version: what was sealed of it
    /// counts no more. Gives what it was, with its segments.
    pub fn begin_version(&mut self, now: Utc, birth: u64, content: Content) -> Option<(Generation, Vec<MarkerName>)> {
        let before = self.current();
        let all = SpoolRange { start: before.at, end: SpoolOffset(u64::MAX) };
        let lost = |s: MarkerName| s.range.start >= before.at && s.phase == Phase::Quarantined;
        if self.segments.is_reclaimed(all) || self.segments.iter().any(lost) {
            return None;
        }
        let segments = self.segments.take_from(before.at);
        let since = if segments.is_empty() { before.since } else { now };
        let generation =
            Generation { since, birth, numbered: None, content, is_half_written: self.handles.writers() > 0, ..before };
        self.replace_current(generation);
        self.growth.first_byte.get_or_insert(since);
        Some((before, segments))
    }

    /// Takes that back.
    pub fn undo_version(&mut self, before: Generation, segments: Vec<MarkerName>) {
        self.replace_current(before);
        segments.into_iter().for_each(|segment| self.segments.adopt(segment));
    }

    /// Whether it is a whole file that programs write: it is uploaded when they have closed it.
    pub fn is_being_written(&self) -> bool {
        self.content() == Content::Whole && self.is_linked() && self.handles.writers() > 0
    }
}
