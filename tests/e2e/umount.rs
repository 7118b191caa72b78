//! `logsinkfs umount`: detaches, uploads, ends, and says what is left.

use std::fs;
use std::io::Write;

use rustix::mount::{MountFlags, mount as mount_on, mount_bind};
use rustix::process::Signal;

use crate::ask::ask;
use test_harness::files::append;
use test_harness::mount::is_mounted;
use test_harness::process::{Proc, command, program};
use test_harness::{Mount, Rig, eventually};

/// Starts `logsinkfs umount`.
fn start(mount: &Mount, flags: &[&str]) -> Proc {
    let mut asked = command(&mount.plan.program);
    asked.arg("umount").args(flags).arg(&mount.plan.point);
    Proc::start("umount", asked)
}

#[test]
fn it_returns_when_s3_has_everything_and_the_daemon_has_ended() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    append(&mount.path("app.log"), "line\n");
    let (code, said, complaint) = ask(&mount, &["umount"]);
    assert_eq!((code, complaint.as_str()), (0, ""), "{said}");
    assert_eq!(said, "logsinkfs: unmounted; S3 has everything");
    assert!(!is_mounted(&mount.plan.point));
    assert_eq!(mount.daemon.poll().and_then(|ended| ended.code()), Some(0));
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn it_waits_for_s3_as_long_as_it_takes_whatever_a_stop_may_take() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mut mount = rig.plan("a").through(&gate.endpoint).with(&["--shutdown-timeout", "0s"]).start();
    gate.refuse(503, "SlowDown");
    append(&mount.path("app.log"), "line\n");
    let mut waits = start(&mount, &[]);
    mount.daemon.await_stderr("stopping on request");
    eventually("the mount to be detached", || (!is_mounted(&mount.plan.point)).then_some(()));
    gate.await_hits(2);
    assert!(waits.poll().is_none());
    gate.open();
    assert_eq!(waits.wait().code(), Some(0), "{}", waits.last_words());
    assert_eq!(mount.daemon.wait().code(), Some(0));
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn what_is_left_when_the_time_is_up_is_said_with_what_to_do() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let plan = rig.plan("a").through(&gate.endpoint);
    let mut mount = plan.clone().start();
    gate.refuse(503, "SlowDown");
    append(&mount.path("app.log"), "line\n");
    append(&mount.path("web.log"), "line\n");
    gate.await_hits(1);
    let (code, _, said) = ask(&mount, &["umount", "--timeout", "100ms"]);
    assert_eq!(code, 3, "{said}");
    let spool = plan.spool.to_str().unwrap();
    let recover = format!("logsinkfs recover {spool}");
    for words in ["10 B of 2 logs are left", spool, "the time was up", "SlowDown", &recover] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    assert_eq!(mount.daemon.poll().and_then(|ended| ended.code()), Some(3));
    gate.open();
    plan.start().stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn whoever_waits_no_longer_leaves_the_daemon_to_go_on() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mut mount = rig.plan("a").through(&gate.endpoint).with(&["--shutdown-timeout", "0s"]).start();
    gate.refuse(503, "SlowDown");
    append(&mount.path("app.log"), "line\n");
    let mut waits = start(&mount, &[]);
    mount.daemon.await_stderr("stopping on request");
    waits.kill();
    gate.await_hits(2);
    assert!(mount.daemon.poll().is_none());
    gate.open();
    assert_eq!(mount.daemon.wait().code(), Some(0));
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn a_daemon_that_dies_meanwhile_leaves_what_s3_lacks_in_the_spool() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let plan = rig.plan("a").through(&gate.endpoint);
    let mut mount = plan.clone().start();
    gate.refuse(503, "SlowDown");
    append(&mount.path("app.log"), "line\n");
    let mut waits = start(&mount, &[]);
    eventually("the mount to be detached", || (!is_mounted(&mount.plan.point)).then_some(()));
    mount.kill_worker();
    assert_eq!(waits.wait().code(), Some(3));
    let said = waits.last_words();
    assert!(said.contains("before it said that S3 has everything"), "{said}");
    assert!(said.contains("hint: mount it again with the same spool"), "{said}");
    assert_eq!(mount.daemon.wait().code(), Some(3));
    gate.open();
    plan.start().stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn who_has_the_mount_open_is_named() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    let mut held = fs::File::create(mount.path("app.log")).unwrap();
    held.write_all(b"line\n").unwrap();
    let (code, _, said) = ask(&mount, &["umount"]);
    assert_eq!(code, 0, "{said}");
    let (pid, path) = (std::process::id(), mount.path("app.log"));
    let holder = format!("({pid}): {}", path.display());
    assert!(said.contains("in use") && said.contains(&holder), "{said}");
    assert_eq!(mount.daemon.wait().code(), Some(0));
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn a_dead_mount_is_taken_away_and_said_to_be_dead() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&["--rotate-idle", "1h"]);
    append(&mount.path("app.log"), "line\n");
    // Its attributes are believed for a while.
    fs::metadata(&mount.plan.point).unwrap();
    mount.crash();
    let (code, _, said) = ask(&mount, &["umount"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("dead") && said.contains("taken away"), "{said}");
    assert!(said.contains("hint: mount it again with the same spool"), "{said}");
    assert!(!is_mounted(&mount.plan.point));
    mount.start_again();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn a_reader_mount_has_nothing_to_upload() {
    let rig = Rig::embedded();
    let mut reader = rig.read(&[]);
    let (code, said, complaint) = ask(&reader, &["umount"]);
    assert_eq!((code, said.as_str()), (0, "logsinkfs: unmounted"), "{complaint}");
    assert!(!is_mounted(&reader.plan.point));
    assert_eq!(reader.daemon.wait().code(), Some(0));
}

/// It goes on after an umount that has nobody to wait for it, but not for ever.
#[test]
fn a_signal_gives_an_upload_that_was_asked_for_as_long_as_any_other() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mut mount = rig.plan("a").through(&gate.endpoint).with(&["--shutdown-timeout", "0s"]).start();
    gate.refuse(503, "SlowDown");
    append(&mount.path("app.log"), "line\n");
    let mut waits = start(&mount, &[]);
    mount.daemon.await_stderr("stopping on request");
    mount.daemon.signal(Signal::TERM);
    assert_eq!(waits.wait().code(), Some(3));
    let said = waits.last_words();
    assert!(said.contains("5 B of 1 log are left") && said.contains("the time was up"), "{said}");
    assert_eq!(mount.daemon.wait().code(), Some(3));
}

#[test]
fn another_place_of_the_mount_goes_with_it() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    append(&mount.path("app.log"), "line\n");
    let served = mount.plan.point.clone();
    let other = rig.local("other");
    fs::create_dir(&other).unwrap();
    mount_bind(&served, &other).unwrap();
    mount.plan.point = other.clone();
    let (code, said, complaint) = ask(&mount, &["umount"]);
    let stays = is_mounted(&other);
    test_harness::mount::clear(&other);
    assert_eq!((code, said.as_str()), (0, "logsinkfs: unmounted; S3 has everything"), "{complaint}");
    assert!(!stays && !is_mounted(&served));
    mount.plan.point = served;
    assert_eq!(mount.daemon.wait().code(), Some(0));
}

/// Nobody could tell how it ends.
#[test]
fn a_mount_that_cannot_be_asked_stays() {
    let rig = Rig::embedded();
    let alone = rig.mount(&["--no-keeper"]);
    let (code, _, said) = ask(&alone, &["umount"]);
    assert_eq!(code, 1, "{said}");
    for words in ["cannot be asked", "hint: ", "--keeper-socket", "umount(8)"] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    assert!(is_mounted(&alone.plan.point));
    alone.stop();
}

#[test]
fn what_is_no_mount_of_ours_stays() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    let served = mount.plan.point.clone();
    let other = rig.local("other");
    fs::create_dir(&other).unwrap();
    mount.plan.point = other.clone();
    let (code, _, said) = ask(&mount, &["umount"]);
    assert!(code == 1 && said.contains("no file system of logsinkfs"), "{code} {said}");
    mount_on("tmpfs", &other, "tmpfs", MountFlags::empty(), None).unwrap();
    let (code, _, said) = ask(&mount, &["umount"]);
    let stays = is_mounted(&other);
    test_harness::mount::clear(&other);
    assert!(code == 1 && said.contains("no file system of logsinkfs"), "{code} {said}");
    assert!(stays && is_mounted(&served));
    mount.plan.point = served;
    mount.stop();
}

/// The worker's group may ask how the mount is, and no more.
#[test]
fn a_mount_of_another_user_stays() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--run-as", "65532:65531"]);
    for (group, refusal) in [("65531", "an unmount is not for user 12345"), ("12345", "cannot be asked")] {
        let mut asked = command("setpriv");
        asked.args(["--reuid", "12345", "--regid", group, "--clear-groups", "--"]);
        asked.arg(&mount.plan.program).arg("umount").arg(&mount.plan.point);
        let mut asked = Proc::start("umount", asked);
        assert_eq!(asked.wait().code(), Some(1));
        let said = asked.last_words();
        assert!(said.contains(refusal), "{said}");
        assert!(is_mounted(&mount.plan.point));
    }
    mount.stop();
}

/// Runs a command on a terminal of its own; gives its exit code and what the terminal was sent.
fn on_a_terminal(mount: &Mount, words: &[&str]) -> (i32, String) {
    const TERMINAL: &str = "import os, pty, sys\n\
        sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut terminal = command(program("python3"));
    terminal.args(["-c", TERMINAL]).arg(&mount.plan.program);
    terminal.args(words).arg(&mount.plan.point);
    let mut terminal = Proc::start("terminal", terminal);
    let code = terminal.wait().code().unwrap();
    (code, terminal.said().join("\n"))
}

#[test]
fn what_is_waited_for_is_shown_on_a_terminal() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).start();
    gate.refuse(503, "SlowDown");
    append(&mount.path("app.log"), "line\n");
    const LEFT: &str = "logsinkfs: 5 B of 1 log are not in S3 yet";
    for command in ["flush", "umount"] {
        let (quiet, shown) = on_a_terminal(&mount, &[command, "--help"]);
        assert!(quiet == 0 && shown.contains("--quiet"), "{shown}");
    }
    let (code, shown) = on_a_terminal(&mount, &["flush", "--timeout", "3s", "--quiet"]);
    assert!(code == 3 && !shown.contains(&format!("\r{LEFT}")), "{shown:?}");
    assert!(shown.contains("the time is up, and it is not done: 5 B of 1 log"), "{shown:?}");
    let (code, shown) = on_a_terminal(&mount, &["flush", "--timeout", "3s"]);
    assert!(code == 3 && shown.contains(&format!("\r{LEFT}; S3 is away for")), "{shown:?}");
    let (code, shown) = on_a_terminal(&mount, &["umount", "--timeout", "3s"]);
    assert!(code == 3 && shown.contains(&format!("\r{LEFT}; S3 is away for")), "{shown:?}");
}
