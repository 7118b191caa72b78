//! Leaves out lines by what they say, as grep(1) does, with lines around those that match. Pure.

use std::collections::VecDeque;

use regex::bytes::Regex;

use super::cut::TimedLine;

/// Which lines are wanted.
#[derive(Clone, Debug)]
pub struct GrepOptions {
    /// What they match.
    pub pattern: Regex,
    /// Whether those are wanted that do not.
    pub invert: bool,
    /// Lines before one that is wanted.
    pub before: usize,
    /// Lines behind it.
    pub after: usize,
}

/// What is printed: a line, or a mark between lines that do not follow each other.
pub enum Shown {
    /// A line.
    Line(TimedLine),
    /// Lines were left out here.
    Apart,
}

/// Matches lines in their order.
pub struct Grep {
    options: GrepOptions,
    before: VecDeque<TimedLine>,
    /// Lines that are still wanted because of one before.
    after: usize,
    left_out: bool,
    any: bool,
}

impl Grep {
    /// No line was seen yet.
    pub fn new(options: GrepOptions) -> Grep {
        Grep { options, before: VecDeque::new(), after: 0, left_out: false, any: false }
    }

    /// Takes a line; gives what is wanted by now.
    pub fn take(&mut self, timed: TimedLine, mut give: impl FnMut(Shown)) {
        let context = self.options.before + self.options.after > 0;
        if self.options.pattern.is_match(&timed.line.text) != self.options.invert {
            if context && self.any && self.left_out {
                give(Shown::Apart);
            }
            self.before.drain(..).for_each(|line| give(Shown::Line(line)));
            (self.after, self.left_out, self.any) = (self.options.after, false, true);
            give(Shown::Line(timed));
        } else if self.after > 0 {
            self.after -= 1;
            give(Shown::Line(timed));
        } else {
            self.before.push_back(timed);
            if self.before.len() > self.options.before {
                self.before.pop_front();
                self.left_out = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::cut::tests::line;

    fn grep(pattern: &str, invert: bool, before: usize, after: usize) -> String {
        let pattern = Regex::new(pattern).expect("a pattern");
        let mut grep = Grep::new(GrepOptions { pattern, invert, before, after });
        let mut shown = String::new();
        for text in "abcdefghij".split("").filter(|text| !text.is_empty()) {
            let timed = TimedLine { line: line("w-aaaaaaaa", 1, 0, text), time: None };
            grep.take(timed, |given| match given {
                Shown::Line(timed) => shown.push_str(&String::from_utf8_lossy(&timed.line.text)),
                Shown::Apart => shown.push('-'),
            });
        }
        shown
    }

    #[test]
    fn lines_match_as_with_grep() {
        assert_eq!(grep("[cg]", false, 0, 0), "cg");
        assert_eq!(grep("[cg]", true, 0, 0), "abdefhij");
        assert_eq!(grep("[cg]", false, 1, 0), "bc-fg");
        assert_eq!(grep("[cg]", false, 0, 1), "cd-gh");
        assert_eq!(grep("[cg]", false, 2, 1), "abcd-efgh".replace('-', ""));
        assert_eq!(grep("[cd]", false, 1, 1), "bcde");
        assert_eq!(grep("x", false, 1, 1), "");
    }
}
