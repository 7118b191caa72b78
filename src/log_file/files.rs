//! The spool files of one log, one after the other. A generation that begins alone begins a file, so that positions in
//! the file are those that applications see, also for the kernel when it writes, maps or limits. Owns the descriptors
//! and the mapping from positions of the log to those in a file.
//!
//! Invariants: a generation lies in one file. Only the last file grows. Where two files have the bytes of a position,
//! the later one counts. A file ends before the next begins only where a power cut took its end.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::fs::{SeekFrom, Timespec, Timestamps, UTIME_NOW, copy_file_range, fstatfs, futimens, seek};

use crate::spool::NodeFiles;
use crate::spool::crash_point::crash_point;
use crate::spool::disk::{open_spool_file, punch};
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::{SpoolOffset, SpoolRange};

/// statfs(2), `f_type`.
const XFS_SUPER_MAGIC: rustix::fs::FsWord = 0x5846_5342;

/// A spool file that is open. Positions are those of the log.
#[derive(Clone, Debug)]
pub struct SpoolFile {
    file: Arc<File>,
    start: SpoolOffset,
}

impl SpoolFile {
    /// A file whose positions are those of its bytes.
    pub fn from_start(file: Arc<File>) -> SpoolFile {
        SpoolFile { file, start: SpoolOffset(0) }
    }

    /// Where it begins.
    pub fn start(&self) -> SpoolOffset {
        self.start
    }

    /// Where it ends.
    pub fn end(&self) -> io::Result<SpoolOffset> {
        Ok(self.start.plus(self.file.metadata()?.len()))
    }

    /// Where it ends while no write is under way. stat(2) shows how far a write has come, page by page; this asks under
    /// the lock that a write holds, which lseek(2) with SEEK_HOLE takes on ext4, btrfs, F2FS and tmpfs, and read(2) on
    /// XFS.
    pub fn end_between_writes(&self) -> io::Result<SpoolOffset> {
        let mut end = self.file.metadata()?.len();
        if fstatfs(&self.file)?.f_type == XFS_SUPER_MAGIC {
            let mut behind = vec![0; 64 * 1024];
            loop {
                let read = self.file.read_at(&mut behind, end)?;
                end += read as u64;
                if read < behind.len() {
                    return Ok(self.start.plus(end));
                }
            }
        }
        match seek(&*self.file, SeekFrom::Hole(end)) {
            Ok(hole) => end = hole,
            // It ends there still.
            Err(rustix::io::Errno::NXIO) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(self.start.plus(end))
    }

    /// The file itself, and a range of the log as a range in it.
    pub fn part(&self, range: SpoolRange) -> (Arc<File>, std::ops::Range<u64>) {
        (self.file.clone(), range.start.since(self.start)..range.end.since(self.start))
    }

    /// Appends; gives the number of bytes that there was room for.
    pub fn append(&self, data: &[u8]) -> io::Result<usize> {
        (&*self.file).write(data)
    }

    /// Reads; fewer bytes at the end.
    pub fn read_at(&self, into: &mut [u8], at: SpoolOffset) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.file.read_at(&mut into[filled..], at.since(self.start) + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    /// Reads all that is asked for.
    pub fn read_exact_at(&self, into: &mut [u8], at: SpoolOffset) -> io::Result<()> {
        self.file.read_exact_at(into, at.since(self.start))
    }

    /// Makes its bytes durable.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes it end there, with bytes that are missing.
    pub fn extend(&self, end: SpoolOffset) -> io::Result<()> {
        self.file.set_len(end.since(self.start))
    }

    /// Dates the last write.
    pub fn set_modified(&self, time: std::time::SystemTime) -> io::Result<()> {
        self.file.set_modified(time)
    }
}

/// All spool files of a log.
#[derive(Debug)]
pub struct Files {
    names: NodeFiles,
    /// By their beginnings; never empty.
    slots: Mutex<Vec<Slot>>,
}

/// One descriptor for all who have a file open, closed with the last of them: thousands of quiet logs hold none.
#[derive(Debug)]
struct Slot {
    start: SpoolOffset,
    open: Weak<File>,
}

impl Slot {
    fn new(start: SpoolOffset) -> Slot {
        Slot { start, open: Weak::new() }
    }

    fn open(&mut self, names: &NodeFiles) -> Result<SpoolFile, LocalError> {
        self.open_or_make(names, false)
    }

    fn open_or_make(&mut self, names: &NodeFiles, make: bool) -> Result<SpoolFile, LocalError> {
        let file = match self.open.upgrade() {
            Some(file) => file,
            None => {
                let file = Arc::new(open_spool_file(&names.data(self.start), make)?);
                self.open = Arc::downgrade(&file);
                file
            }
        };
        Ok(SpoolFile { file, start: self.start })
    }
}

impl Files {
    /// Those of a node that begin at `starts`; the first one where there is none.
    pub fn new(names: NodeFiles, mut starts: Vec<SpoolOffset>) -> Files {
        starts.sort_unstable();
        if starts.is_empty() {
            starts.push(SpoolOffset(0));
        }
        Files { names, slots: Mutex::new(starts.into_iter().map(Slot::new).collect()) }
    }

    /// Where they are, and the log's markers.
    pub fn names(&self) -> &NodeFiles {
        &self.names
    }

    /// Recovery: forgets empty files at the end with which no generation `begins`, and makes the file that holds
    /// `first` where it is missing, since its bytes are to be missed and not those of another one to be read.
    pub fn complete(&self, first: SpoolOffset, begins: impl Fn(SpoolOffset) -> bool) -> Result<(), LocalError> {
        let mut slots = self.slots.lock();
        while let [.., last] = &mut slots[..]
            && last.start > SpoolOffset(0)
            && !begins(last.start)
        {
            let file = last.open(&self.names)?;
            let path = self.names.data(file.start);
            if file.end().at("stat", &path)? > file.start {
                break;
            }
            fs::remove_file(&path).at("remove", &path)?;
            slots.pop();
        }
        if slots.first().is_none_or(|slot| slot.start > first) {
            slots.insert(0, Slot::new(first));
        }
        slots[0].open_or_make(&self.names, true)?;
        Ok(())
    }

    /// Makes the first one, of a log that is made.
    pub fn make(&self) -> Result<SpoolFile, LocalError> {
        self.slots.lock()[0].open_or_make(&self.names, true)
    }

    /// Takes the first one, of a log that is made, from the code that made it before. It is dated now.
    pub fn adopt(&self, file: &SpoolFile) -> Result<(), LocalError> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        futimens(&file.file, &times).at("date", &self.names.data(file.start))?;
        self.slots.lock()[0].open = Arc::downgrade(&file.file);
        Ok(())
    }

    /// Where they begin.
    pub fn starts(&self) -> Vec<SpoolOffset> {
        self.slots.lock().iter().map(|slot| slot.start).collect()
    }

    /// The last one, which grows.
    pub fn last(&self) -> Result<SpoolFile, LocalError> {
        self.at(SpoolOffset(u64::MAX))
    }

    /// The one that holds a position.
    pub fn at(&self, at: SpoolOffset) -> Result<SpoolFile, LocalError> {
        let mut slots = self.slots.lock();
        let behind = slots.partition_point(|slot| slot.start <= at);
        slots[behind.max(1) - 1].open(&self.names)
    }

    /// Where the last one begins, and its path.
    pub fn current(&self) -> (SpoolOffset, PathBuf) {
        let start = self.slots.lock().last().map_or(SpoolOffset(0), |slot| slot.start);
        (start, self.names.data(start))
    }

    /// Where the last one begins, its length and times.
    pub fn metadata(&self) -> Result<(SpoolOffset, Metadata), LocalError> {
        let (start, open) = {
            let slots = self.slots.lock();
            slots.last().map_or((SpoolOffset(0), None), |slot| (slot.start, slot.open.upgrade()))
        };
        let path = self.names.data(start);
        let metadata = open.map_or_else(|| fs::metadata(&path), |file| file.metadata());
        Ok((start, metadata.at("stat", &path)?))
    }

    /// Gives the disk space of a range back.
    pub fn punch(&self, range: SpoolRange) -> Result<(), LocalError> {
        let file = self.at(range.start)?;
        let (of, part) = file.part(range);
        punch(&of, part.start, part.end - part.start, &self.names.data(file.start))
    }

    /// Gives back what lies before a position: whole files, and the front of the one that holds it.
    pub fn forget_before(&self, end: SpoolOffset) -> Result<(), LocalError> {
        let mut slots = self.slots.lock();
        while let [first, next, ..] = &slots[..]
            && next.start <= end
        {
            let path = self.names.data(first.start);
            match fs::remove_file(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                removed => removed.at("remove", &path)?,
            }
            slots.remove(0);
            // The next start goes on where this ends.
            crash_point("forget: a spool file is removed");
        }
        let start = slots[0].start;
        drop(slots);
        if end > start { self.punch(SpoolRange { start, end }) } else { Ok(()) }
    }

    /// Has a new file begin at `base`, within the last one or at its end, and go on with a durable copy of the bytes
    /// that there are behind it. Nobody else may have the log open.
    pub fn begin_at(&self, base: SpoolOffset) -> Result<(), LocalError> {
        let old = self.last()?;
        let path = self.names.data(base);
        let end = old.end().at("stat", &path)?;
        if end <= base {
            let written = old.file.metadata().and_then(|metadata| metadata.modified());
            let fresh = open_spool_file(&path, true)?;
            // What stat(2) shows of the last write is that of the last spool file.
            written.and_then(|time| fresh.set_modified(time)).at("date", &path)?;
        } else {
            let fresh = self.names.new_data(base);
            copy(&old, SpoolRange { start: base, end }, &fresh).at("copy to", &fresh).inspect_err(
                // A full disk is not to be filled by what is of no use.
                |_| drop(fs::remove_file(&fresh)),
            )?;
            // It is removed: the old file has all bytes.
            crash_point("begin: the bytes are copied");
            fs::rename(&fresh, &path).at("rename", &fresh)?;
            self.names.sync()?;
            // The bytes are there twice until what is before them is settled; those of the new file count.
            crash_point("begin: the new file has its name");
        }
        self.slots.lock().push(Slot::new(base));
        Ok(())
    }
}

/// Copies a range to a new file, durably, with the time of the last write; holes stay holes.
fn copy(from: &SpoolFile, range: SpoolRange, to: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(to)?;
    let (source, part) = from.part(range);
    file.set_len(part.end - part.start)?;
    let mut at = part.start;
    loop {
        match seek(&*source, SeekFrom::Data(at)) {
            Ok(data) => at = data,
            // No byte behind it but holes.
            Err(rustix::io::Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        }
        let mut end = seek(&*source, SeekFrom::Hole(at))?.min(part.end);
        while at < end {
            let (mut read, mut write) = (at, at - part.start);
            let len = usize::try_from(end - at).unwrap_or(usize::MAX);
            match copy_file_range(&*source, Some(&mut read), &file, Some(&mut write), len)? {
                // Shorter than it was a moment ago.
                0 => end = at,
                copied => at += copied as u64,
            }
        }
        if at >= part.end {
            break;
        }
    }
    file.set_modified(source.metadata()?.modified()?)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ids::NodeId;

    fn files(dir: &Path) -> Files {
        let files = Files::new(NodeFiles::new(dir.into(), NodeId(7)), Vec::new());
        files.make().expect("made");
        files
    }

    fn read(files: &Files, start: u64, end: u64) -> String {
        let mut bytes = vec![0; (end - start) as usize];
        let file = files.at(SpoolOffset(start)).expect("a file");
        file.read_exact_at(&mut bytes, SpoolOffset(start)).expect("read");
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_file_that_begins_within_another_has_its_bytes() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = files(dir.path());
        files.last().expect("open").append(b"old line\nnew line\n").expect("appended");
        files.begin_at(SpoolOffset(9)).expect("begun");
        files.last().expect("open").append(b"more\n").expect("appended");
        assert_eq!(read(&files, 0, 9), "old line\n");
        assert_eq!(read(&files, 9, 23), "new line\nmore\n");
        let (start, metadata) = files.metadata().expect("metadata");
        assert_eq!((start.0, metadata.len()), (9, 14));
        files.forget_before(SpoolOffset(9)).expect("forgotten");
        assert_eq!(files.starts(), [SpoolOffset(9)]);
        assert!(!files.names().data(SpoolOffset(0)).exists());
    }

    #[test]
    fn holes_are_not_filled_when_bytes_are_copied() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = files(dir.path());
        let (big, at) = (vec![b'x'; 1 << 20], |at| SpoolOffset(at));
        files.last().expect("open").append(&big).expect("appended");
        files.punch(SpoolRange { start: at(1000), end: at(1 << 19) }).expect("punched");
        files.begin_at(at(100)).expect("begun");
        assert_eq!(read(&files, 100, 110), "xxxxxxxxxx");
        assert_eq!(read(&files, (1 << 20) - 3, 1 << 20), "xxx");
        let (_, metadata) = files.metadata().expect("metadata");
        assert_eq!(metadata.len(), (1 << 20) - 100);
        use std::os::unix::fs::MetadataExt;
        assert!(metadata.blocks() * 512 < (1 << 20) - (1 << 18), "{}", metadata.blocks());
    }
}
