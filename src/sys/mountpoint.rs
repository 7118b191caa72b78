//! The mount point before and after the mount: what is there, clearing a dead mount of an earlier daemon, unmounting.
//! Touches only a FUSE mount exactly at the path.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;
use tracing::{info, warn};

use crate::types::processes::Guard;

/// The file system type is `fuse.logsinkfs`.
pub const SUBTYPE: &str = "logsinkfs";

/// A mount point cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MountpointError {
    /// It is not there.
    #[error("the mount point {0} does not exist")]
    Missing(PathBuf),
    /// It is a file.
    #[error("the mount point {0} is not a directory")]
    NotDirectory(PathBuf),
    /// It is a link, and would be guarded.
    #[error("the mount point {0} is a symbolic link, which is not guarded")]
    Link(PathBuf),
    /// A living mount is there.
    #[error("a FUSE file system is already mounted on {0} ({1})")]
    Mounted(PathBuf, String),
    /// It is within its own bucket or spool.
    #[error("the mount point {0} and {1} are inside each other")]
    Nested(PathBuf, PathBuf),
    /// The system refuses.
    #[error("the mount point {0} cannot be used: {1}")]
    Io(PathBuf, #[source] io::Error),
}

impl MountpointError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            MountpointError::Missing(_) => "make it: mkdir -p",
            MountpointError::NotDirectory(_) => "choose a directory",
            MountpointError::Link(_) => "name the directory itself, or leave --guard-mountpoint away",
            MountpointError::Mounted(..) => "unmount it first (umount, fusermount3 -u), or choose another directory",
            MountpointError::Nested(..) => "choose directories that are beside each other",
            MountpointError::Io(..) => "check its permissions",
        }
    }
}

/// A line of /proc/self/mountinfo.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number, as long as it is there.
    pub number: u64,
    /// Where it is.
    pub point: PathBuf,
    kind: String,
    /// What is mounted.
    pub source: String,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// The number of its device, as `0:52`.
    pub device: String,
    /// Who mounted, where it is a FUSE mount.
    pub user: Option<u32>,
}

impl Mount {
    /// Whether it says that it is of this program.
    pub fn is_own(&self) -> bool {
        self.kind.strip_prefix("fuse.") == Some(SUBTYPE)
    }
}

/// Makes sure that a directory can be mounted on; gives its absolute path. A dead mount of an earlier daemon is taken
/// away.
pub fn prepare(path: &Path, apart_from: &[&Path]) -> Result<PathBuf, MountpointError> {
    let failed = |e| MountpointError::Io(path.to_owned(), e);
    let point = absolute(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => MountpointError::Missing(path.to_owned()),
        _ => failed(e),
    })?;
    if let Some(mount) = topmost_at(&point).map_err(failed)?
        && mount.kind.starts_with("fuse")
    {
        if is_dead(&point) {
            warn!(path = %point.display(), "a mount whose daemon died is there; it is unmounted");
            unmount(&point).map_err(failed)?;
        } else {
            return Err(MountpointError::Mounted(point, mount.source));
        }
    }
    let metadata = fs::metadata(&point).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => MountpointError::Missing(point.clone()),
        _ => MountpointError::Io(point.clone(), e),
    })?;
    if !metadata.is_dir() {
        return Err(MountpointError::NotDirectory(point));
    }
    for other in apart_from {
        let other = absolute(other).unwrap_or_else(|_| other.to_path_buf());
        if other.starts_with(&point) || point.starts_with(&other) {
            return Err(MountpointError::Nested(point, other));
        }
    }
    match fs::read_dir(&point).map_err(failed)?.next() {
        None => {}
        Some(_) => {
            eprintln!(
                "logsinkfs: warning: {} is not empty; what is in it is hidden while it is mounted",
                point.display()
            );
        }
    }
    Ok(point)
}

/// Makes a mount point that is to be guarded and is missing; its parent is there. What a link leads to may be somebody
/// else's choice.
pub fn make(path: &Path) -> Result<(), MountpointError> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match fs::read_link(path) {
            Ok(_) => Err(MountpointError::Link(path.to_owned())),
            Err(_) => Ok(()),
        },
        made => made.map_err(|e| MountpointError::Io(path.to_owned(), e)),
    }
}

/// Guards a bare mount point: between a mount and the next, programs get an error instead of writing where nobody looks
/// and what the next mount hides.
pub fn guard(point: &Path, guard: Guard) -> Result<(), MountpointError> {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let failed = |e: io::Error| MountpointError::Io(point.to_owned(), e);
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(point, how, Mode::empty()).map_err(|e| failed(e.into()))?;
    let dir = fs::File::from(dir);
    let flags = ioctl_getflags(&dir);
    if flags.is_ok_and(|flags| flags.contains(IFlags::IMMUTABLE)) {
        return Ok(());
    }
    dir.set_permissions(fs::Permissions::from_mode(0o555)).map_err(failed)?;
    let marked = match guard {
        Guard::Mode => Ok(()),
        Guard::Immutable => flags.and_then(|f| ioctl_setflags(&dir, f | IFlags::IMMUTABLE)),
    };
    if let Err(e) = marked {
        warn!(path = %point.display(), "the mount point cannot be made immutable, so that root can write there while nothing is mounted: {e}");
    }
    Ok(())
}

/// Detaches our own mount of `source`: no new opens, while open files go on. Nothing is done when it is gone already,
/// or another is on top.
pub fn detach(point: &Path, source: &str) {
    let ours = |mount: &Mount| mount.kind.starts_with("fuse") && mount.source == source;
    let detached = match topmost_at(point) {
        Ok(Some(mount)) if ours(&mount) => unmount(point),
        Ok(_) => Ok(()),
        Err(e) => Err(e),
    };
    if let Err(e) = detached {
        warn!(path = %point.display(), "the mount could not be detached: {e}");
    }
}

/// The mount of this program that is on top at a path, found without touching it.
pub fn find(path: &Path) -> io::Result<Option<Mount>> {
    Ok(topmost_at(&absolute(path)?)?.filter(Mount::is_own))
}

/// All mounts that this process sees.
pub fn list() -> io::Result<Vec<Mount>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|b| *b == b'\n').filter_map(parse_line).collect())
}

/// All mounts of this program that this process sees, each once.
pub fn all() -> io::Result<Vec<Mount>> {
    let mut ours = list()?;
    ours.retain(Mount::is_own);
    // A mount that is propagated has several places.
    ours.sort_by(|a, b| a.device.cmp(&b.device));
    ours.dedup_by(|a, b| a.device == b.device);
    Ok(ours)
}

/// Whether nobody serves a mount any more. Waits for the process that serves it.
pub fn is_dead(point: &Path) -> bool {
    use rustix::io::Errno;
    // statfs is never answered from a cache, as stat would be while the root's attributes are cached.
    let gone = |e| matches!(e, Errno::NOTCONN | Errno::CONNABORTED);
    rustix::fs::statvfs(point).is_err_and(gone)
}

/// Takes a mount out of sight: no new opens, while open files go on.
pub fn unmount(point: &Path) -> io::Result<()> {
    match rustix::mount::unmount(point, UnmountFlags::DETACH) {
        Ok(()) => Ok(()),
        // An ordinary user unmounts with the help of FUSE's own program.
        Err(e) if e == rustix::io::Errno::PERM => {
            let done = Command::new("fusermount3").args(["-u", "-z", "--"]).arg(point).output()?;
            if done.status.success() {
                Ok(())
            } else {
                Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()))
            }
        }
        Err(e) => {
            info!(path = %point.display(), "umount: {e}");
            Err(e.into())
        }
    }
}

/// The absolute path without asking the last part, which may be a dead mount: whether that is a symbolic link is known
/// without asking the process that serves it.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let full = std::path::absolute(path)?;
    match (full.parent(), full.file_name()) {
        (Some(parent), Some(name)) if fs::read_link(&full).is_err() => Ok(parent.canonicalize()?.join(name)),
        _ => full.canonicalize(),
    }
}

/// The mount that is on top at exactly that path.
fn topmost_at(point: &Path) -> io::Result<Option<Mount>> {
    Ok(list()?.into_iter().rfind(|mount| mount.point == point))
}

/// `36 35 98:0 /mnt1 /mnt/x rw,noatime master:1 - ext3 /dev/root rw` (proc(5)).
fn parse_line(line: &[u8]) -> Option<Mount> {
    let line = String::from_utf8_lossy(line);
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ');
    let number = before.next()?.parse().ok()?;
    let device = before.nth(1)?.to_owned();
    let point = unescape(before.nth(1)?);
    let point = PathBuf::from(std::ffi::OsStr::from_bytes(&point));
    let read_only = before.next().unwrap_or_default().split(',').any(|option| option == "ro");
    let mut after = after.split(' ');
    let (kind, source) = (after.next()?.to_owned(), after.next().unwrap_or_default().to_owned());
    let mut options = after.next().unwrap_or_default().split(',');
    let user = options.find_map(|option| option.strip_prefix("user_id=")?.parse().ok());
    Some(Mount { number, point, kind, source, read_only, device, user })
}

/// Space, tab, newline and backslash stand as octal escapes in mountinfo.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let value = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 4 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_escapes() {
        let line = b"36 35 0:52 / /mnt/my\\040logs rw,nosuid shared:1 - fuse.logsinkfs s3://b/ rw,user_id=0";
        let mount = parse_line(line).expect("a mount");
        assert_eq!(mount.point, PathBuf::from("/mnt/my logs"));
        assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("fuse.logsinkfs", "s3://b/"));
        assert_eq!((mount.number, mount.device.as_str(), mount.user), (36, "0:52", Some(0)));
        assert_eq!(parse_line(b""), None);
    }
}
