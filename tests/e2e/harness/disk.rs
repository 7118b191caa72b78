//! A small disk of its own, for what must be full or read-only.
//!
//! Owns: a tmpfs inside the test's folder, and its end.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount, mount_remount};

use super::mount::clear;

pub struct Disk {
    pub path: PathBuf,
}

impl Disk {
    /// A disk of so many MiB at `path`.
    pub fn new(path: &Path, mebibytes: u32) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let size = CString::new(format!("size={mebibytes}m")).unwrap();
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(size.as_c_str())).unwrap();
        Self { path: path.to_owned() }
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
