//! `logsinkfs status`: which logs S3 lacks something of, and what people have to know of a mount at a glance.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use crate::ask::ask;
use crate::quarantine::{changed, status};
use test_harness::process::{Proc, command};
use test_harness::{Mount, Rig, eventually};

fn logs(mount: &Mount, words: &[&str]) -> Value {
    let (_, said, complaint) = ask(mount, &[&["status", "--json", "--logs"], words].concat());
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{complaint}"))
}

/// Nothing is sealed before somebody asks for it.
const QUIET: [&str; 4] = ["--rotate-interval", "1h", "--rotate-idle", "1h"];

#[test]
fn logs_that_s3_lacks_something_of_are_listed_most_first() {
    let rig = Rig::embedded();
    let mount = rig.mount(&QUIET);
    fs::create_dir(mount.path("web")).unwrap();
    for (name, len) in [("a.log", 5), ("web/b.log", 50), ("c d.log", 500), ("run.pid", 3)] {
        fs::write(mount.path(name), "x".repeat(len)).unwrap();
    }
    let told = logs(&mount, &["--top", "2"]);
    let of = |list: &str, what: &str| -> Vec<Value> {
        told[list].as_array().unwrap().iter().map(|row| row[what].clone()).collect()
    };
    assert_eq!(of("logs", "path"), ["c%20d.log", "web/b.log"], "{told}");
    assert_eq!(of("logs", "unuploaded_bytes"), [500, 50]);
    assert!(told["logs"][0]["oldest_seconds"].is_number(), "{told}");
    assert_eq!((&told["logs_left_out"], &told["local_left_out"]), (&1.into(), &0.into()));
    assert_eq!(of("local", "path"), ["run.pid"]);
    assert_eq!(of("local", "bytes"), [3]);
    assert_eq!(of("local", "why"), ["excluded by *.pid"]);
    assert_eq!(told["unuploaded_logs"], 3, "with what status says without it");
    let (code, said, _) = ask(&mount, &["status", "--logs", "--top", "2"]);
    assert_eq!(code, 0);
    for part in [
        "logs that S3 lacks something of, 2 of 3:",
        "500 B  c%20d.log: the oldest byte for",
        "50 B  web/b.log",
        "files that stay local:",
        "3 B  run.pid: excluded by *.pid",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!said.contains("a.log"), "{said}");
    assert_eq!(ask(&mount, &["flush"]).0, 0);
    assert_eq!(logs(&mount, &[])["logs"], Value::Array(Vec::new()));
    mount.stop();
}

#[test]
fn what_was_quarantined_of_a_log_is_listed() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = changed(&rig, &gate);
    eventually("the range to be quarantined", || (status(&mount)["quarantined_files"] == 1).then_some(()));
    let told = logs(&mount, &[]);
    let log = &told["logs"][0];
    assert_eq!((&log["path"], &log["quarantined_bytes"]), (&"app.log".into(), &8.into()), "{told}");
    assert_eq!((&log["unuploaded_bytes"], &log["dropped_bytes"]), (&0.into(), &0.into()));
    let said = ask(&mount, &["status", "--logs"]).1;
    assert!(said.contains("app.log: 8 B quarantined"), "{said}");
    assert_eq!(mount.terminate().0, 3);
}

/// And with what went wrong, without end.
#[test]
fn many_logs_with_long_names_fit_into_an_answer() {
    const LOGS: usize = 300;
    let rig = Rig::embedded();
    let mount = rig.mount(&QUIET);
    for n in 0..LOGS {
        fs::write(mount.path(&format!("{n:03}-{}.log", "\u{e9}".repeat(100))), "x").unwrap();
    }
    let told = logs(&mount, &["--top", "100000"]);
    let shown = told["logs"].as_array().unwrap().len();
    assert!((20..LOGS).contains(&shown), "{shown}");
    assert_eq!(told["logs_left_out"], LOGS - shown);
    mount.stop();
}

#[test]
fn the_table_says_how_long_and_how_well_each_mount_has_served() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let background = ["a", "b"].map(|name| {
        // As one in the background, whose log is in its spool.
        rig.plan(name).through(&gate.endpoint).env("LOGSINKFS_IN_BACKGROUND", "1").start()
    });
    let [away, other] = background;
    let since = status(&away)["mounted_since"].clone();
    assert!(since.is_string(), "{since}");
    away.kill_worker();
    eventually("S3 to be away for the next worker", || {
        (status(&away)["s3"]["up"] == false && !status(&away)["s3"]["error"].is_null()).then_some(())
    });
    assert_eq!(status(&away)["mounted_since"], since, "it is the mount's time");
    let log = away.plan.spool.join("logsinkfs.log").display().to_string();
    assert_eq!(status(&away)["log"], log.as_str());
    let mut asked = command(&away.plan.program);
    asked.arg("status");
    let mut asked = Proc::start("status", asked);
    assert!(asked.wait().code().is_some());
    let said = asked.said();
    let of = format!(" on {}: ", away.plan.point.display());
    let at = said.iter().position(|line| line.contains(&of)).unwrap();
    let told = said[at..at + 2].join("\n");
    for part in ["S3 away for", "mounted for", "1 worker restart", &log] {
        assert!(told.contains(part), "{part:?} in {told}");
    }
    let (_, said, _) = ask(&away, &["status"]);
    for part in ["mounted       for ", "1 worker restart", &log] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    gate.open();
    [away, other].into_iter().for_each(Mount::stop);
}

/// The keeper of a mount that was taken away listens until all is uploaded; another mount may have its device's number.
#[test]
fn a_reader_mount_is_not_asked_at_the_socket_of_another() {
    let rig = Rig::embedded();
    let (mount, reader) = (rig.mount(&[]), rig.read(&[]));
    let socket = |mount: &Mount| {
        let number = fs::metadata(&mount.plan.point).unwrap().dev();
        let device = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        Path::new("/run/logsinkfs").join(format!("{device}.sock"))
    };
    let left = socket(&reader);
    std::os::unix::fs::symlink(socket(&mount), &left).unwrap();
    let (code, said, complaint) = ask(&reader, &["status"]);
    let (flushed, _, refused) = ask(&reader, &["flush"]);
    fs::remove_file(left).unwrap();
    assert!(code == 0 && said.contains("a reader mount"), "{said}{complaint}");
    assert!(flushed == 1 && refused.contains("is a reader mount"), "{refused}");
    [mount, reader].into_iter().for_each(Mount::stop);
}

/// Also where it is the only one, or is named.
#[test]
fn a_mount_that_nobody_can_ask_is_told_of_as_what_it_is() {
    let rig = Rig::embedded();
    let mut dead = rig.mount(&[]);
    let reader = rig.read(&[]);
    fs::metadata(&dead.plan.point).unwrap();
    dead.crash();
    let (code, said, complaint) = ask(&dead, &["status"]);
    assert!(code == 1 && said.contains(": dead: ") && said.contains("hint: umount "), "{said}{complaint}");
    assert_eq!(status(&dead)["state"], "dead");
    let (code, said, complaint) = ask(&reader, &["status"]);
    assert!(code == 0 && said.contains("a reader mount"), "{said}{complaint}");
    for command in ["flush", "upgrade"] {
        let (code, _, said) = ask(&dead, &[command]);
        assert!(code == 1 && said.contains("is dead: nobody serves it"), "{said}");
        let (code, _, said) = ask(&reader, &[command]);
        assert!(code == 1 && said.contains("is a reader mount"), "{said}");
    }
    dead.start_again();
    [dead, reader].into_iter().for_each(Mount::stop);
}

#[test]
fn how_long_the_room_lasts_is_said_while_the_backlog_grows() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let often = ["--retire-after", "100ms", "--spool-max", "1GiB"];
    let mount = rig.plan("a").through(&gate.endpoint).with(&often).start();
    let mut file = fs::File::create(mount.path("app.log")).unwrap();
    eventually("how long the room lasts", || {
        file.write_all(&[b'x'; 1024]).unwrap();
        status(&mount)["spool_lasts_seconds"].is_number().then_some(())
    });
    let said = ask(&mount, &["status"]).1;
    assert!(said.contains(" left, for ") && said.contains(" at this rate"), "{said}");
    gate.open();
    drop(file);
    mount.stop();
}
