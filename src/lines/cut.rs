//! Leaves out the lines of other times, by the times that the lines carry. A line without one belongs to the line
//! before, of the same generation. Pure.
//!
//! Where no line carries a time, nothing is left out: the segments are those of the span already.
//!
//! Invariant: what waits for a line with a time is bounded.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::line_reader::{Line, LineKind, Origin};
use super::stamp::Stamps;
use crate::types::ids::{GenerationNo, WriterId};
use crate::types::time::Utc;

/// Lines of a writer that wait for one with a time; of a log with times, the longest stack trace is shorter.
const HELD_MAX: usize = 1000;
/// Bytes of them.
const HELD_BYTES_MAX: usize = 1 << 20;

/// A line, and its time: its own, or that of the line that it belongs to.
#[derive(Clone, Debug)]
pub struct TimedLine {
    /// The line.
    pub line: Line,
    /// Its time, if a line has one.
    pub time: Option<Utc>,
}

/// Times lines, and leaves out those of other times.
pub struct Cut {
    stamps: Stamps,
    /// All, where nothing is to be left out.
    span: Option<Range<Utc>>,
    writers: HashMap<Arc<WriterId>, Generation>,
    /// Whether lines were let through because none had a time.
    untimed: bool,
}

/// What is known of what a writer wrote last.
struct Generation {
    number: GenerationNo,
    last: LastLine,
}

enum LastLine {
    /// No line had a time yet.
    Unknown(Vec<Line>),
    /// It had this time, or belonged to one that had; none at all where nobody knows.
    At(Option<Utc>),
}

impl Cut {
    /// Lets lines of a span through; without one, all.
    pub fn new(stamps: Stamps, span: Option<Range<Utc>>) -> Cut {
        Cut { stamps, span, writers: HashMap::new(), untimed: false }
    }

    /// Whether lines were let through that may be of another time.
    pub fn is_inexact(&self) -> bool {
        self.untimed
    }

    /// Takes a line; gives what is known to be of the span by now.
    pub fn take(&mut self, line: Line, mut give: impl FnMut(TimedLine)) {
        let LineKind::Written(Origin { segment, .. }) = &line.kind else {
            return give(TimedLine { line, time: None });
        };
        let own = self.stamps.of(&line.text, segment.start);
        let first = || LastLine::first(&self.span);
        let writer = self.writers.entry(segment.writer.clone());
        let writer = writer.or_insert_with(|| Generation { number: segment.generation, last: first() });
        if writer.number != segment.generation {
            let before = std::mem::replace(writer, Generation { number: segment.generation, last: first() });
            self.untimed |= before.last.release(&mut give);
        }
        match (&mut writer.last, own) {
            (LastLine::Unknown(held), Some(time)) => {
                // They belong to a line that was written before what is read; or to none, at the beginning.
                for line in held.drain(..).filter(|line| is_within(&self.span, started(line))) {
                    give(TimedLine { line, time: None });
                }
                writer.last = LastLine::At(Some(time));
            }
            (LastLine::Unknown(held), None) => {
                held.push(line);
                let bytes: usize = held.iter().map(|line| line.text.len()).sum();
                if held.len() >= HELD_MAX || bytes > HELD_BYTES_MAX {
                    let last = std::mem::replace(&mut writer.last, LastLine::At(None));
                    self.untimed |= last.release(&mut give);
                }
                return;
            }
            (LastLine::At(last), Some(time)) => *last = Some(time),
            (LastLine::At(_), None) => {}
        }
        if let LastLine::At(time) = writer.last
            && is_within(&self.span, time)
        {
            give(TimedLine { line, time });
        }
    }

    /// Gives what waits for a line with a time, where nothing more comes for now.
    pub fn release(&mut self, mut give: impl FnMut(TimedLine)) {
        for writer in self.writers.values_mut() {
            if matches!(&writer.last, LastLine::Unknown(held) if !held.is_empty()) {
                let last = std::mem::replace(&mut writer.last, LastLine::At(None));
                self.untimed |= last.release(&mut give);
            }
        }
    }
}

impl LastLine {
    /// What is to be known before the first line: where nothing is left out, nothing has to wait.
    fn first(span: &Option<Range<Utc>>) -> LastLine {
        if span.is_some() { LastLine::Unknown(Vec::new()) } else { LastLine::At(None) }
    }

    fn release(self, give: &mut impl FnMut(TimedLine)) -> bool {
        let LastLine::Unknown(held) = self else { return false };
        let any = !held.is_empty();
        held.into_iter().for_each(|line| give(TimedLine { line, time: None }));
        any
    }
}

fn started(line: &Line) -> Option<Utc> {
    match &line.kind {
        LineKind::Written(origin) => Some(origin.segment.start),
        LineKind::Note | LineKind::Damage(_) => None,
    }
}

fn is_within(span: &Option<Range<Utc>>, time: Option<Utc>) -> bool {
    match (span, time) {
        (Some(span), Some(time)) => span.contains(&time),
        _ => true,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::format::naming::Form;
    use crate::format::timeline::Segment;

    /// A line of a segment that began at a minute after eight.
    pub fn line(writer: &str, generation: u64, minute: u64, text: &str) -> Line {
        let segment = Segment {
            writer: Arc::new(writer.parse::<WriterId>().expect("a writer")),
            partition: "".into(),
            generation: GenerationNo(generation),
            offset: 0,
            length: 100,
            start: Utc::from_name(&format!("20261123T08{minute:02}00.000000Z")).expect("a time"),
            partial: false,
            form: Form::Plain,
            stored: 100,
            modified: Utc::default(),
            whole: None,
        };
        let kind = LineKind::Written(Origin { segment: Arc::new(segment), offset: 7 });
        Line { text: text.to_owned().into(), kind }
    }

    fn cut(lines: &[Line]) -> (Vec<String>, bool) {
        let time = |minute| Utc::from_name(&format!("20261123T08{minute}00.000000Z")).expect("a time");
        let mut cut = Cut::new(Stamps::new(None, TimeZone::UTC), Some(time(10)..time(20)));
        let mut through = Vec::new();
        let mut give = |timed: TimedLine| through.push(String::from_utf8_lossy(&timed.line.text).into_owned());
        lines.iter().for_each(|line| cut.take(line.clone(), &mut give));
        cut.release(&mut give);
        (through, cut.is_inexact())
    }

    #[test]
    fn lines_of_other_times_are_left_out_with_what_belongs_to_them() {
        let at = |minute, text: &str| line("w-aaaaaaaa", 1, minute, text);
        let lines = [
            at(5, "goes on from before"),
            at(5, "2026-11-23 08:09:59 too early"),
            at(5, "  at its place"),
            at(5, "2026-11-23 08:10:00 first"),
            at(5, "  at its place"),
            line("v-aaaaaaaa", 1, 12, "2026-11-23 08:12:00 of another"),
            at(15, "  goes on"),
            at(15, "2026-11-23 08:20:00 too late"),
            line("v-aaaaaaaa", 1, 12, "  goes on too"),
            at(15, "  too late"),
        ];
        let through = [
            "2026-11-23 08:10:00 first",
            "  at its place",
            "2026-11-23 08:12:00 of another",
            "  goes on",
            "  goes on too",
        ];
        assert_eq!(cut(&lines), (through.map(str::to_owned).to_vec(), false));
    }

    #[test]
    fn what_a_program_says_before_its_first_time_is_of_when_its_segment_began() {
        let begin = [line("w-aaaaaaaa", 1, 12, "a banner"), line("w-aaaaaaaa", 1, 12, "2026-11-23 08:12:00 x")];
        assert_eq!(cut(&begin).0.len(), 2);
        let next =
            [begin[1].clone(), line("w-aaaaaaaa", 2, 25, "next"), line("w-aaaaaaaa", 2, 25, "2027-01-01 00:00:00")];
        assert_eq!(cut(&next).0, ["2026-11-23 08:12:00 x"]);
    }

    #[test]
    fn without_times_nothing_is_left_out_and_that_is_known() {
        let lines: Vec<Line> = (0..2500).map(|n| line("w-aaaaaaaa", 1, 5, &format!("line {n}"))).collect();
        let (through, inexact) = cut(&lines);
        assert!(through.len() == 2500 && inexact);
        assert_eq!(through[2499], "line 2499");
    }
}
