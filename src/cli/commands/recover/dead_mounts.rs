//! Unmounts mounts of this program whose processes have died, below a directory such as kubelet's, since kubelet cannot
//! remove a pod that has one in a volume. Owns which mounts are ours, and since when they are dead.
//!
//! Invariant: a mount is found dead and unmounted through one descriptor, so that one made in its place meanwhile
//! stays. Mounts that are served, of another user or of another program are left alone.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use tracing::{info, warn};

use crate::flags::RecoverArgs;
use crate::settings::writer::Source;
use crate::sys::mountpoint;
use crate::sys::mountpoint::Mount;
use crate::types::clock::{Clock, SystemClock};
use crate::types::span::in_words;
use crate::types::time::Monotonic;

/// How often is looked: each mount that is served answers a statfs for it.
const LOOK: Duration = Duration::from_secs(30);

/// Unmounts what is dead below a directory; under `--watch` for ever, in a thread of its own, since a mount may take
/// long to answer.
pub(super) fn clear(dir: &Path, args: &RecoverArgs) -> io::Result<()> {
    let mut mounts = DeadMounts {
        dir: dir.canonicalize()?,
        patience: args.patience(),
        since: HashMap::new(),
        clock: SystemClock::new(),
    };
    if !args.watch {
        return mounts.look();
    }
    let watch = move || {
        loop {
            if let Err(e) = mounts.look() {
                warn!(dir = %mounts.dir.display(), "dead mounts could not be unmounted: {e}");
            }
            std::thread::sleep(LOOK);
        }
    };
    std::thread::Builder::new().name("mounts".to_owned()).spawn(watch)?;
    Ok(())
}

struct DeadMounts {
    dir: PathBuf,
    patience: Duration,
    /// Since when mounts are known to be dead, by their number.
    since: HashMap<u64, Monotonic>,
    clock: SystemClock,
}

impl DeadMounts {
    fn look(&mut self) -> io::Result<()> {
        let mounts = mountpoint::list()?.into_iter();
        let ours = mounts.filter(|mount| mount.point.starts_with(&self.dir) && is_ours(mount));
        let dead: Vec<(Mount, OwnedFd)> =
            ours.filter_map(|mount| open(&mount).filter(is_dead).map(|root| (mount, root))).collect();
        self.since.retain(|number, _| dead.iter().any(|(mount, _)| mount.number == *number));
        for (Mount { number, point, source, .. }, root) in dead {
            let now = self.clock.monotonic();
            let since = *self.since.entry(number).or_insert(now);
            if now.since(since) >= self.patience {
                rustix::mount::unmount(by_descriptor("fd", &root), UnmountFlags::DETACH)?;
                warn!(point = %point.display(), source, "a mount whose daemon died was unmounted");
            } else if since == now {
                let after = in_words(self.patience);
                info!(point = %point.display(), source, "a mount is dead; it will be unmounted after {after} unless its daemon returns");
            }
        }
        Ok(())
    }
}

/// By what only our keepers, as this user, call their mounts.
fn is_ours(mount: &Mount) -> bool {
    mount.is_own() && Source::from_url(&mount.source).is_ok() && mount.user == Some(rustix::process::geteuid().as_raw())
}

/// The root of a mount, unless another lies over it. Its daemon is not asked (O_PATH, open(2)).
fn open(mount: &Mount) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(&mount.point, flags, Mode::empty()).ok()?;
    // `mnt_id: 36` (proc_pid_fdinfo(5)).
    let info = std::fs::read_to_string(by_descriptor("fdinfo", &root)).ok()?;
    let number = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    (number.trim().parse() == Ok(mount.number)).then_some(root)
}

/// The kernel answers for a mount that nobody serves.
fn is_dead(root: &OwnedFd) -> bool {
    rustix::fs::fstatvfs(root).is_err_and(|e| matches!(e, Errno::NOTCONN | Errno::CONNABORTED))
}

fn by_descriptor(kind: &str, file: &OwnedFd) -> String {
    format!("/proc/self/{kind}/{}", file.as_raw_fd())
}
