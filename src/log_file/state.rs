//! The mutable state of a log file and its arithmetic: where generations begin, which ranges are sealed, and their
//! phases. No I/O and no lock; lengths are arguments.

use std::collections::VecDeque;

use super::growth::Growth;
use super::handles::Handles;
use super::segments::Segments;
use crate::format::naming::{MarkerName, Phase};
use crate::spool::record::{Content, Generation};
use crate::types::ids::{SpoolOffset, SpoolRange};
use crate::types::time::Utc;

/// What changes in a log file.
#[derive(Debug)]
pub struct State {
    /// Generations from the first unsealed byte on, the last of which applications see; never empty.
    generations: VecDeque<Generation>,
    /// What is sealed.
    pub segments: Segments,
    /// Who has it open.
    pub handles: Handles,
    /// When it grew.
    pub growth: Growth,
    /// Where the spool file ends, when the daemon made its last write and no other writes.
    end: Option<SpoolOffset>,
    /// Up to where its bytes are counted as taking room.
    counted: SpoolOffset,
    /// Whether a name is left.
    linked: bool,
    /// Whether a key is being formed in the log's stream, or was: it stays there.
    bound: bool,
    /// Everything before this is to be sealed at once.
    forced_to: SpoolOffset,
    /// Writes that were not at the end and were appended all the same.
    misplaced: u64,
    /// Whether something was quarantined or dropped that no fsync to S3 has reported yet.
    unreported_loss: bool,
    last_key: Option<String>,
    last_error: Option<String>,
}

impl State {
    /// The state of a log file that nobody has open; `bases` as the record has them.
    pub fn new(bases: &[Generation]) -> State {
        let generations: VecDeque<_> = bases.iter().copied().collect();
        let begin = generations.back().copied().unwrap_or_default();
        State {
            generations,
            segments: Segments::default(),
            handles: Handles::default(),
            growth: Growth::begin(begin.since, begin.at),
            end: None,
            counted: SpoolOffset(0),
            linked: true,
            bound: false,
            forced_to: SpoolOffset(0),
            misplaced: 0,
            unreported_loss: false,
            last_key: None,
            last_error: None,
        }
    }

    /// It has a name, or has none any more.
    pub fn set_linked(&mut self, linked: bool) {
        self.linked = linked;
    }

    /// Whether a name is left.
    pub fn is_linked(&self) -> bool {
        self.linked
    }

    /// Whether it will not grow any more: no name leads to it, and nobody has it open.
    pub fn has_ended(&self) -> bool {
        !self.linked && !self.handles.is_open()
    }

    /// The log stays in its stream from now on.
    pub fn bind(&mut self) {
        self.bound = true;
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

    /// What the file is that applications see.
    pub fn content(&self) -> Content {
        self.current().content
    }

    /// Whether the end of the file is not to be sealed: it stays local, or is a whole file that was removed before it
    /// was sealed.
    fn keeps_local(&self, len: SpoolOffset) -> bool {
        let current = self.current();
        current.stays_local(len.since(current.at)) || current.content == Content::Whole && !self.linked
    }

    /// Bytes that are still to be sealed.
    pub fn unsealed(&self, len: SpoolOffset) -> u64 {
        let (sealed, current) = (self.sealed_end(), self.current().at);
        if self.keeps_local(len) { current.min(len).since(sealed) } else { len.since(sealed) }
    }

    /// Forgets the oldest generation, which has ended and stays local; gives its bytes.
    pub fn forget_oldest(&mut self, at: SpoolOffset) -> Option<SpoolRange> {
        let (first, next) = (self.generations.front()?, self.generations.get(1)?);
        let range = SpoolRange { start: first.at.max(self.sealed_end()), end: first.end.unwrap_or(next.at) };
        let is_it = first.at == at && first.stays_local(range.end.since(at));
        is_it.then(|| self.generations.pop_front()).map(|_| range)
    }

    /// Notes that the file was changed in place, and grew by so many bytes.
    pub fn changed(&mut self, now: Utc, growth: u64) {
        self.counted = self.counted.plus(growth);
        self.end = None;
        let len = self.growth.last_len();
        self.growth.set_last(now, len);
    }

    /// Has the generation that applications see be another one, which begins where it does.
    pub(super) fn replace_current(&mut self, generation: Generation) {
        self.generations.pop_back();
        self.generations.push_back(generation);
    }

    /// Where the first generation begins of which something is unsealed.
    pub fn first_base(&self) -> SpoolOffset {
        self.generations.front().map_or(SpoolOffset(0), |g| g.at)
    }

    /// Where the bytes begin that no seal covers.
    pub fn sealed_end(&self) -> SpoolOffset {
        let sealed = self.segments.iter().next_back().map(|s| s.range.end);
        let base = self.first_base();
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
                    return (SpoolRange { start, end }, first, self.has_ended());
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

    /// Takes back the generation that has just begun.
    pub fn undo_generation(&mut self) {
        self.generations.pop_back();
    }

    /// The generations from the first unsealed byte on, the oldest first.
    pub fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.generations.iter()
    }

    /// Those, to be made to fit what is on the disk. At least one stays.
    pub fn generations_mut(&mut self) -> &mut VecDeque<Generation> {
        &mut self.generations
    }

    /// Gives the oldest generation another birth; gives the one it had.
    pub fn replace_birth(&mut self, birth: u64) -> u64 {
        self.generations.front_mut().map(|g| std::mem::replace(&mut g.birth, birth)).unwrap_or_default()
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
        let first = self.growth.first_byte().filter(|_| at == self.sealed_end()).unwrap_or_default();
        born.max(first).max(self.growth.not_before(at))
    }

    /// Notes, before it happens, that the daemon appends behind `len`.
    pub fn will_grow(&mut self, len: SpoolOffset, now: impl FnOnce() -> Utc) {
        if self.growth.first_byte.is_none() {
            let (unsealed, now) = (self.sealed_end(), now());
            self.growth.set_looks_back(now);
            self.growth.first_byte = Some(if len > unsealed { self.not_before(unsealed) } else { now });
        }
    }

    /// Notes that the daemon has appended bytes, and where the file ends with them.
    pub fn appended(&mut self, bytes: u64, end: SpoolOffset) {
        self.counted = self.counted.plus(bytes);
        // What others append unseen would make it untrue, also once they have closed the file.
        self.end = (!self.handles.has_unseen()).then_some(end);
    }

    /// Where the spool file ends, as long as nobody but the daemon appends.
    pub fn known_end(&self) -> Option<SpoolOffset> {
        self.end.filter(|_| !self.handles.has_unseen())
    }

    /// For one of the writers the kernel writes from now on.
    pub fn add_unseen_writer(&mut self) {
        self.handles.add_unseen();
        self.end = None;
    }

    /// Up to where its bytes are counted as taking room.
    pub fn counted(&self) -> SpoolOffset {
        self.counted
    }

    /// Counts its bytes up to `len`; gives up to where they were.
    pub fn count(&mut self, len: SpoolOffset) -> SpoolOffset {
        std::mem::replace(&mut self.counted, len)
    }

    /// Notes how long the file was at a time. The clock may have been set back since the look before.
    pub fn saw(&mut self, now: Utc, len: SpoolOffset) {
        self.growth.saw(now, len);
        let unsealed = self.sealed_end();
        if len > unsealed && self.growth.first_byte.is_none() {
            self.growth.first_byte = Some(self.not_before(unsealed).min(now));
        }
        self.growth.look(now, len, unsealed);
    }

    /// Notes what recovery found: the file is so long and was last written at a time.
    pub fn found(&mut self, now: Utc, len: SpoolOffset, written: Utc) {
        let unsealed = self.sealed_end();
        if len > unsealed {
            self.growth.first_byte = Some(self.not_before(unsealed).min(now));
        } else {
            self.growth.only_look(now, len);
        }
        self.growth.set_last(written, len);
    }

    /// Notes of a log that was a local file so far: all its bytes are to be sealed.
    pub fn found_local(&mut self, len: SpoolOffset) {
        self.counted = len;
        self.growth.first_byte = self.generations.front().filter(|_| len > SpoolOffset(0)).map(|first| first.since);
    }

    /// Notes what the marker of the last segment says: its start, and when the bytes behind it were not there yet.
    pub fn resume_behind(&mut self, start: Utc, next: Utc) {
        self.growth.sealed(start);
        self.growth.only_look(next, self.sealed_end());
    }

    /// Notes a sealed range, whose key has that start.
    pub fn sealed(&mut self, name: MarkerName, start: Utc) {
        let range = name.range;
        self.segments.adopt(name);
        self.growth.sealed(start);
        // Whether anything is left, the next look finds out.
        self.growth.first_byte = None;
        self.growth.first_byte = Some(self.not_before(range.end));
    }

    /// S3 has the segment that begins at `start`, or its mark, under a key.
    pub fn confirm(&mut self, start: SpoolOffset, phase: Phase, key: &str) {
        self.segments.set_phase(start, phase);
        self.last_key = Some(key.to_owned());
        self.last_error = None;
    }

    /// S3 will not get the segment that begins at `start`: an fsync that waits for S3 is told once.
    pub fn lose(&mut self, start: SpoolOffset, phase: Phase) {
        self.segments.set_phase(start, phase);
        self.unreported_loss = true;
    }

    /// Whether something was quarantined or dropped since this was last asked.
    pub fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.unreported_loss)
    }

    /// Asks for everything before a position to be sealed at once.
    pub fn force_to(&mut self, end: SpoolOffset) {
        self.forced_to = end;
    }

    /// Whether the byte at `at` is to be sealed at once.
    pub fn is_forced(&self, at: SpoolOffset) -> bool {
        at < self.forced_to
    }

    /// Counts a write that was not at the end and is appended all the same; gives how many it were.
    pub fn count_misplaced(&mut self) -> u64 {
        self.misplaced += 1;
        self.misplaced
    }

    /// Key of the segment confirmed last.
    pub fn last_key(&self) -> Option<&str> {
        self.last_key.as_deref()
    }

    /// What went wrong last, until something is confirmed.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Notes what went wrong.
    pub fn failed(&mut self, why: String) {
        self.last_error = Some(why);
    }

    /// Bytes that S3 has not confirmed.
    pub fn unsent(&self, len: SpoolOffset) -> u64 {
        self.segments.bytes_in(Phase::is_unsent) + self.unsealed(len)
    }

    /// Where the bytes begin that are still needed: before lie generations that are settled.
    pub fn first_kept(&self) -> SpoolOffset {
        self.segments.iter().next().map_or(self.sealed_end(), |s| s.range.start)
    }

    /// Bytes that take room on the disk.
    pub fn held(&self, len: SpoolOffset) -> u64 {
        len.since(self.first_kept()).saturating_sub(self.segments.bytes_in(|phase| !phase.is_here()))
    }

    /// Whether S3 has everything, marks of what was dropped included.
    pub fn all_sent(&self, len: SpoolOffset) -> bool {
        self.unsent(len) == 0 && !self.segments.iter().any(|s| s.phase.owes_object())
    }

    /// Whether every object is put that the bytes before `end` owe.
    pub fn sent_until(&self, end: SpoolOffset) -> bool {
        let mut before = self.segments.iter().take_while(|s| s.range.start < end);
        (self.sealed_end() >= end || self.unsealed(end) == 0) && !before.any(|s| s.phase.owes_object())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ids::GenerationNo;

    fn base(at: u64) -> Generation {
        Generation { at: SpoolOffset(at), ..Generation::default() }
    }

    fn state(bases: &[u64]) -> State {
        State::new(&bases.iter().map(|at| base(*at)).collect::<Vec<_>>())
    }

    fn seal(state: &mut State, start: u64, end: u64) {
        let range = SpoolRange { start: SpoolOffset(start), end: SpoolOffset(end) };
        state.segments.adopt(MarkerName { range, generation: GenerationNo(1), phase: Phase::Sealed });
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
        state.handles.add(true);
        assert!(!state.tail(SpoolOffset(10)).2);
        state.handles.remove(true);
        assert!(state.tail(SpoolOffset(10)).2);
    }

    #[test]
    fn a_position_finds_its_segment() {
        let mut state = state(&[0]);
        seal(&mut state, 0, 10);
        seal(&mut state, 10, 30);
        let found = |at| state.segments.holding(SpoolOffset(at)).map(|m| m.range.start.0);
        assert_eq!((found(0), found(9), found(10), found(30)), (Some(0), Some(0), Some(10), None));
    }
}
