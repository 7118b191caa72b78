//! What applications know of their logs: byte vectors, and the names by which they are found. The
//! reference that a daemon is held against, whatever happened to it.

use std::collections::BTreeMap;

use super::check::Generation;

/// The names that logs can have.
pub const NAMES: [&str; 3] = ["a.log", "b.log", "dir/c.log"];

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// Bytes are appended to the log of that name, which is made if there is none.
    Append(usize, Vec<u8>),
    Truncate(usize),
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
    /// What S3 has leaves the disk.
    Reclaim,
    /// The daemon is killed, and another one started.
    Crash,
    /// The daemon is killed at the crash point that it comes to after so many others, and another
    /// one started.
    CrashAt(usize),
    /// The daemon is stopped as it should be, and another one started.
    Restart,
}

/// A log as an application knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    /// The path under which it was made.
    stream: &'static str,
    generations: Vec<Vec<u8>>,
}

/// All logs of one daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    files: Vec<File>,
    names: BTreeMap<&'static str, usize>,
}

impl Logs {
    /// The file of a name, made when there is none.
    fn file(&mut self, name: &'static str) -> &mut File {
        let next = self.files.len();
        let at = *self.names.entry(name).or_insert(next);
        if at == next {
            self.files.push(File { stream: name, generations: vec![Vec::new()] });
        }
        &mut self.files[at]
    }

    /// Which file a name stands for.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// What the file of a name holds, as an application reads it.
    pub fn content(&self, name: &str) -> Option<&[u8]> {
        self.named(name).map(|file| self.files[file].generations.last().unwrap().as_slice())
    }

    /// Carries out what changes logs.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Append(name, bytes) => {
                let log = self.file(NAMES[*name]);
                log.generations.last_mut().unwrap().extend_from_slice(bytes);
            }
            Step::Truncate(name) => self.file(NAMES[*name]).generations.push(Vec::new()),
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

    /// Compares with what a bucket has of one writer; `Err` says what differs.
    pub fn compare(&self, found: Vec<Generation>) -> Result<(), String> {
        let mut arrived: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
        let mut number_of: BTreeMap<String, u64> = BTreeMap::new();
        for generation in found {
            let number = numbers.entry(generation.stream.clone()).or_default();
            *number += 1;
            if generation.number.0 != *number || generation.offset != 0 {
                return Err(format!("something is missing before {generation:?}"));
            }
            let text = String::from_utf8(generation.bytes).unwrap();
            number_of.insert(text.clone(), *number);
            arrived.entry(generation.stream).or_default().push(text);
        }
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in &self.files {
            let written = file.generations.iter().filter(|bytes| !bytes.is_empty());
            let written: Vec<_> =
                written.map(|bytes| String::from_utf8(bytes.clone()).unwrap()).collect();
            let in_order = written.iter().filter_map(|text| number_of.get(text));
            if !in_order.is_sorted() {
                return Err(format!(
                    "the generations of {} are numbered out of order",
                    file.stream
                ));
            }
            expected.entry(file.stream.to_owned()).or_default().extend(written);
        }
        expected.retain(|_, generations| !generations.is_empty());
        for generations in arrived.values_mut().chain(expected.values_mut()) {
            generations.sort();
        }
        match arrived == expected {
            true => Ok(()),
            false => Err(format!("arrived: {arrived:#?}\naccepted: {expected:#?}")),
        }
    }
}
