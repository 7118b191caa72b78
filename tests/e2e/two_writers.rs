//! Two mounts, each with a spool of its own, that write the same path at once.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command as Plain;

use test_harness::stage::{DAEMON, KERNEL};
use test_harness::{Kind, Ledger, Rig, Run, programs};

/// Both mounts write `app.log` at the same time, the kernel for one and the daemon of the other; one of the daemons may
/// be killed midway.
fn both_write(kind: Kind, crash: bool) {
    let rig = Rig::new(kind);
    // The same readable name on purpose, as two pods of one host would have it.
    let flags = ["--writer-id", "same-host", "--rotate-size", "32KiB"];
    let plan = |name, path| rig.plan(name).with(&flags).with(&["--write-path", path]).start();
    let mut mounts = [plan("a", KERNEL), plan("b", DAEMON)];
    let mut runs: Vec<Run> = mounts
        .iter()
        .zip(["first", "second"])
        .map(|(mount, name)| {
            let mut writer = programs::python("plain_writer.py");
            writer.arg(mount.path("app.log"));
            Run::start(&rig, name, writer)
        })
        .collect();
    runs.iter_mut().for_each(|run| run.await_more(800));
    if crash {
        mounts[0].crash();
        mounts[0].start_again();
        fs::write(programs::back(&rig), "").unwrap();
    }
    runs.iter_mut().for_each(|run| run.await_more(800));
    let mut ledger = Ledger::default();
    runs.into_iter().for_each(|run| ledger.add(run.finish()));
    mounts.into_iter().for_each(|mount| mount.stop());
    let bucket = rig.bucket();
    let found = bucket.lines("app.log");
    ledger.report(&bucket, &found, if crash { 2 } else { 1 });
    ledger.assert_in(&found);
    let writers: BTreeSet<_> = bucket.segments("app.log").into_iter().map(|s| s.writer).collect();
    assert_eq!(writers.len(), 2, "each spool has its own writer id: {writers:?}");
}

#[test]
fn all_lines_of_both_are_kept() {
    both_write(Kind::Embedded, false);
}

#[test]
fn all_lines_of_both_are_kept_on_moto() {
    both_write(Kind::Moto, false);
}

#[test]
fn all_lines_of_both_are_kept_when_one_daemon_is_killed() {
    both_write(Kind::Embedded, true);
}

#[test]
fn a_copied_spool_gets_a_writer_id_of_its_own() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::write(mount.path("app.log"), "before the copy\n").unwrap();
    mount.stop();
    let (original, copy) = (rig.plan("a"), rig.plan("b"));
    let copied = Plain::new("cp").arg("-a").arg(&original.spool).arg(&copy.spool).status();
    assert!(copied.unwrap().success());
    let mounts = [original.start(), copy.start()];
    for (mount, line) in mounts.iter().zip(["by the original\n", "by the copy\n"]) {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(mount.path("app.log")).unwrap();
        std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
    }
    mounts.into_iter().for_each(|mount| mount.stop());
    let mut lines = Vec::new();
    let bucket = rig.bucket();
    // A copy goes on in the middle of a generation, so its bytes need not begin at offset 0.
    for segment in bucket.segments("app.log") {
        lines.extend(String::from_utf8(bucket.bytes(&segment)).unwrap().lines().map(str::to_owned));
    }
    lines.sort();
    assert_eq!(lines, ["before the copy", "by the copy", "by the original"]);
}
