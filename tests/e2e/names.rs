//! What names decide: which stream a file adds to when it gets another one, and whether it stays local.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;

use test_harness::files::append;
use test_harness::process::{Proc, command, program};
use test_harness::stage::{DAEMON, KERNEL};
use test_harness::{Mount, Rig};

/// Runs a program in the mount.
fn run(mount: &Mount, name: &str, words: &[&str]) {
    let mut asked = command(program(name));
    asked.args(words).current_dir(&mount.plan.point);
    Proc::start(name, asked).success();
}

/// Stops the mount; gives the streams that the bucket has, and what the one of that name consists of, sorted.
fn stored(rig: &Rig, mount: Mount, stream: &str) -> (Vec<String>, Vec<String>) {
    mount.stop();
    let bucket = rig.bucket();
    let texts = bucket.generations(stream).into_values();
    let mut texts: Vec<_> = texts.map(|text| String::from_utf8(text).unwrap()).collect();
    texts.sort();
    (bucket.streams().into_iter().collect(), texts)
}

#[test]
fn a_log_that_is_edited_in_place_stays_one_stream() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mount = rig.mount(&["--write-path", write_path]);
        append(&mount.path("app.log"), "one\ntwo\n");
        run(&mount, "sed", &["-i", "s/one/ONE/", "app.log"]);
        append(&mount.path("app.log"), "three\n");
        let script = "t=$(mktemp -p .) && cat app.log >$t && echo four >>$t && mv $t app.log";
        run(&mount, "sh", &["-c", script]);
        append(&mount.path("app.log"), "five\n");
        let expected = ["ONE\ntwo\nthree\n", "ONE\ntwo\nthree\nfour\nfive\n", "one\ntwo\n"];
        let expected = (vec!["app.log".to_owned()], expected.map(str::to_owned).to_vec());
        assert_eq!(stored(&rig, mount, "app.log"), expected, "{write_path}");
    }
}

#[test]
fn a_file_that_is_made_under_a_temporary_name_is_the_log_of_its_name() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mount = rig.mount(&["--write-path", write_path]);
        let mut part = OpenOptions::new();
        let part = part.append(true).create(true);
        let mut part = part.open(mount.path("app.log.inprogress")).unwrap();
        part.write_all(b"one\n").unwrap();
        fs::rename(mount.path("app.log.inprogress"), mount.path("app.log")).unwrap();
        part.write_all(b"two\n").unwrap();
        drop(part);
        let expected = (vec!["app.log".to_owned()], vec!["one\ntwo\n".to_owned()]);
        assert_eq!(stored(&rig, mount, "app.log"), expected, "{write_path}");
    }
}

#[test]
fn a_local_file_that_gets_a_logs_name_is_one_from_its_first_byte() {
    for write_path in [KERNEL, DAEMON] {
        let rig = Rig::embedded();
        let mount = rig.mount(&["--write-path", write_path]);
        let (lock, log) = (mount.path("app.log.lock"), mount.path("app.log"));
        let mut file = File::create(&lock).unwrap();
        file.write_all(b"one\n").unwrap();
        let reader = File::open(&lock).unwrap();
        fs::rename(&lock, &log).unwrap();
        // By the handle that was opened under the old name, and by others beside it.
        file.write_all(b"two\n").unwrap();
        append(&log, "three\n");
        assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\nthree\n");
        let mut begin = [0; 8];
        reader.read_exact_at(&mut begin, 0).unwrap();
        assert_eq!(&begin, b"one\ntwo\n");
        mount.kill_worker();
        file.write_all(b"four\n").unwrap();
        drop((file, reader));
        append(&log, "five\n");
        assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\nthree\nfour\nfive\n");
        let expected = vec!["one\ntwo\nthree\nfour\nfive\n".to_owned()];
        let expected = (vec!["app.log".to_owned()], expected);
        assert_eq!(stored(&rig, mount, "app.log"), expected, "{write_path}");
    }
}
