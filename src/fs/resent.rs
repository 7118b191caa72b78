//! Requests that the kernel resends (FUSE_NOTIFY_RESEND) because the worker that had read them died before it replied.
//! Some were carried out already. Each kind is recognised by what it left behind: a name by the id of the request that
//! made it, a write by the bytes behind the end that was recorded for it. The kernel still holds the locks of the
//! inodes concerned, so nobody has changed them meanwhile but appenders for whom the kernel writes.

use std::io;

use super::Fs;
use crate::log_file::SpoolFile;
use crate::namespace::Stamp;
use crate::types::ids::{NodeId, Origin, SpoolOffset};

/// Bytes of a spool file that are searched at once.
const CHUNK: usize = 256 * 1024;

impl Fs {
    /// When a change is made, and by which request.
    pub(super) fn stamp(&self, origin: Origin) -> Stamp {
        Stamp { now: self.parts.ports.clock.now(), request: self.parts.disk.spool.session().request(origin) }
    }

    /// Whether a name is there because of this very request, which comes again.
    pub(super) fn made_before(&self, origin: Origin, parent: NodeId, name: &[u8]) -> bool {
        let request = self.parts.disk.spool.session().request(origin).filter(|_| origin.resent);
        request.is_some_and(|request| self.parts.disk.namespace.was_made_by(parent, name, request))
    }

    /// Whether a name that this request is to take away is gone: it was there when the kernel asked.
    pub(super) fn taken_before(&self, origin: Origin, parent: NodeId, name: &[u8]) -> bool {
        let shown = || self.shown_stored(parent, name).is_some();
        origin.resent && !self.parts.disk.namespace.has_live(parent, name) && !shown()
    }
}

/// How much of a write that comes again the spool file has, when its end was at `from` before the write and is at `to`
/// now. `None`: nothing, it is to be made.
///
/// Where the daemon alone appends, what lies between is this write or the part of it that there was room for. Where the
/// kernel appends for others too, the write is somewhere between, whole, or was not made. Two writers that write the
/// very same bytes at the moment of the crash cannot be told apart.
pub(super) fn written_before(
    file: &SpoolFile,
    from: SpoolOffset,
    to: SpoolOffset,
    data: &[u8],
) -> io::Result<Option<usize>> {
    let between = usize::try_from(to.since(from)).unwrap_or(usize::MAX);
    if between == 0 || data.is_empty() {
        return Ok(None);
    }
    if between <= data.len() {
        let mut found = vec![0; between];
        let read = file.read_at(&mut found, from)?;
        if read == between && data.starts_with(&found) {
            return Ok(Some(between));
        }
    }
    let mut at = from;
    let mut window = Vec::new();
    while at < to {
        let len = usize::try_from(to.since(at)).unwrap_or(CHUNK).min(CHUNK);
        // The end of what was searched stays, for a write that lies across.
        let kept = window.len().min(data.len() - 1);
        window.drain(..window.len() - kept);
        window.resize(kept + len, 0);
        let read = file.read_at(&mut window[kept..], at)?;
        window.truncate(kept + read);
        if memchr::memmem::find(&window, data).is_some() {
            return Ok(Some(data.len()));
        }
        if read == 0 {
            break;
        }
        at = at.plus(read as u64);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_file::Files;
    use crate::spool::NodeFiles;

    fn found(before: &[u8], between: &[u8], data: &[u8]) -> Option<usize> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = Files::new(NodeFiles::new(dir.path().into(), NodeId(7)), Vec::new()).make().expect("a file");
        file.append(before).expect("written");
        file.append(between).expect("written");
        let from = SpoolOffset(before.len() as u64);
        written_before(&file, from, from.plus(between.len() as u64), data).expect("read")
    }

    #[test]
    fn a_write_is_found_whole_in_part_or_not_at_all() {
        assert_eq!(found(b"old\n", b"", b"line\n"), None);
        assert_eq!(found(b"line\n", b"", b"line\n"), None);
        assert_eq!(found(b"old\n", b"line\n", b"line\n"), Some(5));
        assert_eq!(found(b"old\n", b"li", b"line\n"), Some(2));
        assert_eq!(found(b"old\n", b"other\n", b"line\n"), None);
        assert_eq!(found(b"old\n", b"x\n", b"line\n"), None);
    }

    #[test]
    fn a_write_is_found_among_those_of_others_however_many() {
        let mut between = b"other\n".repeat(100_000);
        assert_eq!(found(b"", &between, b"line 7\n"), None);
        // Across the border of two chunks, and at the end.
        let at = CHUNK - 3;
        between.splice(at..at, b"line 7\n".iter().copied());
        assert_eq!(found(b"", &between, b"line 7\n"), Some(7));
        between.extend(b"line 8\n");
        assert_eq!(found(b"", &between, b"line 8\n"), Some(7));
    }
}
