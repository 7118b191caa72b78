//! Replies to open and create with a backing file. fuser represents a backing file as a value that closes it when
//! dropped; ours belong to the registry, so a value is made for the reply and taken apart again.
#![allow(unsafe_code)]

use fuser::{BackingId, FileHandle, FopenFlags, ReplyCreate, ReplyOpen};

use super::convert::{SAME, file_attr};
use crate::fs::{Entry, Mode};
use crate::types::ids;
use crate::types::ids::HandleId;

/// How the kernel is to treat a file, and the backing file that goes with it. A close is not told of (FLUSH): every
/// write is in the spool file when it returns, and a program whose daemon is gone, for which the kernel went on
/// writing, closes its log without an error.
fn fopen(mode: Mode) -> (FopenFlags, Option<ids::BackingId>) {
    let (flags, backing) = match mode {
        Mode::Direct => (FopenFlags::FOPEN_DIRECT_IO, None),
        Mode::Cached => (FopenFlags::empty(), None),
        Mode::Passthrough(backing) => (FopenFlags::empty(), Some(backing)),
        Mode::Beside(backing) => (FopenFlags::FOPEN_DIRECT_IO, Some(backing)),
    };
    (flags | FopenFlags::FOPEN_NOFLUSH, backing)
}

/// Replies to an open.
pub(super) fn opened(reply: ReplyOpen, handle: HandleId, mode: Mode) {
    let fh = FileHandle(handle.0);
    match fopen(mode) {
        (flags, None) => reply.opened(fh, flags),
        (flags, Some(ids::BackingId(id))) => {
            // SAFETY: the number is open in this session as long as the node has a handle, which this reply gives it;
            // `into_raw` takes the value apart, so that it closes nothing.
            let backing = unsafe { reply.wrap_backing(id) };
            reply.opened_passthrough(fh, flags, &backing);
            let _ = backing.into_raw();
        }
    }
}

/// Replies to a create.
pub(super) fn created(reply: ReplyCreate, entry: &Entry, handle: HandleId, mode: Mode) {
    let Entry { attr, ttl } = entry;
    let (attr, fh) = (file_attr(attr), FileHandle(handle.0));
    match fopen(mode) {
        (flags, None) => reply.created(ttl, &attr, SAME, fh, flags),
        (flags, Some(ids::BackingId(id))) => {
            // SAFETY: as in `opened`.
            let backing: BackingId = unsafe { reply.wrap_backing(id) };
            reply.created_passthrough(ttl, &attr, SAME, fh, flags, &backing);
            let _ = backing.into_raw();
        }
    }
}
