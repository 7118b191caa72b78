//! Who reads logs while other files begin. A file with the bytes of a log is a copy of it only if somebody read the log
//! to write it: two programs may well write the same.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::LogFile;
use crate::spool::record::CopySource;
use crate::types::ids::HandleId;
use crate::types::time::Monotonic;

/// A program that copies opens both files within this time, also on a busy machine.
pub const TOGETHER: Duration = Duration::from_secs(10);
/// Handles and new files that are remembered.
const REMEMBERED: usize = 256;

/// The latest handles by which logs are read, and the latest files that began.
#[derive(Debug, Default)]
pub struct Readers {
    reads: Mutex<VecDeque<Read>>,
    begun: Mutex<VecDeque<Begun>>,
}

#[derive(Debug)]
struct Begun {
    log: Weak<LogFile>,
    at: Monotonic,
    thread: u32,
}

#[derive(Debug)]
struct Read {
    source: CopySource,
    thread: u32,
    opened: Monotonic,
    closed: Option<Monotonic>,
}

/// How far somebody is who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// He has the log open.
    Open,
    /// He has closed it.
    Closed(Monotonic),
    /// Nothing is known: another worker saw it, or it is long ago.
    Unknown,
}

impl Readers {
    /// A log was opened by a handle that may read. Gives the files that the same program began just before: what is
    /// read may be for them.
    pub fn opened(&self, source: CopySource, thread: u32, now: Monotonic) -> Vec<Arc<LogFile>> {
        let mut reads = self.reads.lock();
        if reads.len() == REMEMBERED {
            // One that is open tells that it copies nothing; what is forgotten tells nothing.
            let closed = reads.iter().position(|read| read.closed.is_some());
            reads.remove(closed.unwrap_or(0));
        }
        reads.push_back(Read { source, thread, opened: now, closed: None });
        drop(reads);
        let begun = self.begun.lock();
        let together = begun.iter().rev().take_while(|begun| now.since(begun.at) < TOGETHER);
        let of_program = together.filter(|begun| is_one_program(thread, begun.thread) != Some(false));
        of_program.filter_map(|begun| begun.log.upgrade()).filter(|log| log.id != source.node).collect()
    }

    /// A handle is closed.
    pub fn closed(&self, handle: HandleId, now: Monotonic) {
        let mut reads = self.reads.lock();
        if let Some(read) = reads.iter_mut().rev().find(|read| read.source.handle == handle) {
            read.closed = Some(now);
        }
    }

    /// A file begins. Gives the logs that the same program has just begun to read: those that it has open, and then
    /// those that it has closed, the latest first.
    pub fn begins(&self, log: &Arc<LogFile>, thread: u32, now: Monotonic) -> Vec<CopySource> {
        let mut begun = self.begun.lock();
        if begun.len() == REMEMBERED {
            begun.pop_front();
        }
        begun.push_back(Begun { log: Arc::downgrade(log), at: now, thread });
        drop(begun);
        let reads = self.reads.lock();
        let together = reads.iter().rev().take_while(|read| now.since(read.opened) < TOGETHER);
        let of_program = together.filter(|read| read.source.node != log.id && read.may_be_for(thread));
        let source = |read: &Read| CopySource { was_closed: read.closed.is_some(), ..read.source };
        let mut sources: Vec<_> = of_program.map(source).collect();
        sources.sort_by_key(|source| source.was_closed);
        sources
    }

    /// How far the reader behind a handle is.
    pub fn reading(&self, handle: HandleId) -> Reading {
        let reads = self.reads.lock();
        match reads.iter().rev().find(|read| read.source.handle == handle) {
            None => Reading::Unknown,
            Some(Read { closed: None, .. }) => Reading::Open,
            Some(Read { closed: Some(at), .. }) => Reading::Closed(*at),
        }
    }
}

impl Read {
    /// Whether a file that a thread begins may be written with what is read. Who has closed the log may well write the
    /// same to another one, so it must be the same program beyond doubt: Node.js opens both on threads of a pool, and
    /// may have read the log before the copy begins.
    fn may_be_for(&self, thread: u32) -> bool {
        let is_one = is_one_program(thread, self.thread);
        if self.closed.is_some() { is_one == Some(true) } else { is_one != Some(false) }
    }
}

/// Whether a thread, which waits for us, is one of the program of another one, or the shell's that has opened the file
/// for it; `None` where that cannot be told: programs in other containers are not seen from here. `/proc/TID/task` has
/// the threads of the whole program ([proc(5)](https://man7.org/linux/man-pages/man5/proc_pid_task.5.html)).
fn is_one_program(waiting: u32, other: u32) -> Option<bool> {
    let exists = |path: String| Path::new(&path).exists();
    let is_seen = |thread: u32| thread != 0 && exists(format!("/proc/{thread}"));
    if !is_seen(waiting) || !is_seen(other) {
        return None;
    }
    let is_thread = || exists(format!("/proc/{waiting}/task/{other}"));
    let is_child = || parent(waiting) == Some(other) || parent(other) == Some(waiting);
    Some(waiting == other || is_thread() || is_child())
}

fn parent(thread: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    // Behind the name, which may have anything in it: the state, and the parent.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
