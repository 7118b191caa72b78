//! A disk that loses power: an ext4 file system on a disk that forgets what was not flushed.
//!
//! Owns: the disk (one file of a FUSE file system that this process serves, under a loop device), what is on its
//! platter and what is only in its cache, the moment at which its power goes, and its end. Does not own: who uses the
//! file system on it. They have to be gone before the disk comes back.
//!
//! The loop device sends a write as FUSE_WRITE and a barrier as FUSE_FSYNC. What was written after the last barrier is
//! lost, kept, or torn between two sectors, each write for itself.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use rustix::mount::{UnmountFlags, unmount};

use super::mount::clear;
use super::process::{Proc, command, program};
use super::wait::{briefly, eventually};

/// DiskBudget for a small journal and a few minutes of logs; all of it is held in memory twice.
const SIZE: usize = 64 << 20;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
const DISK: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(3600);

struct Platter {
    /// What survives.
    durable: Vec<u8>,
    /// What is read: the same with all writes.
    seen: Vec<u8>,
    /// Writes since the last flush, in their order.
    cached: Vec<(usize, Vec<u8>)>,
    /// How many more writes there is power for; no end to it when there is no number.
    left: Option<u64>,
}

impl Platter {
    fn is_off(&self) -> bool {
        self.left == Some(0)
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Errno> {
        if self.is_off() {
            return Err(Errno::EIO);
        }
        self.left = self.left.map(|left| left - 1);
        self.seen[at..at + bytes.len()].copy_from_slice(bytes);
        self.cached.push((at, bytes.to_vec()));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        if self.is_off() {
            return Err(Errno::EIO);
        }
        for (at, bytes) in self.cached.drain(..) {
            self.durable[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(())
    }

    /// What is there when the power comes back.
    fn cut(&mut self, chance: &mut Rng) {
        // Some cuts lose all of the cache, some nearly nothing.
        let kept = chance.f64() * 1.2 - 0.1;
        for (at, bytes) in self.cached.drain(..) {
            let torn = chance.u8(..4) == 0;
            let whole = chance.f64() < kept;
            for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                if if torn { chance.f64() < kept } else { whole } {
                    let at = at + n * SECTOR;
                    self.durable[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        self.seen.clone_from(&self.durable);
        self.left = None;
    }
}

/// The file system with one file, the disk.
struct Drive(Arc<Mutex<Platter>>);

fn attributes(ino: INodeNo) -> FileAttr {
    let (kind, size) = match ino {
        DISK => (FileType::RegularFile, SIZE as u64),
        _ => (FileType::Directory, 0),
    };
    let at = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino,
        size,
        blocks: size / SECTOR as u64,
        atime: at,
        mtime: at,
        ctime: at,
        crtime: at,
        kind,
        perm: 0o700,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Drive {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "disk" { reply.entry(&TTL, &attributes(DISK), Generation(0)) } else { reply.error(Errno::ENOENT) }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // The cache of this disk is its own, not the kernel's.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let at = usize::try_from(offset).unwrap().min(SIZE);
        let end = (at + size as usize).min(SIZE);
        reply.data(&self.0.lock().unwrap().seen[at..end]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let at = usize::try_from(offset).unwrap();
        if at + data.len() > SIZE {
            return reply.error(Errno::ENOSPC);
        }
        match self.0.lock().unwrap().write(at, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap()),
            Err(e) => reply.error(e),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.0.lock().unwrap().flush() {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(e),
        }
    }
}

/// The disk, with its file system mounted at `path`.
pub struct PowerDisk {
    pub path: PathBuf,
    platter: Arc<Mutex<Platter>>,
    drive: PathBuf,
    session: Option<BackgroundSession>,
}

impl PowerDisk {
    /// A fresh one.
    pub fn new(path: &Path) -> Self {
        let image = path.with_extension("img");
        std::fs::File::create(&image).unwrap().set_len(SIZE as u64).unwrap();
        let mut mkfs = command(program("mkfs.ext4"));
        mkfs.args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(&image);
        Proc::start("mkfs", mkfs).success();
        let seen = std::fs::read(&image).unwrap();
        std::fs::remove_file(&image).unwrap();
        let platter = Platter { durable: seen.clone(), seen, cached: Vec::new(), left: None };
        let platter = Arc::new(Mutex::new(platter));

        let drive = path.with_extension("drive");
        std::fs::create_dir_all(path).unwrap();
        std::fs::create_dir_all(&drive).unwrap();
        let serve = Drive(Arc::clone(&platter));
        let session = fuser::spawn_mount(serve, &drive, &Config::default()).unwrap();
        let disk = Self { path: path.to_owned(), platter, drive, session: Some(session) };
        disk.mount();
        disk
    }

    fn mount(&self) {
        let mut mount = command(program("mount"));
        mount.args(["-o", "loop,commit=1"]).arg(self.drive.join("disk")).arg(&self.path);
        Proc::start("mount", mount).success();
    }

    /// Lets the power go after so many more writes of the disk.
    pub fn cut_after(&self, writes: u64) {
        self.platter.lock().unwrap().left = Some(writes);
    }

    /// Whether the power is gone. What was flushed while it was not is on the platter.
    pub fn is_off(&self) -> bool {
        self.platter.lock().unwrap().is_off()
    }

    /// The power comes back: what was flushed is there, of the rest some. Gives how many writes were not flushed.
    pub fn power_up(&self, chance: &mut Rng) -> usize {
        let mut platter = self.platter.lock().unwrap();
        platter.left = Some(0);
        drop(platter);
        eventually("nobody to use the disk", || unmount(&self.path, UnmountFlags::empty()).ok());
        eventually("the loop device to let go of the disk", || (!self.is_looped()).then_some(()));
        let mut platter = self.platter.lock().unwrap();
        let cached = platter.cached.len();
        platter.cut(chance);
        drop(platter);
        self.mount();
        cached
    }

    fn is_looped(&self) -> bool {
        let disk = self.drive.join("disk");
        let devices = std::fs::read_dir("/sys/block").unwrap().flatten();
        let mut files = devices.filter_map(|d| std::fs::read_to_string(d.path().join("loop/backing_file")).ok());
        files.any(|file| Path::new(file.trim_end()) == disk)
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        // While the drive is served: what uses the disk ends with errors, and does not wait.
        self.cut_after(0);
        briefly(|| unmount(&self.path, UnmountFlags::empty()).is_ok());
        clear(&self.path);
        briefly(|| !self.is_looped());
        clear(&self.drive);
        drop(self.session.take());
    }
}
