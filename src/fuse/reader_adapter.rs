//! The FUSE adapter of a reader mount: converts, calls the file system, replies. Changes are refused here, in case
//! somebody remounts it writable; otherwise the kernel refuses them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo, KernelConfig, LockOwner, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, Request, TimeOrNow,
};

use super::convert::{BLOCK, SAME, access, errno, file_attr, file_type, handle, node};
use super::dirs::UNKNOWN_INO;
use super::{passthrough, session};
use crate::fs::Answer;
use crate::namespace::NAME_MAX;
use crate::reader_fs::{Lookup, ReaderFs};
use crate::types::errors::FsError;

/// A reader mount behind /dev/fuse.
pub struct Reader {
    fs: Arc<ReaderFs>,
    runtime: tokio::runtime::Handle,
}

impl Reader {
    /// Serves `fs`; what has to be waited for runs on `runtime`.
    pub fn new(fs: Arc<ReaderFs>, runtime: tokio::runtime::Handle) -> Reader {
        Reader { fs, runtime }
    }

    /// Replies now, or when the answer is there.
    fn answer<T: Send + 'static>(
        &self,
        operation: &'static str,
        answer: Answer<T>,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        answer.reply(&self.runtime, move |result| reply(result.map_err(|e| errno(operation, &e))));
    }
}

fn read_only() -> Errno {
    errno("change", &FsError::ReadOnly)
}

impl Filesystem for Reader {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        session::ask_as_reader(config);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let answer = self.fs.lookup(node(parent), name.as_bytes());
        self.answer("lookup", answer, |result| match result {
            Ok(Lookup { attr, attr_ttl, name_ttl }) => {
                reply.entry_with_ttls(&attr_ttl, &name_ttl, &file_attr(&attr), SAME);
            }
            Err(e) => reply.error(e),
        });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.fs.forget(node(ino), nlookup);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.answer("getattr", self.fs.getattr(node(ino)), |result| match result {
            Ok((attr, ttl)) => reply.attr(&ttl, &file_attr(&attr)),
            Err(e) => reply.error(e),
        });
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let answer = self.fs.open(node(ino), access(flags.0).write);
        self.answer("open", answer, |result| match result {
            Ok((handle, mode)) => passthrough::opened(reply, handle, mode),
            Err(e) => reply.error(e),
        });
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.answer("read", self.fs.read(handle(fh), offset, size), |result| match result {
            Ok(bytes) => reply.data(&bytes),
            Err(e) => reply.error(e),
        });
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.fs.release(handle(fh));
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.fs.opendir(node(ino)) {
            Ok(handle) => reply.opened(FileHandle(handle.0), FopenFlags::empty()),
            Err(e) => reply.error(errno("opendir", &e)),
        }
    }

    fn readdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let answer = self.fs.readdir(handle(fh), offset);
        self.answer("readdir", answer, move |result| match result {
            Ok(entries) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                for (entry, next) in entries.iter().zip(1u64..).skip(from) {
                    let ino = entry.id.map_or(UNKNOWN_INO, |id| INodeNo(id.0));
                    let name = OsStr::from_bytes(&entry.name);
                    if reply.add(ino, next, file_type(entry.kind), name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(e) => reply.error(e),
        });
    }

    fn readdirplus(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let fs = self.fs.clone();
        let answer = self.fs.readdirplus(handle(fh), offset);
        self.answer("readdirplus", answer, move |result| match result {
            Ok(entries) => {
                for sized in &entries {
                    let found = fs.enter(sized);
                    let (name, attr) = (OsStr::from_bytes(&sized.entry.name), &found.attr);
                    let (ino, ttl) = (INodeNo(attr.id.0), &found.name_ttl);
                    let full = reply.add(ino, sized.next, name, ttl, &file_attr(attr), SAME);
                    if full {
                        // The kernel is not told of it, and will not forget it.
                        fs.take_back(sized, &found);
                        break;
                    }
                }
                reply.ok();
            }
            Err(e) => reply.error(e),
        });
    }

    fn releasedir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.fs.release(handle(fh));
        reply.ok();
    }

    /// A bucket has no size: nothing is used, nothing is free, and `df` leaves the mount out.
    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, BLOCK as u32, NAME_MAX as u32, BLOCK as u32);
    }

    fn setattr(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(read_only());
    }

    fn mknod(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        reply.error(read_only());
    }

    fn mkdir(&self, _req: &Request, _parent: INodeNo, _name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        reply.error(read_only());
    }

    fn unlink(&self, _req: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(read_only());
    }

    fn rmdir(&self, _req: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(read_only());
    }

    fn symlink(&self, _req: &Request, _parent: INodeNo, _link_name: &OsStr, _target: &Path, reply: ReplyEntry) {
        reply.error(read_only());
    }

    fn rename(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _newparent: INodeNo,
        _newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(read_only());
    }

    fn link(&self, _req: &Request, _ino: INodeNo, _newparent: INodeNo, _newname: &OsStr, reply: ReplyEntry) {
        reply.error(read_only());
    }

    fn create(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(read_only());
    }
}
