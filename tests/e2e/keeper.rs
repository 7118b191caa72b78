//! The keeper and its worker: what programs notice when a worker dies or is replaced, and how a mount without a worker
//! ends.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use test_harness::mount::{Plan, is_mounted};
use test_harness::process::{Proc, command};
use test_harness::s3::script;
use test_harness::{Ledger, Mount, Rig, Run, eventually, programs};

fn append(mount: &Mount, text: &str) {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).open(mount.path("app.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// Puts another program in the place of one that runs.
fn replace(program: &Path, with: &Path) {
    let new = program.with_extension("new");
    fs::copy(with, &new).unwrap();
    fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
    fs::rename(new, program).unwrap();
}

/// `logsinkfs upgrade`, by the program that the plan runs; gives exit code and what it said.
fn upgrade(plan: &Plan) -> (i32, String) {
    let mut upgrade = command(&plan.program);
    upgrade.arg("upgrade").arg(&plan.point);
    let mut upgrade = Proc::start("upgrade", upgrade);
    let code = upgrade.wait().code().unwrap();
    (code, upgrade.last_words())
}

/// Waits until another worker than this one serves.
fn await_successor(mount: &Mount, old: Pid) -> Pid {
    eventually("another worker", || mount.daemon.children().into_iter().find(|pid| *pid != old))
}

#[test]
fn a_mount_goes_on_when_its_worker_is_killed() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let mut text = String::new();
    for round in 0..5 {
        let line = format!("round {round}\n");
        append(&mount, &line);
        text.push_str(&line);
        mount.kill_worker();
        assert_eq!(fs::metadata(mount.path("app.log")).unwrap().len(), text.len() as u64);
        assert_eq!(fs::read_to_string(mount.path("app.log")).unwrap(), text);
    }
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), text.as_bytes());
}

#[test]
fn a_worker_that_dies_before_anybody_opened_anything_leaves_nothing_to_complain_of() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    mount.kill_worker();
    mount.daemon.await_stderr("the new worker serves");
    assert!(!mount.daemon.stderr().contains("lost"), "{}", mount.daemon.stderr());
    mount.stop();
}

#[test]
fn nothing_is_lost_or_doubled_by_a_row_of_killed_workers() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-size", "8KiB"]);
    let mut writer = programs::python("plain_writer.py");
    writer.arg(mount.path("app.log"));
    let mut run = Run::start(&rig, "writer", writer);
    for _ in 0..10 {
        run.await_more(150);
        mount.kill_worker();
    }
    run.await_more(150);
    let ledger = run.finish();
    assert_eq!(ledger.failed, 0, "a write failed");
    mount.stop();
    let bucket = rig.bucket();
    let found = bucket.lines("app.log");
    ledger.report(&bucket, &found, 1);
    ledger.assert_in_order(&found);
}

#[test]
fn a_worker_has_no_right_and_cannot_gain_one() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let status = fs::read_to_string(format!("/proc/{}/status", raw(mount.worker()))).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Uid"), "65532 65532 65532 65532");
    assert_eq!(field("Gid"), "65532 65532 65532 65532");
    assert!(!field("Groups").split(' ').any(|group| group == "0"), "the group of root");
    mount.stop();
}

#[test]
fn a_signal_to_the_worker_alone_is_left_to_the_keeper() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let worker = mount.worker();
    kill_process(worker, Signal::TERM).unwrap();
    kill_process(worker, Signal::INT).unwrap();
    append(&mount, "line\n");
    assert_eq!(mount.worker(), worker);
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn a_mount_that_no_worker_can_serve_is_given_up_and_nobody_hangs() {
    let rig = Rig::embedded();
    let program = rig.local("logsinkfs");
    let plan = rig.plan("a").with(&["--worker-patience", "5s"]);
    let mut mount = plan.with_copy_of_program(&program).start();
    append(&mount, "line\n");
    replace(&program, Path::new("/bin/false"));
    mount.kill_worker();
    // A program that waits for the mount: it ends only by an answer, and a hanging one ends the test.
    let (path, new) = (mount.path("app.log"), mount.path("new.log"));
    let waiting = std::thread::spawn(move || (fs::read(path), fs::write(new, "x")));
    let (read, written) = waiting.join().unwrap();
    mount.daemon.await_told(&["for 5s: it is ended, and programs that wait for it get errors"], 1);
    assert!(read.is_err() && written.is_err(), "{read:?} {written:?}");
    assert_eq!(mount.daemon.wait().code(), Some(1));
    assert!(mount.daemon.last_words().contains("hint: "), "{}", mount.daemon.stderr());
    assert!(!is_mounted(&mount.plan.point));
    let mut plan = mount.plan.clone();
    drop(mount);
    plan.program = test_harness::s3::logsinkfs().into();
    plan.start().stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

/// Stopped it keeps every request, which its successor is sent.
fn a_worker_that_is_stopped(write_path: &str) {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--worker-patience", "15s", "--write-path", write_path]);
    let mut writer = programs::python("plain_writer.py");
    writer.arg(mount.path("app.log"));
    let mut run = Run::start(&rig, "writer", writer);
    run.await_more(100);
    kill_process(mount.worker(), Signal::STOP).unwrap();
    // What needs the worker waits until there is one again.
    assert!(mount.path("no.log").metadata().is_err());
    mount.daemon.await_told(&["does not respond", "did not answer for 15s"], 1);
    run.await_more(100);
    let ledger = run.finish();
    assert_eq!(ledger.failed, 0, "a write failed");
    mount.stop();
    let bucket = rig.bucket();
    let found = bucket.lines("app.log");
    ledger.report(&bucket, &found, 1);
    ledger.assert_in_order(&found);
}

#[test]
fn a_worker_that_is_stopped_is_replaced_while_the_kernel_writes() {
    a_worker_that_is_stopped("passthrough");
}

#[test]
fn a_worker_that_is_stopped_is_replaced_while_the_daemon_writes() {
    a_worker_that_is_stopped("daemon");
}

#[test]
fn a_worker_that_dies_while_another_is_to_take_over_is_followed_by_that_one() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::embedded();
    let program = rig.local("logsinkfs");
    let plan = rig.plan("a").with_copy_of_program(&program);
    let mount = plan.clone().start();
    append(&mount, "line\n");
    let (slow, go) = (rig.local("slow"), rig.local("go"));
    let real = test_harness::s3::logsinkfs();
    let script = format!("until [ -e {} ]; do sleep .02; done\nexec {real} \"$@\"", go.display());
    fs::write(&slow, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();
    let old = mount.worker();
    replace(&program, &slow);
    let mut upgrade = command(real);
    upgrade.arg("upgrade").arg(&plan.point);
    let mut upgrade = Proc::start("upgrade", upgrade);
    let next = await_successor(&mount, old);
    kill_process(old, Signal::KILL).unwrap();
    mount.daemon.await_stderr("another is attaching");
    fs::write(&go, "").unwrap();
    assert_eq!(upgrade.wait().code(), Some(0), "{}", upgrade.stderr());
    assert_eq!(mount.worker(), next);
    mount.stop();
}

#[test]
fn a_stop_without_a_worker_says_that_data_stays() {
    let rig = Rig::embedded();
    let program = rig.local("logsinkfs");
    let mut mount = rig.plan("a").with_copy_of_program(&program).start();
    append(&mount, "line\n");
    replace(&program, Path::new("/bin/false"));
    mount.kill_worker();
    mount.daemon.await_stderr("exit code 1");
    mount.daemon.signal(Signal::TERM);
    assert_eq!(mount.daemon.wait().code(), Some(3));
    assert!(mount.daemon.last_words().contains("spool"), "{}", mount.daemon.stderr());
    assert!(!is_mounted(&mount.plan.point));
}

/// A stop that finds no worker waits for the one that comes, which uploads; the same wish twice does not cut it short.
#[test]
fn a_stop_that_is_asked_for_twice_at_once_waits_for_the_worker_that_comes() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::embedded();
    let program = rig.local("logsinkfs");
    let mut mount = rig.plan("a").with_copy_of_program(&program).start();
    append(&mount, "line\n");
    let (slow, go) = (rig.local("slow"), rig.local("go"));
    let real = test_harness::s3::logsinkfs();
    let script = format!("until [ -e {} ]; do sleep .02; done\nexec {real} \"$@\"", go.display());
    fs::write(&slow, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();
    replace(&program, &slow);
    mount.kill_worker();
    mount.daemon.await_stderr("the mount has no worker");
    mount.daemon.signal(Signal::TERM);
    mount.daemon.signal(Signal::INT);
    fs::write(&go, "").unwrap();
    assert_eq!(mount.daemon.wait().code(), Some(0), "{}", mount.daemon.stderr());
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn an_upgrade_under_a_writer_loses_and_doubles_nothing() {
    let rig = Rig::embedded();
    let program = rig.local("logsinkfs");
    let plan = rig.plan("a").with_copy_of_program(&program).with(&["--rotate-size", "8KiB"]);
    let mount = plan.clone().start();
    let mut writer = programs::python("plain_writer.py");
    writer.arg(mount.path("app.log"));
    let mut run = Run::start(&rig, "writer", writer);
    for _ in 0..3 {
        run.await_more(100);
        let old = mount.worker();
        replace(&program, Path::new(test_harness::s3::logsinkfs()));
        let (code, said) = upgrade(&plan);
        assert_eq!(code, 0, "{said}");
        let new = await_successor(&mount, old);
        let runs = fs::read_link(format!("/proc/{}/exe", raw(new))).unwrap();
        assert_eq!(runs, program, "the new worker is the program on disk");
    }
    run.await_more(100);
    let ledger = run.finish();
    assert_eq!(ledger.failed, 0, "a write failed");
    mount.stop();
    let bucket = rig.bucket();
    let found = bucket.lines("app.log");
    ledger.report(&bucket, &found, 1);
    ledger.assert_in_order(&found);
}

/// An upgrade to this program is refused, and the old worker serves on.
fn stays_with_the_old(other: &Path, why: &str) {
    let rig = Rig::embedded();
    let program = rig.local("logsinkfs");
    let plan = rig.plan("a").with_copy_of_program(&program);
    let mount = plan.clone().start();
    append(&mount, "before\n");
    let old = mount.worker();
    replace(&program, other);
    let mut asking = plan.clone();
    asking.program = test_harness::s3::logsinkfs().into();
    let (code, said) = upgrade(&asking);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(why) && said.contains("hint: "), "{said}");
    append(&mount, "after\n");
    eventually("the old worker alone", || (mount.daemon.children() == [old]).then_some(()));
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"before\nafter\n");
}

#[test]
fn an_upgrade_that_would_negotiate_another_session_is_refused() {
    stays_with_the_old(&script("fake_worker.py"), "another session");
}

#[test]
fn an_upgrade_to_a_program_that_fails_is_refused() {
    stays_with_the_old(Path::new("/bin/false"), "exit code 1");
}

#[test]
fn an_upgrade_to_a_program_that_could_not_serve_is_refused_with_its_reason() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::embedded();
    let other = rig.local("other");
    let script = format!("exec {} \"$@\" --profile nosuch", test_harness::s3::logsinkfs());
    fs::write(&other, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    stays_with_the_old(&other, "`nosuch` is not defined");
}

/// Programs have the mount by then.
#[test]
fn a_worker_that_replaces_one_waits_for_no_bucket() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan("a").through(&gate.endpoint).with(&["--require-bucket"]).start();
    append(&mount, "first\n");
    gate.refuse(503, "SlowDown");
    mount.kill_worker();
    append(&mount, "second\n");
    mount.daemon.await_stderr("the new worker serves");
    gate.open();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"first\nsecond\n");
}

#[test]
fn an_upgrade_of_no_mount_is_refused_with_a_hint() {
    let rig = Rig::embedded();
    let (code, said) = upgrade(&rig.plan("a"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("logsinkfs is mounted on") && said.contains("hint: "), "{said}");
}

#[test]
fn a_start_that_fails_has_the_workers_exit_code_and_leaves_no_mount() {
    let rig = Rig::embedded();
    let plan = rig.plan("a").through("http://127.0.0.1:1").with(&["--require-bucket"]);
    let (point, (code, said)) = (plan.point.clone(), plan.refused());
    assert_eq!(code, 1, "{said}");
    assert_eq!(said.matches("logsinkfs: error:").count(), 1, "said once: {said}");
    assert!(!is_mounted(&point));
}

#[test]
fn the_embedded_bucket_keeps_its_address_over_workers() {
    let rig = Rig::embedded();
    let mut plan = rig.plan("a").with(&["--rotate-idle", "1s"]);
    plan.source = format!("file://{}", rig.local("bucket").display());
    let mut mount = plan.start();
    let address = |line: &str| {
        let rest = line.split_once("is at ")?.1;
        rest.split_once(' ').map(|(endpoint, _)| endpoint.replace("http://", ""))
    };
    let address = mount.daemon.await_stdout("the bucket's address", address);
    for _ in 0..2 {
        mount.kill_worker();
        assert!(mount.path("no.log").metadata().is_err(), "the mount answers");
        std::net::TcpStream::connect(&address).expect("the bucket listens where it did");
    }
    mount.stop();
}

#[test]
fn one_process_serves_where_that_is_asked_for() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--no-keeper"]);
    append(&mount, "line\n");
    assert_eq!(mount.daemon.children(), []);
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn a_keeper_that_is_killed_takes_its_worker_with_it() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    append(&mount, "before\n");
    let worker = mount.worker();
    mount.daemon.kill();
    eventually("the worker to end", || (!Path::new(&format!("/proc/{}", raw(worker))).exists()).then_some(()));
    mount.start_again();
    append(&mount, "after\n");
    mount.stop();
    let bucket = rig.bucket();
    Ledger::written(["before", "after"].map(str::to_owned)).assert_in(&bucket.lines("app.log"));
}
