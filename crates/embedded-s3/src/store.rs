//! The objects of the bucket as files of one directory, shared by any number of processes.
//!
//! Owns: finding, committing and removing the file of a key, the lock, the private folder and its leftovers. Does NOT
//! own: the rule of names (`names`), what is recorded with an object (`record`), the order of listings (`listing`), the
//! protocol (`service`).
//!
//! Invariants:
//! - A file becomes an object by one link(2) or rename(2) of a complete file; a process killed at any instant leaves
//!   the old object, the new one, or none, and no half of one.
//! - Every change under a key happens while the lock file is held, across threads and processes, so that a condition
//!   still holds when the change is made. Readers take no lock.
//! - Nothing about the objects is remembered in memory; the directory is the only truth.
//! - A symbolic link is never followed and is no object, so no key leads out of the directory.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, linkat, mkdirat, openat, openat2,
    renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::names::{self, OWN, PRIVATE};
use super::record::{Record, Stamp};
use super::staged::Staged;

/// After this time an abandoned temporary file is removed at the next start. No upload of the at most 5 GiB that S3
/// takes in one request lasts a day on the loopback.
const STAGED_MAX_AGE: Duration = Duration::from_hours(24);

/// After this time an unfinished multipart upload is removed at the next start, as the usual
/// `AbortIncompleteMultipartUpload` rule of a bucket's lifecycle does.
const UPLOAD_MAX_AGE: Duration = Duration::from_hours(7 * 24);

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const READ_DIR: OFlags = READ.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);

pub struct Store {
    root: OwnedFd,
    private: PathBuf,
    staging: OwnedFd,
    lock: Mutex<File>,
    /// The directory's: objects are for those whom it is for.
    mode: Mode,
}

/// An object: its open file, which keeps its content whatever happens to the key.
pub struct Object {
    pub file: File,
    pub stamp: Stamp,
    pub record: Record,
    /// Relative to the store's directory.
    path: String,
}

/// What must be true of a key for a change to it to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Always,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: *`
    Present,
    /// `If-Match: "etag"`
    Etag(String),
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum ConditionMet {
    Done,
    /// The condition does not hold.
    Refused,
    /// The condition asks for an object that there must be, and there is none.
    Missing,
}

impl Condition {
    fn check(&self, current: Option<&Object>) -> ConditionMet {
        match (self, current) {
            (Self::Always, _) | (Self::Absent, None) | (Self::Present, Some(_)) => ConditionMet::Done,
            (Self::Absent, Some(_)) => ConditionMet::Refused,
            (Self::Present | Self::Etag(_), None) => ConditionMet::Missing,
            (Self::Etag(etag), Some(object)) if *etag == object.record.etag => ConditionMet::Done,
            (Self::Etag(_), Some(_)) => ConditionMet::Refused,
        }
    }
}

impl Store {
    /// Opens the store in `dir`, creates what is missing, the owner's alone, and removes old leftovers.
    pub fn open(dir: &Path) -> io::Result<Self> {
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent)?;
        }
        make_private_dir(dir)?;
        let dir = dir.canonicalize()?;
        let private = dir.join(PRIVATE);
        for folder in ["", "staging", "uploads", "sidecars"] {
            make_private_dir(&private.join(folder))?;
        }
        let root = openat(rustix::fs::CWD, &dir, READ_DIR, Mode::empty())?;
        let staging = openat(rustix::fs::CWD, private.join("staging"), READ_DIR, Mode::empty())?;
        let lock = File::options().create(true).write(true).truncate(false).open(private.join("lock"))?;
        sweep(&private.join("staging"), STAGED_MAX_AGE)?;
        sweep(&private.join("uploads"), UPLOAD_MAX_AGE)?;
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&root)?.st_mode);
        let store = Self { root, private, staging, lock: Mutex::new(lock), mode };
        // Fails here rather than in the first request where the kernel lacks openat2(2).
        store.open_dir("")?;
        Ok(store)
    }

    /// The private folder.
    pub fn private(&self) -> &Path {
        &self.private
    }

    pub fn sidecars(&self) -> PathBuf {
        self.private.join("sidecars")
    }

    /// The mode of a new file.
    pub fn file_mode(&self) -> Mode {
        self.mode & Mode::from_raw_mode(0o666)
    }

    /// The mode of a new directory.
    fn dir_mode(&self) -> Mode {
        self.mode & Mode::from_raw_mode(0o777)
    }

    pub fn staging(&self) -> &OwnedFd {
        &self.staging
    }

    /// The object under `key`, if any.
    pub fn find(&self, key: &str) -> io::Result<Option<Object>> {
        let path = names::path_of(key);
        match self.open_beneath(&path, READ)? {
            // What was opened is kept: opened anew, the path may lead to a directory already.
            Some((file, FileType::RegularFile)) => self.object_in(file, path).map(Some),
            Some((_, FileType::Directory)) => self.object_at(format!("{path}/{OWN}")),
            _ => Ok(None),
        }
    }

    /// The object in the file at `path`, if it is a regular file.
    pub fn object_at(&self, path: String) -> io::Result<Option<Object>> {
        match self.open_beneath(&path, READ)? {
            Some((file, FileType::RegularFile)) => self.object_in(file, path).map(Some),
            _ => Ok(None),
        }
    }

    fn object_in(&self, file: OwnedFd, path: String) -> io::Result<Object> {
        let file = File::from(file);
        let stamp = Stamp::of(&file)?;
        let record = Record::of(&file, stamp, &self.sidecars())?;
        Ok(Object { file, stamp, record, path })
    }

    /// Whether the file at `path` is an object.
    pub fn is_object(&self, path: &str) -> io::Result<bool> {
        let found = self.open_beneath(path, OFlags::PATH | OFlags::CLOEXEC)?;
        Ok(found.is_some_and(|(_, kind)| kind == FileType::RegularFile))
    }

    /// The directory at `path`; an error of kind `NotFound` or `NotADirectory` when it is none.
    pub fn open_dir(&self, path: &str) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        Ok(openat2(&self.root, path, READ_DIR, Mode::empty(), beneath())?)
    }

    fn open_beneath(&self, path: &str, flags: OFlags) -> io::Result<Option<(OwnedFd, FileType)>> {
        match openat2(&self.root, path, flags, Mode::empty(), beneath()) {
            Ok(fd) => {
                let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
                Ok(Some((fd, kind)))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the complete file `staged` the object under `key` if `condition` holds.
    ///
    /// When this returns `Done`, the object has reached the disk.
    pub fn commit(&self, mut staged: Staged, key: &str, condition: &Condition) -> io::Result<ConditionMet> {
        let turn = self.turn()?;
        let current = self.find(key)?;
        let outcome = condition.check(current.as_ref());
        if outcome != ConditionMet::Done {
            return Ok(outcome);
        }
        let path = names::path_of(key);
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let mut dir = self.make_dirs(parent)?;
        let mut name = name;
        if kind_of(&dir, name)? == Some(FileType::Directory) {
            dir = openat(&dir, name, READ_DIR, Mode::empty())?;
            name = OWN;
        }
        if *condition == Condition::Absent {
            // The lock keeps out other servers, but not a file placed by hand; link(2) does.
            match linkat(&self.staging, staged.name(), &dir, name, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Ok(ConditionMet::Refused),
                Err(error) => return Err(error.into()),
            }
        } else {
            renameat(&self.staging, staged.name(), &dir, name)?;
        }
        staged.keep();
        if let Some(replaced) = current {
            Record::forget(&replaced.file, &self.sidecars())?;
        }
        drop(turn);
        rustix::fs::fsync(&dir)?;
        Ok(ConditionMet::Done)
    }

    /// Removes the object under `key` if `condition` holds; no object is no error.
    pub fn remove(&self, key: &str, condition: &Condition) -> io::Result<ConditionMet> {
        let _turn = self.turn()?;
        let current = self.find(key)?;
        let outcome = condition.check(current.as_ref());
        let (ConditionMet::Done, Some(object)) = (outcome, current) else { return Ok(outcome) };
        unlinkat(&self.root, &object.path, AtFlags::empty())?;
        Record::forget(&object.file, &self.sidecars())?;
        // Directories are no objects: the last key below one takes it along. The first that is not empty, or is gone
        // already, ends this.
        let mut path = object.path.as_str();
        while let Some((parent, _)) = path.rsplit_once('/') {
            if unlinkat(&self.root, parent, AtFlags::REMOVEDIR).is_err() {
                break;
            }
            path = parent;
        }
        Ok(ConditionMet::Done)
    }

    /// The directory at `path`, made where it is missing.
    fn make_dirs(&self, path: &str) -> io::Result<OwnedFd> {
        match self.open_dir(path) {
            Ok(dir) => return Ok(dir),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
        let mut dir = self.open_dir("")?;
        for name in path.split('/') {
            match kind_of(&dir, name)? {
                Some(FileType::RegularFile) => self.turn_into_dir(&dir, name)?,
                Some(_) => {}
                None => {
                    mkdirat(&dir, name, self.dir_mode())?;
                    rustix::fs::fsync(&dir)?;
                }
            }
            dir = openat(&dir, name, READ_DIR, Mode::empty())?;
        }
        Ok(dir)
    }

    /// Replaces the object at `name` by a directory with that object in it, in one instant: a reader finds it at the
    /// one place or at the other.
    fn turn_into_dir(&self, dir: &OwnedFd, name: &str) -> io::Result<()> {
        let interim = unique_name();
        mkdirat(&self.staging, &interim, self.dir_mode())?;
        let own = format!("{interim}/{OWN}");
        linkat(dir, name, &self.staging, &own, AtFlags::empty())?;
        renameat_with(&self.staging, &interim, dir, name, RenameFlags::EXCHANGE)?;
        unlinkat(&self.staging, &interim, AtFlags::empty())?;
        rustix::fs::fsync(dir)?;
        Ok(())
    }

    /// Waits until no other thread or process is changing the store.
    pub fn turn(&self) -> io::Result<Turn<'_>> {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        rustix::io::retry_on_intr(|| rustix::fs::flock(lock.as_fd(), FlockOperation::LockExclusive))?;
        Ok(Turn(lock))
    }
}

/// The right to change the store, until dropped.
pub struct Turn<'a>(MutexGuard<'a, File>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::flock(self.0.as_fd(), FlockOperation::Unlock) {
            tracing::error!(%error, "the embedded bucket cannot release its lock");
        }
    }
}

/// A name for a temporary file that no other thread or process chooses.
pub fn unique_name() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

fn kind_of(dir: &OwnedFd, name: &str) -> io::Result<Option<FileType>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the error says that there is no such directory.
pub fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Removes everything in `folder` that nobody has written to for longer than `max_age`.
fn sweep(folder: &Path, max_age: Duration) -> io::Result<()> {
    // The daemon's clock is no business of its bucket: file times are those of the kernel.
    #[allow(clippy::disallowed_methods)]
    let now = std::time::SystemTime::now();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(meta) = entry.metadata() else { continue };
        let age = now.duration_since(meta.modified()?).unwrap_or_default();
        if age <= max_age {
            continue;
        }
        let path = entry.path();
        let removed = if meta.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "cannot remove an old leftover");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
