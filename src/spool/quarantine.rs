//! The quarantine: a folder of the spool with what could not be used or sent as it was sealed, and a list of dropped
//! ranges. Owns their file names and the account of both. Its content stays until somebody removes it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::crash_point::crash_point;
use super::disk::{Durable, load_json, open_regular, read_regular, store_json, sync_folder};
use super::marker::Marker;
use crate::types::errors::{AtPath, LocalError};
use crate::types::ids::{SpoolOffset, SpoolRange};
use crate::types::time::Utc;

/// The folder's name in the spool.
pub const QUARANTINE: &str = "quarantine";
/// The list of what was dropped.
const DROPPED_LIST: &str = "given-up";
/// Bytes of that list; what is dropped beyond is in the bucket's marks alone.
const DROPPED_LIST_MAX: u64 = 16 << 20;
/// What is kept beside the bytes of a range.
const NOTE: &str = "json";
/// What the name of a copy begins with that is not whole yet.
const HALF: &str = ".half-";
/// Bytes copied at once.
const COPY_CHUNK: usize = 256 * 1024;

/// What S3 does not have, and will not get by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Files that were quarantined.
    pub quarantined_files: u64,
    /// Their bytes.
    pub quarantined_bytes: u64,
    /// Bytes that were dropped because the spool was full.
    pub dropped_listed_bytes: u64,
}

impl Account {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Account::default()
    }
}

/// Why the bytes of a range are in the quarantine, as it is kept beside them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    /// The reason, for people.
    pub why: String,
    /// When.
    pub at: Utc,
    /// What the range was to be called, where that is known.
    #[serde(flatten)]
    pub marker: Option<Marker>,
}

/// A range that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRange {
    /// The key that its segment was to have.
    pub key: String,
    /// Its bytes, uncompressed.
    pub bytes: u64,
    /// When.
    pub at: Utc,
}

/// A file that was quarantined.
#[derive(Clone, Debug)]
pub struct QuarantinedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes; those of all files of a folder.
    pub bytes: u64,
    /// What is known of it.
    pub note: Option<Note>,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Quarantine(PathBuf);

impl Quarantine {
    /// That of the spool in a directory.
    pub fn of(spool: &Path) -> Quarantine {
        Quarantine(spool.join(QUARANTINE))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Moves a file or folder that cannot be used out of the way, keeping it.
    pub fn add(&self, path: &Path, name: &str) -> Result<PathBuf, LocalError> {
        let target = self.free_name(name);
        fs::rename(path, &target).at("quarantine", path)?;
        // Whatever was to follow finds it gone, and goes on without.
        crash_point("spool: quarantined");
        Ok(target)
    }

    /// A path that nothing has, for a copy of that name: node ids, and with them names, come again.
    pub fn free_name(&self, name: &str) -> PathBuf {
        let mut target = self.0.join(name);
        let mut n = 0;
        while fs::symlink_metadata(&target).is_ok() {
            n += 1;
            target = self.0.join(format!("{name}.{n}"));
        }
        target
    }

    /// Keeps a copy of a range of a log, durably, with what is known of it. `read` fills a buffer from a position on.
    pub fn keep_copy(
        &self,
        read: impl Fn(&mut [u8], SpoolOffset) -> io::Result<()>,
        range: SpoolRange,
        name: &str,
        note: &Note,
    ) -> Result<PathBuf, LocalError> {
        let target = self.free_name(name);
        let half = self.0.join(format!("{HALF}{name}"));
        let copy = File::create(&half).at("create", &half)?;
        let mut chunk = vec![0; COPY_CHUNK];
        let mut at = range.start;
        while at < range.end {
            let len = usize::try_from(range.end.since(at)).unwrap_or(COPY_CHUNK).min(COPY_CHUNK);
            read(&mut chunk[..len], at).at("read for", &target)?;
            copy.write_all_at(&chunk[..len], at.since(range.start)).at("write", &half)?;
            at = at.plus(len as u64);
        }
        copy.sync_all().at("sync", &half)?;
        let half_note = half.with_added_extension(NOTE);
        store_json(&half_note, note, Durable::Now)?;
        fs::rename(&half_note, target.with_added_extension(NOTE)).at("rename", &half_note)?;
        // It is quarantined once more.
        crash_point("quarantine: the note is kept");
        // Whoever takes away what is here sees the bytes from now on, with their note.
        fs::rename(&half, &target).at("rename", &half)?;
        sync_folder(&self.0)?;
        Ok(target)
    }

    /// Removes what a start before left half written.
    pub fn tidy(&self) {
        let all = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        // What cannot be removed is written over.
        all.filter(|path| is_half(path)).for_each(|path| drop(fs::remove_file(path)));
    }

    /// Takes away what was quarantined: S3 has it.
    pub fn remove(&self, aside: &QuarantinedFile) -> Result<(), LocalError> {
        for file in aside.files() {
            fs::remove_file(&file).at("remove", &file)?;
            // A note without bytes still says what it was of.
            crash_point("quarantine: a file is removed");
        }
        sync_folder(&self.0)
    }

    /// Notes a range that was dropped.
    pub fn note_dropped(&self, range: &DroppedRange) -> Result<(), LocalError> {
        let path = self.0.join(DROPPED_LIST);
        // Begins with a line feed, so that what a full disk or a kill has left of the line before does not spoil it.
        let json = serde_json::to_string(range).map_err(io::Error::from).at("encode", &path)?;
        let file = open_list(&path).at("open", &path)?;
        if file.metadata().at("stat", &path)?.len() > DROPPED_LIST_MAX {
            return Ok(());
        }
        (&file).write_all(format!("\n{json}").as_bytes()).at("write", &path)
    }

    /// Has the list of what was dropped begin anew. The one that there was counts as quarantined, until it is taken
    /// away; nobody adds to it any more.
    pub fn close_list(&self) -> Result<(), LocalError> {
        let Some(path) = self.list() else { return Ok(()) };
        let closed = self.free_name(DROPPED_LIST);
        fs::rename(&path, &closed).at("rename", &path)?;
        // Those who had it open have added what they were to add when this is locked.
        let list = open_regular(&closed).at("open", &closed)?;
        flock(&list, FlockOperation::LockExclusive).at("lock", &closed)
    }

    /// The list of what was dropped, where there is one.
    pub fn list(&self) -> Option<PathBuf> {
        Some(self.0.join(DROPPED_LIST)).filter(|path| path.symlink_metadata().is_ok())
    }

    /// The ranges that were dropped.
    pub fn dropped(&self) -> Result<Vec<DroppedRange>, LocalError> {
        let path = self.0.join(DROPPED_LIST);
        // Its owner may be somebody else than who reads it.
        let text = match read_regular(&path, 2 * DROPPED_LIST_MAX) {
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text?,
        };
        let mut found: Vec<DroppedRange> =
            text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        // A start that did not know whether one was noted has noted it again.
        found.sort_by(|a, b| (&a.key, a.at).cmp(&(&b.key, b.at)));
        found.dedup_by(|a, b| a.key == b.key);
        Ok(found)
    }

    /// What was quarantined.
    pub fn files(&self) -> Result<Vec<QuarantinedFile>, LocalError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0).at("list", &self.0)? {
            let path = entry.at("list", &self.0)?.path();
            let is_list = path.file_name().is_some_and(|name| name == DROPPED_LIST);
            if is_list || is_half(&path) || self.is_note(&path) {
                continue;
            }
            let is_json = path.extension().is_some_and(|end| end == NOTE);
            // A note without bytes is what is left of one that was just being taken away.
            let (path, note) = match is_json.then(|| load_json(&path)) {
                Some(Ok(note)) => (path.with_extension(""), Some(note)),
                _ => (path.clone(), load_json(&path.with_added_extension(NOTE)).ok()),
            };
            found.push(QuarantinedFile { bytes: bytes_of(&path), path, note });
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Whether it is a note of what is here, or is about to be: the note is there before the bytes have their name.
    fn is_note(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_there = |name: &str| self.0.join(name).symlink_metadata().is_ok();
        let of = name.strip_suffix(NOTE).and_then(|of| of.strip_suffix('.'));
        of.is_some_and(|of| is_there(&format!("{HALF}{of}")) || is_there(of))
    }

    /// The account of it, counted from what is there.
    pub fn account(&self) -> Account {
        // A folder that cannot be read is told of when something is to be put into it.
        let files = self.files().unwrap_or_default();
        let dropped = self.dropped().unwrap_or_default();
        Account {
            quarantined_files: files.len() as u64,
            quarantined_bytes: files.iter().map(|file| file.bytes).sum(),
            dropped_listed_bytes: dropped.iter().map(|range| range.bytes).sum(),
        }
    }
}

impl QuarantinedFile {
    /// Its name in the quarantine.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The file, and its note where it has one.
    pub fn files(&self) -> Vec<PathBuf> {
        let files = [self.path.clone(), self.path.with_added_extension(NOTE)];
        files.into_iter().filter(|path| path.symlink_metadata().is_ok()).collect()
    }
}

fn is_half(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().starts_with(HALF.as_bytes()))
}

/// Opens the list of what was dropped, to add to it. Whoever closes it waits for the lock that comes with it.
fn open_list(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    loop {
        let list = options.open(path)?;
        let locked = flock(&list, FlockOperation::NonBlockingLockShared);
        let own = list.metadata()?.ino();
        let is_closed = fs::metadata(path).map_or(true, |found| found.ino() != own);
        match locked {
            // In this moment: another one begins.
            Ok(()) | Err(Errno::WOULDBLOCK) if is_closed => {}
            Ok(()) | Err(Errno::WOULDBLOCK) => return Ok(list),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Bytes of a file, or of all files below a folder; links are not followed.
fn bytes_of(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    if !found.is_dir() {
        return found.len();
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| bytes_of(&entry.path())).sum()
}
