//! Copies of logs: they stay local, whatever they are called, and each line is in the bucket once.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use test_harness::files::{append, attribute};
use test_harness::process::{Proc, command, program};
use test_harness::stage::{DAEMON, KERNEL};
use test_harness::{Mount, Rig, eventually};

/// How many bytes of a log S3 does not have.
fn unsent(log: &Path) -> u64 {
    attribute(log, "unsent").unwrap().parse().unwrap()
}

/// Runs a program in the mount.
fn run(mount: &Mount, name: &str, words: &[&str]) {
    let mut asked = command(program(name));
    asked.args(words).current_dir(&mount.plan.point);
    Proc::start(name, asked).success();
}

/// Stops the mount; gives the streams of the bucket, and the lines of all of them.
fn stored(rig: &Rig, mount: Mount) -> (Vec<String>, Vec<String>) {
    mount.stop();
    let whole: Vec<_> = rig.bucket().keys().into_iter().filter(|key| key.contains(".files/")).collect();
    assert_eq!(whole, [""; 0]);
    let mut lines = rig.bucket().all_lines();
    lines.sort();
    (rig.bucket().streams().into_iter().collect(), lines)
}

fn sorted(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort();
    lines
}

#[test]
fn a_copy_of_a_log_that_is_truncated_stays_local_whatever_it_is_called() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mount = rig.mount(&["--write-path", write_path, "--rotate-idle", "200ms"]);
        let mut log = OpenOptions::new().append(true).create(true).open(mount.path("app.log")).unwrap();
        let copies = ["app.log.1", "app.log-20261128", "app.log.2026-11-28", "app__2026-11-28_00-00-00.log", "old"];
        let mut expected = Vec::new();
        for (n, copy) in copies.iter().enumerate() {
            for m in 0..20 {
                expected.push(format!("{n} line {m}"));
                writeln!(log, "{n} line {m}").unwrap();
            }
            run(&mount, "cp", &["app.log", copy]);
            mount.kill_worker();
            log.set_len(0).unwrap();
        }
        eventually("copies", || (attribute(&mount.path("old"), "kind").as_deref() == Some("copy")).then_some(()));
        assert_eq!(fs::read_to_string(mount.path("app.log.1")).unwrap().lines().count(), 20);
        drop(log);
        assert_eq!(stored(&rig, mount), (vec!["app.log".to_owned()], sorted(expected)), "{write_path}");
    }
}

#[test]
fn a_copy_that_is_made_in_pieces_or_by_a_shell_is_one() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-size", "64KiB"]);
    let lines: Vec<_> = (0..20_000).map(|n| format!("line {n}")).collect();
    append(&mount.path("app.log"), &(lines.join("\n") + "\n"));
    run(
        &mount,
        "sh",
        &[
            "-c",
            "cat app.log > by-cat && dd if=app.log of=by-dd bs=1000 2>/dev/null && head -n 9 app.log > head && : > app.log",
        ],
    );
    assert_eq!(stored(&rig, mount), (vec!["app.log".to_owned()], sorted(lines)));
}

#[test]
fn a_compressed_copy_of_a_rotated_log_is_one() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-idle", "200ms"]);
    let mut expected = Vec::new();
    let pack = "import bz2, gzip, lzma, shutil, sys
for end, module in [('gz', gzip), ('bz2', bz2), ('xz', lzma)]:
    with open('app.log.1', 'rb') as log, module.open('app.log.%s.%s' % (sys.argv[1], end), 'wb') as packed:
        shutil.copyfileobj(log, packed)";
    for n in ["2", "3"] {
        for m in 0..50 {
            expected.push(format!("{n} line {m}"));
            append(&mount.path("app.log"), &format!("{n} line {m}\n"));
        }
        // A log that was renamed, and a copy of one.
        run(&mount, "sh", &["-c", if n == "2" { "mv app.log app.log.1" } else { "cp app.log app.log.1; : > app.log" }]);
        run(&mount, "python3", &["-c", pack, n]);
        run(&mount, "gzip", &["app.log.1"]);
        fs::remove_file(mount.path("app.log.1.gz")).unwrap();
    }
    assert_eq!(stored(&rig, mount), (vec!["app.log".to_owned()], sorted(expected)));
}

#[test]
fn what_differs_or_grows_on_by_itself_is_a_log_from_its_first_byte() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-idle", "200ms"]);
    append(&mount.path("app.log"), "one\ntwo\n");
    run(&mount, "cp", &["app.log", "other.log"]);
    eventually("a copy", || (attribute(&mount.path("other.log"), "kind").as_deref() == Some("copy")).then_some(()));
    append(&mount.path("other.log"), "three\n");
    run(&mount, "sh", &["-c", "sed s/two/TWO/ app.log > edited.log"]);
    mount.stop();
    let bucket = rig.bucket();
    assert_eq!(bucket.content("other.log"), b"one\ntwo\nthree\n");
    assert_eq!(bucket.content("edited.log"), b"one\nTWO\n");
    assert_eq!(bucket.content("app.log"), b"one\ntwo\n");
}

#[test]
fn two_programs_that_write_the_same_are_two_logs_whoever_reads_them() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-idle", "200ms"]);
    append(&mount.path("a.log"), "Listening on 8080\n");
    // As a log shipper reads it: from its beginning, and with the file kept open.
    let shipper = fs::File::open(mount.path("a.log")).unwrap();
    append(&mount.path("b.log"), "Listening on 8080\n");
    eventually("b.log in the bucket", || (!rig.bucket().segments("b.log").is_empty()).then_some(()));
    drop(shipper);
    // One program that looks at what it has written writes it once more.
    drop(fs::read(mount.path("b.log")).unwrap());
    append(&mount.path("c.log"), "Listening on 8080\n");
    // And again, by the same name.
    fs::write(mount.path("c.log"), "Listening on 8080\n").unwrap();
    mount.stop();
    assert_eq!(rig.bucket().all_lines(), ["Listening on 8080"; 4]);
}

#[test]
fn what_a_program_has_read_before_it_copies_it_is_a_copy_if_it_truncates_it_then() {
    for worker_is_killed in [false, true] {
        let rig = Rig::embedded();
        let mount = rig.mount(&["--rotate-idle", "200ms"]);
        append(&mount.path("app.log"), "one\ntwo\n");
        let read = fs::read(mount.path("app.log")).unwrap();
        fs::write(mount.path("copy"), &read).unwrap();
        fs::write(mount.path("kept"), &read).unwrap();
        append(&mount.path("app.log"), "three\n");
        fs::write(mount.path("edited"), [&read[..], b"3\n"].concat()).unwrap();
        if worker_is_killed {
            mount.kill_worker();
        }
        fs::write(mount.path("app.log"), "four\n").unwrap();
        let (streams, lines) = stored(&rig, mount);
        assert_eq!(streams, ["app.log", "edited"]);
        assert_eq!(lines, ["3", "four", "one", "one", "three", "two", "two"]);
    }
}

#[test]
fn copies_make_room_before_anything_is_dropped_or_refused() {
    for when_full in ["drop-oldest", "error"] {
        let rig = Rig::embedded();
        let gate = rig.gate();
        gate.refuse(503, "SlowDown");
        let flags = ["--spool-max", "8MiB", "--rotate-size", "256KiB", "--rotate-idle", "200ms"];
        let mount = rig.plan("a").through(&gate.endpoint).with(&flags).with(&["--when-full", when_full]).start();
        let text =
            |from: usize| (from..from + 1000).map(|n| format!("line {n:06} {}\n", "x".repeat(988))).collect::<String>();
        append(&mount.path("app.log"), &text(0));
        for copy in ["one", "two", "three"] {
            run(&mount, "cp", &["app.log", copy]);
            let kind = || attribute(&mount.path(copy), "kind");
            eventually("a copy", || (kind().as_deref() == Some("copy")).then_some(()));
        }
        for n in 1..4 {
            append(&mount.path("app.log"), &text(n * 1000));
        }
        gate.open();
        mount.stop();
        assert_eq!(rig.bucket().streams().into_iter().collect::<Vec<_>>(), ["app.log"]);
        assert!(rig.bucket().content("app.log") == (0..4).map(|n| text(n * 1000)).collect::<String>().as_bytes());
    }
}

/// The log's bytes leave the spool while it is copied.
#[test]
fn large_copies_in_a_spool_that_is_nearly_full_are_all_found() {
    let rig = Rig::embedded();
    let flags = ["--spool-max", "16MiB", "--rotate-size", "300KiB", "--rotate-idle", "200ms", "--when-full", "block"];
    let mount = rig.mount(&flags);
    let log = mount.path("app.log");
    let lines = |rotation: usize| (0..5000).map(move |n| format!("{rotation} line {n:06} {}\n", "x".repeat(980)));
    for rotation in 0..6 {
        append(&log, &lines(rotation).collect::<String>());
        // Slowly enough that nearly all of the log is in the bucket before half of it is copied.
        let mut copy = fs::File::create(mount.path(&format!("app.log-{rotation}"))).unwrap();
        let mut original = fs::File::open(&log).unwrap();
        let half = std::io::copy(&mut Read::by_ref(&mut original).take(2_600_000), &mut copy).unwrap();
        assert_eq!(half, 2_600_000);
        eventually("the log in the bucket", || (unsent(&log) < 300 << 10).then_some(()));
        std::io::copy(&mut original, &mut copy).unwrap();
        drop((copy, original));
        OpenOptions::new().write(true).truncate(true).open(&log).unwrap();
    }
    let (streams, lines_stored) = stored(&rig, mount);
    assert_eq!(streams, ["app.log"]);
    let expected = (0..6).flat_map(lines).map(|line| line.trim_end().to_owned());
    assert!(lines_stored == sorted(expected));
}

#[test]
fn a_copy_that_is_overwritten_by_another_is_one_again() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--rotate-idle", "200ms"]);
    let mut expected = Vec::new();
    for n in 0..4 {
        let line = format!("line {n}");
        append(&mount.path("app.log"), &format!("{line}\n"));
        expected.push(line);
        run(&mount, "cp", &["app.log", "backup"]);
        eventually("a copy", || (attribute(&mount.path("backup"), "kind").as_deref() == Some("copy")).then_some(()));
    }
    fs::write(mount.path("backup"), "something else\n").unwrap();
    expected.push("something else".to_owned());
    mount.stop();
    let mut lines = rig.bucket().all_lines();
    lines.sort();
    assert_eq!(lines, sorted(expected));
    assert_eq!(rig.bucket().content("backup"), b"something else\n");
}

#[test]
fn copies_that_are_made_of_many_logs_at_once_are_all_found() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let expected: Vec<_> = (0..20).map(|n| format!("line of {n}")).collect();
    for (n, line) in expected.iter().enumerate() {
        append(&mount.path(&format!("{n}.log")), &format!("{line}\n"));
    }
    // As a rotator for many applications does, which opens all before it copies any.
    let script = "import gzip
logs = [open('%d.log' % n, 'rb') for n in range(20)]
packed = [gzip.open('%d.log.1.gz' % n, 'wb') for n in range(20)]
for log, copy in zip(logs, packed): copy.write(log.read())
for file in packed + logs: file.close()";
    run(&mount, "python3", &["-c", script]);
    let (streams, lines) = stored(&rig, mount);
    assert_eq!((streams.len(), lines), (20, sorted(expected)));
}
