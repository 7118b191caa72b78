//! Prepares the directories of the worker: a keeper with more rights creates them where they are missing and gives them
//! to the worker's user. Owns their ownership; `spool` owns their content.
//!
//! Invariant: nothing outside the spool changes its owner, whatever the spool contains: no link is followed, no other
//! file system entered, and files with a second name are left alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, openat};
use tracing::info;

use super::error::SystemError;
use crate::settings::writer::{Settings, Source};
use crate::spool::pinned::is_spool;
use crate::types::processes::RunAs;

/// What lies in a fresh ext4 file system.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// Makes spool and embedded bucket ready for the worker; gives the spool's directory.
pub fn prepare(settings: &Settings, user: RunAs) -> Result<OwnedFd, SystemError> {
    make_bucket(&settings.spool.source, user)?;
    let dir = &settings.spool.dir;
    let ready = || {
        make(dir, user)?;
        // The path that the user gave may lead over links; what is below may not.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(dir, flags, Mode::empty())?)
    };
    let spool = ready().map_err(|e| SystemError::Directory(dir.clone(), e))?;
    give_spool(&spool, dir, user)?;
    Ok(spool)
}

/// Makes the folder of an embedded bucket where it is missing.
pub fn make_bucket(source: &Source, user: RunAs) -> Result<(), SystemError> {
    match source {
        Source::Embedded { dir } => make(dir, user).map_err(|e| SystemError::Directory(dir.clone(), e)),
        Source::S3 { .. } => Ok(()),
    }
}

/// Changes the owner of a spool to the worker's user, if it is another. Acts on the open directory; `dir` is its path
/// for messages.
pub fn give_spool(spool: &OwnedFd, dir: &Path, user: RunAs) -> Result<(), SystemError> {
    let given = || {
        let owner = fstat(spool)?;
        if rustix::process::geteuid().is_root() && owner.st_uid != user.uid {
            recognise(spool)?;
            info!(spool = %dir.display(), from = owner.st_uid, to = user.uid, "the spool is handed over to the worker's user");
            hand_over(spool.as_fd(), &owner, user)?;
        }
        Ok(())
    };
    given().map_err(|e| SystemError::Directory(dir.to_owned(), e))
}

/// Makes a directory that is missing, the worker's alone, and what is missing on the way to it.
fn make(dir: &Path, user: RunAs) -> io::Result<()> {
    if fs::exists(dir)? {
        return Ok(());
    }
    let missing: Vec<&Path> = dir.ancestors().skip(1).take_while(|path| fs::exists(path).is_ok_and(|is| !is)).collect();
    for parent in missing.into_iter().rev().filter(|path| !path.as_os_str().is_empty()) {
        fs::create_dir(parent)?;
        // The umask of root must not keep the worker from its spool.
        fs::set_permissions(parent, Permissions::from_mode(0o755))?;
    }
    fs::create_dir(dir)?;
    let made = open_dir(rustix::fs::CWD, dir.as_os_str())?;
    rustix::fs::fchmod(&made, Mode::RWXU)?;
    give(made.as_fd(), user)
}

/// A directory of somebody else changes hands only when it is a spool, or may become one.
fn recognise(dir: &OwnedFd) -> io::Result<()> {
    let is_spool = is_spool(dir);
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let foreign = !is_usual(entry.file_name().to_bytes());
        if foreign && !is_spool {
            let name = entry.file_name().to_string_lossy().into_owned();
            let why = format!("it is no spool, and not empty: `{name}` is in it");
            return Err(io::Error::other(why));
        }
    }
    Ok(())
}

fn is_usual(name: &[u8]) -> bool {
    matches!(name, b"." | b"..") || name == LOST_AND_FOUND
}

/// Gives a directory and all below it to the user. The directory itself comes last: a step that ends midway is done
/// again by the next start.
fn hand_over(dir: BorrowedFd<'_>, top: &Stat, user: RunAs) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_usual(name.to_bytes()) {
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat(dir, name, flags, Mode::empty())?;
        let stat = fstat(&found)?;
        match FileType::from_raw_mode(stat.st_mode) {
            _ if stat.st_dev != top.st_dev => {}
            FileType::Directory => {
                use std::os::unix::ffi::OsStrExt;
                let name = std::ffi::OsStr::from_bytes(name.to_bytes());
                hand_over(open_dir(dir, name)?.as_fd(), top, user)?;
            }
            _ if stat.st_nlink > 1 => {}
            _ => give(found.as_fd(), user)?,
        }
    }
    give(dir, user)
}

fn give(file: BorrowedFd<'_>, user: RunAs) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Ok(chownat(file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
}

fn open_dir(at: impl AsFd, name: &std::ffi::OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}
