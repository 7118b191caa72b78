//! Whole files: what is written elsewhere than at its end, or named so, is one object when it is closed and quiet.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::ask::{ask, status};
use test_harness::gate::Answer;
use test_harness::process::{Proc, command, program};
use test_harness::stage::{DAEMON, KERNEL};
use test_harness::{Mount, Rig, eventually};

/// Closed files are sealed soon.
const SOON: [&str; 2] = ["--rotate-idle", "200ms"];

/// The one version that there is.
fn only(rig: &Rig, path: &str) -> (String, Vec<u8>) {
    let mut versions = rig.bucket().versions(path);
    assert_eq!(versions.len(), 1, "{path}: {:?}", rig.bucket().keys());
    versions.remove(0)
}

fn streams(rig: &Rig) -> Vec<String> {
    rig.bucket().streams().into_iter().collect()
}

fn create(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn python(mount: &Mount, script: &str) {
    let mut asked = command(program("python3"));
    asked.args(["-c", script]).current_dir(&mount.plan.point);
    Proc::start("python3", asked).success();
}

#[test]
fn a_file_that_is_written_elsewhere_than_at_its_end_is_stored_whole() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mount = rig.mount(&["--write-path", write_path]);
        let file = create(&mount.path("video.mp4"));
        file.write_all_at(b"HEAD....", 0).unwrap();
        file.write_all_at(b"frames of it\n", 8).unwrap();
        file.write_all_at(b"SIZE", 4).unwrap();
        file.write_all_at(b"beyond", 1000).unwrap();
        let mut read = vec![0; 1006];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!((&read[..12], &read[1000..]), (&b"HEADSIZEfram"[..], &b"beyond"[..]), "{write_path}");
        drop(file);
        assert_eq!(fs::read(mount.path("video.mp4")).unwrap(), read);
        mount.stop();
        assert_eq!(only(&rig, "video.mp4").1, read, "{write_path}");
        assert_eq!(streams(&rig), [""; 0], "{write_path}");
    }
}

#[test]
fn a_log_stays_one_however_it_is_appended_to() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mount = rig.mount(&["--write-path", write_path]);
        let log = mount.path("app.log");
        let mut plain = create(&log);
        plain.write_all(b"one\n").unwrap();
        // Somebody else truncates it, as logrotate does; the program goes on where it was.
        OpenOptions::new().write(true).truncate(true).open(&log).unwrap();
        plain.write_all(b"two\n").unwrap();
        mount.kill_worker();
        plain.write_all(b"three\n").unwrap();
        OpenOptions::new().append(true).open(&log).unwrap().write_all(b"four\n").unwrap();
        plain.write_all(b"five\n").unwrap();
        drop(plain);
        mount.stop();
        let texts: Vec<_> = rig.bucket().generations("app.log").into_values().collect();
        assert_eq!(texts, [&b"one\n"[..], b"two\nthree\nfour\nfive\n"], "{write_path}");
    }
}

#[test]
fn a_dump_is_whole_by_its_name_and_has_the_one_that_it_has_in_the_end() {
    let rig = Rig::embedded();
    let mount = rig.mount(&SOON);
    fs::write(mount.path("java_pid7.hprof"), b"JAVA PROFILE 1.0.2\0 and so on").unwrap();
    fs::write(mount.path("dump.tmp"), b"a dump\n").unwrap();
    fs::rename(mount.path("dump.tmp"), mount.path("dump.hprof")).unwrap();
    fs::write(mount.path("x.zip"), b"PK\x03\x04 and so on").unwrap();
    fs::create_dir(mount.path("made")).unwrap();
    fs::rename(mount.path("x.zip"), mount.path("made/y.zip")).unwrap();
    fs::rename(mount.path("made"), mount.path("dir")).unwrap();
    fs::write(mount.path("one.hprof"), b"of two names").unwrap();
    fs::hard_link(mount.path("one.hprof"), mount.path("two.hprof")).unwrap();
    fs::remove_file(mount.path("one.hprof")).unwrap();
    let mut open = create(&mount.path("open.hprof"));
    open.write_all(b"not yet").unwrap();
    eventually("both", || {
        (rig.bucket().versions("dump.hprof").len() + rig.bucket().versions("java_pid7.hprof").len() == 2).then_some(())
    });
    let (name, bytes) = only(&rig, "dump.hprof");
    assert_eq!(bytes, b"a dump\n");
    assert!(name.ends_with("_00000001_000000000007.hprof.gz"), "{name}");
    assert_eq!(rig.bucket().versions("open.hprof"), []);
    drop(open);
    mount.stop();
    assert_eq!(only(&rig, "dir/y.zip").1, b"PK\x03\x04 and so on");
    assert_eq!(only(&rig, "two.hprof").1, b"of two names");
    let (name, bytes) = only(&rig, "open.hprof");
    assert!(bytes == b"not yet" && !name.contains("partial"), "{name}");
    assert_eq!(streams(&rig), [""; 0]);
}

#[test]
fn a_file_that_is_changed_later_becomes_another_object() {
    let rig = Rig::embedded();
    let mount = rig.mount(&SOON);
    let path = mount.path("report.dmp");
    fs::write(&path, b"first").unwrap();
    eventually("the first", || (rig.bucket().versions("report.dmp").len() == 1).then_some(()));
    create(&path).write_all_at(b"F", 0).unwrap();
    eventually("the second", || (rig.bucket().versions("report.dmp").len() == 2).then_some(()));
    // Another file of that name is one, too; and so is the one before, if it was not uploaded yet.
    fs::write(&path, b"third").unwrap();
    fs::write(&path, b"fourth").unwrap();
    mount.stop();
    let bytes: Vec<_> = rig.bucket().versions("report.dmp").into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(bytes, [&b"first"[..], b"First", b"third", b"fourth"]);
}

#[test]
fn what_is_removed_before_it_was_closed_and_quiet_is_not_stored() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-idle", "1h"]);
    let journal = create(&mount.path("db-journal"));
    journal.write_all_at(b"page", 0).unwrap();
    journal.write_all_at(b"P", 0).unwrap();
    fs::write(mount.path("part.hprof.p0"), b"a part").unwrap();
    fs::remove_file(mount.path("part.hprof.p0")).unwrap();
    fs::remove_file(mount.path("db-journal")).unwrap();
    drop(journal);
    mount.stop();
    let ours: Vec<_> = rig.bucket().keys().into_iter().filter(|key| !key.contains(".logsinkfs/")).collect();
    assert_eq!(ours, [""; 0]);
}

/// As the JVM does it that dumps its heap with several threads.
#[test]
fn parts_of_a_file_that_is_being_written_wait_for_it() {
    let rig = Rig::embedded();
    let mount = rig.mount(&SOON);
    let whole = create(&mount.path("dump.hprof"));
    whole.write_all_at(b"header", 0).unwrap();
    let part = mount.path("dump.hprof.p0");
    fs::write(&part, b"part").unwrap();
    fs::write(mount.path("other.hprof"), b"quiet for longer").unwrap();
    eventually("another file in the bucket", || rig.bucket().versions("other.hprof").pop());
    whole.write_all_at(&fs::read(&part).unwrap(), 6).unwrap();
    fs::remove_file(&part).unwrap();
    fs::write(mount.path("left.hprof.p0"), b"of one that is gone").unwrap();
    drop(whole);
    mount.stop();
    assert_eq!(only(&rig, "dump.hprof").1, b"headerpart");
    assert_eq!(only(&rig, "left.hprof.p0").1, b"of one that is gone");
    assert_eq!(rig.bucket().versions("dump.hprof.p0"), []);
}

#[test]
fn a_half_written_file_is_stored_and_says_so() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    let mut file = create(&mount.path("a.hprof"));
    file.write_all(b"half of ").unwrap();
    mount.kill_worker();
    file.write_all(b"the dump").unwrap();
    fs::write(mount.path("b.hprof"), b"all of it").unwrap();
    // The kernel tells of the last close after close(2) has returned.
    eventually("b.hprof to be closed", || (status(&mount)["open_handles"] == 1).then_some(()));
    mount.crash();
    drop(file);
    mount.start_again();
    let again = create(&mount.path("c.hprof"));
    again.write_all_at(b"open at the end", 0).unwrap();
    let told = mount.stop_and_tell();
    assert!(told.contains("S3 has everything"), "{told}");
    drop(again);
    let (name, bytes) = only(&rig, "a.hprof");
    assert!(name.contains(".partial.hprof") && bytes == b"half of the dump", "{name}");
    let (name, bytes) = only(&rig, "b.hprof");
    assert!(!name.contains("partial") && bytes == b"all of it", "{name}");
    let (name, bytes) = only(&rig, "c.hprof");
    assert!(name.contains(".partial.hprof") && bytes == b"open at the end", "{name}");
}

#[test]
fn a_database_works_and_opens_elsewhere() {
    for flags in [&["--write-path", KERNEL][..], &["--write-path", DAEMON]] {
        let rig = Rig::embedded();
        let mount = rig.mount(flags);
        let script = "
import sqlite3
for mode in ['delete', 'wal', 'truncate']:
    db = sqlite3.connect(mode + '.db')
    assert db.execute('pragma journal_mode=' + mode).fetchone()[0] == mode
    db.execute('create table t (n integer, text)')
    for n in range(500):
        db.execute('insert into t values (?, ?)', (n, 'x' * n))
        if n % 50 == 0: db.commit()
    db.commit()
    copy = sqlite3.connect(mode + '-copy.db')
    db.backup(copy)
    copy.close()
    db.close()
";
        python(&mount, script);
        mount.stop();
        for name in ["delete", "wal", "truncate"].iter().flat_map(|n| [format!("{n}.db"), format!("{n}-copy.db")]) {
            let elsewhere = rig.local(&name);
            fs::write(&elsewhere, only(&rig, &name).1).unwrap();
            let check = format!(
                "import sqlite3; db = sqlite3.connect({:?}); assert db.execute('pragma integrity_check').fetchone()[0] == 'ok'; assert db.execute('select count(*), sum(n) from t').fetchone() == (500, 124750)",
                elsewhere.to_str().unwrap()
            );
            let mut asked = command(program("python3"));
            asked.args(["-c", &check]);
            Proc::start("python3", asked).success();
        }
    }
}

#[test]
fn a_log_that_is_written_through_a_map_is_stored_whole_where_the_daemon_writes() {
    let rig = Rig::embedded();
    // Where the kernel writes, it also maps the spool file itself, and nobody is asked.
    let mount = rig.mount(&["--write-path", DAEMON]);
    fs::write(mount.path("app.log"), "as written\n").unwrap();
    python(&mount, "import mmap\nwith open('app.log', 'r+b') as f: mmap.mmap(f.fileno(), 0)[:2] = b'AS'");
    assert_eq!(fs::read(mount.path("app.log")).unwrap(), b"AS written\n");
    mount.stop();
    assert_eq!(only(&rig, "app.log").1, b"AS written\n");
}

#[test]
fn whole_files_stay_local_where_that_is_asked_for() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--whole", "none"]);
    fs::write(mount.path("a.hprof"), "a dump").unwrap();
    let file = create(&mount.path("b.mp4"));
    file.write_all_at(b"....", 0).unwrap();
    file.write_all_at(b"HEAD", 0).unwrap();
    drop(file);
    fs::write(mount.path("c.tar.gz"), b"\x1f\x8b and so on").unwrap();
    fs::write(mount.path("app.log"), "line\n").unwrap();
    let told = mount.stop_and_tell();
    assert!(told.contains("S3 has everything but 3 files"), "{told}");
    let ours: Vec<_> = rig.bucket().keys().into_iter().filter(|key| !key.contains(".logsinkfs/")).collect();
    assert!(ours.len() == 1 && ours[0].contains("app.log.segments/"), "{ours:?}");
}

#[test]
fn whole_files_have_a_budget_of_their_own() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--whole-max", "64KiB", "--rotate-idle", "200ms"]);
    let file = create(&mount.path("a.hprof"));
    file.write_all_at(&[1; 65_536], 0).unwrap();
    assert_eq!(file.write_at(&[1], 65_536).unwrap_err().raw_os_error(), Some(28));
    mount.daemon.await_told(&["--whole-max", "a.hprof"], 1);
    // What does not make it larger is written, and so are logs.
    file.write_all_at(&[2; 10_000], 0).unwrap();
    fs::write(mount.path("app.log"), vec![b'x'; 100_000]).unwrap();
    // What is open is not waited for, and said.
    let (_, said, _) = ask(&mount, &["flush"]);
    assert!(said.contains("whole files that programs write: 1"), "{said}");
    drop(file);
    // What S3 has makes room for another.
    eventually("room", || fs::write(mount.path("b.hprof"), [3; 60_000]).ok());
    fs::remove_file(mount.path("a.hprof")).unwrap();
    mount.stop();
    assert_eq!(only(&rig, "a.hprof").1.len(), 65_536);
    assert_eq!(only(&rig, "b.hprof").1, [3; 60_000]);
}

#[test]
fn a_large_file_arrives_in_parts_also_when_the_worker_is_killed_meanwhile() {
    let rig = Rig::embedded();
    let (gate, size) = (rig.gate(), 70 << 20);
    let mut seed = 1u32;
    let mut noise = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        (seed >> 24) as u8
    };
    let bytes: Vec<u8> = (0..size).map(|n| if n % 3 == 0 { noise() } else { 7 }).collect();
    let mount = rig.plan("a").through(&gate.endpoint).with(&SOON).start();
    // The upload is begun, and its second part is refused.
    gate.rule(|seen| {
        let is_second = seen.target.contains("partNumber=2&");
        if is_second { Answer::Refuse(503, "SlowDown", None) } else { Answer::Pass }
    });
    fs::write(mount.path("large.hprof"), &bytes).unwrap();
    gate.await_hits(1);
    mount.kill_worker();
    // Another one serves.
    assert_eq!(fs::metadata(mount.path("large.hprof")).unwrap().len(), size);
    gate.open();
    mount.stop();
    let (name, stored) = only(&rig, "large.hprof");
    assert!(stored == bytes && name.ends_with(".hprof.gz"), "{name}: {} bytes", stored.len());
}
