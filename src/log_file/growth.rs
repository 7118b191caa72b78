//! When bytes were written of which the kernel told nobody, as far as looks at the spool file's length tell. No I/O and
//! no lock.

use std::collections::VecDeque;

use crate::types::ids::SpoolOffset;
use crate::types::time::Utc;

/// Looks that are remembered.
const LOOKS: usize = 8;

/// When a spool file grew.
#[derive(Debug)]
pub struct Growth {
    /// When the first unsealed byte was written, or a little before.
    pub(super) first_byte: Option<Utc>,
    /// When growth was last seen, and the length then.
    last: (Utc, SpoolOffset),
    /// The last look at the length before the first unsealed byte, and the latest ones. They bound from below when a
    /// byte was written.
    looks: VecDeque<(Utc, SpoolOffset)>,
    /// The start of the segment that was sealed last.
    last_start: Utc,
}

impl Growth {
    /// Of a file that was this long at a time.
    pub(super) fn begin(at: Utc, len: SpoolOffset) -> Growth {
        Growth { first_byte: None, last: (at, len), looks: VecDeque::new(), last_start: Utc::default() }
    }

    /// When growth was last seen.
    pub fn last(&self) -> Utc {
        self.last.0
    }

    /// The length then.
    pub fn last_len(&self) -> SpoolOffset {
        self.last.1
    }

    /// When the first unsealed byte was written, or a little before.
    pub fn first_byte(&self) -> Option<Utc> {
        self.first_byte
    }

    /// When the first unsealed byte was written; `now` where nothing tells.
    pub fn first_byte_or(&mut self, now: Utc) -> Utc {
        *self.first_byte.get_or_insert(now)
    }

    /// Everything is sealed.
    pub fn all_sealed(&mut self) {
        self.first_byte = None;
    }

    /// A time before which the byte at `at` was not written, as far as looks and segments tell.
    pub(super) fn not_before(&self, at: SpoolOffset) -> Utc {
        let seen = self.looks.iter().rfind(|(_, len)| *len <= at).map(|(time, _)| *time);
        seen.unwrap_or_default().max(self.last_start)
    }

    /// Notes a length. Looks are forgotten that say no more of the bytes from `unsealed` on than a later one.
    pub(super) fn look(&mut self, now: Utc, len: SpoolOffset, unsealed: SpoolOffset) {
        while self.looks.get(1).is_some_and(|(_, seen)| *seen <= unsealed) {
            self.looks.pop_front();
        }
        match self.looks.back_mut() {
            Some(last) if last.1 == len => last.0 = now,
            _ => self.looks.push_back((now, len)),
        }
        if self.looks.len() > LOOKS {
            self.looks.remove(1);
        }
    }

    /// No look is later than now, however the clock was set.
    pub(super) fn set_looks_back(&mut self, now: Utc) {
        self.looks.iter_mut().for_each(|(time, _)| *time = now.min(*time));
    }

    /// No time is later than now, and growth is seen.
    pub(super) fn saw(&mut self, now: Utc, len: SpoolOffset) {
        // What was written in the clock's future would wait for it there.
        self.last.0 = self.last.0.min(now);
        self.first_byte = self.first_byte.map(|first| first.min(now));
        if len > self.last.1 {
            self.last = (now, len);
        }
        self.set_looks_back(now);
    }

    /// A segment begins at `start`.
    pub(super) fn sealed(&mut self, start: Utc) {
        self.last_start = start;
    }

    /// All that is known is one look.
    pub(super) fn only_look(&mut self, at: Utc, len: SpoolOffset) {
        self.looks = VecDeque::from([(at, len)]);
    }

    /// It was last written at a time, and was so long then.
    pub(super) fn set_last(&mut self, at: Utc, len: SpoolOffset) {
        self.last = (at, len);
    }
}
