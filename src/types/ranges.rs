//! A set of positions, stored as ranges. Adjacent ranges are merged, so that positions added in order take the space of
//! one.
//!
//! Invariant: ranges are not empty, sorted, and not adjacent.

use std::collections::BTreeMap;
use std::ops::Range;

/// The set.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    /// Ends by starts.
    ends: BTreeMap<u64, u64>,
}

impl Ranges {
    /// The parts of a range that are in the set, in order.
    pub fn within(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let before = self.ends.range(..range.start).next_back();
        let inside = self.ends.range(range.start..range.end.max(range.start));
        let cut = move |(start, end): (&u64, &u64)| (*start).max(range.start)..(*end).min(range.end);
        before.into_iter().chain(inside).map(cut).filter(|range| !range.is_empty()).collect()
    }

    /// The parts of a range that are not in the set, in order.
    pub fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        for taken in self.within(range.clone()) {
            gaps.push(at..taken.start);
            at = taken.end;
        }
        gaps.push(at..range.end);
        gaps.retain(|gap| !gap.is_empty());
        gaps
    }

    /// Adds a range.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((&from, &to)) = self.ends.range(..=end).next_back().filter(|r| *r.1 >= start) {
            self.ends.remove(&from);
            (start, end) = (start.min(from), end.max(to));
        }
        self.ends.insert(start, end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_of_what_was_added(
            added in vec((0..60u64, 0..12u64), 0..12),
            (from, len) in (0..70u64, 0..40u64),
        ) {
            let (mut ranges, mut known) = (Ranges::default(), [false; 128]);
            for (start, len) in added {
                ranges.insert(start..start + len);
                (start..start + len).for_each(|at| known[at as usize] = true);
            }
            let (mut seen, mut last) = (known.map(|_| None), None);
            for (there, range) in ranges.within(from..from + len).into_iter().map(|r| (true, r)).chain(
                ranges.gaps(from..from + len).into_iter().map(|r| (false, r)),
            ) {
                prop_assert!(!range.is_empty());
                range.for_each(|at| seen[at as usize] = Some(there));
            }
            let expected = |at: usize| (from..from + len).contains(&(at as u64)).then(|| known[at]);
            prop_assert_eq!(seen, std::array::from_fn(expected));
            for (start, end) in &ranges.ends {
                prop_assert!(last < Some(*start) && start < end);
                last = Some(*end);
            }
        }
    }
}
