//! What a program knows it wrote, against what the bucket holds.
//!
//! Owns: the journal that each writing program keeps on a local disk (`try LINE`, then `ok LINE` or `err LINE`) and the
//! comparison. A line that was acknowledged must be in the bucket exactly once. A line whose write failed, or whose
//! writer died between write and acknowledgement, may be there once or not at all; where the writer itself was killed,
//! also its beginning, which is then where the next line begins: the kernel stops a copy at the end of a page when the
//! program that asked for it is killed, on every file system. Nothing else may be there.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::bucket::Bucket;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Written,
    Unknown,
}

/// The lines that programs tried to write, in order.
#[derive(Default)]
pub struct Ledger {
    order: Vec<String>,
    fate: HashMap<String, Fate>,
    /// Where in `order` the lines of each further program begin.
    programs: Vec<usize>,
    /// Writes that were answered with an error.
    pub failed: usize,
}

impl Ledger {
    /// Every one of these lines was acknowledged.
    pub fn written(lines: impl IntoIterator<Item = String>) -> Self {
        let mut ledger = Self::default();
        for line in lines {
            ledger.ok(&line);
        }
        ledger
    }

    /// Reads a program's journal.
    pub fn read(journal: &Path) -> Self {
        let mut ledger = Self::default();
        for entry in std::fs::read_to_string(journal).unwrap().split_inclusive('\n') {
            // The journal's own last line is torn when its program was killed while it wrote it.
            let Some(entry) = entry.strip_suffix('\n') else { continue };
            match entry.split_once(' ') {
                Some(("try", line)) => ledger.maybe(line),
                Some(("ok", line)) => ledger.ok(line),
                Some(("err", _)) => ledger.failed += 1,
                _ => panic!("{entry:?} is no entry of a journal"),
            }
        }
        ledger
    }

    /// Adds a line that was acknowledged.
    pub fn ok(&mut self, line: &str) {
        self.note(line, Fate::Written);
    }

    /// Adds a line that may or may not have been accepted.
    pub fn maybe(&mut self, line: &str) {
        self.note(line, Fate::Unknown);
    }

    fn note(&mut self, line: &str, fate: Fate) {
        if self.fate.insert(line.to_owned(), fate).is_none() {
            self.order.push(line.to_owned());
        }
    }

    /// Adds what another program wrote.
    pub fn add(&mut self, other: Self) {
        self.programs.extend([0].iter().chain(&other.programs).map(|at| at + self.order.len()));
        for line in other.order {
            self.note(&line, other.fate[&line]);
        }
        self.failed += other.failed;
    }

    /// All lines, in the order in which they were tried.
    pub fn order(&self) -> impl Iterator<Item = &String> {
        self.order.iter()
    }

    /// How many lines were acknowledged.
    pub fn count(&self) -> usize {
        self.fate.values().filter(|fate| **fate == Fate::Written).count()
    }

    /// The lines without the beginnings of those in whose write their program was killed, each taken off once.
    fn whole<'a>(&self, found: &'a [String]) -> Vec<&'a str> {
        let unknown = |line: &&String| self.fate[*line] == Fate::Unknown;
        let mut dying: Vec<&String> = self.order.iter().filter(unknown).collect();
        let known = |line: &str| self.fate.contains_key(line);
        let mut whole_of = |line: &'a str| {
            if known(line) {
                return Some(line);
            }
            let rest_behind = |begun: &String| {
                let mut cuts = (1..begun.len()).rev().filter_map(|at| begun.get(..at));
                cuts.find_map(|cut| line.strip_prefix(cut).filter(|r| r.is_empty() || known(r)))
            };
            let mut both = dying.iter().enumerate();
            let found = both.find_map(|(at, begun)| Some((at, rest_behind(begun)?)));
            let Some((at, rest)) = found else { return Some(line) };
            dying.remove(at);
            Some(rest).filter(|rest| !rest.is_empty())
        };
        found.iter().filter_map(|line| whole_of(line)).collect()
    }

    /// Insists that `found` holds each line as often as it must.
    pub fn assert_in(&self, found: &[String]) {
        let mut times: HashMap<&str, usize> = HashMap::new();
        for line in self.whole(found) {
            *times.entry(line).or_default() += 1;
        }
        let seen = |line: &str| times.get(line).copied().unwrap_or(0);
        let some = |lines: Vec<&str>| {
            let first = lines.iter().take(3).collect::<Vec<_>>();
            format!("{} (such as {first:?})", lines.len())
        };
        let written = |line: &&str| self.fate[*line] == Fate::Written;
        let tried = || self.order().map(String::as_str);
        let lost: Vec<&str> = tried().filter(written).filter(|line| seen(line) == 0).collect();
        let doubled: Vec<&str> = tried().filter(|line| seen(line) > 1).collect();
        let strange = |line: &&str| !self.fate.contains_key(*line);
        let foreign: Vec<&str> = times.keys().copied().filter(strange).collect();
        assert!(
            lost.is_empty() && doubled.is_empty() && foreign.is_empty(),
            "of {} written lines: lost {}, doubled {}, never written or torn {}",
            self.count(),
            some(lost),
            some(doubled),
            some(foreign),
        );
    }

    /// Adds a line to the table of what the scenarios wrote and what was found, where the environment names a file for
    /// it (`SCENARIO_REPORT`); the README's figures come from there.
    pub fn report(&self, bucket: &Bucket, found: &[String], starts: usize) {
        let Some(path) = std::env::var_os("SCENARIO_REPORT") else { return };
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        let (written, tried, found) = (self.count(), self.order.len(), found.len());
        let objects = bucket.all_segments().len();
        let row = format!("{name}\t{starts}\t{tried}\t{written}\t{found}\t{objects}\n");
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(row.as_bytes()).unwrap();
    }

    /// Insists also that the lines of one writer stand in the order in which they were written.
    pub fn assert_in_order(&self, found: &[String]) {
        self.assert_in(found);
        let expected = self.order.iter().filter(|line| self.fate[*line] == Fate::Written);
        let found = self.whole(found).into_iter().filter(|line| self.fate[*line] == Fate::Written);
        assert!(expected.eq(found), "the lines are all there, but in another order");
    }
    /// Insists that a stream has the lines of each program in the order in which it wrote them; those of two programs
    /// may lie among each other.
    pub fn assert_each_in_order(&self, stream: &str, found: &[String]) {
        let place: HashMap<&str, usize> = self.order.iter().enumerate().map(|(at, line)| (line.as_str(), at)).collect();
        let mut last: HashMap<usize, (usize, &str)> = HashMap::new();
        let written = |line: &&str| self.fate.get(*line) == Some(&Fate::Written);
        for line in self.whole(found).into_iter().filter(written) {
            let program = self.programs.partition_point(|begin| *begin <= place[line]);
            if let Some((at, before)) = last.insert(program, (place[line], line)) {
                assert!(at < place[line], "in {stream}, {line:?} stands behind {before:?}");
            }
        }
    }
}
