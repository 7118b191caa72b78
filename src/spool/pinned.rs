//! The source of a spool as its mount knows it, kept where the owner of the spool cannot write: in an extended
//! attribute of its directory that only CAP_SYS_ADMIN in the initial user namespace can see and set (`trusted.*` in
//! [xattr(7)](https://man7.org/linux/man-pages/man7/xattr.7.html)). What a spool says of itself is in `identity`.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, XattrFlags, fgetxattr, fsetxattr, statat};
use rustix::io::Errno;
use tracing::debug;

use super::disk::by_descriptor;
use super::{IDENTITY, LOCK, SpoolError, identity};
use crate::types::errors::AtPath;

const ATTRIBUTE: &str = "trusted.logsinkfs.source";
/// Longest attribute of a file that the kernel takes, in bytes (XATTR_SIZE_MAX).
const ATTRIBUTE_MAX: usize = 64 << 10;

/// Keeps the source of a mount with the spool in `dir`, which is open as `spool`. A spool that a mount of another
/// source has used is refused, whatever it says of itself. Without the right to it, or on a file system without such
/// attributes, nothing is kept.
pub fn pin(spool: impl AsFd, dir: &Path, source: &str) -> Result<(), SpoolError> {
    match self::source(&spool).at("read the source of", dir)? {
        Some(pinned) if pinned == source => return Ok(()),
        Some(owner) if is_spool(&spool) => {
            let (dir, asked) = (dir.to_owned(), source.to_owned());
            return Err(SpoolError::OtherSource { dir, owner, asked });
        }
        // An emptied directory may become the spool of any mount.
        _ => {}
    }
    // What says that it belongs elsewhere is refused when it is opened, and is not this mount's.
    if identity::belongs_to(&by_descriptor(&spool), source).is_err() {
        return Ok(());
    }
    if let Err(e) = fsetxattr(&spool, ATTRIBUTE, source.as_bytes(), XattrFlags::empty()) {
        debug!(spool = %dir.display(), "the spool's source is not kept in {ATTRIBUTE}: {e}");
    }
    Ok(())
}

/// The source that is kept with the spool in an open directory, as far as this process may see it.
pub fn source(spool: impl AsFd) -> io::Result<Option<String>> {
    let mut value = vec![0; ATTRIBUTE_MAX];
    match fgetxattr(spool, ATTRIBUTE, value.as_mut_slice()) {
        Ok(len) => Ok(Some(String::from_utf8_lossy(&value[..len]).into_owned())),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether an open directory looks like a spool, by the names in it.
pub fn is_spool(dir: impl AsFd) -> bool {
    let has = |name| statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    has(IDENTITY) || has(LOCK)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_system_without_such_attributes_keeps_nothing_and_is_no_hindrance() {
        let dir = Path::new("/proc/self");
        let open = File::open(dir).expect("a dir");
        pin(&open, dir, "s3://b/").expect("nothing to refuse");
        assert_eq!(source(&open).expect("an answer"), None);
    }
}
