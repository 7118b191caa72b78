//! Logs that are only in the bucket, in a mount that writes: one file each, as a reader mount shows them, until
//! somebody opens it for writing.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Output};

use rustix::io::Errno;
use rustix::process::Signal;

use test_harness::files::{append, await_bytes, errno, names};
use test_harness::planted::{Form, Planter, ago, at};
use test_harness::process::{Proc, command, program};
use test_harness::{Answer, Mount, Rig, eventually};

/// Looked for again soon, so that the tests need not wait for it.
const SOON: &str = "--metadata-ttl=1s";

/// Waits until a stored name is found: a cold look waits for S3 only so long.
fn await_there(mount: &Mount, name: &str) -> PathBuf {
    let path = mount.path(name);
    eventually(&format!("{name:?} in the mount"), || path.exists().then_some(()));
    path
}

/// Runs a program in the mount to its end.
fn run(mount: &Mount, name: &str, args: &[&str]) -> Output {
    Command::new(program(name)).args(args).current_dir(&mount.plan.point).output().unwrap()
}

fn said(output: &Output) -> Vec<String> {
    let mut lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// `web/app.log` of two writers and two generations, years apart, and what it holds.
fn plant(rig: &Rig) -> &'static str {
    let bucket = rig.bucket();
    let mut first = Planter::new(&bucket, "web/app.log", "web-1");
    first.put(at("2024-02-01T08:00:00"), b"one\n");
    first.form = Form::Plain;
    first.put(at("2024-02-01T09:00:00"), b"two\n");
    first.truncate();
    first.put(at("2026-01-01T08:00:00"), b"four\n");
    Planter::new(&bucket, "web/app.log", "web-2").put(at("2025-02-01T08:00:00"), b"three\n");
    "one\ntwo\nthree\nfour\n"
}

#[test]
fn a_log_is_one_file_with_the_history_of_all_writers_and_programs_meet_it_alone() {
    let rig = Rig::embedded();
    let text = plant(&rig);
    let bucket = rig.bucket();
    Planter::new(&bucket, "web/a%20b.log", "web-1").put(at("2024-02-01T08:00:00"), b"two words\n");
    bucket.put("team/web/core.files/dt=2024-02-01/x.bin", b"no version");
    bucket.put("team/web/old.txt", b"stored\n");
    let mount = rig.mount_bucket_view(&[]);
    append(&mount.path("live.log"), "live two\n");
    for name in ["web/app.log", "web/a b.log", "web/old.txt"] {
        await_there(&mount, name);
    }
    eventually("the files alone", || (names(&mount.path("web")) == ["a b.log", "app.log", "old.txt"]).then_some(()));
    let log = mount.path("web/app.log");
    let stat = fs::metadata(&log).unwrap();
    assert!(stat.is_file());
    let of_object = fs::metadata(mount.path("web/old.txt")).unwrap();
    assert_eq!((stat.len(), stat.permissions().mode()), (text.len() as u64, of_object.permissions().mode()));
    assert_eq!(fs::read_to_string(&log).unwrap(), text);
    assert_eq!(fs::read_to_string(mount.path("web/a b.log")).unwrap(), "two words\n");
    let find = run(&mount, "find", &[".", "-type", "f", "-printf", "%p %s\n"]);
    let found = ["./live.log 9", "./web/a b.log 10", "./web/app.log 19", "./web/old.txt 7"];
    assert_eq!(said(&find), found);
    let grep = run(&mount, "grep", &["-r", "two", "."]);
    assert_eq!(said(&grep), ["./live.log:live two", "./web/a b.log:two words", "./web/app.log:two"]);
    let du = run(&mount, "du", &["-b", "--apparent-size", "web/app.log"]);
    assert_eq!(said(&du), ["19\tweb/app.log"]);
    run(&mount, "cp", &["web/app.log", rig.local("copy").to_str().unwrap()]);
    assert_eq!(fs::read_to_string(rig.local("copy")).unwrap(), text);
    // The objects are found by name, of the log and of somebody else.
    let days = names(&mount.path("web/app.log.segments"));
    assert_eq!(days, ["dt=2024-02-01", "dt=2025-02-01", "dt=2026-01-01"]);
    assert_eq!(fs::read(mount.path("web/core.files/dt=2024-02-01/x.bin")).unwrap(), b"no version");
    mount.stop();
}

#[test]
fn of_one_name_a_live_file_wins_then_a_directory_then_a_log_then_an_object() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    for log in ["live", "dir", "log"] {
        Planter::new(&bucket, log, "web-1").put(ago(60), b"log\n");
        bucket.put(&format!("team/{log}"), b"object\n");
    }
    bucket.put("team/dir/old.txt", b"stored\n");
    let mount = rig.mount_bucket_view(&[]);
    append(&mount.path("live"), "live\n");
    for name in ["dir/old.txt", "log", "dir.segments"] {
        await_there(&mount, name);
    }
    assert_eq!(names(&mount.plan.point), ["dir", "live", "log"]);
    for (name, text) in [("live", "live\n"), ("dir/old.txt", "stored\n"), ("log", "log\n")] {
        assert_eq!(fs::read_to_string(mount.path(name)).unwrap(), text);
    }
    mount.stop();
}

#[test]
fn a_log_that_another_mount_writes_grows_under_tail_f() {
    let rig = Rig::embedded();
    let other = rig.plan("b").with(&["--rotate-idle", "100ms", "--rotate-interval", "1s"]).start();
    append(&other.path("app.log"), "first\n");
    let mount = rig.mount_bucket_view(&[SOON, "--negative-metadata-ttl=1s"]);
    let log = mount.path("app.log");
    await_bytes(&log, "first\n");
    let mut tail = command(program("tail"));
    tail.args(["-n", "+1", "-s", "0.1", "-f"]).arg(&log);
    let mut tail = Proc::start("tail", tail);
    for line in ["second", "third"] {
        append(&other.path("app.log"), &format!("{line}\n"));
        tail.await_stdout(line, |said| (said == line).then_some(()));
    }
    tail.kill();
    assert_eq!(tail.said(), ["first", "second", "third"]);
    assert_eq!(fs::read_to_string(&log).unwrap(), "first\nsecond\nthird\n");
    other.stop();
    mount.stop();
}

#[test]
fn a_log_that_is_opened_for_writing_begins_anew_and_one_that_is_removed_stays_away() {
    let rig = Rig::embedded();
    let text = plant(&rig);
    let mut mount = rig.mount_bucket_view(&[]);
    let log = await_there(&mount, "web/app.log");
    let mut reader = File::open(&log).unwrap();
    append(&log, "live\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "live\n");
    assert_eq!(names(&mount.path("web")), ["app.log"]);
    let mut old = String::new();
    reader.read_to_string(&mut old).unwrap();
    assert_eq!(old, text, "an old reader keeps the history");
    drop(reader);
    mount.flush();
    fs::remove_file(&log).unwrap();
    let is_gone = |mount: &Mount| {
        mount.daemon.signal(Signal::HUP);
        await_there(mount, "web/app.log.segments");
        assert_eq!(names(&mount.path("web")), Vec::<String>::new());
        assert_eq!(fs::metadata(mount.path("web/app.log")).unwrap_err().kind(), ErrorKind::NotFound);
    };
    is_gone(&mount);
    mount.kill_worker();
    is_gone(&mount);
    mount.crash();
    mount.start_again();
    is_gone(&mount);
    fs::write(mount.path("web/app.log"), "again\n").unwrap();
    assert_eq!(fs::read_to_string(mount.path("web/app.log")).unwrap(), "again\n");
    mount.stop();
    let generations = rig.bucket().generations("web/app.log");
    let mut lines: Vec<_> = generations.into_values().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
    lines.sort();
    assert_eq!(lines, ["again\n", "four\n", "live\n", "one\ntwo\n", "three\n"]);
}

#[test]
fn a_log_whose_objects_come_after_its_removal_stays_away() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan_bucket_view().through(&gate.endpoint).with(&[SOON]).start();
    append(&mount.path("seen.log"), "line\n");
    mount.flush();
    // By now it is known that the bucket has no such log.
    assert!(!mount.path("gone.log").exists());
    gate.refuse(503, "SlowDown");
    append(&mount.path("gone.log"), "line\n");
    append(&mount.path("moved.log"), "line\n");
    fs::remove_file(mount.path("gone.log")).unwrap();
    fs::rename(mount.path("moved.log"), mount.path("moved.log.1")).unwrap();
    gate.open();
    mount.flush();
    assert_eq!(rig.bucket().content("gone.log"), b"line\n");
    mount.daemon.signal(Signal::HUP);
    await_there(&mount, "gone.log.segments");
    assert_eq!(names(&mount.plan.point), ["moved.log.1", "seen.log"]);
    for name in ["gone.log", "moved.log"] {
        assert!(!mount.path(name).exists(), "{name}");
    }
    fs::rename(mount.path("seen.log"), mount.path("gone.log")).unwrap();
    assert_eq!(names(&mount.plan.point), ["gone.log", "moved.log.1"], "others may take the names");
    mount.stop();
}

#[test]
fn a_log_that_is_finished_shows_from_the_bucket_also_when_it_was_removed_once() {
    let rig = Rig::embedded();
    let flags = ["--retire-after", "1s", "--rotate-idle", "100ms", SOON];
    let mount = rig.mount_bucket_view(&flags);
    let log = mount.path("app.log");
    append(&log, "one\n");
    mount.flush();
    fs::remove_file(&log).unwrap();
    assert!(!log.exists());
    append(&log, "two\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "two\n");
    await_bytes(&log, "one\ntwo\n");
    append(&log, "three\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "three\n", "a live file again");
    await_bytes(&log, "one\ntwo\nthree\n");
    mount.stop();
}

#[test]
fn a_log_of_the_bucket_cannot_be_changed_and_its_directory_not_removed() {
    let rig = Rig::embedded();
    let text = plant(&rig);
    let mount = rig.mount_bucket_view(&[]);
    let log = await_there(&mount, "web/app.log");
    append(&mount.path("live.log"), "live\n");
    assert_eq!(errno(fs::rename(&log, mount.path("web/other.log"))), Errno::PERM);
    assert_eq!(errno(fs::rename(mount.path("live.log"), &log)), Errno::PERM);
    assert_eq!(errno(fs::set_permissions(&log, PermissionsExt::from_mode(0o600))), Errno::PERM);
    assert_eq!(errno(fs::remove_file(&log)), Errno::PERM);
    assert_eq!(errno(fs::hard_link(&log, mount.path("link"))), Errno::PERM);
    assert_eq!(errno(fs::remove_dir(mount.path("web"))), Errno::NOTEMPTY);
    let truncate = run(&mount, "python3", &["-c", "import os; os.truncate('web/app.log', 0)"]);
    assert!(String::from_utf8_lossy(&truncate.stderr).contains("[Errno 1]"), "{truncate:?}");
    let rm = run(&mount, "rm", &["-rf", "web"]);
    let refused = String::from_utf8_lossy(&rm.stderr).into_owned();
    assert!(!rm.status.success() && refused.contains("'web/app.log': Operation not permitted"), "{refused}");
    assert!(!refused.contains(".segments"), "{refused}");
    assert_eq!(fs::read_to_string(&log).unwrap(), text);
    mount.stop();
}

#[test]
fn a_reader_whose_worker_is_killed_reads_no_wrong_bytes() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "web-1");
    for n in 0..20 {
        planter.put(ago(60 - n), format!("{n:07}\n").repeat(50_000).as_bytes());
    }
    let whole: String = (0..20).map(|n| format!("{n:07}\n").repeat(50_000)).collect();
    let mount = rig.mount_bucket_view(&[]);
    let log = await_there(&mount, "app.log");
    let file = File::open(&log).unwrap();
    let mut bytes = vec![0; 400_000];
    file.read_exact_at(&mut bytes, 400_000).unwrap();
    assert!(bytes == whole.as_bytes()[400_000..800_000]);
    mount.kill_worker();
    let read = file.read_at(&mut bytes, 4_000_000);
    assert_eq!(errno(read), Errno::STALE);
    // It has its number still, and who opens it anew reads it.
    assert_eq!(file.metadata().unwrap().len(), whole.len() as u64);
    eventually("the log again", || (fs::read(&log).ok()? == whole.as_bytes()).then_some(()));
    drop(file);
    mount.stop();
}

#[test]
fn in_an_outage_nobody_waits_and_a_program_that_opens_its_log_gets_a_live_one() {
    let rig = Rig::embedded();
    plant(&rig);
    let cold = "web/cold.log";
    Planter::new(&rig.bucket(), cold, "web-1").put(ago(60), b"stored\n");
    let gate = rig.gate();
    let mount = rig.plan_bucket_view().through(&gate.endpoint).with(&[SOON]).start();
    let log = await_there(&mount, "web/app.log");
    gate.refuse(503, "ServiceUnavailable");
    // What is known is shown; a size that nobody has looked for is not.
    mount.daemon.signal(Signal::HUP);
    append(&log, "live\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "live\n");
    append(&mount.path(cold), "live\n");
    assert_eq!(fs::read_to_string(mount.path(cold)).unwrap(), "live\n");
    assert_eq!(names(&mount.path("web")), ["app.log", "cold.log"]);
    gate.open();
    mount.stop();
    assert!(rig.bucket().lines("web/app.log").contains(&"live".to_owned()));
}

#[test]
fn a_log_whose_size_cannot_be_had_is_listed_and_not_found_and_keeps_nobody_from_writing() {
    let rig = Rig::embedded();
    let text = plant(&rig);
    let gate = rig.gate();
    gate.rule(|seen| {
        let of_log = seen.target.contains("list-type") && seen.target.contains("segments");
        if of_log { Answer::Refuse(503, "SlowDown", None) } else { Answer::Pass }
    });
    let mount = rig.plan_bucket_view().through(&gate.endpoint).start();
    eventually("the log's name", || {
        (mount.path("web").is_dir() && names(&mount.path("web")) == ["app.log"]).then_some(())
    });
    let log = mount.path("web/app.log");
    assert_eq!(fs::metadata(&log).unwrap_err().kind(), ErrorKind::NotFound);
    append(&mount.path("web/other.log"), "live\n");
    assert_eq!(names(&mount.path("web")), ["app.log", "other.log"]);
    gate.open();
    await_bytes(&log, text);
    mount.stop();
}

#[test]
fn the_sizes_of_a_directory_of_logs_cost_one_list_each_and_then_none() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    for log in 0..40 {
        let stream = format!("web/app-{log:02}.log");
        let mut planter = Planter::new(&bucket, &stream, "web-1");
        for day in 1..=3 {
            planter.put(at(&format!("2024-02-{day:02}T08:00:00")), b"line\n");
        }
    }
    let gate = rig.gate();
    let mount = rig.plan_bucket_view().through(&gate.endpoint).with(&["--metadata-ttl", "600s"]).start();
    let list = || {
        let ls = run(&mount, "ls", &["-l", "web"]);
        ls.status.success().then(|| said(&ls)).filter(|lines| lines.len() == 41)
    };
    let lines = eventually("all logs with their sizes", list);
    assert!(lines[..40].iter().all(|line| line.split_whitespace().nth(4) == Some("15")), "{lines:?}");
    let lists = gate.lists();
    // Beside that of each log, the root and the directory, each of which may have been asked for again.
    assert!((42..=46).contains(&lists), "{lists} LISTs");
    assert_eq!(list().unwrap(), lines);
    assert_eq!(gate.lists(), lists, "a second `ls -l` asks nothing");
    assert_eq!(gate.seen().iter().filter(|seen| seen.method == "HEAD").count(), 0);
    mount.stop();
}
