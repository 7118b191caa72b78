//! The bare mount point: what a program finds there while nothing is mounted.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::io::Errno;
use rustix::process::Signal;

use crate::bad_input::fails;
use test_harness::disk::Disk;
use test_harness::{Mount, Rig};

/// Mounts with a guard on a directory that is not there yet, on a disk that can guard it, and stops the daemon.
fn guarded(rig: &Rig, guard: &str) -> (Disk, Mount) {
    let disk = Disk::image(&rig.local("volume"), "ext4", 16);
    let mut plan = rig.plan("a").with(&["--guard-mountpoint", guard]);
    plan.point = disk.path.join("live");
    let mut mount = plan.start();
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.daemon.signal(Signal::TERM);
    assert!(mount.daemon.wait().success());
    (disk, mount)
}

/// A mount on what was guarded before serves like any other.
fn goes_on(rig: &Rig, mut mount: Mount) {
    mount.start_again();
    fs::write(mount.path("app.log"), "another\n").unwrap();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\nanother\n");
}

#[test]
fn a_mount_point_that_is_missing_is_made_and_unwritable() {
    let rig = Rig::embedded();
    let (_disk, mount) = guarded(&rig, "mode");
    let found = fs::metadata(&mount.plan.point).unwrap().permissions();
    assert_eq!(found.mode() & 0o777, 0o555);
    fs::write(mount.path("root.log"), "root passes over a mode\n").unwrap();
    goes_on(&rig, mount);
}

#[test]
fn an_immutable_mount_point_takes_nothing_from_root_either() {
    let rig = Rig::embedded();
    let (_disk, mount) = guarded(&rig, "immutable");
    let refused = fs::write(mount.path("app.log"), "beside the bucket\n").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::PERM.raw_os_error()));
    goes_on(&rig, mount);
}

/// Whoever may write beside a mount point cannot have root guard a directory of his choice.
#[test]
fn no_guard_goes_through_a_link() {
    let rig = Rig::embedded();
    let (target, link) = (rig.local("target"), rig.local("link"));
    fs::create_dir(&target).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let mode = || fs::metadata(&target).unwrap().permissions().mode();
    let before = mode();
    let mut plan = rig.plan("a").with(&["--guard-mountpoint", "mode"]);
    plan.point.clone_from(&link);
    fails(plan, &["symbolic link", link.to_str().unwrap()]);
    assert_eq!(mode(), before);
}
