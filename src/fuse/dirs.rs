//! Directory replies: as many entries as fit.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{Errno, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use super::convert::{SAME, file_attr, file_type};
use crate::fs::{Entries, Fs};

/// A node number that means "not known yet" in a directory entry (the kernel's `FUSE_UNKNOWN_INO`).
pub(super) const UNKNOWN_INO: INodeNo = INodeNo(0xffff_ffff);

/// Replies with names.
pub(super) fn reply(entries: Result<Entries, Errno>, mut reply: ReplyDirectory) {
    let entries = match entries {
        Ok(entries) => entries,
        Err(e) => return reply.error(e),
    };
    for entry in entries.iter() {
        let ino = entry.id.map_or(UNKNOWN_INO, |id| INodeNo(id.0));
        if reply.add(ino, entry.next, file_type(entry.kind), OsStr::from_bytes(&entry.name)) {
            break;
        }
    }
    reply.ok();
}

/// Replies with names and attributes, each of them a look-up.
pub(super) fn reply_plus(fs: &Fs, entries: Result<Entries, Errno>, mut reply: ReplyDirectoryPlus) {
    let entries = match entries {
        Ok(entries) => entries,
        Err(e) => return reply.error(e),
    };
    for entry in entries.iter() {
        let Some(found) = fs.entry(&entries, &entry) else { continue };
        let name = OsStr::from_bytes(&entry.name);
        // One time for both: the shorter, so that the size of a live file is asked for each time.
        let ttl = found.ttl.min(fs.attr_ttl(&found.attr));
        let ino = INodeNo(found.attr.id.0);
        if reply.add(ino, entry.next, name, &ttl, &file_attr(&found.attr), SAME) {
            fs.take_back(&entry, &found);
            break;
        }
    }
    reply.ok();
}
