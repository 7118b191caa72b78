//! The worker's user, and how a process drops privileges. Owns users, groups and capabilities; `sys::spool_owner`
//! changes the owner of files.
//!
//! Invariant: a worker started by root has no capability in any set and cannot gain one.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::unistd::{Gid, Uid, User, getgrouplist, getgroups, setgroups, setresgid, setresuid};
use rustix::fs::Access;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use super::error::SystemError;
use crate::settings::reader::ReaderSettings;
use crate::settings::writer::{Settings, Source};
use crate::spool::disk::by_descriptor;
use crate::types::processes::RunAs;

/// The user that the worker is when there is no other: a package may make it.
const OWN_USER: &str = "logsinkfs";
/// The user `nonroot` of distroless images, who owns nothing anywhere.
const NOBODY_ELSE: RunAs = RunAs { uid: 65532, gid: 65532 };
/// Our own score for the kernel's choice of what to kill when memory runs out.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
/// Never chosen.
const OOM_NEVER: &str = "-1000";
/// Tells a worker what the score was before the keeper changed it.
pub const OOM_SCORE_ENV: &str = "LOGSINKFS_OOM_SCORE_ADJ";

/// Who this process is.
pub fn own_user() -> RunAs {
    RunAs { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

/// Who the worker is to be: for root `--run-as`, else the owner of the spool, else a user of its own; for others
/// themselves.
pub fn worker_user(settings: &Settings) -> Result<RunAs, SystemError> {
    user(settings.processes.run_as, &settings.spool.dir)
}

/// Who recovers a spool: its owner, unless that is root, else a user of its own; for others themselves.
pub fn spool_user(spool: &OwnedFd) -> Result<RunAs, SystemError> {
    user(None, &by_descriptor(spool))
}

/// Who serves a reader mount: for root `--run-as`, else the owner of an embedded bucket, else a user of its own; for
/// others themselves.
pub fn reader_user(settings: &ReaderSettings) -> Result<RunAs, SystemError> {
    match &settings.source {
        Source::Embedded { dir } => user(settings.run_as, dir),
        Source::S3 { .. } => user(settings.run_as, Path::new("")),
    }
}

/// For root the one that was asked for, else the owner of a directory, unless that is root, else a user of its own; for
/// others themselves.
fn user(asked: Option<RunAs>, dir: &Path) -> Result<RunAs, SystemError> {
    let own = own_user();
    if own.uid != 0 {
        return match asked.filter(|user| user.uid != own.uid) {
            None => Ok(own),
            Some(user) => Err(SystemError::NotRoot(user)),
        };
    }
    let owner = || {
        let owner = fs::metadata(dir).ok().filter(|dir| dir.uid() != 0)?;
        let known = User::from_uid(Uid::from_raw(owner.uid())).ok().flatten();
        let gid = known.map_or(owner.gid(), |user| user.gid.as_raw());
        Some(RunAs { uid: owner.uid(), gid })
    };
    let named = || {
        let user = User::from_name(OWN_USER).ok().flatten()?;
        Some(RunAs { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
    };
    Ok(asked.or_else(owner).or_else(named).unwrap_or(NOBODY_ELSE))
}

/// Becomes this user for good, without any capability. To be called while there is one thread.
pub fn become_user(user: RunAs) -> Result<(), SystemError> {
    let failed = |source: io::Error| SystemError::User { user, source };
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        set_groups(uid, gid).map_err(|e| failed(e.into()))?;
        empty_bounding_set().map_err(|e| failed(e.into()))?;
        setresgid(gid, gid, gid).map_err(|e| failed(e.into()))?;
        setresuid(uid, uid, uid).map_err(|e| failed(e.into()))?;
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none).map_err(|e| failed(e.into()))?;
    }
    set_no_new_privs(true).map_err(|e| failed(e.into()))
}

/// Becomes the owner of a directory where that is not root. To be called while there is one thread.
pub fn become_owner(dir: &Path) -> Result<(), SystemError> {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata(dir) {
        Ok(dir) if own_user().uid == 0 && dir.uid() != 0 => become_user(RunAs { uid: dir.uid(), gid: dir.gid() }),
        _ => Ok(()),
    }
}

/// The groups of the process and of the user; a token file is often readable by one of them. Not the group of root.
fn set_groups(uid: Uid, gid: Gid) -> nix::Result<()> {
    let before = getgroups()?;
    let mut groups = before.clone();
    if let Ok(Some(user)) = User::from_uid(uid)
        && let Ok(name) = CString::new(user.name)
    {
        groups.extend(getgrouplist(&name, gid)?);
    }
    groups.retain(|group| group.as_raw() != 0 || gid.as_raw() == 0);
    groups.sort_by_key(|group| group.as_raw());
    groups.dedup();
    // A container may have no right to change them, and no need.
    if groups == before { Ok(()) } else { setgroups(&groups) }
}

fn empty_bounding_set() -> rustix::io::Result<()> {
    for bit in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // Behind the last capability that the kernel knows.
            Err(Errno::INVAL) => return Ok(()),
            // Without CAP_SETPCAP the set stays; no_new_privs keeps what is in it from being gained.
            Err(Errno::PERM) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Makes the files that this thread opens from now on be opened as that user would.
pub fn act_as(user: RunAs) {
    // Both tell by nothing whether they succeed; where they do not, the checks of what is opened hold all the same.
    nix::unistd::setfsgid(Gid::from_raw(user.gid));
    nix::unistd::setfsuid(Uid::from_raw(user.uid));
}

/// Does something as that user, in a thread of its own.
pub fn acting_as<T: Send>(user: RunAs, step: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            act_as(user);
            step()
        })?;
        thread.join().map_err(|_| io::Error::other("a step did not end"))
    })
}

/// Asks never to be killed for want of memory; gives the score from before. Whoever may not ask is treated as before.
pub fn survive_want_of_memory() -> Option<String> {
    let before = fs::read_to_string(OOM_SCORE).ok()?;
    fs::write(OOM_SCORE, OOM_NEVER).ok()?;
    Some(before.trim().to_owned())
}

/// Takes back what the keeper asked for itself, which a child inherits.
pub fn share_want_of_memory() {
    if let Ok(before) = std::env::var(OOM_SCORE_ENV) {
        // Raising the score again takes no right; where that fails, it was never lowered.
        let _ = fs::write(OOM_SCORE, before);
    }
}

/// The directory on the way to a path that this process may not search, if there is one.
pub fn barrier(path: &Path) -> Option<PathBuf> {
    let mut on_the_way: Vec<&Path> = path.ancestors().collect();
    on_the_way.reverse();
    let searchable = |dir: &Path| rustix::fs::access(dir, Access::EXEC_OK);
    let barrier = on_the_way.into_iter().find(|dir| searchable(dir) == Err(Errno::ACCESS));
    barrier.map(Path::to_owned)
}

/// The files from which the AWS SDK may take credentials, as far as they are there.
pub fn credential_files() -> Vec<PathBuf> {
    const NAMED: [&str; 4] = [
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ];
    let named = NAMED.into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let at_home = home.into_iter().flat_map(|home| [".aws/credentials", ".aws/config"].map(|name| home.join(name)));
    named.chain(at_home).filter(|path| path.exists()).collect()
}
