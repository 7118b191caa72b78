//! Durable steps on the local disk: files that appear whole or not at all, synced directories, punched holes. No state.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::crash_point::crash_point;
use crate::types::errors::{AtPath, LocalError};

/// Longest JSON file: the largest are markers, with a key and labels.
pub const SMALL_MAX: u64 = 64 << 10;

/// What of a small file must survive a power cut when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// The new one, with its name.
    Now,
    /// Nothing: only a crash of the daemon has to be survived.
    Later,
}

/// Writes a small JSON file so that readers, and a recovery, see the old or the new one, never half.
pub fn store_json<T: Serialize>(path: &Path, value: &T, durable: Durable) -> Result<(), LocalError> {
    store(path, &serde_json::to_vec(value).map_err(std::io::Error::other).at("encode", path)?, durable)
}

/// Does so with any small file.
pub fn store(path: &Path, text: &[u8], durable: Durable) -> Result<(), LocalError> {
    // The new content never shares a name with anything that recovery reads.
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh).at("create", &fresh)?;
    file.write_all(text).at("write", &fresh)?;
    if durable != Durable::Later {
        file.sync_data().at("sync", &fresh)?;
    }
    // The old one counts; the next start removes or overwrites the new one.
    crash_point("store: written, not yet under its name");
    fs::rename(&fresh, path).at("rename", &fresh)?;
    // The new one counts, and nobody was told so.
    crash_point("store: under its name");
    match (durable, path.parent()) {
        (Durable::Now, Some(folder)) => sync_folder(folder),
        _ => Ok(()),
    }
}

/// Writes over a small file, durably, in the blocks that it has. What is no longer than before stays whole when the
/// daemon is killed, and what lies within a sector when power is lost.
pub fn overwrite(path: &Path, text: &[u8]) -> Result<(), LocalError> {
    let file = OpenOptions::new().write(true).open(path).at("open", path)?;
    file.write_all_at(text, 0).at("write", path)?;
    file.set_len(text.len() as u64).at("write", path)?;
    file.sync_data().at("sync", path)
}

/// Reads a small JSON file. What is in it is nobody else's business: an error names the place alone.
pub fn load_json<T: DeserializeOwned>(path: &Path) -> Result<T, LocalError> {
    let text = read_regular(path, SMALL_MAX)?;
    let damaged = |e: serde_json::Error| {
        let place = format!("it is not what it should be (line {}, column {})", e.line(), e.column());
        io::Error::new(io::ErrorKind::InvalidData, place)
    };
    serde_json::from_slice(&text).map_err(damaged).at("decode", path)
}

/// Opens a file to read it. A link, a pipe or a device is damage: its author must not have this process wait, or tell
/// of a file of somebody else.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return Err(damaged("it is a link")),
        file => file?,
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(damaged("it is no regular file")) }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads a file of at most so many bytes. What is longer, or no regular file, is damage.
pub fn read_regular(path: &Path, most: u64) -> Result<Vec<u8>, LocalError> {
    let read = || {
        let file = open_regular(path)?;
        if file.metadata()?.len() > most {
            return Err(damaged("it is longer than any such file"));
        }
        let mut text = Vec::new();
        file.take(most).read_to_end(&mut text)?;
        Ok(text)
    };
    read().at("read", path)
}

/// A path that leads to an open directory, wherever it is by now, as long as it is open.
pub fn by_descriptor(dir: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()))
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<(), LocalError> {
    File::open(folder).and_then(|f| f.sync_all()).at("sync", folder)
}

/// Opens a spool file, making it when there is none and it is to be made: reads anywhere, writes at the end only,
/// whatever happens beside it.
pub fn open_spool_file(path: &Path, make: bool) -> Result<File, LocalError> {
    OpenOptions::new().read(true).append(true).create(make).open(path).at("open", path)
}

/// An anonymous file (O_TMPFILE), gone with its last user: on the spool's disk, or in memory when that disk is full (a
/// full spool must still drain).
pub fn unnamed_file(folder: &Path) -> Result<File, LocalError> {
    let on_disk = rustix::fs::open(
        folder,
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    );
    match on_disk {
        Ok(fd) => Ok(File::from(fd)),
        Err(_) => memory_file(folder),
    }
}

/// A file in memory.
pub fn memory_file(named_for: &Path) -> Result<File, LocalError> {
    rustix::fs::memfd_create("logsinkfs", rustix::fs::MemfdFlags::CLOEXEC)
        .map(File::from)
        .at("create in memory beside", named_for)
}

/// Gives back the disk space of a range; its length and what follows stay. File systems without holes keep the bytes,
/// which costs room and nothing else.
pub fn punch(file: &File, start: u64, len: u64, path: &Path) -> Result<(), LocalError> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let before = file.metadata().at("stat", path)?;
    match rustix::fs::fallocate(file, flags, start, len) {
        Err(e) if e == rustix::io::Errno::OPNOTSUPP => return Ok(()),
        other => other.at("punch", path)?,
    }
    // For the kernel this was a write. Applications see the spool file's time as their log's, and a start takes it for
    // the last growth.
    let unwritten = file.metadata().is_ok_and(|after| after.len() == before.len());
    if let (Ok(written), true) = (before.modified(), unwritten) {
        let _ = file.set_modified(written);
    }
    Ok(())
}
