//! What is done with each line of a stream before it is printed: timed, cut, matched, rendered.

use std::collections::VecDeque;
use std::ops::Range;

use super::colour::Palette;
use super::cut::{Cut, TimedLine};
use super::grep::{Grep, GrepOptions, Shown};
use super::line_reader::Line;
use super::print::PrintStyle;
use super::stamp::Stamps;
use crate::types::time::Utc;

/// What is asked of the lines.
#[derive(Clone, Debug, Default)]
pub struct LineOptions {
    /// Recognises their times, where those are asked for.
    pub stamps: Option<Stamps>,
    /// Which of them, by their times.
    pub span: Option<Range<Utc>>,
    /// Which of them, by what they say.
    pub grep: Option<GrepOptions>,
    /// How they are printed.
    pub style: PrintStyle,
}

impl LineOptions {
    /// Whether the bytes of a stream are printed as they are.
    pub fn is_plain(&self) -> bool {
        self.stamps.is_none() && !self.filters() && self.style.is_plain()
    }

    /// Whether lines are left out.
    pub fn filters(&self) -> bool {
        self.span.is_some() || self.grep.is_some()
    }

    /// The same for a whole file, which no time cuts: its bytes as they are, unless its lines are asked for.
    pub fn for_whole(&self) -> LineOptions {
        let by_lines = self.grep.is_some() || self.style.json;
        if by_lines { LineOptions { span: None, ..self.clone() } } else { LineOptions::default() }
    }
}

/// Lines as they are printed.
#[derive(Default)]
pub struct Rendered {
    /// One after the other.
    pub bytes: Vec<u8>,
    /// Where each ends.
    pub ends: Vec<usize>,
}

impl Rendered {
    /// Forgets them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// The lines of one stream on their way.
pub struct Pipeline {
    stream: String,
    cut: Option<Cut>,
    grep: Option<Grep>,
    style: PrintStyle,
    timed: VecDeque<TimedLine>,
}

impl Pipeline {
    /// A way for the lines of the stream of that name.
    pub fn new(stream: &str, options: &LineOptions) -> Pipeline {
        let cut = options.stamps.clone().map(|stamps| Cut::new(stamps, options.span.clone()));
        let grep = options.grep.clone().map(Grep::new);
        Pipeline { stream: stream.to_owned(), cut, grep, style: options.style, timed: VecDeque::new() }
    }

    /// Takes the next line of the stream.
    pub fn take(&mut self, line: Line) {
        match &mut self.cut {
            Some(cut) => cut.take(line, |timed| self.timed.push_back(timed)),
            None => self.timed.push_back(TimedLine { line, time: None }),
        }
    }

    /// Lets go what waits for more lines, where none come for now.
    pub fn release(&mut self) {
        if let Some(cut) = &mut self.cut {
            cut.release(|timed| self.timed.push_back(timed));
        }
    }

    /// Whether lines of another time may be among those that were let through.
    pub fn is_inexact(&self) -> bool {
        self.cut.as_ref().is_some_and(Cut::is_inexact)
    }

    /// The name of the stream.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The next line that is of the time that is asked for.
    pub fn next_timed(&mut self) -> Option<TimedLine> {
        self.timed.pop_front()
    }

    /// Renders a line, if what it says is asked for.
    pub fn render(&mut self, timed: TimedLine, palette: &mut Palette, out: &mut Rendered) {
        let (style, stream) = (self.style, &self.stream);
        let mut show = |given| {
            match given {
                Shown::Line(timed) => style.write(stream, &timed, palette, &mut out.bytes),
                Shown::Apart => style.write_apart(&mut out.bytes),
            }
            out.ends.push(out.bytes.len());
        };
        match &mut self.grep {
            Some(grep) => grep.take(timed, show),
            None => show(Shown::Line(timed)),
        }
    }
}
