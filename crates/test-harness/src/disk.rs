//! A small disk of its own, for what must be full or read-only.
//!
//! Owns: a file system inside the test's folder (in memory, in a file, or layered), and its end.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::mount::{MountFlags, mount, mount_remount};

use super::mount::clear;
use super::process::{Proc, command, program};

pub struct Disk {
    pub path: PathBuf,
}

impl Disk {
    /// A disk of so many MiB at `path`.
    pub fn new(path: &Path, mebibytes: u32) -> Self {
        Self::memory(path, &format!("size={mebibytes}m"))
    }

    /// A disk with room for so many files and folders at `path`.
    pub fn with_inodes(path: &Path, inodes: u32) -> Self {
        Self::memory(path, &format!("size=64m,nr_inodes={inodes}"))
    }

    fn memory(path: &Path, options: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let options = CString::new(options).unwrap();
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        Self { path: path.to_owned() }
    }

    /// A disk of so many MiB at `path`, with the file system of a `mkfs`, in a file beside it.
    pub fn image(path: &Path, kind: &str, mebibytes: u64) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let image = path.with_extension("img");
        std::fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        let mut mkfs = command(program(&format!("mkfs.{kind}")));
        mkfs.arg("-q").arg(&image);
        Proc::start("mkfs", mkfs).success();
        let mut mount = command(program("mount"));
        mount.args(["-o", "loop"]).arg(&image).arg(path);
        Proc::start("mount", mount).success();
        Self { path: path.to_owned() }
    }

    /// A layer over an empty folder, as the root of a container is.
    pub fn overlay(path: &Path) -> Self {
        let part = |name: &str| {
            let part = path.with_extension(name);
            std::fs::create_dir_all(&part).unwrap();
            part
        };
        std::fs::create_dir_all(path).unwrap();
        let (lower, upper, work) = (part("lower"), part("upper"), part("work"));
        let layers = [("lowerdir", lower), ("upperdir", upper), ("workdir", work)];
        let options: Vec<_> = layers.iter().map(|(name, dir)| format!("{name}={}", dir.display())).collect();
        let options = CString::new(options.join(",")).unwrap();
        mount("overlay", path, "overlay", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        Self { path: path.to_owned() }
    }

    /// A stranger fills it, as far as users without rights may; gives the stranger's file.
    pub fn fill(&self) -> std::fs::File {
        use std::io::Write;
        let mut stranger = std::fs::File::create(self.path.join("stranger")).unwrap();
        loop {
            let disk = rustix::fs::statvfs(&self.path).unwrap();
            match disk.f_bavail {
                0 => return stranger,
                left => {
                    let some = left.div_ceil(2) * disk.f_frsize;
                    stranger.write_all(&vec![0; usize::try_from(some).unwrap()]).unwrap();
                    stranger.sync_data().unwrap();
                }
            }
        }
    }

    /// A stranger takes all of it but so many bytes.
    pub fn fill_but(&self, bytes: u64) -> std::fs::File {
        let stranger = std::fs::File::create(self.path.join("stranger")).unwrap();
        let disk = rustix::fs::statvfs(&self.path).unwrap();
        let taken = (disk.f_bavail * disk.f_frsize).checked_sub(bytes).unwrap();
        rustix::fs::fallocate(&stranger, FallocateFlags::empty(), 0, taken).unwrap();
        stranger
    }

    /// From now on nothing can be written to it.
    pub fn make_read_only(&self) {
        mount_remount(&self.path, MountFlags::RDONLY, "").unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        clear(&self.path);
    }
}
