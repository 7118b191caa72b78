//! Finds the processes that use a mount (open file, working directory or root in it), as far as this user may see.
//! Reads /proc and never asks the mount, which may be dead.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

/// A process, and what it has open.
pub(crate) struct Holder {
    pub pid: u32,
    pub program: String,
    /// Each once, in no order.
    pub paths: Vec<PathBuf>,
}

/// All of them but this process; `device` is the mount's, as `0:52`.
pub(crate) fn holders(device: &str) -> Vec<Holder> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = all.filter(|pid| *pid != std::process::id());
    others.filter_map(|pid| holder(pid, device)).collect()
}

fn holder(pid: u32, device: &str) -> Option<Holder> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let places = [process.join("cwd"), process.join("root")];
    let found = files.map(|entry| entry.path()).chain(places).filter(|link| is_on(link, device));
    let mut paths: Vec<PathBuf> = found.filter_map(|link| fs::read_link(link).ok()).collect();
    paths.sort();
    paths.dedup();
    let program = fs::read_to_string(process.join("comm")).unwrap_or_default();
    (!paths.is_empty()).then(|| Holder { pid, program: program.trim_end().to_owned(), paths })
}

/// Whether what a link of /proc stands for is on a device: what the kernel knows of it is enough (AT_STATX_DONT_SYNC of
/// statx(2)).
fn is_on(link: &Path, device: &str) -> bool {
    statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::empty())
        .is_ok_and(|found| format!("{}:{}", found.stx_dev_major, found.stx_dev_minor) == device)
}
