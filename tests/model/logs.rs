//! What applications know of their logs: byte vectors, and the names by which they are found. The reference that a
//! daemon is held against, whatever happened to it.

use std::collections::BTreeMap;

use logsinkfs::types::time::Utc;

use super::check::Generation;

/// The names that logs can have.
pub const NAMES: [&str; 3] = ["a.log", "b.log", "dir/c.log"];

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// Bytes are appended to the log of that name, which is made if there is none.
    Append(usize, Vec<u8>),
    Truncate(usize),
    /// The log is closed, and opened with O_TRUNC.
    OpenAnew(usize),
    /// Onto another name, replacing the log that has it.
    Rename(usize, usize),
    Unlink(usize),
    Close(usize),
    /// The next PUT of a segment is not carried out.
    FailNextPut,
    /// The reply to the next PUT of a segment is lost.
    LoseNextReply,
    /// Seconds pass.
    Pass(u64),
    /// The wall clock is set back by seconds.
    ClockBack(u64),
    /// Others take all that is left of the spool's room, or give it back.
    DiskFull(bool),
    /// Everything is sealed and uploaded.
    Flush,
    /// Everything is sealed, and what follows finds it so.
    SealAll,
    /// Defect S3 has leaves the disk.
    Reclaim,
    /// The daemon is killed, and another one started.
    Crash,
    /// The daemon is killed at the crash point that it comes to after so many others, and another one started.
    CrashAt(usize),
    /// The daemon is stopped as it should be, and another one started.
    Restart,
}

/// A log as an application knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    /// The path under which it was made, or was put in another's place before anything was sealed.
    stream: &'static str,
    generations: Vec<Written>,
}

/// A generation as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Written {
    bytes: Vec<u8>,
    /// When it was born, and when its first byte was written, counted in steps.
    born: u64,
    first: Option<u64>,
    /// What the clock said when the bytes from an offset on were written, or earlier if it was set back since.
    times: Vec<(usize, Utc)>,
}

impl Written {
    fn append(&mut self, bytes: &[u8], step: u64, time: Utc) {
        if !bytes.is_empty() {
            self.first.get_or_insert(step);
            self.times.push((self.bytes.len(), time));
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// When the byte at an offset was written.
    fn time_of(&self, offset: u64) -> Option<Utc> {
        let before = self.times.iter().rfind(|(at, _)| *at as u64 <= offset);
        before.map(|(_, time)| *time)
    }
}

/// All logs of one daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    files: Vec<File>,
    names: BTreeMap<&'static str, usize>,
    steps: u64,
}

impl Logs {
    /// The file of a name, made when there is none.
    fn file(&mut self, name: &'static str) -> &mut File {
        let next = self.files.len();
        let at = *self.names.entry(name).or_insert(next);
        if at == next {
            let first = Written { born: self.steps, ..Written::default() };
            self.files.push(File { stream: name, generations: vec![first] });
        }
        &mut self.files[at]
    }

    /// Which file a name stands for.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// What the file of a name holds, as an application reads it.
    pub fn content(&self, name: &str) -> Option<&[u8]> {
        self.named(name).map(|file| self.files[file].generations.last().unwrap().bytes.as_slice())
    }

    /// Carries out what changes logs. `latest` is the latest that the clock has shown.
    pub fn apply(&mut self, step: &Step, latest: Utc) {
        self.steps += 1;
        let steps = self.steps;
        match step {
            Step::Append(name, bytes) => {
                let log = self.file(NAMES[*name]);
                log.generations.last_mut().unwrap().append(bytes, steps, latest);
            }
            Step::Truncate(name) | Step::OpenAnew(name) => {
                let next = Written { born: steps, ..Written::default() };
                self.file(NAMES[*name]).generations.push(next);
            }
            Step::Rename(from, to) if from != to => {
                if let Some(file) = self.names.remove(NAMES[*from]) {
                    self.names.insert(NAMES[*to], file);
                }
            }
            Step::Unlink(name) => {
                self.names.remove(NAMES[*name]);
            }
            _ => {}
        }
    }

    /// The log of a name goes on in the stream of that name, where it is as old as this step.
    pub fn take_stream(&mut self, name: &'static str, latest: Utc) {
        let step = self.steps;
        let file = self.file(name);
        file.stream = name;
        for written in &mut file.generations {
            written.born = step;
            written.first = written.first.map(|_| step);
            written.times.iter_mut().for_each(|(_, time)| *time = latest.max(*time));
        }
    }

    /// Compares with what a bucket has of one writer; `Err` says what differs.
    pub fn compare(&self, found: Vec<Generation>) -> Result<(), String> {
        let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
        let mut arrived: BTreeMap<String, Vec<Generation>> = BTreeMap::new();
        for generation in found {
            let number = numbers.entry(generation.stream.clone()).or_default();
            *number += 1;
            if generation.number.0 != *number || generation.offset != 0 {
                return Err(format!("something is missing before {generation:?}"));
            }
            arrived.entry(generation.stream.clone()).or_default().push(generation);
        }
        let mut accepted: BTreeMap<String, Vec<&Written>> = BTreeMap::new();
        for file in &self.files {
            let written = file.generations.iter().filter(|written| written.first.is_some());
            accepted.entry(file.stream.to_owned()).or_default().extend(written);
        }
        accepted.retain(|_, generations| !generations.is_empty());
        for (stream, generations) in &accepted {
            let arrived = arrived.remove(stream).unwrap_or_default();
            same(stream, &arrived, generations)?;
        }
        if arrived.is_empty() { Ok(()) } else { Err(format!("nobody wrote {arrived:?}")) }
    }
}

/// Compares the generations of one stream: each arrived once, the elder before the younger, and none of its bytes is
/// older than the key of its segment says.
fn same(stream: &str, arrived: &[Generation], accepted: &[&Written]) -> Result<(), String> {
    let mut left = accepted.to_vec();
    let mut in_order = Vec::new();
    for generation in arrived {
        let at = left.iter().position(|written| written.bytes == generation.bytes);
        let Some(at) = at else {
            return Err(format!("nobody wrote {generation:?}; accepted: {accepted:#?}"));
        };
        let written = left.swap_remove(at);
        for (offset, start) in &generation.starts {
            if written.time_of(*offset).is_some_and(|time| time < *start) {
                return Err(format!("a byte is older than {start:?} at {offset} of {generation:?}"));
            }
        }
        in_order.push(written);
    }
    if !left.is_empty() {
        return Err(format!("{stream} lacks {left:#?}; arrived: {arrived:#?}"));
    }
    let before = |a: &Written, b: &Written| a.born < b.born && a.first < b.first;
    for (at, written) in in_order.iter().enumerate() {
        if let Some(younger) = in_order[..at].iter().find(|other| before(written, other)) {
            let brief =
                |w: &Written| (w.born, w.first, w.bytes.len(), String::from_utf8_lossy(&w.bytes[..8]).into_owned());
            return Err(format!("of {stream} {:?} is numbered before {:?}", brief(younger), brief(written)));
        }
    }
    Ok(())
}
