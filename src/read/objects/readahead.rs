//! Read-ahead: eight times the distance read without a seek. Random access fetches little more than it reads, and a
//! sequential reader is soon served from what was fetched before it asked. Pure.

use std::ops::Range;

/// What requests are aligned to, and the least that one asks for: at 50 ms a request and 100 MB/s, a smaller one costs
/// the same time.
pub const BLOCK: u64 = 256 << 10;
/// The most that one request asks for: eight of them are on their way at once, and worth the 50 ms that each waits.
pub const PART: u64 = 4 << 20;
/// The furthest that is read ahead: 640 MB/s at 50 ms a request.
pub const FURTHEST: u64 = SIDE_BY_SIDE * PART;
/// Requests that a distance is read ahead in, so that they are on their way side by side.
const SIDE_BY_SIDE: u64 = 8;
/// How many times as far as it has come: 16 MiB are reached after three answers of S3.
const TRUST: u64 = 8;
/// How far beside the last read the next one may be and still go on with it: the kernel may send reads of one program
/// side by side.
const NEAR: u64 = 512 << 10;

/// A stretch of an object that a reader goes through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    start: u64,
    front: u64,
    /// Bytes that it is trusted for before it has come any way.
    credit: u64,
    /// Whether it is counted among those that read ahead.
    pub counted: bool,
}

/// What is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// The bytes; begins and ends at blocks, or at the object's end.
    pub range: Range<u64>,
    /// Requests begin and end at multiples of this.
    pub unit: u64,
}

impl Run {
    /// The reader reads a range.
    pub fn went_over(&mut self, range: &Range<u64>) {
        let begins = self.front == self.start;
        let jumps = range.start.abs_diff(self.front) > NEAR;
        if jumps {
            self.credit = 0;
        }
        if begins || jumps {
            (self.start, self.front) = (range.start, range.start);
        }
        self.front = self.front.max(range.end);
    }

    /// A reader that comes from elsewhere and reads on at the beginning is trusted for so many bytes.
    pub fn trust(&mut self, bytes: u64) {
        if self.front == 0 {
            self.credit = bytes;
        }
    }

    /// Whether more than the least is read ahead.
    pub fn reads_ahead(&self) -> bool {
        self.credit + self.front - self.start > BLOCK
    }

    /// What to fetch for a read of `range` of an object of `size` bytes, reading ahead by `share` at most.
    pub fn prefetch(&self, range: &Range<u64>, size: u64, share: u64) -> Prefetch {
        let ahead = self.credit.saturating_add(TRUST * (self.front - self.start)).min(share).clamp(BLOCK, FURTHEST);
        let asked = (range.end - range.start).next_multiple_of(BLOCK);
        let unit = (ahead / SIDE_BY_SIDE).max(asked).clamp(BLOCK, PART).next_power_of_two();
        let needed = range.end.next_multiple_of(BLOCK).min(size);
        let far = self.front.saturating_add(ahead);
        // Whole units only, so that a reader that goes on by little does not ask for little.
        let far = if far >= size { size } else { far - far % unit };
        Prefetch { range: range.start - range.start % BLOCK..needed.max(far), unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUGE: u64 = 1 << 40;

    fn read(run: &mut Run, at: u64, size: u64) -> Prefetch {
        run.went_over(&(at..at + size));
        run.prefetch(&(at..at + size), HUGE, FURTHEST)
    }

    #[test]
    fn a_look_here_and_there_fetches_one_block() {
        let mut run = Run::default();
        for at in [5 << 30, 0, 3 << 30, 9 << 30] {
            let Prefetch { range, .. } = read(&mut run, at + 1000, 4096);
            assert_eq!(range, at..at + BLOCK);
            assert!(!run.reads_ahead());
        }
    }

    #[test]
    fn who_reads_on_is_trusted_eight_times_as_far_as_it_has_come() {
        let mut run = Run::default();
        let (step, mut at) = (128 << 10, 7 << 30);
        let begun = at;
        while at < begun + (64 << 20) {
            let prefetch = read(&mut run, at, step);
            at += step;
            let ahead = prefetch.range.end.saturating_sub(at);
            assert!(ahead <= (8 * (at - begun)).clamp(BLOCK, FURTHEST), "{ahead} at {at}");
            assert!(prefetch.unit <= PART);
        }
        assert_eq!(read(&mut run, at, step).range.end, at + FURTHEST);
        assert_eq!(read(&mut run, 0, 4096).range, 0..BLOCK, "until it jumps");
    }

    #[test]
    fn reads_side_by_side_are_one_run() {
        let mut run = Run::default();
        let step: u64 = 128 << 10;
        for pair in 0..40 {
            read(&mut run, (2 * pair + 1) * step, step);
            read(&mut run, 2 * pair * step, step);
        }
        assert_eq!(run, Run { start: step, front: 80 * step, ..Run::default() });
    }

    #[test]
    fn who_reads_on_from_elsewhere_is_trusted_from_the_beginning_until_it_jumps() {
        let mut run = Run::default();
        run.trust(FURTHEST);
        assert_eq!(run.prefetch(&(0..0), HUGE, FURTHEST), Prefetch { range: 0..FURTHEST, unit: PART });
        assert_eq!(read(&mut run, 0, 4096).range, 0..FURTHEST);
        assert_eq!(read(&mut run, 5 << 30, 4096).range, 5 << 30..(5 << 30) + BLOCK);
    }

    #[test]
    fn nothing_is_asked_for_behind_the_end() {
        let mut run = Run::default();
        run.went_over(&(0..1000));
        let prefetch = run.prefetch(&(0..1000), 1000, FURTHEST);
        assert_eq!(prefetch.range, 0..1000);
    }
}
