//! The FUSE adapter, the only importer of fuser: converts, calls the file system, replies; decides nothing.
//! `reader_adapter` is the same for reader mounts; `session` begins a session or takes one over (`place` exchanges its
//! descriptor); `convert` has types and errnos, `dirs` and `passthrough` replies, `caches` notifications, `abi`
//! constants.

pub mod abi;
mod caches;
mod convert;
mod dirs;
mod passthrough;
mod place;
mod reader_adapter;
mod session;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo, KernelConfig, LockOwner, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::fs::{Aim, Answer, Entry, Fs, SetAttr};
use crate::types::errors::FsError;

pub use self::caches::caches_of;
use self::convert::{
    BLOCK, access, creator, errno, file_attr, file_time, handle, node, origin, reply_entry, reply_xattr,
};
pub use self::reader_adapter::Reader;
pub use self::session::{answer, ask_again, begin, negotiate, take_over};

/// A session with the kernel that is about to be served.
pub type Session = fuser::Session<Adapter>;

/// A file system behind /dev/fuse.
pub struct Adapter {
    fs: Arc<Fs>,
    runtime: tokio::runtime::Handle,
}

impl Adapter {
    /// Serves `fs`; what has to be waited for runs on `runtime`.
    pub fn new(fs: Arc<Fs>, runtime: tokio::runtime::Handle) -> Adapter {
        Adapter { fs, runtime }
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

    fn entry(&self, operation: &'static str, result: Result<Entry, FsError>, reply: ReplyEntry) {
        reply_entry(&self.fs, result.map_err(|e| errno(operation, &e)), reply);
    }

    fn empty(&self, operation: &'static str, result: Result<(), FsError>, reply: ReplyEmpty) {
        match result {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(errno(operation, &e)),
        }
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        session::ask(config);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let fs = self.fs.clone();
        let answer = self.fs.lookup(node(parent), name.as_bytes());
        self.answer("lookup", answer, move |result| reply_entry(&fs, result, reply));
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.fs.forget(node(ino), nlookup);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.fs.getattr(node(ino)) {
            Ok(attr) => reply.attr(&self.fs.attr_ttl(&attr), &file_attr(&attr)),
            Err(e) => reply.error(errno("getattr", &e)),
        }
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let now = self.fs.parts().ports.clock.now();
        let instant = |time| match time {
            TimeOrNow::SpecificTime(time) => file_time(time),
            TimeOrNow::Now => now.into(),
        };
        let (accessed, modified) = (atime.map(instant), mtime.map(instant));
        let unprivileged = req.uid() != 0;
        let set = SetAttr { mode, uid, gid, accessed, modified, unprivileged };
        match self.fs.setattr(node(ino), size, set, origin(req)) {
            Ok(attr) => reply.attr(&self.fs.attr_ttl(&attr), &file_attr(&attr)),
            Err(e) => reply.error(errno("setattr", &e)),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.fs.readlink(node(ino)) {
            Ok(target) => reply.data(&target),
            Err(e) => reply.error(errno("readlink", &e)),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        if mode & libc::S_IFMT != libc::S_IFREG {
            return reply.error(errno("mknod", &FsError::NotPermitted));
        }
        let by = creator(req, mode);
        let made = self.fs.make_node(node(parent), name.as_bytes(), by, origin(req));
        self.entry("mknod", made, reply);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let by = creator(req, mode);
        let made = self.fs.mkdir(node(parent), name.as_bytes(), by, origin(req));
        self.entry("mkdir", made, reply);
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty("unlink", self.fs.unlink(node(parent), name.as_bytes(), origin(req)), reply);
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let answer = self.fs.rmdir(node(parent), name.as_bytes(), origin(req));
        self.answer("rmdir", answer, |result| match result {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(e),
        });
    }

    fn symlink(&self, req: &Request, parent: INodeNo, link_name: &OsStr, target: &Path, reply: ReplyEntry) {
        let target = target.as_os_str().as_bytes();
        let by = creator(req, 0o777);
        let made = self.fs.symlink(node(parent), link_name.as_bytes(), target, by, origin(req));
        self.entry("symlink", made, reply);
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
            return reply.error(errno("rename", &FsError::Invalid));
        }
        let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
        let (from, to) = (name.as_bytes(), newname.as_bytes());
        let (from, to) = ((node(parent), from), (node(newparent), to));
        let answer = self.fs.rename(from, to, replace, origin(req));
        self.answer("rename", answer, |result| match result {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(e),
        });
    }

    fn link(&self, req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let linked = self.fs.link(node(ino), node(newparent), newname.as_bytes(), origin(req));
        self.entry("link", linked, reply);
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let access = access(flags.0);
        if access.truncate
            && req.uid() != 0
            && let Err(e) = self.fs.clear_set_id_at_truncation(node(ino))
        {
            return reply.error(errno("open", &e));
        }
        match self.fs.open(node(ino), access, origin(req)) {
            Ok((handle, mode)) => passthrough::opened(reply, handle, mode),
            Err(e) => reply.error(errno("open", &e)),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let by = creator(req, mode);
        match self.fs.create(node(parent), name.as_bytes(), by, access(flags), origin(req)) {
            Ok((entry, handle, mode)) => passthrough::created(reply, &entry, handle, mode),
            Err(e) => reply.error(errno("create", &e)),
        }
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

    fn write(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID)
            && let Err(e) = self.fs.clear_set_id(handle(fh))
        {
            return reply.error(errno("write", &e));
        }
        let mapped = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let aim = Aim { offset, append: flags.0 & libc::O_APPEND != 0, mapped };
        let answer = self.fs.write(handle(fh), aim, data, origin(req));
        self.answer("write", answer, |result| match result {
            Ok(written) => reply.written(u32::try_from(written).unwrap_or(u32::MAX)),
            Err(e) => reply.error(e),
        });
    }

    fn release(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.empty("release", self.fs.release(handle(fh), origin(req)), reply);
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.answer("fsync", self.fs.fsync(handle(fh)), |result| match result {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(e),
        });
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.fs.opendir(node(ino), origin(req)) {
            Ok(handle) => reply.opened(FileHandle(handle.0), FopenFlags::empty()),
            Err(e) => reply.error(errno("opendir", &e)),
        }
    }

    fn readdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        let answer = self.fs.readdir(handle(fh), offset);
        self.answer("readdir", answer, |result| dirs::reply(result, reply));
    }

    fn readdirplus(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        let (fs, answer) = (self.fs.clone(), self.fs.readdirplus(handle(fh), offset));
        self.answer("readdirplus", answer, move |result| dirs::reply_plus(&fs, result, reply));
    }

    fn releasedir(&self, req: &Request, _ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.empty("releasedir", self.fs.release(handle(fh), origin(req)), reply);
    }

    fn fsyncdir(&self, _req: &Request, _ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.answer("fsyncdir", self.fs.fsync(handle(fh)), |result| match result {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(e),
        });
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let (capacity, inodes) = (self.fs.statfs(), self.fs.inodes());
        let (total, free) = (capacity.total / BLOCK, capacity.free / BLOCK);
        let name_max = crate::namespace::NAME_MAX as u32;
        let (files, unused) = (inodes.total, inodes.free);
        reply.statfs(total, free, free, files, unused, BLOCK as u32, name_max, BLOCK as u32);
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let how = (flags & libc::XATTR_CREATE != 0, flags & libc::XATTR_REPLACE != 0);
        let set = match name.to_str() {
            Some(name) => self.fs.setxattr(node(ino), name, value, how, origin(req)),
            None => Err(FsError::NotSupported),
        };
        self.empty("setxattr", set, reply);
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = match name.to_str() {
            Some(name) => self.fs.getxattr(node(ino), name),
            None => Err(FsError::NoAttribute),
        };
        reply_xattr("getxattr", value, size, reply);
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self
            .fs
            .listxattr(node(ino))
            .map(|names| names.into_iter().flat_map(|name| (name + "\0").into_bytes()).collect());
        reply_xattr("listxattr", names, size, reply);
    }

    fn removexattr(&self, req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = match name.to_str() {
            Some(name) => self.fs.removexattr(node(ino), name, origin(req)),
            None => Err(FsError::NoAttribute),
        };
        self.empty("removexattr", removed, reply);
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let keep_size = mode == libc::FALLOC_FL_KEEP_SIZE;
        let end = (keep_size || mode == 0).then(|| offset.saturating_add(length));
        self.empty("fallocate", self.fs.allocate(handle(fh), keep_size, end), reply);
    }
}
