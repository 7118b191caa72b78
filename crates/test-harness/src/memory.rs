//! A memory cgroup of its own, in which the kernel's OOM killer can be called.
//!
//! Owns: the cgroup, in whichever of the two versions the machine has it, and its end.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::process::command;

/// A cgroup with a limit.
pub struct MemoryGroup {
    dir: PathBuf,
    /// The kernel kills all of it at once, as kubelet asks for (only version 2 can).
    pub whole: bool,
}

impl MemoryGroup {
    /// A group with so many MiB; `None` where the machine has no memory cgroups that we may make.
    pub fn new(mebibytes: u64) -> Option<Self> {
        let name = format!("logsinkfs-e2e-{}", std::process::id());
        let (version1, version2) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
        let controllers = fs::read_to_string(format!("{version2}/cgroup.controllers"));
        let whole = controllers.is_ok_and(|list| list.contains("memory"));
        let dir = PathBuf::from(if whole { version2 } else { version1 }).join(name);
        let limit = if whole { "memory.max" } else { "memory.limit_in_bytes" };
        fs::create_dir(&dir).ok()?;
        let group = Self { dir, whole };
        if whole {
            // Swap would take what the limit keeps out.
            let _ = fs::write(group.dir.join("memory.swap.max"), "0");
            fs::write(group.dir.join("memory.oom.group"), "1").ok()?;
        }
        fs::write(group.dir.join(limit), (mebibytes << 20).to_string()).ok()?;
        Some(group)
    }

    /// A command that runs what is added to it in the group.
    pub fn command(&self) -> Command {
        let mut inside = command("/bin/sh");
        inside.args(["-c", "echo $$ >\"$1/cgroup.procs\"; shift; exec \"$@\"", "sh"]);
        inside.arg(&self.dir);
        inside
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Only an empty group goes; a process of a test that failed may still be ending.
        super::wait::briefly(|| fs::remove_dir(&self.dir).is_ok());
    }
}
