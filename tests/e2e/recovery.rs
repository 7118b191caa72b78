//! What the next daemon finds in the spool of the one before, however that one ended.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::worker_kills::weather;
use test_harness::mount::quarantined;
use test_harness::{Answer, Ledger, Mount, Rig, Run, eventually, programs};

fn append(mount: &Mount, text: &str) {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).open(mount.path("app.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A file that lives on: same path, size, content, mode, and the same generation in the bucket.
fn lives_on(end: impl FnOnce(Mount)) {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::create_dir(mount.path("empty")).unwrap();
    append(&mount, "before\n");
    fs::set_permissions(mount.path("app.log"), PermissionsExt::from_mode(0o604)).unwrap();
    std::os::unix::fs::symlink("app.log", mount.path("link")).unwrap();
    end(mount);

    let mount = rig.mount(&[]);
    let seen = fs::metadata(mount.path("app.log")).unwrap();
    assert_eq!((seen.len(), seen.mode() & 0o777), (7, 0o604));
    assert_eq!(fs::read_to_string(mount.path("link")).unwrap(), "before\n");
    assert!(mount.path("empty").is_dir());
    append(&mount, "after\n");
    assert_eq!(fs::read_to_string(mount.path("app.log")).unwrap(), "before\nafter\n");
    mount.stop();
    let generations: Vec<_> = rig.bucket().generations("app.log").into_values().collect();
    assert_eq!(generations, [b"before\nafter\n"]);
}

#[test]
fn a_generation_goes_on_after_a_stop() {
    lives_on(Mount::stop);
}

#[test]
fn a_generation_goes_on_after_a_kill() {
    lives_on(|mut mount| mount.crash());
}

#[test]
fn a_dead_mount_is_cleared_by_the_next_start() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    append(&mount, "before\n");
    mount.crash();
    assert!(fs::metadata(mount.path("app.log")).is_err(), "the mount is dead");
    mount.start_again();
    assert_eq!(fs::read_to_string(mount.path("app.log")).unwrap(), "before\n");
    mount.stop();
}

#[test]
fn a_dead_mount_is_cleared_while_the_kernel_remembers_its_root() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    append(&mount, "before\n");
    for _ in 0..5 {
        // The kernel may answer a `stat` of the root from memory, also when the daemon is dead.
        fs::metadata(&mount.plan.point).unwrap();
        mount.crash();
        mount.start_again();
    }
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"before\n");
}

#[test]
fn a_renamed_an_unlinked_and_a_truncated_file_survive_a_kill() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    append(&mount, "renamed\n");
    fs::rename(mount.path("app.log"), mount.path("app.log.1")).unwrap();
    append(&mount, "unlinked\n");
    fs::remove_file(mount.path("app.log")).unwrap();
    append(&mount, "truncated\n");
    fs::File::create(mount.path("app.log")).unwrap();
    append(&mount, "last\n");
    mount.crash();
    mount.start_again();
    assert_eq!(fs::read_to_string(mount.path("app.log.1")).unwrap(), "renamed\n");
    assert_eq!(fs::read_to_string(mount.path("app.log")).unwrap(), "last\n");
    mount.stop();
    let lines = rig.bucket().lines("app.log");
    Ledger::written(["renamed", "unlinked", "truncated", "last"].map(str::to_owned)).assert_in(&lines);
}

#[test]
fn nothing_is_lost_or_doubled_by_a_row_of_kills() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let plan = rig.plan("a").through(&gate.endpoint);
    let mut mount = plan.with(&["--rotate-size", "8KiB"]).start();
    let mut ledger = Ledger::default();
    // Twelve kills show a fault of the design; `KILLS=1000` looks for one that is rare.
    let kills = std::env::var("KILLS").map_or(12, |kills| kills.parse().unwrap());
    for round in 0..kills {
        let mut writer = programs::python("plain_writer.py");
        writer.arg(mount.path("app.log"));
        let mut run = Run::start(&rig, &format!("round{round}"), writer);
        weather(&gate, round);
        run.await_more(150);
        mount.crash();
        ledger.add(run.kill());
        mount.start_again();
    }
    gate.open();
    mount.await_sent();
    mount.stop();
    let bucket = rig.bucket();
    let found = bucket.lines("app.log");
    ledger.report(&bucket, &found, kills);
    ledger.assert_in_order(&found);
}

#[test]
fn nothing_is_lost_by_kills_among_files_that_come_and_go() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&["--rotate-size", "64KiB"]);
    let mut ledger = Ledger::default();
    for round in 0..5 {
        let start = |name: &str| {
            let mut writer = programs::python("plain_writer.py");
            writer.arg(mount.path(name)).env("FLOOD", "20000");
            Run::start(&rig, &format!("{name}{round}"), writer)
        };
        let mut runs: Vec<Run> = ["a.log", "b.log", "c.log"].map(start).into();
        runs.iter_mut().for_each(|run| run.await_more(100));
        fs::rename(mount.path("a.log"), mount.path(&format!("a.log.{round}"))).unwrap();
        fs::remove_file(mount.path("b.log")).unwrap();
        fs::File::create(mount.path("c.log")).unwrap();
        runs.iter_mut().for_each(|run| run.await_more(100));
        mount.crash();
        runs.into_iter().for_each(|run| ledger.add(run.kill()));
        mount.start_again();
    }
    mount.stop();
    let bucket = rig.bucket();
    let found = bucket.all_lines();
    ledger.report(&bucket, &found, 5);
    ledger.assert_in(&found);
}

#[test]
fn local_files_survive_a_stop_and_a_kill() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    fs::write(mount.path("app.log.1.gz"), "local").unwrap();
    mount.crash();
    mount.start_again();
    assert_eq!(fs::read_to_string(mount.path("app.log.1.gz")).unwrap(), "local");
    mount.stop();
    let mount = rig.mount(&[]);
    assert_eq!(fs::read_to_string(mount.path("app.log.1.gz")).unwrap(), "local");
    mount.stop();
}

#[test]
fn an_answer_that_is_lost_does_not_double_a_segment() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let lost = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lost);
    gate.rule(move |seen| {
        let first_four = seen.stores_a_segment() && count.load(Ordering::Relaxed) < 4;
        if first_four {
            count.fetch_add(1, Ordering::Relaxed);
            return Answer::LoseReply;
        }
        Answer::Pass
    });
    let mount = rig.plan("a").through(&gate.endpoint).with(&["--rotate-size", "8KiB"]).start();
    let text: String = (0..1_000).map(|n| format!("line {n:04} {}\n", "-".repeat(50))).collect();
    append(&mount, &text);
    mount.stop();
    assert_eq!(lost.load(Ordering::Relaxed), 4);
    assert_eq!(rig.bucket().content("app.log"), text.as_bytes());
}

#[test]
fn an_answer_that_is_lost_with_its_daemon_does_not_double_a_segment() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.rule(|seen| if seen.stores_a_segment() { Answer::LoseReply } else { Answer::Pass });
    let mut mount = rig.plan("a").through(&gate.endpoint).with(&["--rotate-size", "8KiB"]).start();
    let text: String = (0..500).map(|n| format!("line {n:04} {}\n", "-".repeat(50))).collect();
    append(&mount, &text);
    let bucket = rig.bucket();
    eventually("a segment that the daemon knows nothing of", || (!bucket.segments("app.log").is_empty()).then_some(()));
    mount.crash();
    gate.open();
    mount.start_again();
    mount.stop();
    assert_eq!(bucket.content("app.log"), text.as_bytes());
}

#[test]
fn an_object_of_another_under_our_key_is_never_overwritten() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.rule(|seen| if seen.stores_a_segment() { Answer::Refuse(503, "SlowDown", None) } else { Answer::Pass });
    let flags = ["--rotate-idle", "1s", "--compression", "none"];
    let mount = rig.plan("a").through(&gate.endpoint).with(&flags).start();
    append(&mount, "kept in the spool\n");
    let target = eventually("the key of the segment", || {
        gate.seen().into_iter().find(|seen| seen.stores_a_segment()).map(|seen| seen.target)
    });
    let path = target.split('?').next().unwrap().replacen("/logs/", "", 1);
    let key = percent_encoding::percent_decode_str(&path).decode_utf8().unwrap().into_owned();
    rig.bucket().put(&key, b"of another\n");
    gate.open();
    mount.daemon.await_stderr(&key);
    let spool = mount.plan.spool.clone();
    mount.terminate();
    assert_eq!(rig.bucket().get(&key).bytes, b"of another\n");
    let mut grep = std::process::Command::new("grep");
    let kept = grep.args(["-rlq", "kept in the spool"]).arg(&spool).status().unwrap();
    assert!(kept.success(), "the bytes are still in the spool");
}

#[test]
fn a_sealed_segment_keeps_its_key_under_other_settings() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.rule(|seen| if seen.stores_a_segment() { Answer::Refuse(503, "SlowDown", None) } else { Answer::Pass });
    let plan = rig.plan("a").through(&gate.endpoint);
    let mut mount = plan.clone().with(&["--compression", "gzip", "--partition", "old"]).start();
    append(&mount, "sealed\n");
    fs::File::create(mount.path("app.log")).unwrap();
    append(&mount, "unsealed\n");
    eventually("a try to store the sealed segment", || {
        gate.seen().iter().any(|seen| seen.stores_a_segment()).then_some(())
    });
    mount.crash();
    drop(mount);
    gate.open();
    plan.with(&["--compression", "none", "--partition", "new"]).start().stop();
    let bucket = rig.bucket();
    let names: Vec<_> = bucket.segments("app.log").into_iter().map(|s| (s.partition, s.suffix)).collect();
    let expected = [("new", "log"), ("old", "log.gz")];
    assert_eq!(names, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(bucket.content("app.log"), b"sealed\nunsealed\n");
}

#[test]
fn a_spool_belongs_to_one_bucket_and_prefix() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    append(&mount, "line\n");
    mount.stop();
    let mut other = rig.plan("a");
    other.source = format!("s3://{}/another/", rig.access.bucket);
    let spool = other.spool.display().to_string();
    let (code, said) = other.refused();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&spool), "the spool is named: {said}");
}

#[test]
fn foreign_files_in_the_spool_are_quarantined_and_the_rest_goes_on() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    append(&mount, "line\n");
    mount.crash();
    let spool = mount.plan.spool.clone();
    let mut folders = vec![spool.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() && entry.file_name() != "quarantine" {
                fs::write(entry.path().join("notes.txt"), "of another program").unwrap();
                folders.push(entry.path());
            }
        }
    }
    mount.start_again();
    append(&mount, "more\n");
    let (code, said) = mount.terminate();
    assert_eq!(code, 3, "what was quarantined is said: {said}");
    assert_eq!(rig.bucket().content("app.log"), b"line\nmore\n");
    assert!(!quarantined(&spool).is_empty(), "the foreign files are kept: {said}");
}
