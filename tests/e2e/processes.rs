//! Who keeper and worker are: their users and rights, and the odd places where they are started.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use test_harness::files::append;
use test_harness::memory::MemoryGroup;
use test_harness::mount::{Mount, Plan, clear, is_mounted};
use test_harness::planted::{Planter, ago};
use test_harness::process::{Proc, command, kill_stranger, program};
use test_harness::s3::{logsinkfs, script};
use test_harness::{Rig, eventually};

/// A user that nobody is.
const STRANGER: u32 = 12_345;
/// A user with a name, which fusermount3 insists on, and without any right.
const NOBODY: u32 = 65_534;

/// A field of /proc/PID/status.
fn status(pid: Pid, name: &str) -> String {
    let status = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The program and its arguments, with the plan's environment, behind another command.
fn behind(plan: &Plan, mut outer: Command) -> Command {
    let inner = plan.command();
    outer.env_clear();
    for (name, value) in inner.get_envs() {
        outer.env(name, value.unwrap());
    }
    // Behind `setpriv --pdeathsig KILL --`, which the outer command has itself.
    outer.args(inner.get_args().skip(3));
    outer
}

fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

/// Root makes the mount; what looks into a bucket that anybody may have written to has no right that it could lose.
#[test]
fn a_reader_mount_of_root_is_served_by_a_process_without_rights() {
    let rig = Rig::embedded();
    Planter::new(&rig.bucket(), "app.log", "web-1").put(ago(10), b"line\n");
    for (flags, uid) in [(&[][..], 65_532), (&["--run-as", "4711:4712"], 4711)] {
        let mount = rig.read(flags);
        assert_eq!(fs::read(mount.path("app.log")).unwrap(), b"line\n");
        let serving = mount.worker();
        assert_eq!(status(serving, "Uid"), vec![uid.to_string(); 4].join(" "));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(serving, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(serving, "NoNewPrivs"), "1");
        assert!(!status(serving, "Groups").split(' ').any(|group| group == "0"));
        mount.stop();
    }
    // Whoever is killed, nothing is left behind, and nobody waits.
    let mut mount = rig.read(&[]);
    kill_stranger(mount.worker());
    assert_eq!(mount.daemon.wait().code(), Some(1));
    assert!(!is_mounted(&mount.plan.point));
    let mut mount = rig.read(&[]);
    let serving = mount.worker();
    mount.daemon.kill();
    eventually("its end", || (!Path::new(&format!("/proc/{}", serving.as_raw_nonzero())).exists()).then_some(()));
}

#[test]
fn the_worker_runs_as_the_user_that_was_asked_for_and_owns_the_spool() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    for (user, uid, gid) in [("4711:4712", 4711, 4712), ("4713", 4713, 4713), ("root", 0, 0)] {
        let mount = plan.clone().with(&["--run-as", user]).start();
        append(&mount.path("app.log"), &format!("{user}\n"));
        let worker = mount.worker();
        assert_eq!(status(worker, "Uid"), vec![uid.to_string(); 4].join(" "));
        assert_eq!(status(worker, "Gid"), vec![gid.to_string(); 4].join(" "));
        assert_eq!(status(worker, "CapPrm"), "0000000000000000");
        assert_eq!(owner(&plan.spool), uid);
        mount.stop();
    }
    // Without the flag it is the spool's owner, and root's is handed over to a user of its own.
    let mount = plan.clone().start();
    assert_eq!(owner(&plan.spool), 65532);
    mount.stop();
    chown(&plan.spool, Some(4711), Some(4711)).unwrap();
    let mut folders = Command::new("chown");
    assert!(folders.args(["-R", "4711:4711"]).arg(&plan.spool).status().unwrap().success());
    let mount = plan.start();
    assert!(status(mount.worker(), "Uid").starts_with("4711 "));
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"4711:4712\n4713\nroot\n");
}

#[test]
fn a_spool_of_root_is_handed_over_and_nothing_else_is() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    let mount = plan.clone().with(&["--no-keeper"]).start();
    append(&mount.path("app.log"), "as root\n");
    mount.stop();
    assert_eq!(owner(&plan.spool.join("spool.json")), 0);
    let outside = rig.local("of root");
    fs::write(&outside, "").unwrap();
    symlink(&outside, plan.spool.join("link")).unwrap();
    fs::hard_link(&outside, plan.spool.join("nodes/second-name")).unwrap();
    let mount = plan.clone().start();
    append(&mount.path("app.log"), "as the worker\n");
    mount.terminate();
    assert_eq!(owner(&plan.spool.join("spool.json")), 65532);
    assert_eq!(owner(&plan.spool.join("nodes")), 65532);
    assert_eq!(owner(&outside), 0);
    assert_eq!(rig.bucket().content("app.log"), b"as root\nas the worker\n");
}

#[test]
fn a_directory_that_is_no_spool_does_not_change_hands() {
    let rig = Rig::embedded();
    let mut plan = rig.plan("a");
    plan.spool = rig.local("precious");
    fs::create_dir(&plan.spool).unwrap();
    fs::write(plan.spool.join("diary.txt"), "").unwrap();
    let spool = plan.spool.clone();
    let (code, said) = plan.refused();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("precious") && said.contains("diary.txt"), "{said}");
    assert_eq!((owner(&spool), owner(&spool.join("diary.txt"))), (0, 0));
}

#[test]
fn a_directory_that_the_worker_may_not_search_is_named() {
    let rig = Rig::embedded();
    let mut plan = rig.plan("a");
    let closed = rig.local("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    plan.spool = closed.join("spool");
    let point = plan.point.clone();
    let (code, said) = plan.refused();
    assert_eq!(code, 1, "{said}");
    let named = format!("may not search {}", closed.display());
    for word in [&*named, "65532", "chmod o+x", "--run-as"] {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
    assert!(!is_mounted(&point));
}

#[test]
fn a_bucket_of_root_is_refused_with_the_user_and_what_to_do() {
    let rig = Rig::embedded();
    let mut plan = rig.plan("a");
    let bucket = rig.local("bucket");
    fs::create_dir(&bucket).unwrap();
    plan.source = format!("file://{}", bucket.display());
    let (code, said) = plan.refused();
    assert_eq!(code, 1, "{said}");
    for word in ["uid 65532", "--run-as", "chown"] {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
    assert_eq!(owner(&bucket), 0);
}

#[test]
fn a_credentials_file_that_the_worker_may_not_read_is_named() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    let (closed, open) = (rig.local("closed"), rig.local("open"));
    for (path, mode) in [(&closed, 0o600), (&open, 0o644)] {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let plan = plan.env("AWS_CONFIG_FILE", open.to_str().unwrap());
    let plan = plan.env("AWS_WEB_IDENTITY_TOKEN_FILE", rig.local("missing").to_str().unwrap());
    let mount = plan.env("AWS_SHARED_CREDENTIALS_FILE", closed.to_str().unwrap()).start();
    let warnings = mount.daemon.await_told(&["credentials:"], 1);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(closed.to_str().unwrap()) && warnings[0].contains("--run-as"));
    mount.stop();
}

#[test]
fn only_root_runs_the_worker_as_another_user() {
    let rig = Rig::embedded();
    let program_copy = rig.local("logsinkfs");
    let plan = rig.plan("a").with_copy_of_program(&program_copy).with(&["--run-as", "4711"]);
    let mut outer = command(program("setpriv"));
    outer.args(["--reuid", "12345", "--clear-groups", "--"]);
    let mut daemon = Proc::start("logsinkfs", behind(&plan, outer));
    assert_eq!(daemon.wait().code(), Some(1));
    assert!(daemon.last_words().contains("only root"), "{}", daemon.stderr());
}

/// A spool that belongs to a user, and the program where that user can read it.
fn plan_for(rig: &Rig, uid: u32) -> Plan {
    let mut plan = rig.plan("a").with_copy_of_program(&rig.local("logsinkfs"));
    plan.spool = rig.local("spool");
    fs::create_dir(&plan.spool).unwrap();
    chown(&plan.spool, Some(uid), Some(uid)).unwrap();
    plan
}

#[test]
fn a_mount_that_somebody_else_made_is_served_by_its_descriptor() {
    let rig = Rig::embedded();
    let mut plan = plan_for(&rig, STRANGER);
    let point = std::mem::replace(&mut plan.point, PathBuf::from("@FUSE@"));
    let mut outer = command(program("python3"));
    outer.arg("-B").arg(script("mount_for.py")).arg(&point).arg(STRANGER.to_string());
    let mut daemon = Proc::start("logsinkfs", behind(&plan, outer));
    plan.point.clone_from(&point);
    daemon.await_stdout("that it serves", |said| said.starts_with("logsinkfs: serving /dev/fd/").then_some(()));
    let mut mount = Mount { plan, daemon };
    append(&mount.path("app.log"), "first\n");
    assert!(status(mount.worker(), "Uid").starts_with("12345 "));
    assert_eq!(status(mount.worker(), "NoNewPrivs"), "1");
    mount.kill_worker();
    append(&mount.path("app.log"), "second\n");
    // Without the right to register files the daemon writes, and says why.
    mount.daemon.await_stderr("CAP_SYS_ADMIN");
    mount.daemon.signal(Signal::TERM);
    assert_eq!(mount.daemon.wait().code(), Some(0), "{}", mount.daemon.stderr());
    assert!(is_mounted(&point), "whoever made the mount takes it away");
    clear(&point);
    assert_eq!(rig.bucket().content("app.log"), b"first\nsecond\n");
}

#[test]
fn a_descriptor_that_is_no_mount_is_refused() {
    let rig = Rig::embedded();
    let mut plan = rig.plan("a");
    for (number, why) in [("0", "not one of /dev/fuse"), ("977", "cannot be served")] {
        plan.point = format!("/dev/fd/{number}").into();
        let mut daemon = Proc::start("logsinkfs", plan.command());
        assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.stderr());
        assert!(daemon.last_words().contains(why), "{}", daemon.stderr());
    }
}

#[test]
fn an_ordinary_user_mounts_with_the_help_of_fusermount3() {
    let rig = Rig::embedded();
    let plan = plan_for(&rig, NOBODY);
    chown(&plan.point, Some(NOBODY), Some(NOBODY)).unwrap();
    let run_dir = rig.local("run");
    fs::create_dir(&run_dir).unwrap();
    chown(&run_dir, Some(NOBODY), Some(NOBODY)).unwrap();
    let plan = plan.env("XDG_RUNTIME_DIR", run_dir.to_str().unwrap());
    // Every distribution lets all users open /dev/fuse; a bare kernel does not.
    let device = rig.local("fuse");
    let number = rustix::fs::makedev(10, 229);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, &device, kind, 0o666.into(), number).unwrap();
    fs::set_permissions(&device, PermissionsExt::from_mode(0o666)).unwrap();
    let mut outer = command(program("unshare"));
    let become_user = "mount --bind \"$1\" /dev/fuse; shift; \
                       exec setpriv --reuid 65534 --regid 65534 --clear-groups -- \"$@\"";
    outer.args(["--mount", "--", "/bin/sh", "-c", become_user, "sh"]).arg(&device);
    let mut daemon = Proc::start("logsinkfs", behind(&plan, outer));
    daemon.await_stdout("that it serves", |said| said.starts_with("logsinkfs: serving").then_some(()));
    let as_user = |script: &str| {
        let mut inside = command(program("nsenter"));
        inside.env("XDG_RUNTIME_DIR", &run_dir);
        inside.arg(format!("--mount=/proc/{}/ns/mnt", daemon.pid().as_raw_nonzero()));
        inside.args(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        inside.args(["/bin/sh", "-ec", script, "sh"]).arg(&plan.point).arg(&plan.program);
        Proc::start("a user's shell", inside).success();
    };
    as_user("echo first >>\"$1/app.log\"");
    kill_stranger(daemon.children()[0]);
    as_user("echo second >>\"$1/app.log\"; test \"$(wc -l <\"$1/app.log\")\" = 2");
    as_user("\"$2\" upgrade \"$1\"");
    as_user("echo third >>\"$1/app.log\"");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.stderr());
    assert_eq!(rig.bucket().content("app.log"), b"first\nsecond\nthird\n");
}

#[test]
fn the_first_process_of_a_container_takes_up_orphans_and_stops_in_order() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    let mut outer = command(program("unshare"));
    outer.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    let mut unshare = Proc::start("unshare", behind(&plan, outer));
    unshare.await_stdout("that it serves", |said| said.starts_with("logsinkfs: serving").then_some(()));
    let keeper = unshare.children()[0];
    let raw = keeper.as_raw_nonzero();
    let log = PathBuf::from(format!("/proc/{raw}/root")).join(plan.point.strip_prefix("/").unwrap());
    append(&log.join("app.log"), "line\n");
    let children = || {
        let list = fs::read_to_string(format!("/proc/{raw}/task/{raw}/children")).unwrap();
        list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>()
    };
    let worker = children()[0];
    let mut orphan = command(program("nsenter"));
    orphan.args(["--pid", "--mount", "--target", &raw.to_string(), "--", "/bin/sh", "-c"]);
    // In a session of its own: what is left of a process's group is killed with it.
    orphan.arg("setsid sleep 1000 >/dev/null 2>&1 &");
    Proc::start("nsenter", orphan).success();
    let orphan = eventually("the orphan", || children().into_iter().find(|pid| *pid != worker));
    kill_process(Pid::from_raw(orphan).unwrap(), Signal::KILL).unwrap();
    eventually("the orphan to be taken up", || (children() == [worker]).then_some(()));
    kill_process(keeper, Signal::TERM).unwrap();
    assert_eq!(unshare.wait().code(), Some(0), "{}", unshare.stderr());
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn a_worker_that_is_killed_for_want_of_memory_is_replaced() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    let Some(group) = MemoryGroup::new(128) else {
        return eprintln!("skipped: this machine has no memory cgroups that this user may make");
    };
    let mut daemon = Proc::start("logsinkfs", behind(&plan, group.command()));
    daemon.await_stdout("that it serves", |said| said.starts_with("logsinkfs: serving").then_some(()));
    let mount = Mount { plan, daemon };
    append(&mount.path("app.log"), "before\n");
    let score = |pid: Pid| PathBuf::from(format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero()));
    let own = fs::read_to_string(score(mount.daemon.pid())).unwrap();
    let worker = mount.worker();
    assert_ne!(fs::read_to_string(score(worker)).unwrap().trim(), "-1000");
    if own.trim() != "-1000" {
        eprintln!("not tried: whether the kernel spares the keeper, which may not ask for it here");
        if group.whole {
            return eprintln!("skipped: without that the whole group is killed");
        }
    }
    // The one that the kernel takes first; then whoever asks for the memory.
    fs::write(score(worker), "1000").unwrap();
    let mut hog = group.command();
    hog.arg(program("python3")).args(["-c", "bytearray(256 << 20)"]);
    Proc::start("hog", hog).wait();
    eventually("the kernel to kill the worker", || {
        (!Path::new(&format!("/proc/{}", worker.as_raw_nonzero())).exists()).then_some(())
    });
    append(&mount.path("app.log"), "after\n");
    mount.daemon.await_stderr("killed by signal 9");
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"before\nafter\n");
}

#[test]
fn a_machine_that_knows_no_users_takes_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |user: &str| {
        let mut unshare = command("unshare");
        unshare.args(["--mount", "sh", "-c", "mount -t tmpfs none /etc && exec \"$@\"", "sh", logsinkfs()]);
        unshare.args(["mount", "s3://bucket", "/nowhere/logs", "--run-as"]);
        unshare.arg(user).arg("--spool-dir").arg(dir.path().join("spool"));
        String::from_utf8(unshare.output().unwrap().stderr).unwrap()
    };
    let said = refused("4711:4712");
    assert!(said.contains("/nowhere/logs") && !said.contains("looked up"), "{said}");
    let said = refused("4711:staff");
    assert!(said.contains("there is no group `staff`"), "{said}");
    let said = refused("somebody");
    assert!(said.contains("there is no user `somebody`"), "{said}");
}
